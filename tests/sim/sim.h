/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulator: whole nodes (executor, replication core, engine, storage logic, wire codecs), a
 * witness and clients in one process on virtual time. Everything that happens follows from one
 * seed: the configuration, the load, the faults and their moments. Only network, clock and disk are
 * models: messages cross as encoded bytes, the disk is the in-memory environment with the semantics
 * of synced and unsynced writes.
 *
 * What is checked at every step and at the end: sim_check.c.
 */
#ifndef KVP_SIM_H
#define KVP_SIM_H

#include "tests/support/store_memory.h"
#include "replication/node/executor.h"
#include "replication/witness/witness.h"

#include <stdarg.h>

#define SIM_NODES_MAX    5u
#define SIM_COPY         (SIM_NODES_MAX + 1u) /* the place of a copy of a node's store */
#define SIM_CLIENTS_MAX  8u
#define SIM_KEYS         6u
#define SIM_LATE_US      5000000u /* after which no copy of a message comes any more */
#define SIM_WITNESS      0u       /* as an address; nodes are 1.. */
#define SIM_CLIENT(n)    (100u + (n))
#define SIM_CALLER(n)    (1000u + (n)) /* submitters and workers: sim_jobs.h */
#define SIM_WATCHER(n)   (2000u + (n)) /* sim_watch.c; behind the last one: a writer */
#define SIM_WATCHERS_MAX 4u
#define SIM_ASKER(n)     (3000u + (n)) /* sim_rights.c */
#define SIM_HOLDER(n)    (4000u + (n)) /* sim_leases.c */

/* What a seed switches on, and how much of it. Probabilities in 1/1000. */
#define SIM_VERIFY_SIZE 800u /* bytes for a verification, where the plan is short of them */

struct sim_plan {
    unsigned nodes;
    enum kvp_pair_policy policy; /* NONE: a witness */
    unsigned clients;
    unsigned operations;        /* per client */
    uint64_t faults_us;         /* faults happen until then */
    uint64_t delay_us;          /* mean of a message's delay */
    unsigned loss, duplication; /* per message */
    uint64_t fault_gap_us;      /* mean time between faults; 0: none */
    unsigned crash, pause, cut, reset, one_way, disk_fault, witness_crash, witness_loss, handover,
        wipe, slow_disk, forge, forge_words; /* weights of the kinds of fault */
    bool lazy_ticks;         /* no more ticks than deadlines; without it they are many times as
                                many, and seeds found so far keep their meaning */
    uint64_t hang_gap_us;    /* mean time between disks that hang; 0: none does */
    uint64_t copy_gap_us;    /* mean time between copies of stores; 0: none is made */
    uint64_t members_gap_us; /* mean time between changes of members; 0: none */
    bool accidents;          /* an old store and an emptied witness: sim_accidents.c */
    bool copies_unsure;      /* also what a hung disk never took is put back: see sim_copies.c */
    unsigned drift_ppm;      /* clock rates differ up to this */
    uint64_t disk_us;        /* mean time of a disk job */
    uint64_t log_size_max;
    uint64_t cache_size_max; /* 0: as log_size_max */
    unsigned watchers;       /* 0: nobody watches keys, and there are no transactions */
    bool rights;             /* there are identities, some of which have rights */
    bool leases;             /* somebody holds keys by leases */
    size_t chunk_size;       /* of a snapshot; 0: as usual, which is all that there is */
    unsigned sync_replicas;
    struct sim_session_plan {
        unsigned renew;        /* a client begins a new session behind so many operations of 1000 */
        uint32_t sessions_max; /* 0: more than there are */
        uint32_t idle_ms;
        uint32_t load_at_once; /* ages read in one step by a new primary */
    } sessions;
    struct sim_operator_plan {
        uint64_t gap_us;      /* mean time between what operators do; 0: nothing */
        bool fence;           /* there is a fence command, */
        unsigned fence_fails; /* which fails so often of 1000 times */
        bool no_room;         /* for stores that are quarantined, until all is repaired */
        bool short_grace;     /* one node waits for less than the others */
        bool early;           /* faults happen while the group is being created, too */
    } operators;
    struct sim_job_plan {
        bool on;
        unsigned submitters, jobs; /* jobs of each */
        unsigned workers;
        unsigned corrupt;      /* of them */
        bool standbys;         /* all that live in the end joined as standbys */
        bool short_keep;       /* jobs are removed soon after their end */
        bool deaths_show;      /* a node notices that a worker's process is gone */
        uint64_t fate_us;      /* mean time until something happens to a worker */
        uint32_t jobs_max;     /* 0: more than there are; else ended ones make room */
        uint32_t workers_max;  /* 0: more than there are; else those that are gone do */
        uint32_t load_at_once; /* records of jobs read in one step by a new primary; other work
                                  comes in as small pieces then, and with little memory */
        bool flow;             /* tasks that nobody can do, keys, pauses, drained workers */
        uint64_t tick_us;      /* nodes come to what is due so much later */
    } jobs;
};

struct sim_message {
    uint64_t sent_us;
    unsigned from, to;
    uint8_t *bytes;
    size_t size;
    unsigned kind; /* enum kvp_link_kind, for messages between nodes */
    uint32_t call; /* arbiter call, or client's transmission */
    uint64_t life; /* of the receiver that it is for (answers); 0: whoever is there */
    bool answer;
    struct sim_token *token;
};

/* Where the answer to a request goes. */
struct sim_token {
    struct sim_token *next, *previous; /* all that a node holds */
    unsigned from;                     /* who asked */
    uint64_t from_life;
    unsigned at; /* who answers */
    unsigned kind;
    uint32_t call;
    bool reads; /* a linearizable read */
};

/* Jobs of one of a node's two disk threads (disk.h): in order, but not with those of the other. */
struct sim_disk_queue {
    struct kvp_disk_job *first, *last;
    bool busy;
    uint64_t due_us; /* when the first job is done */
    bool waits;      /* the disk hangs, and the first job would be done by now; */
    bool ran;        /* it has been done all the same */
};

struct sim_node {
    unsigned id;   /* its address */
    unsigned self; /* whose id it has: another one's, if it is a copy */
    bool alive, paused, wiped;
    uint64_t life, started_us;
    struct kvp_env *env;
    struct kvp_storage *storage;
    struct kvp_executor *executor;
    struct kvp_disk disk;
    struct sim_disk_queue writer, sender;
    uint64_t disk_factor;
    bool disk_faulty;      /* it fails, or will */
    bool disk_hangs;       /* what it is asked is not answered, */
    uint64_t stuck_us;     /* since when nobody has served because of that; 0: not so */
    uint64_t stuck_forged; /* messages that had been forged by then, */
    uint64_t stuck_lost;   /* and those from and to the witness that had been lost */
    int64_t clock_offset_us;
    int64_t clock_ppm;
    uint64_t tick_at;        /* virtual time of the tick that is scheduled; 0: none */
    uint64_t tick_for;       /* the deadline, by the node's clock, that it is for */
    struct sim_token tokens; /* ring */
    struct sim_event *held;  /* events that came while it was paused */
    struct sim_event *held_last;
    bool serving;
    unsigned starts_unknown; /* since whoever decides has known its store's number */
    bool told_to_stop;       /* by an operator: nothing is handed over to it from now on */
    bool stopped;            /* in good order: the process may end */
};

enum sim_accident_stage {
    ACCIDENT_NONE,
    ACCIDENT_ALONE,    /* `who` goes on alone */
    ACCIDENT_GROWS,    /* `old` is what it had then; the group has more */
    ACCIDENT_HAPPENED, /* that is its directory now, and the witness is empty */
    ACCIDENT_OVER,     /* all are started */
};

struct sim_accident {
    enum sim_accident_stage stage;
    unsigned who;
    struct kvp_env *old;
    uint64_t old_end; /* of its log */
    uint64_t since_us;
    unsigned again; /* it is started so often before the others */
};

struct sim_client;
struct sim;

enum sim_event_kind {
    SIM_MESSAGE,
    SIM_TICK,
    SIM_DISK,
    SIM_LINK,
    SIM_FENCE,
    SIM_CLIENT_TIMER,
    SIM_FAULT,
    SIM_HANG,
    SIM_HANG_END,
    SIM_COPIES,
    SIM_OPERATOR,
    SIM_MEMBERS,
    SIM_ACCIDENT,
    SIM_HEAL,
    SIM_RESTART,
    SIM_RESUME,
    SIM_WITNESS_RESTART,
    SIM_JOB_TIMER,
    SIM_WATCH_TIMER,
    SIM_RIGHTS_TIMER,
    SIM_LEASE_TIMER,
};

struct sim_event {
    struct sim_event *next;
    uint64_t at, order;
    enum sim_event_kind kind;
    unsigned node, peer;
    uint64_t life, number;
    bool flag;
    struct sim_message message;
};

/* An event in the heap. */
struct sim_place {
    uint64_t at, order;
    struct sim_event *event;
};

struct sim {
    uint64_t seed;
    struct sim_plan plan;
    uint64_t random_hangs;
    uint64_t random_copies;
    uint64_t random_operators;
    uint64_t random_accidents;
    uint64_t random_members;
    struct sim_member_wish {
        unsigned what, id; /* asked for until it is so; what 0: nothing */
    } member;
    struct sim_accident accident;
    uint64_t random, random_faults; /* streams apart: a fault more does not change the load */
    uint64_t now_us;
    uint64_t order;
    struct sim_place *heap;
    size_t heap_count, heap_capacity;
    struct sim_node nodes[SIM_COPY + 1];
    bool copied;    /* a store has been, in this run */
    unsigned first; /* which of a node and its copy was confirmed first, by address; 0: none yet */
    uint64_t first_number; /* by which it was confirmed last */
    bool in_memory;        /* the other node of a pair confirms numbers that its hung disk lacks */
    bool first_in_memory;  /* that was so then, and still is */
    struct kvp_env *witness_env;
    uint64_t witness_lost_us; /* when it got another disk last */
    uint64_t forged;          /* messages of strangers */
    uint64_t words_lost;      /* messages from and to the witness */
    struct kvp_witness *witness;
    bool cut[SIM_COPY + 1][SIM_COPY + 1]; /* from, to */
    uint64_t link_free[SIM_COPY + 1][SIM_COPY + 1][KVP_LINK_KINDS + 1];
    struct sim_client *clients;
    bool calm; /* no faults any more */
    bool trace;
    unsigned faults, failovers, deliveries;
    unsigned failovers_with_jobs; /* that happened while a job was running */
    bool failed;
    char failure[512];
    struct sim_history *history;
    struct sim_contract *contract;
    struct sim_jobs *jobs;       /* NULL: none in this run */
    struct sim_watches *watches; /* likewise */
    struct sim_rights *rights;   /* likewise */
    struct sim_leases *leases;   /* likewise */
    bool other_world;            /* what spies may not read is another */
    uint64_t seen;               /* by spies, in the whole run */
};

/* sim.c */
void sim_plan_make(struct sim_plan *plan, uint64_t seed, int mode);
/* Adds what strangers do: forged messages. */
void sim_plan_strangers(struct sim_plan *plan, uint64_t seed);
/* Adds jobs to the plan; not to one of KVP_PAIR_AVAILABLE, which may set results aside. */
void sim_plan_jobs(struct sim_plan *plan, uint64_t seed);
/* Lets disks hang, in some seeds. */
void sim_plan_hangs(struct sim_plan *plan, uint64_t seed);
/* Adds copies of stores that are started beside the original. */
void sim_plan_copies(struct sim_plan *plan, uint64_t seed);
/* Adds faults to those that there are. */
void sim_plan_rough(struct sim_plan *plan, uint64_t seed);
/* Adds a table of sessions that is always full. */
void sim_plan_sessions(struct sim_plan *plan, uint64_t seed);
/* Runs a seed. Returns whether all checks held; `failure` tells which did not. */
bool sim_run(struct sim *sim, uint64_t seed, const struct sim_plan *plan, bool trace);
void sim_fail(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_trace(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t sim_random(uint64_t *stream);
uint64_t sim_below(uint64_t *stream, uint64_t bound); /* 0 .. bound - 1 */
uint64_t sim_exponential(uint64_t *stream, uint64_t mean);
struct sim_event *sim_at(struct sim *sim, uint64_t delay_us, enum sim_event_kind kind);

/* sim_net.c */
void sim_send(struct sim *sim, struct sim_message *message, kvp_slice bytes);
void sim_deliver(struct sim *sim, struct sim_message *message);
void sim_message_free(struct sim_message *message);
bool sim_reachable(const struct sim *sim, unsigned from, unsigned to);

/* sim_node.c */
void sim_node_start(struct sim *sim, struct sim_node *node);
void sim_node_crash(struct sim *sim, struct sim_node *node);
void sim_node_end(struct sim *sim, struct sim_node *node); /* in good order: nothing is lost */
void sim_node_free(struct sim_node *node);
void sim_node_event(struct sim *sim, struct sim_event *event);
void sim_node_disk_answers(struct sim *sim, struct sim_node *node); /* after it has hung */
uint64_t sim_node_clock(const struct sim *sim, const struct sim_node *node);
void sim_node_message(struct sim *sim, struct sim_node *node, struct sim_message *message);
void sim_node_settle(struct sim *sim, struct sim_node *node);

/* sim_faults.c */
void sim_faults_start(struct sim *sim);
void sim_fault(struct sim *sim);
/* sim_forge.c */
void sim_forge(struct sim *sim);
void sim_forge_words(struct sim *sim);
void sim_heal(struct sim *sim, const struct sim_event *event);
void sim_hang(struct sim *sim);
void sim_calm_down(struct sim *sim);
void sim_witness_message(struct sim *sim, struct sim_message *message);
void sim_witness_restart(struct sim *sim);
void sim_witness_empty(struct sim *sim); /* it is down afterwards */

/* sim_copies.c; all do nothing in a run without copies */
void sim_copies_start(struct sim *sim);
void sim_copies(struct sim *sim);
void sim_copies_calm(struct sim *sim);
void sim_copies_step(struct sim *sim);
/* The witness and whoever asks it must reach each other now. */
bool sim_copies_need_witness(const struct sim *sim);
/* Another store speaks for the node, or it is not known yet which one does. */
bool sim_copies_stranger(const struct sim *sim, const struct sim_node *node);

/* sim_operators.c: what operators do; nothing in a run without */
/* Adds it to the plan. */
void sim_plan_operators(struct sim_plan *plan, uint64_t seed);
void sim_operators_start(struct sim *sim);
void sim_operators(struct sim *sim);
void sim_operators_calm(struct sim *sim);
void sim_operators_step(struct sim *sim);
void sim_operators_room(const struct sim *sim, struct sim_node *node);
bool sim_operators_fence(struct sim *sim); /* whether the fence command succeeds */

/* sim_accidents.c; all do nothing in a run without accidents */
void sim_plan_accidents(struct sim_plan *plan, uint64_t seed);
void sim_accidents_start(struct sim *sim);
void sim_accidents(struct sim *sim);
bool sim_accidents_hold(const struct sim *sim, const struct sim_node *node); /* not now */
bool sim_accidents_lost(const struct sim *sim); /* what was acknowledged is not all served */
void sim_accidents_free(struct sim *sim);

/* sim_members.c; all do nothing in a run without changes of members */
void sim_plan_members(struct sim_plan *plan, uint64_t seed);
void sim_members_start(struct sim *sim);
void sim_members(struct sim *sim);
void sim_members_step(struct sim *sim);
bool sim_members_done(const struct sim *sim); /* all nodes are members */

/* sim_client.c */
kvp_status sim_clients_start(struct sim *sim);
void sim_clients_free(struct sim *sim);
void sim_client_timer(struct sim *sim, unsigned index, uint64_t number);
void sim_client_answer(struct sim *sim, unsigned index, const struct sim_message *message);
bool sim_clients_done(const struct sim *sim);

/* sim_call.c */
void sim_call_answer(struct sim *sim, unsigned index, const struct sim_message *message);
bool sim_call_alive(const struct sim *sim, const struct sim_token *token);

/* sim_jobs.c; all but the first do nothing in a run without jobs */
void sim_jobs_timer(struct sim *sim, const struct sim_event *event);
void sim_jobs_open(struct sim *sim);
void sim_jobs_free(struct sim *sim);
void sim_jobs_calm(struct sim *sim);
void sim_jobs_applied(struct sim *sim, const struct kvp_disk_job *job);
void sim_jobs_step(struct sim *sim);
bool sim_jobs_done(const struct sim *sim);
void sim_jobs_end(struct sim *sim);

/* sim_watch.c; all but the first do nothing in a run without watchers */
void sim_plan_watches(struct sim_plan *plan, uint64_t seed);
void sim_watches_open(struct sim *sim);
void sim_watches_free(struct sim *sim);
void sim_watches_applied(struct sim *sim, const struct kvp_disk_job *job);
void sim_watch_timer(struct sim *sim, const struct sim_event *event);
void sim_watch_answer(struct sim *sim, unsigned index, const struct sim_message *message);
bool sim_watches_done(const struct sim *sim);
void sim_watches_end(struct sim *sim);

/* sim_leases.c; all but the first do nothing in a run without leases */
void sim_plan_leases(struct sim_plan *plan, uint64_t seed);
void sim_leases_open(struct sim *sim);
void sim_leases_free(struct sim *sim);
void sim_leases_applied(struct sim *sim, const struct kvp_disk_job *job);
void sim_lease_timer(struct sim *sim, const struct sim_event *event);
void sim_lease_answer(struct sim *sim, unsigned index, const struct sim_message *message);
bool sim_leases_done(const struct sim *sim);

/* sim_rights.c; all but the first two do nothing in a run without rights */
void sim_plan_rights(struct sim_plan *plan, uint64_t seed);
const struct kvp_identity *sim_rights_identity(unsigned from); /* NULL: none */
void sim_rights_open(struct sim *sim);
void sim_rights_free(struct sim *sim);
void sim_rights_wrote(struct sim *sim, const struct kvp_disk_job *job);
void sim_rights_timer(struct sim *sim, const struct sim_event *event);
void sim_rights_answer(struct sim *sim, unsigned index, const struct sim_message *message);

/* sim_check.c */
kvp_status sim_check_start(struct sim *sim);
void sim_check_free(struct sim *sim);
void sim_check_step(struct sim *sim);      /* after every event */
void sim_check_end(struct sim *sim);       /* when all is calm */
bool sim_check_converged(struct sim *sim); /* all replicas equal, one serves */
void sim_check_invoked(struct sim *sim, unsigned client, unsigned op, unsigned key, uint64_t value);
void sim_check_returned(struct sim *sim, unsigned client, bool known, bool effect, uint64_t value);

/* sim_contract.c: what replication promises between any two events */
kvp_status sim_contract_start(struct sim *sim);
void sim_contract_free(struct sim *sim);
void sim_contract_step(struct sim *sim); /* after every event, behind sim_check_step() */
/* A node's store is another one: opened, received, emptied. */
void sim_contract_opened(struct sim *sim, struct sim_node *node);
/* Runs the job, and looks at what it appends and applies. */
void sim_contract_run(struct sim *sim, struct sim_node *node, struct kvp_disk_job *job);
/* The store of one place is at another one, too. */
void sim_contract_copied(struct sim *sim, unsigned from, unsigned to);
void sim_contract_exchanged(struct sim *sim, unsigned a, unsigned b);
/* What was acknowledged behind `old_end` nobody serves from now on, but it is not destroyed. */
void sim_contract_accident(struct sim *sim, uint64_t old_end);
void sim_contract_put_aside(struct sim *sim, unsigned id); /* the operator has what it had */
/* A linearizable read is being answered. */
void sim_contract_read(struct sim *sim, const struct sim_node *node);

#endif
