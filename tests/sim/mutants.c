/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proves the simulator: each deliberate bug (kvstore/base/mutant.h) must be found within LIMIT
 * seeds.
 *
 *   sim_mutants [--limit SEEDS] [--only NAME] [--table]
 *
 * A bug may make an assertion fail before a check does: that counts as found, so each seed runs in
 * a process of its own.
 */
#include "sim.h"

#include "kvstore/base/mutant.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_DEFAULT 6000u
#define LIMIT_NONE    300u /* more than the harsh plan needs to find what it is for */
#define LIMIT_JOBS    100u /* the same with jobs: they take longer */
#define BATCH         50u  /* seeds in one process, before it is known which one finds something */

enum kvp_mutant kvp_mutant;

static void two_nodes(struct sim_plan *plan)
{
    plan->nodes = 2;
    plan->sync_replicas = 0;
    plan->clients = 4;
    plan->operations = 200;
    plan->faults_us = 20000000;
}

/* Two misfortunes at once: two nodes that crash all the time, on slow disks, with messages that
 * come late and twice. */
static void harsh_plan(struct sim_plan *plan)
{
    two_nodes(plan);
    plan->fault_gap_us = 200000;
    plan->crash = 20;
    plan->wipe = 0;
    plan->duplication = 200;
    plan->delay_us = 3000;
    plan->disk_us = 5000;
}

/* Disks that fail and get stuck, of nodes that are started anew and cut off. */
static void failing_disks(struct sim_plan *plan)
{
    plan->fault_gap_us = 300000;
    plan->disk_fault = plan->slow_disk = 20;
    plan->crash = plan->cut = 10;
    plan->pause = plan->reset = plan->one_way = plan->handover = plan->wipe = 0;
}

/* And copies come often. */
static void failing_disks_copies(struct sim_plan *plan)
{
    failing_disks(plan);
    plan->copy_gap_us = 700000;
    plan->copies_unsure = true;
}

/* Two nodes whose messages come late and that are cut off from each other. */
static void late_messages(struct sim_plan *plan)
{
    two_nodes(plan);
    plan->fault_gap_us = 1000000;
    plan->cut = plan->one_way = 20;
    plan->crash = plan->pause = plan->reset = plan->disk_fault = plan->wipe = plan->handover = 0;
    plan->delay_us = 30000;
}

/* Of two nodes one has a disk that hangs, and nothing else happens. */
static void hung_disks(struct sim_plan *plan)
{
    two_nodes(plan);
    plan->hang_gap_us = 4000000;
    plan->fault_gap_us = 0;
}

/* Two disks so slow that for seconds nothing is committed, also when all is repaired. */
static void slow_disks(struct sim_plan *plan)
{
    two_nodes(plan);
    plan->fault_gap_us = 500000;
    plan->slow_disk = 20;
    plan->crash = plan->pause = plan->cut = plan->one_way = plan->reset = plan->disk_fault = 0;
    plan->wipe = plan->handover = 0;
    plan->disk_us = 20000;
}

/* Copies of requests come when their session has been dropped. */
static void late_copies(struct sim_plan *plan)
{
    harsh_plan(plan);
    plan->operations = 40;
    plan->delay_us = 30000;
    plan->sessions.sessions_max = plan->clients + 1;
    plan->sessions.idle_ms = 1;
    plan->sessions.renew = 400;
}

/* Sessions are dropped that were used a moment ago, on disks so slow that the store does not know
 * it yet. */
static void crowded_sessions(struct sim_plan *plan)
{
    late_copies(plan);
    plan->clients = 6;
    plan->duplication = 500;
    plan->disk_us = 30000;
    plan->sessions.sessions_max = 2;
    plan->sessions.renew = 200;
}

/* Somebody tells the nodes of views that nobody granted. */
static void forged_views(struct sim_plan *plan)
{
    plan->forge = 20;
    plan->witness_crash = 0;
}

/* Somebody says to each of two nodes that the other one stops, or wants a view. */
static void forged_words(struct sim_plan *plan)
{
    two_nodes(plan);
    plan->fault_gap_us = 300000;
    plan->forge_words = 20;
}

/* A pair whose nodes are cut from each other all the time, and crash. */
static void cut_pairs(struct sim_plan *plan)
{
    two_nodes(plan);
    plan->fault_gap_us = 700000;
    plan->cut = plan->crash = 20;
    plan->log_size_max = 2000;
}

/* Nodes that are emptied and sent snapshots of several chunks, over connections that break, on slow
 * disks. */
static void rough_snapshots(struct sim_plan *plan)
{
    two_nodes(plan);
    plan->fault_gap_us = 400000;
    plan->crash = plan->wipe = plan->reset = 10;
    plan->cut = plan->pause = plan->disk_fault = plan->handover = 3;
    plan->disk_us = 5000;
    plan->log_size_max = 2000;
    plan->chunk_size = 40;
}

/* Disks that hang while the witness is away, and nodes that are emptied meanwhile. */
static void heirs_gone(struct sim_plan *plan)
{
    two_nodes(plan);
    plan->fault_gap_us = 500000;
    plan->hang_gap_us = 3000000;
    plan->witness_crash = 20;
    plan->wipe = 10;
    plan->crash = plan->pause = plan->cut = plan->one_way = plan->reset = plan->disk_fault = 0;
    plan->slow_disk = 0;
    plan->handover = 10;
}

/* The witness crashes all the time, and its answers come late. */
static void crashing_witness(struct sim_plan *plan)
{
    plan->fault_gap_us = 300000;
    plan->witness_crash = 20;
    plan->crash = plan->pause = plan->cut = plan->one_way = plan->reset = plan->slow_disk = 0;
    plan->handover = 0;
    plan->delay_us = 30000;
}

enum { ANY = -1, WITNESS = 0, BACKUP_WINS = 1, PRIMARY_WINS = 2, AVAILABLE = 3 };

static const struct sim_mutant {
    enum kvp_mutant mutant;
    const char *name;
    int mode;
    const char *what;
    void (*alter)(struct sim_plan *plan); /* what it needs to come out; NULL: nothing special */
    bool jobs, sessions, copies, accidents, watch, rights, leases, members;
    bool slow; /* takes minutes: looked for only with --table, or by its name */
} mutants[] = {
    {KVP_MUTANT_NONE, "none", WITNESS, "no bug: nothing must be found", harsh_plan},
    {KVP_MUTANT_NONE, "none-late", WITNESS, "no bug, messages come late: nothing must be found",
     late_messages},
    {KVP_MUTANT_NONE, "none-jobs", WITNESS, "no bug, with jobs: nothing must be found",
     .jobs = true},
    {KVP_MUTANT_NONE, "none-sessions", WITNESS,
     "no bug, sessions are dropped: nothing must be found", late_copies, .sessions = true},
    {KVP_MUTANT_NONE, "none-copies", WITNESS, "no bug, with copies: nothing must be found",
     .copies = true},
    {KVP_MUTANT_NONE, "none-watch", WITNESS, "no bug, with watchers: nothing must be found",
     .watch = true},
    {KVP_MUTANT_NONE, "none-members", WITNESS,
     "no bug, with members that change: nothing must be found", .members = true},
    {KVP_MUTANT_NONE, "none-leases", WITNESS, "no bug, with leases: nothing must be found",
     .leases = true},
    {KVP_MUTANT_NONE, "none-rights", WITNESS, "no bug, with rights: nothing must be found",
     .rights = true},
    {KVP_MUTANT_ACK_ALONE, "ack-alone", WITNESS, "commit without the other members"},
    {KVP_MUTANT_ACK_BEFORE_DISK, "ack-before-disk", WITNESS,
     "commit before the primary's own disk has it"},
    {KVP_MUTANT_BACKUP_ACKS_MEMORY, "backup-acks-memory", WITNESS,
     "a backup reports what is not on its disk yet", harsh_plan},
    {KVP_MUTANT_UNSYNCED, "unsynced", WITNESS, "writes are not synced", harsh_plan},
    {KVP_MUTANT_SKIP_LEASE, "skip-lease", WITNESS, "a primary serves without leases"},
    {KVP_MUTANT_LEASE_FROM_RECEIPT, "lease-from-receipt", WITNESS,
     "a lease counts from the answer, not from the question", late_messages},
    {KVP_MUTANT_SHORT_GRACE, "short-grace", WITNESS, "a backup waits less than the lease"},
    {KVP_MUTANT_CANDIDATE_FOLLOWS, "candidate-follows", WITNESS,
     "a candidate goes on giving leases", late_messages},
    {KVP_MUTANT_IGNORE_EPOCH, "ignore-epoch", WITNESS,
     "a follower believes a primary of an older view"},
    {KVP_MUTANT_APPLY_EARLY, "apply-early", WITNESS,
     "entries are applied before they are committed"},
    {KVP_MUTANT_PROMOTE_OUTSIDE, "promote-outside", WITNESS,
     "a node out of the in-sync set becomes primary"},
    {KVP_MUTANT_NO_ELECT, "no-elect", WITNESS,
     "a new primary serves before the others have its log"},
    {KVP_MUTANT_ADD_UNREADY, "add-unready", WITNESS,
     "a member is added that lacks committed entries", harsh_plan},
    {KVP_MUTANT_REMOVE_AT_ONCE, "remove-at-once", WITNESS,
     "a member does not count any more before the arbiter says so"},
    {KVP_MUTANT_ACCEPT_MISMATCH, "accept-mismatch", WITNESS,
     "entries are appended behind another predecessor", harsh_plan},
    {KVP_MUTANT_CUT_TOO_FAR, "cut-too-far", WITNESS,
     "a late message cuts entries of the same leadership", harsh_plan},
    {KVP_MUTANT_FORGET_SESSIONS, "forget-sessions", WITNESS,
     "a new primary does not know the old one's sessions"},
    {KVP_MUTANT_SESSION_DROP_USED, "session-drop-used", WITNESS,
     "a session makes room though it was used a moment ago", .sessions = true},
    {KVP_MUTANT_SESSION_DROPPED_LIVES, "session-dropped-lives", WITNESS,
     "the old record of a dropped session is believed", crowded_sessions, .sessions = true},
    {KVP_MUTANT_SESSION_FLOOR, "session-floor", WITNESS,
     "that a session was dropped is not told to the other nodes", late_copies, .sessions = true},
    {KVP_MUTANT_ROOM_NOT_EMPTY, "room-not-empty", WITNESS,
     "an update is executed behind what is left of an earlier one"},
    {KVP_MUTANT_REPEAT_EXECUTES, "repeat-executes", WITNESS, "a repeat is executed again"},
    {KVP_MUTANT_BLIND_WITNESS, "blind-witness", WITNESS,
     "the witness does not compare before it sets"},
    {KVP_MUTANT_FORGETFUL_WITNESS, "forgetful-witness", WITNESS,
     "the witness answers before its disk has the change"},
    {KVP_MUTANT_BOOT_ALONE, "boot-alone", BACKUP_WINS,
     "pair: a restarted node decides without having heard the other"},
    {KVP_MUTANT_SETTLED, "settled", BACKUP_WINS,
     "pair: what is on its way to the disk, or was, is not told", failing_disks},
    {KVP_MUTANT_UNWATCHED_DISK, "unwatched-disk", WITNESS,
     "a primary does not look at its own disk", hung_disks},
    {KVP_MUTANT_KEEP_HUNG_MEMBER, "keep-hung-member", WITNESS,
     "who hands over because its disk hangs stays a member", hung_disks},
    {KVP_MUTANT_NONE, "none-forged", WITNESS, "no bug, forged views: nothing must be found",
     forged_views},
    {KVP_MUTANT_TOLD_LEADS, "told-leads", BACKUP_WINS, "a node leads because a peer says so",
     forged_views},
    {KVP_MUTANT_TOLD_STAYS, "told-stays", WITNESS,
     "what a peer said is not put right by the register", forged_views},
    {KVP_MUTANT_NONE, "none-words", BACKUP_WINS, "no bug, forged words: nothing must be found",
     forged_words},
    {KVP_MUTANT_RESIGN_BELIEVED, "resign-believed", WITNESS,
     "whoever is said to have failed has no lease any more", forged_words},
    {KVP_MUTANT_GRANT_ANY, "grant-any", AVAILABLE,
     "pair: a view is granted whatever its number, and where nobody asks", forged_words},
    {KVP_MUTANT_BOOT_ASKED, "boot-asked", BACKUP_WINS,
     "pair: a restarted node leads because it is asked to", forged_words},
    {KVP_MUTANT_GRANT_UNNOTED, "grant-unnoted", BACKUP_WINS,
     "pair: who is given all of it does not keep in mind from where on", forged_words},
    {KVP_MUTANT_COPY_SPEAKS, "copy-speaks", WITNESS, "the witness accepts any store for a node",
     .copies = true},
    {KVP_MUTANT_COPY_LEADS, "copy-leads", WITNESS,
     "a store that is refused, or not known yet, leads all the same", .copies = true},
    {KVP_MUTANT_COPY_SAME_NUMBER, "copy-same-number", WITNESS, "a start draws no number of its own",
     .copies = true},
    {KVP_MUTANT_NONE, "none-copies-pair", PRIMARY_WINS,
     "no bug, a pair with copies on failing disks: nothing must be found", failing_disks_copies,
     .copies = true},
    {KVP_MUTANT_COPY_FROM_MEMORY, "copy-from-memory", PRIMARY_WINS,
     "pair: a store is told that it is a copy, and that is forgotten", failing_disks_copies,
     .copies = true},
    {KVP_MUTANT_NUMBER_BY_REQUEST, "number-by-request", BACKUP_WINS,
     "pair: whoever asks in its name is the other node's store", .copies = true},
    {KVP_MUTANT_NUMBER_NOT_DURABLE, "number-not-durable", PRIMARY_WINS,
     "pair: a store is known before its number is on the disk", failing_disks_copies,
     .copies = true},
    {KVP_MUTANT_REPLACE_UNSEEN, "replace-unseen", WITNESS,
     "a snapshot replaces a store, whoever sends it", forged_views},
    {KVP_MUTANT_NONE, "none-cut", AVAILABLE, "no bug, pairs that are cut: nothing must be found",
     cut_pairs},
    {KVP_MUTANT_NONE, "none-rough", WITNESS,
     "no bug, snapshots all the time: nothing must be found", rough_snapshots},
    {KVP_MUTANT_MEMBER_STILL_COUNTS, "member-still-counts", WITNESS,
     "who is taken off the list stays in the view", .members = true},
    {KVP_MUTANT_MEMBER_UNCOMMITTED, "member-uncommitted", WITNESS,
     "a list is in force before it is committed", .members = true},
    {KVP_MUTANT_MEMBER_LOST_SNAPSHOT, "member-lost-snapshot", WITNESS,
     "who was sent a snapshot goes on with the list of before", .members = true},
    {KVP_MUTANT_MEMBER_LOST_RESTART, "member-lost-restart", WITNESS,
     "who is started goes by its flags", .members = true},
    {KVP_MUTANT_NONE, "none-accidents", WITNESS,
     "no bug, an old store and an emptied witness: nothing must be found", .accidents = true},
    {KVP_MUTANT_LOST_UNSEEN, "lost-unseen", WITNESS,
     "a register that was made anew is believed like any other", .accidents = true},
    {KVP_MUTANT_LOST_UNSAID, "lost-unsaid", WITNESS,
     "a restarted witness does not say that its register was made anew", crashing_witness,
     .accidents = true},
    {KVP_MUTANT_COMMIT_FALLS, "commit-falls", WITNESS,
     "the commit point falls when the view changes", harsh_plan},
    {KVP_MUTANT_COMMIT_TOLD_AHEAD, "commit-told-ahead", WITNESS,
     "a primary calls committed what it has not heard of", harsh_plan},
    {KVP_MUTANT_APPLY_SKIPS, "apply-skips", WITNESS,
     "a backup leaves out an entry when it applies several"},
    {KVP_MUTANT_QUEUE_CROSSED, "queue-crossed", WITNESS,
     "the store changes place while a write to it is under way", rough_snapshots},
    {KVP_MUTANT_SNAPSHOT_TORN, "snapshot-torn", WITNESS,
     "a snapshot is complete after its first chunk", rough_snapshots},
    {KVP_MUTANT_SNAPSHOT_AHEAD, "snapshot-ahead", WITNESS,
     "a snapshot is said to be newer than it is", rough_snapshots},
    {KVP_MUTANT_DURABLE_EARLY, "durable-early", WITNESS,
     "what is being written of the log counts as durable", harsh_plan},
    {KVP_MUTANT_ALONE_UNNOTED, "alone-unnoted", WITNESS,
     "a node that goes on alone does not keep in mind from where on"},
    {KVP_MUTANT_KEEP_NOTHING, "keep-nothing", AVAILABLE,
     "a store is replaced though it has what it committed alone", cut_pairs},
    {KVP_MUTANT_CUT_UNWRITTEN, "cut-unwritten", WITNESS,
     "what is cut off the log stays on the disk", harsh_plan},
    {KVP_MUTANT_JOINT_DROPPED, "joint-dropped", WITNESS,
     "a change under way binds the old view's members only", harsh_plan},
    {KVP_MUTANT_EPOCH_SHARED, "epoch-shared", AVAILABLE,
     "pair: two nodes make epochs of the same number", cut_pairs},
    {KVP_MUTANT_CAS_FORGOTTEN, "cas-forgotten", WITNESS,
     "a change that may have been granted is given up", late_messages},
    {KVP_MUTANT_NONE, "none-heirs", WITNESS,
     "no bug, disks hang while the witness is away: nothing must be found", heirs_gone},
    {KVP_MUTANT_PROMISE_UNKNOWN, "promise-unknown", WITNESS,
     "a new store counts before the register lets it", heirs_gone, .slow = true},
    {KVP_MUTANT_HEIR_UNSEEN, "heir-unseen", WITNESS,
     "the lead is given away though the reason has gone meanwhile", heirs_gone},
    {KVP_MUTANT_JOB_NO_QUORUM, "job-no-quorum", WITNESS, "the first result of a task decides",
     .jobs = true},
    {KVP_MUTANT_JOB_VOTE_TWICE, "job-vote-twice", WITNESS,
     "a worker's second result for a task is another vote", .jobs = true},
    {KVP_MUTANT_JOB_FORGET_LOST, "job-forget-lost", WITNESS,
     "a task whose worker is lost is not handed out again", .jobs = true},
    {KVP_MUTANT_JOB_FREE_EARLY, "job-free-early", WITNESS,
     "a task begins when one of those that it waits for is done", .jobs = true},
    {KVP_MUTANT_JOB_OVERWRITE, "job-overwrite", WITNESS,
     "a late result takes the place of the accepted one", .jobs = true},
    {KVP_MUTANT_JOB_AFTER_CANCEL, "job-after-cancel", WITNESS,
     "a result of a job that has ended is accepted", .jobs = true},
    {KVP_MUTANT_JOB_FORGET_VOTES, "job-forget-votes", WITNESS,
     "a new primary does not know the votes", .jobs = true},
    {KVP_MUTANT_JOB_NOT_LOOKED_FOR, "job-not-looked-for", WITNESS,
     "a job that a new primary has not read yet is unknown to it", .jobs = true},
    {KVP_MUTANT_JOB_UNREAD, "job-unread", WITNESS,
     "a new primary hands a task out as if nothing were known of it", .jobs = true},
    {KVP_MUTANT_JOB_FORGET_SUMS, "job-forget-sums", WITNESS,
     "a new primary does not know what was summed up", .jobs = true},
    {KVP_MUTANT_JOB_FENCED_WORKER, "job-fenced-worker", WITNESS,
     "a worker that was replaced goes on getting tasks", .jobs = true},
    {KVP_MUTANT_JOB_ANY_ATTEMPT, "job-any-attempt", WITNESS,
     "the number of an attempt is not checked", .jobs = true},
    {KVP_MUTANT_JOB_CHECKPOINT, "job-checkpoint", WITNESS,
     "workers whose results are compared share checkpoints", .jobs = true},
    {KVP_MUTANT_JOB_LOST_VOTES, "job-lost-votes", WITNESS, "who loses votes late is not found out",
     .jobs = true},
    {KVP_MUTANT_JOB_NO_VERIFY, "job-no-verify", WITNESS, "a product is not verified", .jobs = true},
    {KVP_MUTANT_JOB_LEFTOVERS, "job-leftovers", WITNESS,
     "checkpoints are left when a job is removed", .jobs = true},
    {KVP_MUTANT_JOB_VERIFY_ANY, "job-verify-any", WITNESS,
     "nobody looks how much memory a verification takes", .jobs = true},
    {KVP_MUTANT_JOB_SUM_SHORT, "job-sum-short", WITNESS,
     "a sum is written when a step is over, not when it is complete", .jobs = true},
    {KVP_MUTANT_JOB_USED_UP, "job-used-up", WITNESS,
     "a request that was not executed uses up its number", .jobs = true},
    {KVP_MUTANT_JOB_BACK_TO_FAILER, "job-back-to-failer", WITNESS,
     "a failed task returns to whoever failed it", .jobs = true},
    {KVP_MUTANT_JOB_BLAMED_AT_ONCE, "job-blamed-at-once", WITNESS,
     "standing is lost for a failure before anybody did better", .jobs = true},
    {KVP_MUTANT_JOB_FORGET_FAULTS, "job-forget-faults", WITNESS,
     "a new primary does not know who failed what", .jobs = true},
    {KVP_MUTANT_JOB_REST_FOREVER, "job-rest-forever", WITNESS, "a task that failed rests for ever",
     .jobs = true},
    {KVP_MUTANT_JOB_GONE_WANTED, "job-gone-wanted", WITNESS,
     "a beat for an attempt that is gone is answered \"go on\"", .jobs = true},
    {KVP_MUTANT_JOB_DEAD_DONE, "job-dead-done", WITNESS,
     "a task that has failed is counted as done", .jobs = true},
    {KVP_MUTANT_JOB_PAUSED_GOES_ON, "job-paused-goes-on", WITNESS, "a paused job hands out",
     .jobs = true},
    {KVP_MUTANT_JOB_DRAINED_WORKS, "job-drained-works", WITNESS, "a drained worker is given tasks",
     .jobs = true},
    {KVP_MUTANT_JOB_KEY_FORGOTTEN, "job-key-forgotten", WITNESS,
     "a new primary does not know who holds a key", .jobs = true},
    {KVP_MUTANT_JOB_MORE_RUNNING, "job-more-running", WITNESS,
     "a new primary does not know how many attempts are under way", .jobs = true},
    {KVP_MUTANT_JOB_AGELESS, "job-ageless", WITNESS, "a job that has expired goes on",
     .jobs = true},
    {KVP_MUTANT_JOB_RETRY_UNWRITTEN, "job-retry-unwritten", WITNESS,
     "a task that is tried again has still failed in the store", .jobs = true},
    {KVP_MUTANT_JOB_NOBODY_ELSE, "job-nobody-else", WITNESS,
     "a task is given up while a good worker could have it", .jobs = true},
    {KVP_MUTANT_JOB_UNFIT_STANDBY, "job-unfit-standby", WITNESS, "any standby takes any place",
     .jobs = true},
    {KVP_MUTANT_NONE, "none-slow", BACKUP_WINS,
     "no bug, slow disks with jobs: nothing must be found", slow_disks, .jobs = true},
    {KVP_MUTANT_WATCH_MEMORY_ONLY, "watch-memory-only", WITNESS,
     "what is not in memory any more is left out of a watch", .watch = true},
    {KVP_MUTANT_WATCH_UNCOMMITTED, "watch-uncommitted", WITNESS,
     "a watch tells what is not committed yet", .watch = true},
    {KVP_MUTANT_WATCH_TWICE, "watch-twice", WITNESS,
     "a watch that goes on is told the last event again", .watch = true},
    {KVP_MUTANT_WATCH_DISORDER, "watch-disorder", WITNESS,
     "a watch is told a newer entry before an older one", .watch = true},
    {KVP_MUTANT_WATCH_SPLIT, "watch-split", WITNESS,
     "a watch's answer that is full ends within a transaction", .watch = true},
    {KVP_MUTANT_WATCH_BOOKMARK, "watch-bookmark", WITNESS,
     "a watch that is told of nothing is said to have seen all", .watch = true},
    {KVP_MUTANT_WATCH_SILENT_GAP, "watch-silent-gap", WITNESS,
     "a watch that comes too late goes on with what there is", .watch = true},
    {KVP_MUTANT_WATCH_FROM_NOW, "watch-from-now", WITNESS,
     "a watch that comes to a primary begins with what comes next", .watch = true},
    {KVP_MUTANT_WATCH_WAKES_ONE, "watch-wakes-one", WITNESS,
     "an entry wakes one of those who watch its keys", .watch = true},
    {KVP_MUTANT_WATCH_NO_DELETES, "watch-no-deletes", WITNESS, "a watch is told of no deletion",
     .watch = true},
    {KVP_MUTANT_WATCH_NO_END, "watch-no-end", WITNESS, "a watch's range has no end", .watch = true},
    {KVP_MUTANT_LEASE_SHORTENED, "lease-shortened", WITNESS,
     "a new primary gives a lease half its time", .leases = true},
    {KVP_MUTANT_LEASE_CLOCK_AHEAD, "lease-clock-ahead", WITNESS,
     "a new primary's clock of leases is ahead of the old one's", .leases = true},
    {KVP_MUTANT_LEASE_NOT_KEPT, "lease-not-kept", WITNESS,
     "a lease that is kept ends as if it had not been", .leases = true},
    {KVP_MUTANT_LEASE_STAYS, "lease-stays", WITNESS,
     "a key that is put again without a lease ends with its old one", .leases = true},
    {KVP_MUTANT_LEASE_CROSSED, "lease-crossed", WITNESS,
     "a key that has another lease now ends with its old one, too", .leases = true},
    {KVP_MUTANT_LEASE_KEY_STAYS, "lease-key-stays", WITNESS, "a lease ends and its keys stay",
     .leases = true},
    {KVP_MUTANT_LEASE_KEY_BACK, "lease-key-back", WITNESS,
     "the end of a key is not replicated: it comes back", .leases = true},
    {KVP_MUTANT_LEASE_UNREAD, "lease-unread", BACKUP_WINS,
     "there is no room for a lease that the index does not know yet", .leases = true},
    {KVP_MUTANT_ACCESS_SCAN_START, "access-scan-start", WITNESS,
     "of a range only the start is looked at for a right", .rights = true},
    {KVP_MUTANT_ACCESS_COMPARES, "access-compares", WITNESS,
     "what a transaction compares needs no right", .rights = true},
    {KVP_MUTANT_ACCESS_ELSE, "access-else", WITNESS,
     "what a transaction does if its compares fail needs no right", .rights = true},
    {KVP_MUTANT_ACCESS_ANY_CURSOR, "access-any-cursor", WITNESS,
     "any identity goes on with any scan", .rights = true},
    {KVP_MUTANT_ACCESS_WATCH_ONCE, "access-watch-once", WITNESS,
     "who watches needs a right when he comes, and later none", .rights = true},
    {KVP_MUTANT_ACCESS_OLD_LOOK, "access-old-look", WITNESS,
     "a primary goes by the rights that it has looked up once", .rights = true},
    {KVP_MUTANT_ACCESS_LOST_LEASE, "access-lost-lease", BACKUP_WINS,
     "who leads no more refuses for good, by the rights that it knows", .rights = true},
    {KVP_MUTANT_ACCESS_TELLS, "access-tells", WITNESS, "a refusal tells whether the key is there",
     .rights = true},
    {KVP_MUTANT_ACCESS_STALE, "access-stale", WITNESS, "what any node answers needs no right",
     .rights = true},
};

#define MUTANTS (sizeof(mutants) / sizeof(mutants[0]))

struct finding {
    unsigned long long seed; /* 0: none */
    char how[512];
};

static bool seed_is_good(const struct sim_mutant *mutant, unsigned long long seed, char *how,
                         size_t size)
{
    static struct sim sim;
    struct sim_plan plan;
    sim_plan_make(&plan, seed, mutant->mode);
    if (mutant->jobs) {
        sim_plan_jobs(&plan, seed);
    }
    if (mutant->sessions) {
        sim_plan_sessions(&plan, seed);
    }
    if (mutant->copies) {
        sim_plan_copies(&plan, seed);
    }
    if (mutant->members) {
        sim_plan_members(&plan, seed);
    }
    if (mutant->accidents) {
        sim_plan_accidents(&plan, seed);
    }
    if (mutant->watch) {
        sim_plan_watches(&plan, seed);
    }
    if (mutant->rights) {
        sim_plan_rights(&plan, seed);
    }
    if (mutant->leases) {
        sim_plan_leases(&plan, seed);
    }
    if (mutant->alter != NULL) {
        mutant->alter(&plan);
    }
    bool ok = sim_run(&sim, seed, &plan, false);
    (void)snprintf(how, size, "%s", ok ? "" : sim.failure);
    return ok;
}

/* In a child: the first seed of the batch that finds something. An abort says no seed. */
static bool run_batch(const struct sim_mutant *mutant, unsigned long long from, unsigned count,
                      struct finding *finding)
{
    int ends[2];
    if (pipe(ends) != 0) {
        abort();
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int quiet = open("/dev/null", O_WRONLY);
        (void)dup2(quiet, STDERR_FILENO); /* an assertion's text */
        for (unsigned i = 0; i < count; i++) {
            finding->seed = from + i;
            (void)snprintf(finding->how, sizeof(finding->how), "an assertion");
            (void)!write(ends[1], finding, sizeof(*finding));
            if (!seed_is_good(mutant, from + i, finding->how, sizeof(finding->how))) {
                (void)!write(ends[1], finding, sizeof(*finding));
                _exit(1);
            }
        }
        _exit(0);
    }
    close(ends[1]);
    struct finding next;
    while (read(ends[0], &next, sizeof(next)) == (ssize_t)sizeof(next)) {
        *finding = next;
    }
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool find(size_t index, unsigned limit, bool table)
{
    struct finding finding = {0};
    unsigned long long seed = 1;

    kvp_mutant = mutants[index].mutant;
    unsigned none = mutants[index].jobs ? LIMIT_JOBS : LIMIT_NONE;
    limit = kvp_mutant == KVP_MUTANT_NONE && limit > none ? none : limit;
    bool good = true;
    for (; good && seed <= limit; seed += BATCH) {
        unsigned count = limit - seed + 1 < BATCH ? (unsigned)(limit - seed + 1) : BATCH;
        good = run_batch(&mutants[index], seed, count, &finding);
    }
    if (table) {
        printf("| `%s` | %s | %llu | %s |\n", mutants[index].name, mutants[index].what,
               good ? 0 : finding.seed, good ? "not found" : finding.how);
    } else {
        printf("%-20s %s %llu: %s\n", mutants[index].name, good ? "NOT FOUND by seed" : "seed",
               good ? (unsigned long long)limit : finding.seed, good ? "" : finding.how);
    }
    return good == (kvp_mutant == KVP_MUTANT_NONE);
}

int main(int argc, char **argv)
{
    static const struct option known[] = {{"limit", required_argument, NULL, 'l'},
                                          {"only", required_argument, NULL, 'o'},
                                          {"table", no_argument, NULL, 't'},
                                          {NULL, 0, NULL, 0}};
    unsigned limit = LIMIT_DEFAULT, missed = 0;
    const char *only = NULL;
    bool table = false;
    int which;

    while ((which = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (which) {
        case 'l':
            limit = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'o':
            only = optarg;
            break;
        case 't':
            table = true;
            break;
        default:
            return 2;
        }
    }
    for (size_t i = 0; i < MUTANTS; i++) {
        if (only != NULL ? strcmp(only, mutants[i].name) == 0 : table || !mutants[i].slow) {
            missed += find(i, limit, table) ? 0 : 1;
        }
    }
    return missed != 0;
}
