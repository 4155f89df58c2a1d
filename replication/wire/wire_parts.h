/* SPDX-License-Identifier: Apache-2.0 */
/* What the codecs of the wire share among themselves: the beginning of every message, and views. */
#ifndef KVP_WIRE_PARTS_H
#define KVP_WIRE_PARTS_H

#include "kvstore/storage.h"
#include "replication/wire/mp_reader.h"
#include "replication/wire/mp_writer.h"
#include "replication/wire/request.h"
#include "replication/wire/wire_schema.h"

/* Stands behind version and op, in an array of `count` elements in all. KVP_BAD_REQUEST,
 * KVP_BAD_VERSION, KVP_TOO_LARGE, with `reason`. */
kvp_status kvp_wire_open(kvp_slice message, struct kvp_mp_reader *reader, unsigned *op,
                         uint32_t *count, const char **reason);

/* Sets `reason` and returns `status`. */
kvp_status kvp_wire_refuse(kvp_status status, const char *text, const char **reason);

/* KVP_OK when the reader is done, else what to say about it. */
kvp_status kvp_wire_finish(const struct kvp_mp_reader *reader, const char **reason);

/* The largest unsigned for all that are larger. */
unsigned kvp_wire_clamp(uint64_t value);

/* Limits of what a message carries. KVP_BAD_REQUEST, KVP_TOO_LARGE, with `reason`. */
kvp_status kvp_wire_check_group(kvp_slice group, const char **reason);
kvp_status kvp_wire_check_key(kvp_slice key, const char **reason);
kvp_status kvp_wire_check_value(kvp_slice value, const char **reason);

/* A key and its value; their sizes are added to *total. */
kvp_status kvp_wire_check_pair(kvp_slice key, kvp_slice value, uint64_t *total,
                               const char **reason);

/* wire_txn.c: the args of a transaction. */
kvp_status kvp_wire_check_txn(const struct kvp_request *request, const char **reason);
kvp_status kvp_wire_take_txn(struct kvp_mp_reader *reader, struct kvp_txn_scratch *scratch,
                             struct kvp_request *request, const char **reason);
void kvp_wire_write_txn(struct kvp_mp_writer *writer, const struct kvp_request *request);

/* Numbers of entries, epochs and versions are smaller: whoever sends a larger one has not counted
 * to it, and nothing that is added to one overflows. */
#define KVP_WIRE_NUMBER_END ((uint64_t)1 << 62)

/* [incarnation, replaces, earlier ones]. Reading fails where the incarnation or one of those is 0.
 */
void kvp_wire_write_numbers(struct kvp_mp_writer *writer, const struct kvp_numbers *numbers);
void kvp_wire_take_numbers(struct kvp_mp_reader *reader, struct kvp_numbers *numbers);

/* A view: [version, epoch, primary, in-sync set]. Sound: all zero ("no view"), or version and epoch
 * not 0, ids 1..63, the primary a member of the set. Reading fails for any other. */
void kvp_wire_write_view(struct kvp_mp_writer *writer, const struct kvp_view *view);
struct kvp_view kvp_wire_take_view(struct kvp_mp_reader *reader);
bool kvp_wire_view_is_sound(const struct kvp_view *view);

#endif
