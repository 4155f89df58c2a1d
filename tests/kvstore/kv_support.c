/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kvstore/kv_support.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- places ---- */

static void open_on_disk(struct place *place)
{
    char message[256] = "";
    if (kvp_env_posix_open(place->path, &place->env, message, sizeof(message)) != KVP_OK) {
        fail_msg("%s", message);
    }
}

/* A file system in memory will do, and where there are thousands of fsyncs to wait for it is much
 * faster. What a power cut does to a disk is tested elsewhere, and with other means. */
static const char *base_directory(void)
{
    return access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp";
}

void place_open(struct place *place, bool on_disk)
{
    memset(place, 0, sizeof(*place));
    place->on_disk = on_disk;
    if (on_disk) {
        (void)snprintf(place->path, sizeof(place->path), "%s/kvp-test-XXXXXX", base_directory());
        assert_non_null(mkdtemp(place->path));
        open_on_disk(place);
    } else {
        assert_int_equal(kvp_env_memory_open(&place->env), KVP_OK);
    }
}

void place_reopen(struct place *place)
{
    if (place->on_disk) {
        place->env->ops->close(place->env);
        open_on_disk(place);
    }
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

void place_close(struct place *place)
{
    if (place->env != NULL) {
        place->env->ops->close(place->env);
    }
    if (place->on_disk) {
        assert_int_equal(nftw(place->path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    }
}

/* ---- bytes ---- */

kvp_slice slice_of_text(const char *text)
{
    return kvp_slice_of(text, strlen(text));
}

void check_slice(kvp_slice found, kvp_slice expected)
{
    assert_int_equal(found.size, expected.size);
    if (expected.size > 0) {
        assert_memory_equal(found.data, expected.data, expected.size);
    }
}

/* Appends what must fit: tests do not go on without memory. */
static void add(kvp_buf *buf, kvp_slice bytes)
{
    assert_int_equal(kvp_buf_append(buf, bytes.data, bytes.size), KVP_OK);
}

static char *text_of(kvp_buf *buf)
{
    add(buf, kvp_slice_of("", 1));
    return (char *)buf->data;
}

/* ---- stores ---- */

struct kvp_store *store_open(struct place *place, const char *name)
{
    struct kvp_store *store = NULL;
    assert_int_equal(place->env->ops->open_store(place->env, name, true, &store), KVP_OK);
    return store;
}

void store_put(struct kvp_store *store, const char *key, const char *value)
{
    struct kvp_batch_op op = {.key = slice_of_text(key), .value = slice_of_text(value)};
    assert_int_equal(store->ops->write(store, &op, 1, false), KVP_OK);
}

void store_delete(struct kvp_store *store, const char *key)
{
    struct kvp_batch_op op = {.key = slice_of_text(key), .is_delete = true};
    assert_int_equal(store->ops->write(store, &op, 1, false), KVP_OK);
}

void store_check(struct kvp_store *store, const char *key, const char *expected)
{
    kvp_buf value = {0};
    kvp_status status = store->ops->get(store, slice_of_text(key), &value);
    assert_int_equal(status, expected == NULL ? KVP_NOT_FOUND : KVP_OK);
    check_slice(kvp_buf_slice(&value), slice_of_text(expected == NULL ? "" : expected));
    kvp_buf_free(&value);
}

char *store_dump(struct kvp_store *store, struct kvp_snapshot *snapshot)
{
    struct kvp_iter *iter = store->ops->iter(store, snapshot, true);
    kvp_buf dump = {0};
    assert_non_null(iter);
    for (store->ops->iter_seek(iter, TEXT("")); store->ops->iter_valid(iter);
         store->ops->iter_next(iter)) {
        add(&dump, store->ops->iter_key(iter));
        add(&dump, TEXT("="));
        add(&dump, store->ops->iter_value(iter));
        add(&dump, TEXT(" "));
    }
    assert_int_equal(store->ops->iter_status(iter), KVP_OK);
    store->ops->iter_close(iter);
    return text_of(&dump);
}

void store_check_all(struct kvp_store *store, const char *expected)
{
    char *dump = store_dump(store, NULL);
    assert_string_equal(dump, expected);
    free(dump);
}

/* ---- directories ---- */

struct names {
    char name[32][64];
    size_t count;
};

static void note_name(void *arg, const char *name)
{
    struct names *names = arg;
    assert_true(names->count < 32);
    (void)snprintf(names->name[names->count++], sizeof(names->name[0]), "%s", name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

char *place_stores(struct place *place)
{
    struct names names = {.count = 0};
    kvp_buf text = {0};
    assert_int_equal(place->env->ops->list_stores(place->env, note_name, &names), KVP_OK);
    qsort(names.name, names.count, sizeof(names.name[0]), compare_names);
    for (size_t i = 0; i < names.count; i++) {
        add(&text, slice_of_text(names.name[i]));
        add(&text, TEXT(" "));
    }
    return text_of(&text);
}

void place_check_stores(struct place *place, const char *expected)
{
    char *found = place_stores(place);
    assert_string_equal(found, expected);
    free(found);
}
