/* SPDX-License-Identifier: Apache-2.0 */
#include "mcu_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

const char *const peer_urls[PEER_NODES] = {"tcp://10.0.0.1:7000", "tcp://10.0.0.2:7000",
                                           "tcp://10.0.0.3:7000"};

static struct kvp_txn_scratch scratch;

static void append(kvp_buf *buf, const void *data, size_t size)
{
    assert_int_equal(kvp_buf_append(buf, data, size), KVP_OK);
}

static void set(kvp_buf *buf, kvp_slice bytes)
{
    buf->size = 0;
    append(buf, bytes.data, bytes.size);
}

/* ---- the store ---- */

static struct peer_key *find_key(struct peer *peer, kvp_slice key)
{
    struct peer_key *unused = NULL;
    for (unsigned i = 0; i < PEER_KEYS; i++) {
        struct peer_key *item = &peer->keys[i];
        if (kvp_slice_compare(kvp_buf_slice(&item->key), key) == 0) {
            return item;
        }
        unused = item->key.size == 0 && unused == NULL ? item : unused;
    }
    assert_non_null(unused);
    set(&unused->key, key);
    return unused;
}

/* The code; result: what belongs to it. */
static int update(struct peer *peer, const struct kvp_request *request, kvp_buf *result)
{
    struct peer_key *item = find_key(peer, request->key);
    int status = KVP_OK;
    peer->executed++;
    if (request->op == KVP_OP_CREATE && item->modify != 0) {
        status = KVP_EXISTS;
    } else if (request->op == KVP_OP_DELETE && request->version == 0 && item->modify == 0) {
        return KVP_NOT_FOUND;
    } else if ((request->op == KVP_OP_CAS ||
                (request->op == KVP_OP_DELETE && request->version != 0)) &&
               item->modify != request->version) {
        status = KVP_VERSION_DIFFERS;
    }
    if (status != KVP_OK) {
        assert_int_equal(kvp_wire_result_uint(result, item->modify), KVP_OK);
        return status;
    }
    uint64_t revision = ++peer->seq;
    if (request->op == KVP_OP_DELETE) {
        item->modify = item->create = 0;
    } else {
        item->create = item->modify == 0 ? revision : item->create;
        item->modify = revision;
        set(&item->value, request->value);
    }
    assert_int_equal(kvp_wire_result_uint(result, revision), KVP_OK);
    return KVP_OK;
}

static struct peer_session_slot *find_session_slot(struct peer *peer,
                                                   const struct kvp_session_id *session)
{
    for (unsigned i = 0; i < PEER_SESSION_SLOTS; i++) {
        struct peer_session_slot *session_slot = &peer->session_slots[i];
        if (session_slot->client == 0 ||
            (session_slot->client == session->client && session_slot->slot == session->slot)) {
            return session_slot;
        }
    }
    fail_msg("more session_slots than the test has room for");
    return NULL;
}

static int update_once(struct peer *peer, const struct kvp_request *request, kvp_buf *result)
{
    const struct kvp_session_id *session = &request->session;
    struct peer_session_slot *session_slot = find_session_slot(peer, session);
    assert_int_not_equal(session->client, 0);
    assert_int_not_equal(session->number, 0);
    if (session->session_start < peer->forget) {
        return KVP_SESSION_EXPIRED;
    }
    if (session_slot->number > session->number) {
        return KVP_STALE_REQUEST;
    }
    if (session_slot->number < session->number) {
        session_slot->client = session->client;
        session_slot->slot = session->slot;
        session_slot->number = session->number;
        session_slot->answer.size = 0;
        session_slot->status = kvp_operation_of(request->op)->is_job
                                   ? work_execute(peer, request, &session_slot->answer)
                                   : update(peer, request, &session_slot->answer);
    }
    append(result, session_slot->answer.data, session_slot->answer.size);
    return session_slot->status;
}

static void say_hello(struct peer *peer, kvp_buf *result)
{
    bool primary = peer->node == peer->primary;
    struct kvp_hello hello = {.node_id = peer->node + 1,
                              .role = primary ? 4 : 1,
                              .primary_id = peer->primary + 1,
                              .group_id = peer->group_id,
                              .session_start = primary ? peer->seq : 0,
                              .node_count = PEER_NODES};

    for (unsigned i = 0; i < PEER_NODES; i++) {
        hello.nodes[i].id = i + 1;
        hello.nodes[i].url = kvp_slice_of(peer_urls[i], strlen(peer_urls[i]));
    }
    assert_int_equal(kvp_wire_result_hello(result, &hello), KVP_OK);
}

/* The newest update of the key is the only one that it knows of. */
static int watch(struct peer *peer, const struct kvp_request *request, kvp_buf *result)
{
    const struct peer_key *item = find_key(peer, request->key);
    struct kvp_scan_writer writer;
    kvp_slice end = request->value;
    uint64_t from = request->version;
    bool happened = from != 0 && item->modify >= from;
    assert_int_equal(end.size, request->key.size + 1);
    assert_memory_equal(end.data, request->key.data, request->key.size);
    assert_int_equal(((const uint8_t *)end.data)[end.size - 1], 0);
    if (from != 0 && from < peer->oldest) {
        assert_int_equal(kvp_wire_result_uint(result, peer->oldest), KVP_OK);
        return KVP_COMPACTED;
    }
    assert_int_equal(kvp_wire_scan_begin(&writer, result), KVP_OK);
    if (happened) {
        assert_int_equal(kvp_wire_scan_pair(&writer, request->key, item->modify, item->create,
                                            kvp_buf_slice(&item->value)),
                         KVP_OK);
    } else if (from != 0) {
        peer->out_when = peer->now_ms + request->wait_ms;
    }
    assert_int_equal(
        kvp_wire_scan_end(&writer, happened ? item->modify + 1 : peer->seq + 1, peer->seq, 0),
        KVP_OK);
    return KVP_OK;
}

static int execute(struct peer *peer, const struct kvp_request *request, kvp_buf *result)
{
    if (request->op == KVP_OP_HELLO) {
        say_hello(peer, result);
        return KVP_OK;
    }
    bool stale = (request->op == KVP_OP_GET || request->op == KVP_OP_WATCH) && request->stale;
    if (peer->node != peer->primary && !stale) {
        return KVP_NOT_PRIMARY;
    }
    if (request->epoch_seen > peer->epoch && !stale) {
        return KVP_UNAVAILABLE;
    }
    if (request->op == KVP_OP_TASK_FETCH || request->op == KVP_OP_TASK_BEAT) {
        assert_true(request->session.client == 0);
        return work_execute(peer, request, result);
    }
    if (request->op == KVP_OP_WATCH) {
        return watch(peer, request, result);
    }
    if (request->op != KVP_OP_GET) {
        return update_once(peer, request, result);
    }
    const struct peer_key *item = find_key(peer, request->key);
    if (item->modify == 0) {
        return KVP_NOT_FOUND;
    }
    assert_int_equal(kvp_wire_result_get(result, item->modify, item->create,
                                         kvp_buf_slice(&item->value), stale ? 3 : 0),
                     KVP_OK);
    return KVP_OK;
}

/* What a deposed primary might say: well-formed and wrong. */
static void say_old(const struct kvp_request *request, kvp_buf *result)
{
    struct kvp_task_grant grant = {.job = 1, .attempt = 1, .kind = kvp_slice_of("bytes", 5)};
    if (request->op == KVP_OP_WATCH) {
        struct kvp_scan_writer writer;
        assert_int_equal(kvp_wire_scan_begin(&writer, result), KVP_OK);
        assert_int_equal(kvp_wire_scan_end(&writer, 3, 2, 0), KVP_OK);
    } else if (request->op == KVP_OP_GET) {
        assert_int_equal(kvp_wire_result_get(result, 3, 3, kvp_slice_of("old", 3), 0), KVP_OK);
    } else if (request->op == KVP_OP_TASK_FETCH) {
        assert_int_equal(kvp_wire_result_grant(result, &grant), KVP_OK);
    } else if (request->op == KVP_OP_TASK_BEAT || request->op == KVP_OP_TASK_POST) {
        assert_int_equal(kvp_wire_bool(result, true), KVP_OK);
    } else {
        assert_int_equal(kvp_wire_result_uint(result, 3), KVP_OK);
    }
}

/* ---- answers ---- */

static void send_frame(struct peer *peer, uint32_t id, kvp_slice body, uint64_t length)
{
    uint8_t head[12];
    for (unsigned i = 0; i < 8; i++) {
        head[i] = (uint8_t)(length >> (56 - 8 * i));
    }
    for (unsigned i = 0; i < 4; i++) {
        head[8 + i] = (uint8_t)(id >> (24 - 8 * i));
    }
    append(&peer->out, head, sizeof(head));
    append(&peer->out, body.data, body.size);
}

static void send_twisted(struct peer *peer, enum twist twist, uint32_t id, kvp_buf *body)
{
    size_t before = peer->out.size;
    if (twist == TWIST_SHORT) {
        body->size -= peer->amount < body->size ? peer->amount : body->size;
    } else if (twist == TWIST_LONG) {
        append(body, "", 1);
    } else if (twist == TWIST_BYTE && peer->amount < body->size) {
        body->data[peer->amount] = (uint8_t)peer->code;
    } else if (twist == TWIST_LATE) {
        peer->out_when = peer->now_ms + PEER_LATE_MS;
    }
    append(&peer->out, peer->again.data, peer->again.size);
    before += peer->again.size;
    peer->again.size = 0;
    if (twist != TWIST_DROP) {
        send_frame(peer, twist == TWIST_BAD_ID ? id + 1000 : id, kvp_buf_slice(body),
                   twist == TWIST_BAD_LENGTH ? (uint64_t)1 << 40 : body->size + 4);
    }
    if (twist == TWIST_TWICE) {
        append(&peer->again, peer->out.data + before, peer->out.size - before);
    }
}

static void answer(struct peer *peer, uint32_t id, kvp_slice message)
{
    struct kvp_request request;
    const char *reason = "";
    kvp_buf result = {0}, body = {0};
    enum twist twist = TWIST_NONE;
    if (peer->mute && (int32_t)(peer->now_ms - peer->mute_until) >= 0) {
        peer->primary = 1;
    }
    if (peer->mute && peer->node == 0) {
        peer->muted++;
        return;
    }
    assert_int_equal(kvp_wire_request_decode(message, &scratch, &request, &reason), KVP_OK);
    assert_int_equal(kvp_slice_compare(request.group, kvp_slice_of("default", 7)), 0);
    peer->asked++;
    peer->hellos += request.op == KVP_OP_HELLO ? 1 : 0;
    peer->last_node = peer->node;
    peer->epoch_seen = request.epoch_seen;
    peer->last = kvp_operation_of(request.op)->is_update && request.op != KVP_OP_TASK_BEAT
                     ? request.session
                     : peer->last;
    if (peer->spared > 0) {
        peer->spared--;
    } else if (peer->twists > 0 && request.op != KVP_OP_HELLO) {
        peer->twists--;
        twist = peer->twist;
    }
    if (twist == TWIST_OLD_EPOCH && request.epoch_seen < 2) {
        twist = TWIST_NONE; /* to this client there is none */
    }
    struct kvp_answer made = {.epoch =
                                  twist == TWIST_OLD_EPOCH ? request.epoch_seen - 1 : peer->epoch};
    if (request.op == KVP_OP_HELLO && peer->hello_epoch != 0) {
        made.epoch = peer->hello_epoch;
    }
    if (twist == TWIST_OLD_EPOCH) {
        say_old(&request, &result);
    } else if (twist != TWIST_CODE) {
        made.status = execute(peer, &request, &result);
    }
    if (twist == TWIST_CODE || twist == TWIST_CODE_DONE) {
        made.status = peer->code;
        result.size = 0;
    }
    const char *hint = peer->hint != NULL ? peer->hint : peer_urls[peer->primary];
    made.hint = kvp_slice_of(hint, strlen(hint));
    made.result = kvp_buf_slice(&result);
    assert_int_equal(kvp_wire_answer_encode(&made, &body), KVP_OK);
    if (made.status == KVP_NO_TASK) {
        peer->out_when = peer->now_ms + request.job.wait_ms;
    }
    send_twisted(peer, twist, id, &body);
    kvp_buf_free(&result);
    kvp_buf_free(&body);
}

static void take_frames(struct peer *peer)
{
    static const uint8_t greeting[8] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};
    size_t at = 8;
    if (peer->in.size >= 8) {
        assert_memory_equal(peer->in.data, greeting, 8);
    }
    while (peer->in.size >= at + 12) {
        const uint8_t *head = peer->in.data + at;
        uint32_t size = (uint32_t)head[5] << 16 | (uint32_t)head[6] << 8 | head[7];
        uint32_t id =
            (uint32_t)head[8] << 24 | (uint32_t)head[9] << 16 | (uint32_t)head[10] << 8 | head[11];
        assert_true(size > 4 && id >> 31 == 1 && memcmp(head, "\0\0\0\0\0", 5) == 0);
        if (peer->in.size < at + 8 + size) {
            break;
        }
        answer(peer, id, kvp_slice_of(head + 12, size - 4));
        at += 8 + size;
    }
    if (at > 8) {
        memmove(peer->in.data + 8, peer->in.data + at, peer->in.size - at);
        peer->in.size -= at - 8;
    }
}

/* ---- the transport ---- */

static void reset(struct peer *peer)
{
    peer->connected = false;
    peer->in.size = peer->out.size = peer->out_at = peer->again.size = 0;
    peer->out_when = 0;
}

static int peer_connect(void *arg, unsigned index)
{
    struct peer *peer = arg;
    assert_in_range(index, 0, PEER_NODES - 1);
    assert_false(peer->connected);
    if (peer->opening > 0) {
        peer->opening--;
        return 0;
    }
    peer->opens++;
    if (peer->dead[index]) {
        return -1;
    }
    reset(peer);
    peer->connected = true;
    peer->node = index;
    append(&peer->out, "\0SP\0\0\x31\0\0", 8);
    return 1;
}

/* How many of the bytes go through, until the reset. < 0: it has happened. */
static int pass(struct peer *peer, size_t size, size_t most)
{
    uint32_t left = peer->cut_at == NEVER ? NEVER : peer->cut_at - peer->moved;
    if (peer->dead[peer->node]) {
        reset(peer);
    }
    if (peer->connected && left == 0) {
        peer->cut_at = NEVER;
        reset(peer);
    }
    if (!peer->connected) {
        return -1;
    }
    size = size < most ? size : most;
    size = size < left ? size : left;
    peer->moved += (uint32_t)size;
    return (int)size;
}

static int peer_send(void *arg, const void *data, size_t size)
{
    struct peer *peer = arg;
    int count = pass(peer, size, peer->write_max);
    if (count > 0) {
        append(&peer->in, data, (size_t)count);
        take_frames(peer);
    }
    return count;
}

static int peer_recv(void *arg, void *data, size_t size)
{
    struct peer *peer = arg;
    bool late = (int32_t)(peer->now_ms - peer->out_when) < 0 && peer->out_when != 0;
    size_t left = late ? 0 : peer->out.size - peer->out_at;
    int count = pass(peer, left < size ? left : size, peer->read_max);
    if (count > 0) {
        memcpy(data, peer->out.data + peer->out_at, (size_t)count);
        peer->out_at += (size_t)count;
    }
    return count;
}

static void peer_disconnect(void *arg)
{
    reset(arg);
}

static uint32_t peer_now(void *arg)
{
    return ((struct peer *)arg)->now_ms;
}

static void peer_idle(void *arg)
{
    ((struct peer *)arg)->now_ms++;
}

/* The clock wraps around in the middle of things. */
void peer_open(struct peer *peer)
{
    memset(peer, 0, sizeof(*peer));
    peer->transport = (struct kvmcu_transport){peer_connect, peer_send, peer_recv, peer_disconnect,
                                               peer_now,     peer_idle, peer};
    peer->now_ms = UINT32_MAX - 20;
    peer->epoch = 5;
    peer->group_id = 0x123456789abcdefu;
    peer->seq = 40;
    peer->read_max = peer->write_max = SIZE_MAX;
    peer->cut_at = NEVER;
}

void peer_close(struct peer *peer)
{
    for (unsigned i = 0; i < PEER_KEYS; i++) {
        kvp_buf_free(&peer->keys[i].key);
        kvp_buf_free(&peer->keys[i].value);
    }
    for (unsigned i = 0; i < PEER_SESSION_SLOTS; i++) {
        kvp_buf_free(&peer->session_slots[i].answer);
    }
    kvp_buf_free(&peer->work.checkpoint);
    kvp_buf_free(&peer->work.kinds);
    kvp_buf_free(&peer->in);
    kvp_buf_free(&peer->out);
    kvp_buf_free(&peer->again);
}

void peer_worker(struct peer *peer, struct kvmcu *client, uint8_t *buffer, uint16_t size,
                 const struct kvmcu_worker *worker)
{
    struct kvmcu_config config = {.transport = &peer->transport,
                                  .group = "default",
                                  .urls = peer_urls,
                                  .url_count = PEER_NODES,
                                  .buffer = buffer,
                                  .buffer_size = size,
                                  .client = 0x1122334455667788u,
                                  .worker = worker};

    assert_int_equal(kvmcu_init(client, &config), KVMCU_OK);
}

void peer_client(struct peer *peer, struct kvmcu *client, uint8_t *buffer, uint16_t size)
{
    peer_worker(peer, client, buffer, size, NULL);
}
