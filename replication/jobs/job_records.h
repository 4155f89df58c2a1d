/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs in the store: raw keys behind the prefix 'J', and the records under them. Version 1 of the
 * records is the first element of each.
 *
 *   key behind 'J'                      value
 *   'j', job be64                       job record
 *   't', job be64, task be32            task record; of a matrix job only once something happened
 *   'p', job be64, number be32          payload of a task, or input block
 *   'r', job be64, task be32, vote u8   a result
 *   'c', job be64, number be32          block of a product, summed up (inner dimension cut)
 *   'k', job be64, task be32            checkpoint
 *   'f', job be64, task be32            faults of a task: who failed it, or was lost with it
 *   'w', name                           worker record
 *   's', name                           standing of a worker; only of those that have lost some
 *   'o', job be64                       who submitted it over TLS, "user/ann"
 *   'n', key [, 0, owner]               which job has the key, of those that "owner" submitted over
 *                                       TLS: everybody has keys of his own
 *
 * Records are msgpack arrays. What is not here is not replicated: who has which task at the moment.
 *
 * Faults, standings, owners and holders of keys have keys of their own, which a version that does
 * not know them never looks at: so it reads the records that it knows.
 */
#ifndef KVP_JOB_RECORDS_H
#define KVP_JOB_RECORDS_H

#include "kvpair/job_spec.h"
#include "kvstore/keyspace.h"

#define JOB_REASON_MAX 200u
#define JOB_OWNER_MAX  (KVP_NAME_SIZE_MAX + 16u)
#define JOB_FAULTS_MAX 16u /* workers that a task remembers to have failed it */

enum job_state {
    JOB_UPLOADING,
    JOB_RUNNING,
    JOB_VERIFYING, /* all tasks are done */
    JOB_DONE,
    JOB_FAILED,
    JOB_CANCELLED,
    JOB_REMOVING,           /* its records are being deleted */
    JOB_DONE_WITH_FAILURES, /* all tasks are done but some that have failed, and who waits for them
                             */
};

enum task_state {
    TASK_WAITING, /* for other tasks */
    TASK_OPEN,    /* wants results */
    TASK_DONE,
    TASK_FAILED,
};

struct job_kind {
    char text[KVP_NAME_SIZE_MAX + 1];
};

struct job_record {
    struct kvp_job_spec spec;
    uint8_t state;
    uint32_t task_count; /* TASKS: added so far */
    uint32_t blocks;     /* MATMUL: input blocks that are there */
    char reason[JOB_REASON_MAX + 1];
    unsigned kind_count;
    struct job_kind kinds[KVP_JOB_KINDS_MAX];
    bool paused;
    uint8_t age; /* parts of expires_s that are over: the time itself is no node's to know */
    char key[KVP_NAME_SIZE_MAX + 1]; /* of the specification */
};

#define JOB_AGE_MAX 16u

/* A result that a worker posted. */
struct job_vote {
    char worker[KVP_NAME_SIZE_MAX + 1];
    uint64_t attempt;
    uint8_t outcome; /* RESULT or OVERFLOW */
    bool agreed;     /* one of those that decided */
    uint32_t size;
    uint64_t digest; /* of its bytes */
};

struct task_record {
    uint8_t state;
    uint8_t kind;
    bool feed;
    bool summed; /* MATMUL: the block of the product that this task begins is there */
    uint8_t copies;
    uint8_t lost;
    uint8_t winner;                  /* DONE: vote whose bytes are the result */
    uint32_t size;                   /* of the payload */
    char reason[JOB_REASON_MAX + 1]; /* why an attempt was lost, the last time */
    uint32_t after_count;
    kvp_slice after; /* encoded numbers, within the bytes that were read */
    unsigned vote_count;
    struct job_vote votes[KVP_JOB_COPIES_MAX];
};

struct worker_record {
    uint64_t instance;
    uint64_t buffer;
    bool standby; /* joined as one */
    bool active;  /* gets tasks: no standby, or activated */
    bool left;
    bool barred;
    uint32_t lost_votes;
    unsigned kind_count;
    struct job_kind kinds[KVP_JOB_KINDS_MAX];
    bool drained; /* is given no task, by an operator's word */
};

/* What a worker has done to a task. */
struct job_fault {
    char worker[KVP_NAME_SIZE_MAX + 1];
    uint8_t failed; /* times that it said so */
    uint8_t lost;   /* times that it fell silent, was started anew, or missed the deadline */
};

struct faults_record {
    uint32_t workers; /* different ones, also those that are not remembered any more */
    uint32_t failed;  /* attempts, by anybody */
    unsigned count;
    struct job_fault by[JOB_FAULTS_MAX]; /* the last one is the latest to be added */
};

struct standing_record {
    uint32_t faults; /* tasks that it failed and others did, less the results that counted since */
    uint32_t ever;   /* such tasks, all of them */
    char reason[JOB_REASON_MAX + 1]; /* why it failed the last of them */
};

enum job_key {
    JOB_KEY_JOB = 'j',
    JOB_KEY_TASK = 't',
    JOB_KEY_PAYLOAD = 'p',
    JOB_KEY_RESULT = 'r',
    JOB_KEY_SUM = 'c',
    JOB_KEY_CHECKPOINT = 'k',
    JOB_KEY_FAULTS = 'f',
    JOB_KEY_WORKER = 'w',
    JOB_KEY_STANDING = 's',
    JOB_KEY_OWNER = 'o',
    JOB_KEY_HOLDER = 'n',
};

void job_key_job(struct kvp_raw_key *raw, uint64_t job);
void job_key_owner(struct kvp_raw_key *raw, uint64_t job);
void job_key_part(struct kvp_raw_key *raw, enum job_key kind, uint64_t job, uint32_t number);
void job_key_result(struct kvp_raw_key *raw, uint64_t job, uint32_t task, uint8_t vote);
/* `kind`: JOB_KEY_WORKER or JOB_KEY_STANDING. */
void job_key_worker(struct kvp_raw_key *raw, enum job_key kind, const char *name);
/* `owner`: empty, or a name of at most JOB_OWNER_MAX bytes. */
void job_key_holder(struct kvp_raw_key *raw, const char *name, kvp_slice owner);
/* Splits a raw key of this file. KVP_CORRUPT. `number`, `name` as far as the kind has them. */
kvp_status job_key_split(kvp_slice raw, enum job_key *kind, uint64_t *job, uint32_t *number,
                         kvp_slice *name);

kvp_status job_record_encode(const struct job_record *record, kvp_buf *out);
kvp_status job_record_decode(kvp_slice bytes, struct job_record *record); /* KVP_CORRUPT */
/* The key that stands in an encoded specification. */
void job_record_take_key(struct job_record *record, kvp_slice spec);
kvp_status task_record_encode(const struct task_record *record, kvp_buf *out);
kvp_status task_record_decode(kvp_slice bytes, struct task_record *record); /* KVP_CORRUPT */
/* The next number of record->after; call it after_count times. */
uint32_t task_record_after(struct task_record *record);
kvp_status worker_record_encode(const struct worker_record *record, kvp_buf *out);
kvp_status worker_record_decode(kvp_slice bytes, struct worker_record *record); /* KVP_CORRUPT */
kvp_status faults_record_encode(const struct faults_record *record, kvp_buf *out);
kvp_status faults_record_decode(kvp_slice bytes, struct faults_record *record); /* KVP_CORRUPT */
kvp_status standing_record_encode(const struct standing_record *record, kvp_buf *out);
kvp_status holder_record_encode(uint64_t job, kvp_buf *out);
kvp_status holder_record_decode(kvp_slice bytes, uint64_t *job); /* KVP_CORRUPT */
kvp_status standing_record_decode(kvp_slice bytes,
                                  struct standing_record *record); /* KVP_CORRUPT */

#endif
