/* SPDX-License-Identifier: Apache-2.0 */
/* A frame's memory grows with the bytes that have come, not with the size that it declares: a peer
 * that announces 16 MiB and sends nothing costs next to nothing. */
#include "replication/net/sp_stream.h"
#include "replication/net/net_tls.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define INCOMING_SIZE_MIN 4096u
#define IOVECS_MAX        32

static uint32_t read_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static uint64_t stream_read_u64(const uint8_t *bytes)
{
    return (uint64_t)read_u32(bytes) << 32 | read_u32(bytes + 4);
}

static size_t frame_head_size(bool local)
{
    return local ? 9 : 8;
}

void sp_stream_begin(struct sp_stream *stream, int fd, struct net_tls *tls, bool local,
                     unsigned own_protocol, size_t message_size_max)
{
    const uint8_t greeting[SP_GREETING_SIZE] = {
        0, 'S', 'P', 0, (uint8_t)(own_protocol >> 8), (uint8_t)own_protocol, 0, 0};
    memset(stream, 0, sizeof(*stream));
    stream->fd = fd;
    stream->tls = tls;
    stream->local = local;
    stream->peer_protocol = own_protocol ^ SP_PROTOCOL_REQ ^ SP_PROTOCOL_REP;
    stream->message_size_max = message_size_max;
    memcpy(stream->greeting, greeting, sizeof(greeting));
}

void sp_stream_drop_queue(struct sp_stream *stream)
{
    while (stream->first != NULL) {
        struct sp_message *message = stream->first;
        stream->first = message->next;
        free(message);
    }
    stream->last = NULL;
    stream->first_sent = 0;
    stream->queue_count = 0;
    stream->queue_size = 0;
}

void sp_stream_end(struct sp_stream *stream)
{
    sp_stream_drop_queue(stream);
    free(stream->incoming);
    stream->incoming = NULL;
    if (stream->fd >= 0 && stream->tls != NULL) {
        net_tls.bye(stream->tls);
    }
    if (stream->fd >= 0) {
        /* A child process that was just forked may hold a copy: the other side is to hear of the
         * end all the same. What has been sent still arrives. */
        (void)shutdown(stream->fd, SHUT_RDWR);
        (void)close(stream->fd);
        stream->fd = -1;
        stream->tls = NULL;
    }
}

/* ---- receiving ---- */

ssize_t sp_stream_receive(struct sp_stream *stream, uint8_t *buffer, size_t size,
                          sp_stream_feeder feed, void *arg)
{
    ssize_t got = recv(stream->fd, buffer, size, 0);
    if (got <= 0) {
        return got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    }
    bool sound = stream->tls != NULL ? net_tls.take(stream->tls, buffer, (size_t)got, feed, arg)
                                     : feed(arg, buffer, (size_t)got);
    return sound ? got : -1;
}

bool sp_stream_is_partial(const struct sp_stream *stream)
{
    return stream->incoming != NULL || (stream->greeted && stream->head_got > 0) ||
           (stream->tls != NULL && net_tls.is_partial(stream->tls));
}

static kvp_status take_greeting(struct sp_stream *stream)
{
    const uint8_t *head = stream->head;
    const uint8_t expected[SP_GREETING_SIZE] = {
        0, 'S', 'P', 0, (uint8_t)(stream->peer_protocol >> 8), (uint8_t)stream->peer_protocol,
        0, 0};
    if (memcmp(head, expected, sizeof(expected)) != 0) {
        return KVP_CORRUPT;
    }
    stream->greeted = true;
    stream->head_got = 0;
    return KVP_OK;
}

static kvp_status take_frame_head(struct sp_stream *stream)
{
    const uint8_t *size_bytes = stream->head + frame_head_size(stream->local) - 8;
    uint64_t size = stream_read_u64(size_bytes);
    if ((stream->local && stream->head[0] != 1) || size < SP_WORD_SIZE ||
        size > stream->message_size_max) {
        return KVP_CORRUPT;
    }
    size_t capacity = size < INCOMING_SIZE_MIN ? (size_t)size : INCOMING_SIZE_MIN;
    struct sp_message *message = malloc(sizeof(*message) + capacity);
    if (message == NULL) {
        return KVP_NO_MEMORY;
    }
    memset(message, 0, sizeof(*message));
    message->capacity = capacity;
    stream->incoming = message;
    stream->frame_size = (size_t)size;
    stream->head_got = 0;
    return KVP_OK;
}

/* Finds where the header ends. */
static kvp_status parse_header(struct sp_message *message)
{
    for (size_t end = SP_WORD_SIZE; end <= SP_WORDS_MAX * SP_WORD_SIZE && end <= message->size;
         end += SP_WORD_SIZE) {
        if ((read_u32(message->data + end - SP_WORD_SIZE) & SP_LAST_WORD) != 0) {
            message->header_size = end;
            return KVP_OK;
        }
    }
    return KVP_CORRUPT;
}

static kvp_status stream_grow(struct sp_stream *stream, size_t needed)
{
    struct sp_message *message = stream->incoming;
    if (needed <= message->capacity) {
        return KVP_OK;
    }
    size_t capacity = 2 * message->capacity > needed ? 2 * message->capacity : needed;
    if (capacity > stream->frame_size) {
        capacity = stream->frame_size;
    }
    struct sp_message *grown = realloc(message, sizeof(*message) + capacity);
    if (grown == NULL) {
        return KVP_NO_MEMORY;
    }
    grown->capacity = capacity;
    stream->incoming = grown;
    return KVP_OK;
}

static kvp_status feed_message(struct sp_stream *stream, const uint8_t *bytes, size_t size,
                               size_t *used, struct sp_message **message)
{
    size_t missing = stream->frame_size - stream->incoming->size;
    size_t taken = size < missing ? size : missing;
    kvp_status status = stream_grow(stream, stream->incoming->size + taken);
    if (status != KVP_OK) {
        return status;
    }
    memcpy(stream->incoming->data + stream->incoming->size, bytes, taken);
    stream->incoming->size += taken;
    *used = taken;
    if (taken == missing) {
        status = parse_header(stream->incoming);
        if (status == KVP_OK) {
            *message = stream->incoming;
            stream->incoming = NULL;
        }
    }
    return status;
}

kvp_status sp_stream_feed(struct sp_stream *stream, const uint8_t *bytes, size_t size, size_t *used,
                          struct sp_message **message)
{
    *message = NULL;
    if (stream->incoming != NULL) {
        return feed_message(stream, bytes, size, used, message);
    }
    size_t head_size = stream->greeted ? frame_head_size(stream->local) : SP_GREETING_SIZE;
    size_t missing = head_size - stream->head_got;
    size_t taken = size < missing ? size : missing;
    memcpy(stream->head + stream->head_got, bytes, taken);
    stream->head_got += taken;
    *used = taken;
    if (taken < missing) {
        return KVP_OK;
    }
    return stream->greeted ? take_frame_head(stream) : take_greeting(stream);
}

kvp_slice sp_message_header(const struct sp_message *message)
{
    return kvp_slice_of(message->data, message->header_size);
}

kvp_slice sp_message_body(const struct sp_message *message)
{
    return kvp_slice_of(message->data + message->header_size, message->size - message->header_size);
}

/* ---- sending ---- */

struct sp_message *sp_message_new(bool local, kvp_slice header, kvp_slice body)
{
    size_t head_size = frame_head_size(local);
    uint64_t frame_size = (uint64_t)header.size + body.size;
    size_t size = head_size + header.size + body.size;
    struct sp_message *message = malloc(sizeof(*message) + size);
    if (message == NULL) {
        return NULL;
    }
    memset(message, 0, sizeof(*message));
    message->size = size;
    message->capacity = size;
    uint8_t *next = message->data;
    if (local) {
        *next++ = 1;
    }
    for (int shift = 56; shift >= 0; shift -= 8) {
        *next++ = (uint8_t)(frame_size >> shift);
    }
    memcpy(next, header.data, header.size);
    if (body.size > 0) {
        memcpy(next + header.size, body.data, body.size);
    }
    return message;
}

void sp_stream_push(struct sp_stream *stream, struct sp_message *message)
{
    message->next = NULL;
    if (stream->last != NULL) {
        stream->last->next = message;
    } else {
        stream->first = message;
    }
    stream->last = message;
    stream->queue_count++;
    stream->queue_size += message->size;
}

static int stream_gather(struct sp_stream *stream, struct iovec iovecs[IOVECS_MAX])
{
    int count = 0;
    size_t skip = stream->first_sent;
    if (stream->greeting_sent < SP_GREETING_SIZE) {
        iovecs[count].iov_base = stream->greeting + stream->greeting_sent;
        iovecs[count++].iov_len = SP_GREETING_SIZE - stream->greeting_sent;
    }
    for (struct sp_message *message = stream->first; message != NULL && count < IOVECS_MAX;
         message = message->next) {
        iovecs[count].iov_base = message->data + skip;
        iovecs[count++].iov_len = message->size - skip;
        skip = 0;
    }
    return count;
}

static void stream_advance(struct sp_stream *stream, size_t sent)
{
    size_t greeting = SP_GREETING_SIZE - stream->greeting_sent;
    greeting = sent < greeting ? sent : greeting;
    stream->greeting_sent += greeting;
    sent -= greeting;
    while (sent > 0) {
        struct sp_message *message = stream->first;
        assert(message != NULL);
        size_t left = message->size - stream->first_sent;
        if (sent < left) {
            stream->first_sent += sent;
            return;
        }
        sent -= left;
        stream->first_sent = 0;
        stream->first = message->next;
        if (stream->first == NULL) {
            stream->last = NULL;
        }
        stream->queue_count--;
        stream->queue_size -= message->size;
        free(message);
    }
}

static ssize_t stream_send(struct sp_stream *stream, struct iovec *iovecs, size_t count)
{
    struct msghdr parts = {.msg_iov = iovecs, .msg_iovlen = count};
    return stream->tls != NULL ? net_tls.send(stream->tls, iovecs, count)
                               : sendmsg(stream->fd, &parts, MSG_NOSIGNAL | MSG_DONTWAIT);
}

kvp_status sp_stream_flush(struct sp_stream *stream, bool *pending)
{
    for (;;) {
        struct iovec iovecs[IOVECS_MAX];
        size_t count = (size_t)stream_gather(stream, iovecs);
        *pending = count > 0;
        if (!*pending) {
            return KVP_OK;
        }
        ssize_t sent = stream_send(stream, iovecs, count);
        if (sent >= 0) {
            stream_advance(stream, (size_t)sent);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return KVP_OK;
        } else if (errno != EINTR) {
            return KVP_IO;
        }
    }
}
