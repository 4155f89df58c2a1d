/* SPDX-License-Identifier: Apache-2.0 */
/* The arbiter that is a kvwitness: one link, the wire's witness messages. */
#include "replication/core/arbiter.h"

#include "replication/net/net.h"
#include "replication/wire/wire.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_ID 0x7fffffffu /* the core counts its requests from 1 */
#define STALL_MS 1000u       /* of a connection that swallows what is sent */

struct witness_arbiter {
    struct kvp_arbiter base;
    struct kvp_arbiter_config config;
    pthread_mutex_t lock; /* held while the link is made: it may come up before it is known */
    struct kvp_net_link *link;
};

kvp_status kvp_arbiter_witness_encode(const struct kvp_arbiter_request *request, const char *group,
                                      unsigned node_id, kvp_buf *out)
{
    static const unsigned ops[] = {
        [KVP_ARBITER_GET] = KVP_OP_REGISTER_GET,
        [KVP_ARBITER_CLAIM] = KVP_OP_REGISTER_CLAIM,
        [KVP_ARBITER_CAS] = KVP_OP_REGISTER_CAS,
        [KVP_ARBITER_SEED] = KVP_OP_REGISTER_SEED,
    };
    struct kvp_witness_request message = {
        .op = ops[request->op],
        .group = kvp_slice_of(group, strlen(group)),
        .epoch = request->view.epoch,
        .from = node_id,
        .group_id = request->group_id,
        .expected = request->expected,
        .view = request->view,
        .force = request->force,
        .numbers = request->numbers,
    };
    return kvp_wire_witness_encode(&message, out);
}

kvp_status kvp_arbiter_witness_decode(kvp_slice body, uint32_t id,
                                      struct kvp_arbiter_answer *answer)
{
    struct kvp_answer message;
    struct kvp_arbiter_answer decoded = {.id = id};
    kvp_status status = kvp_wire_answer_decode(body, &message);
    if (status != KVP_OK) {
        return status;
    }
    decoded.status = (kvp_status)message.status;
    bool shows = decoded.status == KVP_OK || decoded.status == KVP_STALE_VIEW ||
                 decoded.status == KVP_REFUSED;
    status =
        kvp_wire_read_register(message.result, &decoded.group_id, &decoded.view, &decoded.known);
    if (shows && status != KVP_OK && decoded.status != KVP_REFUSED) {
        return status;
    }
    *answer = decoded;
    return KVP_OK;
}

/* What is asked when the connection comes up tells who listens there, and nothing about the group.
 */
static void take_probe(struct kvp_arbiter_answer *answer)
{
    bool wrong = answer->status == KVP_BAD_OP || answer->status == KVP_BAD_VERSION ||
                 (answer->status == KVP_REFUSED && answer->view.version == 0);
    *answer =
        (struct kvp_arbiter_answer){.id = PROBE_ID, .status = wrong ? answer->status : KVP_OK};
}

static void arbiter_on_answer(void *arg, uint32_t id, kvp_slice body)
{
    struct witness_arbiter *arbiter = arg;
    struct kvp_arbiter_answer answer;
    if (kvp_arbiter_witness_decode(body, id, &answer) == KVP_OK) {
        if (id == PROBE_ID) {
            take_probe(&answer);
        }
        arbiter->config.on_answer(arbiter->config.arg, &answer);
    }
}

static void arbiter_on_failure(void *arg, const char *reason)
{
    struct witness_arbiter *arbiter = arg;
    if (arbiter->config.on_failure != NULL) {
        arbiter->config.on_failure(arbiter->config.arg, reason);
    }
}

static void arbiter_ask(struct kvp_arbiter *base, const struct kvp_arbiter_request *request)
{
    struct witness_arbiter *arbiter = (struct witness_arbiter *)base;
    kvp_buf body = {0};
    if (kvp_arbiter_witness_encode(request, arbiter->config.group, arbiter->config.node_id,
                                   &body) == KVP_OK) {
        kvp_net_link_send(arbiter->link, request->id, kvp_buf_slice(&body));
    }
    kvp_buf_free(&body);
}

static void arbiter_on_state(void *arg, bool connected)
{
    struct witness_arbiter *arbiter = arg;
    const struct kvp_arbiter_request probe = {.op = KVP_ARBITER_GET, .id = PROBE_ID};
    if (connected) {
        pthread_mutex_lock(&arbiter->lock);
        arbiter_ask(&arbiter->base, &probe);
        pthread_mutex_unlock(&arbiter->lock);
    }
}

static void close_arbiter(struct kvp_arbiter *base)
{
    struct witness_arbiter *arbiter = (struct witness_arbiter *)base;
    kvp_net_link_close(arbiter->link);
    pthread_mutex_destroy(&arbiter->lock);
    free(arbiter);
}

kvp_status kvp_arbiter_witness_open(const struct kvp_arbiter_config *config,
                                    struct kvp_arbiter **arbiter)
{
    static const struct kvp_arbiter_ops ops = {arbiter_ask, close_arbiter};
    struct witness_arbiter *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return KVP_NO_MEMORY;
    }
    made->base.ops = &ops;
    made->config = *config;
    struct kvp_net_link_config link = {
        .url = config->url,
        .tls = config->tls,
        .peer_kind = KVP_IDENTITY_WITNESS,
        .peer_group = config->group,
        .stall_ms = STALL_MS,
        .on_answer = arbiter_on_answer,
        .on_state = arbiter_on_state,
        .on_failure = arbiter_on_failure,
        .arg = made,
    };
    pthread_mutex_init(&made->lock, NULL);
    pthread_mutex_lock(&made->lock);
    kvp_status status = kvp_net_link_open(&link, &made->link);
    pthread_mutex_unlock(&made->lock);
    if (status != KVP_OK) {
        pthread_mutex_destroy(&made->lock);
        free(made);
        return status;
    }
    *arbiter = &made->base;
    return KVP_OK;
}
