/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door: whoever came over TLS is let in as far as his rights go (replication/access/access.h).
 * A primary knows them as they are committed; another node as far as it has applied the log, and
 * looks again four times a second. Nobody is refused by what was known before: a refusal rests on a
 * look of its own, but for a storm of them.
 */
#include "replication/access/access.h"
#include "replication/node/exec_state.h"
#include "replication/wire/mp_reader.h"
#include "replication/wire/wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ACCESS_LOOK_US    250000u
#define ACCESS_AGAIN_US   10000u    /* between looks for those who are refused */
#define ACCESS_DENIALS_US 10000000u /* between lines in the log about them */

void exec_access_changed(struct kvp_executor *executor)
{
    if (KVP_MUTANT(ACCESS_OLD_LOOK)) {
        return;
    }
    executor->access.is_known = false;
}

/* Reads the rights anew. They are none where they cannot be read. */
static void access_read_rights(struct kvp_executor *executor)
{
    struct exec_access *access = &executor->access;
    struct kvp_raw_key key;
    kvp_raw_key_rights(&key);
    executor->value.size = 0;
    access->status =
        executor->running ? kvp_engine_rights(executor->engine, &executor->value)
        : executor->replacing
            ? KVP_UNAVAILABLE
            : kvp_storage_get(executor->storage, kvp_raw_key_slice(&key), &executor->value);
    if (access->status == KVP_NOT_FOUND) {
        access->status = KVP_OK;
    }
    kvp_slice record = access->status == KVP_OK ? kvp_buf_slice(&executor->value) : (kvp_slice){0};
    kvp_status status = kvp_rights_table_load(&access->table, record);
    access->status = access->status == KVP_OK ? status : access->status;
    access->looked_us = executor->now_us;
    access->is_known = true;
}

static bool access_is_old(const struct kvp_executor *executor, uint64_t age_us)
{
    return !executor->access.is_known || executor->now_us - executor->access.looked_us >= age_us;
}

/* Is the name in the list of --admin? */
static bool access_is_admin(const struct kvp_executor *executor, const char *name)
{
    const char *list = executor->config.admins;
    size_t size = strlen(name);
    while (*list != '\0') {
        size_t item = strcspn(list, ",");
        if (item == size && memcmp(list, name, size) == 0) {
            return true;
        }
        list += item + (list[item] == ',');
    }
    return false;
}

/* ---- what a question rests on ---- */

static bool access_owns_job(struct kvp_executor *executor, const struct kvp_request *request,
                            const char *name)
{
    executor->value.size = 0;
    return executor->running &&
           kvp_engine_job_owner(executor->engine, request->job.job, &executor->value) == KVP_OK &&
           kvp_slice_compare(kvp_buf_slice(&executor->value), kvp_slice_of(name, strlen(name))) ==
               0;
}

static bool access_owns_lease(struct kvp_executor *executor, const struct kvp_request *request,
                              const char *name)
{
    executor->value.size = 0;
    return executor->running &&
           kvp_engine_lease_owner(executor->engine, request->lease, &executor->value) == KVP_OK &&
           kvp_slice_compare(kvp_buf_slice(&executor->value), kvp_slice_of(name, strlen(name))) ==
               0;
}

static enum kvp_access_lack access_decide(struct kvp_executor *executor,
                                          const struct kvp_request *request, const char *name)
{
    kvp_slice kinds[KVP_JOB_KINDS_MAX];
    const struct kvp_operation *operation = kvp_operation_of(request->op);
    const struct kvp_access_asker asker = {
        .identity = request->asker,
        .rights = kvp_rights_table_find(&executor->access.table, kvp_slice_of(name, strlen(name))),
        .is_admin = access_is_admin(executor, name)};
    struct kvp_access_question question = {.op = request->op, .request = request, .kinds = kinds};
    if (operation->needs == KVP_NEEDS_JOB || operation->needs == KVP_NEEDS_LOOK) {
        question.owns_job = access_owns_job(executor, request, name);
    }
    if (operation->needs == KVP_NEEDS_LEASE && request->lease != 0) {
        question.owns_lease = access_owns_lease(executor, request, name);
    }
    if (operation->needs == KVP_NEEDS_WORK && request->op != KVP_OP_WORKER_JOIN &&
        executor->running) {
        question.kind_count =
            kvp_jobs_worker_kinds(kvp_engine_jobs(executor->engine), request->key, kinds);
    }
    return kvp_access_lacks(&asker, &question);
}

/* ---- who is refused ---- */

static void access_log_denial(struct kvp_executor *executor, const struct kvp_request *request,
                              const char *name, enum kvp_access_lack lack)
{
    struct exec_access *access = &executor->access;
    char quoted[2 * KVP_ACCESS_NAME_SIZE];
    access->denials++;
    if (access->denial_told_us != 0 &&
        executor->now_us - access->denial_told_us < ACCESS_DENIALS_US) {
        return;
    }
    exec_say(executor, KVP_LOG_WARN, "request_denied", "who=%s op=%s lacks=%s count=%" PRIu64,
             kvp_log_quote(quoted, sizeof(quoted), name), kvp_operation_of(request->op)->name,
             kvp_access_name(lack), access->denials);
    access->denials = 0;
    access->denial_told_us = executor->now_us;
}

/* Is it the primary that answers this? */
static bool access_is_of_primary(const struct kvp_request *request)
{
    const struct kvp_operation *operation = kvp_operation_of(request->op);
    return operation->served == KVP_SERVED_PRIMARY ||
           (operation->served == KVP_SERVED_READ && !request->stale);
}

/* For a bug that is planted. */
static bool access_key_is_there(struct kvp_executor *executor, kvp_slice key)
{
    struct kvp_raw_key raw;
    kvp_raw_key_data(&raw, key);
    executor->value.size = 0;
    return !executor->replacing &&
           kvp_storage_get(executor->storage, kvp_raw_key_slice(&raw), &executor->value) == KVP_OK;
}

static bool access_deny(struct kvp_executor *executor, const struct kvp_request *request,
                        void *token, const char *name, enum kvp_access_lack lack)
{
    executor->answering = request->op;
    if (executor->access.status != KVP_OK) {
        exec_refuse(executor, token, KVP_UNAVAILABLE, "the rights cannot be read at the moment");
        return false;
    }
    if (access_is_of_primary(request) && executor->running && !exec_serving(executor) &&
        !KVP_MUTANT(ACCESS_LOST_LEASE)) {
        exec_refuse(executor, token, KVP_UNAVAILABLE, "no lease from the in-sync set");
        return false; /* another one may lead by now, and know of more rights */
    }
    access_log_denial(executor, request, name, lack);
    bool tells = KVP_MUTANT(ACCESS_TELLS) && access_key_is_there(executor, request->key);
    exec_refuse(executor, token, KVP_REFUSED, tells ? "" : kvp_access_text(lack));
    return false;
}

/* Another node's to answer: what its own rights say is none of this one's business, and it may know
 * less of them. */
static bool access_is_elsewhere(const struct kvp_executor *executor,
                                const struct kvp_request *request)
{
    bool is_primary = executor->running && kvp_core_role(executor->core) == KVP_ROLE_PRIMARY;
    return access_is_of_primary(request) && !is_primary && request->op != KVP_OP_HANDOVER;
}

bool exec_access_may_read(struct kvp_executor *executor, const struct kvp_identity *who,
                          kvp_slice key)
{
    char name[KVP_ACCESS_NAME_SIZE];
    const struct kvp_request get = {.op = KVP_OP_GET, .asker = who, .key = key};
    return access_decide(executor, &get, kvp_access_print(who, name)) == KVP_ACCESS_GRANTED;
}

bool exec_access_permits(struct kvp_executor *executor, const struct kvp_request *request,
                         void *token)
{
    char name[KVP_ACCESS_NAME_SIZE];
    if (access_is_elsewhere(executor, request) || (KVP_MUTANT(ACCESS_STALE) && request->stale)) {
        return true; /* it is told so */
    }
    (void)kvp_access_print(request->asker, name);
    if (access_is_old(executor, ACCESS_LOOK_US)) {
        access_read_rights(executor);
    }
    enum kvp_access_lack lack = access_decide(executor, request, name);
    if (lack != KVP_ACCESS_GRANTED && access_is_old(executor, ACCESS_AGAIN_US)) {
        access_read_rights(executor);
        lack = access_decide(executor, request, name);
    }
    return lack == KVP_ACCESS_GRANTED || access_deny(executor, request, token, name, lack);
}

/* ---- who has done what ---- */

static bool access_is_told(const struct kvp_request *request)
{
    switch (request->op) {
    case KVP_OP_ACCESS_CHANGE:
    case KVP_OP_BACKUP:
    case KVP_OP_MEMBER_CHANGE:
    case KVP_OP_HANDOVER:
    case KVP_OP_PROMOTE:
    case KVP_OP_JOB_NEW:
    case KVP_OP_JOB_START:
    case KVP_OP_JOB_CANCEL:
    case KVP_OP_JOB_REMOVE:
    case KVP_OP_JOB_RETRY:
    case KVP_OP_JOB_SET:
    case KVP_OP_WORKER_SET:
    case KVP_OP_LEASE_REVOKE:
        return true;
    default:
        return false;
    }
}

/* Of one with a key the answer says whether it is new, too. 0: none was made. */
static uint64_t access_new_job(kvp_slice result)
{
    struct kvp_mp_reader reader;
    uint64_t job = 0;
    if (kvp_wire_read_uint(result, &job) != KVP_OK) {
        kvp_mp_begin(&reader, result);
        kvp_mp_array_of(&reader, 2);
        job = kvp_mp_uint(&reader);
        job = reader.failed ? 0 : job;
    }
    return job;
}

/* Whom the request is about, in the user's words, quoted. */
static void access_somebody(const char *what, kvp_slice who, char *out, size_t size)
{
    char name[KVP_ACCESS_NAME_SIZE], quoted[2 * KVP_ACCESS_NAME_SIZE];
    size_t length = who.size < sizeof(name) ? who.size : sizeof(name) - 1;
    memcpy(name, who.data, length);
    name[length] = '\0';
    (void)snprintf(out, size, " %s=%s", what, kvp_log_quote(quoted, sizeof(quoted), name));
}

/* What the request is about, as the line names it, with a blank before it; "": the group. */
static void access_object(const struct kvp_request *request, kvp_slice result, char *out,
                          size_t size)
{
    out[0] = '\0';
    switch (request->op) {
    case KVP_OP_ACCESS_CHANGE:
        access_somebody("identity", request->key, out, size);
        break;
    case KVP_OP_WORKER_SET:
        access_somebody("worker", request->key, out, size);
        break;
    case KVP_OP_MEMBER_CHANGE:
        (void)snprintf(out, size, " member=%u", request->member.id);
        break;
    case KVP_OP_LEASE_REVOKE:
        (void)snprintf(out, size, " lease=%" PRIu64, request->lease);
        break;
    case KVP_OP_JOB_NEW:
        (void)snprintf(out, size, " job=%" PRIu64, access_new_job(result));
        break;
    default:
        if (kvp_operation_of(request->op)->is_job) {
            (void)snprintf(out, size, " job=%" PRIu64, request->job.job);
        }
        break;
    }
}

static const char *access_operation(const struct kvp_request *request)
{
    return request->op != KVP_OP_ACCESS_CHANGE ? kvp_operation_of(request->op)->name
           : request->force                    ? "ACCESS_GRANT"
                                               : "ACCESS_REVOKE";
}

void exec_access_note(struct kvp_executor *executor, const struct kvp_request *request,
                      kvp_slice result, const char *outcome)
{
    char name[KVP_ACCESS_NAME_SIZE], who[2 * KVP_ACCESS_NAME_SIZE];
    char about[2 * KVP_ACCESS_NAME_SIZE + 16], said[128];
    if (access_is_told(request)) {
        (void)kvp_log_quote(who, sizeof(who), kvp_access_print(request->asker, name));
        (void)kvp_log_quote(said, sizeof(said), outcome);
        access_object(request, result, about, sizeof(about));
        exec_say(executor, KVP_LOG_INFO, "audit", "who=%s op=%s%s outcome=%s", who,
                 access_operation(request), about, said);
    }
}
