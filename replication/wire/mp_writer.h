/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing msgpack into a kvp_buf: a thin layer over msgpack-c's packer, and the only place that
 * includes its header. Errors stick, as in the reader: write everything between begin and end, and
 * end tells (KVP_OK or KVP_NO_MEMORY). After a failure the buffer is as it was at begin.
 */
#ifndef KVP_MP_WRITER_H
#define KVP_MP_WRITER_H

#include "kvpair/kvp_base.h"

#include <msgpack.h>
#include <string.h>

struct kvp_mp_writer {
    msgpack_packer packer; /* points to this struct: it must not be copied */
    kvp_buf *out;
    size_t start;
    bool failed;
};

static inline int kvp_mp_append(void *data, const char *bytes, size_t size)
{
    struct kvp_mp_writer *writer = data;
    if (!writer->failed && size > 0) {
        writer->failed = kvp_buf_append(writer->out, bytes, size) != KVP_OK;
    }
    return writer->failed ? -1 : 0;
}

static inline void kvp_mp_write_begin(struct kvp_mp_writer *writer, kvp_buf *out)
{
    writer->out = out;
    writer->start = out->size;
    writer->failed = false;
    msgpack_packer_init(&writer->packer, writer, kvp_mp_append);
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
    (void)msgpack_pack_uint64(&writer->packer, value);
}

static inline void kvp_mp_write_double(struct kvp_mp_writer *writer, double value)
{
    (void)msgpack_pack_double(&writer->packer, value);
}

static inline void kvp_mp_write_bool(struct kvp_mp_writer *writer, bool value)
{
    if (value) {
        (void)msgpack_pack_true(&writer->packer);
    } else {
        (void)msgpack_pack_false(&writer->packer);
    }
}

static inline void kvp_mp_write_nil(struct kvp_mp_writer *writer)
{
    (void)msgpack_pack_nil(&writer->packer);
}

static inline void kvp_mp_write_array(struct kvp_mp_writer *writer, uint32_t count)
{
    (void)msgpack_pack_array(&writer->packer, count);
}

static inline void kvp_mp_write_map(struct kvp_mp_writer *writer, uint32_t pairs)
{
    (void)msgpack_pack_map(&writer->packer, pairs);
}

static inline void kvp_mp_write_str(struct kvp_mp_writer *writer, kvp_slice text)
{
    (void)msgpack_pack_str(&writer->packer, text.size);
    (void)kvp_mp_append(writer, text.data, text.size);
}

static inline void kvp_mp_write_text(struct kvp_mp_writer *writer, const char *text)
{
    kvp_mp_write_str(writer, kvp_slice_of(text, strlen(text)));
}

static inline void kvp_mp_write_bin(struct kvp_mp_writer *writer, kvp_slice bytes)
{
    (void)msgpack_pack_bin(&writer->packer, bytes.size);
    (void)kvp_mp_append(writer, bytes.data, bytes.size);
}

/* Bytes that are msgpack already. */
static inline void kvp_mp_write_raw(struct kvp_mp_writer *writer, kvp_slice bytes)
{
    (void)kvp_mp_append(writer, bytes.data, bytes.size);
}

#endif
