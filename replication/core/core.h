/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replication core: primary-backup replication in the manner of PacificA (Lin et al.,
 * MSR-TR-2008-25), as a pure state machine. It has no clock, socket, thread, disk or random source:
 * what happens comes in through the functions below with the time as an argument; what is to be
 * done goes out through the functions of `struct kvp_core_port`. The simulator and the node drive
 * the same code.
 *
 * Contract with the port:
 *  - Port functions are called from inside core functions. They must not call the core back;
 * results come later as an event of their own. Pointers are valid during the call only (take
 * references of entries that are to be kept).
 *  - Storage jobs are carried out in two queues, each in the order given: snapshot_* in one, write,
 *    read_log, incoming_* and quarantine in the other. Nothing is known about the order of two jobs
 * of different queues. Each but snapshot_close and incoming_abort gives exactly one
 * kvp_core_*_done() event, in the order of its queue.
 *  - send() and arbiter() may lose what they are given: the core repeats. reply() likewise.
 *  - After a batch of events the caller calls kvp_core_flush(): this is where group commit happens.
 */
#ifndef KVP_CORE_H
#define KVP_CORE_H

#include "kvstore/storage.h"
#include "replication/core/arbiter.h"
#include "replication/wire/peer.h"

struct kvp_core_config {
    uint8_t self;
    kvp_node_set nodes;     /* all data nodes of the group, self included */
    bool removed;           /* by its list this node is none of the group any more */
    kvp_node_set former;    /* nodes that have been taken out of the group, as far as is known */
    unsigned sync_replicas; /* wanted size of the in-sync set; 0: all nodes */
    enum kvp_pair_policy policy;
    bool fence; /* run the fence before every promotion */
    uint64_t heartbeat_us, lease_us, grace_us, sync_timeout_us;
    uint64_t log_size_max;   /* bytes of log kept on disk, about */
    uint64_t cache_size_max; /* payload bytes of applied entries kept in memory, about */
    uint64_t random;         /* makes group and snapshot ids; differs from start to start */
    uint64_t secret; /* the store's number, which nothing that is told to others must follow from;
                        0: made of `random` */
};

enum kvp_note {
    KVP_NOTE_GROUP_CREATED,
    KVP_NOTE_WRONG_GROUP,     /* a peer belongs to another group: number = peer */
    KVP_NOTE_BLANK_BUT_KNOWN, /* all nodes are empty, but the arbiter knows the group */
    KVP_NOTE_ARBITER_UNKNOWN, /* the arbiter does not know the group any more: seeding */
    KVP_NOTE_ARBITER_SILENT,
    KVP_NOTE_ARBITER_FOREIGN,  /* the arbiter's register is of another group id */
    KVP_NOTE_ARBITER_OLDER,    /* it shows an older view than it has shown before */
    KVP_NOTE_PEER_LOST,        /* number = peer: silent, being removed from the in-sync set */
    KVP_NOTE_PEER_SLOW,        /* number = peer: its disk did not acknowledge in time */
    KVP_NOTE_PEER_REGRESSED,   /* number = peer: came back with less than it acknowledged */
    KVP_NOTE_PEER_CAUGHT_UP,   /* number = peer */
    KVP_NOTE_SNAPSHOT_SENDING, /* number = peer */
    KVP_NOTE_SNAPSHOT_RECEIVING,
    KVP_NOTE_SNAPSHOT_RECEIVED, /* number = seq */
    KVP_NOTE_LOG_CUT,           /* number = last seq kept: an uncommitted suffix was cut off */
    KVP_NOTE_DIVERGED,          /* number = updates that the group never saw: quarantined */
    KVP_NOTE_PRIMARY_SILENT,    /* number = primary */
    KVP_NOTE_NOT_ELIGIBLE,      /* primary silent, but this node may not lead */
    KVP_NOTE_FENCE_FAILED,
    KVP_NOTE_WAITS_FOR_PEER, /* pair mode: alone after a start, waits for the peer or an operator */
    KVP_NOTE_RESIGNED,       /* number = peer that has declared to have stopped */
    KVP_NOTE_TIMES_DIFFER,   /* number = peer: its grace is too short for this node's lease */
    KVP_NOTE_DISK_SILENT,    /* number = ms that this node's own disk has not answered for */
    KVP_NOTE_DISK_ANSWERS,   /* it does again */
    KVP_NOTE_DISK_GIVEN_UP,  /* number = peer that is to lead in this node's place */
    KVP_NOTE_DISK_NO_HEIR,   /* there is none that could */
    KVP_NOTE_COPY,           /* this store is a copy: another one speaks for number = this node */
    KVP_NOTE_PEER_COPY,      /* number = peer: a copy of its store is running, too */
    KVP_NOTE_PEER_UNKNOWN,   /* number = id of a node that asks, and is none of the configured */
    KVP_NOTE_VIEW_TAKEN_BACK, /* number = epoch: a peer's word, but nobody has granted it */
    KVP_NOTE_PEER_LEAVES,     /* number = peer: taken out of the in-sync set, to leave the group */
};
const char *kvp_note_name(enum kvp_note note);

struct kvp_core_port {
    void *arg;
    void (*send)(void *arg, const struct kvp_peer_request *request);
    void (*reply)(void *arg, void *token, const struct kvp_peer_reply *reply);

    void (*write)(void *arg, const struct kvp_storage_write *write);
    void (*read_log)(void *arg, uint8_t peer, uint64_t from, size_t size_max, size_t count_max);
    void (*snapshot_open)(void *arg, uint8_t peer);
    void (*snapshot_read)(void *arg, uint8_t peer);
    void (*snapshot_close)(void *arg, uint8_t peer);
    void (*incoming_begin)(void *arg);
    void (*incoming_write)(void *arg, kvp_slice chunk);
    void (*incoming_finish)(void *arg, struct kvp_point point, const struct kvp_meta *meta,
                            enum kvp_keep keep);
    void (*incoming_abort)(void *arg);
    void (*quarantine)(void *arg, const struct kvp_meta *meta, enum kvp_keep keep);

    void (*arbiter)(void *arg, const struct kvp_arbiter_request *request);
    void (*fence)(void *arg);

    void (*committed)(void *arg, uint64_t seq); /* all up to seq is; role PRIMARY or ELECT */
    void (*changed)(void *arg);                 /* role, view or serving may be another one now */
    void (*handover_done)(void *arg, kvp_status status);
    void (*promote_done)(void *arg, kvp_status status);
    void (*stopped)(void *arg); /* kvp_core_stop() is through: the process may end */
    void (*note)(void *arg, enum kvp_note note, uint64_t number);
};

struct kvp_core;

/* The core takes no memory after this but for what grows with the peers' lag; KVP_NO_MEMORY,
 * KVP_BAD_ARGUMENT (self not in nodes, times out of order). */
kvp_status kvp_core_new(const struct kvp_core_config *config, const struct kvp_core_port *port,
                        struct kvp_core **core);
/* Replies to all requests that are still held, and calls no other port function. NULL is fine. */
void kvp_core_free(struct kvp_core *core);

/* Begins with what opening the storage found. */
void kvp_core_start(struct kvp_core *core, uint64_t now_us, const struct kvp_loaded *loaded);

/* Time has passed. To be called at kvp_core_deadline() or earlier. */
void kvp_core_tick(struct kvp_core *core, uint64_t now_us);
uint64_t kvp_core_deadline(const struct kvp_core *core);

/* A peer's request. `token` (not NULL) is given to port.reply exactly once, now or later. */
void kvp_core_request(struct kvp_core *core, uint64_t now_us,
                      const struct kvp_peer_request *request, void *token);
void kvp_core_reply(struct kvp_core *core, uint64_t now_us, const struct kvp_peer_reply *reply);
/* The link that carries APPEND and SNAPSHOT to the peer has been cut and is up again, or down:
 * what was under way is lost. */
void kvp_core_link(struct kvp_core *core, uint64_t now_us, uint8_t peer, bool up);

/* Appends an entry (chained here; the core takes its own reference) as kvp_core_next_seq(). Only
 * when kvp_core_accepting(). */
void kvp_core_submit(struct kvp_core *core, uint64_t now_us, struct kvp_entry *entry);
void kvp_core_flush(struct kvp_core *core, uint64_t now_us);
/* Somebody waits for what is committed to be applied: the next flush does not let that wait for the
 * next update. */
void kvp_core_apply(struct kvp_core *core);

void kvp_core_write_done(struct kvp_core *core, uint64_t now_us, kvp_status status);
/* Entries are borrowed. */
void kvp_core_read_log_done(struct kvp_core *core, uint64_t now_us, uint8_t peer, kvp_status status,
                            struct kvp_entry *const *entries, size_t count);
void kvp_core_snapshot_opened(struct kvp_core *core, uint64_t now_us, uint8_t peer,
                              kvp_status status, struct kvp_point point);
void kvp_core_snapshot_read_done(struct kvp_core *core, uint64_t now_us, uint8_t peer,
                                 kvp_status status, kvp_slice chunk, bool last);
void kvp_core_incoming_done(struct kvp_core *core, uint64_t now_us, kvp_status status);
void kvp_core_quarantine_done(struct kvp_core *core, uint64_t now_us, kvp_status status);
void kvp_core_arbiter_answer(struct kvp_core *core, uint64_t now_us,
                             const struct kvp_arbiter_answer *answer);
void kvp_core_fence_done(struct kvp_core *core, uint64_t now_us, bool success);

/* The nodes of the group are these from now on, self included or not. Who is not among them and
 * still counts is dealt with until a view does without him. */
void kvp_core_set_members(struct kvp_core *core, uint64_t now_us, kvp_node_set nodes);
/* A primary takes this node out of its in-sync set, and does not take it in again; 0: nobody. It
 * ends with the lead. */
void kvp_core_bar(struct kvp_core *core, uint64_t now_us, uint8_t id);
/* Does the node count for what this one commits, or may it after what has been asked for? */
bool kvp_core_counts(const struct kvp_core *core, uint8_t id);

/* Admin requests. target 0: the member that is furthest. handover_done/promote_done follow.
 */
void kvp_core_handover(struct kvp_core *core, uint64_t now_us, uint8_t target);
void kvp_core_promote(struct kvp_core *core, uint64_t now_us, bool force);
/* Leaves in good order (handover, leave); port.stopped follows. */
void kvp_core_stop(struct kvp_core *core, uint64_t now_us);
/* The storage failed outside of a job (a read): as a failed write. */
void kvp_core_fail(struct kvp_core *core, uint64_t now_us);

/* What is so now. */
enum kvp_role kvp_core_role(const struct kvp_core *core);
/* May reads be answered and commits acknowledged at this instant (rule R3)? */
bool kvp_core_serving(const struct kvp_core *core, uint64_t now_us);
/* May new updates be executed and submitted? (Serving, and not draining for a handover.) */
bool kvp_core_accepting(const struct kvp_core *core, uint64_t now_us);
/* Draining, or its disk hangs: it accepts nothing even while it serves. */
bool kvp_core_holds_back(const struct kvp_core *core, uint64_t now_us);
/* Has the node's own disk not answered for longer than --sync-timeout? Then nothing is accepted. */
bool kvp_core_disk_hangs(const struct kvp_core *core, uint64_t now_us);
uint64_t kvp_core_next_seq(const struct kvp_core *core);
/* The entry, if it is in memory; else NULL. What is not applied yet is. */
struct kvp_entry *kvp_core_entry(const struct kvp_core *core, uint64_t seq);
/* The oldest entry that can be had, from memory or from the disk; the next one's seq: none can. */
uint64_t kvp_core_oldest(const struct kvp_core *core);

uint64_t kvp_core_applied(const struct kvp_core *core); /* the state on disk is of this seq */
/* What is known to be committed in the group, here or not: for telling how old this node's state
 * is. */
uint64_t kvp_core_known_commit(const struct kvp_core *core);
const struct kvp_view *kvp_core_view(const struct kvp_core *core);
uint64_t kvp_core_group_id(const struct kvp_core *core); /* 0: none yet */

struct kvp_core_peer_status {
    uint8_t id;
    bool heard; /* answered within the lease time */
    bool in_sync;
    uint64_t match;    /* durable there, as far as this node knows */
    uint64_t commit;   /* and known there to be committed */
    uint64_t lag_size; /* bytes of log after it, about */
    uint64_t heard_us; /* time of the last answer; 0: never */
    bool twice;        /* two stores say that they are its, a moment ago */
    bool blank;        /* it said that it has no data */
};
struct kvp_core_status {
    enum kvp_role role;
    struct kvp_meta meta;
    struct kvp_view view;
    struct kvp_point tail;
    uint64_t durable, commit, applied;
    uint64_t known_commit;    /* the primary's commit seq as last heard */
    uint64_t commit_heard_us; /* when another primary said last how far that is, or the start */
    uint64_t commit_age_us;   /* since then the commit seq may have moved unknown to this node */
    uint64_t disk_silent_us;  /* so long the node's own disk has owed an answer; 0: it owes none */
    uint64_t log_size;        /* bytes of log kept on disk, about */
    bool followed;            /* a primary has called this node since its start */
    bool quarantine_full;     /* stays outside: there is no room for its store beside another one */
    unsigned peer_count;
    struct kvp_core_peer_status peers[2 * KVP_NODES_MAX];
};
void kvp_core_status(const struct kvp_core *core, uint64_t now_us, struct kvp_core_status *status);

#endif
