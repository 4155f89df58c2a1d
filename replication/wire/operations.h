/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations of the protocol: the one table that all others take their facts from. To add one:
 * a row here, with the right that it needs; how its args become bytes and back (wire_request.c,
 * peer_wire.c or wire_witness.c); who executes it (exec_client.c, engine.c or jobs.c); and its row
 * in docs/protocol.md, which tests/wire/test_operations.c holds against this one.
 *
 * Numbers are for ever. Clients' are below 64, those on jobs from 16 to 47; peers' from 64, the
 * witness's from 96.
 */
#ifndef KVP_OPERATIONS_H
#define KVP_OPERATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Does it have a session, which makes a repeat return the first answer? MAY: it can be repeated
 * safely without. Operations that do not change the state have none. */
enum kvp_operation_session { KVP_SESSION_NO, KVP_SESSION_MAY, KVP_SESSION_YES };

/* Who answers? NODE: whoever is asked. PRIMARY: the primary, while it may take updates. READ: the
 * primary while its leases hold, from the state at once; with `stale` set any node. */
enum kvp_operation_served { KVP_SERVED_NODE, KVP_SERVED_PRIMARY, KVP_SERVED_READ };

/* Who says it: clients and workers, nodes to nodes, nodes to the witness. */
enum kvp_operation_by { KVP_BY_CLIENT, KVP_BY_PEER, KVP_BY_WITNESS_USER };

/*
 * What who asks over TLS has to have a right to; without TLS everything that clients say is
 * everybody's. replication/access/access.h decides.
 *   IDENTITY  nothing more than a certificate of the group
 *   READ      the right to read the key, or the range
 *   WRITE     the right to write the key
 *   CHANGE    both: the answer tells whether the key is there
 *   KEYS      for each key of a transaction what is done to it
 *   SUBMIT    jobs
 *   JOB       jobs, and it is his own
 *   LOOK      the same, or to observe
 *   WORK      the kinds of tasks, and the worker's name is his own
 *   OBSERVE   what all of it looks like
 *   OPERATE   the group
 *   LEASE     the lease is his own; or, of a key, to read it; or to operate the group
 *   ADMIN     the rights of others
 *   NODE      nobody has it by a right: a node of the group has, when it speaks for itself
 */
enum kvp_operation_needs {
    KVP_NEEDS_IDENTITY = 1,
    KVP_NEEDS_READ,
    KVP_NEEDS_WRITE,
    KVP_NEEDS_CHANGE,
    KVP_NEEDS_KEYS,
    KVP_NEEDS_SUBMIT,
    KVP_NEEDS_JOB,
    KVP_NEEDS_LOOK,
    KVP_NEEDS_WORK,
    KVP_NEEDS_OBSERVE,
    KVP_NEEDS_OPERATE,
    KVP_NEEDS_LEASE,
    KVP_NEEDS_ADMIN,
    KVP_NEEDS_NODE,
};

/*  operation, number, least and most args, changes the state, session, served, on jobs, said by,
 *  needs */
#define KVP_OPERATIONS(ROW)                                                                        \
    /* none */                                                                                     \
    ROW(KVP_OP_HELLO, 1, 0, 0, false, NO, NODE, false, CLIENT, IDENTITY)                           \
    /* key bin, stale bool */                                                                      \
    ROW(KVP_OP_GET, 2, 2, 2, false, NO, READ, false, CLIENT, READ)                                 \
    /* key bin, value bin, and if it is to end by itself, ttl ms uint and lease uint (one is 0) */ \
    ROW(KVP_OP_PUT, 3, 2, 4, true, YES, PRIMARY, false, CLIENT, WRITE)                             \
    ROW(KVP_OP_CREATE, 4, 2, 4, true, YES, PRIMARY, false, CLIENT, CHANGE)                         \
    /* key bin, version uint (0: any) */                                                           \
    ROW(KVP_OP_DELETE, 5, 2, 2, true, YES, PRIMARY, false, CLIENT, CHANGE)                         \
    /* key bin, version uint, value bin, and as PUT ttl ms uint and lease uint */                  \
    ROW(KVP_OP_CAS, 6, 3, 5, true, YES, PRIMARY, false, CLIENT, CHANGE)                            \
    /* start bin, end bin (empty: none), count max uint, size max uint, cursor uint (0: new), keys \
     * only bool, stale bool, and if it is so, backwards bool */                                   \
    ROW(KVP_OP_SCAN, 7, 7, 8, false, NO, READ, false, CLIENT, READ)                                \
    /* compares array, then array, else array */                                                   \
    ROW(KVP_OP_TXN, 8, 3, 3, true, YES, PRIMARY, false, CLIENT, KEYS)                              \
    /* none */                                                                                     \
    ROW(KVP_OP_STATUS, 9, 0, 0, false, NO, NODE, false, CLIENT, OBSERVE)                           \
    /* target id uint (0: any) */                                                                  \
    ROW(KVP_OP_HANDOVER, 10, 1, 1, false, NO, PRIMARY, false, CLIENT, OPERATE)                     \
    /* force bool */                                                                               \
    ROW(KVP_OP_PROMOTE, 11, 1, 1, false, NO, NODE, false, CLIENT, OPERATE)                         \
    /* cursor uint */                                                                              \
    ROW(KVP_OP_CLOSE_SCAN, 12, 1, 1, false, NO, NODE, false, CLIENT, IDENTITY)                     \
    /* identity str, grant bool, rights array of str */                                            \
    ROW(KVP_OP_ACCESS_CHANGE, 13, 3, 3, true, YES, PRIMARY, false, CLIENT, ADMIN)                  \
    /* none */                                                                                     \
    ROW(KVP_OP_ACCESS_LIST, 14, 0, 0, false, NO, PRIMARY, false, CLIENT, ADMIN)                    \
    /* start bin, end bin (empty: none), from uint, count max uint, size max uint, wait ms uint,   \
     * keys only bool, stale bool */                                                               \
    ROW(KVP_OP_WATCH, 15, 8, 8, false, NO, READ, false, CLIENT, READ)                              \
                                                                                                   \
    /* specification array */                                                                      \
    ROW(KVP_OP_JOB_NEW, 16, 1, 1, true, YES, PRIMARY, true, CLIENT, SUBMIT)                        \
    /* job uint, block uint, data bin */                                                           \
    ROW(KVP_OP_JOB_DATA, 17, 3, 3, true, MAY, PRIMARY, true, CLIENT, JOB)                          \
    /* job uint, number of the first uint, tasks array */                                          \
    ROW(KVP_OP_JOB_TASKS, 18, 3, 3, true, YES, PRIMARY, true, CLIENT, JOB)                         \
    /* job uint */                                                                                 \
    ROW(KVP_OP_JOB_START, 19, 1, 1, true, YES, PRIMARY, true, CLIENT, JOB)                         \
    ROW(KVP_OP_JOB_CANCEL, 20, 1, 1, true, YES, PRIMARY, true, CLIENT, JOB)                        \
    /* what uint, job uint, from uint */                                                           \
    ROW(KVP_OP_JOB_INFO, 21, 3, 3, false, NO, PRIMARY, true, CLIENT, LOOK)                         \
    /* job uint, block or task uint */                                                             \
    ROW(KVP_OP_JOB_RESULT, 22, 2, 2, false, NO, PRIMARY, true, CLIENT, JOB)                        \
    ROW(KVP_OP_JOB_BLOCK, 23, 2, 2, false, NO, PRIMARY, true, CLIENT, JOB)                         \
    /* name str, kinds array of str, buffer uint, standby bool */                                  \
    ROW(KVP_OP_WORKER_JOIN, 24, 4, 4, true, YES, PRIMARY, true, CLIENT, WORK)                      \
    /* name str, instance uint */                                                                  \
    ROW(KVP_OP_WORKER_LEAVE, 25, 2, 2, true, MAY, PRIMARY, true, CLIENT, WORK)                     \
    /* name str, instance uint, slot uint, number uint, wait ms uint */                            \
    ROW(KVP_OP_TASK_FETCH, 26, 5, 5, false, NO, PRIMARY, true, CLIENT, WORK)                       \
    /* name str, instance uint, job uint, task uint, attempt uint, progress uint, checkpoint bin   \
     * or nil */                                                                                   \
    ROW(KVP_OP_TASK_BEAT, 27, 7, 7, true, MAY, PRIMARY, true, CLIENT, WORK)                        \
    /* name str, instance uint, job uint, task uint, attempt uint, outcome uint, crc uint, result  \
     * bin */                                                                                      \
    ROW(KVP_OP_TASK_POST, 28, 8, 8, true, MAY, PRIMARY, true, CLIENT, WORK)                        \
    /* job uint */                                                                                 \
    ROW(KVP_OP_JOB_REMOVE, 29, 1, 1, true, YES, PRIMARY, true, CLIENT, JOB)                        \
    /* job uint, number of the first uint, how many uint: of these the tasks that have failed */   \
    ROW(KVP_OP_JOB_RETRY, 30, 3, 3, true, YES, PRIMARY, true, CLIENT, JOB)                         \
    /* job uint, setting uint, value uint */                                                       \
    ROW(KVP_OP_JOB_SET, 31, 3, 3, true, YES, PRIMARY, true, CLIENT, JOB)                           \
    /* name str, setting uint, value uint */                                                       \
    ROW(KVP_OP_WORKER_SET, 32, 3, 3, true, YES, PRIMARY, true, CLIENT, OPERATE)                    \
    /* cursor uint (0: new), size max uint, revision uint, end uint */                             \
    ROW(KVP_OP_BACKUP, 54, 4, 4, false, NO, NODE, false, CLIENT, OPERATE)                          \
                                                                                                   \
    /* ttl ms uint */                                                                              \
    ROW(KVP_OP_LEASE_GRANT, 48, 1, 1, true, YES, PRIMARY, false, CLIENT, IDENTITY)                 \
    /* lease uint */                                                                               \
    ROW(KVP_OP_LEASE_KEEP, 49, 1, 1, false, NO, PRIMARY, false, CLIENT, LEASE)                     \
    ROW(KVP_OP_LEASE_REVOKE, 50, 1, 1, true, YES, PRIMARY, false, CLIENT, LEASE)                   \
    /* lease uint: those above it */                                                               \
    ROW(KVP_OP_LEASE_LIST, 51, 1, 1, false, NO, PRIMARY, false, CLIENT, OBSERVE)                   \
    /* lease uint (0: that of the key), key bin (empty: the lease's) */                            \
    ROW(KVP_OP_LEASE_SHOW, 52, 2, 2, false, NO, PRIMARY, false, CLIENT, LEASE)                     \
    /* what uint, id uint, new id uint, kind uint, url str */                                      \
    ROW(KVP_OP_MEMBER_CHANGE, 53, 5, 5, true, YES, PRIMARY, false, CLIENT, OPERATE)                \
                                                                                                   \
    /* In pair mode each has one arg more at its end: who speaks for the sender (peer_wire.h). */  \
    ROW(KVP_OP_STATE, 64, 1, 2, false, NO, NODE, false, PEER, NODE)                                \
    ROW(KVP_OP_HEARTBEAT, 65, 4, 5, false, NO, NODE, false, PEER, NODE)                            \
    ROW(KVP_OP_APPEND, 66, 5, 6, false, NO, NODE, false, PEER, NODE)                               \
    ROW(KVP_OP_SNAPSHOT, 67, 6, 7, false, NO, NODE, false, PEER, NODE)                             \
    ROW(KVP_OP_ASK_VIEW, 68, 2, 3, false, NO, NODE, false, PEER, NODE)                             \
    ROW(KVP_OP_LEAVE, 69, 0, 1, false, NO, NODE, false, PEER, NODE)                                \
    ROW(KVP_OP_RESIGN, 70, 0, 1, false, NO, NODE, false, PEER, NODE)                               \
                                                                                                   \
    /* none */                                                                                     \
    ROW(KVP_OP_REGISTER_GET, 96, 0, 0, false, NO, NODE, false, WITNESS_USER, NODE)                 \
    /* expected version uint, new view */                                                          \
    ROW(KVP_OP_REGISTER_CAS, 97, 2, 2, false, NO, NODE, false, WITNESS_USER, NODE)                 \
    /* view, force bool */                                                                         \
    ROW(KVP_OP_REGISTER_SEED, 98, 2, 2, false, NO, NODE, false, WITNESS_USER, NODE)                \
    /* [incarnation, replaces, earlier ones] */                                                    \
    ROW(KVP_OP_REGISTER_CLAIM, 99, 1, 1, false, NO, NODE, false, WITNESS_USER, NODE)

#define KVP_OPERATION_NUMBER(op, number, ...) op = (number),
enum kvp_op { KVP_OPERATIONS(KVP_OPERATION_NUMBER) };
#undef KVP_OPERATION_NUMBER

struct kvp_operation {
    const char *name; /* as in docs/protocol.md; NULL: there is no such operation */
    uint8_t args_min, args_max;
    bool is_update;
    bool is_job;
    uint8_t session; /* enum kvp_operation_session */
    uint8_t served;  /* enum kvp_operation_served */
    uint8_t by;      /* enum kvp_operation_by */
    uint8_t needs;   /* enum kvp_operation_needs */
};

#define KVP_OPERATIONS_END 100u
extern const struct kvp_operation kvp_operations[KVP_OPERATIONS_END];

/* NULL: an unknown operation, or one that others say. */
static inline const struct kvp_operation *kvp_operation_by(unsigned op, enum kvp_operation_by by)
{
    return op < KVP_OPERATIONS_END && kvp_operations[op].name &&
                   kvp_operations[op].by == (uint8_t)by
               ? &kvp_operations[op]
               : NULL;
}

static inline bool kvp_operation_takes(const struct kvp_operation *operation, uint32_t args)
{
    return args >= operation->args_min && args <= operation->args_max;
}

/* Whoever says it; without a name where it is unknown. */
static inline const struct kvp_operation *kvp_operation_of(unsigned op)
{
    return &kvp_operations[op < KVP_OPERATIONS_END ? op : 0];
}

#endif
