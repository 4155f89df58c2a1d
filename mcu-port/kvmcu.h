/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of kvpair for microcontrollers: C99, no heap, no operating system, no globals. It speaks
 * docs/protocol.md straight over whatever carries a stream of bytes; docs/mcu.md tells how to port.
 *
 * One call at a time. In a super-loop: kvmcu_start(), then kvmcu_poll() until it is not
 * KVMCU_PENDING. In a thread of its own: kvmcu_get(), kvmcu_put() and so on, which do just that.
 *
 * Not thread-safe: an instance belongs to one thread. Instances share nothing.
 */
#ifndef KVMCU_H
#define KVMCU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What became of a call. 0 to 255 are the codes of docs/protocol.md, section 3. */
enum kvmcu_status {
    KVMCU_PENDING = -1,
    KVMCU_OK = 0,
    KVMCU_NOT_FOUND = 1,
    KVMCU_EXISTS = 2,          /* create: the key is there; `revision` is its version */
    KVMCU_VERSION_DIFFERS = 3, /* `revision` is the present version, 0: absent */
    KVMCU_STALE_REQUEST = 9,   /* somebody else uses the same client number */
    KVMCU_BAD_REQUEST = 10,
    KVMCU_TOO_LARGE = 11,
    KVMCU_WRONG_GROUP = 12,
    KVMCU_BAD_VERSION = 13,
    KVMCU_BAD_OP = 14,
    KVMCU_REFUSED = 16,
    KVMCU_TIMEOUT = 18,         /* the deadline passed, and nothing was executed */
    KVMCU_TIMEOUT_UNKNOWN = 19, /* the update may have been executed, or may still be */
    KVMCU_BAD_ARGUMENT = 25,    /* or a call is under way already */
    KVMCU_CLOSED = 26,          /* kvmcu_stop() ended it, and nothing was executed */
    KVMCU_DOES_NOT_FIT = 256,   /* request or value is larger than the buffer; `size` tells of a
                                   value. What was asked for has been done, if it was sent */
};

enum kvmcu_op {
    KVMCU_HELLO = 1,
    KVMCU_GET = 2,
    KVMCU_PUT = 3,
    KVMCU_CREATE = 4,
    KVMCU_DELETE = 5,
    KVMCU_CAS = 6,
};

#define KVMCU_ADDRESSES_MAX 16u
#define KVMCU_BUFFER_MIN    128u
#define KVMCU_KEY_MAX       1024u
/* A buffer of this size holds every request with such a group, key and value. */
#define KVMCU_BUFFER_FOR(group, key, value) (67u + (group) + (key) + (value))

/*
 * What carries the bytes: one connection at a time. No function may block; `arg` is passed through.
 */
struct kvmcu_transport {
    /* Connects to the address of that number. 0: not yet, and it is called again with the same;
     * > 0: connected; < 0: failed. */
    int (*open)(void *arg, unsigned index);
    /* How many of the bytes were taken, 0: none at the moment; < 0: the connection is broken. */
    int (*send)(void *arg, const void *data, size_t size);
    /* How many bytes came, 0: none at the moment; < 0: the connection is broken or was closed. */
    int (*recv)(void *arg, void *data, size_t size);
    /* Also gives up an open() that was not finished. What is on its way is dropped. */
    void (*close)(void *arg);
    /* For the calls that block only: a clock that may wrap around, and what to do while nothing
     * is to be done (may be NULL). */
    uint32_t (*now_ms)(void *arg);
    void (*idle)(void *arg);
    void *arg;
};

/* Strings and what else is pointed to must stay as long as the client. */
struct kvmcu_config {
    const struct kvmcu_transport *transport;
    const char *group;
    const char *const *urls; /* of the nodes, as they call themselves: "tcp://10.0.0.1:7000" */
    uint8_t *buffer;         /* for requests and answers, one after the other */
    uint16_t buffer_size;    /* KVMCU_BUFFER_MIN or more */
    uint8_t url_count;       /* 1 to KVMCU_ADDRESSES_MAX */
    uint16_t try_ms;         /* so long without a word, and the next node is asked; 0: 300 */
    uint64_t client;         /* not 0; no two alike, also of one device before and after a reset */
};

/* Key and value must stay until the call is done. They must not be in the client's buffer. */
struct kvmcu_request {
    const void *key;
    const void *value;
    uint64_t version;    /* DELETE (0: any), CAS (0: absent) */
    uint16_t key_size;
    uint16_t value_size;
    uint8_t op;          /* enum kvmcu_op */
    bool stale;          /* GET: from any node, may be old */
};

struct kvmcu_result {
    int status;
    const uint8_t *value; /* in the buffer, until the next call; or why not, for people */
    uint32_t size;
    uint64_t revision; /* of the value or update; HELLO: birth */
    uint64_t created;  /* GET */
    uint64_t behind;   /* stale GET */
    uint64_t group_id; /* HELLO */
    uint8_t node, role, primary; /* HELLO */
};

/* For the client itself only. */
struct kvmcu {
    uint64_t client, birth, epoch_seen, group_id;
    uint64_t numbers[4];
    struct kvmcu_request request;
    const struct kvmcu_transport *transport;
    const char *group;
    const char *const *urls;
    uint8_t *buffer;
    uint32_t number;
    uint32_t id;
    uint32_t now_ms, deadline_ms, due_ms;
    uint32_t high, low;
    uint32_t frame_left, values_left, payload_left, kept;
    uint16_t buffer_size, out_at, out_size;
    uint16_t try_ms, slot, refused, silent;
    int16_t status;
    uint8_t url_count, group_size;
    uint8_t small[5];
    uint8_t link, state, stage, kind, bytes, expect, list_left;
    uint8_t target, hinted, strikes, rests, tries, sent_here, flags;
};

/* Mixes what a device has into a client number: its serial number, a count of its starts that
 * survives a reset, and whatever is random. */
uint64_t kvmcu_client_number(const void *seed, size_t size);

/* KVMCU_OK, KVMCU_BAD_ARGUMENT. Nothing is sent yet. */
int kvmcu_init(struct kvmcu *client, const struct kvmcu_config *config);

/* Begins a call. KVMCU_PENDING: kvmcu_poll() does it; else that is its end. The timeout is up to
 * 2^31 - 1. */
int kvmcu_start(struct kvmcu *client, const struct kvmcu_request *request, uint32_t now_ms,
                uint32_t timeout_ms);

/* Does what can be done at once, and returns: KVMCU_PENDING, or the outcome of the last call. */
int kvmcu_poll(struct kvmcu *client, uint32_t now_ms);

void kvmcu_result(const struct kvmcu *client, struct kvmcu_result *result);

/* Closes the connection and ends the call that is under way. The client can go on afterwards. */
void kvmcu_stop(struct kvmcu *client);

/* ---- calls that block until the outcome is there, at most about timeout_ms ---- */

int kvmcu_call(struct kvmcu *client, const struct kvmcu_request *request, uint32_t timeout_ms);

static inline int kvmcu_hello(struct kvmcu *client, uint32_t timeout_ms)
{
    struct kvmcu_request request = {.op = KVMCU_HELLO};

    return kvmcu_call(client, &request, timeout_ms);
}

static inline int kvmcu_get(struct kvmcu *client, const void *key, uint16_t key_size,
                            uint32_t timeout_ms)
{
    struct kvmcu_request request = {.op = KVMCU_GET, .key = key, .key_size = key_size};

    return kvmcu_call(client, &request, timeout_ms);
}

static inline int kvmcu_put(struct kvmcu *client, const void *key, uint16_t key_size,
                            const void *value, uint16_t value_size, uint32_t timeout_ms)
{
    struct kvmcu_request request = {.op = KVMCU_PUT, .key = key, .key_size = key_size,
                                    .value = value, .value_size = value_size};

    return kvmcu_call(client, &request, timeout_ms);
}

static inline int kvmcu_create(struct kvmcu *client, const void *key, uint16_t key_size,
                               const void *value, uint16_t value_size, uint32_t timeout_ms)
{
    struct kvmcu_request request = {.op = KVMCU_CREATE, .key = key, .key_size = key_size,
                                    .value = value, .value_size = value_size};

    return kvmcu_call(client, &request, timeout_ms);
}

static inline int kvmcu_delete(struct kvmcu *client, const void *key, uint16_t key_size,
                               uint64_t version, uint32_t timeout_ms)
{
    struct kvmcu_request request = {.op = KVMCU_DELETE, .key = key, .key_size = key_size,
                                    .version = version};

    return kvmcu_call(client, &request, timeout_ms);
}

static inline int kvmcu_cas(struct kvmcu *client, const void *key, uint16_t key_size,
                            uint64_t version, const void *value, uint16_t value_size,
                            uint32_t timeout_ms)
{
    struct kvmcu_request request = {.op = KVMCU_CAS, .key = key, .key_size = key_size,
                                    .version = version, .value = value, .value_size = value_size};

    return kvmcu_call(client, &request, timeout_ms);
}

#ifdef __cplusplus
}
#endif

#endif
