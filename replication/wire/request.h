/* SPDX-License-Identifier: Apache-2.0 */
/* A client's request, decoded: what the engine executes. Slices point into the message. */
#ifndef KVP_REQUEST_H
#define KVP_REQUEST_H

#include "kvpair/kvp_base.h"

/* Identity for exactly-once. client 0: no session (a retry may run twice). `session_start` is a seq
 * that the client learned (HELLO) before its first use of the slot: it tells a session that never
 * was from one that has been dropped. */
struct kvp_session_id {
    uint64_t client;
    uint16_t slot;
    uint64_t number; /* of the request in the slot, from 1, by one */
    uint64_t session_start;
};

struct kvp_compare {
    uint8_t kind; /* enum kvp_compare_kind */
    kvp_slice key;
    uint64_t version;
    kvp_slice value;
};

struct kvp_txn_op {
    uint8_t kind; /* enum kvp_txn_op_kind */
    kvp_slice key;
    kvp_slice value;
    uint64_t ttl_ms, lease; /* put: as of a request */
};

/* Room for the largest transaction; large, so allocated once by who decodes. */
struct kvp_txn_scratch {
    struct kvp_compare compares[KVP_TXN_OPS_MAX];
    struct kvp_txn_op ops[2 * KVP_TXN_OPS_MAX];
};

/* What the operations on jobs, tasks and workers need besides key (the worker's name) and value (a
 * specification, tasks, a list of kinds: one msgpack value; a block, a result, a checkpoint:
 * bytes). */
struct kvp_job_args {
    uint64_t job;
    uint64_t attempt;  /* beat, post: as given with the task */
    uint64_t instance; /* of the worker, as given when it joined */
    uint64_t number;   /* data: block; tasks, retry: of the first; info, result: from here on;
                          fetch: of the request in its slot; set: the value */
    uint64_t buffer;   /* join: bytes of a task and its result that the worker can hold */
    uint32_t task;
    uint32_t what;       /* info: enum kvp_job_info; set: enum kvp_job_setting or its like */
    uint32_t slot;       /* fetch */
    uint32_t wait_ms;    /* fetch */
    uint32_t progress;   /* beat: thousandths */
    uint32_t outcome;    /* post: enum kvp_task_outcome */
    uint32_t crc;        /* post */
    bool standby;        /* join */
    bool has_checkpoint; /* beat: value is one */
};

/* What becomes of a backup of which the last page was given, or another one. */
enum kvp_backup_end {
    KVP_BACKUP_GOES_ON = 0,
    KVP_BACKUP_KEPT = 1,     /* all of it is where it shall be */
    KVP_BACKUP_GIVEN_UP = 2, /* nobody will ask for the rest */
};

/* What a change of members needs besides the URL (key): struct kvp_member_change. */
struct kvp_member_args {
    uint32_t what, id, new_id, kind;
};

struct kvp_identity; /* replication/net/identity.h */

struct kvp_request {
    unsigned op; /* enum kvp_op */
    /* Whom the certificate names that it came with; NULL: it came without TLS, and may ask for
     * everything that clients do. Lives until the request is answered. */
    const struct kvp_identity *asker;
    kvp_slice group;
    uint64_t epoch_seen;
    struct kvp_session_id session;
    kvp_slice key;      /* get put create delete cas; scan watch: start; access: whose rights;
                           member: URL */
    kvp_slice value;    /* put create cas; scan watch: end; access: rights, one msgpack array */
    uint64_t version;   /* delete cas; watch: the first revision wanted, 0: what comes from now on;
                           backup: one that has to be in it */
    uint32_t count_max; /* scan watch, job retry */
    uint32_t size_max;  /* scan watch backup */
    uint32_t wait_ms;   /* watch */
    uint64_t cursor;    /* scan, close scan, backup */
    uint64_t ttl_ms;    /* put create cas: the key ends by itself after that; 0: not. lease grant */
    uint64_t lease;     /* put create cas: the key ends with that; 0: with none. lease operations */
    bool keys_only;     /* scan watch */
    bool backwards;     /* scan */
    bool stale;         /* get, scan, watch */
    bool force;         /* promote; access: grant */
    unsigned target;    /* handover; backup: enum kvp_backup_end */
    union {             /* by the operation */
        struct kvp_job_args job;
        struct kvp_member_args member; /* `value`, never from the wire: the list it begins with */
    };
    const struct kvp_compare *compares;
    const struct kvp_txn_op *then_ops;
    const struct kvp_txn_op *else_ops;
    uint32_t compare_count, then_count, else_count;
};

#endif
