/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model of kvpair's change of view, lease and rejoin with a witness, for Spin. check.sh runs it.
 *
 * One process picks the next event among all that are possible: a message arrives, a disk write
 * ends, a timer fires, a node is killed and started again, a client's update comes. Each event is
 * carried out whole, as a function of the core is, and then the rules are checked:
 *
 *   - at most one node serves (R3);
 *   - who serves knows every acknowledged update to be committed, and none older than the newest
 *     primary serves any more: a deposed primary that wakes up acknowledges nothing;
 *   - every member of the register's in-sync set that may lead has every acknowledged update on
 *     its disk (R1, R2): nothing is lost while one of them survives;
 *   - what is known to be committed is never cut off a log (R4);
 *   - LIVE: from every state, when the faults end, a fair schedule of a few rounds brings service
 *     back, as long as one member of the in-sync set that may lead is alive.
 *
 * Time. There is no clock. A lease held by a primary counts as valid until the moment when the
 * grace of the node that gave it ends. That is the most that clocks within the tolerance allow: the
 * lease counts from the sending of a heartbeat, the grace from the receipt of the last one, the
 * grace is the longer one; so when a node's grace ends, every lease that it ever gave has ended,
 * also one that is still on its way in an answer. A timer may fire at any moment, a node may take
 * arbitrarily long for anything (a pause is a node that takes no step).
 *
 * Messages. One request and one answer can be under way from each node to each other one, and to
 * the witness; they may be lost (replaced by a later one) and take arbitrarily long. What was sent
 * to a process ends with that process, what a process has sent outlives it.
 *
 * Disks. A write takes the log and the metadata together (kvp_storage_write); what is not written
 * is gone after a kill. A log is a list of the epochs in which its entries were made: the primary
 * of an epoch is unique, so that (place, epoch) names an entry as the chained hash does.
 *
 * Left out: the creation of a group, snapshots (a joiner gets the log), the trimming of the log, the
 * fence command, pair mode, an operator's force.
 *
 * Sizes: N nodes, SEQ entries, EPOCHS views, KILLS, WIPES (a node comes back with an empty disk).
 * Each macro in the list of check.sh breaks one rule; Spin then has to find an error. RESIGNS adds
 * primaries whose disk fails and that say so.
 */
#ifdef RESIGN_LATE
#define ASKED_BEFORE(from, n) skip
#else
#define ASKED_BEFORE(from, n) link[L(from, n)].resign = 0 /* it was: the answer does not count */
#endif
#ifndef N
#define N 2
#endif
#ifndef SEQ
#define SEQ 2
#endif
#ifndef EPOCHS
#define EPOCHS 3
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef WIPES
#define WIPES 0
#endif
#ifdef LIVE
#define ROOM 8 /* views that are made after the faults */
#define ROUNDS 8
#else
#define ROOM 0
#endif

/* ---- words ---- */

#define ALL ((1 << N) - 1)
#define SET(n) (1 << ((n) - 1))
#define IN(set, n) (((set) >> ((n) - 1)) & 1)

/* Logs: 4 bits for each entry, the first one lowest. */
#define LEN(log) (((log) > 0) + ((log) > 15) + ((log) > 255))
#define PRE(log, length) ((log) & ((1 << (4 * (length))) - 1))
#define AT(log, place) (((log) >> (4 * ((place) - 1))) & 15)
#define HAS(log, start) (PRE(log, LEN(start)) == (start))
#define COMMON(a, b)                                                                               \
    (((a) ^ (b)) & 15 -> 0 : (((a) ^ (b)) & 240 -> 1 : (((a) ^ (b)) & 3840 -> 2 : 3)))

/* enum kvp_role */
#define OUTSIDE   0
#define BACKUP    1
#define CANDIDATE 2
#define ELECT     3
#define PRIMARY   4

/* enum proposal_stage (without PROPOSAL_FENCE) */
#define NONE    0
#define LOOK    1
#define PREPARE 2
#define CAS     3
#define GRANTED 4

typedef Node { /* struct kvp_core, struct kvp_meta */
    unsigned role : 3;
    unsigned view : 4;         /* epoch of the view in force */
    unsigned meta : 4;         /* epoch of the newest known one, to be on disk: meta.view */
    unsigned member : 4;       /* meta.member_epoch */
    unsigned lead : 4;         /* lead_epoch */
    unsigned log : 12;
    unsigned commit : 2;
    unsigned lease : 3;        /* who has given a lease that has not ended */
    unsigned lent : 3;         /* to whom it may have given a lease that has not ended */
    unsigned stage : 3;        /* of its proposal */
    unsigned wish_primary : 2; /* the view that it proposes */
    unsigned wish_in_sync : 3;
    unsigned granted : 4;      /* the witness's OK to its CAS, under way: the epoch; 0: none */
    /* on disk */
    unsigned disk_view : 4;
    unsigned disk_member : 4;
    unsigned disk_log : 12
}

typedef Link { /* from a leading node to another one: struct core_peer, and the messages */
    bit known;                 /* it has answered in this leadership: PEER_REPLICATE */
    unsigned match : 2;
    unsigned member : 4;       /* report.member_epoch */
    bit request;               /* HEARTBEAT; with request_lead an APPEND, too */
    unsigned request_view : 4;
    unsigned request_lead : 4;
    unsigned request_log : 12;
    unsigned request_commit : 2;
    bit request_prepare;
    bit answer;
    bit answer_lease;          /* the answer is OK, and the lease that it gives has not ended */
    unsigned answer_view : 4;
    unsigned answer_log : 12;
    unsigned answer_member : 4;
    unsigned resign : 4        /* the answer of a node that has failed: its epoch; 0: none */
}

Node node[N + 1];
Link link[N * (N - 1)]; /* link[L(from, to)] */
#define L(from, to) (((from) - 1) * (N - 1) + (to) - ((to) > (from) -> 2 : 1))

/* The witness: epoch and version are one number, and what was once granted stays known as the
 * meaning of that number. */
byte views[EPOCHS + ROOM + 1]; /* primary + 4 * in-sync set */
#define PRIMARY_OF(view) (views[view] & 3)
#define IN_SYNC(view) (views[view] >> 2)
unsigned reg : 4;  /* the register: an epoch */
unsigned last : 4; /* the newest number given; == reg unless a rule is broken */

unsigned kills : 2;
unsigned wipes : 2;
bit gone_back;

/* What the checks remember. */
unsigned acked : 12;  /* all that was ever acknowledged, as a log */
unsigned served : 4;  /* the newest leadership that ever served */

/* Which event it is; scratch. No part of the state. */
hidden byte act, p, b, i, j, set, view, length;
hidden short log, other;
hidden byte led, good;

#define ROLE  node[p].role
#define STAGE node[p].stage

/* core_eligible() */
#ifdef NO_PROMISE
#define ELIGIBLE(n) true
#else
#define ELIGIBLE(n) (node[n].member != 0)
#endif

/* core_required(): the members whose acknowledgement and lease count; both views' from the moment
 * that the new one is prepared or asked for. */
#define OF_VIEW(n) (IN_SYNC(node[n].view) & ~SET(n))
#define OF_WISH(n) (node[n].stage >= PREPARE -> node[n].wish_in_sync & ~SET(n) : 0)
#ifdef JOIN_UNCOUNTED
#define REQUIRED(n) OF_VIEW(n)
#elif defined(REMOVE_AT_ONCE)
#define REQUIRED(n) (node[n].stage == CAS -> OF_WISH(n) : OF_VIEW(n) | OF_WISH(n))
#else
#define REQUIRED(n) (OF_VIEW(n) | OF_WISH(n))
#endif

#ifdef NO_LEASE
#define LEASED(n) true
#else
#define LEASED(n) ((REQUIRED(n) & ~node[n].lease) == 0)
#endif

/* kvp_core_serving(): a primary that may have given its role away serves no more. */
#define HELD(n) (node[n].stage < CAS || node[n].wish_primary == (n))
#define SERVES(n) (node[n].role == PRIMARY && HELD(n) && LEASED(n))

#define LEADING(n) (node[n].role >= ELECT)
#define WRITTEN(n) (node[n].disk_view == node[n].meta && node[n].disk_member == node[n].member)
/* The part of the log in memory that is on disk: core->durable. */
#define DURABLE(n) PRE(node[n].log, COMMON(node[n].log, node[n].disk_log))

#ifdef SERVE_UNAPPLIED
#define APPLIED(n) true
#else
#define APPLIED(n) (node[n].commit == LEN(node[n].log))
#endif

/*
 * A view may have been granted to an earlier life of a node, which as a candidate gave leases no
 * more; then the next life, not knowing, has given them again to the old primary, and learns of the
 * view only now. So who comes to lead serves only when every lease that it may have given has
 * ended: to whom it answered a heartbeat, and to anybody before its start. The members of its own
 * view do not matter: nobody serves without their leases, and who gives one has stepped down.
 * C: `lent` and `lent_us` in core_state.h; heard(), core_follow_snapshot(), try_serve().
 */
#ifdef LEND_UNTOLD
#define LENT_NONE(n) true
#else
#define LENT_NONE(n) ((node[n].lent & ~IN_SYNC(node[n].view)) == 0)
#endif

/* ---- parts of the core ---- */

/* core_advance(): agreed(), commit_to(), try_serve(). */
inline advance(n)
{
    if
    :: LEADING(n) ->
        length = LEN(DURABLE(n));
        set = REQUIRED(n);
        i = 1;
        do
        :: i > N -> break
        :: i <= N ->
            if
#ifndef ACK_EARLY
            :: IN(set, i) && link[L(n, i)].match < length -> length = link[L(n, i)].match
#endif
            :: else -> skip
            fi;
            i++
        od;
        if
        :: length > node[n].commit -> node[n].commit = length
        :: else -> skip
        fi;
        if
        :: node[n].role == ELECT && WRITTEN(n) && LEASED(n) && APPLIED(n) && LENT_NONE(n) ->
            node[n].role = PRIMARY;
            node[n].lent = 0
        :: else -> skip
        fi
    :: else -> skip
    fi
}

/* What a node knows of the others as their primary: core_lead(), step_down(). */
inline forget_peers(n)
{
    node[n].lease = 0;
    i = 1;
    do
    :: i > N -> break
    :: i == n -> i++
    :: else -> link[L(n, i)].known = 0; link[L(n, i)].match = 0; link[L(n, i)].member = 0; i++
    od
}

/* A proposal ends. */
inline end_proposal(n)
{
    node[n].stage = NONE;
    node[n].wish_primary = 0;
    node[n].wish_in_sync = 0;
    node[n].granted = 0
}

/* core_proposal_abort(): also of a candidate that was refused. */
inline abort_proposal(n)
{
    end_proposal(n);
    if
    :: node[n].role == CANDIDATE -> node[n].role = BACKUP
    :: else -> skip
    fi
}

/* core_install(): the view `epoch` comes into force. */
inline install(n, epoch)
{
    led = LEADING(n);
    node[n].view = epoch;
    end_proposal(n);
    if
    :: PRIMARY_OF(epoch) == n && (led || ELIGIBLE(n)) ->
        if
        :: !led -> /* core_lead() */
            forget_peers(n);
            node[n].lead = epoch;
            node[n].role = ELECT
        :: else -> skip
        fi
    :: else ->
        if
        :: led -> forget_peers(n); node[n].lead = 0
        :: else -> skip
        fi;
        node[n].role = IN(IN_SYNC(epoch), n)
    fi;
    advance(n)
}

/* granted(): what the register has becomes durable first, unless it gives the role away. */
inline grant(n, epoch)
{
    node[n].meta = epoch;
    if
    :: node[n].wish_primary != n -> install(n, epoch)
    :: else ->
        node[n].stage = GRANTED;
        node[n].granted = 0
    fi
}

/* core_adopt(): a view was heard of, from the register or another node. */
inline adopt(n, epoch)
{
    if
    :: epoch <= node[n].meta -> skip
    :: epoch > node[n].meta && node[n].stage == CAS && epoch == node[n].meta + 1 &&
       PRIMARY_OF(epoch) == node[n].wish_primary && IN_SYNC(epoch) == node[n].wish_in_sync ->
        grant(n, epoch)
    :: else ->
        abort_proposal(n);
        node[n].meta = epoch;
        install(n, epoch)
    fi
}

/* core_propose() up to the LOOK of a backup: core_backup_tick(). */
inline propose_self(n)
{
    node[n].stage = LOOK;
    node[n].wish_primary = n;
    if
    :: PRIMARY_OF(node[n].view) != n ->
        node[n].wish_in_sync =
            (IN_SYNC(node[n].view) & ~SET(PRIMARY_OF(node[n].view))) | SET(n)
    :: else -> node[n].wish_in_sync = IN_SYNC(node[n].view) | SET(n)
    fi
}

/* Grace has passed at n since it last answered a heartbeat: whatever lease it gave has ended before. */
inline leases_have_ended(n)
{
    node[n].lent = 0;
    i = 1;
    do
    :: i > N -> break
    :: i == n -> i++
    :: else ->
#ifndef CLOCK_DRIFT
        node[i].lease = node[i].lease & ~SET(n);
#ifndef LEASE_FROM_ANSWER
        link[L(i, n)].answer_lease = 0;
#endif
#endif
        i++
    od
}

/* ---- the events ---- */

/* wanted() in core_boot.c: the primary was silent for grace. */
#ifdef PROMOTE_OUTSIDER
#define MAY_PROPOSE(n) (node[n].role <= BACKUP && node[n].stage == NONE && ELIGIBLE(n))
#else
#define MAY_PROPOSE(n) (node[n].role == BACKUP && node[n].stage == NONE && ELIGIBLE(n))
#endif
/* wanted(): alone, or restarted before anybody missed us. */
#define OWN_VIEW(n) (PRIMARY_OF(node[n].view) == (n) || IN_SYNC(node[n].view) == SET(n))

inline do_grace() { leases_have_ended(p); propose_self(p) }
inline do_return() { propose_self(p) }

/* An elect that has to wait for the end of the leases that it gave. */
inline do_waited() { leases_have_ended(p); advance(p) }

/* KVP_ARBITER_GET: looked(), watched(). An answer that is old by the time it comes does nothing
 * that an earlier one would not have done: the CAS compares. */
inline do_get()
{
    view = reg;
    if
    :: view > node[p].meta -> adopt(p, view)
    :: view <= node[p].meta && STAGE == LOOK ->
        if
        :: view == node[p].meta -> /* enter_cas() */
            STAGE = CAS;
            if
            :: node[p].wish_primary == p && !LEADING(p) -> ROLE = CANDIDATE
            :: else -> skip
            fi
        :: else -> abort_proposal(p) /* the register has gone back */
        fi
    :: else -> skip
    fi
}

/* compare_and_set() in witness.c. */
#define MADE(n) (reg == node[n].meta + 1 && PRIMARY_OF(reg) == node[n].wish_primary &&          \
                 IN_SYNC(reg) == node[n].wish_in_sync)
#ifdef NO_COMPARE
#define COMPARES(n) true
#else
#define COMPARES(n) (reg == node[n].meta)
#endif
#if defined(PROMOTE_OUTSIDER) || defined(NO_COMPARE)
#define ADMITS(n) true
#else
#define ADMITS(n) (IN(IN_SYNC(reg), node[n].wish_primary) && IN(IN_SYNC(reg), n))
#endif
#define GIVES(n) (!MADE(n) && COMPARES(n) && ADMITS(n))

inline do_cas()
{
    if
    :: GIVES(p) ->
        last++;
        reg = last;
        views[reg] = node[p].wish_primary + 4 * node[p].wish_in_sync;
        node[p].granted = reg
    :: MADE(p) -> node[p].granted = reg
    :: else -> /* core_proposal_answer(): refused */
        if
        :: reg > node[p].meta -> adopt(p, reg)
        :: else -> abort_proposal(p)
        fi
    fi
}

/* core_proposal_answer(): granted */
inline do_granted()
{
    view = node[p].granted;
    grant(p, view)
}

/* kvp_core_write_done() */
inline do_write()
{
    node[p].disk_log = node[p].log;
    node[p].disk_view = node[p].meta;
    node[p].disk_member = node[p].member;
    if
    :: STAGE == GRANTED -> install(p, node[p].meta)
    :: else -> advance(p)
    fi
}

/* kvp_core_submit() */
#define ACCEPTS(n) (SERVES(n) && (node[n].stage == NONE || node[n].wish_primary == (n)))
inline do_submit()
{
    node[p].log = node[p].log | (node[p].view << (4 * LEN(node[p].log)))
}

/* wants_promise() */
#define WANTS(n, to)                                                                               \
    (link[L(n, to)].match >= node[n].commit && node[n].lease >> ((to) - 1) & 1 &&                  \
     (IN(IN_SYNC(node[n].view), to) -> link[L(n, to)].member == 0                            \
                                           : link[L(n, to)].member != node[n].view))

/* core_heartbeat(), and core_pump(): entries only to who has answered in this leadership, and so has
 * seen its view. */
#define OFFER(n, to, what) (link[L(n, to)].known -> what : 0)
inline do_send()
{
    link[L(p, b)].request = 1;
    link[L(p, b)].request_view = node[p].view;
    link[L(p, b)].request_lead = OFFER(p, b, node[p].lead);
    link[L(p, b)].request_log = OFFER(p, b, node[p].log);
    link[L(p, b)].request_commit = OFFER(p, b, node[p].commit);
    link[L(p, b)].request_prepare = WANTS(p, b)
}

/* take_entries(): an entry in the place of one that never was committed cuts it off, and so does
 * the end of the primary's log, where ours is of an older leadership. */
inline take_log(n, from)
{
    log = link[L(from, n)].request_log;
    other = node[n].log;
    length = COMMON(log, other);
    if
    :: length >= LEN(other) -> node[n].log = log
    :: length < LEN(other) && length >= LEN(log) ->
        if
        :: AT(other, LEN(other)) < link[L(from, n)].request_lead ->
            assert(LEN(log) >= node[n].commit);
            node[n].log = log
        :: else -> skip /* sent before it made the rest */
        fi
    :: else ->
        assert(length >= node[n].commit && AT(other, length + 1) < link[L(from, n)].request_lead);
        node[n].log = log
    fi
}

/* core_answer(), core_report() */
inline give_answer(n, to, lease)
{
    link[L(to, n)].answer = 1;
    link[L(to, n)].answer_lease = lease;
    link[L(to, n)].answer_view = (node[n].stage == GRANTED -> node[n].meta : node[n].view);
#ifdef REPORT_UNSYNCED
    link[L(to, n)].answer_log = node[n].log;
#else
    link[L(to, n)].answer_log = DURABLE(n);
#endif
    link[L(to, n)].answer_member = (WRITTEN(n) -> node[n].member : 0)
}

/* from_primary() */
#ifdef NO_EPOCH
#define FOLLOWS(n, from) (!LEADING(n) && node[n].role != CANDIDATE)
#elif defined(CANDIDATE_ANSWERS)
#define FOLLOWS(n, from) (link[L(from, n)].request_view == node[n].view && PRIMARY_OF(node[n].view) == from)
#else
#define FOLLOWS(n, from)                                                                           \
    (link[L(from, n)].request_view == node[n].view && PRIMARY_OF(node[n].view) == from &&      \
     node[n].role != CANDIDATE)
#endif

/* kvp_core_request(): core_follow_heartbeat(), core_follow_append(). */
inline do_request()
{
    if
    :: link[L(p, b)].request_view > node[b].view -> adopt(b, link[L(p, b)].request_view)
    :: else -> skip
    fi;
    if
    :: FOLLOWS(b, p) ->
        if
        :: node[b].stage == LOOK -> abort_proposal(b) /* heard() */
        :: else -> skip
        fi;
        node[b].lent = node[b].lent | SET(p);
        ASKED_BEFORE(p, b);
        if
        :: link[L(p, b)].request_lead != 0 -> take_log(b, p)
        :: else -> skip
        fi;
        length = LEN(DURABLE(b)); /* learn_commit() */
        if
        :: link[L(p, b)].request_commit < length -> length = link[L(p, b)].request_commit
        :: else -> skip
        fi;
        if
        :: length > node[b].commit -> node[b].commit = length
        :: else -> skip
        fi;
        if
        :: link[L(p, b)].request_prepare -> node[b].member = node[b].view /* promise() */
        :: else -> skip
        fi;
        give_answer(b, p, 1)
    :: else -> give_answer(b, p, 0)
    fi;
    link[L(p, b)].request = 0;
    link[L(p, b)].request_view = 0;
    link[L(p, b)].request_lead = 0;
    link[L(p, b)].request_log = 0;
    link[L(p, b)].request_commit = 0;
    link[L(p, b)].request_prepare = 0
}

inline drop_answer(from, to)
{
    link[L(from, to)].answer = 0;
    link[L(from, to)].answer_lease = 0;
    link[L(from, to)].answer_view = 0;
    link[L(from, to)].answer_log = 0;
    link[L(from, to)].answer_member = 0
}

/* kvp_core_reply(): core_lead_reply(), take_position(). */
inline do_answer()
{
    view = link[L(p, b)].answer_view;
    if
    :: view > node[p].view -> adopt(p, view)
    :: view <= node[p].view && LEADING(p) && PRIMARY_OF(view) == p && view >= node[p].lead ->
        if
        :: link[L(p, b)].answer_lease -> node[p].lease = node[p].lease | SET(b)
        :: else -> skip
        fi;
        link[L(p, b)].known = 1;
        link[L(p, b)].member = link[L(p, b)].answer_member;
        if
        :: HAS(node[p].log, link[L(p, b)].answer_log) ->
            link[L(p, b)].match = LEN(link[L(p, b)].answer_log)
        :: else -> link[L(p, b)].match = 0
        fi;
        advance(p)
    :: else -> skip
    fi;
    drop_answer(p, b)
}

/* remove_peer(): silent, slow, or whatever it is; at any time. */
#define MAY_REMOVE(n, to)                                                                          \
    (LEADING(n) && (node[n].stage == NONE || node[n].stage == PREPARE) &&                         \
     IN(IN_SYNC(node[n].view), to))
inline do_remove()
{
    abort_proposal(p);
    STAGE = CAS;
    node[p].wish_primary = p;
    node[p].wish_in_sync = IN_SYNC(node[p].view) & ~SET(b)
}

/* add_ready_joiner(). The LOOK before PREPARE only keeps it from beginning in vain. */
#ifdef NO_PROMISE
#define PROMISED(n, to) true
#else
#define PROMISED(n, to) (link[L(n, to)].member == node[n].view)
#endif
#define MAY_ADD(n, to)                                                                             \
    (node[n].role == PRIMARY && node[n].stage == NONE && !IN(IN_SYNC(node[n].view), to) &&  \
     PROMISED(n, to) && IN(node[n].lease, to))
inline do_add()
{
    STAGE = PREPARE;
    node[p].wish_primary = p;
    node[p].wish_in_sync = IN_SYNC(node[p].view) | SET(b)
}

/* joiner_ready(), enter_cas() */
#ifdef JOIN_BEHIND
#define READY(n) (node[n].stage == PREPARE)
#else
#define READY(n)                                                                                   \
    (node[n].stage == PREPARE &&                                                                   \
     (IN(OF_WISH(n), 1) -> link[L(n, 1)].match >= node[n].commit : 1) &&                           \
     (IN(OF_WISH(n), 2) -> link[L(n, 2)].match >= node[n].commit : 1) &&                           \
     (IN(OF_WISH(n), N) -> link[L(n, N)].match >= node[n].commit : 1))
#endif
inline do_ready() { STAGE = CAS }

/* handover_begin(), handover_tick(), can_take_over() */
#define MAY_HAND_OVER(n, to)                                                                       \
    (node[n].role == PRIMARY && node[n].stage == NONE && IN(IN_SYNC(node[n].view), to) &&   \
     IN(node[n].lease, to) && link[L(n, to)].member != 0 &&                                        \
     node[n].commit == LEN(node[n].log))
inline do_hand_over()
{
    STAGE = LOOK;
    node[p].wish_primary = b;
    node[p].wish_in_sync = IN_SYNC(node[p].view)
}

/* core_proposal_abort() where it may be: a deadline, a joiner that falls back. */
#define MAY_DROP(n) (LEADING(n) && (node[n].stage == LOOK || node[n].stage == PREPARE))
inline do_drop() { abort_proposal(p) }

/* core_failed(): the disk failed. Its word (RESIGN) changes nothing: it makes the others ask, and the
 * node answers that it has failed until it is started again. What is under way here is that answer:
 * it was asked for at the latest when it was given. */
inline say_resigned()
{
    i = 1;
    do
    :: i > N -> break
    :: i <= N ->
        if
        :: i != p -> link[L(p, i)].resign = node[p].view
        :: else -> skip
        fi;
        i++
    od
}

/* event_hear_resigned(): the backup need not wait for grace; the answer counts if no lease was given
 * since the question, and makes it lead if it tells of the view that is in force. */
#define OF_NOW(n, from) (link[L(from, n)].resign == node[n].view)
inline do_resigned()
{
    node[b].lent = node[b].lent & ~SET(p);
    if
    :: PRIMARY_OF(node[b].view) == p && MAY_PROPOSE(b) && OF_NOW(b, p) -> propose_self(b)
    :: else -> skip
    fi;
    link[L(p, b)].resign = 0
}

/* The process ends and is started again: kvp_core_start(). To be away for long is to do nothing for
 * long. Messages to it are gone, those of it are not. */
inline do_kill()
{
    kills++;
    forget_peers(p);
    end_proposal(p);
    node[p].lead = 0;
    node[p].lent = ALL & ~SET(p);
    node[p].commit = 0; /* what is applied is not known to be on disk */
    node[p].log = node[p].disk_log;
    node[p].view = node[p].disk_view;
    node[p].meta = node[p].disk_view;
    node[p].member = node[p].disk_member;
    ROLE = IN(IN_SYNC(node[p].view), p);
    i = 1;
    do
    :: i > N -> break
    :: i == p -> i++
    :: else ->
        link[L(i, p)].request = 0;
        link[L(i, p)].request_view = 0;
        link[L(i, p)].request_lead = 0;
        link[L(i, p)].request_log = 0;
        link[L(i, p)].request_commit = 0;
        link[L(i, p)].request_prepare = 0;
        link[L(i, p)].resign = 0;
        drop_answer(p, i);
        i++
    od
}

/* The disk of a node is lost; not that of the last member: then nothing is promised. */
#define COUNTS(n) (IN(IN_SYNC(reg), n) && node[n].disk_member != 0)
#define MAY_WIPE(n) (((n) != 1 && COUNTS(1)) || ((n) != 2 && COUNTS(2)) || ((n) != N && COUNTS(N)))
inline do_wipe()
{
    wipes++;
    node[p].disk_log = 0;
    node[p].disk_view = 0;
    node[p].disk_member = 0;
    do_kill();
    kills--
}

/* ---- what must hold ---- */

inline check()
{
    i = 1;
    j = 0;
    do
    :: i > N -> break
    :: i <= N ->
        if
        :: SERVES(i) ->
            j++;
            if
            :: node[i].lead > served -> served = node[i].lead
            :: else -> skip
            fi;
            assert(node[i].lead >= served);
            assert(node[i].commit >= LEN(acked) && HAS(node[i].log, acked));
            acked = PRE(node[i].log, node[i].commit) /* the clients are answered at once */
        :: else -> skip
        fi;
        i++
    od;
    assert(j <= 1);
    i = 1;
    do
    :: i > N -> break
    :: i <= N ->
        if
        :: IN(IN_SYNC(reg), i) && node[i].disk_member != 0 -> assert(HAS(node[i].disk_log, acked))
        :: else -> skip
        fi;
        i++
    od;
    j = 0
}

/* ---- LIVE: the faults end ---- */

#ifdef LIVE
hidden byte round, x, y, alive, heard;

inline settle() /* the disk and the witness do what they have to do for x */
{
    p = x;
    do_get();
    if
    :: STAGE == CAS -> do_cas()
    :: else -> skip
    fi;
    if
    :: node[p].granted != 0 -> do_granted()
    :: else -> skip
    fi;
    do_write()
}

inline beat() /* a heartbeat of x to y, and its answer, if both are alive */
{
    p = x;
    b = y;
    if
    :: IN(alive, y) && LEADING(x) ->
        do_send();
        do_request();
        if
        :: link[L(p, b)].answer_lease -> heard = heard | SET(b)
        :: else -> skip
        fi;
        p = b;
        do_write();
        p = x;
        do_answer()
    :: else -> skip
    fi;
    if
    :: READY(p) -> do_ready()
    :: !READY(p) && !IN(alive, y) && MAY_REMOVE(p, y) -> do_remove()
    :: !READY(p) && IN(alive, y) && MAY_ADD(p, y) -> do_add()
    :: else -> skip
    fi
}

inline timers() /* grace has passed where nothing was heard */
{
    p = x;
    if
    :: ROLE == ELECT && !LENT_NONE(p) -> do_waited()
    :: !IN(heard, p) && MAY_PROPOSE(p) -> do_grace()
    :: else -> skip
    fi
}

#define MAY_GO_ON(n) (IN(alive, n) && COUNTS(n))
#define WELL(n) (IN(alive, n) && SERVES(n) && IN_SYNC(reg) == alive)
#endif

/* ---- the schedule ---- */

#define SUBMIT      1
#define WRITE       3
#define GRACE       4
#define RETURN      5
#define WAITED      6
#define GET         7
#define ASK         9
#define GAIN        10
#define READIED     11
#define DROP        12
#define KILL        13
#define FAIL        14
#define WIPE        15
#define SEND        20
#define REQUEST     21
#define ANSWER      22
#define REMOVE      23
#define ADD         24
#define HAND_OVER   25
#define RESIGN      26

#define NODE_EVENTS(n)                                                                             \
    :: ACCEPTS(n) && LEN(node[n].log) < SEQ -> act = SUBMIT; p = n                                 \
    :: !WRITTEN(n) || node[n].disk_log != node[n].log -> act = WRITE; p = n                        \
    :: MAY_PROPOSE(n) && reg < EPOCHS && PRIMARY_OF(node[n].view) != n -> act = GRACE; p = n    \
    :: MAY_PROPOSE(n) && reg < EPOCHS && OWN_VIEW(n) -> act = RETURN; p = n                        \
    :: node[n].role == ELECT && !LENT_NONE(n) -> act = WAITED; p = n                               \
    :: reg != node[n].meta || node[n].stage == LOOK -> act = GET; p = n                            \
    :: node[n].stage == CAS && (!GIVES(n) || last < EPOCHS) && node[n].granted == 0 ->             \
        act = ASK; p = n                                                                           \
    :: node[n].granted != 0 -> act = GAIN; p = n                                                   \
    :: READY(n) -> act = READIED; p = n                                                            \
    :: MAY_DROP(n) -> act = DROP; p = n                                                            \
    :: kills < KILLS -> act = KILL; p = n                                                          \
    RESIGN_EVENT(n)                                                                                \
    :: wipes < WIPES && MAY_WIPE(n) -> act = WIPE; p = n

#ifdef RESIGNS
#define RESIGN_EVENT(n) :: kills < KILLS -> act = FAIL; p = n
#define RESIGN_LINK(n, to) :: link[L(n, to)].resign != 0 -> act = RESIGN; p = n; b = to
#else
#define RESIGN_EVENT(n)
#define RESIGN_LINK(n, to)
#endif

#define SAME(n, to)                                                                                \
    (link[L(n, to)].request && link[L(n, to)].request_view == node[n].view &&                     \
     link[L(n, to)].request_lead == OFFER(n, to, node[n].lead) &&                                  \
     link[L(n, to)].request_log == OFFER(n, to, node[n].log) &&                                    \
     link[L(n, to)].request_commit == OFFER(n, to, node[n].commit) &&                              \
     link[L(n, to)].request_prepare == WANTS(n, to))

#define LINK_EVENTS(n, to)                                                                         \
    :: LEADING(n) && !SAME(n, to) -> act = SEND; p = n; b = to                                     \
    :: link[L(n, to)].request -> act = REQUEST; p = n; b = to                                      \
    :: link[L(n, to)].answer -> act = ANSWER; p = n; b = to                                        \
    :: MAY_REMOVE(n, to) && reg < EPOCHS -> act = REMOVE; p = n; b = to                            \
    :: MAY_ADD(n, to) && reg < EPOCHS -> act = ADD; p = n; b = to                                  \
    :: MAY_HAND_OVER(n, to) && reg < EPOCHS -> act = HAND_OVER; p = n; b = to                      \
    RESIGN_LINK(n, to)

init
{
    d_step {
        reg = 1;
        last = 1;
        views[1] = 1 + 4 * ALL;
        p = 1;
        do
        :: p > N -> break
        :: p <= N ->
            node[p].role = BACKUP;
            node[p].view = 1;
            node[p].meta = 1;
            node[p].member = 1;
            node[p].disk_view = 1;
            node[p].disk_member = 1;
            p++
        od;
        node[1].role = ELECT;
        node[1].lead = 1
    }
end:
    do
    :: atomic {
        if
        NODE_EVENTS(1)
        NODE_EVENTS(2)
        LINK_EVENTS(1, 2)
        LINK_EVENTS(2, 1)
#if N == 3
        NODE_EVENTS(3)
        LINK_EVENTS(1, 3)
        LINK_EVENTS(2, 3)
        LINK_EVENTS(3, 1)
        LINK_EVENTS(3, 2)
#endif
#ifdef REGISTER_GOES_BACK
        :: !gone_back && reg > 1 -> gone_back = 1; reg = reg - 1; act = 0
#endif
        fi;
        d_step {
            printf("event %d of %d to %d\n", act, p, b);
            if
            :: act == SUBMIT -> do_submit()
            :: act == WRITE -> do_write()
            :: act == GRACE -> do_grace()
            :: act == RETURN -> do_return()
            :: act == WAITED -> do_waited()
            :: act == GET -> do_get()
            :: act == ASK -> do_cas()
            :: act == GAIN -> do_granted()
            :: act == READIED -> do_ready()
            :: act == DROP -> do_drop()
            :: act == KILL -> do_kill()
            :: act == FAIL -> say_resigned(); do_kill()
            :: act == WIPE -> do_wipe()
            :: act == SEND -> do_send()
            :: act == REQUEST -> do_request()
            :: act == ANSWER -> do_answer()
            :: act == REMOVE -> do_remove()
            :: act == ADD -> do_add()
            :: act == HAND_OVER -> do_hand_over()
            :: act == RESIGN -> do_resigned()
            :: else -> skip
            fi;
            check()
        }
    }
#ifdef LIVE
    :: atomic {
        if /* the nodes that stay; the others are gone */
        :: alive = 1
        :: alive = 2
        :: alive = ALL
        fi;
        good = !(MAY_GO_ON(1) || MAY_GO_ON(2) || MAY_GO_ON(N));
        round = 0;
        do
        :: good -> break
        :: else ->
            assert(round < ROUNDS);
            heard = 0;
            x = 1;
            do
            :: x > N -> break
            :: x <= N && !IN(alive, x) -> x++
            :: else ->
                d_step { settle(); check() }
                d_step { settle(); check() }
                y = 1;
                do
                :: y > N -> break
                :: y == x -> y++
                :: else -> d_step { beat(); y++; check() }
                od;
                x++
            od;
            x = 1;
            do
            :: x > N -> break
            :: x <= N && !IN(alive, x) -> x++
            :: else -> d_step { timers(); x++; check() }
            od;
            good = WELL(1) || WELL(2) || WELL(N);
            round++
        od;
    } -> break
#endif
    od
}
