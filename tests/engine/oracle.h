/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engine should do, told in the simplest way: all versions of a few keys in lists, and a
 * list of sessions. Slow, without overlay, store or bytes on disk.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include "tests/engine/engine_support.h"

enum {
    ORACLE_KEYS = 20,
    ORACLE_SESSIONS = 6, /* the bound of the table */
    ORACLE_OPS = 5,      /* in a list of a transaction, at most */
};

/* A request that can be kept and copied: keys and values are static. */
struct step {
    struct kvp_request request; /* its lists are those below */
    struct kvp_compare compares[ORACLE_OPS];
    struct kvp_txn_op then_ops[ORACLE_OPS], else_ops[ORACLE_OPS];
};

struct oracle_version {
    uint64_t seq;
    bool present;
    uint64_t create, modify;
    kvp_slice value;
};

struct oracle_key {
    struct oracle_version *versions;
    size_t count, capacity;
};

struct oracle_session {
    uint64_t client, number, seq;
    uint16_t slot;
    int status;
    kvp_buf answer;
};

enum { ORACLE_NUMBERS = 20000 };

struct oracle {
    char (*numbers)[24]; /* values that sums have been */
    size_t number_count;
    struct oracle_key keys[ORACLE_KEYS];
    struct oracle_session sessions[ORACLE_SESSIONS];
    size_t session_count;
    uint64_t floor, seq; /* seq of the last entry */
};

struct expected {
    int status;
    kvp_buf answer;
    bool appends;
    bool refused; /* not executed: answered at once */
};

kvp_slice oracle_key(unsigned index);
/* What is known of the key after the entry `seq`. */
struct oracle_version oracle_at(const struct oracle *oracle, unsigned index, uint64_t seq);
/* Executes a request; the caller frees the answer. */
struct expected oracle_run(struct oracle *oracle, const struct step *step);
void oracle_free(struct oracle *oracle);

#endif
