/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An arbiter keeps the register that decides who is primary. The replication core asks with
 * `kvp_arbiter_request` and gets `kvp_arbiter_answer`, or nothing: it asks again. arbiter_witness.c
 * is the one that talks to kvwitness; another kind (an etcd cluster, say) is one more file that
 * implements `kvp_arbiter_ops`.
 */
#ifndef KVP_ARBITER_H
#define KVP_ARBITER_H

#include "kvstore/storage.h"

enum kvp_arbiter_op {
    KVP_ARBITER_GET,
    KVP_ARBITER_CAS,   /* the view takes the place of the one with version `expected`; 0: creates */
    KVP_ARBITER_CLAIM, /* GET, by a store that speaks for the node; KVP_REFUSED: another one does */
    KVP_ARBITER_SEED,  /* this is the view: the register was lost, or an operator says so */
};

struct kvp_arbiter_request {
    enum kvp_arbiter_op op;
    uint32_t id; /* comes back with the answer */
    uint64_t group_id;
    uint64_t expected; /* CAS */
    struct kvp_view view;
    bool force;                 /* SEED asked for by an operator */
    struct kvp_numbers numbers; /* CLAIM: of the node's store */
};

struct kvp_arbiter_answer {
    uint32_t id;
    kvp_status status; /* KVP_OK, KVP_STALE_VIEW, KVP_NOT_SEEDED, KVP_WRONG_GROUP, KVP_REFUSED;
                          anything else: unknown whether it happened */
    uint64_t group_id; /* with KVP_OK, KVP_STALE_VIEW, KVP_REFUSED: the register */
    struct kvp_view view;
    /* CLAIM: a mark of the number by which the register knows the node. 0 with KVP_OK: it knew the
     * node by none before this store; 0 else: not told */
    uint64_t known;
};

struct kvp_arbiter;

struct kvp_arbiter_ops {
    /* Never blocks; may lose the request. */
    void (*ask)(struct kvp_arbiter *arbiter, const struct kvp_arbiter_request *request);
    /* Waits for callbacks under way. */
    void (*close)(struct kvp_arbiter *arbiter);
};

struct kvp_arbiter {
    const struct kvp_arbiter_ops *ops;
};

struct kvp_tls;

struct kvp_arbiter_config {
    const char *url;
    struct kvp_tls *tls; /* borrowed; for tls+tcp:// alone */
    const char *group;   /* borrowed while open */
    unsigned node_id;
    /* Runs on a thread of the arbiter. */
    void (*on_answer)(void *arg, const struct kvp_arbiter_answer *answer);
    /* It cannot be reached; `reason` is static. May be NULL. */
    void (*on_failure)(void *arg, const char *reason);
    void *arg;
};

/* A kvwitness at tcp://HOST:PORT. KVP_BAD_ARGUMENT (the URL), KVP_NO_MEMORY. */
kvp_status kvp_arbiter_witness_open(const struct kvp_arbiter_config *config,
                                    struct kvp_arbiter **arbiter);

/* The witness's messages, for whoever carries them himself. */
kvp_status kvp_arbiter_witness_encode(const struct kvp_arbiter_request *request, const char *group,
                                      unsigned node_id, kvp_buf *out);
kvp_status kvp_arbiter_witness_decode(kvp_slice body, uint32_t id,
                                      struct kvp_arbiter_answer *answer);

#endif
