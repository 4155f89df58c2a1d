/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of a group's members. */
#include "client/client_priv.h"
#include "replication/wire/members.h"

#include <string.h>

static kvp_status client_members_change(kvp_client *client, struct kvp_member_args change,
                                        const char *url, kvp_result *result)
{
    struct call call = {.core = {.request = {.op = KVP_OP_MEMBER_CHANGE, .member = change},
                                 .route = CLIENT_TO_PRIMARY,
                                 .update = true}};
    bool named = change.what == KVP_MEMBER_REMOVE || url != NULL;
    kvp_status status = client_require(client != NULL && named, result);
    if (status != KVP_OK) {
        return status;
    }
    if (change.id < 1 || change.id > KVP_NODE_ID_MAX || change.new_id > KVP_NODE_ID_MAX) {
        return client_refuse(result, KVP_BAD_ARGUMENT, "a node's id is 1 to 63");
    }
    if (url != NULL && strlen(url) > KVP_URL_SIZE_MAX) {
        return client_refuse(result, KVP_BAD_ARGUMENT, "an address is at most 256 bytes long");
    }
    call.core.request.key = kvp_slice_of(url, url != NULL ? strlen(url) : 0);
    status = client_perform(client, &call, 0);
    client_gather(&call, result);
    return status;
}

kvp_status kvp_member_add(kvp_client *client, unsigned id, const char *url, kvp_result *result)
{
    const struct kvp_member_args change = {KVP_MEMBER_ADD, id, 0, KVP_MEMBER_DATA};
    return client_members_change(client, change, url, result);
}

kvp_status kvp_member_remove(kvp_client *client, unsigned id, kvp_result *result)
{
    const struct kvp_member_args change = {KVP_MEMBER_REMOVE, id, 0, 0};
    return client_members_change(client, change, NULL, result);
}

kvp_status kvp_member_replace(kvp_client *client, unsigned old_id, unsigned id, const char *url,
                              kvp_result *result)
{
    const struct kvp_member_args change = {KVP_MEMBER_REPLACE, old_id, id, 0};
    return client_members_change(client, change, url, result);
}

kvp_status kvp_member_move(kvp_client *client, unsigned id, const char *url, kvp_result *result)
{
    const struct kvp_member_args change = {KVP_MEMBER_MOVE, id, 0, 0};
    return client_members_change(client, change, url, result);
}
