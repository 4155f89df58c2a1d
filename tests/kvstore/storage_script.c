/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kvstore/storage_script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the script ---- */

enum kind {
    OPEN,
    WRITE,
    SYNC,
    REOPEN,
    BEGIN,
    CHUNK,
    FINISH,
    ABORT,
    ASIDE,
};

struct step {
    enum kind kind;
    /* The rest is of WRITE: how many entries to cut off, append, apply, trim. */
    unsigned cut, append, apply, trim;
    bool sync;
};

static const struct step script[] = {
    {OPEN},
    {WRITE, .append = 4, .sync = true},
    {WRITE, .append = 3},
    {WRITE, .apply = 3},
    {WRITE, .append = 2, .apply = 2, .sync = true},
    {WRITE, .cut = 3},
    {WRITE, .append = 3},
    {SYNC},
    {WRITE, .cut = 2, .append = 4, .apply = 5, .trim = 4, .sync = true},
    {WRITE, .trim = 2},
    {WRITE, .append = 1},
    {WRITE, .append = 2},
    {WRITE, .cut = 1},
    {WRITE, .append = 1, .sync = true},
    {WRITE, .apply = 1},
    {REOPEN},
    {WRITE, .cut = 1, .append = 2, .sync = true},
    {BEGIN},
    {CHUNK},
    {ABORT},
    {WRITE, .append = 1},
    {BEGIN},
    {CHUNK},
    {BEGIN},
    {CHUNK},
    {CHUNK},
    {FINISH},
    {WRITE, .append = 3, .apply = 1, .sync = true},
    {WRITE, .cut = 1},
    {WRITE, .append = 1},
    {ASIDE},
    {WRITE, .append = 3},
    {WRITE, .apply = 2},
    {BEGIN},
    {CHUNK},
    {ASIDE},
    {WRITE, .append = 3, .apply = 3, .trim = 3, .sync = true},
    {REOPEN},
    {BEGIN},
    {CHUNK},
    {CHUNK},
    {FINISH},
    {WRITE, .append = 2, .apply = 1, .trim = 1, .sync = true},
    {WRITE, .append = 1},
    {SYNC},
};

enum {
    CHUNKS = 2,
};

_Static_assert(sizeof(script) / sizeof(script[0]) == STEPS, "STEPS in the header");

/* ---- the model ---- */

struct model models[STEPS + 1];

/* What is sent to the storage under test. */
static struct history sent;
static kvp_buf chunks[CHUNKS];
static struct kvp_point sent_point;

static void copy_history(const struct history *from, struct history *to)
{
    history_free(to);
    for (size_t i = 0; i < from->count; i++) {
        to->entries[i] = kvp_entry_ref(from->entries[i]);
    }
    to->count = from->count;
}

static void model_write(struct model *model, const struct step *step, unsigned number)
{
    history_cut(&model->log, model->log.count - step->cut);
    history_grow(&model->log, number, step->append);
    model->applied += step->apply;
    model->base += step->trim;
}

static void model_step(const struct model *before, unsigned number, struct model *after)
{
    const struct step *step = &script[number];
    copy_history(&before->log, &after->log);
    after->base = before->base;
    after->applied = before->applied;
    after->quarantined = before->quarantined;
    after->meta = before->meta;
    if (step->kind == WRITE) {
        model_write(after, step, number);
    } else if (step->kind == FINISH) {
        copy_history(&sent, &after->log);
        after->base = after->applied = sent_point.seq;
    } else if (step->kind == ASIDE) {
        history_free(&after->log);
        after->base = after->applied = 0;
        after->quarantined++;
    } else {
        return;
    }
    after->meta.group_id = number;
}

/* A node that has a state to send, and the chunks that it sends. */
static void make_sender(void)
{
    struct depot sender;
    bool last = false;
    depot_make(&sender, false);
    history_grow(&sent, 99, 11);
    depot_append(&sender, &sent, 1, 11);
    depot_apply(&sender, &sent, 1, 11);
    struct kvp_state_view *view = kvp_storage_snapshot(sender.storage);
    sent_point = kvp_state_view_point(view);
    for (unsigned i = 0; i < CHUNKS; i++) {
        assert_false(last);
        assert_int_equal(kvp_state_view_chunk(view, i == 0 ? 40 : 1 << 20, &chunks[i], &last),
                         KVP_OK);
    }
    assert_true(last);
    kvp_state_view_close(view);
    depot_remove(&sender);
}

int make_models(void **state)
{
    (void)state;
    make_sender();
    for (unsigned i = 0; i < STEPS; i++) {
        model_step(&models[i], i, &models[i + 1]);
    }
    return 0;
}

int free_models(void **state)
{
    (void)state;
    for (unsigned i = 0; i <= STEPS; i++) {
        history_free(&models[i].log);
    }
    history_free(&sent);
    for (unsigned i = 0; i < CHUNKS; i++) {
        kvp_buf_free(&chunks[i]);
    }
    return 0;
}

/* ---- running the script ---- */

static kvp_status run_write(struct run *run)
{
    const struct step *step = &script[run->done];
    const struct model *before = &models[run->done], *after = &models[run->done + 1];
    struct kvp_storage_write write = {
        .sync = step->sync,
        .truncate = step->cut > 0,
        .truncate_after = before->log.count - step->cut,
        .append = &after->log.entries[before->log.count - step->cut],
        .append_count = step->append,
        .apply = &after->log.entries[before->applied],
        .apply_count = step->apply,
        .trim_to = after->base,
        .meta = &after->meta,
    };

    return kvp_storage_write(run->depot.storage, &write);
}

static kvp_status do_step(struct run *run)
{
    struct kvp_storage *storage = run->depot.storage;
    const struct kvp_meta *meta = &models[run->done + 1].meta;
    struct kvp_quarantined quarantined;
    switch (script[run->done].kind) {
    case OPEN:
        return depot_try(&run->depot);
    case WRITE:
        return run_write(run);
    case SYNC:
        return kvp_storage_sync_tail(storage);
    case REOPEN:
        depot_close(&run->depot);
        return depot_try(&run->depot);
    case BEGIN:
        run->chunk = 0;
        return kvp_storage_incoming_begin(storage);
    case CHUNK:
        return kvp_storage_incoming_write(storage, kvp_buf_slice(&chunks[run->chunk]));
    case FINISH:
        return kvp_storage_incoming_finish(storage, sent_point, meta, KVP_KEEP_NOT, &quarantined);
    case ABORT:
        kvp_storage_incoming_abort(storage); /* if that fails, it does so in silence */
        return KVP_OK;
    case ASIDE:
        return kvp_storage_quarantine(storage, meta, KVP_KEEP, &quarantined);
    }
    return KVP_BAD_ARGUMENT;
}

static bool promises(const struct step *step)
{
    return step->sync || step->kind == SYNC || step->kind == FINISH || step->kind == ASIDE;
}

kvp_status run_step(struct run *run)
{
    const struct step *step = &script[run->done];
    kvp_status status = do_step(run);
    if (status == KVP_OK) {
        run->chunk += step->kind == CHUNK ? 1 : 0;
        run->done++;
        run->durable = promises(step) ? run->done : run->durable;
    }
    return status;
}

kvp_status run_on(struct run *run, unsigned steps)
{
    kvp_status status = KVP_OK;
    while (run->done < steps && status == KVP_OK) {
        status = run_step(run);
    }
    return status;
}

void run_begin(struct run *run)
{
    memset(run, 0, sizeof(*run));
    place_open(&run->depot.place, false);
}

void run_end(struct run *run)
{
    depot_remove(&run->depot);
}

/* ---- what a cut may leave ---- */

/* The state may lag behind the log, which has what is missing. */
static bool matches(const struct kvp_loaded *loaded, const struct model *model)
{
    uint64_t applied = loaded->applied.seq;
    return kvp_point_equal(loaded->tail, history_point(&model->log, model->log.count)) &&
           applied <= model->applied && applied + 1 >= loaded->log_first &&
           kvp_point_equal(loaded->applied, history_point(&model->log, applied)) &&
           loaded->log_first <= model->base + 1 && loaded->meta.group_id == model->meta.group_id &&
           loaded->stores_quarantined == model->quarantined;
}

unsigned check_between(struct depot *depot, unsigned first, unsigned last)
{
    for (unsigned i = first; i <= last && i <= STEPS; i++) {
        const struct model *model = &models[i];
        if (matches(&depot->loaded, model)) {
            check_meta(&depot->loaded.meta, &model->meta); /* also: no doubt */
            check_all(depot, &model->log, model->base + 1, model->log.count,
                      depot->loaded.applied.seq);
            return i;
        }
    }
    fail_msg("at none of the steps %u..%u: applied %llu, log %llu..%llu", first, last,
             (unsigned long long)depot->loaded.applied.seq,
             (unsigned long long)depot->loaded.log_first,
             (unsigned long long)depot->loaded.tail.seq);
    return 0;
}

/* A quarantined store is called diverged-EPOCH-SEQ[-N]: it must have all up to that entry. */
static void check_quarantine(struct place *place, const char *name)
{
    struct kvp_store *store = store_open(place, name);
    const char *tail = strchr(strchr(name, '-') + 1, '-') + 1;
    assert_int_equal(store_log_tail(store), strtoull(tail, NULL, 10));
    store->ops->close(store);
}

/* Nothing lies about but one store and those quarantined. */
static void check_directory(struct place *place, unsigned quarantined)
{
    char *names = place_stores(place);
    unsigned active = 0;
    for (char *rest = NULL, *name = strtok_r(names, " ", &rest); name != NULL;
         name = strtok_r(NULL, " ", &rest)) {
        if (strncmp(name, "diverged-", 9) == 0) {
            check_quarantine(place, name);
            quarantined--;
        } else {
            active++;
        }
    }
    assert_int_equal(quarantined, 0);
    assert_int_equal(active, 1);
    free(names);
}

void check_goes_on(struct depot *depot, const struct model *model)
{
    struct history log = {.count = 0};
    uint64_t applied = depot->loaded.applied.seq;
    copy_history(&model->log, &log);
    history_grow(&log, 1000, 2);
    depot_append(depot, &log, log.count - 1, log.count);
    depot_reopen(depot);
    check_all(depot, &log, model->base + 1, log.count, applied);
    check_meta(&depot->loaded.meta, &model->meta);
    history_free(&log);
    check_directory(&depot->place, model->quarantined);
}
