/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has submitted a job, where rights are needed, and which of his jobs has a key. Keys of two
 * owners are two keys: nobody can take another one's, nor learn from an answer that it is taken.
 *
 * A key is claimed when a job is started, not when it is made: so two who submit the same at once
 * each upload a whole job, and one of the two begins. Who holds a key is a record of its own; one
 * that names a job that is gone names nobody.
 */
#include "replication/jobs/job_state.h"
#include "kvstore/base/mutant.h"

#include <string.h>

/* ---- owners ---- */

kvp_status owner_write(struct kvp_jobs *jobs, uint64_t job, kvp_slice owner)
{
    struct kvp_raw_key key;
    if (owner.size == 0) {
        return KVP_OK;
    }
    job_key_owner(&key, job);
    return job_put(jobs, &key, owner);
}

/* Into jobs->other; empty: nobody in particular. */
static kvp_status owner_read(struct kvp_jobs *jobs, const struct job *job)
{
    struct kvp_raw_key key;
    job_key_owner(&key, job->id);
    jobs->other.size = 0;
    kvp_status status = job_get(jobs, &key, &jobs->other);
    if (status == KVP_OK && jobs->other.size > JOB_OWNER_MAX) {
        return KVP_CORRUPT;
    }
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

/* Most jobs have none: what is not there is not deleted. */
kvp_status owner_remove(struct kvp_jobs *jobs, const struct job *job)
{
    struct kvp_raw_key key;
    kvp_status status = owner_read(jobs, job);
    job_key_owner(&key, job->id);
    return status == KVP_OK && jobs->other.size > 0 ? job_del(jobs, &key) : status;
}

/* ---- keys ---- */

static bool holds_key(const struct job *job)
{
    return job != NULL && job->record.state != JOB_UPLOADING && job->record.state != JOB_REMOVING;
}

/* 0: none has it. */
static kvp_status key_read(struct kvp_jobs *jobs, const struct kvp_raw_key *key, uint64_t *id)
{
    *id = 0;
    jobs->other.size = 0;
    kvp_status status = job_get(jobs, key, &jobs->other);
    if (status == KVP_OK) {
        return holder_record_decode(kvp_buf_slice(&jobs->other), id);
    }
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

static kvp_status key_of(struct kvp_jobs *jobs, const struct job *job, struct kvp_raw_key *key)
{
    kvp_status status = owner_read(jobs, job);
    if (status == KVP_OK) {
        job_key_holder(key, job->record.key, kvp_buf_slice(&jobs->other));
    }
    return status;
}

static kvp_status key_look(struct kvp_jobs *jobs, const struct kvp_raw_key *key, uint64_t now_us,
                           struct job **holder)
{
    uint64_t id;
    *holder = NULL;
    kvp_status status = key_read(jobs, key, &id);
    if (status == KVP_OK && id != 0) {
        status = job_look(jobs, id, now_us, holder);
    }
    *holder = status == KVP_OK && holds_key(*holder) ? *holder : NULL;
    if (KVP_MUTANT(JOB_KEY_FORGOTTEN) && *holder != NULL && (*holder)->inherited) {
        *holder = NULL;
    }
    return status == KVP_NOT_FOUND ? KVP_OK : status;
}

kvp_status key_find_holder(struct kvp_jobs *jobs, const char *name, kvp_slice owner,
                           uint64_t now_us, struct job **holder)
{
    struct kvp_raw_key key;
    job_key_holder(&key, name, owner);
    return key_look(jobs, &key, now_us, holder);
}

kvp_status key_find_rival(struct kvp_jobs *jobs, const struct job *job, uint64_t now_us,
                          struct job **holder)
{
    struct kvp_raw_key key;
    *holder = NULL;
    kvp_status status = key_of(jobs, job, &key);
    return status == KVP_OK ? key_look(jobs, &key, now_us, holder) : status;
}

kvp_status key_claim(struct kvp_jobs *jobs, const struct job *job)
{
    struct kvp_raw_key key;
    kvp_status status = key_of(jobs, job, &key);
    jobs->scratch.size = 0;
    if (status == KVP_OK) {
        status = holder_record_encode(job->id, &jobs->scratch);
    }
    return status == KVP_OK ? job_put(jobs, &key, kvp_buf_slice(&jobs->scratch)) : status;
}

kvp_status key_release(struct kvp_jobs *jobs, const struct job *job)
{
    struct kvp_raw_key key;
    uint64_t id = 0;
    if (job->record.key[0] == '\0') {
        return KVP_OK;
    }
    kvp_status status = key_of(jobs, job, &key);
    if (status == KVP_OK) {
        status = key_read(jobs, &key, &id);
    }
    return status == KVP_OK && id == job->id ? job_del(jobs, &key) : status;
}
