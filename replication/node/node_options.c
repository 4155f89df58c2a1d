/* SPDX-License-Identifier: Apache-2.0 */
/* Options of a node: defaults, checks, and what to say about wrong ones. */
#include "kvstore/base/options.h"
#include "kvstore/base/utf8.h"
#include "replication/access/access.h"
#include "replication/node/node_state.h"
#include "replication/net/sp_address.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_SIZE_FIRST offsetof(kvp_node_options, peer_from) /* in release 0.1.0 */

void kvp_node_options_init_sized(kvp_node_options *options, size_t size)
{
    if (options != NULL && size >= OPTIONS_SIZE_FIRST) {
        memset(options, 0, size);
        options->size = size;
        options->log_level = KVP_LOG_INFO;
    }
}

/* What programs call that were built for 0.1.0: theirs is a macro since, which tells their size. */
#undef kvp_node_options_init
KVP_API void kvp_node_options_init(kvp_node_options *options);
void kvp_node_options_init(kvp_node_options *options)
{
    kvp_node_options_init_sized(options, OPTIONS_SIZE_FIRST);
}

kvp_status node_options_take(kvp_node_options *known, const kvp_node_options *options,
                             char *message, size_t message_size)
{
    return kvp_options_take(known, sizeof(*known), options, OPTIONS_SIZE_FIRST,
                            "kvp_node_options_init", message, message_size);
}

struct complaint {
    char *message;
    size_t size;
};

static kvp_status options_refuse(const struct complaint *complaint, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static kvp_status options_refuse(const struct complaint *complaint, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (complaint->message != NULL) {
        vsnprintf(complaint->message, complaint->size, format, args);
    }
    va_end(args);
    return KVP_BAD_ARGUMENT;
}

static bool copy(char *to, size_t size, const char *from)
{
    return (size_t)snprintf(to, size, "%s", from) < size;
}

static kvp_status add_peer(struct kvp_node *node, const char *item, size_t size,
                           const struct complaint *complaint)
{
    char text[KVP_URL_SIZE_MAX + 8];
    if (size >= sizeof(text)) {
        return options_refuse(complaint, "peer address too long: %.*s", (int)size, item);
    }
    memcpy(text, item, size);
    text[size] = '\0';
    char *url = NULL;
    errno = 0;
    unsigned long id = strtoul(text, &url, 10);
    if (url == text || *url != '=' || url[1] == '\0' || errno != 0) {
        return options_refuse(complaint, "peer \"%s\" is not of the form ID=URL", text);
    }
    if (id < 1 || id > KVP_NODE_ID_MAX) {
        return options_refuse(complaint, "peer id %lu is not in 1..%u", id, KVP_NODE_ID_MAX);
    }
    struct kvp_executor_config *config = &node->config;
    if (kvp_set_has(config->core.nodes, (unsigned)id)) {
        return options_refuse(complaint, "node id %lu is given twice", id);
    }
    if (config->peer_count + 1 >= KVP_NODES_MAX) {
        return options_refuse(complaint, "a group has at most %u nodes", KVP_NODES_MAX);
    }
    struct kvp_executor_peer *peer = &config->peers[config->peer_count++];
    peer->id = (uint8_t)id;
    config->core.nodes |= kvp_set_of((unsigned)id);
    return copy(peer->url, sizeof(peer->url), url + 1)
               ? KVP_OK
               : options_refuse(complaint, "peer address too long: %s", text);
}

static kvp_status parse_peers(struct kvp_node *node, const char *peers,
                              const struct complaint *complaint)
{
    while (peers != NULL && *peers) {
        size_t size = strcspn(peers, ",");
        kvp_status status = add_peer(node, peers, size, complaint);
        if (status != KVP_OK) {
            return status;
        }
        peers += size + (peers[size] == ',');
    }
    return KVP_OK;
}

kvp_status node_options_addresses(const struct kvp_node *node,
                                  const struct kvp_executor_peer *peers, unsigned count,
                                  struct kvp_address_list **list, const char **wrong)
{
    struct kvp_address_list *made = kvp_address_list_new();
    kvp_status status = made != NULL ? KVP_OK : KVP_NO_MEMORY;
    *wrong = NULL;
    for (unsigned i = 0; i < count && status == KVP_OK; i++) {
        status = kvp_address_list_add(made, kvp_slice_of(peers[i].url, strlen(peers[i].url)));
        *wrong = peers[i].url;
    }
    if (status == KVP_OK && node->peer_from[0] != '\0') {
        status = kvp_address_list_add_all(made, node->peer_from);
        *wrong = node->peer_from;
    }
    if (status != KVP_OK) {
        kvp_address_list_free(made);
        return status == KVP_NO_MEMORY ? status : KVP_BAD_ARGUMENT;
    }
    *list = made;
    return KVP_OK;
}

/* Whoever may say what peers say: names are looked up later. */
static kvp_status list_peers(struct kvp_node *node, const char *peer_from,
                             const struct complaint *complaint)
{
    const char *wrong = NULL;
    if (peer_from != NULL && !copy(node->peer_from, sizeof(node->peer_from), peer_from)) {
        return options_refuse(complaint, "too many addresses (--peer-from)");
    }
    kvp_status status = node_options_addresses(node, node->config.peers, node->config.peer_count,
                                               &node->peer_addresses, &wrong);
    if (status == KVP_BAD_ARGUMENT && wrong == node->peer_from) {
        return options_refuse(complaint,
                              "\"%s\" is no list of addresses, networks and host names, and not "
                              "\"any\" (--peer-from)",
                              peer_from);
    }
    for (unsigned i = 0; status == KVP_BAD_ARGUMENT && i < node->config.peer_count; i++) {
        if (wrong == node->config.peers[i].url) {
            return options_refuse(
                complaint,
                "peer %u: %s is not of the form tcp://HOST:PORT, with a PORT of 1 to 65535",
                node->config.peers[i].id, wrong);
        }
    }
    return status;
}

static bool is_own(const kvp_node_options *options, const char *url)
{
    return strcmp(url, options->listen) == 0 ||
           (options->advertise != NULL && strcmp(url, options->advertise) == 0);
}

/* A node that takes itself for another one. */
static kvp_status check_own(const struct kvp_node *node, const kvp_node_options *options,
                            const struct complaint *complaint)
{
    for (unsigned i = 0; i < node->config.peer_count; i++) {
        const struct kvp_executor_peer *peer = &node->config.peers[i];
        if (is_own(options, peer->url)) {
            return options_refuse(complaint, "peer %u has this node's own address, %s", peer->id,
                                  peer->url);
        }
    }
    return options->witness != NULL && is_own(options, options->witness)
               ? options_refuse(complaint, "the witness has this node's own address, %s",
                                options->witness)
               : KVP_OK;
}

/* With what stands before it, less than 512 bytes: so much room is usual. */
static const char choice[] =
    "  witness            a third process (kvwitness URL) decides: safe, and the group survives a "
    "node. Recommended.\n"
    "  pair backup-wins   the backup takes over; a primary that loses it stops. Safe.\n"
    "  pair primary-wins  the primary goes on; a backup takes over on an operator's word. Safe.\n"
    "  pair available     both go on alone; what only one of them has is later set aside.";

static kvp_status choose_policy(const kvp_node_options *options, enum kvp_pair_policy *policy,
                                const struct complaint *complaint)
{
    for (unsigned i = KVP_PAIR_BACKUP_WINS; i <= KVP_PAIR_AVAILABLE; i++) {
        enum kvp_pair_policy each = (enum kvp_pair_policy)i;
        if (options->pair != NULL ? strcmp(options->pair, kvp_pair_policy_name(each)) == 0
                                  : options->policy == each) {
            *policy = each;
            return KVP_OK;
        }
    }
    return options->pair != NULL
               ? options_refuse(complaint, "unknown pair policy \"%s\"; choose one:\n%s",
                                options->pair, choice)
               : options_refuse(complaint, "unknown pair policy %u; choose one:\n%s",
                                (unsigned)options->policy, choice);
}

static kvp_status choose_arbiter(struct kvp_node *node, const kvp_node_options *options,
                                 const struct complaint *complaint)
{
    bool pair = options->pair != NULL || options->policy != KVP_PAIR_NONE;
    if (options->witness == NULL && !pair) {
        return options_refuse(
            complaint,
            "who decides when the nodes lose each other? Silence cannot tell a crash from "
            "a cut, so this has to be chosen, there is no default:\n%s",
            choice);
    }
    if (options->witness != NULL && pair) {
        return options_refuse(complaint, "a witness and a pair policy exclude each other");
    }
    if (options->witness != NULL) {
        return KVP_OK;
    }
    if (options->pair != NULL && options->policy != KVP_PAIR_NONE) {
        return options_refuse(complaint, "the pair policy is given twice, by name and by number");
    }
    kvp_status status = choose_policy(options, &node->config.core.policy, complaint);
    if (status != KVP_OK) {
        return status;
    }
    if (node->config.peer_count > 1) {
        return options_refuse(complaint,
                              "pair mode is for two nodes; %u are configured: use a witness",
                              node->config.peer_count + 1);
    }
    return KVP_OK;
}

/* Those who have every right. */
static kvp_status set_admins(struct kvp_node *node, const char *admins,
                             const struct complaint *complaint)
{
    for (const char *item = admins; item != NULL && *item; item += strcspn(item, ",")) {
        item += *item == ',';
        size_t size = strcspn(item, ",");
        if (!kvp_access_is_name(kvp_slice_of(item, size))) {
            return options_refuse(complaint,
                                  "an administrator is user/NAME, or another identity that a "
                                  "certificate can have: not \"%.*s\" (--admin)",
                                  (int)size, item);
        }
    }
    return admins == NULL || copy(node->config.admins, sizeof(node->config.admins), admins)
               ? KVP_OK
               : options_refuse(complaint, "too many administrators: grant \"admin\" to them");
}

static kvp_status set_times(struct kvp_node *node, const kvp_node_options *options,
                            const struct complaint *complaint)
{
    struct kvp_core_config *core = &node->config.core;
    uint64_t heartbeat_ms = options->heartbeat_ms ? options->heartbeat_ms : 100;
    uint64_t lease_ms = options->lease_ms ? options->lease_ms : 400;
    uint64_t grace_ms = options->grace_ms ? options->grace_ms : 500;
    uint64_t sync_ms = options->sync_timeout_ms ? options->sync_timeout_ms : 2000;
    if (heartbeat_ms >= lease_ms || lease_ms >= grace_ms || grace_ms > 3600000) {
        return options_refuse(
            complaint, "times must rise: heartbeat (%llu ms) < lease (%llu ms) < grace (%llu ms)",
            (unsigned long long)heartbeat_ms, (unsigned long long)lease_ms,
            (unsigned long long)grace_ms);
    }
    core->heartbeat_us = heartbeat_ms * 1000;
    core->lease_us = lease_ms * 1000;
    core->grace_us = grace_ms * 1000;
    core->sync_timeout_us = sync_ms * 1000;
    return KVP_OK;
}

/* An address that only its own machine could make use of. */
static bool is_wildcard(const char *url)
{
    struct sp_address address;
    return sp_address_parse(url, &address) == KVP_OK && address.kind == SP_ADDRESS_TCP &&
           (address.name[0] == '\0' || strcmp(address.name, "0.0.0.0") == 0 ||
            strcmp(address.name, "::") == 0);
}

static kvp_status set_names(struct kvp_node *node, const kvp_node_options *options,
                            const struct complaint *complaint)
{
    const char *group = options->group != NULL ? options->group : "default";
    if (options->id < 1 || options->id > KVP_NODE_ID_MAX) {
        return options_refuse(complaint, "the node's id must be in 1..%u", KVP_NODE_ID_MAX);
    }
    if (options->data_dir == NULL || !*options->data_dir) {
        return options_refuse(complaint, "a data directory must be given");
    }
    if (options->listen == NULL || !*options->listen) {
        return options_refuse(complaint, "an address to listen on must be given");
    }
    if (!*group || !copy(node->config.group, sizeof(node->config.group), group)) {
        return options_refuse(complaint, "a group's name is 1 to %u bytes long",
                              KVP_GROUP_NAME_MAX);
    }
    if (!kvp_utf8_is_valid(kvp_slice_of(group, strlen(group)))) {
        return options_refuse(complaint,
                              "a group's name is UTF-8: clients could not send this one");
    }
    if (options->advertise == NULL && is_wildcard(options->listen)) {
        return options_refuse(complaint,
                              "'%s' stands for all addresses: give the one that clients use, too "
                              "(--advertise)",
                              options->listen);
    }
    if (options->advertise != NULL &&
        !copy(node->config.url, sizeof(node->config.url), options->advertise)) {
        return options_refuse(complaint, "the advertised address is too long");
    }
    if (options->fence_command != NULL &&
        !copy(node->fence_command, sizeof(node->fence_command), options->fence_command)) {
        return options_refuse(complaint, "the fence command is too long");
    }
    return KVP_OK;
}

kvp_status node_configure(struct kvp_node *node, const kvp_node_options *options, char *message,
                          size_t message_size)
{
    struct complaint complaint = {message, message_size};
    struct kvp_core_config *core = &node->config.core;
    if ((unsigned)options->log_level > KVP_LOG_DEBUG) {
        return options_refuse(&complaint, "unknown log level %u: they are 0 (error) to 3 (debug)",
                              (unsigned)options->log_level);
    }
    kvp_status status = set_names(node, options, &complaint);
    if (status != KVP_OK) {
        return status;
    }
    core->self = (uint8_t)options->id;
    core->nodes = kvp_set_of(options->id);
    core->fence = options->fence_command != NULL;
    node->quarantine.count =
        options->quarantine_stores ? options->quarantine_stores : KVP_QUARANTINE_COUNT;
    node->quarantine.size =
        options->quarantine_size_max ? options->quarantine_size_max : KVP_QUARANTINE_SIZE;
    if (node->quarantine.count > KVP_QUARANTINE_COUNT_MAX) {
        return options_refuse(&complaint, "at most %u stores are kept beside the data",
                              KVP_QUARANTINE_COUNT_MAX);
    }
    core->log_size_max = options->log_size_max ? options->log_size_max : 64u << 20;
    core->cache_size_max = core->log_size_max < (32u << 20) ? core->log_size_max : 32u << 20;
    core->random = kvp_random_u64();
    core->secret = kvp_random_u64();
    node->config.jobs.verify_size_max = options->verify_size_max;
    status = parse_peers(node, options->peers, &complaint);
    if (status == KVP_OK) {
        status = list_peers(node, options->peer_from, &complaint);
    }
    if (status == KVP_OK && options->join != NULL && node->config.peer_count > 0) {
        status = options_refuse(&complaint, "a node that joins is told of the others by the group: "
                                            "either the one or the other (--join, --peer)");
    }
    if (status == KVP_OK) {
        status = check_own(node, options, &complaint);
    }
    if (status == KVP_OK) {
        status = set_admins(node, options->admins, &complaint);
    }
    if (status == KVP_OK) {
        status = choose_arbiter(node, options, &complaint);
    }
    if (status == KVP_OK) {
        status = set_times(node, options, &complaint);
    }
    if (status == KVP_OK && options->join == NULL &&
        options->sync_replicas > node->config.peer_count + 1) {
        status = options_refuse(&complaint,
                                "%u replicas are wanted in sync, but there are only %u nodes",
                                options->sync_replicas, node->config.peer_count + 1);
    }
    if (status == KVP_OK && options->witness != NULL &&
        !copy(node->config.arbiter_url, sizeof(node->config.arbiter_url), options->witness)) {
        status = options_refuse(&complaint, "the witness's address is too long");
    }
    core->sync_replicas = options->sync_replicas;
    node->timeout_ms = options->timeout_ms ? options->timeout_ms : 5000;
    node->on_log = options->on_log;
    node->on_change = options->on_change;
    node->arg = options->arg;
    node->logger.level = options->log_level;
    node->logger.node_id = options->id;
    return status;
}
