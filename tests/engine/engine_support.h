/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engine tests share: a bench, which is an engine over a storage in memory, with the log
 * between them in the hands of the test: it decides when an entry is committed and when the store
 * has it. And short forms for requests and for what is expected of answers.
 */
#ifndef ENGINE_SUPPORT_H
#define ENGINE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kvstore/keyspace.h"
#include "kvstore/storage.h"
#include "tests/support/store_memory.h"
#include "replication/engine/engine.h"
#include "replication/wire/wire.h"

/* ---- bytes ---- */

#define TEXT(literal) kvp_slice_of(literal, sizeof(literal) - 1)

kvp_slice text(const char *text); /* NULL: empty */
/* `size` bytes that all are `fill`; lives until the next call. */
kvp_slice bytes(char fill, size_t size);
void check_slice(kvp_slice found, kvp_slice expected);

/* ---- a storage in memory, and the log ---- */

struct shelf {
    struct kvp_env *env;
    struct kvp_storage *storage;
    struct kvp_point tail;
};

void shelf_open(struct shelf *shelf);
void shelf_close(struct shelf *shelf);
/* Appends and applies an entry of this payload. */
void shelf_add(struct shelf *shelf, kvp_slice writeset);
/* The whole state, as raw keys and values in order. The caller frees it. */
kvp_buf shelf_dump(struct shelf *shelf);

/* ---- an engine ---- */

struct bench {
    struct shelf shelf;
    struct kvp_engine *engine;
    kvp_buf *sets; /* sets[i] is the write set of seq i + 1 */
    size_t count, capacity;
    uint64_t committed, applied;
    uint64_t now_us, step_us; /* so much passes with each request: a slot is idle at once. 0: the
                                 caller has a clock of his own */
};

void bench_open(struct bench *bench, uint32_t sessions_max);
void bench_open_with(struct bench *bench, const struct kvp_engine_config *config);
void bench_close(struct bench *bench);
uint64_t bench_next(const struct bench *bench);
/* Executes a request, which the engine must be able to, and appends its write set to the log. */
struct kvp_execution bench_run(struct bench *bench, const struct kvp_request *request);
void bench_commit(struct bench *bench, uint64_t seq);
/* The disk thread has written so far, which the engine has not been told. Commits, too: the core
 * has only what is committed applied. */
void bench_store(struct bench *bench, uint64_t seq);
void bench_apply(struct bench *bench, uint64_t seq); /* stored, and told */
void bench_settle(struct bench *bench);              /* applies everything */
/* Starts the engine anew over what the store has; everything must have been applied. */
void bench_restart(struct bench *bench);
/* The same, but the ages of the sessions are still to be read: bench_load(). */
void bench_promote(struct bench *bench);
void bench_load(struct bench *bench);
void execution_free(struct kvp_execution *execution);

/* ---- requests ---- */

struct kvp_request ask_put(const char *key, const char *value);
struct kvp_request ask_create(const char *key, const char *value);
struct kvp_request ask_delete(const char *key, uint64_t version);
struct kvp_request ask_cas(const char *key, uint64_t version, const char *value);
struct kvp_request with_session(struct kvp_request request, uint64_t client, uint16_t slot,
                                uint64_t number, uint64_t session_start);

/* ---- what is expected ---- */

/* The request is appended as the next entry and answered with KVP_OK and its seq. */
void check_done(struct bench *bench, struct kvp_request request);
/* It is answered so, without an entry. `number` is the result, where the status has one. */
void check_refused(struct bench *bench, struct kvp_request request, int status, uint64_t number);
/* What a committed read shows. `value` NULL: absent. */
void check_get(struct bench *bench, const char *key, const char *value, uint64_t modify,
               uint64_t create);

#endif
