/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of kvpair for microcontrollers: C99, no heap, no operating system, no globals. It speaks
 * docs/protocol.md straight over whatever carries a stream of bytes; docs/mcu.md tells how to port.
 *
 * One call at a time. In a super-loop: kvmcu_start(), then kvmcu_poll() until it is not
 * KVMCU_PENDING. In a thread of its own: kvmcu_get(), kvmcu_put() and so on, which do just that.
 *
 * A worker in a loop fetches a task, beats while it works on it, and posts the result. It joins by
 * itself, and again when the nodes have forgotten it.
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
    KVMCU_CORRUPT = 22,      /* FETCH: the payload came damaged, fetch again; POST: the result did,
                                post again */
    KVMCU_BAD_ARGUMENT = 25, /* or a call is under way already */
    KVMCU_CLOSED = 26,       /* kvmcu_stop() ended it, and nothing was executed */
    KVMCU_NO_SUCH_JOB = 31,  /* the job is over, or not there any more */
    KVMCU_JOB_STATE = 32,    /* likewise */
    KVMCU_NO_TASK = 33,      /* FETCH: nothing to do at the moment; fetch again */
    KVMCU_WORKER_UNKNOWN = 34,  /* BEAT, POST: the task is lost; the next FETCH joins again */
    KVMCU_WORKER_REPLACED = 35, /* another worker has joined under this name: end */
    KVMCU_WORKER_BARRED = 36,   /* lost too many votes, or failed what others did: end */
    KVMCU_NOT_HELD = 37,        /* BEAT, POST: the task was not given to this worker */
    KVMCU_COMPACTED = 39,     /* WATCH: the nodes do not know any more what happened then; GET, and
                                 watch from `next` */
    KVMCU_DOES_NOT_FIT = 256, /* request or value is larger than its memory; `size` tells of a
                                 value. What was asked for has been done, if it was sent */
};

enum kvmcu_op {
    KVMCU_HELLO = 1,
    KVMCU_GET = 2,
    KVMCU_PUT = 3,
    KVMCU_CREATE = 4,
    KVMCU_DELETE = 5,
    KVMCU_CAS = 6,
    KVMCU_WATCH = 15,
    KVMCU_JOIN = 24, /* FETCH does that, too */
    KVMCU_LEAVE = 25,
    KVMCU_FETCH = 26,
    KVMCU_BEAT = 27,
    KVMCU_POST = 28,
};

/* How an attempt at a task ended. */
enum kvmcu_outcome {
    KVMCU_OUTCOME_RESULT = 0,
    KVMCU_OUTCOME_FAILED = 1,     /* the value says why, for people */
    KVMCU_OUTCOME_OVERFLOW = 2,   /* the result does not fit its type */
    KVMCU_OUTCOME_GIVEN_BACK = 3, /* nobody's fault: somebody else may do it */
};

#define KVMCU_ADDRESSES_MAX 16u
#define KVMCU_BUFFER_MIN    128u
#define KVMCU_KEY_MAX       1024u
#define KVMCU_NAME_MAX      64u
#define KVMCU_KINDS_MAX     15u
/* A buffer of this size holds every request about such a key, whatever the value: what of it does
 * not fit is sent from where it lies. */
#define KVMCU_BUFFER_FOR(group, key) (69u + (group) + (key))
/* And a WATCH of it. */
#define KVMCU_BUFFER_FOR_WATCH(group, key) KVMCU_BUFFER_FOR(group, 2u * (key))
/* And a worker's; `kinds`: their lengths in sum, and two bytes more for each. */
#define KVMCU_BUFFER_FOR_WORKER(group, name, kinds) (99u + (group) + (name) + (kinds))

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

/* What a worker is. Its name must be its own; it may be the same after a reset. */
struct kvmcu_worker {
    const char *name;
    const char *const *kinds; /* of tasks that it can do */
    uint8_t *workspace;       /* where payloads go: align it as the tasks want it */
    uint8_t *checkpoint;      /* where checkpoints go; may be NULL */
    uint32_t workspace_size;  /* no task comes that needs more, payload and result */
    uint32_t checkpoint_max;  /* longer ones are left out */
    uint8_t kind_count;       /* 1 to KVMCU_KINDS_MAX */
    bool standby;             /* gets tasks when another worker is gone */
};

/* A task, of which the nodes know by these numbers. */
struct kvmcu_task {
    uint64_t job, attempt;
    uint32_t number;
    uint32_t beat_ms;      /* beat at least so often */
    uint32_t deadline_ms;  /* it will be taken away then */
    uint32_t crc;          /* of the payload */
    uint32_t payload_size; /* in the worker's workspace, which is the user's until the next FETCH */
    uint32_t checkpoint_size; /* 0: none */
    uint8_t kind;             /* its place in the worker's list of kinds */
};

/* Strings and what else is pointed to must stay as long as the client. */
struct kvmcu_config {
    const struct kvmcu_transport *transport;
    const struct kvmcu_worker *worker; /* NULL: none */
    const char *group;
    const char *const *urls; /* of the nodes, as they call themselves: "tcp://10.0.0.1:7000" */
    uint8_t *buffer;         /* for requests and answers, one after the other */
    uint16_t buffer_size;    /* KVMCU_BUFFER_MIN or more */
    uint8_t url_count;       /* 1 to KVMCU_ADDRESSES_MAX */
    uint16_t try_ms;         /* so long without a word, and the next node is asked; 0: 300 */
    uint64_t client;         /* not 0; no two alike, also of one device before and after a reset */
};

/* It must stay until the call is done, and so must what it points to, none of which may be in the
 * client's buffer. */
struct kvmcu_request {
    const void *key;
    const void *value;       /* BEAT: checkpoint, NULL: none; POST: result, or reason for people */
    struct kvmcu_task *task; /* FETCH: set when the outcome is OK; BEAT, POST: as it was set */
    uint64_t version; /* DELETE (0: any), CAS (0: absent), WATCH: from there on (0: from now on,
                         which is answered at once) */
    uint32_t value_size;
    uint16_t key_size;
    uint16_t wait_ms; /* FETCH: for a task to come, WATCH: for something to happen; nodes wait up to
                         30 s */
    uint16_t progress; /* BEAT: thousandths */
    uint8_t op;        /* enum kvmcu_op */
    uint8_t outcome;   /* POST: enum kvmcu_outcome */
    bool stale;        /* GET, WATCH: from any node, may be old */
};

struct kvmcu_result {
    int status;
    const uint8_t *value; /* in the buffer, until the next call; or why not, for people */
    uint32_t size;
    uint64_t revision; /* of the value or update; HELLO: session start; BEAT, POST: is (was) the
                          result wanted? 0: no, there is one already, or nobody needs it; WATCH: at
                          which it happened, 0: nothing did */
    uint64_t created;  /* GET, WATCH: revision that created the key; 0: it was deleted */
    uint64_t next;     /* WATCH: what to ask from next */
    uint64_t behind;   /* stale GET */
    uint64_t group_id; /* HELLO */
    uint8_t node, role, primary; /* HELLO */
};

/* For the client itself only. The small ones come first: on small cores what is near is cheaper. */
struct kvmcu {
    uint8_t state, link, stage, kind, bytes, expect, flags;
    uint8_t op, asked, target, hinted, moves, backoffs, tries, losses, mute, sent_here, list_left,
        url_count;
    uint8_t small[5];
    uint16_t buffer_size, out_at, out_size;
    uint16_t try_ms, slot, refused, silent;
    int16_t status;
    uint8_t *buffer, *sink;
    const struct kvmcu_request *request;
    const struct kvmcu_worker *worker;
    const struct kvmcu_transport *transport;
    uint32_t kept, payload_left, frame_left, values_left, tail_left;
    uint32_t high, low;
    uint32_t now_ms, deadline_ms, due_ms;
    uint32_t id, number, fetches;
    const char *group;
    const char *const *urls;
    uint64_t numbers[4];
    uint64_t epoch_seen, client, session_start, instance, group_id;
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

/* Sets what is not named to 0, in C and in C++. */
#ifdef __cplusplus
#define KVMCU_NOTHING                                                                              \
    {                                                                                              \
    }
#else
#define KVMCU_NOTHING                                                                              \
    {                                                                                              \
        0                                                                                          \
    }
#endif

int kvmcu_call(struct kvmcu *client, const struct kvmcu_request *request, uint32_t timeout_ms);

static inline int kvmcu_hello(struct kvmcu *client, uint32_t timeout_ms)
{
    struct kvmcu_request request = KVMCU_NOTHING;

    request.op = KVMCU_HELLO;
    return kvmcu_call(client, &request, timeout_ms);
}

static inline int kvmcu_get(struct kvmcu *client, const void *key, uint16_t key_size,
                            uint32_t timeout_ms)
{
    struct kvmcu_request request = KVMCU_NOTHING;

    request.op = KVMCU_GET;
    request.key = key;
    request.key_size = key_size;
    return kvmcu_call(client, &request, timeout_ms);
}

static inline int kvmcu_put(struct kvmcu *client, const void *key, uint16_t key_size,
                            const void *value, uint32_t value_size, uint32_t timeout_ms)
{
    struct kvmcu_request request = KVMCU_NOTHING;

    request.op = KVMCU_PUT;
    request.key = key;
    request.key_size = key_size;
    request.value = value;
    request.value_size = value_size;
    return kvmcu_call(client, &request, timeout_ms);
}

static inline int kvmcu_create(struct kvmcu *client, const void *key, uint16_t key_size,
                               const void *value, uint32_t value_size, uint32_t timeout_ms)
{
    struct kvmcu_request request = KVMCU_NOTHING;

    request.op = KVMCU_CREATE;
    request.key = key;
    request.key_size = key_size;
    request.value = value;
    request.value_size = value_size;
    return kvmcu_call(client, &request, timeout_ms);
}

static inline int kvmcu_delete(struct kvmcu *client, const void *key, uint16_t key_size,
                               uint64_t version, uint32_t timeout_ms)
{
    struct kvmcu_request request = KVMCU_NOTHING;

    request.op = KVMCU_DELETE;
    request.key = key;
    request.key_size = key_size;
    request.version = version;
    return kvmcu_call(client, &request, timeout_ms);
}

static inline int kvmcu_cas(struct kvmcu *client, const void *key, uint16_t key_size,
                            uint64_t version, const void *value, uint32_t value_size,
                            uint32_t timeout_ms)
{
    struct kvmcu_request request = KVMCU_NOTHING;

    request.op = KVMCU_CAS;
    request.key = key;
    request.key_size = key_size;
    request.version = version;
    request.value = value;
    request.value_size = value_size;
    return kvmcu_call(client, &request, timeout_ms);
}

/* What has happened to a key of 1023 bytes at most: docs/mcu.md, "Watching a key". The timeout is
 * for everything but the wait. */
static inline int kvmcu_watch(struct kvmcu *client, const void *key, uint16_t key_size,
                              uint64_t from, uint16_t wait_ms, uint32_t timeout_ms)
{
    struct kvmcu_request request = KVMCU_NOTHING;

    request.op = KVMCU_WATCH;
    request.key = key;
    request.key_size = key_size;
    request.version = from;
    request.wait_ms = wait_ms;
    return kvmcu_call(client, &request, wait_ms + timeout_ms);
}

static inline int kvmcu_join(struct kvmcu *client, uint32_t timeout_ms)
{
    struct kvmcu_request request = KVMCU_NOTHING;

    request.op = KVMCU_JOIN;
    return kvmcu_call(client, &request, timeout_ms);
}

static inline int kvmcu_leave(struct kvmcu *client, uint32_t timeout_ms)
{
    struct kvmcu_request request = KVMCU_NOTHING;

    request.op = KVMCU_LEAVE;
    return kvmcu_call(client, &request, timeout_ms);
}

/* The timeout is for everything but the wait. */
static inline int kvmcu_fetch(struct kvmcu *client, struct kvmcu_task *task, uint16_t wait_ms,
                              uint32_t timeout_ms)
{
    struct kvmcu_request request = KVMCU_NOTHING;

    request.op = KVMCU_FETCH;
    request.task = task;
    request.wait_ms = wait_ms;
    return kvmcu_call(client, &request, wait_ms + timeout_ms);
}

static inline int kvmcu_beat(struct kvmcu *client, struct kvmcu_task *task, uint16_t progress,
                             const void *checkpoint, uint32_t size, uint32_t timeout_ms)
{
    struct kvmcu_request request = KVMCU_NOTHING;

    request.op = KVMCU_BEAT;
    request.task = task;
    request.progress = progress;
    request.value = checkpoint;
    request.value_size = size;
    return kvmcu_call(client, &request, timeout_ms);
}

static inline int kvmcu_post(struct kvmcu *client, struct kvmcu_task *task, uint8_t outcome,
                             const void *result, uint32_t size, uint32_t timeout_ms)
{
    struct kvmcu_request request = KVMCU_NOTHING;

    request.op = KVMCU_POST;
    request.task = task;
    request.outcome = outcome;
    request.value = result;
    request.value_size = size;
    return kvmcu_call(client, &request, timeout_ms);
}

/* After BEAT: go on? After POST: did it count? */
static inline bool kvmcu_wanted(const struct kvmcu *client)
{
    struct kvmcu_result result;

    kvmcu_result(client, &result);
    return result.revision != 0;
}

#ifdef __cplusplus
}
#endif

#endif
