/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/engine/oracle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Execution works on a copy of all keys and keeps what has changed. */
struct draft {
    struct oracle_version keys[ORACLE_KEYS];
    bool changed[ORACLE_KEYS];
};

kvp_slice oracle_key(unsigned index)
{
    static const char *const names[ORACLE_KEYS] = {
        "a",  "b", "c", "ab", "aba",  "k1",       "k10", "k11",
        "k2", "x", "y", "z",  "\xff", "\xff\xff", "zz",  "long-long-long-long-key",
        "E",  "S", "D", "0"};
    return text(names[index]);
}

static unsigned index_of(kvp_slice key)
{
    unsigned index = 0;
    while (kvp_slice_compare(oracle_key(index), key) != 0) {
        index++;
        assert_true(index < ORACLE_KEYS);
    }
    return index;
}

struct oracle_version oracle_at(const struct oracle *oracle, unsigned index, uint64_t seq)
{
    const struct oracle_key *key = &oracle->keys[index];
    struct oracle_version found = {0};
    for (size_t i = 0; i < key->count && key->versions[i].seq <= seq; i++) {
        found = key->versions[i];
    }
    return found;
}

static void keep(struct oracle *oracle, const struct draft *draft)
{
    for (unsigned i = 0; i < ORACLE_KEYS; i++) {
        struct oracle_key *key = &oracle->keys[i];
        if (!draft->changed[i]) {
            continue;
        }
        if (key->count == key->capacity) {
            key->capacity = key->capacity ? key->capacity * 2 : 16;
            key->versions = realloc(key->versions, key->capacity * sizeof(*key->versions));
            assert_non_null(key->versions);
        }
        key->versions[key->count] = draft->keys[i];
        key->versions[key->count++].seq = oracle->seq;
    }
}

static bool any_changed(const struct draft *draft)
{
    bool any = false;
    for (unsigned i = 0; i < ORACLE_KEYS; i++) {
        any = any || draft->changed[i];
    }
    return any;
}

/* ---- operations ---- */

static void set(struct draft *draft, unsigned index, kvp_slice value, uint64_t seq)
{
    struct oracle_version *key = &draft->keys[index];
    key->create = key->present ? key->create : seq;
    key->modify = seq;
    key->present = true;
    key->value = value;
    draft->changed[index] = true;
}

static void unset(struct draft *draft, unsigned index)
{
    draft->keys[index] = (struct oracle_version){0};
    draft->changed[index] = true;
}

static void number(struct expected *expected, int status, uint64_t value)
{
    expected->status = status;
    assert_int_equal(kvp_wire_result_uint(&expected->answer, value), KVP_OK);
}

static void run_single(struct draft *draft, const struct kvp_request *request, uint64_t seq,
                       struct expected *expected)
{
    unsigned index = index_of(request->key);
    const struct oracle_version *key = &draft->keys[index];
    bool removes = request->op == KVP_OP_DELETE;
    bool any = request->op == KVP_OP_PUT || (removes && request->version == 0);
    if (request->op == KVP_OP_CREATE && key->present) {
        number(expected, KVP_EXISTS, key->modify);
    } else if (request->op != KVP_OP_CREATE && !any && key->modify != request->version) {
        number(expected, KVP_VERSION_DIFFERS, key->modify);
    } else if (removes && !key->present) {
        expected->status = KVP_NOT_FOUND;
    } else {
        number(expected, KVP_OK, seq);
        if (removes) {
            unset(draft, index);
        } else {
            set(draft, index, request->value, seq);
        }
    }
}

static bool holds(const struct draft *draft, const struct kvp_compare *compare)
{
    const struct oracle_version *key = &draft->keys[index_of(compare->key)];
    bool equal = key->present && kvp_slice_compare(key->value, compare->value) == 0;
    const bool answers[] = {
        [KVP_COMPARE_ABSENT] = !key->present,
        [KVP_COMPARE_PRESENT] = key->present,
        [KVP_COMPARE_VERSION_EQUAL] = key->modify == compare->version,
        [KVP_COMPARE_VERSION_LESS] =
            key->modify<compare->version, [KVP_COMPARE_VERSION_GREATER] = key->modify> compare
                ->version,
        [KVP_COMPARE_VALUE_EQUAL] = equal,
        [KVP_COMPARE_VALUE_DIFFERS] = !equal,
    };
    return answers[compare->kind];
}

static bool as_number(kvp_slice value, long long *number)
{
    char text[32] = "", *end = text;
    errno = 0;
    if (value.size > 0 && value.size < sizeof(text) &&
        strchr("+ \t", *(const char *)value.data) == NULL) {
        memcpy(text, value.data, value.size);
        *number = strtoll(text, &end, 10);
    }
    return end != text && *end == '\0' && errno == 0;
}

/* The sum as a value that stays; none: there is no such number. */
static kvp_slice add(struct oracle *oracle, kvp_slice left, kvp_slice right, int *status)
{
    long long a = 0, b = 0, sum = 0;
    bool numbers = as_number(left, &a) && as_number(right, &b);
    *status = !numbers                                ? KVP_BAD_REQUEST
              : __builtin_saddll_overflow(a, b, &sum) ? KVP_OVERFLOW
                                                      : KVP_OK;
    if (*status != KVP_OK) {
        return (kvp_slice){0};
    }
    if (oracle->numbers == NULL) {
        oracle->numbers = calloc(ORACLE_NUMBERS, sizeof(*oracle->numbers));
    }
    assert_true(oracle->number_count < ORACLE_NUMBERS);
    char *kept = oracle->numbers[oracle->number_count++];
    return kvp_slice_of(kept, (size_t)sprintf(kept, "%lld", sum));
}

static int run_add(struct oracle *oracle, struct draft *draft, const struct kvp_txn_op *op,
                   uint64_t seq, kvp_buf *out)
{
    struct oracle_version *key = &draft->keys[index_of(op->key)];
    int status;
    kvp_slice sum = add(oracle, key->present ? key->value : text("0"), op->value, &status);
    if (status == KVP_OK) {
        set(draft, index_of(op->key), sum, seq);
        struct kvp_get_result get = {.modify = seq, .create = key->create, .value = sum};
        assert_int_equal(kvp_wire_txn_get(out, &get), KVP_OK);
    }
    return status;
}

static void run_op(struct draft *draft, const struct kvp_txn_op *op, uint64_t seq, kvp_buf *out)
{
    unsigned index = index_of(op->key);
    const struct oracle_version *key = &draft->keys[index];
    struct kvp_get_result get = {.modify = key->modify, .create = key->create, .value = key->value};
    kvp_status status = KVP_OK;
    if (op->kind == KVP_TXN_GET) {
        status = kvp_wire_txn_get(out, key->present ? &get : NULL);
    } else if (op->kind == KVP_TXN_PUT) {
        set(draft, index, op->value, seq);
        status = kvp_wire_txn_put(out);
    } else {
        status = kvp_wire_txn_delete(out, key->present);
        if (key->present) {
            unset(draft, index);
        }
    }
    assert_int_equal(status, KVP_OK);
}

/* Nothing of it happens, and the reason is the engine's. */
static void run_refused(struct draft *draft, int status, struct expected *expected)
{
    static const char *const reasons[] = {"what is stored under the key, or is to be added, is no "
                                          "whole number in decimal; nothing was "
                                          "changed",
                                          "the sum does not fit 64 bits; nothing was changed"};
    memset(draft, 0, sizeof(*draft));
    expected->status = status;
    assert_int_equal(
        kvp_wire_result_string(&expected->answer, reasons[status == KVP_OVERFLOW ? 1 : 0]), KVP_OK);
}

static void run_txn(struct oracle *oracle, struct draft *draft, const struct step *step,
                    uint64_t seq, uint64_t saw, struct expected *expected)
{
    int status = KVP_OK;
    const struct kvp_request *request = &step->request;
    bool all = true;
    kvp_buf results = {0};
    for (uint32_t i = 0; i < request->compare_count; i++) {
        all = all && holds(draft, &step->compares[i]);
    }
    const struct kvp_txn_op *ops = all ? step->then_ops : step->else_ops;
    uint32_t count = all ? request->then_count : request->else_count;
    for (uint32_t i = 0; i < count && status == KVP_OK; i++) {
        if (ops[i].kind == KVP_TXN_ADD) {
            status = run_add(oracle, draft, &ops[i], seq, &results);
        } else {
            run_op(draft, &ops[i], seq, &results);
        }
    }
    if (status != KVP_OK) {
        run_refused(draft, status, expected);
        kvp_buf_free(&results);
        return;
    }
    bool appends = request->session.client != 0 || any_changed(draft);
    assert_int_equal(kvp_wire_txn_begin(&expected->answer, all, appends ? seq : saw, count),
                     KVP_OK);
    assert_int_equal(kvp_buf_append(&expected->answer, results.data, results.size), KVP_OK);
    kvp_buf_free(&results);
}

/* ---- sessions ---- */

static struct oracle_session *find(struct oracle *oracle, const struct kvp_session_id *id)
{
    for (size_t i = 0; i < oracle->session_count; i++) {
        struct oracle_session *session = &oracle->sessions[i];
        if (session->client == id->client && session->slot == id->slot) {
            return session;
        }
    }
    return NULL;
}

/* Answered without execution? */
static bool known(struct oracle *oracle, const struct kvp_session_id *id, struct expected *expected)
{
    const struct oracle_session *session = find(oracle, id);
    if (session == NULL && id->session_start < oracle->floor) {
        expected->status = KVP_SESSION_EXPIRED;
        expected->refused = true;
    } else if (session != NULL && session->number > id->number) {
        expected->status = KVP_STALE_REQUEST;
        expected->refused = true;
    } else if (session != NULL && session->number == id->number) {
        expected->status = session->status;
        assert_int_equal(
            kvp_buf_append(&expected->answer, session->answer.data, session->answer.size), KVP_OK);
        return true;
    }
    return expected->refused;
}

static struct oracle_session *room(struct oracle *oracle)
{
    if (oracle->session_count < ORACLE_SESSIONS) {
        return &oracle->sessions[oracle->session_count++];
    }
    struct oracle_session *oldest = &oracle->sessions[0];
    for (size_t i = 1; i < ORACLE_SESSIONS; i++) {
        oldest = oracle->sessions[i].seq < oldest->seq ? &oracle->sessions[i] : oldest;
    }
    oracle->floor = oldest->seq;
    return oldest;
}

static void note(struct oracle *oracle, const struct kvp_session_id *id,
                 const struct expected *expected)
{
    struct oracle_session *session = find(oracle, id);
    session = session != NULL ? session : room(oracle);
    kvp_buf_free(&session->answer);
    *session = (struct oracle_session){.client = id->client,
                                       .slot = id->slot,
                                       .number = id->number,
                                       .seq = oracle->seq,
                                       .status = expected->status};
    assert_int_equal(kvp_buf_append(&session->answer, expected->answer.data, expected->answer.size),
                     KVP_OK);
}

/* ---- all together ---- */

struct expected oracle_run(struct oracle *oracle, const struct step *step)
{
    const struct kvp_request *request = &step->request;
    struct expected expected = {0};
    struct draft draft = {0};
    if (request->session.client != 0 && known(oracle, &request->session, &expected)) {
        return expected;
    }
    for (unsigned i = 0; i < ORACLE_KEYS; i++) {
        draft.keys[i] = oracle_at(oracle, i, UINT64_MAX);
    }
    if (request->op == KVP_OP_TXN) {
        run_txn(oracle, &draft, step, oracle->seq + 1, oracle->seq, &expected);
    } else {
        run_single(&draft, request, oracle->seq + 1, &expected);
    }
    expected.appends = request->session.client != 0 || any_changed(&draft);
    if (expected.appends) {
        oracle->seq++;
        keep(oracle, &draft);
    }
    if (request->session.client != 0) {
        note(oracle, &request->session, &expected);
    }
    return expected;
}

void oracle_free(struct oracle *oracle)
{
    for (unsigned i = 0; i < ORACLE_KEYS; i++) {
        free(oracle->keys[i].versions);
    }
    for (size_t i = 0; i < oracle->session_count; i++) {
        kvp_buf_free(&oracle->sessions[i].answer);
    }
    free(oracle->numbers);
}
