/* SPDX-License-Identifier: Apache-2.0 */
/* What all nodes of a group should have been told alike, as one number that can be compared. */
#include "replication/node/exec_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static const char *digest_url(const struct kvp_executor_config *config, unsigned id)
{
    for (unsigned i = 0; i < config->peer_count; i++) {
        if (config->peers[i].id == id) {
            return config->peers[i].url;
        }
    }
    return config->url; /* it is this node */
}

static uint64_t digest_text(uint64_t digest, const char *text)
{
    return XXH64(text, strlen(text) + 1, digest);
}

static uint64_t digest_numbers(uint64_t digest, const struct kvp_executor_config *config)
{
    const struct kvp_core_config *core = &config->core;
    unsigned replicas = core->sync_replicas ? core->sync_replicas : config->peer_count + 1;
    char text[256];
    (void)snprintf(text, sizeof(text),
                   "%d %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
                   (int)core->policy, replicas, core->heartbeat_us, core->lease_us, core->grace_us,
                   core->sync_timeout_us, core->log_size_max,
                   (uint64_t)config->jobs.verify_size_max);
    return digest_text(digest, text);
}

void exec_digest(const struct kvp_executor_config *config, char text[EXEC_DIGEST_SIZE])
{
    uint64_t digest = digest_text(0, config->group);
    digest = digest_text(digest, config->arbiter_url);
    digest = digest_numbers(digest, config);
    for (unsigned id = 1; id <= KVP_NODE_ID_MAX; id++) {
        if (kvp_set_has(config->core.nodes, id)) {
            char member[16];
            (void)snprintf(member, sizeof(member), "%u=", id);
            digest = digest_text(digest_text(digest, member), digest_url(config, id));
        }
    }
    (void)snprintf(text, EXEC_DIGEST_SIZE, "%016" PRIx64, digest);
}
