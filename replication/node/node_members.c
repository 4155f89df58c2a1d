/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the list of members means for a node's ways to others: which links there are, and from which
 * addresses peer operations are taken. The list of the store is looked at before the first link is
 * opened; later the executor tells of another one, on the loop thread.
 */
#include "replication/net/sp_address.h"
#include "replication/net/tls.h"
#include "replication/node/node_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void members_allow(struct kvp_node *node, const struct kvp_executor_peer *peers,
                          unsigned count)
{
    struct kvp_address_list *list;
    const char *wrong;
    kvp_status status = node_options_addresses(node, peers, count, &list, &wrong);
    if (status == KVP_OK) {
        status = kvp_address_list_become(node->peer_addresses, list);
    }
    if (status != KVP_OK) {
        kvp_log(&node->logger, KVP_LOG_ERROR, "member_addresses", "reason=\"%s\"",
                kvp_strerror(status));
    }
}

/* ---- at the start ---- */

kvp_status node_members_open(struct kvp_node *node, const kvp_node_options *options, char *message,
                             size_t size)
{
    struct kvp_members list;
    kvp_status status = kvp_executor_read_members(node->storage, &list);
    if (status != KVP_OK) {
        return node_say(message, size, status, "the list of members cannot be read");
    }
    if (list.version != 0) {
        kvp_executor_take_members(&node->config, &list);
        members_allow(node, node->config.peers, node->config.peer_count);
        return KVP_OK;
    }
    if (options->join == NULL) {
        return KVP_OK;
    }
    status = node_join(node, options, message, size);
    if (status == KVP_OK) {
        members_allow(node, node->config.peers, node->config.peer_count);
    }
    return status;
}

/* ---- links that go ---- */

static struct node_link *closer_take(struct node_closer *closer)
{
    struct node_link *link = closer->first;
    closer->first = link->next;
    return link;
}

static void link_free(struct node_link *link)
{
    kvp_net_link_close(link->link);
    free(link);
}

static void *members_close_links(void *arg)
{
    struct node_closer *closer = arg;
    pthread_mutex_lock(&closer->mutex);
    while (!closer->quit || closer->first != NULL) {
        if (closer->first == NULL) {
            pthread_cond_wait(&closer->wake, &closer->mutex);
            continue;
        }
        struct node_link *link = closer_take(closer);
        pthread_mutex_unlock(&closer->mutex);
        link_free(link);
        pthread_mutex_lock(&closer->mutex);
    }
    pthread_mutex_unlock(&closer->mutex);
    return NULL;
}

/* Without a thread it stays until the node is closed, and is not listened to. */
static void members_give_up(struct kvp_node *node, struct node_link *link)
{
    struct node_closer *closer = &node->closer;
    atomic_store(&link->given_up, true);
    struct node_event *event = calloc(1, sizeof(*event));
    if (event != NULL) {
        event->kind = NODE_LINK;
        event->peer = link->peer;
        event->link = link->kind;
        node_post(node, event);
    }
    pthread_mutex_lock(&closer->mutex);
    link->next = closer->first;
    closer->first = link;
    if (!closer->running) {
        closer->running = pthread_create(&closer->thread, NULL, members_close_links, closer) == 0;
    }
    pthread_cond_signal(&closer->wake);
    pthread_mutex_unlock(&closer->mutex);
}

void node_members_close(struct kvp_node *node)
{
    struct node_closer *closer = &node->closer;
    pthread_mutex_lock(&closer->mutex);
    closer->quit = true;
    pthread_cond_signal(&closer->wake);
    pthread_mutex_unlock(&closer->mutex);
    if (closer->running) {
        pthread_join(closer->thread, NULL);
    }
    while (closer->first != NULL) {
        link_free(closer_take(closer));
    }
    for (unsigned i = 0; i < node->link_count; i++) {
        link_free(node->links[i]);
    }
    node->link_count = 0;
}

/* ---- another list ---- */

static bool members_has(const struct kvp_executor_peer *peers, unsigned count,
                        const struct node_link *link)
{
    for (unsigned i = 0; i < count; i++) {
        if (peers[i].id == link->peer && strcmp(peers[i].url, link->url) == 0) {
            return true;
        }
    }
    return false;
}

static bool members_has_link(const struct kvp_node *node, unsigned peer)
{
    for (unsigned i = 0; i < node->link_count; i++) {
        if (node->links[i]->peer == peer) {
            return true;
        }
    }
    return false;
}

void node_members_change(struct kvp_node *node, const struct kvp_executor_peer *peers,
                         unsigned count)
{
    unsigned kept = 0;
    members_allow(node, peers, count);
    for (unsigned i = 0; i < node->link_count; i++) {
        struct node_link *link = node->links[i];
        if (members_has(peers, count, link)) {
            node->links[kept++] = link;
        } else {
            members_give_up(node, link);
        }
    }
    node->link_count = kept;
    for (unsigned i = 0; i < count; i++) {
        kvp_status status =
            members_has_link(node, peers[i].id) ? KVP_OK : node_links_add(node, &peers[i]);
        if (status != KVP_OK) {
            kvp_log(&node->logger, KVP_LOG_ERROR, "member_unreachable",
                    "peer=%u url=%s reason=\"no link can be opened: %s\"", peers[i].id,
                    peers[i].url, kvp_strerror(status));
        }
    }
}

const char *node_members_refuse_url(const struct kvp_node *node, const char *url)
{
    struct sp_address address;
    if (sp_address_parse(url, &address) != KVP_OK) {
        return "not an address of the form tcp://HOST:PORT, with a PORT of 1 to 65535, or "
               "ipc://PATH";
    }
    if (address.kind == SP_ADDRESS_TCP &&
        (address.name[0] == '\0' || strcmp(address.name, "0.0.0.0") == 0 ||
         strcmp(address.name, "::") == 0)) {
        return "this stands for all addresses: give the one that the other nodes and clients use";
    }
    if (kvp_tls_is_url(url) && node->tls == NULL) {
        return "this node has no certificate: it could not connect to a tls+tcp:// address";
    }
    return NULL;
}
