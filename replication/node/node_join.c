/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node that is let into a group: it asks one that is there who the members are (HELLO, which
 * needs no right), and whether it is one of them.
 */
#include "replication/node/node_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOIN_US       2500000u /* nobody has answered by then: whoever starts it tries again */
#define JOIN_AGAIN_US 500000u  /* whoever is not on the list yet may be put there meanwhile */
#define JOIN_URLS_MAX 16u

struct join_link {
    struct join *join;
    struct kvp_net_link *link;
    char url[KVP_URL_SIZE_MAX + 1];
    bool up;
};

struct join {
    struct kvp_node *node;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    unsigned count;
    struct join_link links[JOIN_URLS_MAX];
    bool found, unlisted;
    char unlisted_url[KVP_URL_SIZE_MAX + 1];
    const char *failure;
    struct kvp_members list;
};

static void join_send(const struct join_link *link)
{
    const struct kvp_request request = {
        .op = KVP_OP_HELLO,
        .group =
            kvp_slice_of(link->join->node->config.group, strlen(link->join->node->config.group))};
    kvp_buf body = {0};
    if (kvp_wire_request_encode(&request, &body) == KVP_OK) {
        (void)kvp_net_link_send(link->link, 1, kvp_buf_slice(&body));
    }
    kvp_buf_free(&body);
}

static void on_join_state(void *arg, bool connected)
{
    struct join_link *link = arg;
    pthread_mutex_lock(&link->join->mutex);
    link->up = connected;
    pthread_cond_signal(&link->join->wake);
    pthread_mutex_unlock(&link->join->mutex);
}

static void on_join_failure(void *arg, const char *reason)
{
    struct join_link *link = arg;
    pthread_mutex_lock(&link->join->mutex);
    link->join->failure = reason;
    pthread_mutex_unlock(&link->join->mutex);
}

static void join_take(struct join_link *link, const struct kvp_hello *hello)
{
    struct join *join = link->join;
    struct kvp_members list = {0};
    for (unsigned i = 0; i < hello->node_count; i++) {
        char url[KVP_URL_SIZE_MAX + 1];
        memcpy(url, hello->nodes[i].url.data, hello->nodes[i].url.size);
        url[hello->nodes[i].url.size] = '\0';
        (void)kvp_members_add(&list, hello->nodes[i].id, url);
    }
    if (hello->group_id == 0) {
        join->failure = "it has no data of a group itself";
    } else if (kvp_members_find(&list, join->node->config.core.self) == NULL) {
        join->unlisted = true;
        (void)snprintf(join->unlisted_url, sizeof(join->unlisted_url), "%s", link->url);
    } else {
        join->list = list;
        join->found = true;
    }
}

static void on_join_answer(void *arg, uint32_t id, kvp_slice body)
{
    struct join_link *link = arg;
    struct kvp_answer answer;
    struct kvp_hello hello;
    (void)id;
    pthread_mutex_lock(&link->join->mutex);
    if (kvp_wire_answer_decode(body, &answer) != KVP_OK) {
        link->join->failure = "no node of this release answers there";
    } else if (answer.status != KVP_OK) {
        link->join->failure = kvp_strerror(answer.status);
    } else if (kvp_wire_read_hello(answer.result, &hello) == KVP_OK) {
        join_take(link, &hello);
    }
    pthread_cond_signal(&link->join->wake);
    pthread_mutex_unlock(&link->join->mutex);
}

static kvp_status join_open(struct join *join, const char *urls, char *message, size_t size)
{
    while (*urls != '\0' && join->count < JOIN_URLS_MAX) {
        struct join_link *link = &join->links[join->count];
        size_t length = strcspn(urls, ",");
        if (length >= sizeof(link->url)) {
            return node_say(message, size, KVP_BAD_ARGUMENT, "--join");
        }
        memcpy(link->url, urls, length);
        link->join = join;
        urls += length + (urls[length] == ',');
        const struct kvp_net_link_config config = {.url = link->url,
                                                   .tls = join->node->tls,
                                                   .peer_kind = KVP_IDENTITY_NODE,
                                                   .peer_group = join->node->config.group,
                                                   .on_answer = on_join_answer,
                                                   .on_state = on_join_state,
                                                   .on_failure = on_join_failure,
                                                   .arg = link};
        kvp_status status = kvp_net_link_open(&config, &link->link);
        if (status != KVP_OK) {
            return node_say(message, size, status, link->url);
        }
        join->count++;
    }
    return KVP_OK;
}

/* Asks all, again and again, until one has this node on its list. */
static void join_wait(struct join *join)
{
    uint64_t end_us = kvp_clock_now_us() + JOIN_US, ask_us = 0;
    bool asked[JOIN_URLS_MAX] = {false};
    pthread_mutex_lock(&join->mutex);
    while (!join->found && kvp_clock_now_us() < end_us) {
        bool again = kvp_clock_now_us() >= ask_us;
        ask_us = again ? kvp_clock_now_us() + JOIN_AGAIN_US : ask_us;
        for (unsigned i = 0; i < join->count; i++) {
            bool sends = join->links[i].up && (again || !asked[i]);
            asked[i] = join->links[i].up;
            if (sends) {
                join_send(&join->links[i]);
            }
        }
        (void)node_wait_until(&join->wake, &join->mutex, ask_us < end_us ? ask_us : end_us);
    }
    pthread_mutex_unlock(&join->mutex);
}

static kvp_status join_result(struct join *join, const kvp_node_options *options, char *message,
                              size_t size)
{
    struct kvp_executor_config *config = &join->node->config;
    if (join->found) {
        kvp_executor_take_members(config, &join->list);
        kvp_log(&join->node->logger, KVP_LOG_INFO, "joins", "members=%u", join->list.count);
        return KVP_OK;
    }
    if (message != NULL && size > 0 && join->unlisted) {
        snprintf(
            message, size,
            "node %u is no member of the group at %s: 'kvcli --nodes %s member add %u %s' lets "
            "it in",
            config->core.self, join->unlisted_url, join->unlisted_url, config->core.self,
            config->url[0] != '\0' ? config->url : options->listen);
    } else if (message != NULL && size > 0) {
        snprintf(message, size, "no node of the group has answered (--join %s): %s", options->join,
                 join->failure != NULL ? join->failure : "nobody is there");
    }
    return join->unlisted ? KVP_NOT_FOUND : KVP_UNAVAILABLE;
}

kvp_status node_join(struct kvp_node *node, const kvp_node_options *options, char *message,
                     size_t size)
{
    static const char empty[] = "an address of the group is needed";
    struct join *join = calloc(1, sizeof(*join));
    if (join == NULL) {
        return KVP_NO_MEMORY;
    }
    join->node = node;
    pthread_mutex_init(&join->mutex, NULL);
    node_init_cond(&join->wake);
    kvp_status status = join_open(join, options->join, message, size);
    if (status == KVP_OK && join->count == 0) {
        status = node_say(message, size, KVP_BAD_ARGUMENT, empty);
    }
    if (status == KVP_OK) {
        join_wait(join);
    }
    for (unsigned i = 0; i < join->count; i++) {
        kvp_net_link_close(join->links[i].link);
    }
    if (status == KVP_OK) {
        status = join_result(join, options, message, size);
    }
    pthread_cond_destroy(&join->wake);
    pthread_mutex_destroy(&join->mutex);
    free(join);
    return status;
}
