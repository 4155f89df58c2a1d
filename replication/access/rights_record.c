/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/access/rights_record.h"

#include <stdlib.h>
#include <string.h>

#define RECORD_VERSION 1u

/* ---- reading ---- */

static bool record_take(kvp_slice *rest, size_t size, kvp_slice *taken)
{
    if (rest->size < size) {
        return false;
    }
    *taken = kvp_slice_of(rest->data, size);
    *rest = kvp_slice_of((const uint8_t *)rest->data + size, rest->size - size);
    return true;
}

static bool record_take_size(kvp_slice *rest, size_t width, size_t *size)
{
    kvp_slice bytes;
    if (!record_take(rest, width, &bytes)) {
        return false;
    }
    const uint8_t *digits = bytes.data;
    *size = width == 1 ? digits[0] : digits[0] | (size_t)digits[1] << 8;
    return true;
}

bool kvp_rights_record_next(kvp_slice *rest, struct kvp_rights_entry *entry)
{
    kvp_slice left = *rest;
    size_t size;
    bool taken = record_take_size(&left, 1, &size) && record_take(&left, size, &entry->name) &&
                 record_take_size(&left, 2, &size) && record_take(&left, size, &entry->list);
    if (taken) {
        *rest = left;
    }
    return taken;
}

static bool record_is_whole(kvp_slice rest)
{
    struct kvp_rights_entry entry, before = {0};
    while (kvp_rights_record_next(&rest, &entry)) {
        if (!kvp_rights_are_valid(entry.list) || kvp_slice_compare(before.name, entry.name) >= 0) {
            return false;
        }
        before = entry;
    }
    return rest.size == 0;
}

kvp_status kvp_rights_record_begin(kvp_slice record, kvp_slice *rest)
{
    kvp_slice version;
    *rest = record;
    if (record.size == 0) {
        return KVP_OK;
    }
    (void)record_take(rest, 1, &version);
    if (*(const uint8_t *)version.data != RECORD_VERSION) {
        return KVP_BAD_VERSION;
    }
    return record_is_whole(*rest) ? KVP_OK : KVP_CORRUPT;
}

/* ---- changing ---- */

static kvp_status record_append_size(kvp_buf *out, size_t width, size_t size)
{
    const uint8_t digits[] = {(uint8_t)size, (uint8_t)(size >> 8)};
    return kvp_buf_append(out, digits, width);
}

static kvp_status record_append(kvp_buf *out, kvp_slice name, kvp_slice list)
{
    kvp_status status = record_append_size(out, 1, name.size);
    if (status == KVP_OK) {
        status = kvp_buf_append(out, name.data, name.size);
    }
    if (status == KVP_OK) {
        status = record_append_size(out, 2, list.size);
    }
    return status == KVP_OK ? kvp_buf_append(out, list.data, list.size) : status;
}

/* Appends the rights of `from` that `other` has, or has not. */
static kvp_status record_select(kvp_slice from, kvp_slice other, bool in_other, kvp_buf *list)
{
    struct kvp_right right;
    kvp_status status = KVP_OK;
    while (status == KVP_OK && kvp_rights_next(&from, &right)) {
        if (kvp_rights_has(other, &right) == in_other &&
            !kvp_rights_has(kvp_buf_slice(list), &right)) {
            status = kvp_rights_append(list, &right);
        }
    }
    return status;
}

static size_t record_count(kvp_slice list)
{
    struct kvp_right right;
    size_t count = 0;
    while (kvp_rights_next(&list, &right)) {
        count++;
    }
    return count;
}

/* What becomes of the rights of the name that changes. */
static kvp_status record_merge(kvp_slice before, const struct kvp_rights_change *change,
                               kvp_buf *list, const char **reason)
{
    kvp_status status = KVP_OK;
    if (change->is_grant || change->list.size > 0) {
        status = record_select(before, change->list, false, list);
    }
    if (status == KVP_OK && change->is_grant) {
        status = record_select(change->list, (kvp_slice){0}, false, list);
    }
    if (status == KVP_OK && (list->size > KVP_RIGHTS_LIST_SIZE_MAX ||
                             record_count(kvp_buf_slice(list)) > KVP_RIGHTS_OF_ONE_MAX)) {
        *reason = "one identity has at most 64 rights, of 16 KiB";
        return KVP_TOO_LARGE;
    }
    return status;
}

/* All entries, that of the name in its place. */
static kvp_status record_rewrite(kvp_slice rest, const struct kvp_rights_change *change,
                                 kvp_buf *out, const char **reason)
{
    struct kvp_rights_entry entry;
    kvp_slice before = {0}, behind = rest;
    kvp_buf list = {0};
    kvp_status status = KVP_OK;
    while (status == KVP_OK && kvp_rights_record_next(&rest, &entry)) {
        int order = kvp_slice_compare(entry.name, change->name);
        before = order == 0 ? entry.list : before;
        behind = order <= 0 ? rest : behind;
        status = order < 0 ? record_append(out, entry.name, entry.list) : KVP_OK;
    }
    if (status == KVP_OK) {
        status = record_merge(before, change, &list, reason);
    }
    if (status == KVP_OK && list.size > 0) {
        status = record_append(out, change->name, kvp_buf_slice(&list));
    }
    kvp_buf_free(&list);
    return status == KVP_OK ? kvp_buf_append(out, behind.data, behind.size) : status;
}

kvp_status kvp_rights_record_change(kvp_slice record, const struct kvp_rights_change *change,
                                    kvp_buf *out, const char **reason)
{
    const uint8_t version = RECORD_VERSION;
    size_t start = out->size;
    kvp_slice rest;
    kvp_status status = kvp_rights_record_begin(record, &rest);
    if (status == KVP_OK) {
        status = kvp_buf_append(out, &version, sizeof(version));
    }
    if (status == KVP_OK) {
        status = record_rewrite(rest, change, out, reason);
    }
    if (status == KVP_OK && out->size - start > KVP_RIGHTS_RECORD_SIZE_MAX) {
        *reason = "all rights have at most 256 KiB: revoke some first";
        status = KVP_TOO_LARGE;
    }
    out->size = status == KVP_OK ? out->size : start;
    return status;
}

/* ---- looking up ---- */

void kvp_rights_table_free(struct kvp_rights_table *table)
{
    kvp_buf_free(&table->record);
    free(table->places);
    memset(table, 0, sizeof(*table));
}

static void table_place(struct kvp_rights_table *table)
{
    kvp_slice rest = kvp_slice_of(table->record.data + 1, table->record.size - 1);
    struct kvp_rights_entry entry;
    for (kvp_slice at = rest; kvp_rights_record_next(&rest, &entry); at = rest) {
        table->places[table->count++] = (uint32_t)((const uint8_t *)at.data - table->record.data);
    }
}

kvp_status kvp_rights_table_load(struct kvp_rights_table *table, kvp_slice record)
{
    kvp_slice rest;
    struct kvp_rights_entry entry;
    size_t count = 0;
    if (kvp_slice_compare(kvp_buf_slice(&table->record), record) == 0) {
        return KVP_OK;
    }
    kvp_rights_table_free(table);
    kvp_status status = kvp_rights_record_begin(record, &rest);
    while (status == KVP_OK && kvp_rights_record_next(&rest, &entry)) {
        count++;
    }
    if (status != KVP_OK || count == 0) {
        return status;
    }
    table->places = calloc(count, sizeof(*table->places));
    if (table->places == NULL ||
        kvp_buf_append(&table->record, record.data, record.size) != KVP_OK) {
        kvp_rights_table_free(table);
        return KVP_NO_MEMORY;
    }
    table_place(table);
    return KVP_OK;
}

kvp_slice kvp_rights_table_find(const struct kvp_rights_table *table, kvp_slice name)
{
    size_t low = 0, high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uint32_t place = table->places[middle];
        kvp_slice rest = kvp_slice_of(table->record.data + place, table->record.size - place);
        struct kvp_rights_entry entry;
        if (!kvp_rights_record_next(&rest, &entry)) {
            break;
        }
        int order = kvp_slice_compare(name, entry.name);
        if (order == 0) {
            return entry.list;
        }
        low = order > 0 ? middle + 1 : low;
        high = order < 0 ? middle : high;
    }
    return (kvp_slice){0};
}
