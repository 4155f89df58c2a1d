/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rare branches of the core, by name. A test that passes proves nothing about a branch that it
 * never enters, so the seeds of the test run must have entered each of these (`sim --marks`; the
 * idea is FoundationDB's BUGGIFY and SQLite's testcase()). Only the simulator's own build
 * (-DKVP_MARKS) counts; everywhere else KVP_MARK() leaves no trace.
 *
 * A new rare branch gets a line here and a KVP_MARK() in its place. If no seed reaches it, either a
 * plan is missing that brings it about, or the branch is dead; what only the unit tests bring about
 * (a second cut before the first one is on disk) is not listed.
 */
#ifndef KVP_CORE_MARKS_H
#define KVP_CORE_MARKS_H

#include <stdint.h>

/* clang-format off */
#define KVP_MARKS_LIST(MARK) \
    /* views and their changes */ \
    MARK(VIEW_REFUSED,        "a change of view is refused, and given up") \
    MARK(CAS_LOST,            "a proposal lost its compare-and-set: the register was newer") \
    MARK(CAS_REPEATED,        "the answer to a compare-and-set did not come: it is asked again") \
    MARK(GRANT_TOLD,          "what this node asked for is told by another one first") \
    MARK(LOOK_OUTDATED,       "a look before a proposal shows a newer view") \
    MARK(PROPOSAL_OVERTAKEN,  "the primary is heard while a backup is about to propose") \
    MARK(ALONE_AGAIN,         "an addition is dropped: the primary is alone as before") \
    MARK(FENCED,              "the fence command makes the old primary harmless") \
    MARK(FENCE_FAILED,        "the fence command fails: no promotion") \
    MARK(REGISTER_SEEDED,     "a register that lost its state is told the view again") \
    MARK(TOLD_TAKEN_BACK,     "a view that a peer told was never granted, and is taken back") \
    MARK(TOLD_TOO_FAR,        "a told view is too far ahead to be believed") \
    MARK(TOLD_TO_LEAD,        "a peer says that this node leads: the register is asked") \
    MARK(TOLD_UNSETTLED,      "a pair's node is told a view by who may have a newer one") \
    /* the primary's side */ \
    MARK(PEER_RESTARTED,      "a peer answers from another incarnation than before") \
    MARK(LOG_REGRESSED,       "a peer comes back with less than it acknowledged") \
    MARK(MEMBER_SLOW,         "a member is removed because its entries do not get through") \
    MARK(MEMBER_NEEDS_SNAPSHOT, "a member turns out to need a snapshot, and is removed") \
    MARK(ADDITION_GIVES_WAY,  "an addition is dropped because another member has to go") \
    MARK(JOINER_GONE,         "a node that was about to be added is lost") \
    MARK(ELECT_WAITS_LEASE,   "a new primary waits for the end of a lease that it gave") \
    MARK(CUT_LOST,            "the APPEND that cuts a suffix, or its answer, got lost") \
    MARK(APPEND_LOST,         "an APPEND got lost on a connection that stands") \
    MARK(POSITION_OLD,        "a report is older than the comparison: its position is not taken") \
    /* bringing a peer up */ \
    MARK(COMPARED_ON_DISK,    "where two logs part is looked up in the log on disk") \
    MARK(READ_FROM_DISK,      "a peer lags so far that its entries are read from disk") \
    MARK(READ_TRIMMED,        "what a peer lacks was trimmed while it was about to be read") \
    MARK(DIVERGED_TOLD,       "a peer is told that its log has parted from this one") \
    MARK(SNAPSHOT_WAITS,      "a snapshot waits until the one before it is closed") \
    MARK(SNAPSHOT_RESENT,     "a chunk of a snapshot got lost, and is sent again") \
    MARK(SNAPSHOT_RESTARTED,  "the receiver of a snapshot was started anew: from the beginning") \
    MARK(SNAPSHOT_GIVEN_UP,   "the receiver of a snapshot has been silent for too long") \
    MARK(SNAPSHOT_UNWANTED,   "a snapshot is open when its receiver needs none any more") \
    /* the follower's side */ \
    MARK(SUFFIX_CUT,          "a suffix that nobody acknowledged is cut off") \
    MARK(CUT_WHILE_WRITING,   "entries are cut off while they are being written") \
    MARK(CUT_WAITS,           "a suffix is not cut off before the register has shown the view") \
    MARK(LATER_IN_STATE,      "entries of a view that nobody granted are in the state") \
    MARK(APPEND_GAP,          "an APPEND comes before the one that it follows") \
    MARK(QUARANTINE,           "a store that parted is set aside") \
    MARK(INCOMING_DROPPED,    "a snapshot that comes in is dropped") \
    MARK(INCOMING_REPEATED,   "a chunk comes a second time, or out of order") \
    MARK(INCOMING_NO_ROOM,    "a snapshot is refused: the store before it cannot be kept") \
    MARK(KEEP_NO_ROOM,        "there is no room beside the store for one that is kept") \
    MARK(INCOMING_WAITS,      "it waits on: the store that it replaces counts") \
    MARK(DIVERGED_WAITS,      "a store that counts is said to have parted by nobody shown") \
    MARK(INCOMING_UNSEEN,     "a snapshot is complete, and the register has not shown its sender") \
    MARK(INCOMING_ORPHANED,   "whoever sends a snapshot is no primary any more") \
    /* the node's own disk */ \
    MARK(DISK_SILENT,         "the node's own disk has been silent for too long") \
    MARK(DISK_ANSWERS,        "a silent disk answers again") \
    MARK(DISK_GIVEN_UP,       "a primary gives its role away because its disk hangs") \
    MARK(DISK_FAILS_NODE,     "a node whose disk hangs fails, so that another one can lead") \
    MARK(HEIR_GONE,           "whoever was to lead cannot, or need not, when the arbiter is back") \
    MARK(DISK_NO_HEIR,        "a primary's disk hangs, and nobody could lead in its place")
/* clang-format on */

#define KVP_MARK_NUMBER(name, what) KVP_MARK_##name,
enum kvp_mark { KVP_MARKS_LIST(KVP_MARK_NUMBER) KVP_MARK_COUNT };
#undef KVP_MARK_NUMBER

#ifdef KVP_MARKS
extern uint64_t kvp_marks[KVP_MARK_COUNT];
#define KVP_MARK(name) ((void)kvp_marks[KVP_MARK_##name]++)
#else
#define KVP_MARK(name) ((void)0)
#endif

#endif
