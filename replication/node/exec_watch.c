/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watching keys. A watch asks for what happened to a range from a revision on; it is answered from
 * the log as soon as there is something, or when its time is over, and says then up to where there
 * was nothing more. Nothing is kept of it from one request to the next.
 *
 * Whoever has been told all waits in an index, and an entry wakes whom it concerns. The others are
 * read for, in steps, from what the core has in memory; who is too far behind for that waits until
 * the disk has read a page of the log, one at a time for all of them.
 *
 * An entry of the log is one transaction: it is told whole.
 */
#include "replication/node/exec_state.h"

#include "kvstore/writeset.h"

#include <stdlib.h>
#include <string.h>

#define WATCHERS_MAX      16384u
#define WATCHERS_SIZE_MAX (16u * 1024u * 1024u)
#define SHARE_MAX         (WATCHERS_MAX / 4) /* of one identity */
#define WAIT_MAX_MS       30000u
#define EVENT_COUNT       1000u
#define EVENT_COUNT_MAX   10000u
#define EVENT_SIZE        (256u * 1024u)
#define EVENT_SIZE_MAX    (1024u * 1024u)
#define PAGE_COUNT_MAX    256u /* entries that the disk reads at once */
#define PAGE_SIZE_MAX     (256u * 1024u)
#define STEP_ENTRIES      256u /* looked at between other events: for one who watches, */
#define STEP_SIZE         (1024u * 1024u)
#define STEP_WATCHERS     256u            /* and so many of them, */
#define STEP_ANSWERED     (1024u * 1024u) /* with answers of so many bytes */
#define GONE_US           1000000u

/* What there is to tell: at the primary all that is committed, elsewhere what has been applied. */
static uint64_t watch_limit(const struct kvp_executor *executor)
{
    if (KVP_MUTANT(WATCH_UNCOMMITTED)) {
        return kvp_core_next_seq(executor->core) - 1;
    }
    return executor->running ? executor->committed : kvp_core_applied(executor->core);
}

/* ---- who comes and goes ---- */

static void watch_drop_page(struct exec_watches *watches)
{
    kvp_disk_job_free(watches->page);
    watches->page = NULL;
}

static void watcher_free(struct kvp_executor *executor, struct exec_watcher *watcher)
{
    struct exec_watches *watches = &executor->watches;
    if (watcher->list == &watches->ready || watcher->list == &watches->lagging) {
        watch_list_take(watcher);
    } else if (watcher->list != NULL) {
        watch_index_remove(watches->index, watcher);
        watches->parked--;
    }
    watch_tick_take(watcher);
    watches->count--;
    watches->size -= watcher->size;
    if (watcher->share != NULL) {
        *watcher->share -= 1;
    }
    free(watcher);
    if (watches->count == 0) {
        watch_drop_page(watches);
    }
}

static void watcher_refuse(struct kvp_executor *executor, struct exec_watcher *watcher, int status,
                           const char *reason)
{
    void *token = watcher->token;
    executor->answering = KVP_OP_WATCH;
    watcher_free(executor, watcher);
    exec_refuse(executor, token, status, reason);
}

/* Its time is over when this tick is. */
static struct watch_list *watch_tick_of(struct watch_index *index, uint64_t tick)
{
    return &index->ticks[tick & (WATCH_TICKS - 1)];
}

static uint64_t watch_tick_at(uint64_t time_us)
{
    return (time_us + WATCH_TICK_US - 1) / WATCH_TICK_US;
}

/* Whose time is over is answered, from wherever he is, but who waits for the disk: he would not get
 * on. */
static void watch_tick(struct kvp_executor *executor, uint64_t tick)
{
    struct exec_watches *watches = &executor->watches;
    struct watch_list *list = watch_tick_of(watches->index, tick);
    while (list->first != NULL) {
        struct exec_watcher *watcher = list->first;
        watch_tick_take(watcher);
        if (watcher->list != &watches->ready && watcher->list != &watches->lagging) {
            watch_index_remove(watches->index, watcher);
            watches->parked--;
            watcher->at = watcher->at > watches->seen ? watcher->at : watches->seen + 1;
            watch_list_push(&watches->ready, watcher);
        }
    }
}

static void watch_pass_time(struct kvp_executor *executor)
{
    struct exec_watches *watches = &executor->watches;
    uint64_t tick = executor->now_us / WATCH_TICK_US;
    if (tick > watches->tick + WATCH_TICKS) {
        watches->tick = tick - WATCH_TICKS;
    }
    while (watches->tick < tick) {
        watch_tick(executor, ++watches->tick);
    }
}

/* Those who have gone leave room; nobody looks for them at other times, since they wait for a short
 * while only. */
static void watch_drop_gone(struct kvp_executor *executor)
{
    struct exec_watches *watches = &executor->watches;
    if (executor->host.alive == NULL || executor->now_us < watches->again_us) {
        return;
    }
    watches->again_us = executor->now_us + GONE_US;
    for (unsigned i = 0; i < WATCH_TICKS; i++) {
        struct exec_watcher *next = watches->index->ticks[i].first;
        while (next != NULL) {
            struct exec_watcher *watcher = next;
            next = watcher->tick_next;
            if (!executor->host.alive(executor->host.arg, watcher->token)) {
                watcher_refuse(executor, watcher, KVP_CLOSED, NULL); /* into the void */
            }
        }
    }
}

static bool watch_has_room(const struct exec_watches *watches, size_t size, const uint32_t *share)
{
    return watches->count < WATCHERS_MAX && watches->size + size <= WATCHERS_SIZE_MAX &&
           (share == NULL || *share < SHARE_MAX);
}

static bool watch_index_make(struct kvp_executor *executor)
{
    struct exec_watches *watches = &executor->watches;
    if (watches->index == NULL) {
        watches->index = calloc(1, sizeof(*watches->index));
        if (watches->index != NULL) {
            watches->index->seed = executor->config.core.random;
        }
    }
    if (watches->count == 0) {
        watches->tick = executor->now_us / WATCH_TICK_US;
    }
    if (watches->index != NULL) {
        watch_pass_time(executor); /* so that no tick is mistaken for one of the next round */
    }
    return watches->index != NULL;
}

/* A copy of the request, in no list. NULL: there is no room. */
static struct exec_watcher *watcher_new(struct kvp_executor *executor,
                                        const struct kvp_request *request, void *token)
{
    struct exec_watches *watches = &executor->watches;
    struct exec_watcher *watcher;
    size_t size = sizeof(*watcher) + request->key.size + request->value.size;
    if (!watch_index_make(executor)) {
        return NULL;
    }
    uint32_t *share = watch_index_share(watches->index, request->asker);
    if (!watch_has_room(watches, size, share)) {
        watch_drop_gone(executor);
    }
    watcher = watch_has_room(watches, size, share) ? calloc(1, size) : NULL;
    if (watcher == NULL) {
        return NULL;
    }
    watcher->token = token;
    watcher->size = size;
    watcher->share = share;
    if (share != NULL) {
        *share += 1;
    }
    watcher->at = request->version;
    watcher->request = *request;
    watcher->request.key.data = watcher->keys;
    watcher->request.value.data = watcher->keys + request->key.size;
    if (request->key.size > 0) {
        memcpy(watcher->keys, request->key.data, request->key.size);
    }
    if (request->value.size > 0) {
        memcpy(watcher->keys + request->key.size, request->value.data, request->value.size);
    }
    watch_index_stem(watches->index, watcher);
    watches->count++;
    watches->size += size;
    return watcher;
}

static void watch_park(struct kvp_executor *executor, struct exec_watcher *watcher)
{
    struct exec_watches *watches = &executor->watches;
    if (watches->parked == 0) {
        watches->seen = watch_limit(executor);
    }
    watch_index_add(watches->index, watcher);
    watches->parked++;
}

/* ---- reading the log ---- */

/* The entry, from memory or from the page; NULL: it has to be read. */
static const struct kvp_entry *watch_entry(const struct kvp_executor *executor, uint64_t seq)
{
    const struct exec_watches *watches = &executor->watches;
    const struct kvp_entry *entry = kvp_core_entry(executor->core, seq);
    if (entry == NULL && watches->page != NULL && seq >= watches->page_from &&
        seq - watches->page_from < watches->page_count) {
        entry = watches->page->entries[seq - watches->page_from];
    }
    return entry;
}

static kvp_slice entry_writes(const struct kvp_entry *entry)
{
    return kvp_slice_of(entry->payload, entry->size);
}

/* The user's key of a write; false: it is about something else. */
static bool write_key(const struct kvp_batch_op *op, kvp_slice *key)
{
    const uint8_t *raw = op->key.data;
    *key = kvp_slice_of(raw + 1, op->key.size - 1);
    return raw[0] == KVP_PREFIX_DATA && !(KVP_MUTANT(WATCH_NO_DELETES) && op->is_delete);
}

/* What is read for one who watches. */
struct watch_reading {
    struct exec_watcher *watcher;
    struct kvp_scan_writer writer;
    size_t start; /* of the events in the buffer */
    uint32_t count_max;
    size_t size_max;
    size_t entries, size; /* looked at */
};

static uint32_t reading_bound(uint32_t asked, uint32_t usual, uint32_t max)
{
    uint32_t bound = asked != 0 ? asked : usual;
    return bound < max ? bound : max;
}

static kvp_status reading_begin(struct kvp_executor *executor, struct exec_watcher *watcher,
                                struct watch_reading *reading)
{
    const struct kvp_request *request = &watcher->request;
    *reading = (struct watch_reading){
        .watcher = watcher,
        .count_max = reading_bound(request->count_max, EVENT_COUNT, EVENT_COUNT_MAX),
        .size_max = reading_bound(request->size_max, EVENT_SIZE, EVENT_SIZE_MAX)};
    executor->scratch.size = 0;
    kvp_status status = kvp_wire_scan_begin(&reading->writer, &executor->scratch);
    reading->start = executor->scratch.size;
    return status;
}

static bool reading_is_full(const struct watch_reading *reading)
{
    return reading->writer.count >= reading->count_max ||
           reading->writer.out->size - reading->start >= reading->size_max;
}

static kvp_status reading_put(struct watch_reading *reading, kvp_slice key, uint64_t revision,
                              const struct kvp_batch_op *op)
{
    struct kvp_record record = {0};
    kvp_status status = op->is_delete ? KVP_OK : kvp_record_decode(op->value, &record);
    bool bare = op->is_delete || reading->watcher->request.keys_only;
    return status == KVP_OK
               ? kvp_wire_scan_pair(&reading->writer, key, revision, record.create_revision,
                                    bare ? (kvp_slice){0} : record.value)
               : status;
}

/* All events of an entry. */
static kvp_status reading_take(struct watch_reading *reading, const struct kvp_entry *entry)
{
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;
    kvp_slice key;
    kvp_writeset_begin(&iter, entry_writes(entry));
    kvp_status status = kvp_writeset_next(&iter, &op);
    while (status == KVP_OK) {
        if (write_key(&op, &key) && watch_covers(&reading->watcher->request, key)) {
            status = reading_put(reading, key, entry->point.seq, &op);
        }
        if (KVP_MUTANT(WATCH_SPLIT) && reading_is_full(reading)) {
            return status;
        }
        status = status == KVP_OK ? kvp_writeset_next(&iter, &op) : status;
    }
    reading->entries++;
    reading->size += entry->size;
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

static bool reading_goes_on(const struct watch_reading *reading, uint64_t limit)
{
    return reading->watcher->at <= limit && !reading_is_full(reading) &&
           reading->entries < STEP_ENTRIES && reading->size < STEP_SIZE;
}

/* Reads on, up to `limit`, as far as one step goes. KVP_NOT_FOUND: what comes next has to be read
 * from the disk. */
static kvp_status reading_step(struct kvp_executor *executor, struct watch_reading *reading,
                               uint64_t limit)
{
    kvp_status status = KVP_OK;
    while (status == KVP_OK && reading_goes_on(reading, limit)) {
        const struct kvp_entry *entry = watch_entry(executor, reading->watcher->at);
        if (entry == NULL && KVP_MUTANT(WATCH_MEMORY_ONLY)) {
            reading->watcher->at++;
            continue;
        }
        if (entry == NULL) {
            return KVP_NOT_FOUND;
        }
        uint64_t newer = reading->watcher->at + 1;
        if (KVP_MUTANT(WATCH_DISORDER) && newer <= limit && watch_entry(executor, newer) != NULL) {
            status = reading_take(reading, watch_entry(executor, newer));
            reading->watcher->at++;
        }
        status = status == KVP_OK ? reading_take(reading, entry) : status;
        reading->watcher->at++;
    }
    return status;
}

/* ---- answers ---- */

static void watch_failed(struct kvp_executor *executor, struct exec_watcher *watcher,
                         kvp_status status)
{
    exec_storage_failed(executor, status);
    watcher_refuse(executor, watcher, KVP_UNAVAILABLE, kvp_strerror(status));
}

static void watch_tell_compacted(struct kvp_executor *executor, void *token)
{
    executor->answering = KVP_OP_WATCH;
    executor->scratch.size = 0;
    kvp_status status = kvp_wire_result_uint(&executor->scratch, kvp_core_oldest(executor->core));
    exec_answer(executor, token, status == KVP_OK ? KVP_COMPACTED : KVP_UNAVAILABLE,
                kvp_buf_slice(&executor->scratch));
}

static bool watch_is_compacted(const struct kvp_executor *executor, uint64_t at)
{
    return at < kvp_core_oldest(executor->core);
}

/* The events read, and from where it goes on. */
static void watch_answer(struct kvp_executor *executor, struct watch_reading *reading,
                         uint64_t limit)
{
    struct exec_watcher *watcher = reading->watcher;
    uint64_t known = kvp_core_known_commit(executor->core), next = watcher->at;
    if (KVP_MUTANT(WATCH_BOOKMARK) && reading->writer.count == 0 && next <= limit) {
        next = limit + 1;
    }
    next -= KVP_MUTANT(WATCH_TWICE) && reading->writer.count > 0;
    kvp_status status = kvp_wire_scan_end(
        &reading->writer, next, limit, watcher->request.stale && known > limit ? known - limit : 0);
    if (status != KVP_OK) {
        watch_failed(executor, watcher, status);
        return;
    }
    void *token = watcher->token;
    executor->answering = KVP_OP_WATCH;
    watcher_free(executor, watcher);
    exec_answer(executor, token, KVP_OK, kvp_buf_slice(&executor->scratch));
}

/* May he be answered? If not, he has been. */
static bool watch_permits(struct kvp_executor *executor, struct exec_watcher *watcher)
{
    const struct kvp_request *request = &watcher->request;
    if (!request->stale && !exec_serving(executor)) {
        watcher_refuse(executor, watcher, KVP_UNAVAILABLE, "no lease from the in-sync set");
        return false;
    }
    if (request->asker != NULL && !KVP_MUTANT(ACCESS_WATCH_ONCE) &&
        !exec_access_permits(executor, request, watcher->token)) {
        watcher_free(executor, watcher); /* his right has gone meanwhile */
        return false;
    }
    return true;
}

/* One step for one who is in no list: he is answered, or is in one. Returns the bytes answered. */
static size_t watch_serve(struct kvp_executor *executor, struct exec_watcher *watcher)
{
    struct watch_reading reading;
    uint64_t limit = watch_limit(executor);
    if (!watch_permits(executor, watcher)) {
        return 0;
    }
    if (KVP_MUTANT(WATCH_SILENT_GAP) && watcher->at < kvp_core_oldest(executor->core)) {
        watcher->at = kvp_core_oldest(executor->core);
    }
    if (watch_is_compacted(executor, watcher->at)) {
        void *token = watcher->token;
        watcher_free(executor, watcher);
        watch_tell_compacted(executor, token);
        return 0;
    }
    kvp_status status = reading_begin(executor, watcher, &reading);
    status = status == KVP_OK ? reading_step(executor, &reading, limit) : status;
    bool over = executor->now_us >= watcher->until_us;
    if (status != KVP_OK && status != KVP_NOT_FOUND) {
        watch_failed(executor, watcher, status);
    } else if (reading.writer.count > 0 || (over && reading.entries > 0) ||
               (over && status == KVP_OK)) {
        watch_answer(executor, &reading, limit);
        return executor->scratch.size;
    } else if (status == KVP_NOT_FOUND) {
        watch_list_push(&executor->watches.lagging, watcher);
    } else if (watcher->at > limit) {
        watch_park(executor, watcher);
    } else {
        watch_list_push(&executor->watches.ready, watcher);
    }
    return 0;
}

static void watch_begin(struct kvp_executor *executor, const struct kvp_request *request,
                        void *token)
{
    struct exec_watches *watches = &executor->watches;
    struct exec_watcher *watcher = watcher_new(executor, request, token);
    if (watcher == NULL) {
        exec_refuse(executor, token, KVP_BUSY, "too many watches under way");
        return;
    }
    uint32_t wait_ms = request->wait_ms < WAIT_MAX_MS ? request->wait_ms : WAIT_MAX_MS;
    watcher->until_us = executor->now_us + (uint64_t)wait_ms * 1000;
    uint64_t tick = watch_tick_at(watcher->until_us);
    if (wait_ms > 0 && tick > watches->tick) {
        watch_tick_push(watch_tick_of(watches->index, tick), watcher);
    }
    if (KVP_MUTANT(WATCH_FROM_NOW) && executor->running) {
        watcher->at = watch_limit(executor) + 1;
    }
    (void)watch_serve(executor, watcher);
}

void exec_watch(struct kvp_executor *executor, const struct kvp_request *request, void *token)
{
    if (exec_store_is_away(executor, token)) {
        return;
    }
    struct kvp_request begun = *request;
    if (begun.version == 0) { /* he learns from where on, so that he misses nothing from now on */
        begun.version = watch_limit(executor) + 1;
        begun.wait_ms = 0;
    }
    watch_begin(executor, &begun, token);
}

/* ---- what an entry, the time, and the disk bring ---- */

/* An entry that is not in memory any more: nobody can be found by it, so all are read for. */
static void watch_wake_all(struct kvp_executor *executor)
{
    struct exec_watches *watches = &executor->watches;
    for (unsigned i = 0; i < WATCH_SLOTS && watches->parked > 0; i++) {
        while (watches->index->slots[i].first != NULL) {
            struct exec_watcher *watcher = watches->index->slots[i].first;
            watch_index_remove(watches->index, watcher);
            watches->parked--;
            watcher->at = watcher->at > watches->seen ? watcher->at : watches->seen + 1;
            watch_list_push(&watches->ready, watcher);
        }
    }
}

static void watch_wake(struct kvp_executor *executor, const struct kvp_entry *entry)
{
    struct exec_watches *watches = &executor->watches;
    struct kvp_writeset_iter iter;
    struct kvp_batch_op op;
    kvp_slice key;
    kvp_writeset_begin(&iter, entry_writes(entry));
    while (watches->parked > 0 && kvp_writeset_next(&iter, &op) == KVP_OK) {
        if (write_key(&op, &key)) {
            watches->parked -=
                watch_index_wake(watches->index, key, entry->point.seq, &watches->ready);
        }
    }
}

/* Holds the entries that have come against the index, as many as one step goes. */
static void watch_look(struct kvp_executor *executor)
{
    struct exec_watches *watches = &executor->watches;
    uint64_t limit = watch_limit(executor);
    size_t size = 0;
    for (unsigned n = 0;
         n < STEP_ENTRIES && size < STEP_SIZE && watches->parked > 0 && watches->seen < limit;
         n++) {
        const struct kvp_entry *entry = kvp_core_entry(executor->core, watches->seen + 1);
        if (entry == NULL) {
            watch_wake_all(executor);
            return;
        }
        watch_wake(executor, entry);
        size += entry->size;
        watches->seen++;
    }
}

/* One read at a time, for the first of those who wait for it. */
static void watch_ask_disk(struct kvp_executor *executor)
{
    struct exec_watches *watches = &executor->watches;
    if (watches->lagging.first == NULL || watches->reads || executor->replacing) {
        return;
    }
    struct kvp_disk_job *job = kvp_disk_job_new(KVP_DISK_READ_WATCHED, 0, PAGE_COUNT_MAX);
    if (job == NULL) {
        watcher_refuse(executor, watches->lagging.first, KVP_UNAVAILABLE,
                       kvp_strerror(KVP_NO_MEMORY));
        return;
    }
    job->from = watches->lagging.first->at;
    job->size_max = PAGE_SIZE_MAX;
    job->count_max = PAGE_COUNT_MAX;
    watches->reads = true;
    executor->host.disk(executor->host.arg, job);
}

static void watch_serve_ready(struct kvp_executor *executor)
{
    struct exec_watches *watches = &executor->watches;
    size_t answered = 0;
    for (unsigned n = 0;
         n < STEP_WATCHERS && answered < STEP_ANSWERED && watches->ready.first != NULL; n++) {
        struct exec_watcher *watcher = watches->ready.first;
        watch_list_take(watcher);
        answered += watch_serve(executor, watcher);
    }
}

void exec_watch_step(struct kvp_executor *executor)
{
    watch_pass_time(executor);
    watch_look(executor);
    watch_serve_ready(executor);
    watch_ask_disk(executor);
}

uint64_t exec_watch_deadline(const struct kvp_executor *executor)
{
    const struct exec_watches *watches = &executor->watches;
    bool looks = watches->parked > 0 && watches->seen < watch_limit(executor);
    return looks || watches->ready.first != NULL ? executor->now_us
                                                 : (watches->tick + 1) * WATCH_TICK_US;
}

/* What cannot be read has been let go of since, or will be had of another try. */
static void watch_page_failed(struct kvp_executor *executor, kvp_status status)
{
    struct exec_watches *watches = &executor->watches;
    if (status != KVP_NOT_FOUND && status != KVP_NO_MEMORY) {
        exec_storage_failed(executor, status);
    }
    struct exec_watcher *first = watches->lagging.first;
    if (first != NULL && (status != KVP_NOT_FOUND || !watch_is_compacted(executor, first->at))) {
        watcher_refuse(executor, first, KVP_UNAVAILABLE, "the log cannot be read at the moment");
    }
}

/* What is behind the limit may still be cut off the log. */
static size_t watch_count_settled(const struct kvp_executor *executor,
                                  const struct kvp_disk_job *job)
{
    uint64_t limit = watch_limit(executor);
    uint64_t settled = limit >= job->from ? limit - job->from + 1 : 0;
    return settled < job->entry_count ? (size_t)settled : job->entry_count;
}

void exec_watch_page(struct kvp_executor *executor, struct kvp_disk_job *job)
{
    struct exec_watches *watches = &executor->watches;
    bool counts = !watches->reads_nothing;
    watches->reads = watches->reads_nothing = false;
    watch_drop_page(watches);
    if (counts && job->status == KVP_OK) {
        watches->page = job;
        watches->page_from = job->from;
        watches->page_count = watch_count_settled(executor, job);
    } else {
        if (counts) {
            watch_page_failed(executor, job->status);
        }
        kvp_disk_job_free(job);
    }
    while (watches->lagging.first != NULL) {
        struct exec_watcher *watcher = watches->lagging.first;
        watch_list_take(watcher);
        watch_list_push(&watches->ready, watcher);
    }
}

/* ---- the end ---- */

static void watch_end_list(struct kvp_executor *executor, struct watch_list *list)
{
    while (list->first != NULL) {
        watcher_refuse(executor, list->first, KVP_NOT_PRIMARY, NULL);
    }
}

void exec_watch_end(struct kvp_executor *executor)
{
    struct exec_watches *watches = &executor->watches;
    watch_end_list(executor, &watches->ready);
    watch_end_list(executor, &watches->lagging);
    for (unsigned i = 0; watches->count > 0 && i < WATCH_SLOTS; i++) {
        watch_end_list(executor, &watches->index->slots[i]);
    }
    watch_drop_page(watches);
    watches->reads_nothing = watches->reads;
}

void exec_watch_free(struct kvp_executor *executor)
{
    exec_watch_end(executor);
    free(executor->watches.index);
    executor->watches.index = NULL;
}
