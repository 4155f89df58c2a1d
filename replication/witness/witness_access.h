/* SPDX-License-Identifier: Apache-2.0 */
/* From whom a witness takes changes of a group's register. */
#ifndef KVP_WITNESS_ACCESS_H
#define KVP_WITNESS_ACCESS_H

#include "replication/net/address_list.h"
#include "replication/net/net.h"

#define WITNESS_ACCESS_GROUPS_MAX 64u

struct witness_access {
    struct kvp_address_list *all; /* whoever may change a register of some group */
    struct {
        char name[KVP_GROUP_NAME_MAX + 1]; /* "": any group */
        struct kvp_address_list *list;
    } groups[WITNESS_ACCESS_GROUPS_MAX];
    size_t count; /* 0: everybody may change every register */
};

/* Takes [GROUP=]LIST, as --allow has it. KVP_BAD_ARGUMENT, KVP_TOO_LARGE, KVP_NO_MEMORY. */
kvp_status witness_access_add(struct witness_access *access, const char *text);
/* Begins to look host names up. */
kvp_status witness_access_start(struct witness_access *access);
/* Why the sender of this message may not do what it asks for; NULL: he may. Over TLS a register is
 * its group's nodes', each of which speaks for itself; else addresses count. Static. */
const char *witness_access_refuses(const struct witness_access *access,
                                   struct kvp_net_request *request);
void witness_access_free(struct witness_access *access);

#endif
