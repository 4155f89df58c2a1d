/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/access/access.h"
#include "replication/witness/witness_access.h"
#include "replication/wire/wire.h"

#include <string.h>

#define WITNESS_ACCESS_ADDRESS                                                                     \
    "changes of a register are taken from the addresses that --allow names, and yours is none of " \
    "them"
#define WITNESS_ACCESS_IDENTITY                                                                    \
    "a register is that of its group's nodes: your certificate is not that of the node in whose "  \
    "name you ask"

/* The list of the group; made if there is none. */
static kvp_status access_find(struct witness_access *access, const char *name, size_t size,
                              struct kvp_address_list **list)
{
    if (size > KVP_GROUP_NAME_MAX) {
        return KVP_BAD_ARGUMENT;
    }
    for (size_t i = 0; i < access->count; i++) {
        if (strlen(access->groups[i].name) == size &&
            memcmp(access->groups[i].name, name, size) == 0) {
            *list = access->groups[i].list;
            return KVP_OK;
        }
    }
    if (access->count == WITNESS_ACCESS_GROUPS_MAX) {
        return KVP_TOO_LARGE;
    }
    *list = kvp_address_list_new();
    if (*list == NULL) {
        return KVP_NO_MEMORY;
    }
    memcpy(access->groups[access->count].name, name, size);
    access->groups[access->count++].list = *list;
    return KVP_OK;
}

kvp_status witness_access_add(struct witness_access *access, const char *text)
{
    const char *equals = strrchr(text, '=');
    const char *addresses = equals != NULL ? equals + 1 : text;
    struct kvp_address_list *list = NULL;
    if (*addresses == '\0' || equals == text) {
        return KVP_BAD_ARGUMENT;
    }
    if (access->all == NULL) {
        access->all = kvp_address_list_new();
        if (access->all == NULL) {
            return KVP_NO_MEMORY;
        }
    }
    kvp_status status =
        access_find(access, text, equals != NULL ? (size_t)(equals - text) : 0, &list);
    if (status == KVP_OK) {
        status = kvp_address_list_add_all(list, addresses);
    }
    return status == KVP_OK ? kvp_address_list_add_all(access->all, addresses) : status;
}

kvp_status witness_access_start(struct witness_access *access)
{
    kvp_status status = access->all != NULL ? kvp_address_list_start(access->all) : KVP_OK;
    for (size_t i = 0; i < access->count && status == KVP_OK; i++) {
        status = kvp_address_list_start(access->groups[i].list);
    }
    return status;
}

static bool access_has(const struct witness_access *access, kvp_slice group,
                       const struct kvp_net_request *request)
{
    bool found = false;
    for (size_t i = 0; i < access->count && !found; i++) {
        const char *name = access->groups[i].name;
        bool applies = name[0] == '\0' ||
                       (strlen(name) == group.size && memcmp(name, group.data, group.size) == 0);
        found = applies && kvp_net_request_is_from(request, access->groups[i].list);
    }
    return found;
}

static bool access_is_node(const struct kvp_net_request *request,
                           const struct kvp_witness_request *asked)
{
    const struct kvp_access_asker asker = {.identity =
                                               kvp_net_request_identity(request, asked->group)};
    const struct kvp_access_question question = {.op = asked->op, .from = asked->from};
    return kvp_access_lacks(&asker, &question) == KVP_ACCESS_GRANTED;
}

const char *witness_access_refuses(const struct witness_access *access,
                                   struct kvp_net_request *request)
{
    struct kvp_witness_request asked;
    const char *reason;
    (void)kvp_net_request_from_peer(request); /* its connection does not give way to others */
    if (kvp_wire_witness_decode(kvp_net_request_body(request), &asked, &reason) != KVP_OK) {
        return NULL; /* what is malformed is answered as such */
    }
    if (kvp_net_request_is_tls(request)) {
        return access_is_node(request, &asked) ? NULL : WITNESS_ACCESS_IDENTITY;
    }
    bool permitted = access->count == 0 || asked.op == KVP_OP_REGISTER_GET ||
                     access_has(access, asked.group, request);
    return permitted ? NULL : WITNESS_ACCESS_ADDRESS;
}

void witness_access_free(struct witness_access *access)
{
    kvp_address_list_free(access->all);
    for (size_t i = 0; i < access->count; i++) {
        kvp_address_list_free(access->groups[i].list);
    }
    memset(access, 0, sizeof(*access));
}
