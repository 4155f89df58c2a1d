/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what lies in a data directory, as a chunk of a snapshot, or as an address. The first
 * byte says which.
 */
#include "tests/fuzz/fuzz.h"
#include "kvstore/storage_private.h"
#include "replication/net/sp_address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

static void try_pointer(kvp_slice bytes)
{
    struct storage_pointer pointer;
    kvp_buf again = {0};
    if (storage_pointer_decode(bytes, &pointer) == KVP_OK) {
        must(storage_pointer_encode(&pointer, &again) == KVP_OK, "pointer");
        must(kvp_slice_compare(kvp_buf_slice(&again), bytes) == 0, "pointer: other bytes");
        kvp_buf_free(&again);
    }
}

static void try_fixed(kvp_slice bytes)
{
    struct storage_slot slot;
    struct kvp_meta meta;
    uint8_t again[STORAGE_META_SIZE];
    if (bytes.size == STORAGE_SLOT_SIZE) {
        (void)storage_slot_decode(bytes.data, &slot);
    }
    if (storage_meta_decode(bytes, &meta) == KVP_OK) {
        storage_meta_encode(&meta, again);
        again[0] = *(const uint8_t *)bytes.data; /* version 1 is read, and not written */
        must(memcmp(again, bytes.data, bytes.size) == 0, "meta: other bytes");
    }
}

static void try_record(kvp_slice bytes)
{
    struct storage_record record;
    struct kvp_point point;
    kvp_slice payload;
    uint64_t seen = 0;
    if (storage_record_begin(&record, bytes) != KVP_OK) {
        return;
    }
    while (storage_record_next(&record, &point, &payload) == KVP_OK) {
        must(seen == 0 || point.seq == seen + 1, "record: a gap");
        must(point.seq <= record.last, "record: behind its end");
        seen = point.seq;
    }
}

/* A storage that has a snapshot's beginning: chunks come behind one that held the key "Dk". */
static struct kvp_storage *open_storage(struct kvp_env **env)
{
    struct kvp_storage *storage = NULL;
    struct kvp_loaded loaded;
    char message[256];
    static const uint8_t first[] = {2, 0, 0, 0, 0, 0, 0, 0, 'D', 'k'};
    must(kvp_env_memory_open(env) == KVP_OK, "env");
    must(kvp_storage_open(*env, "g", 1, &storage, &loaded, message, sizeof(message)) == KVP_OK,
         "storage");
    must(kvp_storage_incoming_begin(storage) == KVP_OK, "begin");
    must(kvp_storage_incoming_write(storage, kvp_slice_of(first, sizeof(first))) == KVP_OK,
         "write");
    return storage;
}

static void try_chunk(kvp_slice bytes)
{
    struct kvp_env *env = NULL;
    struct kvp_storage *storage = open_storage(&env);
    struct kvp_meta meta = {.group_id = 1};
    struct kvp_point point = {.seq = 5, .epoch = 1, .hash = 2};
    struct kvp_quarantined quarantined;
    kvp_buf chunk = {0};
    bool last = false;
    kvp_status status = kvp_storage_incoming_write(storage, bytes);
    must(status == KVP_OK || status == KVP_BAD_REQUEST, "chunk: status");
    if (status == KVP_OK) {
        /* What was taken comes out the same, behind the first chunk. */
        must(kvp_storage_incoming_finish(storage, point, &meta, KVP_KEEP_NOT, &quarantined) ==
                 KVP_OK,
             "finish");
        struct kvp_state_view *view = kvp_storage_snapshot(storage);
        must(view != NULL, "view");
        must(kvp_state_view_chunk(view, SIZE_MAX, &chunk, &last) == KVP_OK && last, "read");
        must(chunk.size == 10 + bytes.size, "chunk: size");
        must(bytes.size == 0 || memcmp(chunk.data + 10, bytes.data, bytes.size) == 0,
             "chunk: other bytes");
        kvp_state_view_close(view);
    }
    kvp_buf_free(&chunk);
    kvp_storage_close(storage);
    env->ops->close(env);
}

static void try_address(kvp_slice bytes)
{
    char url[300];
    struct sp_address address;
    if (bytes.size < sizeof(url)) {
        memcpy(url, bytes.data, bytes.size);
        url[bytes.size] = '\0';
        (void)sp_address_parse(url, &address);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    kvp_slice bytes = kvp_slice_of(data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        try_pointer(bytes);
        break;
    case 1:
        try_fixed(bytes);
        try_record(bytes);
        break;
    case 2:
        try_chunk(bytes);
        break;
    default:
        try_address(bytes);
        break;
    }
    return 0;
}
