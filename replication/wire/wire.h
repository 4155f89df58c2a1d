/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client and witness messages <-> bytes. Decoders never allocate, never recurse, check every count
 * and size against the limits before they believe it, and return slices into the message. Encoders
 * append to a kvp_buf. All functions are pure and thread-safe.
 */
#ifndef KVP_WIRE_H
#define KVP_WIRE_H

#include "replication/wire/request.h"
#include "kvstore/storage.h"
#include "replication/wire/wire_schema.h"

/* Reads the first two elements, without judging the rest: what to do with a message. */
kvp_status kvp_wire_peek(kvp_slice message, unsigned *version, unsigned *op);

/* Reads the fifth element of a peer's or a witness's request, the number of the node that says it,
 * without judging the rest. KVP_BAD_REQUEST. */
kvp_status kvp_wire_peek_sender(kvp_slice message, unsigned *node);

/* A client request. `scratch` holds the parts of a txn and lives as long as the request is used.
 * KVP_BAD_VERSION, KVP_BAD_OP, KVP_BAD_REQUEST, KVP_TOO_LARGE; `reason` (never NULL) is then a
 * static string. */
kvp_status kvp_wire_request_decode(kvp_slice message, struct kvp_txn_scratch *scratch,
                                   struct kvp_request *request, const char **reason);
kvp_status kvp_wire_request_encode(const struct kvp_request *request, kvp_buf *out);
/* How a key ends by itself: after a time, with a lease, or (both 0) not. KVP_BAD_REQUEST. */
kvp_status kvp_wire_check_hold(uint64_t ttl_ms, uint64_t lease, const char **reason);

/* An answer; result is one encoded msgpack value (empty slice: nil is written). */
struct kvp_answer {
    int status; /* kvp_status */
    uint64_t epoch;
    kvp_slice hint;   /* URL of the primary or empty */
    kvp_slice result; /* one encoded msgpack value */
};
/* KVP_TOO_LARGE: no transport would carry it; answer with that status instead. */
kvp_status kvp_wire_answer_encode(const struct kvp_answer *answer, kvp_buf *out);
kvp_status kvp_wire_answer_decode(kvp_slice message, struct kvp_answer *answer);

/* Results. Decoders: KVP_CORRUPT when the bytes are not of that form. */
kvp_status kvp_wire_result_uint(kvp_buf *out, uint64_t value);
kvp_status kvp_wire_result_string(kvp_buf *out, const char *text);
kvp_status kvp_wire_result_get(kvp_buf *out, uint64_t modify, uint64_t create, kvp_slice value,
                               uint64_t behind);
kvp_status kvp_wire_read_uint(kvp_slice result, uint64_t *value);
kvp_status kvp_wire_read_string(kvp_slice result, kvp_slice *text);

struct kvp_get_result {
    uint64_t modify, create, behind;
    kvp_slice value;
};
kvp_status kvp_wire_read_get(kvp_slice result, struct kvp_get_result *get);

struct kvp_hello {
    unsigned node_id, role, primary_id;
    uint64_t group_id, session_start;
    unsigned node_count;
    struct {
        unsigned id;
        kvp_slice url;
    } nodes[KVP_NODES_MAX];
};
kvp_status kvp_wire_result_hello(kvp_buf *out,
                                 const struct kvp_hello *hello); /* limits added here */
kvp_status kvp_wire_read_hello(kvp_slice result, struct kvp_hello *hello);

/* SCAN: build with begin, pair..., end (patches the count); read with an iterator. */
struct kvp_scan_writer {
    kvp_buf *out;
    size_t head; /* where the fixed-size head begins */
    uint32_t count;
};
kvp_status kvp_wire_scan_begin(struct kvp_scan_writer *writer, kvp_buf *out);
kvp_status kvp_wire_scan_pair(struct kvp_scan_writer *writer, kvp_slice key, uint64_t modify,
                              uint64_t create, kvp_slice value);
kvp_status kvp_wire_scan_end(struct kvp_scan_writer *writer, uint64_t cursor, uint64_t revision,
                             uint64_t behind);
struct kvp_scan_result {
    uint64_t cursor, revision, behind;
    uint32_t count;
    kvp_slice rest; /* the pairs not read yet */
};
kvp_status kvp_wire_read_scan(kvp_slice result, struct kvp_scan_result *scan);
/* Next pair; KVP_NOT_FOUND after the last. */
kvp_status kvp_wire_scan_next(struct kvp_scan_result *scan, kvp_slice *key,
                              struct kvp_get_result *pair);

/* BACKUP: the next bytes of its file. */
struct kvp_backup_page {
    uint64_t cursor; /* of this page; the next one has the next number */
    bool more;       /* there is one */
    uint64_t revision;
    kvp_slice bytes;
};
kvp_status kvp_wire_result_backup(kvp_buf *out, const struct kvp_backup_page *page);
kvp_status kvp_wire_read_backup(kvp_slice result, struct kvp_backup_page *page);

/* TXN: build with begin (number of results is known), then one call per operation. */
kvp_status kvp_wire_txn_begin(kvp_buf *out, bool succeeded, uint64_t revision, uint32_t count);
kvp_status kvp_wire_txn_get(kvp_buf *out, const struct kvp_get_result *get); /* NULL: absent */
kvp_status kvp_wire_txn_put(kvp_buf *out);
kvp_status kvp_wire_txn_delete(kvp_buf *out, bool was_there);
struct kvp_txn_result {
    bool succeeded;
    uint64_t revision;
    uint32_t count;
    kvp_slice rest;
};
enum kvp_txn_result_kind { KVP_TXN_RESULT_NIL, KVP_TXN_RESULT_GET, KVP_TXN_RESULT_BOOL };
kvp_status kvp_wire_read_txn(kvp_slice result, struct kvp_txn_result *txn);
kvp_status kvp_wire_txn_next(struct kvp_txn_result *txn, enum kvp_txn_result_kind *kind,
                             struct kvp_get_result *get, bool *flag);

/* Kinds of the tasks that a product makes itself: no task that is added may have one. */
bool kvp_job_kind_is_reserved(kvp_slice kind);

/* A task handed out (TASK_FETCH). */
struct kvp_task_grant {
    uint64_t job, attempt;
    uint32_t task, beat_ms, deadline_ms;
    kvp_slice kind, checkpoint, payload;
    uint32_t crc; /* CRC-32 of the payload */
};
kvp_status kvp_wire_result_grant(kvp_buf *out, const struct kvp_task_grant *grant);
kvp_status kvp_wire_read_grant(kvp_slice result, struct kvp_task_grant *grant);
kvp_status kvp_wire_result_bin(kvp_buf *out, kvp_slice bytes); /* JOB_RESULT */
kvp_status kvp_wire_read_bin(kvp_slice result, kvp_slice *bytes);
kvp_status kvp_wire_read_bool(kvp_slice result, bool *value); /* TASK_BEAT, TASK_POST */

/* STATUS: a map of str to uint, int, bool, str or nested map/array (depth at most 4). Written with
 * these: map(n) then n times key and value. */
kvp_status kvp_wire_map(kvp_buf *out, uint32_t pairs);
kvp_status kvp_wire_array(kvp_buf *out, uint32_t count);
kvp_status kvp_wire_string(kvp_buf *out, const char *text);
kvp_status kvp_wire_text(kvp_buf *out, kvp_slice text);
kvp_status kvp_wire_uint(kvp_buf *out, uint64_t value);
kvp_status kvp_wire_bool(kvp_buf *out, bool value);
kvp_status kvp_wire_nil(kvp_buf *out);
/* A result of STATUS or JOB_INFO as JSON text (wire_json.c): an object, or an array if a list is
 * wanted. Whatever a node sends, it is valid JSON. KVP_CORRUPT (it is something else),
 * KVP_NO_MEMORY. */
kvp_status kvp_wire_json(kvp_slice value, bool list, kvp_buf *text);

/* Witness: requests and the register in answers (result of all three: the register's present view,
 * or nil when the group is unknown; codes: KVP_OK, KVP_STALE_VIEW when the compare fails,
 * KVP_NOT_SEEDED for an unknown group, KVP_WRONG_GROUP when the group id differs). A CAS with
 * expected version 0 creates the group. */
struct kvp_witness_request {
    unsigned op;
    kvp_slice group;
    uint64_t epoch;
    unsigned from;
    uint64_t group_id; /* 0: GET by a blank node that does not know it */
    uint64_t expected; /* CAS */
    struct kvp_view view;
    bool force;                 /* SEED by an operator */
    struct kvp_numbers numbers; /* CLAIM: of the node's store */
};
kvp_status kvp_wire_witness_encode(const struct kvp_witness_request *request, kvp_buf *out);
kvp_status kvp_wire_witness_decode(kvp_slice message, struct kvp_witness_request *request,
                                   const char **reason);
/* The register as a result: [group id, view], group id first so that a blank node learns it; to
 * CLAIM also the number by which it knows the asker's node, if that is not 0. */
kvp_status kvp_wire_result_register(kvp_buf *out, uint64_t group_id, const struct kvp_view *view,
                                    uint64_t known);
kvp_status kvp_wire_read_register(kvp_slice result, uint64_t *group_id, struct kvp_view *view,
                                  uint64_t *known);

#endif
