/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/access/rights.h"

#include <stdio.h>
#include <string.h>

#define RIGHT_HEAD 3u /* kind, size */

static const struct {
    const char *name;
    bool is_of; /* it says of what */
} right_kinds[KVP_RIGHT_KINDS_END] = {
    [KVP_RIGHT_READ] = {"read", true},        [KVP_RIGHT_WRITE] = {"write", true},
    [KVP_RIGHT_SUBMIT] = {"submit", false},   [KVP_RIGHT_WORK] = {"work", true},
    [KVP_RIGHT_OBSERVE] = {"observe", false}, [KVP_RIGHT_OPERATE] = {"operate", false},
    [KVP_RIGHT_ADMIN] = {"admin", false},
};

/* ---- lists ---- */

bool kvp_rights_next(kvp_slice *list, struct kvp_right *right)
{
    const uint8_t *bytes = list->data;
    if (list->size < RIGHT_HEAD || bytes[0] == 0 || bytes[0] >= KVP_RIGHT_KINDS_END) {
        return false;
    }
    size_t size = bytes[1] | (size_t)bytes[2] << 8;
    if (size > list->size - RIGHT_HEAD || size > KVP_KEY_SIZE_MAX) {
        return false;
    }
    right->kind = (enum kvp_right_kind)bytes[0];
    right->of = kvp_slice_of(bytes + RIGHT_HEAD, size);
    *list = kvp_slice_of(bytes + RIGHT_HEAD + size, list->size - RIGHT_HEAD - size);
    return true;
}

kvp_status kvp_rights_append(kvp_buf *list, const struct kvp_right *right)
{
    const uint8_t head[RIGHT_HEAD] = {(uint8_t)right->kind, (uint8_t)right->of.size,
                                      (uint8_t)(right->of.size >> 8)};
    kvp_status status = kvp_buf_reserve(list, sizeof(head) + right->of.size);
    if (status == KVP_OK) {
        (void)kvp_buf_append(list, head, sizeof(head));
        (void)kvp_buf_append(list, right->of.data, right->of.size);
    }
    return status;
}

bool kvp_rights_equal(const struct kvp_right *a, const struct kvp_right *b)
{
    return a->kind == b->kind && kvp_slice_compare(a->of, b->of) == 0;
}

bool kvp_rights_has(kvp_slice list, const struct kvp_right *right)
{
    struct kvp_right other;
    while (kvp_rights_next(&list, &other)) {
        if (kvp_rights_equal(right, &other)) {
            return true;
        }
    }
    return false;
}

bool kvp_rights_are_valid(kvp_slice list)
{
    struct kvp_right right;
    while (kvp_rights_next(&list, &right)) {
    }
    return list.size == 0;
}

/* ---- what a right covers ---- */

static bool right_begins(kvp_slice bytes, kvp_slice prefix)
{
    return bytes.size >= prefix.size &&
           (prefix.size == 0 || memcmp(bytes.data, prefix.data, prefix.size) == 0);
}

bool kvp_right_covers_key(kvp_slice of, kvp_slice key)
{
    return right_begins(key, of);
}

/* The first key behind those with the prefix: 0xff bytes at its end cut off, its last one raised.
 */
static bool right_is_end(kvp_slice end, kvp_slice prefix)
{
    const uint8_t *bytes = prefix.data, *ends = end.data;
    size_t size = prefix.size;
    while (size > 0 && bytes[size - 1] == 0xff) {
        size--;
    }
    return size == 0 ? end.size == 0
                     : end.size == size && memcmp(ends, bytes, size - 1) == 0 &&
                           ends[size - 1] == bytes[size - 1] + 1;
}

bool kvp_right_covers_range(kvp_slice of, kvp_slice start, kvp_slice end)
{
    if (of.size == 0) {
        return true;
    }
    return right_begins(start, of) &&
           ((end.size > 0 && right_begins(end, of)) || right_is_end(end, of));
}

bool kvp_right_covers_kind(kvp_slice of, kvp_slice kind)
{
    bool open = of.size > 0 && ((const char *)of.data)[of.size - 1] == '*';
    return open ? right_begins(kind, kvp_slice_of(of.data, of.size - 1))
                : kvp_slice_compare(of, kind) == 0;
}

/* ---- text ---- */

const char *kvp_right_name(enum kvp_right_kind kind)
{
    return right_kinds[kind].name;
}

static enum kvp_right_kind right_kind(kvp_slice name)
{
    for (unsigned i = KVP_RIGHT_READ; i < KVP_RIGHT_KINDS_END; i++) {
        if (strlen(right_kinds[i].name) == name.size &&
            memcmp(right_kinds[i].name, name.data, name.size) == 0) {
            return (enum kvp_right_kind)i;
        }
    }
    return 0;
}

static int right_hex_digit(char digit)
{
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
           : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                          : -1;
}

/* Returns how many bytes they are; SIZE_MAX: too many, or it is malformed. */
static size_t right_unescape(const char *text, size_t size, uint8_t room[KVP_KEY_SIZE_MAX])
{
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        int byte = (uint8_t)text[i];
        if (byte == '%') {
            int high = size - i > 2 ? right_hex_digit(text[i + 1]) : -1;
            int low = size - i > 2 ? right_hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return SIZE_MAX;
            }
            byte = high << 4 | low;
            i += 2;
        }
        if (used == KVP_KEY_SIZE_MAX) {
            return SIZE_MAX;
        }
        room[used++] = (uint8_t)byte;
    }
    return used;
}

kvp_status kvp_right_parse(kvp_slice text, uint8_t room[KVP_KEY_SIZE_MAX], struct kvp_right *right,
                           const char **reason)
{
    const char *bytes = text.data, *blank = text.size > 0 ? memchr(bytes, ' ', text.size) : NULL;
    size_t name_size = blank != NULL ? (size_t)(blank - bytes) : text.size;
    size_t of_size = 0;
    right->kind = right_kind(kvp_slice_of(bytes, name_size));
    if (right->kind == 0) {
        *reason = "a right is read, write, submit, work, observe, operate or admin";
        return KVP_BAD_ARGUMENT;
    }
    if ((blank != NULL) != right_kinds[right->kind].is_of) {
        *reason = blank != NULL
                      ? "this right is of nothing in particular: its name is all of it"
                      : "behind read and write stands a prefix of keys, behind work a kind";
        return KVP_BAD_ARGUMENT;
    }
    if (blank != NULL) {
        of_size = right_unescape(blank + 1, text.size - name_size - 1, room);
    }
    if (of_size == SIZE_MAX ||
        (right->kind == KVP_RIGHT_WORK && (of_size == 0 || of_size > KVP_NAME_SIZE_MAX))) {
        *reason = right->kind == KVP_RIGHT_WORK ? "a kind of tasks has 1 to 64 bytes; % stands "
                                                  "before two digits (%25 for itself)"
                                                : "a prefix has up to 1024 bytes; % stands before "
                                                  "two digits (%25 for itself)";
        return KVP_BAD_ARGUMENT;
    }
    right->of = kvp_slice_of(room, of_size);
    return KVP_OK;
}

kvp_status kvp_right_print(const struct kvp_right *right, kvp_buf *out)
{
    const char *name = kvp_right_name(right->kind);
    const uint8_t *bytes = right->of.data;
    size_t before = out->size;
    kvp_status status = kvp_buf_append(out, name, strlen(name));
    if (status == KVP_OK && right_kinds[right->kind].is_of) {
        status = kvp_buf_append(out, " ", 1);
    }
    for (size_t i = 0; i < right->of.size && status == KVP_OK; i++) {
        char text[4] = {(char)bytes[i]};
        bool plain = bytes[i] > ' ' && bytes[i] < 0x7f && bytes[i] != '%';
        if (!plain) {
            (void)snprintf(text, sizeof(text), "%%%02x", bytes[i]);
        }
        status = kvp_buf_append(out, text, plain ? 1 : 3);
    }
    out->size = status == KVP_OK ? out->size : before;
    return status;
}
