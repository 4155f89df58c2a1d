/* SPDX-License-Identifier: Apache-2.0 */
/* The node's ways to others: its port, links to peers, the arbiter. What comes in is posted to the
 * loop. */
#include "replication/node/node_state.h"

#include <stdio.h>
#include <stdlib.h>

#define STRANGERS_EVERY_US 10000000u /* the log tells of those who are refused */
#define STALL_MIN_MS       700u

static void links_answer(struct kvp_net_request *request, kvp_status code, kvp_slice result)
{
    struct kvp_answer answer = {.status = code, .result = result};
    kvp_buf body = {0};
    if (kvp_wire_answer_encode(&answer, &body) == KVP_OK) {
        kvp_net_answer(request, kvp_buf_slice(&body));
    } else {
        kvp_net_drop(request);
    }
    kvp_buf_free(&body);
}

/* Has the loop tell of it, which is the one that writes the log. `hint` is static. */
static void links_report(struct kvp_node *node, struct node_refusals *refusals, const char *name,
                         const char *address, const char *hint)
{
    uint64_t now_us = kvp_clock_now_us();
    refusals->count++;
    if (refusals->told_us != 0 && now_us - refusals->told_us < STRANGERS_EVERY_US) {
        return;
    }
    struct node_event *event = calloc(1, sizeof(*event));
    char fields[KVP_NET_ADDRESS_SIZE + 256];
    int size = snprintf(fields, sizeof(fields), "address=%s count=%llu hint=\"%s\"", address,
                        (unsigned long long)refusals->count, hint);
    if (event == NULL || kvp_buf_append(&event->body, fields, (size_t)size + 1) != KVP_OK) {
        free(event);
        return;
    }
    refusals->count = 0;
    refusals->told_us = now_us;
    event->kind = NODE_REFUSED;
    event->reason = name;
    node_post(node, event);
}

static void links_refuse(struct kvp_node *node, struct kvp_net_request *request, const char *name,
                         const char *hint, const char *reason)
{
    char address[KVP_NET_ADDRESS_SIZE];
    kvp_buf result = {0};
    links_report(node, &node->strangers, name, kvp_net_request_address(request, address), hint);
    if (kvp_wire_result_string(&result, reason) == KVP_OK) {
        links_answer(request, KVP_REFUSED, kvp_buf_slice(&result));
    } else {
        kvp_net_drop(request);
    }
    kvp_buf_free(&result);
}

/* True: it has been answered, and is nobody's business any more. */
static bool links_refuse_stranger(struct kvp_node *node, struct kvp_net_request *request,
                                  bool peer_op)
{
    if (kvp_net_request_is_tls(request)) {
        const char *reason = node_tls_refuses(node, request, peer_op);
        if (reason != NULL) {
            links_refuse(node, request, peer_op ? "peer_refused" : "client_refused", reason,
                         reason);
        }
        return reason != NULL;
    }
    bool stranger = peer_op && !kvp_net_request_from_peer(request);
    if (stranger) {
        links_refuse(node, request, "peer_refused", "not an address of --peer or --peer-from",
                     "peer operations are taken from the addresses that --peer and --peer-from "
                     "name, and yours is none of them");
    }
    return stranger;
}

static void links_on_refused(void *arg, const char *address, const char *reason)
{
    struct kvp_node *node = arg;
    links_report(node, &node->unproven, "connection_refused", address, reason);
}

static void links_on_request(void *arg, struct kvp_net_request *request)
{
    struct kvp_node *node = arg;
    unsigned version, op;
    bool known = kvp_wire_peek(kvp_net_request_body(request), &version, &op) == KVP_OK &&
                 version == KVP_WIRE_VERSION;
    bool peer_op = known && KVP_OP_IS_PEER(op);
    if (links_refuse_stranger(node, request, peer_op)) {
        return;
    }
    if (known && op == KVP_OP_GET && node_read_here(node, request)) {
        return;
    }
    bool peer = peer_op && kvp_net_request_from_peer(request);
    struct node_event *event = node_overloaded(node, peer) ? NULL : calloc(1, sizeof(*event));
    if (event == NULL) {
        links_answer(request, KVP_BUSY, kvp_slice_of(NULL, 0));
        return;
    }
    event->kind = NODE_REQUEST;
    event->from_peer = peer;
    event->came_us = peer ? 0 : kvp_clock_now_us();
    event->request = request;
    node_post(node, event);
}

/* Who has gone elsewhere is not at the other end any more. */
static void links_post(const struct node_link *link, struct node_event *event)
{
    if (!atomic_load(&link->given_up)) {
        node_post(link->node, event);
    } else {
        node_event_free(link->node, event);
    }
}

static void on_link_answer(void *arg, uint32_t id, kvp_slice body)
{
    struct node_link *link = arg;
    struct node_event *event = calloc(1, sizeof(*event));
    (void)id; /* a reply shows the replier's whole position: it needs no request to go with */
    if (event == NULL || kvp_buf_append(&event->body, body.data, body.size) != KVP_OK) {
        free(event);
        return; /* as if lost */
    }
    event->kind = NODE_PEER_ANSWER;
    event->peer = link->peer;
    links_post(link, event);
}

static void on_link_state(void *arg, bool connected)
{
    struct node_link *link = arg;
    struct node_event *event = calloc(1, sizeof(*event));
    if (event != NULL) {
        event->kind = NODE_LINK;
        event->peer = link->peer;
        event->link = link->kind;
        event->flag = connected;
        links_post(link, event);
    }
}

static void links_post_unreached(struct kvp_node *node, uint8_t peer, const char *reason)
{
    struct node_event *event = calloc(1, sizeof(*event));
    if (event != NULL) {
        event->kind = NODE_UNREACHED;
        event->peer = peer;
        event->reason = reason;
        node_post(node, event);
    }
}

static void on_link_failure(void *arg, const char *reason)
{
    const struct node_link *link = arg;
    if (link->kind == KVP_LINK_CONTROL &&
        !atomic_load(&link->given_up)) { /* the other one fails likewise */
        links_post_unreached(link->node, link->peer, reason);
    }
}

static void on_arbiter_failure(void *arg, const char *reason)
{
    links_post_unreached(arg, 0, reason);
}

static void on_arbiter_answer(void *arg, const struct kvp_arbiter_answer *answer)
{
    struct node_event *event = calloc(1, sizeof(*event));
    if (event != NULL) {
        event->kind = NODE_ARBITER;
        event->arbiter = *answer;
        node_post(arg, event);
    }
}

kvp_status node_say(char *message, size_t size, kvp_status status, const char *what)
{
    if (message != NULL && size > 0) {
        snprintf(message, size, "%s: %s", what,
                 status == KVP_BAD_ARGUMENT
                     ? "not an address of the form tcp://HOST:PORT, with a PORT of 1 to "
                       "65535, or ipc://PATH"
                     : kvp_strerror(status));
    }
    return status;
}

static kvp_status links_open_server(struct kvp_node *node, const char *url, char *message,
                                    size_t size)
{
    char reason[KVP_URL_SIZE_MAX + 128] = "";
    struct kvp_net_server_config config = {.url = url,
                                           .tls = node->tls,
                                           .group = node->config.group,
                                           .peers = node->peer_addresses,
                                           .on_request = links_on_request,
                                           .on_refused = links_on_refused,
                                           .arg = node,
                                           .reason = reason,
                                           .reason_size = sizeof(reason)};
    kvp_status status = kvp_address_list_start(node->peer_addresses);
    if (status != KVP_OK) {
        return node_say(message, size, status, "the list of the peers' addresses");
    }
    status = kvp_net_listen(&config, &node->server);
    if (status != KVP_OK) {
        if (message != NULL && size > 0) {
            snprintf(message, size, "cannot listen on %s: %s", url, reason);
        }
        return status;
    }
    if (node->config.url[0] == '\0') {
        snprintf(node->config.url, sizeof(node->config.url), "%s",
                 kvp_net_server_url(node->server));
    }
    return KVP_OK;
}

/* A connection that swallows what is sent is given up for a new one: not before a lost packet or
 * two would have been sent again. */
static unsigned links_stall_ms(const struct kvp_node *node)
{
    uint64_t lease_ms = node->config.core.lease_us / 1000;
    return lease_ms > STALL_MIN_MS ? (unsigned)lease_ms : STALL_MIN_MS;
}

static kvp_status links_open_one(struct kvp_node *node, const struct kvp_executor_peer *peer,
                                 enum kvp_link_kind kind)
{
    struct node_link *link = calloc(1, sizeof(*link));
    if (link == NULL) {
        return KVP_NO_MEMORY;
    }
    link->node = node;
    link->peer = peer->id;
    link->kind = kind;
    (void)snprintf(link->url, sizeof(link->url), "%s", peer->url);
    const struct kvp_net_link_config config = {.url = link->url,
                                               .tls = node->tls,
                                               .peer_kind = KVP_IDENTITY_NODE,
                                               .peer_node = peer->id,
                                               .peer_group = node->config.group,
                                               .stall_ms = links_stall_ms(node),
                                               .on_answer = on_link_answer,
                                               .on_state = on_link_state,
                                               .on_failure = on_link_failure,
                                               .arg = link};
    kvp_status status = kvp_net_link_open(&config, &link->link);
    if (status != KVP_OK) {
        free(link);
        return status;
    }
    node->links[node->link_count++] = link;
    return KVP_OK;
}

kvp_status node_links_add(struct kvp_node *node, const struct kvp_executor_peer *peer)
{
    kvp_status status = KVP_OK;
    for (unsigned kind = 0; kind < KVP_LINK_KINDS && status == KVP_OK; kind++) {
        status = links_open_one(node, peer, (enum kvp_link_kind)kind);
    }
    return status;
}

static kvp_status links_open_peers(struct kvp_node *node, char *message, size_t size)
{
    for (unsigned i = 0; i < node->config.peer_count; i++) {
        kvp_status status = node_links_add(node, &node->config.peers[i]);
        if (status != KVP_OK) {
            return node_say(message, size, status, node->config.peers[i].url);
        }
    }
    return KVP_OK;
}

static kvp_status links_open_arbiter(struct kvp_node *node, const kvp_node_options *options,
                                     char *message, size_t size)
{
    if (options->witness == NULL) {
        return KVP_OK;
    }
    struct kvp_arbiter_config config = {
        .url = options->witness,
        .tls = node->tls,
        .group = node->config.group,
        .node_id = options->id,
        .on_answer = on_arbiter_answer,
        .on_failure = on_arbiter_failure,
        .arg = node,
    };
    kvp_status status = kvp_arbiter_witness_open(&config, &node->arbiter);
    return status == KVP_OK ? KVP_OK : node_say(message, size, status, options->witness);
}

kvp_status node_links_open(struct kvp_node *node, const kvp_node_options *options, char *message,
                           size_t size)
{
    kvp_status status = links_open_server(node, options->listen, message, size);
    status = status == KVP_OK ? links_open_peers(node, message, size) : status;
    return status == KVP_OK ? links_open_arbiter(node, options, message, size) : status;
}
