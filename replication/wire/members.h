/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of members: which nodes a group has, and where they are. It is a record of the
 * replicated state, so that every node has it at the same point of the log, and a change of it is
 * an entry like others: it counts when it is committed. A group that nobody has changed at run time
 * has none: then each node's flags say who the others are.
 *
 * The record, version 1: {u8 1, u64 version, u8 count, {u8 id, u8 kind, u16 size, URL}*, u64
 * removed}; numbers little-endian, members by rising id. `removed` has a bit for each id that was a
 * member and is none any more.
 */
#ifndef KVP_MEMBERS_H
#define KVP_MEMBERS_H

#include "replication/wire/peer.h"

enum kvp_member_kind {
    KVP_MEMBER_DATA = 1, /* may be in the in-sync set */
};

/* What a change does; numbers are the wire's. */
enum kvp_member_what {
    KVP_MEMBER_ADD = 1, /* id, kind, URL */
    KVP_MEMBER_REMOVE,  /* id */
    KVP_MEMBER_REPLACE, /* id by new_id (which may be the same), URL */
    KVP_MEMBER_MOVE,    /* id, URL */
};

struct kvp_member {
    uint8_t id;
    uint8_t kind; /* enum kvp_member_kind */
    char url[KVP_URL_SIZE_MAX + 1];
};

struct kvp_members {
    uint64_t version; /* rises by one with each change; 0: there is no list */
    unsigned count;
    struct kvp_member all[KVP_NODES_MAX]; /* by rising id */
    kvp_node_set removed;
};

struct kvp_member_change {
    unsigned what; /* enum kvp_member_what */
    unsigned id, new_id, kind;
    kvp_slice url;
};

/* KVP_NO_MEMORY. */
kvp_status kvp_members_encode(const struct kvp_members *members, kvp_buf *out);
/* KVP_BAD_VERSION: of a newer release; KVP_CORRUPT. Then `members` is as it was. */
kvp_status kvp_members_decode(kvp_slice record, struct kvp_members *members);

/* NULL: it is none. */
const struct kvp_member *kvp_members_find(const struct kvp_members *members, unsigned id);
kvp_node_set kvp_members_set(const struct kvp_members *members);
/* Adds one that is not there; for making a list. KVP_TOO_LARGE, KVP_BAD_REQUEST (id, URL). */
kvp_status kvp_members_add(struct kvp_members *members, unsigned id, const char *url);

/* Carries the change out, and raises the version. Any other status than KVP_OK leaves the list as
 * it was, and *reason (static) tells people why: KVP_EXISTS, KVP_NOT_FOUND, KVP_BAD_REQUEST,
 * KVP_TOO_LARGE. */
kvp_status kvp_members_change(struct kvp_members *members, const struct kvp_member_change *change,
                              const char **reason);

#endif
