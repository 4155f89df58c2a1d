/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvpair node: a replica inside your application. Open one per process and group; nodes of a group
 * find each other by the addresses given here.
 *
 * Caveats first:
 *  - Only the primary reads and writes. On any other node these calls return KVP_NOT_PRIMARY at
 *    once; a kvp_client (kvp_client.h) finds the primary by itself, from the same process, too.
 *  - KVP_UNCERTAIN and KVP_TIMEOUT_UNKNOWN mean that the update may have happened.
 *  - When the disk hangs, a primary gives the lead away after sync_timeout_ms; in a pair it stops,
 *    as when the disk fails. kvp_node_open() on a disk that hangs does not return.
 *  - When the disk fails the node stops for good (kvp_node_wait_end() returns KVP_FAILED): what it
 *    is not sure of it never acknowledges. Close it, repair, open it again.
 *  - A handle may be used by any number of threads. Do not use it in a child after fork().
 *  - Callbacks run on a thread of the node: do not block there and do not call the node from there.
 */
#ifndef KVP_NODE_H
#define KVP_NODE_H

#include "kvp_base.h"
#include "kvp_scan.h"
#include "kvp_txn.h"
#include "kvp_watch.h"
#include "node_codes.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kvp_node kvp_node;

/* What a node is at the moment. */
typedef struct kvp_node_state {
    enum kvp_role role;  /* kvp_role_name() names it */
    bool serving;        /* is primary and may answer now */
    unsigned primary_id; /* of the newest view known here; 0: none */
    uint64_t epoch;
    uint64_t in_sync; /* bit i: node i is in the in-sync set */
    uint64_t reserved[4];
} kvp_node_state;

typedef struct kvp_node_options {
    size_t size;           /* sizeof(kvp_node_options): set by kvp_node_options_init() */
    unsigned id;           /* 1..63, unique in the group */
    const char *data_dir;  /* made if absent; one process at a time */
    const char *listen;    /* "tcp://127.0.0.1:7001"; port 0 picks one */
    const char *advertise; /* address that clients are told; NULL: as listened on */
    const char *group;     /* NULL: "default" */
    const char *peers;     /* "2=tcp://10.0.0.2:7001,3=tcp://..."; NULL or "": none */
    /* Who decides about the primary: exactly one of the two. */
    const char *witness;          /* URL of a kvwitness */
    const char *pair;             /* two nodes by themselves: a policy's name, or `policy` below */
    const char *fence_command;    /* run by /bin/sh before a promotion; must exit 0. NULL: none */
    uint32_t heartbeat_ms;        /* 0: 100 */
    uint32_t lease_ms;            /* 0: 400; more than heartbeat_ms */
    uint32_t grace_ms;            /* 0: 500; more than lease_ms */
    uint32_t sync_timeout_ms;     /* 0: 2000 */
    uint32_t sync_replicas;       /* wanted size of the in-sync set; 0: all nodes */
    uint64_t log_size_max;        /* bytes of log kept for peers that lag; 0: 64 MiB */
    uint32_t timeout_ms;          /* deadline of the calls below; 0: 5000 */
    enum kvp_log_level log_level; /* init: KVP_LOG_INFO */
    /* Log lines (logfmt, no newline), with their enum kvp_log_level; NULL: standard error. */
    void (*on_log)(void *arg, int level, const char *line);
    /* Role, view or serving has changed. NULL: nobody wants to know. */
    void (*on_change)(void *arg, const kvp_node_state *state);
    void *arg;
    /* ---- since 0.2.0 ---- */
    /* Where peer operations come from, beside the hosts of `peers`: addresses, networks
     * (10.1.0.0/16), host names, with commas between; "any": from everywhere. NULL: from nowhere
     * else. */
    const char *peer_from;
    /* What is kept beside the data: stores that had to make way, and may have what nobody else has.
     * When there are as many, or they are as large, a further one is not replaced: the node stays
     * outside. */
    uint32_t quarantine_stores;   /* at most 32; 0: 8 */
    uint64_t quarantine_size_max; /* bytes; 0: 16 GiB */
    uint64_t verify_size_max;     /* bytes of memory for the verification of a product; 0: 64 MiB */
    enum kvp_pair_policy policy;  /* as `pair`, by number; not both */
    /* For addresses tls+tcp://, its own and others', the first three: PEM files of the node's
     * certificate, its key (which nobody else may be able to read), and the CA of the group. */
    const char *tls_cert, *tls_key, *tls_ca;
    const char *tls_min; /* NULL: "1.3"; "1.2": for those who have nothing newer */
    /* Identities that have every right over TLS, whatever was granted, with commas between:
     * "user/ann". NULL: none. */
    const char *admins;
    /* URLs of nodes of the group that lets this node in, with commas between: one of them is asked
     * for the list of members, which this node has to be on ('kvcli member add'); instead of
     * `peers`. A store that has the list needs none of them. NULL: the group is made of `peers`. */
    const char *join;
} kvp_node_options;

/* Sets the size and the defaults: before anything else. NULL is fine. */
KVP_API void kvp_node_options_init_sized(kvp_node_options *options, size_t size);
#define kvp_node_options_init(options)                                                             \
    kvp_node_options_init_sized((options), sizeof(kvp_node_options))

/*
 * Opens the data, listens, and begins to take part in the group, in the background. Strings are
 * copied. `message` (may be NULL) receives a reason in plain words of at most `message_size` bytes
 * on failure: KVP_BAD_ARGUMENT (an option), KVP_LOCKED (another process has the data),
 * KVP_ADDRESS_IN_USE, KVP_WRONG_GROUP and KVP_REFUSED (the data is of another group or node),
 * KVP_CORRUPT (a damaged store that could not be set aside), KVP_BAD_VERSION, KVP_DISK_FULL,
 * KVP_IO, KVP_NO_MEMORY; with `join` KVP_UNAVAILABLE (nobody has answered, after 2.5 s) and
 * KVP_NOT_FOUND (this node is not on the list).
 */
KVP_API kvp_status kvp_node_open(const kvp_node_options *options, kvp_node **node, char *message,
                                 size_t message_size);

/* Asks the node to leave in good order: a primary hands over first. Returns at once.
 * KVP_NO_MEMORY: it was not asked. */
KVP_API kvp_status kvp_node_stop(kvp_node *node);
/* Waits until the node has stopped (KVP_OK) or failed (KVP_FAILED); timeout_ms 0: for ever.
 * KVP_TIMEOUT. */
KVP_API kvp_status kvp_node_wait_end(kvp_node *node, uint32_t timeout_ms);
/* Ends the node, without handover if it was not stopped before: for the group as a crash, without
 * loss. Calls under way return KVP_CLOSED or KVP_UNCERTAIN. NULL is fine.
 * KVP_TIMEOUT: a disk that neither answers nor fails holds a thread of the node, after 1.5 s if it
 * has been silent already, else after 15. The handle is gone all the same, and no callback comes
 * any more; what is left (said in the log) are the threads that wait, the lock on the data, the
 * memory, and perhaps the address. They go when the disk answers, or with the process. */
KVP_API kvp_status kvp_node_close(kvp_node *node);

/* Reads the files of the certificate, the key and the CA again. New connections use them, those
 * that are open stay. KVP_BAD_ARGUMENT: they cannot be used, `message` says why, and what was read
 * before stays in use. Without TLS it does nothing. */
KVP_API kvp_status kvp_node_reload_certificates(kvp_node *node, char *message, size_t message_size);

KVP_API kvp_status kvp_node_get_state(kvp_node *node, kvp_node_state *state);
/* The address that it listens on, with the real port; lives as long as the node. */
KVP_API const char *kvp_node_url(const kvp_node *node);
/* Waits until this node serves (KVP_OK) or the time is over (KVP_TIMEOUT); timeout_ms 0: for ever.
 * It has ended: KVP_CLOSED (stopped), KVP_FAILED. */
KVP_API kvp_status kvp_node_wait_serving(kvp_node *node, uint32_t timeout_ms);

/*
 * Operations at the primary, without a socket. An update returns when it is durable on every member
 * of the in-sync set. Slices are borrowed for the call; `version` (may be NULL) receives the modify
 * revision, with KVP_EXISTS and KVP_VERSION_DIFFERS the present one. Errors: those named,
 * KVP_NOT_PRIMARY, KVP_UNAVAILABLE, KVP_BUSY (nothing happened), KVP_UNCERTAIN, KVP_TIMEOUT_UNKNOWN
 * (unknown), KVP_BAD_REQUEST, KVP_TOO_LARGE, KVP_CLOSED, KVP_NO_MEMORY.
 */
/* KVP_NOT_FOUND. The value is appended to `value`: kvp_buf_free() it. */
KVP_API kvp_status kvp_node_get(kvp_node *node, kvp_slice key, kvp_buf *value, uint64_t *version);
KVP_API kvp_status kvp_node_put(kvp_node *node, kvp_slice key, kvp_slice value, uint64_t *version);
/* KVP_EXISTS. */
KVP_API kvp_status kvp_node_create(kvp_node *node, kvp_slice key, kvp_slice value,
                                   uint64_t *version);
/* KVP_NOT_FOUND; KVP_VERSION_DIFFERS when `expected` is neither 0 (any) nor the present version. */
KVP_API kvp_status kvp_node_delete(kvp_node *node, kvp_slice key, uint64_t expected,
                                   uint64_t *version);
/* KVP_VERSION_DIFFERS; `expected` 0: only if absent. */
KVP_API kvp_status kvp_node_cas(kvp_node *node, kvp_slice key, uint64_t expected, kvp_slice value,
                                uint64_t *version);
/* Scan of [start, end) (end empty: no end), or of the keys with a prefix: kvp_scan.h. */
KVP_API kvp_status kvp_node_scan_open(kvp_node *node, kvp_slice start, kvp_slice end,
                                      bool keys_only, kvp_scan **scan);
/* The same pairs from the last one to the first. */
KVP_API kvp_status kvp_node_scan_open_backwards(kvp_node *node, kvp_slice start, kvp_slice end,
                                                bool keys_only, kvp_scan **scan);
KVP_API kvp_status kvp_node_scan_open_prefix(kvp_node *node, kvp_slice prefix, bool keys_only,
                                             kvp_scan **scan);
/* Watch of [start, end) (end empty: no end), or of the keys with a prefix, from a revision on (0:
 * from now on): kvp_watch.h. While this node is not primary next says KVP_TIMEOUT, unless `stale`:
 * then it tells of what this node has applied, whatever its role. */
KVP_API kvp_status kvp_node_watch_open(kvp_node *node, kvp_slice start, kvp_slice end,
                                       uint64_t from, bool stale, kvp_watch **watch);
KVP_API kvp_status kvp_node_watch_open_prefix(kvp_node *node, kvp_slice prefix, uint64_t from,
                                              bool stale, kvp_watch **watch);
/* An empty transaction: kvp_txn.h. NULL when memory is short. */
KVP_API kvp_txn *kvp_node_txn_new(kvp_node *node);

/* Gives the lead to the node named, or (target_id 0) to any that is in sync; returns when that one
 * has it. KVP_REFUSED: that one is not in the in-sync set, or not known; KVP_NOT_PRIMARY, KVP_BUSY.
 */
KVP_API kvp_status kvp_node_handover(kvp_node *node, unsigned target_id);

#ifdef __cplusplus
}
#endif

#endif
