/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing msgpack into a kvp_buf, and the only place that includes msgpack-c's header. Errors
 * stick, as in the reader: write everything between begin and end, and end tells (KVP_OK or
 * KVP_NO_MEMORY). After a failure the buffer is as it was at begin.
 *
 * msgpack-c's own packer calls back for every few bytes. Its template is made for others, too: here
 * it writes into the buffer itself, so that a number costs a comparison with the room left.
 */
#ifndef KVP_MP_WRITER_H
#define KVP_MP_WRITER_H

#include "kvpair/kvp_base.h"

#include <msgpack.h>
#include <string.h>

struct kvp_mp_writer {
    kvp_buf *out;
    size_t start;
    bool failed;
};

static inline int kvp_mp_append(struct kvp_mp_writer *writer, const void *bytes, size_t size)
{
    kvp_buf *out = writer->out;
    if (size > out->capacity - out->size && kvp_buf_reserve(out, size) != KVP_OK) {
        writer->failed = true;
        return -1;
    }
    if (size > 0) {
        memcpy(out->data + out->size, bytes, size);
        out->size += size;
    }
    return 0;
}

#define msgpack_pack_inline_func(name)             static inline int kvp_mp_pack##name
#define msgpack_pack_user                          struct kvp_mp_writer *
#define msgpack_pack_append_buffer(user, buf, len) return kvp_mp_append(user, buf, len)
#include <msgpack/pack_template.h>

static inline void kvp_mp_write_begin(struct kvp_mp_writer *writer, kvp_buf *out)
{
    writer->out = out;
    writer->start = out->size;
    writer->failed = false;
}

static inline kvp_status kvp_mp_write_end(struct kvp_mp_writer *writer)
{
    if (!writer->failed) {
        return KVP_OK;
    }
    writer->out->size = writer->start;
    return KVP_NO_MEMORY;
}

/* The same for a whole message: KVP_TOO_LARGE when it is longer than the transport lets through. */
static inline kvp_status kvp_mp_write_end_message(struct kvp_mp_writer *writer)
{
    if (!writer->failed && writer->out->size - writer->start > KVP_MESSAGE_SIZE_MAX) {
        writer->out->size = writer->start;
        return KVP_TOO_LARGE;
    }
    return kvp_mp_write_end(writer);
}

static inline void kvp_mp_write_uint(struct kvp_mp_writer *writer, uint64_t value)
{
    (void)kvp_mp_pack_uint64(writer, value);
}

static inline void kvp_mp_write_double(struct kvp_mp_writer *writer, double value)
{
    (void)kvp_mp_pack_double(writer, value);
}

static inline void kvp_mp_write_bool(struct kvp_mp_writer *writer, bool value)
{
    if (value) {
        (void)kvp_mp_pack_true(writer);
    } else {
        (void)kvp_mp_pack_false(writer);
    }
}

static inline void kvp_mp_write_nil(struct kvp_mp_writer *writer)
{
    (void)kvp_mp_pack_nil(writer);
}

static inline void kvp_mp_write_array(struct kvp_mp_writer *writer, uint32_t count)
{
    (void)kvp_mp_pack_array(writer, count);
}

static inline void kvp_mp_write_map(struct kvp_mp_writer *writer, uint32_t pairs)
{
    (void)kvp_mp_pack_map(writer, pairs);
}

static inline void kvp_mp_write_str(struct kvp_mp_writer *writer, kvp_slice text)
{
    (void)kvp_mp_pack_str(writer, text.size);
    (void)kvp_mp_append(writer, text.data, text.size);
}

static inline void kvp_mp_write_text(struct kvp_mp_writer *writer, const char *text)
{
    kvp_mp_write_str(writer, kvp_slice_of(text, strlen(text)));
}

static inline void kvp_mp_write_bin(struct kvp_mp_writer *writer, kvp_slice bytes)
{
    (void)kvp_mp_pack_bin(writer, bytes.size);
    (void)kvp_mp_append(writer, bytes.data, bytes.size);
}

/* Bytes that are msgpack already. */
static inline void kvp_mp_write_raw(struct kvp_mp_writer *writer, kvp_slice bytes)
{
    (void)kvp_mp_append(writer, bytes.data, bytes.size);
}

#endif
