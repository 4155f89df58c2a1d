/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as kvnode's configuration file. What is taken must come back the same when it is
 * written down in its plainest form. What it comes to is judged as it is when a node is opened.
 */
#include "tests/fuzz/fuzz.h"
#include "replication/node/kvnode_settings.h"
#include "replication/node/node_state.h"

#include <stdlib.h>
#include <string.h>

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

static bool read_bytes(struct kvnode_settings *settings, const void *data, size_t size)
{
    char message[2 * KVNODE_TEXT_MAX] = "";
    FILE *file = size > 0 ? fmemopen((void *)data, size, "r") : fopen("/dev/null", "r");

    must(file != NULL, "no file");
    memset(settings, 0, sizeof(*settings));
    bool good = kvnode_settings_read(settings, "file", file, message, sizeof(message));
    must(good == (message[0] == '\0'), "refused without a reason, or taken with one");
    (void)fclose(file);
    return good;
}

/* Each of the settings that have a value, once. */
static size_t write_down(const struct kvnode_settings *settings, char *text, size_t size)
{
    bool written[SETTINGS] = {false};
    size_t used = 0;
    for (const struct option *option = kvnode_options; option->name != NULL; option++) {
        const char *value = option->val == SET_PEER ? settings->peers : settings->text[option->val];
        if (*value != '\0' && !written[option->val]) {
            used += (size_t)snprintf(text + used, size - used, "%s=%s\n", option->name, value);
            must(used < size, "longer than all values together");
            written[option->val] = true;
        }
    }
    return used;
}

static void check_same(const struct kvnode_settings *one, const struct kvnode_settings *other)
{
    for (int which = 0; which < SETTINGS; which++) {
        must(memchr(one->text[which], '\0', KVNODE_TEXT_MAX) != NULL, "a value without an end");
        must(strcmp(one->text[which], other->text[which]) == 0, "another value");
    }
    must(memchr(one->peers, '\0', KVNODE_PEERS_MAX) != NULL, "peers without an end");
    must(strcmp(one->peers, other->peers) == 0, "other peers");
}

static void check_configured(const struct kvp_node *node)
{
    const struct kvp_executor_config *config = &node->config;
    must(config->peer_count < KVP_NODES_MAX, "too many nodes");
    must(config->core.self >= 1 && config->core.self <= KVP_NODE_ID_MAX, "an id out of range");
    must(kvp_set_count(config->core.nodes) == config->peer_count + 1, "nodes counted twice");
    for (unsigned i = 0; i < config->peer_count; i++) {
        const struct kvp_executor_peer *peer = &config->peers[i];
        must(peer->url[0] != '\0' && memchr(peer->url, '\0', sizeof(peer->url)) != NULL, "a URL");
    }
    must(config->core.heartbeat_us < config->core.lease_us &&
             config->core.lease_us < config->core.grace_us,
         "times that do not rise");
}

static void judge(const struct kvnode_settings *settings)
{
    static struct kvp_node node;
    char message[2 * KVNODE_TEXT_MAX] = "";
    kvp_node_options options;
    kvp_node_options_init(&options);
    bool good = kvnode_settings_fill(settings, &options, message, sizeof(message));
    must(good == (message[0] == '\0'), "refused without a reason, or taken with one");
    if (good) {
        memset(&node, 0, sizeof(node));
        good = node_configure(&node, &options, message, sizeof(message)) == KVP_OK;
        must(good == (message[0] == '\0'), "refused without a reason, or taken with one");
        if (good) {
            check_configured(&node);
        }
        kvp_address_list_free(node.peer_addresses);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct kvnode_settings settings, again;
    static char text[SETTINGS * (KVNODE_TEXT_MAX + 32) + KVNODE_PEERS_MAX];
    if (read_bytes(&settings, data, size)) {
        must(read_bytes(&again, text, write_down(&settings, text, sizeof(text))),
             "what was taken is refused");
        check_same(&settings, &again);
        judge(&settings);
    }
    return 0;
}
