/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The results inside answers. Lists are walked to their end before the first element is given out,
 * so that an iterator over them cannot run into anything unexpected.
 */
#include "replication/wire/wire.h"
#include "replication/wire/wire_parts.h"

#include <assert.h>

/* ---- single values ---- */

kvp_status kvp_wire_uint(kvp_buf *out, uint64_t value)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_uint(&writer, value);
    return kvp_mp_write_end(&writer);
}

kvp_status kvp_wire_bool(kvp_buf *out, bool value)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_bool(&writer, value);
    return kvp_mp_write_end(&writer);
}

kvp_status kvp_wire_nil(kvp_buf *out)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_nil(&writer);
    return kvp_mp_write_end(&writer);
}

kvp_status kvp_wire_string(kvp_buf *out, const char *text)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_text(&writer, text);
    return kvp_mp_write_end(&writer);
}

kvp_status kvp_wire_text(kvp_buf *out, kvp_slice text)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_str(&writer, text);
    return kvp_mp_write_end(&writer);
}

kvp_status kvp_wire_map(kvp_buf *out, uint32_t pairs)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_map(&writer, pairs);
    return kvp_mp_write_end(&writer);
}

kvp_status kvp_wire_array(kvp_buf *out, uint32_t count)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, count);
    return kvp_mp_write_end(&writer);
}

kvp_status kvp_wire_result_uint(kvp_buf *out, uint64_t value)
{
    return kvp_wire_uint(out, value);
}

kvp_status kvp_wire_result_string(kvp_buf *out, const char *text)
{
    return kvp_wire_string(out, text);
}

kvp_status kvp_wire_read_uint(kvp_slice result, uint64_t *value)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, result);
    uint64_t read = kvp_mp_uint(&reader);
    if (!kvp_mp_done(&reader)) {
        return KVP_CORRUPT;
    }
    *value = read;
    return KVP_OK;
}

kvp_status kvp_wire_read_string(kvp_slice result, kvp_slice *text)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, result);
    kvp_slice read = kvp_mp_str(&reader);
    if (!kvp_mp_done(&reader)) {
        return KVP_CORRUPT;
    }
    *text = read;
    return KVP_OK;
}

/* ---- GET ---- */

/* A value and its revisions, as GET, SCAN and a GET in a transaction show them. Inline: it is in
 * the path of every GET. */
static inline void result_write_value(struct kvp_mp_writer *writer, uint64_t modify,
                                      uint64_t create, kvp_slice value)
{
    kvp_mp_write_uint(writer, modify);
    kvp_mp_write_uint(writer, create);
    kvp_mp_write_bin(writer, value);
}

static void result_take_value(struct kvp_mp_reader *reader, struct kvp_get_result *get)
{
    get->modify = kvp_mp_uint(reader);
    get->create = kvp_mp_uint(reader);
    get->value = kvp_mp_bin(reader);
    if (get->value.size > KVP_VALUE_SIZE_MAX) {
        kvp_mp_fail(reader);
    }
}

kvp_status kvp_wire_result_get(kvp_buf *out, uint64_t modify, uint64_t create, kvp_slice value,
                               uint64_t behind)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, 4);
    result_write_value(&writer, modify, create, value);
    kvp_mp_write_uint(&writer, behind);
    return kvp_mp_write_end(&writer);
}

kvp_status kvp_wire_read_get(kvp_slice result, struct kvp_get_result *get)
{
    struct kvp_mp_reader reader;
    struct kvp_get_result read;
    kvp_mp_begin(&reader, result);
    kvp_mp_array_of(&reader, 4);
    result_take_value(&reader, &read);
    read.behind = kvp_mp_uint(&reader);
    if (!kvp_mp_done(&reader)) {
        return KVP_CORRUPT;
    }
    *get = read;
    return KVP_OK;
}

/* ---- BACKUP ---- */

kvp_status kvp_wire_result_backup(kvp_buf *out, const struct kvp_backup_page *page)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, 4);
    kvp_mp_write_uint(&writer, page->cursor);
    kvp_mp_write_bool(&writer, page->more);
    kvp_mp_write_uint(&writer, page->revision);
    kvp_mp_write_bin(&writer, page->bytes);
    return kvp_mp_write_end(&writer);
}

kvp_status kvp_wire_read_backup(kvp_slice result, struct kvp_backup_page *page)
{
    struct kvp_mp_reader reader;
    struct kvp_backup_page read;
    kvp_mp_begin(&reader, result);
    kvp_mp_array_of(&reader, 4);
    read.cursor = kvp_mp_uint(&reader);
    read.more = kvp_mp_bool(&reader);
    read.revision = kvp_mp_uint(&reader);
    read.bytes = kvp_mp_bin(&reader);
    if (!kvp_mp_done(&reader)) {
        return KVP_CORRUPT;
    }
    *page = read;
    return KVP_OK;
}

/* ---- HELLO ---- */

static const uint32_t hello_limits[] = {KVP_KEY_SIZE_MAX, KVP_VALUE_SIZE_MAX, KVP_TXN_OPS_MAX,
                                        KVP_TXN_SIZE_MAX, KVP_MESSAGE_SIZE_MAX};
#define HELLO_LIMIT_COUNT (sizeof(hello_limits) / sizeof(hello_limits[0]))
#define HELLO_SIZE        (6 + HELLO_LIMIT_COUNT)

kvp_status kvp_wire_result_hello(kvp_buf *out, const struct kvp_hello *hello)
{
    assert(hello->node_count <= KVP_NODES_MAX);
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, HELLO_SIZE);
    kvp_mp_write_uint(&writer, hello->node_id);
    kvp_mp_write_uint(&writer, hello->role);
    kvp_mp_write_uint(&writer, hello->group_id);
    kvp_mp_write_uint(&writer, hello->primary_id);
    kvp_mp_write_array(&writer, hello->node_count);
    for (unsigned i = 0; i < hello->node_count; i++) {
        kvp_mp_write_array(&writer, 2);
        kvp_mp_write_uint(&writer, hello->nodes[i].id);
        kvp_mp_write_str(&writer, hello->nodes[i].url);
    }
    kvp_mp_write_uint(&writer, hello->session_start);
    for (unsigned i = 0; i < HELLO_LIMIT_COUNT; i++) {
        kvp_mp_write_uint(&writer, hello_limits[i]);
    }
    return kvp_mp_write_end(&writer);
}

static void take_nodes(struct kvp_mp_reader *reader, struct kvp_hello *hello)
{
    uint32_t count = kvp_mp_array(reader);
    if (count > KVP_NODES_MAX) {
        kvp_mp_fail(reader);
        return;
    }
    hello->node_count = count;
    for (uint32_t i = 0; i < count; i++) {
        kvp_mp_array_of(reader, 2);
        hello->nodes[i].id = (unsigned)kvp_mp_uint_max(reader, KVP_NODE_ID_MAX);
        hello->nodes[i].url = kvp_mp_str(reader);
        if (hello->nodes[i].id == 0 || hello->nodes[i].url.size > KVP_URL_SIZE_MAX) {
            kvp_mp_fail(reader);
        }
    }
}

kvp_status kvp_wire_read_hello(kvp_slice result, struct kvp_hello *hello)
{
    struct kvp_mp_reader reader;
    struct kvp_hello read = {0};
    kvp_mp_begin(&reader, result);
    kvp_mp_array_of(&reader, HELLO_SIZE);
    read.node_id = (unsigned)kvp_mp_uint_max(&reader, KVP_NODE_ID_MAX);
    read.role = (unsigned)kvp_mp_uint_max(&reader, UINT8_MAX); /* roles may be added */
    read.group_id = kvp_mp_uint(&reader);
    read.primary_id = (unsigned)kvp_mp_uint_max(&reader, KVP_NODE_ID_MAX);
    take_nodes(&reader, &read);
    read.session_start = kvp_mp_uint(&reader);
    for (unsigned i = 0; i < HELLO_LIMIT_COUNT; i++) {
        (void)kvp_mp_uint(&reader);
    }
    if (!kvp_mp_done(&reader)) {
        return KVP_CORRUPT;
    }
    *hello = read;
    return KVP_OK;
}

/* ---- SCAN ---- */

/* Cursor, revision and count stand before the pairs but are known after them: they are written at
 * full width, so that they can be filled in. */
#define SCAN_HEAD_SIZE (1u + 9u + 9u + 5u)

static uint8_t *place(uint8_t *at, uint8_t first, uint64_t value, unsigned width)
{
    *at++ = first;
    for (unsigned shift = 8 * width; shift > 0; shift -= 8) {
        *at++ = (uint8_t)(value >> (shift - 8));
    }
    return at;
}

static void place_scan_head(uint8_t *at, uint64_t cursor, uint64_t revision, uint32_t count)
{
    *at++ = 0x94;
    at = place(at, 0xcf, cursor, 8);
    at = place(at, 0xcf, revision, 8);
    (void)place(at, 0xdd, count, 4);
}

kvp_status kvp_wire_scan_begin(struct kvp_scan_writer *writer, kvp_buf *out)
{
    uint8_t head[SCAN_HEAD_SIZE];
    place_scan_head(head, 0, 0, 0);
    size_t at = out->size;
    kvp_status status = kvp_buf_append(out, head, sizeof(head));
    if (status == KVP_OK) {
        writer->out = out;
        writer->head = at;
        writer->count = 0;
    }
    return status;
}

kvp_status kvp_wire_scan_pair(struct kvp_scan_writer *writer, kvp_slice key, uint64_t modify,
                              uint64_t create, kvp_slice value)
{
    struct kvp_mp_writer pair;
    kvp_mp_write_begin(&pair, writer->out);
    kvp_mp_write_array(&pair, 4);
    kvp_mp_write_bin(&pair, key);
    result_write_value(&pair, modify, create, value);
    kvp_status status = kvp_mp_write_end(&pair);
    if (status == KVP_OK) {
        writer->count++;
    }
    return status;
}

kvp_status kvp_wire_scan_end(struct kvp_scan_writer *writer, uint64_t cursor, uint64_t revision,
                             uint64_t behind)
{
    kvp_status status = kvp_wire_uint(writer->out, behind);
    if (status == KVP_OK) {
        place_scan_head(writer->out->data + writer->head, cursor, revision, writer->count);
    }
    return status;
}

static void result_take_pair(struct kvp_mp_reader *reader, kvp_slice *key,
                             struct kvp_get_result *pair)
{
    kvp_mp_array_of(reader, 4);
    *key = kvp_mp_bin(reader);
    result_take_value(reader, pair);
    if (key->size == 0 || key->size > KVP_KEY_SIZE_MAX) {
        kvp_mp_fail(reader);
    }
}

kvp_status kvp_wire_read_scan(kvp_slice result, struct kvp_scan_result *scan)
{
    struct kvp_mp_reader reader;
    struct kvp_scan_result read;
    kvp_mp_begin(&reader, result);
    kvp_mp_array_of(&reader, 4);
    read.cursor = kvp_mp_uint(&reader);
    read.revision = kvp_mp_uint(&reader);
    read.count = kvp_mp_array(&reader);
    const uint8_t *first = reader.next;
    for (uint32_t i = 0; i < read.count && !reader.failed; i++) {
        kvp_slice key;
        struct kvp_get_result pair;
        result_take_pair(&reader, &key, &pair);
    }
    read.rest = kvp_slice_of(first, (size_t)(reader.next - first));
    read.behind = kvp_mp_uint(&reader);
    if (!kvp_mp_done(&reader)) {
        return KVP_CORRUPT;
    }
    *scan = read;
    return KVP_OK;
}

static kvp_slice rest_of(const struct kvp_mp_reader *reader)
{
    return kvp_slice_of(reader->next, (size_t)(reader->end - reader->next));
}

kvp_status kvp_wire_scan_next(struct kvp_scan_result *scan, kvp_slice *key,
                              struct kvp_get_result *pair)
{
    if (scan->rest.size == 0) {
        return KVP_NOT_FOUND;
    }
    struct kvp_mp_reader reader;
    struct kvp_get_result read;
    kvp_slice key_read;
    kvp_mp_begin(&reader, scan->rest);
    result_take_pair(&reader, &key_read, &read);
    if (reader.failed) {
        return KVP_CORRUPT;
    }
    read.behind = scan->behind;
    scan->rest = rest_of(&reader);
    *key = key_read;
    *pair = read;
    return KVP_OK;
}

/* ---- TXN ---- */

kvp_status kvp_wire_txn_begin(kvp_buf *out, bool succeeded, uint64_t revision, uint32_t count)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, 3);
    kvp_mp_write_bool(&writer, succeeded);
    kvp_mp_write_uint(&writer, revision);
    kvp_mp_write_array(&writer, count);
    return kvp_mp_write_end(&writer);
}

kvp_status kvp_wire_txn_get(kvp_buf *out, const struct kvp_get_result *get)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    if (get == NULL) {
        kvp_mp_write_nil(&writer);
    } else {
        kvp_mp_write_array(&writer, 3);
        result_write_value(&writer, get->modify, get->create, get->value);
    }
    return kvp_mp_write_end(&writer);
}

kvp_status kvp_wire_txn_put(kvp_buf *out)
{
    return kvp_wire_nil(out);
}

kvp_status kvp_wire_txn_delete(kvp_buf *out, bool was_there)
{
    return kvp_wire_bool(out, was_there);
}

static enum kvp_txn_result_kind take_txn_result(struct kvp_mp_reader *reader,
                                                struct kvp_get_result *get, bool *flag)
{
    switch (kvp_mp_peek(reader)) {
    case KVP_MP_NIL:
        kvp_mp_nil(reader);
        return KVP_TXN_RESULT_NIL;
    case KVP_MP_BOOL:
        *flag = kvp_mp_bool(reader);
        return KVP_TXN_RESULT_BOOL;
    default:
        kvp_mp_array_of(reader, 3);
        result_take_value(reader, get);
        get->behind = 0;
        return KVP_TXN_RESULT_GET;
    }
}

kvp_status kvp_wire_read_txn(kvp_slice result, struct kvp_txn_result *txn)
{
    struct kvp_mp_reader reader;
    struct kvp_txn_result read;
    kvp_mp_begin(&reader, result);
    kvp_mp_array_of(&reader, 3);
    read.succeeded = kvp_mp_bool(&reader);
    read.revision = kvp_mp_uint(&reader);
    read.count = kvp_mp_array(&reader);
    read.rest = rest_of(&reader);
    for (uint32_t i = 0; i < read.count && !reader.failed; i++) {
        struct kvp_get_result get;
        bool flag;
        (void)take_txn_result(&reader, &get, &flag);
    }
    if (!kvp_mp_done(&reader) || read.count > KVP_TXN_OPS_MAX) {
        return KVP_CORRUPT;
    }
    *txn = read;
    return KVP_OK;
}

kvp_status kvp_wire_txn_next(struct kvp_txn_result *txn, enum kvp_txn_result_kind *kind,
                             struct kvp_get_result *get, bool *flag)
{
    if (txn->rest.size == 0) {
        return KVP_NOT_FOUND;
    }
    struct kvp_mp_reader reader;
    struct kvp_get_result get_read = {0};
    bool flag_read = false;
    kvp_mp_begin(&reader, txn->rest);
    enum kvp_txn_result_kind kind_read = take_txn_result(&reader, &get_read, &flag_read);
    if (reader.failed) {
        return KVP_CORRUPT;
    }
    txn->rest = rest_of(&reader);
    *kind = kind_read;
    if (kind_read == KVP_TXN_RESULT_GET) {
        *get = get_read;
    } else if (kind_read == KVP_TXN_RESULT_BOOL) {
        *flag = flag_read;
    }
    return KVP_OK;
}
