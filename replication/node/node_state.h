/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A running node, shared by the node_*.c files: the loop thread that owns the executor, the disk
 * thread, and the queue through which everything else reaches the loop.
 *
 * Locks: `work` is taken first, and never while another one is held. Under it each of the other
 * mutexes (the node's, a disk's, a call's) is taken alone, for a few assignments: nothing is called
 * with one of them held that could take a second one. The application's callbacks run without any.
 */
#ifndef KVP_NODE_STATE_H
#define KVP_NODE_STATE_H

#include "replication/net/address_list.h"
#include "kvstore/base/clock.h"
#include "replication/node/executor.h"
#include "replication/node/node_counts.h"
#include "kvpair/kvp_node.h"
#include "replication/net/net.h"
#include "replication/net/tls_expiry.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

/* What may wait for the loop; further requests are answered with KVP_BUSY. */
#define NODE_CLIENTS_MAX      16384u
#define NODE_CLIENTS_SIZE_MAX (64u * 1024u * 1024u)
#define NODE_PEERS_MAX        1024u
#define NODE_PEERS_SIZE_MAX   (256u * 1024u * 1024u)

enum node_event_kind {
    NODE_REQUEST, /* a message came to the port */
    NODE_CALL,    /* the application wants something */
    NODE_PEER_ANSWER,
    NODE_LINK,
    NODE_ARBITER,
    NODE_UNREACHED, /* a peer, or (0) the arbiter */
    NODE_FENCE_DONE,
    NODE_REFUSED, /* somebody has been: for the log */
    NODE_STOP,
};

struct node_event {
    struct node_event *next;
    enum node_event_kind kind;
    uint8_t peer;
    enum kvp_link_kind link;
    bool flag;        /* LINK: up; FENCE_DONE: success */
    bool from_peer;   /* REQUEST */
    uint64_t came_us; /* REQUEST of a client, CALL */
    struct kvp_net_request *request;
    struct node_call *call;
    struct kvp_arbiter_answer arbiter;
    const char *reason; /* UNREACHED, REFUSED (the event's name): static */
    kvp_buf body;
};

/* A call of the application: shared by its thread and the loop, freed by the last of them. */
struct node_call {
    pthread_mutex_t mutex;
    pthread_cond_t done_cond;
    atomic_uint references;
    bool done;
    struct kvp_request request; /* its slices point into `bytes` */
    kvp_status status;
    kvp_buf result; /* the encoded result */
    uint8_t bytes[];
};

struct node_link {
    struct node_link *next; /* of those that are being closed */
    struct kvp_node *node;
    uint8_t peer;
    enum kvp_link_kind kind;
    char url[KVP_URL_SIZE_MAX + 1];
    struct kvp_net_link *link; /* NULL: it could not be opened */
    uint32_t last_id;          /* loop thread */
    atomic_bool given_up;      /* what it tells is of no interest any more */
};

/* Links to where nobody is any more. Closing one may have to wait for a name being looked up: a
 * thread does it, made when there is the first. */
struct node_closer {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct node_link *first;
    bool running, quit;
    pthread_t thread;
};

/* Of one kind, which one thread refuses. */
struct node_refusals {
    uint64_t count;   /* since the log last told of them */
    uint64_t told_us; /* when it did */
};

struct node_queue {
    struct node_event *first, *last;
    size_t count, size; /* requests and their bytes */
};

/* A thread that runs disk jobs, and those that it has still to run. */
struct node_disk {
    struct kvp_node *node;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct kvp_disk_job *first, *last;
    bool running, quit;
    pthread_t thread;
    atomic_uint_fast64_t busy_us; /* since when the job under way has been; 0: none is */
};

struct kvp_node {
    struct kvp_executor_config config;
    struct kvp_logger logger;
    char fence_command[1024];
    uint32_t timeout_ms;
    void (*on_log)(void *arg, int level, const char *line);
    void (*on_change)(void *arg, const kvp_node_state *state);
    void *arg;

    struct kvp_env *env;
    struct kvp_storage *storage;
    struct kvp_address_list *peer_addresses; /* whence peer operations are taken */
    struct kvp_net_server *server;
    struct kvp_tls *tls;  /* NULL: no certificate */
    uint64_t tls_look_us; /* loop thread: when to look at its end again */
    struct kvp_tls_expiry tls_expiry;
    struct node_refusals strangers, unproven; /* peer operations; those who get no connection */
    struct kvp_arbiter *arbiter;
    unsigned link_count;
    struct node_link *links[KVP_NODES_MAX * KVP_LINK_KINDS];
    struct node_closer closer;
    char peer_from[1024];
    struct kvp_executor *executor;
    kvp_buf out; /* whoever has `work`: answers being encoded */

    /* The executor is the loop's, but the application reads by itself (node_call.c), and the
     * server's thread for clients (node_requests.c). */
    pthread_mutex_t work;   /* who uses the executor has it */
    atomic_bool loop_runs;  /* before that there is no executor */
    atomic_bool loop_waits; /* for it: the others let it go first */
    atomic_bool closing;    /* the others do not read by themselves any more */
    atomic_uint readers;    /* threads of the application that may be about to take it */

    pthread_mutex_t mutex;     /* the queue, and what is published */
    pthread_cond_t wake;       /* the loop has something to do */
    pthread_cond_t changed;    /* something published has changed */
    struct node_queue urgent;  /* peers, links, arbiter: first, and all of it */
    struct node_queue clients; /* requests and calls: a slice of time, then the others again */
    struct kvp_disk_job *done_first, *done_last;
    bool quit;
    bool nudged;
    bool state_stale; /* whoever has `work`: publish anew */
    kvp_node_state state;
    bool ended;
    kvp_status end_status;
    uint64_t linger_us; /* loop thread: failed; when to declare the end. 0: not failed,
                           UINT64_MAX: declared */
    bool stopped;       /* loop thread */
    /* Since when the loop has been at what it does; 0: it waits, until loop_due_us at most. For
     * others to look at. */
    atomic_uint_fast64_t loop_busy_us, loop_due_us;

    struct kvp_disk disk; /* its snapshots are the sender's, the storage the writer's */
    struct kvp_quarantine quarantine;
    struct node_disk writer, sender;
    struct node_times writes; /* of the log, as the writer ran them */
    struct node_times syncs;  /* fsyncs within */
    node_count fsync_us;      /* of late */
    node_count store_size, disk_free, disk_size;
    char data_dir[PATH_MAX];

    bool closed;      /* all has ended: what is left is this structure */
    bool abandoned;   /* nobody waits for that: whoever ends last frees it */
    atomic_bool mute; /* the application is not called any more */

    bool loop_running;
    pthread_t loop_thread;

    struct node_event fence_event; /* one command at a time */
    bool fence_joinable;
    atomic_bool fence_cancel;
    pthread_t fence_thread;
};

/* What the loop takes from the queue at once. Requests and calls stay in it: node_take_client(). */
struct node_batch {
    struct node_event *events;
    struct kvp_disk_job *jobs;
    bool quit;
};

/* node_requests.c */
/* With the lock `work`: a peer's message is executed; a client's request, too, or it is put off
 * until the client has read its answers. */
void node_run_message(struct kvp_node *node, struct kvp_net_request *request, uint64_t now_us);
void node_run_request(struct kvp_node *node, struct kvp_net_request *request, uint64_t now_us);
/* The server's thread: has the request, a GET, been executed? If not, the loop has to. */
bool node_read_here(struct kvp_node *node, struct kvp_net_request *request);

/* node_queue.c */
void node_nudge(struct kvp_node *node); /* the loop looks at what has become of the executor */
void node_post(struct kvp_node *node, struct node_event *event); /* owned by the loop from now on */
void node_post_done(struct kvp_node *node, struct kvp_disk_job *job);
/* The loop: waits until there is something, or until the deadline. */
struct node_batch node_take(struct kvp_node *node, uint64_t deadline_us);
struct node_event *node_take_client(struct kvp_node *node); /* NULL: none waits */
void node_event_free(struct kvp_node *node, struct node_event *event);
/* Does so much wait that another request, of a peer or of a client, must be refused? */
bool node_overloaded(struct kvp_node *node, bool peer);
/* Waits on `cond` once, at most until `deadline_us` of kvp_clock_now_us(); false when that is over.
 */
bool node_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline_us);
void node_init_cond(pthread_cond_t *cond);

/* node_links.c */
/* Opens the port, the links to the peers, the arbiter. `message` says what could not be opened. */
kvp_status node_links_open(struct kvp_node *node, const kvp_node_options *options, char *message,
                           size_t size);
/* A link of each kind to the peer. KVP_BAD_ARGUMENT (the address), KVP_NO_MEMORY. */
kvp_status node_links_add(struct kvp_node *node, const struct kvp_executor_peer *peer);
/* Writes "WHAT: what the status means" to `message`; returns the status. */
kvp_status node_say(char *message, size_t size, kvp_status status, const char *what);

/* node_members.c: who the others are, as the list of members says */
/* Takes it from the store, if it has one, or else from the group that lets this node in. */
kvp_status node_members_open(struct kvp_node *node, const kvp_node_options *options, char *message,
                             size_t size);
/* Others are the peers, or they are elsewhere: the loop, which waits for nothing here. */
void node_members_change(struct kvp_node *node, const struct kvp_executor_peer *peers,
                         unsigned count);
const char *node_members_refuse_url(const struct kvp_node *node, const char *url);
void node_members_close(struct kvp_node *node); /* all links */

/* node_join.c */
/* Asks the nodes at options->join who the members are: node->config has them. Any failure has a
 * message that names the next step. */
kvp_status node_join(struct kvp_node *node, const kvp_node_options *options, char *message,
                     size_t size);

/* node_tls.c */
kvp_status node_tls_open(struct kvp_node *node, const kvp_node_options *options, char *message,
                         size_t size);
void node_tls_watch(struct kvp_node *node, uint64_t now_us); /* the loop: says when it ends soon */
/* Why what came by TLS is refused; NULL: it is not. Static. */
const char *node_tls_refuses(const struct kvp_node *node, const struct kvp_net_request *request,
                             bool peer_op);

/* Whom its certificate names; NULL: it came without TLS. */
const struct kvp_identity *node_tls_asker(const struct kvp_node *node,
                                          const struct kvp_net_request *request);

/* node_call.c */
void node_call_run(struct kvp_node *node, struct node_call *call, uint64_t now_us);
void node_call_answer(struct node_call *call, const struct kvp_answer *answer);
void node_call_stop_readers(struct kvp_node *node);
/* Runs a request to its end or the deadline. *result, if it was made, is to be given back with
 * node_call_unref(); with a status of its own its result is a reason, encoded. */
kvp_status node_call_perform(struct kvp_node *node, const struct kvp_request *request,
                             struct node_call **result);
kvp_status node_call_perform_until(struct kvp_node *node, const struct kvp_request *request,
                                   uint64_t deadline_us, struct node_call **result);
void node_call_unref(struct node_call *call);
/* Has it executed, some time; nobody waits. */
void node_call_forget(struct kvp_node *node, const struct kvp_request *request);
/* Tokens of calls are told from those of network requests by the lowest bit. */
bool node_token_is_call(const void *token);
struct node_call *node_token_call(void *token);

/* node_disk.c */
kvp_status node_disk_start(struct kvp_node *node);
void node_disk_submit(struct kvp_node *node, struct kvp_disk_job *job);
void node_disk_stop(struct kvp_node *node);
bool node_disk_silent(const struct kvp_node *node); /* at the moment */
void node_disk_init(struct node_disk *disk);
void node_disk_destroy(struct node_disk *disk);

/* node_fence.c */
void node_fence_start(struct kvp_node *node);
void node_fence_stop(struct kvp_node *node);

/* node_options.c */
/* Fills `known` from the options of a program that may be built for another release. */
kvp_status node_options_take(kvp_node_options *known, const kvp_node_options *options,
                             char *message, size_t message_size);
/* Whence peer operations are taken: KVP_BAD_ARGUMENT: *wrong, of `node`, is no such address. */
kvp_status node_options_addresses(const struct kvp_node *node,
                                  const struct kvp_executor_peer *peers, unsigned count,
                                  struct kvp_address_list **list, const char **wrong);
kvp_status node_configure(struct kvp_node *node, const kvp_node_options *options, char *message,
                          size_t message_size);

#endif
