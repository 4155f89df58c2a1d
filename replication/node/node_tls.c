/* SPDX-License-Identifier: Apache-2.0 */
/* The node's certificate: loaded, loaded anew, watched; and who may say what by his. */
#include "replication/access/access.h"
#include "replication/node/node_state.h"
#include "replication/net/tls.h"

#include <stdio.h>
#include <string.h>

#define LOOK_EVERY_US UINT64_C(3600000000)

static bool node_wants_tls(const struct kvp_node *node, const kvp_node_options *options)
{
    bool wants = kvp_tls_is_url(options->listen) ||
                 (options->witness != NULL && kvp_tls_is_url(options->witness));
    for (unsigned i = 0; i < node->config.peer_count; i++) {
        wants = wants || kvp_tls_is_url(node->config.peers[i].url);
    }
    return wants;
}

kvp_status node_tls_open(struct kvp_node *node, const kvp_node_options *options, char *message,
                         size_t size)
{
    const struct kvp_tls_files files = {.cert = options->tls_cert,
                                        .key = options->tls_key,
                                        .ca = options->tls_ca,
                                        .min = options->tls_min};
    if (!kvp_tls_is_named(&files) && !node_wants_tls(node, options)) {
        return KVP_OK;
    }
    return kvp_tls.open(&files, &node->tls, message, size);
}

kvp_status kvp_node_reload_certificates(kvp_node *node, char *message, size_t message_size)
{
    char reason[2 * KVP_URL_SIZE_MAX] = "", quoted[4 * KVP_URL_SIZE_MAX];
    if (node == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    if (node->tls == NULL) {
        return KVP_OK;
    }
    kvp_status status = kvp_tls.reload(node->tls, reason, sizeof(reason));
    if (status == KVP_OK) {
        kvp_log(&node->logger, KVP_LOG_INFO, "certificate_loaded", "ends=%lld",
                (long long)kvp_tls.not_after(node->tls));
    } else {
        kvp_log(&node->logger, KVP_LOG_ERROR, "certificate_kept", "reason=%s",
                kvp_log_quote(quoted, sizeof(quoted), reason));
    }
    if (message != NULL && message_size > 0) {
        snprintf(message, message_size, "%s", reason);
    }
    return status;
}

void node_tls_watch(struct kvp_node *node, uint64_t now_us)
{
    if (node->tls != NULL && now_us >= node->tls_look_us) {
        node->tls_look_us = now_us + LOOK_EVERY_US;
        kvp_tls_expiry_watch(&node->tls_expiry, &node->logger, kvp_tls.not_after(node->tls));
    }
}

const struct kvp_identity *node_tls_asker(const struct kvp_node *node,
                                          const struct kvp_net_request *request)
{
    const char *group = node->config.group;
    return kvp_net_request_identity(request, kvp_slice_of(group, strlen(group)));
}

const char *node_tls_refuses(const struct kvp_node *node, const struct kvp_net_request *request,
                             bool peer_op)
{
    const struct kvp_access_asker asker = {.identity = node_tls_asker(node, request)};
    struct kvp_access_question question = {.op = KVP_OP_HELLO}; /* more is the loop's to ask */
    unsigned version;
    if (peer_op) {
        (void)kvp_wire_peek(kvp_net_request_body(request), &version, &question.op);
        (void)kvp_wire_peek_sender(kvp_net_request_body(request), &question.from);
    }
    enum kvp_access_lack lack = kvp_access_lacks(&asker, &question);
    bool passes = lack == KVP_ACCESS_GRANTED || lack == KVP_LACKS_OPERATION; /* it is told so */
    return passes ? NULL : kvp_access_text(lack);
}
