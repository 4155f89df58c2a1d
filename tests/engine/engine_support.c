/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/engine/engine_support.h"

#include "replication/engine/engine_state.h"

#include <stdlib.h>
#include <string.h>

/* ---- bytes ---- */

kvp_slice text(const char *text)
{
    return kvp_slice_of(text, text != NULL ? strlen(text) : 0);
}

kvp_slice bytes(char fill, size_t size)
{
    static char room[KVP_VALUE_SIZE_MAX + 1];
    assert_true(size <= sizeof(room));
    memset(room, fill, size);
    return kvp_slice_of(room, size);
}

void check_slice(kvp_slice found, kvp_slice expected)
{
    assert_int_equal(found.size, expected.size);
    if (expected.size > 0) {
        assert_memory_equal(found.data, expected.data, expected.size);
    }
}

/* ---- a storage in memory, and the log ---- */

void shelf_open(struct shelf *shelf)
{
    struct kvp_loaded loaded;
    char message[256] = "";
    memset(shelf, 0, sizeof(*shelf));
    assert_int_equal(kvp_env_memory_open(&shelf->env), KVP_OK);
    if (kvp_storage_open(shelf->env, "bench", 1, &shelf->storage, &loaded, message,
                         sizeof(message)) != KVP_OK) {
        fail_msg("%s", message);
    }
}

void shelf_close(struct shelf *shelf)
{
    kvp_storage_close(shelf->storage);
    shelf->env->ops->close(shelf->env);
}

void shelf_add(struct shelf *shelf, kvp_slice writeset)
{
    struct kvp_entry *entry = kvp_entry_new(writeset.size);
    assert_non_null(entry);
    if (writeset.size > 0) {
        memcpy(entry->payload, writeset.data, writeset.size);
    }
    kvp_entry_chain(entry, shelf->tail, 1);
    shelf->tail = entry->point;
    struct kvp_storage_write write = {
        .append = &entry, .append_count = 1, .apply = &entry, .apply_count = 1};
    write.trim_to = shelf->tail.seq > 1 ? shelf->tail.seq - 1 : 0;
    if (kvp_storage_write(shelf->storage, &write) != KVP_OK) {
        fail_msg("%s", kvp_storage_error(shelf->storage));
    }
    kvp_entry_unref(entry);
}

static void add_sized(kvp_buf *dump, kvp_slice part)
{
    uint32_t size = (uint32_t)part.size;
    assert_int_equal(kvp_buf_append(dump, &size, sizeof(size)), KVP_OK);
    assert_int_equal(kvp_buf_append(dump, part.data, part.size), KVP_OK);
}

kvp_buf shelf_dump(struct shelf *shelf)
{
    kvp_buf dump = {0};
    kvp_slice key, value;
    struct kvp_state_view *view = kvp_storage_snapshot(shelf->storage);
    assert_non_null(view);
    assert_int_equal(kvp_state_view_seek(view, (kvp_slice){0}, (kvp_slice){0}), KVP_OK);
    while (kvp_state_view_read(view, &key, &value) == KVP_OK) {
        add_sized(&dump, key);
        add_sized(&dump, value);
        kvp_state_view_next(view);
    }
    kvp_state_view_close(view);
    return dump;
}

/* ---- an engine ---- */

void bench_open(struct bench *bench, uint32_t sessions_max)
{
    struct kvp_engine_config config = {.sessions_max = sessions_max, .session_idle_ms = 1};
    bench_open_with(bench, &config);
}

void bench_open_with(struct bench *bench, const struct kvp_engine_config *config)
{
    memset(bench, 0, sizeof(*bench));
    shelf_open(&bench->shelf);
    bench->step_us = 1000;
    assert_int_equal(kvp_engine_open(config, &bench->engine), KVP_OK);
    assert_int_equal(kvp_engine_start(bench->engine, bench->shelf.storage, 0), KVP_OK);
    bench_load(bench);
}

void bench_load(struct bench *bench)
{
    while (bench->engine->sessions.loading) {
        assert_int_equal(session_table_load(&bench->engine->sessions, 7), KVP_OK);
    }
}

void bench_close(struct bench *bench)
{
    kvp_engine_close(bench->engine);
    shelf_close(&bench->shelf);
    for (size_t i = 0; i < bench->count; i++) {
        kvp_buf_free(&bench->sets[i]);
    }
    free(bench->sets);
}

uint64_t bench_next(const struct bench *bench)
{
    return bench->count + 1;
}

static void keep_set(struct bench *bench, const kvp_buf *set)
{
    if (bench->count == bench->capacity) {
        bench->capacity = bench->capacity ? bench->capacity * 2 : 64;
        bench->sets = realloc(bench->sets, bench->capacity * sizeof(*bench->sets));
        assert_non_null(bench->sets);
    }
    kvp_buf *kept = &bench->sets[bench->count++];
    memset(kept, 0, sizeof(*kept));
    assert_int_equal(kvp_buf_append(kept, set->data, set->size), KVP_OK);
}

struct kvp_execution bench_run(struct bench *bench, const struct kvp_request *request)
{
    struct kvp_execution execution = {0};
    if (bench->step_us != 0) {
        bench->now_us += bench->step_us;
        kvp_engine_set_now(bench->engine, bench->now_us);
    }
    assert_int_equal(kvp_engine_execute(bench->engine, request, bench_next(bench), &execution),
                     KVP_OK);
    if (execution.kind == KVP_EXECUTION_APPEND) {
        keep_set(bench, &execution.writeset);
    } else {
        assert_int_equal(execution.writeset.size, 0);
    }
    if (execution.kind == KVP_EXECUTION_WAIT) {
        assert_true(execution.wait_seq > bench->committed && execution.wait_seq <= bench->count);
    }
    return execution;
}

void bench_commit(struct bench *bench, uint64_t seq)
{
    assert_true(seq <= bench->count);
    kvp_engine_commit(bench->engine, seq);
    bench->committed = seq > bench->committed ? seq : bench->committed;
    assert_int_equal(kvp_engine_committed(bench->engine), bench->committed);
}

void bench_store(struct bench *bench, uint64_t seq)
{
    bench_commit(bench, seq);
    while (bench->applied < seq) {
        shelf_add(&bench->shelf, kvp_buf_slice(&bench->sets[bench->applied++]));
    }
}

void bench_apply(struct bench *bench, uint64_t seq)
{
    bench_store(bench, seq);
    kvp_engine_applied(bench->engine, bench->applied);
}

void bench_settle(struct bench *bench)
{
    bench_apply(bench, bench->count);
}

void bench_restart(struct bench *bench)
{
    bench_promote(bench);
    bench_load(bench);
}

void bench_promote(struct bench *bench)
{
    assert_int_equal(bench->applied, bench->count);
    kvp_engine_reset(bench->engine);
    assert_int_equal(kvp_engine_start(bench->engine, bench->shelf.storage, bench->applied), KVP_OK);
}

void execution_free(struct kvp_execution *execution)
{
    kvp_buf_free(&execution->answer);
    kvp_buf_free(&execution->writeset);
}

/* ---- requests ---- */

struct kvp_request ask_put(const char *key, const char *value)
{
    return (struct kvp_request){.op = KVP_OP_PUT, .key = text(key), .value = text(value)};
}

struct kvp_request ask_create(const char *key, const char *value)
{
    return (struct kvp_request){.op = KVP_OP_CREATE, .key = text(key), .value = text(value)};
}

struct kvp_request ask_delete(const char *key, uint64_t version)
{
    return (struct kvp_request){.op = KVP_OP_DELETE, .key = text(key), .version = version};
}

struct kvp_request ask_cas(const char *key, uint64_t version, const char *value)
{
    return (struct kvp_request){
        .op = KVP_OP_CAS, .key = text(key), .version = version, .value = text(value)};
}

struct kvp_request with_session(struct kvp_request request, uint64_t client, uint16_t slot,
                                uint64_t number, uint64_t session_start)
{
    request.session = (struct kvp_session_id){client, slot, number, session_start};
    return request;
}

/* ---- what is expected ---- */

static uint64_t number_of(const struct kvp_execution *execution)
{
    uint64_t number = 0;
    assert_int_equal(kvp_wire_read_uint(kvp_buf_slice(&execution->answer), &number), KVP_OK);
    return number;
}

void check_done(struct bench *bench, struct kvp_request request)
{
    uint64_t seq = bench_next(bench);
    struct kvp_execution execution = bench_run(bench, &request);
    assert_int_equal(execution.kind, KVP_EXECUTION_APPEND);
    assert_int_equal(execution.status, KVP_OK);
    assert_int_equal(number_of(&execution), seq);
    execution_free(&execution);
}

void check_refused(struct bench *bench, struct kvp_request request, int status, uint64_t number)
{
    bool pending = bench->count > bench->committed;
    struct kvp_execution execution = bench_run(bench, &request);
    assert_int_equal(execution.status, status);
    if (status == KVP_EXISTS || status == KVP_VERSION_DIFFERS || status == KVP_NOT_FOUND) {
        /* The answer rests on everything before it, committed or not. */
        assert_int_equal(execution.kind, pending ? KVP_EXECUTION_WAIT : KVP_EXECUTION_ANSWER);
        assert_int_equal(pending ? execution.wait_seq : 0, pending ? bench->count : 0);
    } else {
        assert_int_equal(execution.kind, KVP_EXECUTION_ANSWER);
    }
    if (status == KVP_EXISTS || status == KVP_VERSION_DIFFERS) {
        assert_int_equal(number_of(&execution), number);
    } else if (status == KVP_NOT_FOUND || status == KVP_STALE_REQUEST ||
               status == KVP_SESSION_EXPIRED) {
        assert_int_equal(execution.answer.size, 0);
    } else {
        kvp_slice reason;
        assert_int_equal(kvp_wire_read_string(kvp_buf_slice(&execution.answer), &reason), KVP_OK);
        assert_true(reason.size > 0);
    }
    execution_free(&execution);
}

void check_get(struct bench *bench, const char *key, const char *value, uint64_t modify,
               uint64_t create)
{
    kvp_buf found = {0};
    struct kvp_record_versions versions = {0};
    kvp_status status = kvp_engine_get(bench->engine, text(key), &found, &versions);
    assert_int_equal(status, value != NULL ? KVP_OK : KVP_NOT_FOUND);
    if (value != NULL) {
        check_slice(kvp_buf_slice(&found), text(value));
        assert_int_equal(versions.modify_revision, modify);
        assert_int_equal(versions.create_revision, create);
    }
    kvp_buf_free(&found);
}
