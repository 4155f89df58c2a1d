/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A world of replication cores on virtual time, for scenarios that are told step by step: what is
 * lost, slow, dead or restarted with which disk is said by the test, nothing is left to chance.
 *
 * The disk is a model that follows the contract of core.h and asserts it; the witness is the real
 * one, its messages go through the real codec. After every event the world checks what must hold
 * always: one server at a time, one view per epoch, nothing acknowledged is missing where it is
 * served.
 */
#ifndef CORE_SUPPORT_H
#define CORE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "replication/core/core.h"
#include "replication/witness/witness.h"

#define CORES 9u

#define MS      1000u
#define SECONDS 1000000u

#define HEARTBEAT_US    (100 * MS)
#define LEASE_US        (400 * MS)
#define GRACE_US        (500 * MS)
#define SYNC_TIMEOUT_US (2 * SECONDS)

enum happening {
    DID_NOTE,        /* what: enum kvp_note */
    DID_ASK_PROMISE, /* sent `peer` a heartbeat with `prepare`; number: tail of the peer's disk */
    DID_GRANT,       /* an answer of the arbiter to CAS or SEED; what: status, number: epoch */
    DID_QUARANTINE,  /* what: enum kvp_keep, number: end of the log that it had; so DID_REPLACE */
    DID_REPLACE,     /* a snapshot took the place of its store */
    DID_SERVE,       /* began to; number: end of its log */
    DID_CUT,         /* its disk's log was cut; number: the last seq kept */
    DID_FENCE,
    DID_HANDOVER, /* what: status */
    DID_PROMOTE,  /* what: status */
    DID_STOP,
};

struct happened {
    uint64_t at_us;
    unsigned node, peer;
    enum happening did;
    int what;
    uint64_t number;
};

#define LOSES_GET     1u
#define LOSES_CHANGE  2u /* a CAS or SEED does not arrive */
#define LOSES_OUTCOME 4u /* it does, but its answer gets lost */

struct disk_job;

/* What a node's data directory would have. */
struct disk {
    struct kvp_meta meta;
    struct kvp_entry **log; /* log[i] is entry first + i */
    size_t capacity;
    uint64_t first;
    struct kvp_point tail, applied;
};

struct core_token;

struct node {
    struct world *world;
    unsigned id;
    bool alive;
    unsigned life;
    struct kvp_core *core;
    struct disk disk;

    uint64_t disk_us;        /* time of one job */
    kvp_status disk_status;  /* of all jobs to come */
    kvp_status chunk_status; /* of all chunks to come */
    bool quarantine_full;    /* there is no room for stores that are to be kept */
    struct disk_job *jobs, *jobs_last;
    bool disk_busy;
    struct kvp_point open[CORES + 1]; /* snapshots being sent, by peer */
    bool is_open[CORES + 1];
    unsigned chunk[CORES + 1];
    uint64_t incoming_hash; /* of the snapshot being received */
    unsigned incoming_count;

    unsigned witness_loses; /* of what it asks the witness: LOSES_... */
    bool fence_works;
    bool serving, stopped;
    uint64_t commit;
    unsigned tokens; /* held by its core */
    struct core_token *held;
};

/* From one node to another, one way. */
struct path {
    bool cut;
    unsigned swallow;  /* requests of ops with bit (op - KVP_OP_STATE) are lost */
    uint64_t delay_us; /* of APPEND and SNAPSHOT */
    uint64_t reply_us; /* delay of answers */
};

struct world {
    uint64_t now_us;
    unsigned count;
    struct kvp_core_config config;
    struct node nodes[CORES + 1];
    struct path paths[CORES + 1][CORES + 1];
    struct event *events;
    uint64_t order;
    unsigned snapshot_chunks;

    struct kvp_env *env;
    struct kvp_witness *witness;
    /* Answers in the witness's place, if set; false: there is no answer. */
    bool (*arbiter)(struct node *node, const struct kvp_arbiter_request *request,
                    struct kvp_arbiter_answer *answer);

    /* chaos: every message may come late, twice or never; 0: none. Seeded. */
    uint64_t random;
    unsigned lose_percent, twice_percent;
    uint64_t jitter_us;

    bool unnoticed; /* a restart is so fast that no link goes down at the others */
    bool may_split; /* the scenario gives up one server at a time: policy AVAILABLE, force */
    bool hostile;   /* lies are told: views and histories need not fit together */

    struct kvp_peer_reply last_reply; /* that any node gave */

    struct happened *happened;
    size_t happened_count, happened_room;
    struct kvp_view *views; /* one per epoch that any node had in force */
    size_t view_count;
    struct made {
        unsigned node;
        struct kvp_point point;
        bool acknowledged;
    } * made;
    size_t made_count, made_room;
};

/* `count` nodes, not started; all blank, with a witness (policy NONE) that knows nothing. */
void world_open(struct world *world, unsigned count);
/* Every token must have been answered by then. */
void world_close(struct world *world);

void world_start(struct world *world, unsigned id);
void world_kill(struct world *world, unsigned id); /* what its disk has not done is lost */
void world_run(struct world *world, uint64_t us);
/* Runs until node `id` serves (or fails the test after `us`). */
void world_run_serving(struct world *world, unsigned id, uint64_t us);
/* Starts all and runs until node 1 serves with all of sync_replicas in sync. */
void world_form(struct world *world);

void world_cut(struct world *world, unsigned a, unsigned b); /* both ways, silently */
void world_heal(struct world *world, unsigned a, unsigned b);
void world_isolate(struct world *world, unsigned id); /* from all peers */
void world_rejoin(struct world *world, unsigned id);
void world_swallow(struct world *world, unsigned from, unsigned to, unsigned op);
void world_link(struct world *world, unsigned id, unsigned peer, bool up); /* tells node id */
void world_witness(struct world *world, unsigned id, bool up);
void world_witness_forgets(struct world *world); /* everything */

/* Submits `count` entries at a node, which must accept them. */
void world_put(struct world *world, unsigned id, unsigned count);
void world_promote(struct world *world, unsigned id, bool force);
void world_handover(struct world *world, unsigned id, unsigned target);
void world_stop(struct world *world, unsigned id);

/* Disks of nodes that are down. */
void disk_lose_after(struct node *node, uint64_t seq); /* opening it would find `log_regressed` */
void disk_blank(struct node *node);
/* The point of entry seq, where the log still has it. */
bool disk_point(const struct disk *disk, uint64_t seq, struct kvp_point *point);

/* ---- what is so ---- */

struct kvp_core_status world_status(struct world *world, unsigned id);
bool world_serves(struct world *world, unsigned id);
/* The match of a peer as its primary sees it. */
uint64_t world_match(struct world *world, unsigned id, unsigned peer);
/* How often it happened; `what` ANY: whatever. */
#define ANY (-1000)
unsigned world_count(const struct world *world, unsigned id, enum happening did, int what);
/* The last one; fails the test when there is none. */
struct happened world_last(const struct world *world, unsigned id, enum happening did, int what);

/* Fails the test unless the node serves with exactly this in-sync set. */
void assert_serves(struct world *world, unsigned id, kvp_node_set in_sync);
/* Fails unless all these nodes have the same log end, durable, and the same committed part. */
void assert_same(struct world *world, kvp_node_set nodes);

kvp_node_set set2(unsigned a, unsigned b);
kvp_node_set set_to(unsigned last); /* 1..last */

/* For who makes messages by himself. */
void world_request(struct world *world, unsigned to, const struct kvp_peer_request *request);
unsigned world_jobs(const struct node *node); /* that its disk has still to do */
uint64_t world_random(struct world *world, uint64_t below);

#endif
