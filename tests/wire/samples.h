/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message of every kind, by name, made with the project's encoders. They are the examples in
 * docs/protocol.md, the seeds of the fuzz targets, and what the tests here cut and damage.
 */
#ifndef KVP_TEST_SAMPLES_H
#define KVP_TEST_SAMPLES_H

#include "kvpair/kvp_base.h"

enum sample_kind {
    SAMPLE_REQUEST, /* of a client */
    SAMPLE_ANSWER,  /* to a client or from the witness */
    SAMPLE_PEER_REQUEST,
    SAMPLE_PEER_REPLY,
    SAMPLE_WITNESS_REQUEST,
    SAMPLE_FRAME, /* bytes of the transport: no message of the codec */
};

/* What the result in an answer is. */
enum sample_result {
    RESULT_NONE, /* no answer, or its result is nil */
    RESULT_UINT,
    RESULT_STRING,
    RESULT_GET,
    RESULT_HELLO,
    RESULT_SCAN,
    RESULT_TXN,
    RESULT_STATUS,
    RESULT_REGISTER,
    RESULT_BIN,
    RESULT_BOOL,
    RESULT_GRANT,
    RESULT_BACKUP,
    RESULT_KINDS,
};

struct sample {
    const char *name;
    enum sample_kind kind;
    enum sample_result result;
    void (*build)(kvp_buf *out); /* appends the bytes; aborts when the encoder refuses */
};

/* samples_jobs.c */
void sample_job_start(kvp_buf *out);
void sample_job_cancel(kvp_buf *out);
void sample_job_remove(kvp_buf *out);
void sample_job_retry(kvp_buf *out);
void sample_job_set(kvp_buf *out);
void sample_worker_set(kvp_buf *out);

/* samples_leases.c */
void sample_put_held(kvp_buf *out);
void sample_create_held(kvp_buf *out);
void sample_lease_grant(kvp_buf *out);
void sample_lease_keep(kvp_buf *out);
void sample_lease_revoke(kvp_buf *out);
void sample_lease_list(kvp_buf *out);
void sample_lease_show(kvp_buf *out);

extern const struct sample samples[];
extern const size_t sample_count;

const struct sample *sample_find(const char *name); /* NULL: none */

/*
 * Decodes a message and encodes again what was understood, so that nothing of it gets lost on the
 * way unseen. The decoder's status; aborts when what was decoded cannot be encoded. SAMPLE_FRAME is
 * copied.
 */
kvp_status sample_recode(enum sample_kind kind, kvp_slice message, kvp_buf *out);

/* The same for the result of an answer. */
kvp_status sample_recode_result(enum sample_result kind, kvp_slice result, kvp_buf *out);

/* The same for the list of tasks in JOB_TASKS. */
kvp_status sample_recode_tasks(kvp_slice array, kvp_buf *out);

/* What was accepted must come back as the same bytes from then on: aborts if not. */
void sample_check_stable(enum sample_kind kind, kvp_slice message);
void sample_check_result_stable(enum sample_result kind, kvp_slice result);

/* A deterministic random number (splitmix64). */
uint64_t sample_random(uint64_t *state);

#endif
