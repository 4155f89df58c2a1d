/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers of the wire, version 1: operations, field order, limits. Nothing but macros and enums, so
 * that client, node and microcontroller share this one home. docs/protocol.md tells it in full.
 *
 * A message is one msgpack array in the body of an SP REQ/REP message.
 *
 *   client request   [version, op, group, epoch-seen, client, slot, number, session start, args...]
 *   peer request     [version, op, group, epoch, from, to, group id, sent us, view, args...]
 *   witness request  [version, op, group, epoch, from, to(0), group id, args...]
 *   answer           [version, code, epoch, hint, result]
 *
 * group: str. hint: str, the URL of the primary where known, else "". code: absolute value of a
 * kvp_status. result: one msgpack value, nil where there is nothing to say.
 */
#ifndef KVP_WIRE_SCHEMA_H
#define KVP_WIRE_SCHEMA_H

#include "kvpair/job_codes.h"  /* enum kvp_job_info, enum kvp_task_outcome */
#include "kvpair/node_codes.h" /* enum kvp_role */
#include "replication/wire/operations.h"

/* Ranges of numbers, for operations that are not known, too. */
#define KVP_OP_CLIENT_END     64
#define KVP_OP_IS_PEER(op)    ((op) >= 64 && (op) < 96)
#define KVP_OP_IS_WITNESS(op) ((op) >= 96 && (op) < 128)

/* A view on the wire: [version, epoch, primary, in-sync set as uint bit mask]. A point in the log:
 * [seq, epoch, hash]. */

/* txn compare: [kind, key bin, operand]; operand uint for versions, bin for values, nil else. */
enum kvp_compare_kind {
    KVP_COMPARE_ABSENT = 0,          /* key is not there */
    KVP_COMPARE_PRESENT = 1,         /* key is there */
    KVP_COMPARE_VERSION_EQUAL = 2,   /* modify revision == operand (an absent key has 0) */
    KVP_COMPARE_VERSION_LESS = 3,    /* modify revision < operand */
    KVP_COMPARE_VERSION_GREATER = 4, /* modify revision > operand */
    KVP_COMPARE_VALUE_EQUAL = 5,     /* key is there and its value == operand */
    KVP_COMPARE_VALUE_DIFFERS = 6,   /* key is absent or its value != operand */
};
/* txn operation: [kind, key bin, value bin or nil]. */
enum kvp_txn_op_kind {
    KVP_TXN_GET = 0,
    KVP_TXN_PUT = 1,
    KVP_TXN_DELETE = 2,
    KVP_TXN_ADD = 3, /* value: a whole number in decimal, added to the one that is there */
};

/* Results of client operations (element 4 of the answer, when code is 0 unless said):
 *   HELLO      [node id, role uint (enum kvp_role), group id uint, primary id, [[id, url]...],
 *               session start uint, key max, value max, txn ops max, txn size max, message max]
 *   GET        [modify revision, create revision, value bin, behind uint]
 *              behind: entries known there to be committed but not in this answer (0 unless stale)
 *   PUT, CREATE, CAS   modify revision uint
 *   DELETE     revision uint of the deletion
 *              KVP_EXISTS (create) and KVP_VERSION_DIFFERS (cas, delete with a version) carry the
 *              present modify revision uint; 0: absent. DELETE of an absent key: KVP_NOT_FOUND.
 *   SCAN       [cursor uint (0: complete), revision uint,
 *              [[key bin, modify, create, value bin]...], behind uint];
 *              value is empty with keys only
 *   WATCH      [next uint, revision uint,
 *              [[key bin, modify, create (0: deleted), value bin]...], behind uint];
 *              KVP_COMPACTED carries the oldest revision that can be had
 *   TXN        [succeeded bool, revision uint, [per operation result...]]:
 *              GET [modify, create, value bin] or nil when absent; PUT nil;
 *              DELETE bool (was there)
 *   STATUS     map str -> value
 *   JOB_NEW    job uint
 *   JOB_INFO   JOBS [more from uint (0: that was all), [map...]], JOB map,
 *              TASKS and WORKERS as JOBS
 *   JOB_RESULT, JOB_BLOCK   bin
 *   WORKER_JOIN instance uint
 *   TASK_FETCH [job uint, task uint, attempt uint, kind str, beat ms uint,
 *              deadline ms uint, checkpoint bin, payload bin, payload CRC-32 uint];
 *              KVP_NO_TASK when the wait is over
 *   TASK_BEAT  bool: go on (false: the task is not wanted any more)
 *   TASK_POST  bool: counted (false: the task was done already)
 *   HANDOVER, PROMOTE, CLOSE_SCAN, JOB_DATA, JOB_TASKS, JOB_START, JOB_CANCEL,
 *   JOB_REMOVE, WORKER_LEAVE   nil, or str with a reason when the code is not 0
 * An error may carry a str that says what is wrong.
 */

#define KVP_WIRE_REQUEST_HEAD 8 /* elements of a client request before args */
#define KVP_WIRE_ANSWER_SIZE  5 /* elements of an answer */
#define KVP_WIRE_OUTSTANDING_MAX                                                                   \
    192 /* unanswered requests a client has on one connection: a node                              \
           does not read on from one that has 256 */

#endif
