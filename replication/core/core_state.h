/* SPDX-License-Identifier: Apache-2.0 */
/* The core's private state, shared by the core_*.c files, and what they call of each other. */
#ifndef KVP_CORE_STATE_H
#define KVP_CORE_STATE_H

#include "replication/core/core.h"
#include "replication/core/core_log.h"
#include "replication/core/core_marks.h"
#include "kvstore/base/mutant.h"

#define KVP_CORE_FLIGHTS       8u    /* APPEND messages under way to one peer */
#define KVP_CORE_WAITERS       64u   /* APPEND messages that wait for this node's disk */
#define KVP_CORE_BATCH         4096u /* entries in one disk write */
#define KVP_CORE_BATCH_SIZE    (8u * 1024u * 1024u)
#define KVP_CORE_APPLY_WAIT_US 1000u     /* for company, of what is committed */
#define KVP_COPY_TOLD_US       5000000u  /* a copy tells the others so often that it is there, */
#define KVP_COPY_SHOWN_US      60000000u /* and they show it for so long */
#define CORE_ASK_AGAIN_US      300000u   /* of an arbiter, or a pair's other node */
#define KVP_CORE_APPLY_WAIT    64u       /* entries that wait so at most */

/* While nodes are replaced, more may have to be dealt with than there are in a group. */
#define CORE_PEERS_MAX (2 * KVP_NODES_MAX)

enum peer_mode {
    PEER_PROBE,     /* its position is not known: waits for a fresh report */
    PEER_CHECK,     /* a point of its log is being compared with the log on disk */
    PEER_REPLICATE, /* gets entries as they come */
    PEER_SNAPSHOT,  /* gets a snapshot */
};

/*
 * What this node knows of a peer. Everything but `link_up`, `last_contact_us` and `blank_seen`
 * counts only while this node leads: core_lead() begins anew with it. core_check.c asserts how the
 * fields stand to each other; core_primary.c (take_position) says what they mean for the peer's
 * log.
 */
struct core_peer {
    uint8_t id;
    bool link_up;
    enum peer_mode mode;
    uint64_t heard_us;        /* its last answer came; 0: never */
    uint64_t lease_us;        /* it does not promote itself before this */
    bool times_noted;         /* said that its grace is too short */
    uint64_t incarnation;     /* of it, as its last answer told; 0: not known */
    uint64_t last_contact_us; /* any message of it came; 0: never since the start */
    bool reported;            /* `report` is fresh enough to probe by */
    bool blank_seen;          /* it said that it is blank, since our start */
    uint64_t probe_us; /* answers to what was sent before this say nothing about its position */
    struct kvp_peer_report report;

    uint64_t match;     /* durable there, verified; rises only */
    uint64_t match_us;  /* when it rose last */
    uint64_t behind_us; /* since when it has lacked entries without getting any; 0: it lacks none */
    struct kvp_point sent; /* the last entry sent */
    uint64_t position_us;  /* reports about the time before this say nothing of its position: they
                              predate the truncation of its log. UINT64_MAX: it has not confirmed
                              that truncation yet */
    unsigned flight_first, flight_count; /* ring */
    struct {
        uint64_t last;
        uint64_t sent_us;
    } flights[KVP_CORE_FLIGHTS];
    uint64_t commit_told; /* commit seq in the last message */
    bool reading;         /* a read_log for it is under way */
    bool checking_commit; /* CHECK: compares the commit point (else the tail) */
    struct kvp_point check;
    bool diverged;
    uint64_t answers; /* incarnation of the store that answered last, at its address; 0: none did */
    uint64_t heard_incarnation_us; /* when it did */
    uint64_t stranger;             /* incarnation of another one, which asks; 0: none */
    uint64_t stranger_us;          /* since when */
    uint64_t contested_us;         /* it asked again when it had had time to go; 0: it did not */
    uint64_t copy_seen_us;         /* when there were two of it last; 0: never */
    uint64_t copy_noted_us;        /* when that was said last */
    bool resigned;                 /* it said that it has stopped or wants to */
    uint64_t resigned_us;

    uint64_t round_target; /* log tail when the last round began: see core_primary.c */
    uint64_t round_us;
    bool caught_up;
    void *leave_token; /* answers its LEAVE when it is out of the view */

    struct {
        uint64_t id;    /* 0: not open yet */
        uint64_t index; /* of `chunk` */
        bool opening, reading, have_chunk, last;
        uint64_t sent_us, progress_us;
        struct kvp_point point;
        kvp_buf chunk;
    } snapshot;
};

enum proposal_stage {
    PROPOSAL_NONE,
    PROPOSAL_LOOK,    /* asks the arbiter whether it can be reached and what it knows */
    PROPOSAL_FENCE,   /* the fence command runs */
    PROPOSAL_PREPARE, /* add: the joiner gets everything committed; our not being alone is durable
                       */
    PROPOSAL_CAS,     /* asked; the outcome is unknown until answered */
    PROPOSAL_GRANTED, /* granted; becomes durable here before it counts */
};

enum proposal_reason {
    REASON_CREATE,
    REASON_PROMOTE,
    REASON_REMOVE,
    REASON_ADD,
    REASON_HANDOVER,
    REASON_FORCE,
    REASON_BEQUEATH,
};

struct core_proposal {
    enum proposal_stage stage;
    enum proposal_reason reason;
    struct kvp_view view;
    uint8_t subject;            /* ADD, REMOVE: the peer */
    uint32_t call_id;           /* of the arbiter call under way; 0: none */
    uint64_t asked_us;          /* when it was asked for first */
    uint64_t retry_us;          /* when to ask again */
    uint64_t meta_needed;       /* PREPARE, GRANTED: goes on when meta_durable has come so far */
    uint64_t unreplicated_from; /* PREPARE: meta.unreplicated_from as it was */
};

enum handover_stage {
    HANDOVER_NONE,
    HANDOVER_WAITS,  /* for a member that could take over */
    HANDOVER_DRAINS, /* no new updates; the register is asked when all is committed */
    HANDOVER_GIVEN,  /* the target leads, and is to serve */
};

/* What is due at the end of the event: core_settle.c. */
enum core_due {
    CORE_DUE_ENDED = 1 << 0,    /* the node has failed, was stopped, or is a copy */
    CORE_DUE_VIEW = 1 << 1,     /* another view is in force */
    CORE_DUE_ELECTED = 1 << 2,  /* this node leads from now on */
    CORE_DUE_TICK = 1 << 3,     /* whatever time brings */
    CORE_DUE_LOOK = 1 << 4,     /* the register is to be looked at soon */
    CORE_DUE_LEAD = 1 << 5,     /* somebody has acknowledged something */
    CORE_DUE_PROPOSAL = 1 << 6, /* the proposal may go on */
    CORE_DUE_ADMIN = 1 << 7,    /* what an operator has asked for may be reached */
};

struct append_waiter {
    void *token;
    uint8_t from;
    uint64_t last;
    uint64_t echo_us;
};

/* Jobs of one queue are carried out one after the other. */
enum core_disk_queue {
    CORE_DISK_STORE,
    CORE_DISK_SENDER, /* snapshots being sent */
    CORE_DISK_QUEUES,
};

enum incoming_job { INCOMING_BEGIN, INCOMING_WRITE, INCOMING_FINISH };

/*
 * How the numbers of the log stand to each other, from what is safest to what is newest:
 *
 *   log.base <= applied <= commit <= durable <= written <= log.tail
 *
 *   applied   the state on disk has it; `applying` is where the write under way will bring it
 *   commit    every member has it durably. It never falls while the store stays the same
 *   durable   this node's disk has it, and says so
 *   written   handed to the disk; above `durable` only while `writing`
 *   tail      in memory. Entries above `base` are there, so that what is not applied can be read
 *
 * The same for views: `view` is in force, `meta.view` is to be on disk and may be one view ahead of
 * it while `proposal` is GRANTED or `ask_token` waits. `meta_durable <= meta_writing <=
 * meta_wanted` count the versions of `meta`: whoever needs a change to be durable keeps the number
 * that core_persist() gave.
 */
struct kvp_core {
    struct kvp_core_config config;
    struct kvp_core_port port;
    uint64_t now_us;
    bool touched;         /* by an event since core_check() looked */
    unsigned due;         /* enum core_due; 0 between events */
    bool resigns;         /* ENDED is due: the others are to hear of it */
    uint64_t incarnation; /* another one whenever the store is another one */
    uint64_t random;

    enum kvp_role role;
    struct kvp_meta meta; /* as it is to be on disk */
    struct kvp_view view; /* in force: == meta.view but while a granted one becomes durable */
    uint64_t lead_epoch;  /* this node has been primary since this epoch; 0: it is not */
    uint64_t meta_wanted, meta_writing, meta_durable; /* versions of `meta` */

    struct kvp_core_log log;
    struct kvp_point durable; /* end of the log on disk */
    uint64_t written;         /* end of the log handed to the disk */
    uint64_t commit;
    struct kvp_point commit_point;
    uint64_t applied, applying;
    uint64_t apply_due_us; /* what is committed waits for the next write until then; 0: nothing */
    bool cut_pending;      /* the next write truncates after cut_after */
    uint64_t cut_after;
    bool writing;              /* a write is under way */
    uint64_t write_last;       /* it ends with this entry (of the log as it is now) */
    bool loading;              /* after the start: unapplied entries are being read */
    bool replacing;            /* the store is being replaced: no writes */
    struct kvp_meta next_meta; /* of the store that takes its place */
    enum kvp_keep next_keep;   /* what becomes of this one */
    bool quarantine_full;      /* there was no room for what was to be kept */
    uint64_t quarantine_us;    /* when to try again */
    struct kvp_entry *batch[2 * KVP_CORE_BATCH];
    struct {
        unsigned jobs;     /* asked for and not answered */
        uint64_t since_us; /* the oldest of them is under way */
    } disk[CORE_DISK_QUEUES];
    uint64_t disk_noted_us; /* it was said that it had been silent for so long; 0: it was not */
    bool disk_no_heir;      /* it was said that nobody could take the lead */

    /* follower */
    uint64_t heard_primary_us; /* last heartbeat or append of the view's primary, or view learned */
    bool primary_resigned;
    kvp_node_set leases_granted; /* to whom a lease may have been given that has not ended */
    uint64_t lease_granted_us;   /* when it was given last, or this node started */
    uint64_t known_commit;       /* as the primary said */
    uint64_t commit_heard_us;    /* when it said so last, or this node started */
    unsigned waiter_count;
    struct append_waiter waiters[KVP_CORE_WAITERS];
    struct {
        uint64_t id; /* 0: none */
        uint64_t next;
        struct kvp_point point;
        bool last;
        void *token; /* answered when the jobs under way are done */
        uint64_t echo_us;
        uint8_t from;
        uint64_t
            confirm_us; /* all is in, and the register is asked who sends it, up to then; 0: no */
        unsigned job_count;
        enum incoming_job jobs[4];
    } incoming;

    /* view changes */
    struct core_proposal proposal;
    uint64_t propose_after_us; /* a refused or failed attempt to lead is not repeated before */
    bool fencing;              /* the fence command runs */
    uint32_t last_call_id;
    uint32_t watch_call_id; /* the regular look at the register; 0: none */
    uint64_t watch_us;      /* when to look next */
    struct kvp_view shown;  /* by the register, in this incarnation */
    uint64_t looked_us;     /* when it was looked at last */
    /* which store this is */
    uint64_t identity_needed; /* nothing is said before meta_durable has come so far */
    uint64_t started_us, confirmed_us;
    uint64_t stranger_us;        /* when a node of another group was heard last; 0: none was */
    bool claims_unknown;         /* the arbiter does not tell stores apart */
    bool claim_waits;            /* it does, and lets this one wait */
    bool confirmed;              /* whoever decides knows this store */
    uint64_t copy_due_us;        /* a copy: when to tell the others again */
    uint64_t replaces;           /* whose place a new store would take; 0: not told */
    uint64_t peer_number_needed; /* pair: what it is asked is answered when meta_durable has come so
                                    far */
    uint64_t number_asked_us;    /* pair: when the other was asked whether a number is its own */
    uint64_t peer_said;          /* the number with which it said */
    uint64_t peer_earlier[KVP_EARLIER_MAX]; /* these */
    void *state_token;                      /* it waits for that; NULL: it does not */
    uint64_t state_echo_us;
    bool followed; /* a primary has talked to it since */
    bool told;     /* the newest view is a peer's word: no arbiter has shown it (core_told.c) */
    uint64_t shown_member_epoch; /* and what was promised before that */
    bool shown_log_regressed;
    uint64_t told_us;      /* since when the views in force have been no more than that */
    uint32_t told_call_id; /* what the arbiter was asked after this, it answers knowing of it */
    uint64_t verified_us;  /* pair: when the other was asked whether what a request said is so */
    bool noted_silent, noted_unknown, noted_foreign, noted_older;
    bool seen_unclaimed; /* the register knew no store of this node, which had been known */
    bool shown_older;    /* the register, by its last answer, than what it has shown before */
    bool contact;        /* a peer in the group answered since the start, and was settled */
    void *ask_token;     /* pair: the grant becomes durable, then this is answered */
    uint64_t ask_echo_us;
    uint64_t ask_meta_needed;
    struct kvp_view ask_view;

    /* admin requests */
    bool draining; /* no new updates: handover */
    enum handover_stage handover;
    uint8_t handover_wanted; /* 0: the member that is furthest */
    uint8_t handover_target; /* DRAINS, GIVEN */
    uint64_t handover_deadline_us;
    uint64_t handover_look_us; /* GIVEN: when to ask the target again */
    bool handover_told;        /* handover_done is owed: not when we stop by ourselves */
    bool promote_asked;
    bool promote_refused; /* whoever decides has said no */
    bool promote_leads;
    uint64_t promote_deadline_us;
    bool stopping;
    bool left; /* the primary has confirmed that this node is out of the view */
    bool leave_sent;
    uint64_t leave_due_us, stop_deadline_us;

    uint64_t heartbeat_due_us;
    uint64_t state_due_us;
    bool repaired; /* this store is empty because the one before was damaged */
    bool noted_not_eligible, noted_waits, noted_primary_silent, noted_blank_known;
    bool serving_told;

    /* Peers are the other nodes of the group, and members of the view that are none of them
     * (core_members.c). */
    kvp_node_set listed; /* of the group, self not included */
    kvp_node_set known;  /* that are in `peers` */
    uint8_t barred;      /* this one is to leave the in-sync set; 0: nobody */
    unsigned peer_count;
    struct core_peer peers[CORE_PEERS_MAX];
};

/* Every event begins so. */
static inline void core_enter(struct kvp_core *core, uint64_t now_us)
{
    core->now_us = now_us;
    core->touched = true;
}

static inline bool core_paired(const struct kvp_core *core)
{
    return core->config.policy != KVP_PAIR_NONE;
}

static inline bool core_leading(const struct kvp_core *core)
{
    return core->role == KVP_ROLE_PRIMARY || core->role == KVP_ROLE_ELECT;
}

/* Does the log end with entries that this node may have acknowledged alone? Nothing of them is cut
 * off or replaced unseen (R6): the primary compares the whole log, and either has all of it, or
 * says that it has diverged. */
static inline bool core_parted(const struct kvp_core *core)
{
    return core->meta.unreplicated_from != 0 && core->log.tail.seq >= core->meta.unreplicated_from;
}

/* Was its store made of a backup, and has not founded its group yet? A founder has no entries else.
 */
static inline bool core_restored(const struct kvp_core *core)
{
    return core->meta.view.version == 0 && core->meta.group_id != 0 && core->log.tail.seq > 0;
}

/* Is the number of this store durable? Before that nothing is said. */
static inline bool core_identity_drawn(const struct kvp_core *core)
{
    return core->meta_durable >= core->identity_needed;
}

/* What a node is that does not lead: an operator may force a node outside to be a candidate. */
static inline enum kvp_role core_follower_role(const struct kvp_core *core)
{
    return kvp_set_has(core->view.in_sync, core->config.self) ? KVP_ROLE_BACKUP : KVP_ROLE_OUTSIDE;
}

/* How long a lease that this node gave may last at the most, by its own clock. */
static inline uint64_t core_grace(const struct kvp_core *core)
{
    return KVP_MUTANT(SHORT_GRACE) ? core->config.grace_us / 2 : core->config.grace_us;
}

/* Whoever decides has said no to what an operator wants; `forced_too`: also to what needs no leave
 * of the register. He is told at the end of the event. */
static inline void core_refuse_promote(struct kvp_core *core, bool forced_too)
{
    bool forced = core->proposal.stage != PROPOSAL_NONE && core->proposal.reason == REASON_FORCE;
    if (core->promote_asked && (!forced || forced_too)) {
        core->promote_refused = true;
        core->due |= CORE_DUE_ADMIN;
    }
}

/* core_base.c: what all of them use */
struct core_peer *core_peer(struct kvp_core *core, unsigned id); /* NULL: not configured */
void core_note(struct kvp_core *core, enum kvp_note note, uint64_t number);
void core_note_once(struct kvp_core *core, bool *noted, enum kvp_note note, uint64_t number);
void core_set_role(struct kvp_core *core, enum kvp_role role);
uint64_t
core_persist(struct kvp_core *core); /* meta has changed; returns the version to wait for */
void core_report(const struct kvp_core *core, struct kvp_peer_report *report);
void core_answer(struct kvp_core *core, void *token, unsigned op, uint64_t echo_us, int code);
void core_numbers(const struct kvp_core *core, struct kvp_numbers *numbers); /* of this store */
void core_send_head(const struct kvp_core *core, struct kvp_peer_request *request, unsigned op,
                    uint8_t to);
void core_send_state(struct kvp_core *core, const struct core_peer *peer);
void core_failed(struct kvp_core *core);
void core_resign(struct kvp_core *core); /* tells the others that this node has failed */
bool core_eligible(const struct kvp_core *core);
bool core_serving(const struct kvp_core *core, uint64_t now_us);
bool core_can_take_over(const struct kvp_core *core, const struct core_peer *peer);
void core_look_soon(
    struct kvp_core *core); /* at the register, as often as heartbeats at the most */
uint64_t core_random(struct kvp_core *core);
/* The members whose acknowledgement counts: of the view, and of a view asked for. */
kvp_node_set core_required(const struct kvp_core *core);

/* core_members.c: which nodes this one deals with */
/* Peers are made of all members of the views in force and to come. */
void core_members_meet(struct kvp_core *core);
/* Is the peer a node of the group, or counts it still? */
bool core_members_has(const struct kvp_core *core, unsigned id);
/* May it be a member of the next view? */
bool core_members_may_count(const struct kvp_core *core, unsigned id);
/* Is this node none of the group any more? Not while it counts in its view, whatever a list says:
 * what is applied may be older than its log, and than its lead. */
bool core_members_out(const struct kvp_core *core);
unsigned core_members_wanted(const struct kvp_core *core); /* in sync */

/* core_forget.c */
void core_members_tick(struct kvp_core *core); /* who is none any more is forgotten */

/* core_settle.c: does what is due, at the end of each event */
void core_settle_due(struct kvp_core *core);

static inline void core_settle(struct kvp_core *core)
{
    if (core->due != 0) {
        core_settle_due(core);
    }
}

/* core_check.c: asserts what holds between the fields when an event has been dealt with. */
void core_check(const struct kvp_core *core);

/* core_primary.c: the primary's side */
void core_lead(struct kvp_core *core); /* begins to */
void core_lead_tick(struct kvp_core *core);
void core_heartbeat(struct kvp_core *core);
void core_lead_reply(struct kvp_core *core, struct core_peer *peer,
                     const struct kvp_peer_reply *reply);
void core_advance(struct kvp_core *core); /* what is committed now; an elect serves when it may */
void core_add_ready_joiner(struct kvp_core *core);
void core_pump_all(struct kvp_core *core);

/* core_sync.c: bringing one peer up */
void core_sync_log_read(struct kvp_core *core, struct core_peer *peer,
                        struct kvp_entry *const *entries, size_t count);
void core_probe_restart(struct kvp_core *core, struct core_peer *peer);
void core_probe(struct kvp_core *core, struct core_peer *peer);
void core_pump(struct kvp_core *core, struct core_peer *peer);
void core_snapshot_reply(struct kvp_core *core, struct core_peer *peer,
                         const struct kvp_peer_reply *reply);
void core_snapshot_tick(struct kvp_core *core, struct core_peer *peer);
void core_snapshot_end(struct kvp_core *core, struct core_peer *peer);
void core_snapshot_opened(struct kvp_core *core, uint8_t id, kvp_status status,
                          struct kvp_point point);
void core_snapshot_read(struct kvp_core *core, uint8_t id, kvp_status status, kvp_slice chunk,
                        bool last);

/* core_backup.c: the follower's side */
void core_answer_waiters(struct kvp_core *core, bool all);
void core_follow_heartbeat(struct kvp_core *core, const struct kvp_peer_request *request,
                           void *token);
void core_follow_append(struct kvp_core *core, const struct kvp_peer_request *request, void *token);
/* Entries of later views, which nobody granted: nobody was told that they are safe. */
void core_drop_later(struct kvp_core *core, uint64_t epoch);
void core_quarantine(struct kvp_core *core);
void core_quarantine_done(struct kvp_core *core, kvp_status status);

/* core_incoming.c: receiving a snapshot */
void core_follow_snapshot(struct kvp_core *core, const struct kvp_peer_request *request,
                          void *token);
void core_incoming_abort(struct kvp_core *core);
void core_incoming_tick(struct kvp_core *core);
void core_incoming_job_done(struct kvp_core *core, kvp_status status);

/* core_keep.c: what becomes of a store that another one takes the place of */
bool core_confirmed(const struct kvp_core *core); /* the register has shown the view in force */
enum kvp_keep core_keep(const struct kvp_core *core, uint64_t replaced_by);
uint64_t core_confirm(struct kvp_core *core); /* asks; returns how long to wait for the answer */
bool core_keep_waits(const struct kvp_core *core);   /* for the register, longer than that */
bool core_keep_refused(const struct kvp_core *core); /* a moment ago */
/* The register is not the one that it was, and shows this view. */
void core_keep_unsure(struct kvp_core *core, const struct kvp_view *shown);
void core_keep_failed(struct kvp_core *core); /* there was no room */
/* Another store takes the place of this one, and begins with core->next_meta; `lost`: updates that
 * go. */
void core_replace_begin(struct kvp_core *core, uint64_t lost);
void core_replace_end(struct kvp_core *core, struct kvp_point point);

/* core_identity.c: which store speaks for a node */
void core_identity_draw(struct kvp_core *core); /* at the start */
/* Whoever decides knows the node by this number. True: that is news for a store that is new. */
bool core_identity_replaces(struct kvp_core *core, uint64_t known);
void core_identity_confirmed(struct kvp_core *core);
void core_identity_refused(struct kvp_core *core); /* it is a copy */
/* Has nobody known the store yet, as far as it says? */
bool core_identity_new(const struct kvp_meta *meta);
bool core_identity_known(const struct kvp_core *core); /* what it says counts */
bool core_identity_may_follow(const struct kvp_core *core);
bool core_identity_may_lead(const struct kvp_core *core);
/* Of the other node of a pair. KVP_REFUSED: it is a copy; KVP_BUSY: not now. */
kvp_status core_identity_admit(struct kvp_core *core, struct core_peer *peer,
                               const struct kvp_peer_request *request);
/* Answers STATE, when the number of the node that asks is durable here. */
void core_identity_state(struct kvp_core *core, const struct kvp_peer_request *request,
                         void *token);
void core_identity_written(struct kvp_core *core); /* or it never will be */
/* Does the answer count: the two stores know each other? */
bool core_identity_heard(struct kvp_core *core, struct core_peer *peer,
                         const struct kvp_peer_reply *reply);
/* With an arbiter the nodes do not decide which store of a peer is the right one, but they tell
 * where there are two: one answers at its address, and another one asks. False: that one's request
 * is not the peer's. */
bool core_identity_at_home(struct kvp_core *core, struct core_peer *peer,
                           const struct kvp_peer_request *request);
void core_identity_answers(struct kvp_core *core, struct core_peer *peer,
                           const struct kvp_peer_reply *reply);
void core_identity_tell_copy(struct kvp_core *core); /* tick of a store that is a copy */

/* core_told.c: what a peer tells, and what an arbiter shows */
/* `answered`: as an answer to a question of ours. True: it was newer, and is in force now. */
bool core_told(struct kvp_core *core, const struct core_peer *peer, const struct kvp_view *view,
               bool answered);
/* The register, as the answer to call `call_id` shows it. True: another view is in force now. */
bool core_shown(struct kvp_core *core, const struct kvp_view *view, uint32_t call_id);

/* core_view.c: the view in force */
bool core_view_in_reach(const struct kvp_core *core, const struct kvp_view *view);
/* Before `view` is made durable: if this node is alone in it, it keeps in mind from where on. */
void core_note_unreplicated(struct kvp_core *core, const struct kvp_view *view);
void core_install(struct kvp_core *core, const struct kvp_view *view);
void core_follow_view(struct kvp_core *core, const struct kvp_view *view); /* not to lead in it */
void core_view_retire(struct kvp_core *core); /* takes part in none any more */
void core_answer_leavers(struct kvp_core *core);

/* core_proposal.c: changes of view */
bool core_adopt(struct kvp_core *core, const struct kvp_view *view); /* true: it was newer */
void core_propose(struct kvp_core *core, enum proposal_reason reason, uint8_t primary,
                  kvp_node_set in_sync, uint8_t subject);
void core_proposal_step(struct kvp_core *core);
void core_proposal_abort(struct kvp_core *core);
void core_proposal_give_up(struct kvp_core *core); /* and nothing is proposed for a while */
void core_proposal_go_on(struct kvp_core *core);   /* after LOOK, where there is one */
void core_proposal_granted(struct kvp_core *core);
void core_proposal_fence(struct kvp_core *core); /* and then to CAS */
/* The other node of a pair has answered ASK_VIEW. */
void core_fence_done(struct kvp_core *core, bool success);
void core_proposal_answered(struct kvp_core *core, const struct kvp_peer_reply *reply);

/* core_arbiter.c: what the register's arbiter is asked, and answers */
void core_watch_tick(struct kvp_core *core); /* the regular look at the register */
void core_arbiter_answered(struct kvp_core *core, const struct kvp_arbiter_answer *answer);

/* core_boot.c: the creation of a group */
void core_outside_tick(struct kvp_core *core);

/* core_detector.c: is the primary silent, and may this node take its place? */
void core_backup_tick(struct kvp_core *core);

/* core_disk.c: is this node's own disk silent? */
void core_disk_asked(struct kvp_core *core, enum core_disk_queue queue);
void core_disk_answered(struct kvp_core *core, enum core_disk_queue queue);
uint64_t core_disk_silence(const struct kvp_core *core, uint64_t now_us);
bool core_disk_hangs(const struct kvp_core *core, uint64_t now_us);
bool core_disk_is_suspect(const struct kvp_core *core);
void core_disk_note(struct kvp_core *core);

/* core_bequeath.c: the lead goes to a node whose disk works */
void core_disk_lead_tick(struct kvp_core *core);

/* core_admin.c: what an operator wants */
void core_admin_handover(struct kvp_core *core, uint8_t target);
void core_admin_promote(struct kvp_core *core, bool force);
void core_admin_stop(struct kvp_core *core);
void core_admin_tick(struct kvp_core *core);
void core_admin_changed(struct kvp_core *core);   /* the view is another one, or all is over */
void core_admin_left(struct kvp_core *core);      /* the primary has answered LEAVE */
void core_admin_heartbeat(struct kvp_core *core); /* of the primary that this node follows */
void core_admin_heard(struct kvp_core *core, const struct kvp_peer_reply *reply);

/* core_pair.c: two nodes that decide by themselves */
bool core_pair_may_promote(struct kvp_core *core);
bool core_pair_may_lead_told(const struct kvp_core *core); /* in a view that it has been told */
void core_pair_installed(struct kvp_core *core);           /* a view has come into force */
bool core_pair_decides(const struct kvp_core *core);       /* on the proposal, without asking */
void core_pair_ask(struct kvp_core *core); /* puts the proposal to the node that may grant it */
void core_pair_asked(struct kvp_core *core, const struct kvp_peer_request *request, void *token);
/* Whatever is asked of a node that has failed or stopped. */
void core_pair_asked_stopped(struct kvp_core *core, struct core_peer *peer,
                             const struct kvp_peer_request *request, void *token);
void core_pair_written(struct kvp_core *core);

#endif
