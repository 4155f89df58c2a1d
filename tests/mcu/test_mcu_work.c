/* SPDX-License-Identifier: Apache-2.0 */
/* The microcontroller's client as a worker: every task once, whatever happens on the way. */
#include "mcu_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LONG_MS        20000u
#define BUFFER_SIZE    160u
#define WORKSPACE_SIZE 1000u
#define FOREVER        100000u

struct rig {
    struct peer peer;
    struct kvmcu client;
    struct kvmcu_worker worker;
    struct kvmcu_task task;
    uint8_t *buffer, *workspace, *checkpoint; /* of exactly their sizes, for the sanitizers */
    uint8_t result[2 * WORKSPACE_SIZE];
};

static struct rig *rig_new(void)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    rig->buffer = malloc(BUFFER_SIZE);
    rig->workspace = malloc(WORKSPACE_SIZE);
    rig->checkpoint = malloc(16);
    assert_true(rig->buffer != NULL && rig->workspace != NULL && rig->checkpoint != NULL);
    rig->worker = (struct kvmcu_worker){
        .name = "board",
        .kinds = work_kinds,
        .kind_count = 2,
        .workspace = rig->workspace,
        .workspace_size = WORKSPACE_SIZE,
        .checkpoint = rig->checkpoint,
        .checkpoint_max = 16,
    };
    peer_open(&rig->peer);
    peer_worker(&rig->peer, &rig->client, rig->buffer, BUFFER_SIZE, &rig->worker);
    rig->peer.work.tasks = 3;
    rig->peer.work.payload_size = 20;
    rig->peer.work.kind = 1;
    return rig;
}

static int rig_open(void **state)
{
    *state = rig_new();
    return 0;
}

static int rig_close(void **state)
{
    struct rig *rig = *state;
    kvmcu_stop(&rig->client);
    peer_close(&rig->peer);
    free(rig->buffer);
    free(rig->workspace);
    free(rig->checkpoint);
    free(rig);
    return 0;
}

static void twist(struct rig *rig, enum twist twist, unsigned times, int code)
{
    rig->peer.twist = twist;
    rig->peer.twists = times;
    rig->peer.code = code;
}

static int fetch(struct rig *rig, uint16_t wait_ms)
{
    memset(rig->workspace, 0, WORKSPACE_SIZE);
    return kvmcu_fetch(&rig->client, &rig->task, wait_ms, LONG_MS);
}

static int post(struct rig *rig)
{
    uint32_t size = rig->task.payload_size;
    for (uint32_t i = 0; i < size; i++) {
        rig->result[i] = rig->result[size + i] = rig->workspace[i] ^ WORK_XOR;
    }
    return kvmcu_post(&rig->client, &rig->task, KVMCU_OUTCOME_RESULT, rig->result, 2 * size,
                      LONG_MS);
}

static int beat(struct rig *rig, const char *checkpoint)
{
    return kvmcu_beat(&rig->client, &rig->task, 500, checkpoint,
                      checkpoint == NULL ? 0 : (uint32_t)strlen(checkpoint), LONG_MS);
}

/* All the tasks, with a beat in each. Losing one is no failure. */
static void work_off(struct rig *rig)
{
    for (unsigned i = 0; i < 10 * WORK_TASKS_MAX && !work_is_done(&rig->peer.work); i++) {
        if (fetch(rig, 100) == KVMCU_OK) {
            (void)beat(rig, NULL);
            (void)post(rig);
        }
    }
    assert_true(work_is_done(&rig->peer.work));
}

/* ---- as it should be ---- */

static void test_a_job(void **state)
{
    struct rig *rig = *state;
    struct work *work = &rig->peer.work;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(fetch(rig, 100), KVMCU_OK);
        assert_int_equal(rig->task.number, i);
        assert_int_equal(rig->task.kind, 1);
        assert_true(rig->task.job == WORK_JOB);
        assert_int_equal(rig->task.beat_ms, 500);
        assert_int_equal(rig->task.deadline_ms, 60000);
        assert_int_equal(rig->task.payload_size, 20 + i);
        assert_int_equal(beat(rig, NULL), KVMCU_OK);
        assert_true(kvmcu_wanted(&rig->client));
        assert_int_equal(work->progress, 500);
        assert_int_equal(post(rig), KVMCU_OK);
        assert_true(kvmcu_wanted(&rig->client));
    }
    assert_int_equal(fetch(rig, 100), KVMCU_NO_TASK);
    assert_int_equal(kvmcu_leave(&rig->client, LONG_MS), KVMCU_OK);
    assert_true(work_is_done(work));
    assert_int_equal(work->joins, 1);
    assert_int_equal(work->beats, 3);
    assert_int_equal(work->posts, 3);
    assert_int_equal(work->leaves, 1);
    assert_int_equal(work->buffer, WORKSPACE_SIZE);
    assert_int_equal(rig->peer.opens, 1);
    assert_memory_equal(work->kinds.data,
                        "\x92\xa5other\xa5"
                        "bytes",
                        13);
}

static void test_joining_by_itself_or_not(void **state)
{
    struct rig *rig = *state;
    struct work *work = &rig->peer.work;
    assert_int_equal(kvmcu_join(&rig->client, LONG_MS), KVMCU_OK);
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    assert_int_equal(work->joins, 1);
    assert_int_equal(kvmcu_join(&rig->client, LONG_MS), KVMCU_OK);
    assert_int_equal(work->joins, 2);
    assert_int_equal(kvmcu_leave(&rig->client, LONG_MS), KVMCU_OK);
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    assert_int_equal(work->joins, 3);
}

static void test_payloads_and_results_of_any_size(void **state)
{
    struct rig *rig = *state;
    struct work *work = &rig->peer.work;
    work->tasks = 1;
    for (uint32_t size = 0; size <= WORKSPACE_SIZE; size += size < 300 ? 1 : 70) {
        work->payload_size = size;
        work->task[0].counted = 0;
        rig->peer.read_max = 1 + size % 61;
        rig->peer.write_max = 1 + size % 97;
        assert_int_equal(fetch(rig, 0), KVMCU_OK);
        assert_int_equal(rig->task.payload_size, size);
        assert_int_equal(post(rig), KVMCU_OK);
    }
}

static void test_names_of_any_length(void **state)
{
    struct rig *rig = *state;
    static const char name[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    struct kvmcu_config config = {.transport = &rig->peer.transport,
                                  .group = "default",
                                  .urls = peer_urls,
                                  .url_count = PEER_NODES,
                                  .buffer = rig->buffer,
                                  .buffer_size = BUFFER_SIZE,
                                  .client = 1,
                                  .worker = &rig->worker};
    const char *kinds[KVMCU_KINDS_MAX];

    for (unsigned i = 0; i < KVMCU_KINDS_MAX; i++) {
        kinds[i] = name;
    }
    rig->worker.name = name;
    assert_int_equal(kvmcu_init(&rig->client, &config), KVMCU_BAD_ARGUMENT);
    free(rig->buffer);
    uint16_t size = KVMCU_BUFFER_FOR_WORKER(7, 64, 15 * 66);
    config.buffer = rig->buffer = malloc(size);
    config.buffer_size = size;
    rig->worker.kinds = kinds;
    rig->worker.kind_count = KVMCU_KINDS_MAX;
    assert_int_equal(kvmcu_init(&rig->client, &config), KVMCU_OK);
    twist(rig, TWIST_CODE, FOREVER, KVP_BAD_REQUEST); /* it must be well-formed */
    assert_int_equal(kvmcu_join(&rig->client, LONG_MS), KVMCU_BAD_REQUEST);
    rig->worker.kind_count++;
    assert_int_equal(kvmcu_init(&rig->client, &config), KVMCU_BAD_ARGUMENT);
    rig->worker.kind_count = 0;
    assert_int_equal(kvmcu_init(&rig->client, &config), KVMCU_BAD_ARGUMENT);
    rig->worker.kind_count = 1;
    rig->worker.name = "";
    assert_int_equal(kvmcu_init(&rig->client, &config), KVMCU_BAD_ARGUMENT);
}

static void test_requests_of_the_largest_numbers_fit(void **state)
{
    struct rig *rig = *state;
    uint16_t size = KVMCU_BUFFER_FOR_WORKER(7, 5, 14);
    rig->peer.work.tasks = WORK_TASKS_MAX;
    rig->peer.work.payload_size = 400;
    free(rig->buffer);
    rig->buffer = malloc(size < KVMCU_BUFFER_MIN ? KVMCU_BUFFER_MIN : size);
    peer_worker(&rig->peer, &rig->client, rig->buffer,
                size < KVMCU_BUFFER_MIN ? KVMCU_BUFFER_MIN : size, &rig->worker);
    rig->client.epoch_seen = rig->peer.epoch = ((uint64_t)1 << 62) - 2;
    rig->peer.seq = (uint64_t)1 << 61;
    rig->client.number = UINT32_MAX - 200;
    rig->client.fetches = UINT32_MAX - 200;
    rig->client.slot = UINT16_MAX;
    work_off(rig);
}

/* ---- memory ---- */

static void test_checkpoints(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    assert_int_equal(rig->task.checkpoint_size, 0);
    assert_int_equal(beat(rig, "half of it"), KVMCU_OK);
    rig->peer.work.instance = 0; /* and then it was lost */
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    assert_int_equal(rig->task.checkpoint_size, 10);
    assert_memory_equal(rig->checkpoint, "half of it", 10);
    assert_int_equal(beat(rig, ""), KVMCU_OK);
    assert_int_equal(rig->peer.work.checkpoint.size, 0);
    assert_int_equal(beat(rig, "longer than sixteen"), KVMCU_OK);
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    assert_int_equal(rig->task.checkpoint_size, 0);
    assert_int_equal(rig->task.payload_size, 20);
    rig->worker.checkpoint = NULL;
    rig->worker.checkpoint_max = 0;
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    assert_int_equal(post(rig), KVMCU_OK);
}

static void test_a_task_that_does_not_fit(void **state)
{
    struct rig *rig = *state;
    rig->peer.work.payload_size = WORKSPACE_SIZE + 1;
    assert_int_equal(fetch(rig, 0), KVMCU_DOES_NOT_FIT);
    assert_int_equal(rig->task.payload_size, WORKSPACE_SIZE + 1);
    assert_int_equal(
        kvmcu_post(&rig->client, &rig->task, KVMCU_OUTCOME_FAILED, "too large", 9, LONG_MS),
        KVMCU_OK);
    assert_false(kvmcu_wanted(&rig->client));
    assert_int_equal(rig->peer.work.posts, 1);
    rig->peer.work.payload_size = WORKSPACE_SIZE;
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    assert_int_equal(post(rig), KVMCU_OK);
    assert_int_equal(rig->peer.opens, 1);
}

static void test_a_kind_that_nobody_asked_for(void **state)
{
    struct rig *rig = *state;
    rig->peer.work.kind = 2;
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    assert_true(rig->task.kind >= rig->worker.kind_count);
    assert_int_equal(
        kvmcu_post(&rig->client, &rig->task, KVMCU_OUTCOME_GIVEN_BACK, NULL, 0, LONG_MS), KVMCU_OK);
}

static void test_a_damaged_payload(void **state)
{
    struct rig *rig = *state;
    rig->peer.work.lie = true;
    assert_int_equal(fetch(rig, 0), KVMCU_CORRUPT);
    rig->peer.work.lie = false;
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    assert_int_equal(rig->task.number, 0);
    assert_int_equal(rig->peer.work.task[0].given, 1); /* the same once more */
    twist(rig, TWIST_CODE, 1, KVP_CORRUPT);
    assert_int_equal(post(rig), KVMCU_CORRUPT);
    assert_int_equal(post(rig), KVMCU_OK);
}

static void test_arguments(void **state)
{
    struct rig *rig = *state;
    struct kvmcu plain;
    assert_int_equal(kvmcu_fetch(&rig->client, NULL, 0, 1), KVMCU_BAD_ARGUMENT);
    assert_int_equal(kvmcu_beat(&rig->client, NULL, 0, NULL, 0, 1), KVMCU_BAD_ARGUMENT);
    assert_int_equal(kvmcu_post(&rig->client, &rig->task, 0, NULL, 1, 1), KVMCU_BAD_ARGUMENT);
    peer_client(&rig->peer, &plain, rig->buffer, BUFFER_SIZE);
    assert_int_equal(kvmcu_join(&plain, 1), KVMCU_BAD_ARGUMENT);
    assert_int_equal(kvmcu_fetch(&plain, &rig->task, 0, 1), KVMCU_BAD_ARGUMENT);
    for (unsigned op = 0; op < 256; op++) {
        struct kvmcu_request request = {.op = (uint8_t)op};
        bool known =
            (op >= KVMCU_HELLO && op <= KVMCU_CAS) || (op >= KVMCU_JOIN && op <= KVMCU_POST);
        bool complete = op == KVMCU_HELLO || op == KVMCU_JOIN || op == KVMCU_LEAVE;
        assert_int_equal(kvmcu_start(&rig->client, &request, 0, 1),
                         known && complete ? KVMCU_PENDING : KVMCU_BAD_ARGUMENT);
        kvmcu_stop(&rig->client);
    }
}

/* ---- waiting ---- */

static void test_a_fetch_waits(void **state)
{
    struct rig *rig = *state;
    rig->peer.work.tasks = 0;
    assert_int_equal(kvmcu_join(&rig->client, LONG_MS), KVMCU_OK);
    unsigned asked = rig->peer.asked;
    uint32_t begin = rig->peer.now_ms;
    assert_int_equal(kvmcu_fetch(&rig->client, &rig->task, 30000, 1000), KVMCU_NO_TASK);
    assert_int_equal(rig->peer.asked, asked + 1);
    assert_in_range(rig->peer.now_ms - begin, 30000, 30010);
    begin = rig->peer.now_ms; /* and nobody says anything */
    twist(rig, TWIST_DROP, FOREVER, 0);
    assert_int_equal(kvmcu_fetch(&rig->client, &rig->task, 2000, 1000), KVMCU_TIMEOUT);
    assert_in_range(rig->peer.now_ms - begin, 3000, 3001);
    assert_in_range(rig->peer.asked - asked, 2, 3);
}

/* The next one is asked as soon as the connection breaks. */
static void test_the_primary_dies_while_a_fetch_waits(void **state)
{
    struct rig *rig = *state;
    struct kvmcu_request request = {.op = KVMCU_FETCH, .task = &rig->task, .wait_ms = 10000};
    rig->peer.work.tasks = 0;
    assert_int_equal(kvmcu_join(&rig->client, LONG_MS), KVMCU_OK);
    int status = kvmcu_start(&rig->client, &request, rig->peer.now_ms, 11000);
    for (unsigned i = 0; i < 2000 && status == KVMCU_PENDING; i++) {
        if (i == 1000) {
            rig->peer.dead[0] = true;
            rig->peer.primary = 2;
            rig->peer.epoch++;
            rig->peer.work.tasks = 1;
        }
        status = kvmcu_poll(&rig->client, ++rig->peer.now_ms);
    }
    assert_int_equal(status, KVMCU_OK);
    assert_int_equal(rig->peer.work.joins, 1);
    assert_int_equal(post(rig), KVMCU_OK);
    assert_int_equal(rig->peer.last_node, 2);
}

/* ---- what nodes say of the worker ---- */

static void test_a_worker_that_was_forgotten_joins_again(void **state)
{
    struct rig *rig = *state;
    struct work *work = &rig->peer.work;
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    work->instance = 0;
    assert_int_equal(beat(rig, NULL), KVMCU_WORKER_UNKNOWN);
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    assert_int_equal(work->joins, 2);
    work->instance = 0;
    assert_int_equal(post(rig), KVMCU_WORKER_UNKNOWN);
    work->instance = 0;
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    assert_int_equal(post(rig), KVMCU_OK);
    work->instance = 0;
    assert_int_equal(fetch(rig, 0), KVMCU_OK); /* which finds it out by itself */
    assert_int_equal(work->joins, 4);
    assert_int_equal(post(rig), KVMCU_OK);
}

static void test_nodes_that_forget_at_once(void **state)
{
    struct rig *rig = *state;
    unsigned joins;
    for (unsigned i = 0; i < 3; i++) {
        twist(rig, TWIST_CODE, FOREVER, KVP_WORKER_UNKNOWN);
        joins = rig->peer.asked;
        assert_int_equal(kvmcu_fetch(&rig->client, &rig->task, 0, 5000), KVMCU_TIMEOUT);
        assert_in_range(rig->peer.asked - joins, 5, 50); /* with pauses */
    }
}

static void test_words_that_end_a_worker(void **state)
{
    struct rig *rig = *state;
    static const int codes[] = {KVP_WORKER_REPLACED, KVP_WORKER_BARRED, KVP_NOT_HELD,
                                KVP_NO_SUCH_JOB, KVP_JOB_STATE};

    for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        assert_int_equal(fetch(rig, 0), KVMCU_OK);
        twist(rig, TWIST_CODE, 3, codes[i]);
        assert_int_equal(beat(rig, NULL), -codes[i]);
        assert_int_equal(post(rig), -codes[i]);
        assert_int_equal(fetch(rig, 0), -codes[i]);
    }
    rig->peer.work.instance += 1000;
    assert_int_equal(fetch(rig, 0), KVMCU_WORKER_REPLACED);
    assert_int_equal(kvmcu_leave(&rig->client, LONG_MS), KVMCU_WORKER_REPLACED);
}

static void test_nobody_wants_it_any_more(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    rig->peer.work.unwanted = true;
    assert_int_equal(beat(rig, NULL), KVMCU_OK);
    assert_false(kvmcu_wanted(&rig->client));
    rig->peer.work.task[0].counted = 1; /* somebody else was faster */
    assert_int_equal(post(rig), KVMCU_OK);
    assert_false(kvmcu_wanted(&rig->client));
}

static void test_a_group_that_is_replaced(void **state)
{
    struct rig *rig = *state;
    struct work *work = &rig->peer.work;
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    rig->peer.group_id++;
    rig->peer.epoch = 1;
    work->instance = 0;
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    assert_int_equal(work->joins, 2);
    assert_int_equal(post(rig), KVMCU_OK);
}

static void test_a_session_that_expires(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(kvmcu_join(&rig->client, LONG_MS), KVMCU_OK);
    rig->peer.forget = rig->peer.seq + 1;
    rig->peer.seq += 2;
    rig->peer.work.instance = 0;
    assert_int_equal(fetch(rig, 0), KVMCU_OK);
    assert_int_equal(post(rig), KVMCU_OK);
    assert_int_equal(rig->peer.work.joins, 2);
}

/* ---- a bad line ---- */

static void test_a_reset_at_every_byte(void **state)
{
    uint32_t moved = 0;
    (void)state;
    for (uint32_t at = 0; at == 0 || at <= moved; at++) {
        struct rig *rig = rig_new();
        rig->peer.work.payload_size = at % 3 * 100;
        rig->peer.cut_at = at == 0 ? NEVER : at;
        work_off(rig);
        assert_int_equal(rig->peer.work.posts, 3);
        assert_int_equal(rig->peer.work.joins, 1);
        assert_int_equal(kvmcu_leave(&rig->client, LONG_MS), KVMCU_OK);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(rig->peer.work.task[i].given, 1);
        }
        moved = rig->peer.moved > moved ? rig->peer.moved : moved;
        (void)rig_close((void **)&rig);
    }
    assert_in_range(moved, 1000, 5000);
}

static void test_answers_that_are_lost_late_or_double(void **state)
{
    static const enum twist twists[] = {TWIST_DROP,      TWIST_LATE,   TWIST_TWICE,
                                        TWIST_OLD_EPOCH, TWIST_BAD_ID, TWIST_BAD_LENGTH,
                                        TWIST_LONG};

    (void)state;
    for (unsigned kind = 0; kind < sizeof(twists) / sizeof(twists[0]); kind++) {
        for (unsigned spared = 0; spared < 12; spared++) {
            struct rig *rig = rig_new();
            rig->peer.spared = spared;
            twist(rig, twists[kind], 1 + spared % 3, 0);
            work_off(rig);
            assert_int_equal(rig->peer.work.posts, 3);
            assert_int_equal(rig->peer.work.joins, 1);
            for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(rig->peer.work.task[i].given, 1);
            }
            (void)rig_close((void **)&rig);
        }
    }
}

/* Every byte of the answer to a fetch as every other byte: what is said to be a payload is one. */
static void test_any_byte_of_a_grant(void **state)
{
    (void)state;
    for (unsigned at = 0; at < 90; at++) {
        for (unsigned value = 0; value < 256; value += 1 + at % 3) {
            struct rig *rig = rig_new();
            assert_int_equal(kvmcu_join(&rig->client, LONG_MS), KVMCU_OK);
            twist(rig, TWIST_BYTE, 1, (int)value);
            rig->peer.amount = at;
            int status = kvmcu_fetch(&rig->client, &rig->task, 0, 5000);
            if (status == KVMCU_OK) {
                assert_in_range(rig->task.payload_size, 20, 20);
                for (uint32_t i = 0; i < 20; i++) {
                    assert_int_equal(rig->workspace[i], i * 7);
                }
            }
            assert_true(status >= 0);
            (void)rig_close((void **)&rig);
        }
    }
}

/* Longer than a try, but it goes on. */
static void test_a_slow_line(void **state)
{
    struct rig *rig = *state;
    struct kvmcu_request request = {.op = KVMCU_FETCH, .task = &rig->task};
    rig->peer.work.payload_size = WORKSPACE_SIZE - 10;
    assert_int_equal(kvmcu_join(&rig->client, LONG_MS), KVMCU_OK);
    for (unsigned round = 0; round < 2; round++) {
        rig->peer.read_max = rig->peer.write_max = 3;
        int status = kvmcu_start(&rig->client, &request, rig->peer.now_ms, 10 * LONG_MS);
        while (status == KVMCU_PENDING) {
            rig->peer.now_ms += 100;
            status = kvmcu_poll(&rig->client, rig->peer.now_ms);
        }
        assert_int_equal(status, KVMCU_OK);
        request = (struct kvmcu_request){.op = KVMCU_POST,
                                         .task = &rig->task,
                                         .value = rig->result,
                                         .value_size = 2 * rig->task.payload_size};
        for (uint32_t i = 0; i < 2 * rig->task.payload_size; i++) {
            rig->result[i] = rig->workspace[i % rig->task.payload_size] ^ WORK_XOR;
        }
    }
    assert_int_equal(rig->peer.opens, 1);
    assert_int_equal(rig->peer.work.posts, 1);
}

/* ---- all of it ---- */

static uint32_t next_random(uint32_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 17;
    *random ^= *random << 5;
    return *random;
}

static void make_trouble(struct rig *rig, uint32_t *random)
{
    struct peer *peer = &rig->peer;
    static const int codes[] = {KVP_NOT_PRIMARY, KVP_UNCERTAIN, KVP_UNAVAILABLE, KVP_BUSY, KVP_IO};
    peer->read_max = 1 + next_random(random) % 90;
    peer->write_max = 1 + next_random(random) % 90;
    peer->cut_at = next_random(random) % 2 == 0 ? NEVER : peer->moved + next_random(random) % 900;
    peer->opening = next_random(random) % 4 == 0 ? next_random(random) % 500 : 0;
    peer->primary = next_random(random) % 8 == 0 ? next_random(random) % 3 : peer->primary;
    peer->epoch += next_random(random) % 8 == 0 ? 1 : 0;
    peer->dead[next_random(random) % 3] = next_random(random) % 3 == 0;
    peer->hint = next_random(random) % 4 == 0 ? peer_urls[next_random(random) % 3] : NULL;
    peer->twist = (enum twist)(next_random(random) % (TWIST_BAD_ID + 1));
    peer->twist = peer->twist == TWIST_BYTE ? TWIST_NONE : peer->twist; /* nobody could tell */
    peer->twists = next_random(random) % 5;
    peer->amount = 1 + next_random(random) % 20;
    peer->code = codes[next_random(random) % 5];
    if (peer->twist == TWIST_CODE_DONE && peer->code != KVP_IO) {
        peer->code = KVP_UNCERTAIN; /* the others say that it was not executed */
    }
    peer->work.instance = next_random(random) % 16 == 0 ? 0 : peer->work.instance;
    peer->forget = next_random(random) % 40 == 0 ? peer->seq : 0;
}

static void test_whatever_happens_results_are_right(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 400; seed++) {
        struct rig *rig = rig_new();
        struct work *work = &rig->peer.work;
        uint32_t random = seed * 2654435761u;
        work->tasks = 20;
        work->payload_size = next_random(&random) % 300;
        for (unsigned call = 0; call < 2000 && !work_is_done(work); call++) {
            make_trouble(rig, &random);
            if (kvmcu_fetch(&rig->client, &rig->task, (uint16_t)(next_random(&random) % 300),
                            next_random(&random) % 3000) != KVMCU_OK) {
                continue;
            }
            make_trouble(rig, &random);
            if (next_random(&random) % 2 == 0) {
                (void)beat(rig, "checkpoint");
                make_trouble(rig, &random);
            }
            (void)post(rig);
        }
        assert_true(work_is_done(work));
        for (unsigned i = 0; i < work->tasks; i++) {
            assert_int_equal(work->task[i].posted, 1);
        }
        (void)rig_close((void **)&rig);
    }
}

#define test(name) cmocka_unit_test_setup_teardown(test_##name, rig_open, rig_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_job),
        test(joining_by_itself_or_not),
        test(payloads_and_results_of_any_size),
        test(names_of_any_length),
        test(requests_of_the_largest_numbers_fit),
        test(checkpoints),
        test(a_task_that_does_not_fit),
        test(a_kind_that_nobody_asked_for),
        test(a_damaged_payload),
        test(arguments),
        test(a_fetch_waits),
        test(the_primary_dies_while_a_fetch_waits),
        test(a_worker_that_was_forgotten_joins_again),
        test(nodes_that_forget_at_once),
        test(words_that_end_a_worker),
        test(nobody_wants_it_any_more),
        test(a_group_that_is_replaced),
        test(a_session_that_expires),
        cmocka_unit_test(test_a_reset_at_every_byte),
        cmocka_unit_test(test_answers_that_are_lost_late_or_double),
        cmocka_unit_test(test_any_byte_of_a_grant),
        test(a_slow_line),
        cmocka_unit_test(test_whatever_happens_results_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
