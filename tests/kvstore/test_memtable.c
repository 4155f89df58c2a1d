/* SPDX-License-Identifier: Apache-2.0 */
/* The size of LevelDB's memtable as we follow it, beside what LevelDB itself says. */
#include "tests/kvstore/kv_support.h"

#include "kvstore/memtable.h"

#include <leveldb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct table {
    struct place place; /* only its directory is used */
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_writeoptions_t *write;
    struct memtable_usage usage;
    uint64_t random;
};

static uint64_t roll(struct table *table, uint64_t count)
{
    table->random = table->random * 6364136223846793005u + 1442695040888963407u;
    return (table->random >> 33) % count;
}

static void table_open(struct table *table)
{
    char path[128], *error = NULL;
    memset(table, 0, sizeof(*table));
    place_open(&table->place, true);
    (void)snprintf(path, sizeof(path), "%s/db", table->place.path);
    table->options = leveldb_options_create();
    leveldb_options_set_create_if_missing(table->options, 1);
    leveldb_options_set_write_buffer_size(table->options, 64 << 20); /* never full here */
    table->write = leveldb_writeoptions_create();
    table->db = leveldb_open(table->options, path, &error);
    assert_null(error);
    memtable_usage_reset(&table->usage);
}

static void table_close(struct table *table)
{
    leveldb_close(table->db);
    leveldb_options_destroy(table->options);
    leveldb_writeoptions_destroy(table->write);
    place_close(&table->place);
}

/* Too small a number would be dangerous, one that is too large costs some syncs. */
static void check_range(size_t usage, size_t found)
{
    assert_in_range(usage, found < MEMTABLE_SLACK ? 0 : found - MEMTABLE_SLACK / 2,
                    found + MEMTABLE_SLACK / 2 + found / 128);
}

/* Nothing was read, so LevelDB's cache has nothing to add to the number. */
static size_t usage_of_leveldb(struct table *table)
{
    char *text = leveldb_property_value(table->db, "leveldb.approximate-memory-usage");
    assert_non_null(text);
    size_t usage = strtoul(text, NULL, 10);
    leveldb_free(text);
    return usage;
}

static void add(struct table *table, size_t key_size, size_t value_size, bool is_delete)
{
    static char bytes[8192];
    char *error = NULL;
    assert_true(key_size >= 8 && key_size <= sizeof(bytes) && value_size <= sizeof(bytes));
    for (size_t i = 0; i < 8; i++) {
        bytes[i] = (char)roll(table, 256);
    }
    struct kvp_batch_op op = {kvp_slice_of(bytes, key_size), kvp_slice_of(bytes, value_size),
                              is_delete};
    if (is_delete) {
        leveldb_delete(table->db, table->write, bytes, key_size, &error);
    } else {
        leveldb_put(table->db, table->write, bytes, key_size, bytes, value_size, &error);
    }
    assert_null(error);
    memtable_usage_add(&table->usage, &op);
}

static void check_usage(struct table *table)
{
    check_range(table->usage.bytes, usage_of_leveldb(table));
}

static void test_entries_of_one_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 9, 50, 100, 127, 128, 300, 980, 1000, 1100, 5000};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct table table;
        table_open(&table);
        check_usage(&table);
        while (table.usage.bytes < 8u << 20) {
            add(&table, 20, sizes[i], false);
            if (table.usage.count % 1000 == 0) {
                check_usage(&table);
            }
        }
        check_usage(&table);
        table_close(&table);
    }
}

static void test_entries_of_all_sizes(void **state)
{
    (void)state;
    struct table table;

    table_open(&table);
    while (table.usage.bytes < 16u << 20) {
        size_t most = roll(&table, 10) == 0 ? 8000 : 200;
        add(&table, 8 + roll(&table, 100), roll(&table, most), roll(&table, 10) == 0);
        if (table.usage.count % 100 == 0) {
            check_usage(&table);
        }
    }
    table_close(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries_of_one_size),
        cmocka_unit_test(test_entries_of_all_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
