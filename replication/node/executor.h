/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The executor is a whole node without threads, sockets and clock: it ties the replication core,
 * the engine, the wire and the storage together. Its host (node.c, or a simulator) carries
 * messages, runs disk jobs and tells the time.
 *
 * One thread at a time. Host functions are called from inside executor functions and must not call
 * the executor back. After a batch of events the host calls kvp_executor_flush().
 */
#ifndef KVP_EXECUTOR_H
#define KVP_EXECUTOR_H

#include "replication/jobs/jobs.h"
#include "replication/core/arbiter.h"
#include "replication/core/core.h"
#include "replication/node/disk.h"
#include "replication/node/node_counts.h"
#include "kvstore/base/logger.h"
#include "replication/wire/members.h"
#include "replication/wire/wire.h"

struct kvp_executor_peer {
    uint8_t id;
    char url[KVP_URL_SIZE_MAX + 1];
};

#define KVP_ADMINS_SIZE 1024u

struct kvp_executor_config {
    struct kvp_core_config core;
    char group[KVP_GROUP_NAME_MAX + 1];
    char url[KVP_URL_SIZE_MAX + 1];         /* where clients and peers reach this node */
    char arbiter_url[KVP_URL_SIZE_MAX + 1]; /* "": there is none */
    unsigned peer_count;
    struct kvp_executor_peer peers[KVP_NODES_MAX];
    uint32_t sessions_max, session_answers_max, session_idle_ms; /* engine.h; 0: as there */
    struct kvp_jobs_config jobs;
    unsigned stores_quarantined;  /* as found when opening */
    char admins[KVP_ADMINS_SIZE]; /* names that have every right: "user/ann,user/bob" */
};

enum kvp_link_kind {
    KVP_LINK_CONTROL, /* small messages that must not wait: heartbeats, views */
    KVP_LINK_DATA,    /* entries and snapshots */
    KVP_LINK_KINDS,
};

/* What a node knows that only its host can see. 0: not known (yet). */
struct kvp_executor_sight {
    uint64_t wall_ms; /* since 1970 */
    unsigned connections;
    uint64_t refused;                          /* connections that gave way, or found no room */
    uint64_t store_size, disk_free, disk_size; /* bytes, as they were some seconds ago at most */
    uint64_t fsync_us;                         /* that one of the log has taken of late */
    uint64_t certificate_ends;                 /* seconds since 1970 */
};

struct kvp_executor_host {
    void *arg;
    /* To a peer; may be lost. */
    void (*send)(void *arg, uint8_t peer, enum kvp_link_kind kind, kvp_slice body);
    /* Ends a client's request. `answer` is valid during the call. */
    void (*answer)(void *arg, void *token, const struct kvp_answer *answer);
    /* Can an answer still reach who asked? NULL: it is not known. */
    bool (*alive)(void *arg, void *token);
    /* Ends a peer's request. */
    void (*answer_peer)(void *arg, void *token, kvp_slice body);
    /* Runs the job, after all given before in its queue (disk.h); kvp_executor_disk_done() takes it
     * back. */
    void (*disk)(void *arg, struct kvp_disk_job *job);
    void (*arbiter)(void *arg, const struct kvp_arbiter_request *request);
    void (*fence)(void *arg);
    void (*log)(void *arg, enum kvp_log_level level, const char *event, const char *fields);
    /* Role, view or serving may have changed. */
    void (*changed)(void *arg);
    void (*stopped)(void *arg); /* kvp_executor_stop() is through */
    /* For STATUS; `sight` comes zeroed. NULL: nothing is known. */
    void (*look)(void *arg, struct kvp_executor_sight *sight);
    /* Others than before are the peers, or they are elsewhere. NULL: nobody wants to know. */
    void (*members)(void *arg, const struct kvp_executor_peer *peers, unsigned count);
    /* Why no member can be at that address, static; NULL: one can. NULL: they all are fine. */
    const char *(*address)(void *arg, const char *url);
};

struct kvp_executor;

/* Makes the peers of `config` those of the list. */
void kvp_executor_take_members(struct kvp_executor_config *config, const struct kvp_members *list);
/* The list of the applied state; version 0: it has none. Any status of reading, or of
 * kvp_members_decode(). */
kvp_status kvp_executor_read_members(struct kvp_storage *storage, struct kvp_members *list);

/* `storage` is borrowed, `loaded` is what opening it found. KVP_NO_MEMORY, KVP_BAD_ARGUMENT. */
kvp_status kvp_executor_open(const struct kvp_executor_config *config,
                             const struct kvp_executor_host *host, struct kvp_storage *storage,
                             const struct kvp_loaded *loaded, uint64_t now_us,
                             struct kvp_executor **executor);
/* Answers what is still held, and calls no other host function. NULL is fine. */
void kvp_executor_close(struct kvp_executor *executor);

/* A message that came to the node's port; `token` is given to host.answer or host.answer_peer
 * exactly once. Slices are borrowed for the call; `asker`, whom its certificate names in the group,
 * lives as long as the token. NULL: it came without TLS. */
void kvp_executor_message(struct kvp_executor *executor, uint64_t now_us, kvp_slice body,
                          const struct kvp_identity *asker, void *token);
/* For the counts: when the client's request that is handed over next came to the node, and behind
 * it the time. Without these it is not timed. */
void kvp_executor_asked(struct kvp_executor *executor, uint64_t came_us);
void kvp_executor_handled(struct kvp_executor *executor, uint64_t now_us);
/* A decoded request of the application that embeds the node. */
void kvp_executor_request(struct kvp_executor *executor, uint64_t now_us,
                          const struct kvp_request *request, void *token);
/* Reads a key without a token: KVP_OK (the value is appended to `value`) or KVP_NOT_FOUND. With any
 * other status nothing was read, and nothing done about it: kvp_executor_request() tells. */
kvp_status kvp_executor_get(struct kvp_executor *executor, uint64_t now_us, kvp_slice key,
                            kvp_buf *value, uint64_t *version);
void kvp_executor_peer_answer(struct kvp_executor *executor, uint64_t now_us, uint8_t peer,
                              kvp_slice body);
void kvp_executor_link(struct kvp_executor *executor, uint64_t now_us, uint8_t peer,
                       enum kvp_link_kind kind, bool up);
/* A peer, or (0) the arbiter, cannot be reached; `reason` is static. What it says later takes that
 * back. */
void kvp_executor_unreached(struct kvp_executor *executor, uint64_t now_us, uint8_t peer,
                            const char *reason);
void kvp_executor_disk_done(struct kvp_executor *executor, uint64_t now_us,
                            struct kvp_disk_job *job);
void kvp_executor_arbiter_answer(struct kvp_executor *executor, uint64_t now_us,
                                 const struct kvp_arbiter_answer *answer);
void kvp_executor_fence_done(struct kvp_executor *executor, uint64_t now_us, bool success);
void kvp_executor_tick(struct kvp_executor *executor, uint64_t now_us);
uint64_t kvp_executor_deadline(const struct kvp_executor *executor);
void kvp_executor_flush(struct kvp_executor *executor, uint64_t now_us);
void kvp_executor_stop(struct kvp_executor *executor, uint64_t now_us);

/* From any thread. */
const struct node_counts *kvp_executor_counts(const struct kvp_executor *executor);
const char *kvp_executor_view_reason(enum node_view_reason reason); /* its name */
const struct kvp_core *kvp_executor_core(const struct kvp_executor *executor);
/* Appends the STATUS result: one msgpack map. */
kvp_status kvp_executor_status(struct kvp_executor *executor, uint64_t now_us, kvp_buf *out);

#endif
