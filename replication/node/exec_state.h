/* SPDX-License-Identifier: Apache-2.0 */
/* The executor's private state, shared by executor.c and the exec_*.c files. */
#ifndef KVP_EXEC_STATE_H
#define KVP_EXEC_STATE_H

#include "kvstore/backup.h"
#include "kvstore/keyspace.h"
#include "replication/access/access.h"
#include "replication/access/rights_record.h"
#include "replication/engine/engine.h"
#include "replication/node/exec_watch_index.h"
#include "replication/node/executor.h"
#include "replication/node/node_counts.h"

#define EXEC_WAITING_MAX      16384u /* updates that wait for their commit */
#define EXEC_WAITING_SIZE_MAX (64u * 1024u * 1024u)
#define EXEC_SPARES           256u
#define EXEC_SPARE_SIZE_MAX   4096u /* room that is kept for the next update */
#define EXEC_CURSORS_MAX      64u
#define EXEC_PARKED_MAX       256u /* scans that wait for the state to catch up */
#define EXEC_CURSOR_IDLE_US   30000000u
#define EXEC_FETCHES_MAX      4096u
#define EXEC_BACKUPS_MAX      2u
/* What nobody waits for: after a change of primary clients come back first, and later a step of it
 * leaves the loop, and a processor, to others for most of the time. */
#define EXEC_REST_US  250000u
#define EXEC_PAUSE_US 1000u

/* An update that has been executed: answered when `seq` is committed. */
struct exec_waiter {
    struct exec_waiter *next;
    void *token;
    uint64_t seq, since_us;
    uint64_t asked_us; /* 0: it is not timed */
    size_t size;
    int status;
    unsigned op;
    kvp_buf answer;
};

/* A scan that goes on: a state view, and the page last sent, which may have to be sent again. */
struct exec_cursor {
    uint64_t id; /* 0: free. The low 20 bits of the number on the wire are the page */
    char owner[KVP_ACCESS_NAME_SIZE]; /* who goes on with it; "": whoever needs no rights */
    struct kvp_state_view *view;
    bool stale, keys_only, backwards;
    bool done; /* the last page has been sent */
    uint64_t used_us;
    uint32_t page; /* last page sent */
    struct kvp_raw_key page_start, start, end;
};

/* A backup that goes on: likewise. */
struct exec_backup {
    uint64_t id; /* 0: free; the low 32 bits of the number on the wire are the page */
    char owner[KVP_ACCESS_NAME_SIZE];
    struct kvp_state_view *view;
    struct kvp_backup_writer writer, before; /* behind the page last sent, and before it */
    bool done;                               /* the last page has been sent */
    uint64_t begun_us, used_us, wall_ms;
    uint32_t page; /* last page sent */
    struct kvp_raw_key page_start;
};

struct exec_parked {
    void *token;
    uint64_t needed; /* applied has to come so far */
    struct kvp_request request;
    uint8_t *keys; /* holds the request's key and value */
};

/* A worker that waits for a task. */
struct exec_fetch {
    struct exec_fetch *next;
    void *token;
    uint64_t until_us;
    struct kvp_request request; /* its key is `name` */
    char name[KVP_NAME_SIZE_MAX];
};

#define EXEC_TOLD_MAX 64u

/* What is wrong with a peer or the arbiter, as far as this node can reach it. */
struct exec_trouble {
    bool known;         /* something was heard, good or bad */
    const char *reason; /* static; NULL: it is well */
    bool leads;         /* a peer: as its last answer said */
    const char *told;   /* what the log has last; NULL: nothing that must be taken back */
    uint64_t since_us, again_us, pause_us;
};

/* A note that comes again and again. */
struct exec_told {
    bool used;
    enum kvp_note note;
    uint64_t number, again_us, pause_us;
};

#define EXEC_VIEWS_MAX 32u

/* A change of view that this node has learned of. */
struct exec_view {
    struct kvp_view view;
    enum node_view_reason reason;
    const char *cause;    /* static: what this node had noted before, or was told to do; "" */
    uint64_t wall_ms;     /* since 1970; 0: not known */
    uint64_t silent_us;   /* this node leads by it, and nobody was heard to since then; 0: no */
    uint64_t unserved_us; /* and so long nobody served; 0: not known */
};

/* What is known of rights. */
struct exec_access {
    struct kvp_rights_table table;
    bool is_known; /* since looked_us */
    uint64_t looked_us;
    kvp_status status; /* of the last look */
    uint64_t denials;  /* since the log told of them */
    uint64_t denial_told_us;
};

/* Until when workers could make themselves heard (exec_jobs_hear()), and what was so when that was
 * looked at last. */
struct exec_hearing {
    uint64_t until_us, unheard_us; /* for so long they could not, before */
    uint64_t committed;
    bool able, waits;
};

/* Who the group's nodes are: exec_members.c. */
struct exec_members {
    struct kvp_members list; /* in force; version 0: none, the flags say who they are */
    bool unreadable;         /* the newest one is of a newer release */
    unsigned told_count;     /* by the flags */
    struct kvp_executor_peer told[KVP_NODES_MAX];
    uint64_t changed_seq;     /* the entry of this primary's last change; 0: it has made none */
    uint8_t barred;           /* this one leaves the view, so that the list may change; 0: nobody */
    uint64_t barred_until_us; /* 0: until that entry is applied */
};

struct kvp_executor {
    struct kvp_executor_config config;
    struct kvp_executor_host host;
    struct kvp_storage *storage;
    struct kvp_core *core;
    struct kvp_engine *engine;
    uint64_t started_us, now_us;

    bool running;   /* the engine is started: this node is primary */
    bool broken;    /* no memory for something that must not get lost */
    bool replacing; /* the store is being replaced: no state views */
    uint64_t committed, applied_told;
    uint64_t noted_epoch;
    enum kvp_role noted_role;
    bool noted_serving;
    struct exec_trouble peer_troubles[KVP_NODES_MAX]; /* as config.peers */
    struct exec_trouble arbiter_trouble;
    bool troubled; /* one of them has a reason, or has had one that was told */
    struct exec_told told[EXEC_TOLD_MAX];
    const char *why;       /* static: what keeps this node from serving; NULL: nothing was noted */
    bool why_witness;      /* it is something about the witness */
    unsigned unknown_peer; /* a node that no --peer names; 0: none did */
    uint64_t unknown_us;

    struct exec_waiter *first, *last;
    size_t waiting_count, waiting_size;
    struct exec_waiter *spare_waiters; /* to be used again: at most EXEC_SPARES */
    unsigned spare_count;

    struct exec_cursor cursors[EXEC_CURSORS_MAX];
    uint64_t cursors_due_us; /* when one of them, or a backup, may have been idle for too long */
    uint64_t
        last_cursor; /* begins somewhere: the last life's cursors are not to be taken for ours */
    struct exec_backup backups[EXEC_BACKUPS_MAX];
    uint64_t last_backup; /* begins somewhere, too */
    struct exec_parked parked[EXEC_PARKED_MAX];
    unsigned parked_count;

    struct exec_fetch *fetches; /* in the order of arrival */
    unsigned fetch_count;
    uint64_t look_again_us;
    struct exec_hearing hearing;

    struct exec_watches watches;

    struct exec_access access;
    struct exec_members members;
    void *handover_token, *promote_token;
    unsigned answering; /* the operation that the next answers are of; 0: not known */
    /* When the client's request at hand came; 0: none is, or it is not timed. */
    uint64_t asked_us;
    bool answered_at_once; /* that one has been */
    struct node_counts counts;
    struct kvp_view counted_view; /* the last change that was counted */
    struct exec_view views[EXEC_VIEWS_MAX];
    uint64_t view_count;    /* since the start */
    const char *view_cause; /* of the next one; static; NULL: nothing was noted */
    uint64_t view_cause_us;
    bool noted_quarantine; /* that it is full */

    kvp_buf scratch; /* results and messages being built */
    kvp_buf value;
    kvp_buf writeset; /* of the update being executed */
    struct kvp_txn_scratch txn;
    struct kvp_peer_request peer_request;
};

/* exec_answer.c */
void exec_answer(struct kvp_executor *executor, void *token, int status, kvp_slice result);
void exec_refuse(struct kvp_executor *executor, void *token, int status, const char *reason);
bool exec_serving(const struct kvp_executor *executor);
/* Nothing that nobody waits for is done for so long. */
void exec_rest(struct kvp_executor *executor, uint64_t time_us);
/* Refuses the request when the state cannot be read at all. */
bool exec_store_is_away(struct kvp_executor *executor, void *token);
const char *exec_hint(const struct kvp_executor *executor); /* the primary's URL; "": not known */

#define EXEC_DIGEST_SIZE 17u
/* exec_digest.c: 16 hexadecimal digits. */
void exec_digest(const struct kvp_executor_config *config, char text[EXEC_DIGEST_SIZE]);

/* exec_views.c */
void exec_count_view(struct kvp_executor *executor);
/* Something that may lead to a change of view. */
void exec_note_cause(struct kvp_executor *executor, enum kvp_note note);
/* This node begins to serve: so long nobody has, as far as it knows; 0: that is not known. */
uint64_t exec_serves_after_us(struct kvp_executor *executor);

/* exec_notes.c */
void exec_say(struct kvp_executor *executor, enum kvp_log_level level, const char *event,
              const char *format, ...) __attribute__((format(printf, 4, 5)));
void exec_note(struct kvp_executor *executor, enum kvp_note note, uint64_t number);
void exec_notes_step(struct kvp_executor *executor); /* where executor->troubled is set */
void exec_say_storage_failed(struct kvp_executor *executor, kvp_status status);
/* The storage's reading failed: the node is no member any more. */
void exec_storage_failed(struct kvp_executor *executor, kvp_status status);
/* An answer came from a peer, or from the arbiter. */
void exec_peer_answered(struct kvp_executor *executor, uint8_t peer, kvp_status status);
void exec_peer_role(struct kvp_executor *executor, uint8_t peer, enum kvp_role role);
void exec_peer_mistaken(struct kvp_executor *executor, uint8_t peer, unsigned who);
void exec_arbiter_answered(struct kvp_executor *executor, const struct kvp_arbiter_answer *answer);
const char *exec_arbiter_state(const struct kvp_executor *executor); /* "ok", or what is wrong */
void exec_peer_refused(struct kvp_executor *executor, uint8_t peer,
                       bool unknown); /* it says so itself */
/* One that no --peer names has asked lately; 0: none. */
unsigned exec_unknown_peer(const struct kvp_executor *executor);

/* exec_why.c */
extern const char exec_blank_text[], exec_copy_text[], exec_foreign_text[], exec_unknown_text[];
/* Troubles that lead to a next step. */
extern const char exec_witness_foreign[], exec_witness_unknown[], exec_peer_unknowing[],
    exec_peer_removed[], exec_removed_text[];
void exec_role_changed(struct kvp_executor *executor);
bool exec_is_copy(const struct kvp_executor *executor); /* core_identity.c */
/* Why this node does not serve, "" if it does or need not; in `text`, or static. */
const char *exec_why(const struct kvp_executor *executor, char *text, size_t size);
/* What is wrong with a peer, and seems to be so from both sides; NULL: nothing. */
const char *exec_peer_why(const struct kvp_executor *executor,
                          const struct kvp_core_peer_status *peer);
/* Why an operator's wish to be primary came to nothing; NULL: the code says enough. */
const char *exec_promote_why(const struct kvp_executor *executor, kvp_status status, char *text,
                             size_t size);

/* exec_client.c */
void exec_request(struct kvp_executor *executor, const struct kvp_request *request, void *token);

/* exec_access.c: of requests that have an asker. */
/* May he have it done? If not, it has been answered. */
bool exec_access_permits(struct kvp_executor *executor, const struct kvp_request *request,
                         void *token);
/* May he read the key, as far as is known of the rights? Behind exec_access_permits(). */
bool exec_access_may_read(struct kvp_executor *executor, const struct kvp_identity *who,
                          kvp_slice key);
void exec_access_changed(struct kvp_executor *executor); /* rights, or where they are read */
/* Tells the log who has done what, and what came of it; of what is worth it. `result`: what it is
 * answered, empty where that is not known yet. */
void exec_access_note(struct kvp_executor *executor, const struct kvp_request *request,
                      kvp_slice result, const char *outcome);

/* exec_members.c */
void exec_members_open(struct kvp_executor *executor);
void exec_members_replaced(struct kvp_executor *executor); /* the store is another one */
/* What the job has applied, if it may have a list: before the core hears that it is done. */
void exec_members_written(struct kvp_executor *executor, const struct kvp_disk_job *job);
static inline bool exec_members_listed(const struct kvp_executor *executor) /* there is a list */
{
    return executor->members.list.version != 0;
}
static inline bool exec_members_removed(const struct kvp_executor *executor) /* this node is not on
                                                                                it */
{
    return executor->config.core.removed &&
           kvp_core_role(executor->core) == KVP_ROLE_OUTSIDE; /* else what is applied is old */
}
/* May the change be executed? If not, it has been answered; else its value, which lives in
 * `founding`, is the list that it begins with if there is none yet. */
bool exec_members_ready(struct kvp_executor *executor, struct kvp_request *request,
                        kvp_buf *founding, void *token);
void exec_members_appended(struct kvp_executor *executor, uint64_t seq); /* it is that entry */
void exec_members_step(struct kvp_executor *executor);
uint64_t exec_members_deadline(const struct kvp_executor *executor);
void exec_members_end(struct kvp_executor *executor); /* this node is not primary any more */
/* Why this node may not be asked to lead; NULL: it may. */
const char *exec_members_no_promotion(const struct kvp_executor *executor);

/* exec_wait.c */
/* Makes a write set the log's next entry. KVP_NO_MEMORY. */
kvp_status exec_append(struct kvp_executor *executor, const kvp_buf *writeset);
/* All zero, but that its answer may have room. NULL: no memory. */
struct exec_waiter *exec_wait_new(struct kvp_executor *executor);
/* Gives back one that was not added. NULL is fine. */
void exec_wait_put(struct kvp_executor *executor, struct exec_waiter *waiter);
void exec_wait_add(struct kvp_executor *executor, struct exec_waiter *waiter); /* taken over */
void exec_wait_free_spares(struct kvp_executor *executor);
/* Answers when `seq` is committed. False: no memory. */
bool exec_wait(struct kvp_executor *executor, void *token, uint64_t seq, int status,
               kvp_slice answer); /* of the operation that is being answered */
/* Answers with what is in the scratch: when all that is appended is committed, since another
 * primary may know less of it. */
void exec_answer_committed(struct kvp_executor *executor, void *token, int status);
void exec_release(struct kvp_executor *executor);             /* waiters whose entry is committed */
void exec_give_up(struct kvp_executor *executor, int status); /* all waiters */

/* exec_jobs.c */
void exec_fetch(struct kvp_executor *executor, const struct kvp_request *request, void *token);
void exec_fetch_end(struct kvp_executor *executor); /* this node is not primary any more */
void exec_jobs_step(struct kvp_executor *executor);
void exec_jobs_begin(struct kvp_executor *executor); /* this node has become primary */
/* Tells the job engine for how long workers could make themselves heard. */
void exec_jobs_hear(struct kvp_executor *executor, bool serving);
uint64_t exec_jobs_deadline(const struct kvp_executor *executor);

/* exec_lease.c: LEASE_KEEP, LEASE_SHOW, LEASE_LIST. */
void exec_lease(struct kvp_executor *executor, const struct kvp_request *request, void *token);

/* exec_watch.c */
void exec_watch(struct kvp_executor *executor, const struct kvp_request *request, void *token);
void exec_watch_step(struct kvp_executor *executor);
uint64_t exec_watch_deadline(const struct kvp_executor *executor);
/* What was read of the log for those who watch: the job is taken over. */
void exec_watch_page(struct kvp_executor *executor, struct kvp_disk_job *job);
/* All who watch are told that it is over here: they go on elsewhere, or again. */
void exec_watch_end(struct kvp_executor *executor);
void exec_watch_free(struct kvp_executor *executor); /* behind that, for good */

/* exec_scan.c */
void exec_scan(struct kvp_executor *executor, const struct kvp_request *request, void *token);
void exec_scan_close(struct kvp_executor *executor, const struct kvp_request *request, void *token);
/* Makes the range of a scan that goes on that of its cursor. False: he has no such cursor. */
bool exec_scan_rest(struct kvp_executor *executor, struct kvp_request *request);
void exec_scan_step(struct kvp_executor *executor); /* parked scans, idle cursors */
/* Ends the linearizable scans (this node is not primary any more), or all of them; parked ones
 * are refused. */
void exec_scan_end(struct kvp_executor *executor, bool all);

/* exec_backup.c */
void exec_backup(struct kvp_executor *executor, const struct kvp_request *request, void *token);
/* Frees those that nobody asks for any more, and lowers cursors_due_us to when the next may be. */
void exec_backup_step(struct kvp_executor *executor);
void exec_backup_end(struct kvp_executor *executor); /* all of them */

#endif
