/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backups: each reads a state view of its own to the end, page by page, as a scan does; what a page
 * has is the next part of the file (kvstore/backup.h), made here, so that its checksums go all the
 * way with it. The cursor on the wire is {id, page number}: a page whose answer got lost is asked
 * for again, and comes again byte for byte.
 *
 * What is applied is committed (R4): so any node that counts can give one, and a backup better than
 * the primary, which has clients. Who wants an update in it that he knows of names its revision.
 *
 * A view keeps what it sees on the disk. So few are open at a time, and none for ever.
 */
#include "replication/node/exec_state.h"

#include <inttypes.h>
#include <string.h>

#define PAGE_BITS         32u
#define PAGE_MASK         0xffffffffu
#define PAGE_SIZE_DEFAULT (256u * 1024u)
#define PAGE_SIZE_MIN     (16u * 1024u)
#define PAGE_SIZE_MAX     (1024u * 1024u)
#define ABANDONED_US      60000000u  /* then another one may have its place */
#define IDLE_US           300000000u /* then it is over */
#define LIFE_US           ((uint64_t)24 * 3600 * 1000000)

static void backup_free(struct exec_backup *backup)
{
    kvp_state_view_close(backup->view);
    memset(backup, 0, sizeof(*backup));
}

static void backup_name_asker(const struct kvp_request *request, char name[KVP_ACCESS_NAME_SIZE])
{
    name[0] = '\0';
    if (request->asker != NULL) {
        (void)kvp_access_print(request->asker, name);
    }
}

/* Another one's is as none. */
static struct exec_backup *backup_find(struct kvp_executor *executor,
                                       const struct kvp_request *request)
{
    char owner[KVP_ACCESS_NAME_SIZE];
    backup_name_asker(request, owner);
    for (unsigned i = 0; i < EXEC_BACKUPS_MAX; i++) {
        struct exec_backup *backup = &executor->backups[i];
        if (backup->id != 0 && backup->id == request->cursor >> PAGE_BITS &&
            strcmp(backup->owner, owner) == 0) {
            return backup;
        }
    }
    return NULL;
}

static struct exec_backup *backup_new(struct kvp_executor *executor,
                                      const struct kvp_request *request)
{
    struct exec_backup *best = NULL;
    for (unsigned i = 0; i < EXEC_BACKUPS_MAX; i++) {
        struct exec_backup *backup = &executor->backups[i];
        bool free = backup->id == 0 || executor->now_us - backup->used_us > ABANDONED_US;
        if (free && (best == NULL || backup->used_us < best->used_us)) {
            best = backup;
        }
    }
    if (best != NULL) {
        struct kvp_executor_sight sight = {0};
        backup_free(best);
        if (executor->host.look != NULL) {
            executor->host.look(executor->host.arg, &sight);
        }
        best->wall_ms = sight.wall_ms;
        best->begun_us = best->used_us = executor->now_us;
        if (executor->cursors_due_us > executor->now_us + IDLE_US) {
            executor->cursors_due_us = executor->now_us + IDLE_US + 1;
        }
        executor->last_backup = (executor->last_backup + 1) & 0x7fffffffu;
        best->id = executor->last_backup == 0 ? ++executor->last_backup : executor->last_backup;
        backup_name_asker(request, best->owner);
    }
    return best;
}

static kvp_status backup_header(const struct kvp_executor *executor, struct exec_backup *backup,
                                kvp_buf *bytes)
{
    struct kvp_backup_header header = {
        .store_format = KVP_STORE_VERSION,
        .node = executor->config.core.self,
        .group_id = kvp_core_group_id(executor->core),
        .point = kvp_state_view_point(backup->view),
        .wall_ms = backup->wall_ms,
    };
    memcpy(header.group, executor->config.group, sizeof(header.group));
    return kvp_backup_write_header(&backup->writer, &header, bytes);
}

/* Is there nothing behind the view's place? */
static kvp_status backup_at_end(const struct exec_backup *backup, bool *end)
{
    kvp_slice key, value;
    kvp_status status = kvp_state_view_read(backup->view, &key, &value);
    *end = status == KVP_NOT_FOUND;
    return *end ? KVP_OK : status;
}

/* The file's next bytes, from the view's place on. */
static kvp_status backup_fill(struct kvp_executor *executor, struct exec_backup *backup,
                              const struct kvp_request *request, kvp_buf *bytes)
{
    size_t size = request->size_max == 0 ? PAGE_SIZE_DEFAULT : request->size_max;
    size = size < PAGE_SIZE_MIN ? PAGE_SIZE_MIN : size > PAGE_SIZE_MAX ? PAGE_SIZE_MAX : size;
    kvp_buf *pairs = &executor->value;
    bool last = false;
    pairs->size = 0;
    kvp_status status = backup->page == 0 ? backup_header(executor, backup, bytes) : KVP_OK;
    status = status == KVP_OK ? kvp_state_view_chunk(backup->view, size, pairs, &last) : status;
    if (status == KVP_OK && pairs->size > 0) {
        status = kvp_backup_write_chunk(&backup->writer, kvp_buf_slice(pairs), bytes);
    }
    status = status == KVP_OK ? backup_at_end(backup, &last) : status;
    if (status == KVP_OK && last) {
        status = kvp_backup_write_trailer(&backup->writer, bytes);
    }
    backup->done = last;
    return status;
}

static void backup_remember_place(struct exec_backup *backup)
{
    kvp_slice key, value;
    backup->before = backup->writer;
    backup->page_start.size = 0;
    if (kvp_state_view_read(backup->view, &key, &value) == KVP_OK) {
        backup->page_start.size = key.size;
        memcpy(backup->page_start.data, key.data, key.size);
    }
}

static void backup_failed(struct kvp_executor *executor, struct exec_backup *backup, void *token,
                          kvp_status status)
{
    backup_free(backup);
    if (status == KVP_TOO_LARGE) {
        exec_refuse(executor, token, status, "a pair is larger than a backup can hold");
        return;
    }
    exec_storage_failed(executor, status);
    exec_refuse(executor, token, KVP_UNAVAILABLE, kvp_strerror(status));
}

static void backup_send(struct kvp_executor *executor, struct exec_backup *backup,
                        const struct kvp_request *request, void *token)
{
    kvp_buf bytes = {0};
    backup->used_us = executor->now_us;
    kvp_status status = backup_fill(executor, backup, request, &bytes);
    if (status == KVP_OK && !backup->done && backup->page + 1 == PAGE_MASK) {
        status = KVP_TOO_LARGE;
    }
    executor->scratch.size = 0;
    if (status == KVP_OK) {
        const struct kvp_backup_page page = {
            .cursor = backup->id << PAGE_BITS | backup->page,
            .more = !backup->done,
            .revision = kvp_state_view_point(backup->view).seq,
            .bytes = kvp_buf_slice(&bytes),
        };
        status = kvp_wire_result_backup(&executor->scratch, &page);
    }
    kvp_buf_free(&bytes);
    if (status != KVP_OK) {
        backup_failed(executor, backup, token, status);
        return;
    }
    exec_answer(executor, token, KVP_OK, kvp_buf_slice(&executor->scratch));
}

/* Does this node have what counts, and what was asked for? */
static bool backup_has(struct kvp_executor *executor, const struct kvp_request *request,
                       void *token)
{
    enum kvp_role role = kvp_core_role(executor->core);
    if (role != KVP_ROLE_PRIMARY && role != KVP_ROLE_BACKUP) {
        exec_refuse(executor, token, KVP_UNAVAILABLE,
                    "this node is not in sync: what it has may be old; ask another one");
        return false;
    }
    if (kvp_core_applied(executor->core) < request->version) {
        kvp_core_apply(executor->core);
        exec_refuse(executor, token, KVP_UNAVAILABLE,
                    "this node has not got as far as the revision that is asked for yet");
        return false;
    }
    return true;
}

static void backup_start(struct kvp_executor *executor, const struct kvp_request *request,
                         void *token)
{
    if (!backup_has(executor, request, token)) {
        return;
    }
    struct exec_backup *backup = backup_new(executor, request);
    if (backup == NULL) {
        exec_refuse(executor, token, KVP_BUSY, "as many backups as may be are under way here");
        return;
    }
    backup->view = kvp_storage_snapshot(executor->storage);
    if (backup->view == NULL) {
        backup_failed(executor, backup, token, KVP_NO_MEMORY);
        return;
    }
    if (request->asker != NULL) {
        exec_access_note(executor, request, (kvp_slice){0}, "begun");
    }
    backup_remember_place(backup);
    backup_send(executor, backup, request, token);
}

static void backup_go_on(struct kvp_executor *executor, struct exec_backup *backup,
                         const struct kvp_request *request, void *token)
{
    uint32_t page = (uint32_t)(request->cursor & PAGE_MASK);
    bool next = page == backup->page + 1 && !backup->done;
    if (page != backup->page && !next) {
        exec_refuse(executor, token, KVP_CURSOR_EXPIRED, NULL);
        return;
    }
    if (next) {
        backup_remember_place(backup);
    } else {
        kvp_status status = kvp_state_view_seek(
            backup->view, kvp_raw_key_slice(&backup->page_start), (kvp_slice){0});
        backup->writer = backup->before;
        if (status != KVP_OK) {
            backup_failed(executor, backup, token, status);
            return;
        }
    }
    backup->page = page;
    backup_send(executor, backup, request, token);
}

static void backup_finish(struct kvp_executor *executor, struct exec_backup *backup,
                          const struct kvp_request *request, void *token)
{
    struct kvp_executor_sight sight = {0};
    if (request->target == KVP_BACKUP_KEPT && !backup->done) {
        exec_refuse(executor, token, KVP_BAD_REQUEST, "its last page has not been asked for");
        return;
    }
    if (request->target == KVP_BACKUP_KEPT) {
        if (executor->host.look != NULL) {
            executor->host.look(executor->host.arg, &sight);
        }
        node_count_set(&executor->counts.backup_s, sight.wall_ms / 1000);
        exec_say(executor, KVP_LOG_INFO, "backup_kept",
                 "revision=%" PRIu64 " pairs=%" PRIu64 " bytes=%" PRIu64 " after_ms=%" PRIu64,
                 kvp_state_view_point(backup->view).seq, backup->writer.totals.pairs,
                 backup->writer.totals.size, (executor->now_us - backup->begun_us) / 1000);
    }
    backup_free(backup);
    exec_refuse(executor, token, KVP_OK, NULL);
}

void exec_backup(struct kvp_executor *executor, const struct kvp_request *request, void *token)
{
    struct exec_backup *backup = NULL;
    if (exec_store_is_away(executor, token)) {
        return;
    }
    if (request->cursor == 0 && request->target == KVP_BACKUP_GOES_ON) {
        backup_start(executor, request, token);
        return;
    }
    backup = backup_find(executor, request);
    if (backup == NULL) {
        exec_refuse(executor, token, KVP_CURSOR_EXPIRED, NULL);
    } else if (request->target == KVP_BACKUP_GOES_ON) {
        backup_go_on(executor, backup, request, token);
    } else {
        backup_finish(executor, backup, request, token);
    }
}

void exec_backup_step(struct kvp_executor *executor)
{
    for (unsigned i = 0; i < EXEC_BACKUPS_MAX; i++) {
        struct exec_backup *backup = &executor->backups[i];
        if (backup->id != 0 && (executor->now_us - backup->used_us > IDLE_US ||
                                executor->now_us - backup->begun_us > LIFE_US)) {
            backup_free(backup);
        }
        uint64_t due_us = backup->used_us + IDLE_US + 1;
        if (backup->id != 0 && due_us < executor->cursors_due_us) {
            executor->cursors_due_us = due_us;
        }
    }
}

void exec_backup_end(struct kvp_executor *executor)
{
    for (unsigned i = 0; i < EXEC_BACKUPS_MAX; i++) {
        backup_free(&executor->backups[i]);
    }
}
