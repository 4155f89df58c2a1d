/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvpair: what every part of the library shares: status codes, byte slices, limits, versions.
 *
 * All functions in this header are pure or touch only their arguments, and are safe to call from
 * any thread.
 *
 * For all headers of the library:
 *  - A handle that is NULL is KVP_BAD_ARGUMENT, as is NULL for anything that is not said to be
 *    allowed to be NULL; functions that return no status then do nothing, or return 0, "" or NULL.
 *    Closing and freeing NULL is fine.
 *  - Structs of options begin with their size and grow at the end: a program that was built for
 *    another release goes on working. What it does not know has its default; what the library does
 *    not know must be zero, else opening is refused.
 *  - Structs with a member `reserved` have room to grow: it is zero. Other structs do not change.
 */
#ifndef KVP_BASE_H
#define KVP_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KVP_API __attribute__((visibility("default")))
#else
#define KVP_API
#endif

/* Three numbers that move apart: the library's release, the wire's version (first element of every
 * message), and the storage format's version (kept in every store). */
#define KVP_VERSION_MAJOR  0
#define KVP_VERSION_MINOR  2
#define KVP_VERSION_PATCH  0
#define KVP_VERSION_STRING "0.2.0"
/* For comparisons: 0.2.0 is 200, 1.2.3 is 10203. */
#define KVP_VERSION_NUMBER (KVP_VERSION_MAJOR * 10000 + KVP_VERSION_MINOR * 100 + KVP_VERSION_PATCH)
#define KVP_WIRE_VERSION   1
#define KVP_STORE_VERSION  3

/*
 * Status of every function that can fail: 0 is success, negatives are failures. Values are never
 * reused or renumbered: on the wire a status travels as its absolute value.
 */
typedef enum kvp_status {
    KVP_OK = 0,
    KVP_NOT_FOUND = -1,       /* no such key */
    KVP_EXISTS = -2,          /* create: the key is there already */
    KVP_VERSION_DIFFERS = -3, /* cas: the key's version is another one */
    KVP_NOT_PRIMARY = -4,     /* asked the wrong node; nothing was executed */
    KVP_UNCERTAIN = -5,   /* the node lost its role before it knew; repeat with the same session */
    KVP_UNAVAILABLE = -6, /* nothing was executed; try again later */
    KVP_BUSY = -7,        /* queue full; nothing was executed; try again later */
    KVP_SESSION_EXPIRED = -8, /* the session is not known any more; this request was not executed */
    KVP_STALE_REQUEST = -9,   /* a newer request of the session was executed; its answer is gone */
    KVP_BAD_REQUEST = -10,    /* malformed: wrong type, count, length or range */
    KVP_TOO_LARGE = -11,      /* over a limit of this header */
    KVP_WRONG_GROUP = -12,    /* the node belongs to another group */
    KVP_BAD_VERSION = -13,    /* an unknown wire or storage version */
    KVP_BAD_OP = -14,         /* an unknown operation */
    KVP_CURSOR_EXPIRED = -15, /* scan: the cursor is not known any more; start again */
    KVP_REFUSED = -16,        /* not allowed by role, policy or permission */
    KVP_STALE_VIEW = -17,     /* peers and arbiter: the sender's view is not the newest */
    KVP_TIMEOUT = -18,        /* the deadline passed; nothing was executed */
    KVP_TIMEOUT_UNKNOWN = -19, /* the deadline passed; the update may or may not have happened */
    KVP_NO_MEMORY = -20,
    KVP_IO = -21,           /* disk or network input/output failed */
    KVP_CORRUPT = -22,      /* stored or received data is damaged */
    KVP_DISK_FULL = -23,    /* no space left for the store */
    KVP_LOCKED = -24,       /* another process holds the data directory */
    KVP_BAD_ARGUMENT = -25, /* the caller broke the function's contract */
    KVP_CLOSED = -26,       /* the handle is closing or closed */
    KVP_ADDRESS_IN_USE = -27,
    KVP_NOT_SEEDED = -28,      /* the arbiter does not know the group (new, or it lost its state) */
    KVP_FAILED = -29,          /* this node has stopped after a storage failure */
    KVP_DIVERGED = -30,        /* the store holds updates that the group never agreed on */
    KVP_NO_SUCH_JOB = -31,     /* the job, or the task in it, is not there (any more) */
    KVP_JOB_STATE = -32,       /* the job is not in a state that allows it */
    KVP_NO_TASK = -33,         /* fetch: nothing to do for this worker now */
    KVP_WORKER_UNKNOWN = -34,  /* the worker is not registered (any more): it registers again */
    KVP_WORKER_REPLACED = -35, /* another worker registered under the name: this one ends */
    KVP_WORKER_BARRED = -36,   /* lost too many votes, or failed what others did */
    KVP_NOT_HELD = -37,        /* the worker was not given this task */
    KVP_OVERFLOW = -38,        /* a number does not fit its type */
    KVP_COMPACTED = -39,       /* watch: the log does not go back so far any more */
} kvp_status;

/* A message for a status: a static string, never NULL, also for values that are no status. */
KVP_API const char *kvp_strerror(int status);

/* The release of the library that is linked, e.g. "0.2.0": a static string; and as a number, to be
 * compared with KVP_VERSION_NUMBER, that of the headers that the program was compiled with. */
KVP_API const char *kvp_version(void);
KVP_API unsigned kvp_version_number(void);

/* Bytes that somebody else owns. data may be NULL only when size is 0. */
typedef struct kvp_slice {
    const void *data;
    size_t size;
} kvp_slice;

/* Bytes that the holder owns: free with kvp_buf_free(). A zeroed struct is empty and valid. */
typedef struct kvp_buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
} kvp_buf;

KVP_API void kvp_buf_free(kvp_buf *buf); /* frees the bytes and zeroes the struct; NULL is fine */

/* Makes room for `extra` more bytes. KVP_NO_MEMORY leaves the buffer as it was. */
KVP_API kvp_status kvp_buf_reserve(kvp_buf *buf, size_t extra);

/* Appends bytes. `data` must not point into the buffer. KVP_NO_MEMORY leaves it as it was. */
KVP_API kvp_status kvp_buf_append(kvp_buf *buf, const void *data, size_t size);

static inline kvp_slice kvp_slice_of(const void *data, size_t size)
{
    kvp_slice slice = {data, size};
    return slice;
}

static inline kvp_slice kvp_buf_slice(const kvp_buf *buf)
{
    return kvp_slice_of(buf->data, buf->size);
}

/* Bytewise comparison as memcmp, a prefix sorts first: <0, 0, >0. */
KVP_API int kvp_slice_compare(kvp_slice a, kvp_slice b);

/* Limits, in bytes or counts. Requests over them are answered with KVP_TOO_LARGE. */
#define KVP_KEY_SIZE_MAX     1024u
#define KVP_VALUE_SIZE_MAX   (1024u * 1024u)
#define KVP_TXN_OPS_MAX      1024u /* compares, then-operations and else-operations, each */
#define KVP_TXN_READ_MAX     (32u * 1024u * 1024u) /* keys and values that it has to look at */
#define KVP_TXN_SIZE_MAX     (4u * 1024u * 1024u)  /* all keys and values of one transaction */
#define KVP_MESSAGE_SIZE_MAX (16u * 1024u * 1024u)
#define KVP_GROUP_NAME_MAX   64u
#define KVP_NAME_SIZE_MAX    64u /* of a worker, a job, a kind of task */
#define KVP_URL_SIZE_MAX     256u
#define KVP_TTL_MIN_MS       100u /* of a key or a lease */
#define KVP_TTL_MAX_MS       UINT64_C(315360000000)
#define KVP_LEASES_MAX       1048576u /* in a group, each key with a time of its own counted */
#define KVP_LEASE_KEYS_MAX   65536u   /* of one lease */
#define KVP_LEASES_OWNED_MAX 65536u   /* granted to one identity, over TLS */
#define KVP_NODES_MAX        9u       /* data nodes in one group */
#define KVP_NODE_ID_MAX      63u      /* node ids are 1..63 */

#ifdef __cplusplus
}
#endif

#endif
