/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection that speaks SP over a stream socket: the greeting, then frames of a length, header
 * words and a body. Knows bytes and queues; who calls what from which thread is the matter of
 * net_*.c: the receiving half belongs to one thread, the sending half is guarded by the caller's
 * lock.
 *
 * Greeting, both ways:  00 'S' 'P' 00, u16 protocol, 00 00. Frame: u64 size, then so many bytes
 * (over Unix sockets one byte 01 precedes the size). All numbers are big-endian.
 */
#ifndef KVP_SP_STREAM_H
#define KVP_SP_STREAM_H

#include "kvpair/kvp_base.h"

#include <sys/types.h>

#define SP_PROTOCOL_REQ   0x30u
#define SP_PROTOCOL_REP   0x31u
#define SP_WORD_SIZE      4u
#define SP_WORDS_MAX      8u          /* of a header: one, and one more per device on the way */
#define SP_LAST_WORD      0x80000000u /* flag of the last word: the request id */
#define SP_GREETING_SIZE  8u
#define SP_FRAME_HEAD_MAX 9u

/* A message received or on its way out. */
struct sp_message {
    struct sp_message *next;
    size_t size; /* bytes in `data` */
    size_t capacity;
    size_t header_size; /* received: bytes of header words; the body follows */
    uint8_t data[];
};

struct net_tls;

struct sp_stream {
    int fd;              /* -1: closed */
    struct net_tls *tls; /* borrowed; NULL: plain */
    unsigned peer_protocol;
    bool local; /* Unix socket: frames have the extra byte */
    bool greeted;
    size_t message_size_max; /* of a frame, header words included */

    uint8_t head[SP_FRAME_HEAD_MAX]; /* of the greeting or frame that is being received */
    size_t head_got;
    size_t frame_size;
    struct sp_message *incoming; /* set: its head has been received */

    uint8_t greeting[SP_GREETING_SIZE]; /* ours; goes out before all else */
    size_t greeting_sent;
    struct sp_message *first, *last; /* to be sent */
    size_t first_sent;               /* bytes of `first` that are out */
    size_t queue_count, queue_size;
};

/* `tls`: NULL, or what has been through its handshake on `fd`. */
void sp_stream_begin(struct sp_stream *stream, int fd, struct net_tls *tls, bool local,
                     unsigned own_protocol, size_t message_size_max);
/* Frees what is queued; for a connection that has no future. */
void sp_stream_drop_queue(struct sp_stream *stream);
/* The same, and closes the socket. */
void sp_stream_end(struct sp_stream *stream);

/* Takes bytes off the socket, and gives `feed` what they mean, which ends it with false. Returns
 * how many came; 0: none now; -1: the connection has ended, or `feed` ended it. */
typedef bool (*sp_stream_feeder)(void *arg, const uint8_t *bytes, size_t size);
ssize_t sp_stream_receive(struct sp_stream *stream, uint8_t *buffer, size_t size,
                          sp_stream_feeder feed, void *arg);
/* A part of something has come, and the rest of it has not. */
bool sp_stream_is_partial(const struct sp_stream *stream);
/* Takes some of the bytes received, *used of them; *message is set when that completed one, which
 * is then the caller's. KVP_CORRUPT: the peer speaks something else or too much; KVP_NO_MEMORY. */
kvp_status sp_stream_feed(struct sp_stream *stream, const uint8_t *bytes, size_t size, size_t *used,
                          struct sp_message **message);

/* A message of header and body, framed for the stream. NULL when memory is short. */
struct sp_message *sp_message_new(bool local, kvp_slice header, kvp_slice body);
kvp_slice sp_message_header(const struct sp_message *message); /* of a received one */
kvp_slice sp_message_body(const struct sp_message *message);

/* Takes the message over. */
void sp_stream_push(struct sp_stream *stream, struct sp_message *message);
/* Sends what the socket takes. *pending: there is more. KVP_IO: the connection is broken. */
kvp_status sp_stream_flush(struct sp_stream *stream, bool *pending);

#endif
