/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scans: every one reads a state view of its own from beginning to end, page by page, so that it
 * shows one point in time. The cursor on the wire is {cursor id, page number}: a client that lost
 * an answer asks for the same page again and gets the same. A linearizable scan starts when
 * everything that was committed at its arrival has been applied.
 */
#include "replication/node/exec_state.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_BITS          20u
#define PAGE_MASK          ((1u << PAGE_BITS) - 1)
#define PAGE_COUNT_DEFAULT 1000u
#define PAGE_COUNT_MAX     10000u
#define PAGE_SIZE_DEFAULT  (256u * 1024u)
#define PAGE_SIZE_MAX      (1024u * 1024u)
#define ABANDONED_US       1000000u
/* Bytes that are read for one page, also where only keys are asked for: the store has no way around
 * the values. Who wants more asks again, and heartbeats and others come in between. */
#define PAGE_READ_MAX (1024u * 1024u)

static void cursor_free(struct exec_cursor *cursor)
{
    kvp_state_view_close(cursor->view);
    memset(cursor, 0, sizeof(*cursor));
}

static void cursor_set_owner(struct exec_cursor *cursor, const struct kvp_identity *asker)
{
    cursor->owner[0] = '\0';
    if (asker != NULL) {
        (void)kvp_access_print(asker, cursor->owner);
    }
}

/* Another one's is as none: the answer does not tell that it is there. */
static struct exec_cursor *cursor_find(struct kvp_executor *executor,
                                       const struct kvp_request *request)
{
    char owner[KVP_ACCESS_NAME_SIZE] = "";
    if (request->asker != NULL) {
        (void)kvp_access_print(request->asker, owner);
    }
    for (unsigned i = 0; i < EXEC_CURSORS_MAX; i++) {
        struct exec_cursor *cursor = &executor->cursors[i];
        if (cursor->id != 0 && cursor->id == request->cursor >> PAGE_BITS) {
            bool own = strcmp(cursor->owner, owner) == 0 || KVP_MUTANT(ACCESS_ANY_CURSOR);
            return own ? cursor : NULL;
        }
    }
    return NULL;
}

/* Free, read to its end, or left alone for a while: many clients just go away. */
static bool may_be_taken(const struct kvp_executor *executor, const struct exec_cursor *cursor)
{
    return cursor->id == 0 || cursor->done || executor->now_us - cursor->used_us > ABANDONED_US;
}

/* Of those that may be taken the one that was used the longest time ago. */
static struct exec_cursor *cursor_new(struct kvp_executor *executor)
{
    struct exec_cursor *best = NULL;
    for (unsigned i = 0; i < EXEC_CURSORS_MAX; i++) {
        struct exec_cursor *cursor = &executor->cursors[i];
        if (may_be_taken(executor, cursor) && (best == NULL || cursor->used_us < best->used_us)) {
            best = cursor;
        }
    }
    if (best != NULL) {
        uint64_t due_us = executor->now_us + EXEC_CURSOR_IDLE_US + 1;
        cursor_free(best);
        best->id = ++executor->last_cursor;
        executor->cursors_due_us =
            due_us < executor->cursors_due_us ? due_us : executor->cursors_due_us;
    }
    return best;
}

static kvp_status put_pair(struct kvp_scan_writer *writer, const struct exec_cursor *cursor,
                           kvp_slice key, kvp_slice value)
{
    struct kvp_record record;
    kvp_status status = kvp_record_decode(value, &record);
    if (status != KVP_OK) {
        return status;
    }
    return kvp_wire_scan_pair(writer, kvp_slice_of((const uint8_t *)key.data + 1, key.size - 1),
                              record.modify_revision, record.create_revision,
                              cursor->keys_only ? (kvp_slice){0} : record.value);
}

/* Writes pairs from the view's place on; *more when the page is full before the end. */
static kvp_status fill_page(struct exec_cursor *cursor, const struct kvp_request *request,
                            struct kvp_scan_writer *writer, bool *more)
{
    size_t count_max = request->count_max ? request->count_max : PAGE_COUNT_DEFAULT;
    size_t size_max = request->size_max ? request->size_max : PAGE_SIZE_DEFAULT;
    count_max = count_max < PAGE_COUNT_MAX ? count_max : PAGE_COUNT_MAX;
    size_max = size_max < PAGE_SIZE_MAX ? size_max : PAGE_SIZE_MAX;
    size_t start = writer->out->size, read = 0;
    for (size_t count = 0;; count++) {
        kvp_slice key, value;
        kvp_status status = kvp_state_view_read(cursor->view, &key, &value);
        if (status == KVP_NOT_FOUND) {
            *more = false;
            return KVP_OK;
        }
        if (status == KVP_OK && (count >= count_max || writer->out->size - start >= size_max ||
                                 read >= PAGE_READ_MAX)) {
            *more = true;
            return KVP_OK;
        }
        if (status == KVP_OK) {
            status = put_pair(writer, cursor, key, value);
            read += key.size + value.size;
        }
        if (status != KVP_OK) {
            return status;
        }
        kvp_state_view_next(cursor->view);
    }
}

static void remember_place(struct exec_cursor *cursor, struct kvp_raw_key *place)
{
    kvp_slice key, value;
    if (kvp_state_view_read(cursor->view, &key, &value) == KVP_OK) {
        place->size = key.size;
        memcpy(place->data, key.data, key.size);
    }
}

static void send_page(struct kvp_executor *executor, struct exec_cursor *cursor,
                      const struct kvp_request *request, void *token)
{
    struct kvp_scan_writer writer;
    uint64_t point = kvp_state_view_point(cursor->view).seq;
    uint64_t known = kvp_core_known_commit(executor->core);
    bool more = false;
    cursor->used_us = executor->now_us;
    remember_place(cursor, &cursor->page_start);
    executor->scratch.size = 0;
    kvp_status status = kvp_wire_scan_begin(&writer, &executor->scratch);
    if (status == KVP_OK) {
        status = fill_page(cursor, request, &writer, &more);
    }
    cursor->done = !more;
    if (status == KVP_OK && more && cursor->page + 1 == PAGE_MASK) {
        status = KVP_TOO_LARGE; /* 2^20 pages */
    }
    if (status == KVP_OK) {
        uint64_t next = more ? cursor->id << PAGE_BITS | (cursor->page + 1) : 0;
        status = kvp_wire_scan_end(&writer, next, point,
                                   cursor->stale && known > point ? known - point : 0);
    }
    if (status == KVP_OK) {
        exec_answer(executor, token, KVP_OK, kvp_buf_slice(&executor->scratch));
    } else {
        if (status != KVP_TOO_LARGE) {
            exec_storage_failed(executor, status);
        }
        exec_refuse(executor, token, status == KVP_TOO_LARGE ? status : KVP_UNAVAILABLE,
                    status == KVP_TOO_LARGE ? "a scan has at most 1048575 pages"
                                            : kvp_strerror(status));
    }
    /* The last page is kept, too, until the cursor is idle: its answer may get lost. A scan of one
     * page can be started anew instead. */
    if (status != KVP_OK || (!more && cursor->page == 0)) {
        cursor_free(cursor);
    }
}

/* Where the next page goes on, or this one is sent again. */
static kvp_status scan_seek(struct exec_cursor *cursor, const struct kvp_raw_key *key)
{
    return cursor->backwards ? kvp_state_view_seek_back(cursor->view, kvp_raw_key_slice(key),
                                                        kvp_raw_key_slice(&cursor->start))
                             : kvp_state_view_seek(cursor->view, kvp_raw_key_slice(key),
                                                   kvp_raw_key_slice(&cursor->end));
}

/* Backwards, too, the range's end is not in it. */
static kvp_status scan_first(struct exec_cursor *cursor)
{
    kvp_slice key, value;
    kvp_status status = scan_seek(cursor, cursor->backwards ? &cursor->end : &cursor->start);
    if (status == KVP_OK && cursor->backwards &&
        kvp_state_view_read(cursor->view, &key, &value) == KVP_OK &&
        kvp_slice_compare(key, kvp_raw_key_slice(&cursor->end)) == 0) {
        kvp_state_view_next(cursor->view);
    }
    return status;
}

static void scan_start(struct kvp_executor *executor, const struct kvp_request *request,
                       void *token)
{
    struct exec_cursor *cursor = cursor_new(executor);
    if (cursor == NULL) {
        exec_refuse(executor, token, KVP_BUSY, "too many scans under way");
        return;
    }
    kvp_raw_key_data(&cursor->start, request->key);
    if (request->value.size > 0) {
        kvp_raw_key_data(&cursor->end, request->value);
    } else {
        cursor->end = (struct kvp_raw_key){.size = 1, .data = {KVP_PREFIX_DATA + 1}};
    }
    cursor_set_owner(cursor, request->asker);
    cursor->stale = request->stale;
    cursor->keys_only = request->keys_only;
    cursor->backwards = request->backwards;
    cursor->view = kvp_storage_snapshot(executor->storage);
    kvp_status status = KVP_NO_MEMORY;
    if (cursor->view != NULL) {
        status = scan_first(cursor);
    }
    if (status != KVP_OK) {
        cursor_free(cursor);
        exec_storage_failed(executor, status);
        exec_refuse(executor, token, KVP_UNAVAILABLE, kvp_strerror(status));
        return;
    }
    send_page(executor, cursor, request, token);
}

static void scan_go_on(struct kvp_executor *executor, const struct kvp_request *request,
                       void *token)
{
    struct exec_cursor *cursor = cursor_find(executor, request);
    uint32_t page = (uint32_t)(request->cursor & PAGE_MASK);
    if (cursor == NULL || (page != cursor->page && page != cursor->page + 1)) {
        exec_refuse(executor, token, KVP_CURSOR_EXPIRED, NULL);
        return;
    }
    if (page == cursor->page) {
        kvp_status status = scan_seek(cursor, &cursor->page_start);
        if (status != KVP_OK) {
            cursor_free(cursor);
            exec_storage_failed(executor, status);
            exec_refuse(executor, token, KVP_UNAVAILABLE, kvp_strerror(status));
            return;
        }
    }
    cursor->page = page;
    send_page(executor, cursor, request, token);
}

static void park(struct kvp_executor *executor, const struct kvp_request *request, void *token)
{
    size_t size = request->key.size + request->value.size;
    uint8_t *keys = executor->parked_count < EXEC_PARKED_MAX ? malloc(size + 1) : NULL;
    if (keys == NULL) {
        exec_refuse(executor, token, KVP_BUSY, "too many scans under way");
        return;
    }
    if (request->key.size > 0) {
        memcpy(keys, request->key.data, request->key.size);
    }
    if (request->value.size > 0) {
        memcpy(keys + request->key.size, request->value.data, request->value.size);
    }
    struct exec_parked *parked = &executor->parked[executor->parked_count++];
    *parked = (struct exec_parked){
        .token = token, .needed = executor->committed, .request = *request, .keys = keys};
    parked->request.key.data = keys;
    parked->request.value.data = keys + request->key.size;
    kvp_core_apply(executor->core);
}

void exec_scan(struct kvp_executor *executor, const struct kvp_request *request, void *token)
{
    if (exec_store_is_away(executor, token)) {
        return;
    }
    if (request->cursor != 0) {
        scan_go_on(executor, request, token);
    } else if (request->stale || kvp_core_applied(executor->core) >= executor->committed) {
        scan_start(executor, request, token);
    } else {
        park(executor, request, token);
    }
}

bool exec_scan_rest(struct kvp_executor *executor, struct kvp_request *request)
{
    const struct exec_cursor *cursor = cursor_find(executor, request);
    if (cursor == NULL) {
        return false;
    }
    bool has_end = cursor->end.data[0] == KVP_PREFIX_DATA;
    const struct kvp_raw_key *from = cursor->backwards ? &cursor->start : &cursor->page_start;
    request->key = from->size > 0 ? kvp_slice_of(from->data + 1, from->size - 1) : (kvp_slice){0};
    request->value = kvp_slice_of(cursor->end.data + 1, has_end ? cursor->end.size - 1 : 0);
    return true;
}

void exec_scan_close(struct kvp_executor *executor, const struct kvp_request *request, void *token)
{
    struct exec_cursor *cursor = cursor_find(executor, request);
    if (cursor != NULL) {
        cursor_free(cursor);
    }
    exec_refuse(executor, token, KVP_OK, NULL);
}

static void unpark(struct kvp_executor *executor)
{
    unsigned kept = 0;
    executor->answering = KVP_OP_SCAN;
    for (unsigned i = 0; i < executor->parked_count; i++) {
        struct exec_parked parked = executor->parked[i];
        if (parked.request.asker != NULL &&
            !exec_access_permits(executor, &parked.request, parked.token)) {
            free(parked.keys); /* his right has gone meanwhile */
            continue;
        }
        if (!exec_serving(executor)) {
            exec_refuse(executor, parked.token, KVP_UNAVAILABLE, "no lease from the in-sync set");
        } else if (kvp_core_applied(executor->core) >= parked.needed) {
            scan_start(executor, &parked.request, parked.token);
        } else {
            executor->parked[kept++] = parked;
            continue;
        }
        free(parked.keys);
    }
    executor->parked_count = kept;
}

/* Looks at all cursors, so not at every step; notes when the next one may be idle. */
static void free_idle(struct kvp_executor *executor)
{
    executor->cursors_due_us = UINT64_MAX;
    for (unsigned i = 0; i < EXEC_CURSORS_MAX; i++) {
        struct exec_cursor *cursor = &executor->cursors[i];
        if (cursor->id != 0 && executor->now_us - cursor->used_us > EXEC_CURSOR_IDLE_US) {
            cursor_free(cursor);
        }
        uint64_t due_us = cursor->used_us + EXEC_CURSOR_IDLE_US + 1;
        if (cursor->id != 0 && due_us < executor->cursors_due_us) {
            executor->cursors_due_us = due_us;
        }
    }
    exec_backup_step(executor);
}

void exec_scan_step(struct kvp_executor *executor)
{
    if (executor->parked_count > 0) {
        unpark(executor);
    }
    if (executor->now_us >= executor->cursors_due_us) {
        free_idle(executor);
    }
}

void exec_scan_end(struct kvp_executor *executor, bool all)
{
    for (unsigned i = 0; i < EXEC_CURSORS_MAX; i++) {
        if (executor->cursors[i].id != 0 && (all || !executor->cursors[i].stale)) {
            cursor_free(&executor->cursors[i]);
        }
    }
    executor->answering = KVP_OP_SCAN;
    for (unsigned i = 0; i < executor->parked_count; i++) {
        exec_refuse(executor, executor->parked[i].token, KVP_NOT_PRIMARY, NULL);
        free(executor->parked[i].keys);
    }
    executor->parked_count = 0;
}
