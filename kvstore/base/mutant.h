/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deliberate bugs, one at a time: the simulator must find each of them, else it proves nothing.
 * Only the simulator's own build of the sources (-DKVP_MUTANTS) has them; everywhere else
 * KVP_MUTANT() is false and leaves no trace. docs/mutations.md has the table.
 */
#ifndef KVP_MUTANT_H
#define KVP_MUTANT_H

#include <stdbool.h>

enum kvp_mutant {
    KVP_MUTANT_NONE,
    KVP_MUTANT_ACK_ALONE,          /* commit without the other members */
    KVP_MUTANT_ACK_BEFORE_DISK,    /* commit before the primary's own disk has it */
    KVP_MUTANT_BACKUP_ACKS_MEMORY, /* a backup reports what is not on its disk yet */
    KVP_MUTANT_UNSYNCED,           /* writes are not synced */
    KVP_MUTANT_SKIP_LEASE,         /* a primary serves without leases */
    KVP_MUTANT_LEASE_FROM_RECEIPT, /* a lease counts from the answer, not from the question */
    KVP_MUTANT_SHORT_GRACE,        /* a backup waits less than the lease */
    KVP_MUTANT_CANDIDATE_FOLLOWS,  /* a candidate goes on giving leases */
    KVP_MUTANT_IGNORE_EPOCH,       /* a follower believes a primary of an older view */
    KVP_MUTANT_APPLY_EARLY,        /* entries are applied before they are committed */
    KVP_MUTANT_PROMOTE_OUTSIDE,    /* a node out of the in-sync set becomes primary */
    KVP_MUTANT_NO_ELECT,           /* a new primary serves before the others have its log */
    KVP_MUTANT_ADD_UNREADY,        /* a member is added that lacks committed entries */
    KVP_MUTANT_REMOVE_AT_ONCE,     /* a member does not count any more before the arbiter says so */
    KVP_MUTANT_ACCEPT_MISMATCH,    /* entries are appended behind another predecessor */
    KVP_MUTANT_CUT_TOO_FAR,        /* a late message cuts entries of the same leadership */
    KVP_MUTANT_FORGET_SESSIONS,    /* a new primary does not know the old one's sessions */
    KVP_MUTANT_SESSION_DROP_USED,  /* a session makes room though it was used a moment ago */
    KVP_MUTANT_SESSION_DROPPED_LIVES, /* a dropped session's old record is believed */
    KVP_MUTANT_SESSION_FLOOR,     /* that a session was dropped is not told to the other nodes */
    KVP_MUTANT_ROOM_NOT_EMPTY,    /* an update is executed behind what is left of an earlier one */
    KVP_MUTANT_REPEAT_EXECUTES,   /* a repeat is executed again */
    KVP_MUTANT_BLIND_WITNESS,     /* the witness does not compare before it sets */
    KVP_MUTANT_FORGETFUL_WITNESS, /* the witness answers before its disk has the change */
    KVP_MUTANT_BOOT_ALONE,       /* pair: a restarted node decides without having heard the other */
    KVP_MUTANT_SETTLED,          /* pair: what is on its way to the disk, or was, is not told */
    KVP_MUTANT_UNWATCHED_DISK,   /* a primary does not look at its own disk */
    KVP_MUTANT_KEEP_HUNG_MEMBER, /* who hands over because its disk hangs stays a member */
    KVP_MUTANT_REPLACE_UNSEEN,   /* a snapshot replaces a store, whoever sends it */
    KVP_MUTANT_COPY_SPEAKS,      /* the witness accepts any store for a node */
    KVP_MUTANT_COPY_LEADS,       /* a store that is refused, or not known yet, leads all the same */
    KVP_MUTANT_COPY_SAME_NUMBER, /* a start draws no number of its own */
    KVP_MUTANT_RESIGN_BELIEVED,  /* whoever is said to have failed has no lease any more */
    KVP_MUTANT_GRANT_ANY,  /* pair: a view is granted whatever its number, and where nobody asks */
    KVP_MUTANT_BOOT_ASKED, /* pair: a restarted node leads because it is asked to */
    KVP_MUTANT_GRANT_UNNOTED, /* pair: who is given all of it does not keep in mind from where on */
    KVP_MUTANT_COPY_FROM_MEMORY,   /* pair: that a store is told to be a copy may be forgotten */
    KVP_MUTANT_NUMBER_BY_REQUEST,  /* pair: whoever asks in its name is the other node's store */
    KVP_MUTANT_NUMBER_NOT_DURABLE, /* pair: a store is known before the number is on the disk */
    KVP_MUTANT_TOLD_LEADS,         /* a node leads because a peer says so */
    KVP_MUTANT_TOLD_STAYS,         /* what a peer said is not put right by the register */
    KVP_MUTANT_LOST_UNSEEN,        /* a register that was made anew is believed like any other */
    KVP_MUTANT_LOST_UNSAID,        /* whom a register made anew must be told to is forgotten */
    KVP_MUTANT_COMMIT_FALLS,       /* the commit point falls when the view changes */
    KVP_MUTANT_COMMIT_TOLD_AHEAD,  /* a primary calls committed what it has not heard of */
    KVP_MUTANT_APPLY_SKIPS,        /* a backup leaves out an entry when it applies several */
    KVP_MUTANT_QUEUE_CROSSED,      /* the store changes place while a write to it is under way */
    KVP_MUTANT_SNAPSHOT_TORN,      /* a snapshot is complete after its first chunk */
    KVP_MUTANT_SNAPSHOT_AHEAD,     /* a snapshot is said to be newer than it is */
    KVP_MUTANT_DURABLE_EARLY,      /* what is being written of the log counts as durable */
    KVP_MUTANT_ALONE_UNNOTED,   /* a node that goes on alone does not keep in mind from where on */
    KVP_MUTANT_KEEP_NOTHING,    /* a store is replaced though it has what it committed alone */
    KVP_MUTANT_CUT_UNWRITTEN,   /* what is cut off the log stays on the disk */
    KVP_MUTANT_JOINT_DROPPED,   /* a change under way binds the old view's members only */
    KVP_MUTANT_EPOCH_SHARED,    /* two nodes make epochs of the same number */
    KVP_MUTANT_CAS_FORGOTTEN,   /* a change that may have been granted is given up */
    KVP_MUTANT_PROMISE_UNKNOWN, /* a new store counts before the register lets it */
    KVP_MUTANT_HEIR_UNSEEN,     /* the lead is given away though the reason has gone meanwhile */
    /* members: the world of members must find them */
    KVP_MUTANT_MEMBER_STILL_COUNTS,  /* who is taken off the list stays in the view */
    KVP_MUTANT_MEMBER_UNCOMMITTED,   /* a list is in force before it is committed */
    KVP_MUTANT_MEMBER_LOST_SNAPSHOT, /* who was sent a snapshot goes on with the list of before */
    KVP_MUTANT_MEMBER_LOST_RESTART,  /* who is started goes by its flags */
    /* jobs */
    KVP_MUTANT_JOB_NO_QUORUM,      /* the first result of a task decides */
    KVP_MUTANT_JOB_VOTE_TWICE,     /* a worker's second result for a task is another vote */
    KVP_MUTANT_JOB_FORGET_LOST,    /* a task whose worker is lost is not handed out again */
    KVP_MUTANT_JOB_FREE_EARLY,     /* a task begins when one of those that it waits for is done */
    KVP_MUTANT_JOB_OVERWRITE,      /* a late result takes the place of the accepted one */
    KVP_MUTANT_JOB_AFTER_CANCEL,   /* a result of a job that has ended is accepted */
    KVP_MUTANT_JOB_FORGET_VOTES,   /* a new primary does not know the votes */
    KVP_MUTANT_JOB_NOT_LOOKED_FOR, /* a job that a new primary has not read yet is unknown to it */
    KVP_MUTANT_JOB_UNREAD,         /* a task is handed out as if nothing were known of it */
    KVP_MUTANT_JOB_FORGET_SUMS,    /* a new primary does not know what was summed up */
    KVP_MUTANT_JOB_FENCED_WORKER,  /* a worker that was replaced goes on getting tasks */
    KVP_MUTANT_JOB_ANY_ATTEMPT,    /* the number of an attempt is not checked */
    KVP_MUTANT_JOB_CHECKPOINT,     /* workers whose results are compared share checkpoints */
    KVP_MUTANT_JOB_LOST_VOTES,     /* who loses votes late is not found out */
    KVP_MUTANT_JOB_NO_VERIFY,      /* a product is not verified */
    KVP_MUTANT_JOB_LEFTOVERS,      /* checkpoints are left when a job is removed */
    KVP_MUTANT_JOB_VERIFY_ANY,     /* nobody looks how much memory a verification takes */
    KVP_MUTANT_JOB_SUM_SHORT, /* a sum is written when a step is over, not when it is complete */
    KVP_MUTANT_JOB_USED_UP,   /* a request that was not executed uses up its number */
    KVP_MUTANT_JOB_BACK_TO_FAILER,  /* a failed task returns to whoever failed it */
    KVP_MUTANT_JOB_BLAMED_AT_ONCE,  /* standing is lost for a failure before anybody did better */
    KVP_MUTANT_JOB_FORGET_FAULTS,   /* a new primary does not know who failed what */
    KVP_MUTANT_JOB_REST_FOREVER,    /* a task that failed rests for ever */
    KVP_MUTANT_JOB_GONE_WANTED,     /* a beat for an attempt that is gone is answered "go on" */
    KVP_MUTANT_JOB_UNFIT_STANDBY,   /* any standby takes any place */
    KVP_MUTANT_JOB_DEAD_DONE,       /* a task that has failed is counted as done */
    KVP_MUTANT_JOB_PAUSED_GOES_ON,  /* a paused job hands out */
    KVP_MUTANT_JOB_KEY_FORGOTTEN,   /* a new primary does not know who holds a key */
    KVP_MUTANT_JOB_MORE_RUNNING,    /* a new primary does not know how many attempts there are */
    KVP_MUTANT_JOB_AGELESS,         /* a job that has expired goes on */
    KVP_MUTANT_JOB_DRAINED_WORKS,   /* a drained worker is given tasks */
    KVP_MUTANT_JOB_NOBODY_ELSE,     /* a task is given up while a good worker could have it */
    KVP_MUTANT_JOB_RETRY_UNWRITTEN, /* a task that is tried again has failed in the store */
    /* watching: the watch world must find them */
    KVP_MUTANT_WATCH_MEMORY_ONLY, /* what is not in memory any more is left out */
    KVP_MUTANT_WATCH_UNCOMMITTED, /* what is not committed yet is told */
    KVP_MUTANT_WATCH_TWICE,       /* who goes on gets the last event again */
    KVP_MUTANT_WATCH_DISORDER,    /* a newer entry is told before an older one */
    KVP_MUTANT_WATCH_SPLIT,       /* an answer that is full ends within a transaction */
    KVP_MUTANT_WATCH_BOOKMARK,    /* who is told of nothing is told to have seen all */
    KVP_MUTANT_WATCH_SILENT_GAP,  /* who comes too late goes on with what there is */
    KVP_MUTANT_WATCH_FROM_NOW,    /* who comes from another primary begins anew */
    KVP_MUTANT_WATCH_WAKES_ONE,   /* an entry wakes one of those who watch */
    KVP_MUTANT_WATCH_NO_DELETES,  /* deletions are no events */
    KVP_MUTANT_WATCH_NO_END,      /* of a range only the start counts */
    /* leases: the world with leases must find them, and all but the last test_engine_lease.c */
    KVP_MUTANT_LEASE_SHORTENED,   /* a new primary gives a lease half its time */
    KVP_MUTANT_LEASE_CLOCK_AHEAD, /* a new primary's clock of leases is ahead of the old one's */
    KVP_MUTANT_LEASE_NOT_KEPT,    /* a lease that is kept ends as if it had not been */
    KVP_MUTANT_LEASE_STAYS,     /* a key that is put again without a lease ends with its old one */
    KVP_MUTANT_LEASE_CROSSED,   /* a key that has another lease now ends with its old one, too */
    KVP_MUTANT_LEASE_KEY_STAYS, /* a lease ends and its keys stay */
    KVP_MUTANT_LEASE_KEY_BACK,  /* the end of a key is not replicated: it comes back */
    KVP_MUTANT_LEASE_UNREAD,    /* no room for one that the index does not know */
    /* rights: tests/access/test_access.c must find them */
    KVP_MUTANT_ACCESS_SCAN_START,  /* of a range only the start is looked at */
    KVP_MUTANT_ACCESS_COMPARES,    /* what a transaction compares is not looked at */
    KVP_MUTANT_ACCESS_ELSE,        /* nor what it does if the compares fail */
    KVP_MUTANT_ACCESS_ANY_JOB,     /* who may submit owns all jobs */
    KVP_MUTANT_ACCESS_ANY_LEASE,   /* every lease is everybody's */
    KVP_MUTANT_ACCESS_WORKER_NAME, /* a worker has any name that it likes */
    KVP_MUTANT_ACCESS_ANY_NODE,    /* any node may speak for any other */
    /* and these the world with rights, too, as those of ranges and transactions */
    KVP_MUTANT_ACCESS_ANY_CURSOR, /* any identity goes on with any scan */
    KVP_MUTANT_ACCESS_WATCH_ONCE, /* who watches is asked for his right when he comes */
    KVP_MUTANT_ACCESS_OLD_LOOK,   /* a primary goes by the rights that it has looked up once */
    KVP_MUTANT_ACCESS_LOST_LEASE, /* who leads no more refuses for good */
    KVP_MUTANT_ACCESS_STALE,      /* what any node answers is not looked at */
    KVP_MUTANT_ACCESS_TELLS,      /* a refusal tells whether the key is there */
    /* damage: tests/kvstore/test_storage_repair.c must find them */
    KVP_MUTANT_REPAIR_LAST_COPY, /* the last copy is set aside */
    KVP_MUTANT_REPAIR_UNSURE,    /* pair: so is one of which nobody can tell whether it is that */
    KVP_MUTANT_REPAIR_DROPS,     /* what may be the only copy makes room for others */
    KVP_MUTANT_TAIL_ALONE_ONCE,  /* that a node is alone is in one of the two records only */
    KVP_MUTANT_DAMAGE_FORGOTTEN, /* damage that was met in use is not kept in mind */
    /* backups: tests/kvstore/test_backup.c and (the last two) tests/core/test_core_restored.c must
     * find them */
    KVP_MUTANT_BACKUP_UNCHAINED,      /* a part's checksum does not depend on what is before it */
    KVP_MUTANT_BACKUP_UNORDERED,      /* nor has a chunk's first key to follow the last one */
    KVP_MUTANT_RESTORE_SAME_REVISION, /* the restored group gives revisions of the old one again */
    KVP_MUTANT_RESTORE_SAME_GROUP,    /* it is the old one, by its number */
    KVP_MUTANT_RESTORE_FORGETS,       /* what was restored makes way for the witness's group */
    KVP_MUTANT_RESTORE_UNAWARE,       /* it does not look whether the old group is there */
    KVP_MUTANTS_COUNT,
};

#ifdef KVP_MUTANTS
extern enum kvp_mutant kvp_mutant;
#define KVP_MUTANT(which) (kvp_mutant == KVP_MUTANT_##which)
#else
#define KVP_MUTANT(which) false
#endif

#endif
