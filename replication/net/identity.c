/* SPDX-License-Identifier: Apache-2.0 */
/* A group's or worker's name may hold a slash; in the URI it never does, or one could pass for
 * somebody of another group. */
#include "replication/net/identity.h"

#include <string.h>

static int identity_hex_digit(char digit)
{
    static const char digits[] = "0123456789abcdef";
    const char *found =
        digit != '\0' ? strchr(digits, digit | ('A' <= digit && digit <= 'F' ? 0x20 : 0)) : NULL;
    return found != NULL ? (int)(found - digits) : -1;
}

static bool identity_is_unreserved(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || (byte != '\0' && strchr("-._~", byte) != NULL);
}

/* Takes a part of the URI, up to a slash or the end. False: it is empty, too long, or malformed. */
static bool identity_take_part(kvp_slice *rest, char *out, size_t out_size)
{
    const char *text = rest->data;
    size_t used = 0, size = 0;
    while (used < rest->size && text[used] != '/') {
        char byte = text[used++];
        if (byte == '%' && rest->size - used >= 2) {
            int high = identity_hex_digit(text[used]), low = identity_hex_digit(text[used + 1]);
            used += 2;
            byte = (char)(high << 4 | low);
            if (high < 0 || low < 0 || (byte >= 0 && byte < ' ') || byte == 0x7f) {
                return false; /* a line of the log is one line */
            }
        } else if (!identity_is_unreserved(byte)) {
            return false;
        }
        if (size + 1 >= out_size) {
            return false;
        }
        out[size++] = byte;
    }
    out[size] = '\0';
    *rest = kvp_slice_of(text + used, rest->size - used);
    return size > 0;
}

static bool identity_take_slash(kvp_slice *rest)
{
    bool there = rest->size > 0 && *(const char *)rest->data == '/';
    if (there) {
        *rest = kvp_slice_of((const char *)rest->data + 1, rest->size - 1);
    }
    return there;
}

/* 0: it is no node's number. */
static unsigned identity_node(const char *name)
{
    size_t digits = strspn(name, "0123456789");
    if (digits == 0 || digits > 2 || name[digits] != '\0' || name[0] == '0') {
        return 0;
    }
    unsigned id = (unsigned)(name[0] - '0');
    id = digits == 2 ? 10 * id + (unsigned)(name[1] - '0') : id;
    return id <= KVP_NODE_ID_MAX ? id : 0;
}

static enum kvp_identity_kind identity_kind(const char *text)
{
    static const char *const kinds[] = {
        [KVP_IDENTITY_NODE] = "node",
        [KVP_IDENTITY_WITNESS] = "witness",
        [KVP_IDENTITY_USER] = "user",
        [KVP_IDENTITY_WORKER] = "worker",
    };
    for (unsigned i = KVP_IDENTITY_NODE; i <= KVP_IDENTITY_WORKER; i++) {
        if (strcmp(kinds[i], text) == 0) {
            return (enum kvp_identity_kind)i;
        }
    }
    return 0;
}

kvp_status kvp_identity_parse(kvp_slice uri, struct kvp_identity *identity)
{
    static const char scheme[] = "kvpair:";
    struct kvp_identity parsed = {0};
    char kind[16];
    size_t scheme_size = sizeof(scheme) - 1;
    if (uri.size < scheme_size || memcmp(uri.data, scheme, scheme_size) != 0) {
        return KVP_BAD_ARGUMENT;
    }
    kvp_slice rest = kvp_slice_of((const char *)uri.data + scheme_size, uri.size - scheme_size);
    if (!identity_take_part(&rest, parsed.group, sizeof(parsed.group)) ||
        !identity_take_slash(&rest) || !identity_take_part(&rest, kind, sizeof(kind)) ||
        !identity_take_slash(&rest) ||
        !identity_take_part(&rest, parsed.name, sizeof(parsed.name)) || rest.size > 0) {
        return KVP_BAD_ARGUMENT;
    }
    parsed.kind = identity_kind(kind);
    parsed.node = parsed.kind == KVP_IDENTITY_NODE ? identity_node(parsed.name) : 0;
    if (parsed.kind == 0 || (parsed.kind == KVP_IDENTITY_NODE && parsed.node == 0)) {
        return KVP_BAD_ARGUMENT;
    }
    *identity = parsed;
    return KVP_OK;
}
