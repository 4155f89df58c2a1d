/* SPDX-License-Identifier: Apache-2.0 */
/* The list of members: to bytes and back, and what a change makes of it. */
#include "replication/wire/members.h"

#include "kvstore/keyspace.h"

#include <string.h>

#define MEMBERS_FORMAT 1u
#define MEMBERS_HEAD   10u
#define MEMBER_HEAD    4u

/* ---- bytes ---- */

kvp_status kvp_members_encode(const struct kvp_members *members, kvp_buf *out)
{
    uint8_t head[MEMBERS_HEAD] = {MEMBERS_FORMAT}, removed[8];
    kvp_put_u64(head + 1, members->version);
    head[9] = (uint8_t)members->count;
    kvp_status status = kvp_buf_append(out, head, sizeof(head));
    for (unsigned i = 0; i < members->count && status == KVP_OK; i++) {
        const struct kvp_member *member = &members->all[i];
        uint8_t each[MEMBER_HEAD] = {member->id, member->kind};
        size_t size = strlen(member->url);
        kvp_put_u16(each + 2, (uint16_t)size);
        status = kvp_buf_append(out, each, sizeof(each));
        if (status == KVP_OK) {
            status = kvp_buf_append(out, member->url, size);
        }
    }
    kvp_put_u64(removed, members->removed);
    return status == KVP_OK ? kvp_buf_append(out, removed, sizeof(removed)) : status;
}

static bool members_is_url(kvp_slice url)
{
    const char *text = url.data;
    bool has_scheme = false;
    if (url.size == 0 || url.size > KVP_URL_SIZE_MAX) {
        return false;
    }
    for (size_t i = 0; i < url.size; i++) {
        if (text[i] <= ' ' || text[i] > '~' || text[i] == ',' || text[i] == '"') {
            return false;
        }
        has_scheme = has_scheme || (i > 0 && i + 3 <= url.size && !memcmp(text + i, "://", 3));
    }
    return has_scheme;
}

static bool members_is_id(unsigned id)
{
    return id >= 1 && id <= KVP_NODE_ID_MAX;
}

/* Takes a member from `at`; the bytes that it has, 0: it is malformed. */
static size_t members_take(struct kvp_members *members, const uint8_t *at, size_t left)
{
    size_t size = left < MEMBER_HEAD ? 0 : kvp_get_u16(at + 2);
    unsigned before = members->count > 0 ? members->all[members->count - 1].id : 0;
    if (left < MEMBER_HEAD + size || !members_is_id(at[0]) || at[0] <= before ||
        at[1] != KVP_MEMBER_DATA || !members_is_url(kvp_slice_of(at + MEMBER_HEAD, size))) {
        return 0;
    }
    struct kvp_member *member = &members->all[members->count++];
    *member = (struct kvp_member){.id = at[0], .kind = at[1]};
    memcpy(member->url, at + MEMBER_HEAD, size);
    return MEMBER_HEAD + size;
}

kvp_status kvp_members_decode(kvp_slice record, struct kvp_members *members)
{
    const uint8_t *at = record.data;
    size_t left = record.size;
    if (left > 0 && at[0] != MEMBERS_FORMAT) {
        return KVP_BAD_VERSION;
    }
    if (left < MEMBERS_HEAD || at[9] > KVP_NODES_MAX) {
        return KVP_CORRUPT;
    }
    struct kvp_members read = {.version = kvp_get_u64(at + 1)};
    unsigned count = at[9];
    at += MEMBERS_HEAD;
    left -= MEMBERS_HEAD;
    while (read.count < count) {
        size_t size = members_take(&read, at, left);
        if (size == 0) {
            return KVP_CORRUPT;
        }
        at += size;
        left -= size;
    }
    if (left != sizeof(uint64_t) || read.version == 0 || read.version == UINT64_MAX || count == 0) {
        return KVP_CORRUPT;
    }
    read.removed = kvp_get_u64(at);
    if ((read.removed & (kvp_members_set(&read) | 1u)) != 0) {
        return KVP_CORRUPT;
    }
    *members = read;
    return KVP_OK;
}

/* ---- looking ---- */

static unsigned members_index(const struct kvp_members *members, unsigned id)
{
    unsigned i = 0;
    while (i < members->count && members->all[i].id != id) {
        i++;
    }
    return i;
}

const struct kvp_member *kvp_members_find(const struct kvp_members *members, unsigned id)
{
    unsigned index = members_index(members, id);
    return index < members->count ? &members->all[index] : NULL;
}

kvp_node_set kvp_members_set(const struct kvp_members *members)
{
    kvp_node_set set = 0;
    for (unsigned i = 0; i < members->count; i++) {
        set |= kvp_set_of(members->all[i].id);
    }
    return set;
}

/* ---- changing ---- */

static void members_insert(struct kvp_members *members, unsigned id, unsigned kind, kvp_slice url)
{
    unsigned at = members->count++;
    while (at > 0 && members->all[at - 1].id > id) {
        members->all[at] = members->all[at - 1];
        at--;
    }
    members->all[at] = (struct kvp_member){.id = (uint8_t)id, .kind = (uint8_t)kind};
    memcpy(members->all[at].url, url.data, url.size);
    members->removed &= ~kvp_set_of(id);
}

static void members_delete(struct kvp_members *members, unsigned id)
{
    unsigned at = members_index(members, id);
    memmove(&members->all[at], &members->all[at + 1],
            (members->count - at - 1) * sizeof(members->all[0]));
    members->count--;
    members->removed |= kvp_set_of(id);
}

kvp_status kvp_members_add(struct kvp_members *members, unsigned id, const char *url)
{
    kvp_slice text = kvp_slice_of(url, strlen(url));
    if (!members_is_id(id) || !members_is_url(text) || kvp_members_find(members, id) != NULL) {
        return KVP_BAD_REQUEST;
    }
    if (members->count == KVP_NODES_MAX) {
        return KVP_TOO_LARGE;
    }
    members_insert(members, id, KVP_MEMBER_DATA, text);
    return KVP_OK;
}

static bool members_has_url(const struct kvp_members *members, kvp_slice url, unsigned but)
{
    for (unsigned i = 0; i < members->count; i++) {
        const struct kvp_member *member = &members->all[i];
        if (member->id != but && strlen(member->url) == url.size &&
            memcmp(member->url, url.data, url.size) == 0) {
            return true;
        }
    }
    return false;
}

/* Can it be done? `others`: members beside the one that it is about. */
static kvp_status members_check(const struct kvp_members *members,
                                const struct kvp_member_change *change, const char **reason)
{
    bool adds = change->what == KVP_MEMBER_ADD;
    bool replaces = change->what == KVP_MEMBER_REPLACE;
    unsigned comes = replaces ? change->new_id : change->id;
    const struct kvp_member *member = kvp_members_find(members, change->id);
    if (!members_is_id(change->id) || !members_is_id(comes)) {
        *reason = "a node's id is 1 to 63";
        return KVP_BAD_REQUEST;
    }
    if (adds && change->kind != KVP_MEMBER_DATA) {
        *reason = "this release knows only members that may be in sync (kind 1)";
        return KVP_BAD_REQUEST;
    }
    if (change->what != KVP_MEMBER_REMOVE && !members_is_url(change->url)) {
        *reason = "a member's address is of the form tcp://HOST:PORT, tls+tcp://HOST:PORT or "
                  "ipc://PATH";
        return KVP_BAD_REQUEST;
    }
    if (!adds && member == NULL) {
        *reason = "no member has this id: 'kvcli member list' shows all";
        return KVP_NOT_FOUND;
    }
    if ((adds && member != NULL) ||
        (replaces && comes != change->id && kvp_members_find(members, comes) != NULL)) {
        *reason = "a member has this id already";
        return KVP_EXISTS;
    }
    if (change->what != KVP_MEMBER_REMOVE &&
        members_has_url(members, change->url, adds ? 0 : change->id)) {
        *reason = "another member has this address";
        return KVP_EXISTS;
    }
    if (adds && members->count == KVP_NODES_MAX) {
        *reason = "a group has at most 9 members";
        return KVP_TOO_LARGE;
    }
    if (change->what == KVP_MEMBER_REMOVE && members->count == 1) {
        *reason = "it is the last member: nobody would be left";
        return KVP_BAD_REQUEST;
    }
    return KVP_OK;
}

kvp_status kvp_members_change(struct kvp_members *members, const struct kvp_member_change *change,
                              const char **reason)
{
    if (change->what < KVP_MEMBER_ADD || change->what > KVP_MEMBER_MOVE) {
        *reason = "no such change of members in this release";
        return KVP_BAD_REQUEST;
    }
    kvp_status status = members_check(members, change, reason);
    if (status != KVP_OK) {
        return status;
    }
    const struct kvp_member *member = kvp_members_find(members, change->id);
    unsigned kind = member != NULL ? member->kind : change->kind;
    if (change->what != KVP_MEMBER_ADD) {
        members_delete(members, change->id);
    }
    if (change->what != KVP_MEMBER_REMOVE) {
        unsigned id = change->what == KVP_MEMBER_REPLACE ? change->new_id : change->id;
        members_insert(members, id, kind, change->url);
    }
    members->version++;
    return KVP_OK;
}
