/* SPDX-License-Identifier: Apache-2.0 */
/* The file of a backup, whole and damaged in every way, and what a store is made of it. */
#include "tests/kvstore/storage_support.h"
#include "tests/support/planted.h"

#include "kvstore/backup.h"
#include "kvstore/storage_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kvp_mutant kvp_mutant;

#define OLD_GROUP 77u
#define NEW_GROUP 0x1122334455667788u
#define PARTS     5u /* header, three chunks, trailer */

static bool on_disk;
static struct history history;

/* A backup of what the depot has, and where its parts begin. */
struct file {
    kvp_buf bytes;
    size_t parts[PARTS + 1];
    char *state;
};

static void file_header(struct file *file, struct kvp_backup_writer *writer, struct kvp_point point)
{
    const struct kvp_backup_header header = {.store_format = KVP_STORE_VERSION,
                                             .node = NODE,
                                             .group_id = OLD_GROUP,
                                             .point = point,
                                             .wall_ms = 1700000000000u,
                                             .group = GROUP};
    assert_int_equal(kvp_backup_write_header(writer, &header, &file->bytes), KVP_OK);
}

static void file_make(struct file *file, struct depot *depot)
{
    struct kvp_backup_writer writer = {0};
    struct kvp_state_view *view = kvp_storage_snapshot(depot->storage);
    bool last = false;
    unsigned part = 1;
    memset(file, 0, sizeof(*file));
    assert_non_null(view);
    file->state = state_dump(view);
    assert_int_equal(kvp_state_view_seek(view, (kvp_slice){0}, (kvp_slice){0}), KVP_OK);
    file_header(file, &writer, kvp_state_view_point(view));
    while (!last) {
        kvp_buf pairs = {0};
        file->parts[part++] = file->bytes.size;
        assert_int_equal(
            kvp_state_view_chunk(view, part == PARTS - 1 ? 1u << 20 : 40, &pairs, &last), KVP_OK);
        assert_int_equal(kvp_backup_write_chunk(&writer, kvp_buf_slice(&pairs), &file->bytes),
                         KVP_OK);
        kvp_buf_free(&pairs);
    }
    assert_int_equal(part, PARTS - 1);
    file->parts[part++] = file->bytes.size;
    assert_int_equal(kvp_backup_write_trailer(&writer, &file->bytes), KVP_OK);
    file->parts[part] = file->bytes.size;
    kvp_state_view_close(view);
}

static void file_free(struct file *file)
{
    kvp_buf_free(&file->bytes);
    free(file->state);
}

struct setting {
    struct depot depot;
    struct file file;
};

static int setup(void **state)
{
    static struct setting setting;
    depot_make(&setting.depot, on_disk);
    for (unsigned i = 0; i < 30; i++) {
        char key[8];
        (void)snprintf(key, sizeof(key), "k%u", i % 9);
        history_put(&history, 3, key, "value");
    }
    depot_append(&setting.depot, &history, 1, 30);
    depot_apply(&setting.depot, &history, 1, 30);
    file_make(&setting.file, &setting.depot);
    *state = &setting;
    return 0;
}

static int teardown(void **state)
{
    struct setting *setting = *state;
    file_free(&setting->file);
    depot_remove(&setting->depot);
    history_free(&history);
    return 0;
}

/* What reading the bytes comes to, in pieces of that size; offset of the fault. */
static kvp_status verdict(kvp_slice bytes, size_t piece, uint64_t *offset)
{
    struct kvp_backup_reader *reader = kvp_backup_reader_new(NULL, NULL);
    const uint8_t *next = bytes.data;
    kvp_status status = KVP_OK;
    for (size_t at = 0; status == KVP_OK && at < bytes.size; at += piece) {
        size_t size = bytes.size - at < piece ? bytes.size - at : piece;
        status = kvp_backup_reader_feed(reader, kvp_slice_of(next + at, size));
    }
    status = status == KVP_OK ? kvp_backup_reader_end(reader) : status;
    assert_true((status == KVP_OK) == (kvp_backup_reader_error(reader)[0] == '\0'));
    assert_true(status != KVP_OK || kvp_backup_reader_done(reader));
    *offset = kvp_backup_reader_offset(reader);
    if (status != KVP_OK) {
        char said[40];
        (void)snprintf(said, sizeof(said), "at offset %" PRIu64 ":", *offset);
        assert_non_null(strstr(kvp_backup_reader_error(reader), said));
    }
    kvp_backup_reader_free(reader);
    return status;
}

/* Where the part begins that has this byte. */
static uint64_t part_of(const struct file *file, size_t at)
{
    unsigned part = 0;
    while (file->parts[part + 1] <= at) {
        part++;
    }
    return file->parts[part];
}

static void test_what_was_written_is_read_in_any_pieces(void **state)
{
    const struct setting *setting = *state;
    const struct file *file = &setting->file;
    struct kvp_backup_reader *reader = kvp_backup_reader_new(NULL, NULL);
    uint64_t offset;
    for (size_t piece = 1; piece <= file->bytes.size; piece++) {
        assert_int_equal(verdict(kvp_buf_slice(&file->bytes), piece, &offset), KVP_OK);
    }
    assert_null(kvp_backup_reader_header(reader));
    assert_int_equal(kvp_backup_reader_feed(reader, kvp_buf_slice(&file->bytes)), KVP_OK);
    const struct kvp_backup_header *header = kvp_backup_reader_header(reader);
    const struct kvp_backup_totals *totals = kvp_backup_reader_totals(reader);
    assert_true(header->group_id == OLD_GROUP && header->node == NODE);
    check_point(header->point, history_point(&history, 30));
    assert_string_equal(header->group, GROUP);
    assert_int_equal(totals->chunks, PARTS - 2);
    assert_true(totals->keys > 0 && totals->keys == totals->pairs && totals->jobs == 0);
    kvp_backup_reader_free(reader);
}

static void test_a_backup_that_is_cut_anywhere_is_refused_with_the_offset(void **state)
{
    const struct setting *setting = *state;
    const struct file *file = &setting->file;
    uint64_t offset;
    for (size_t size = 0; size < file->bytes.size; size++) {
        assert_int_equal(verdict(kvp_slice_of(file->bytes.data, size), 17, &offset), KVP_CORRUPT);
        assert_int_equal(offset, part_of(file, size));
    }
}

static void test_every_flipped_bit_is_refused_with_the_offset(void **state)
{
    struct setting *setting = *state;
    struct file *file = &setting->file;
    uint64_t offset;
    for (size_t bit = 0; bit < 8 * file->bytes.size; bit++) {
        file->bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        kvp_status status = verdict(kvp_buf_slice(&file->bytes), 4096, &offset);
        assert_true(status == KVP_CORRUPT || (status == KVP_BAD_VERSION && bit / 8 - 8 < 4));
        assert_int_equal(offset, part_of(file, bit / 8));
        file->bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* The parts of the file in this order; 'h' is another header. */
static kvp_status reordered(const struct file *file, const char *order, uint64_t *offset)
{
    struct file other = {0};
    struct kvp_backup_writer writer = {0};
    file_header(&other, &writer, (struct kvp_point){99, 3, 4});
    kvp_buf made = {0};
    for (const char *each = order; *each != '\0'; each++) {
        unsigned part = (unsigned)(*each - '0');
        kvp_slice bytes = *each == 'h' ? kvp_buf_slice(&other.bytes)
                                       : kvp_slice_of(file->bytes.data + file->parts[part],
                                                      file->parts[part + 1] - file->parts[part]);
        assert_int_equal(kvp_buf_append(&made, bytes.data, bytes.size), KVP_OK);
    }
    kvp_status status = verdict(kvp_buf_slice(&made), made.size, offset);
    kvp_buf_free(&made);
    file_free(&other);
    return status;
}

static void test_parts_that_are_missing_twice_or_in_another_place_are_refused_at_once(void **state)
{
    const struct setting *setting = *state;
    const struct file *file = &setting->file;
    uint64_t offset;
    assert_int_equal(reordered(file, "01234", &offset), KVP_OK);
    assert_int_equal(reordered(file, "0234", &offset), KVP_CORRUPT);
    assert_int_equal(offset, file->parts[1]);
    assert_int_equal(reordered(file, "011234", &offset), KVP_CORRUPT);
    assert_int_equal(offset, file->parts[2]);
    assert_int_equal(reordered(file, "02134", &offset), KVP_CORRUPT);
    assert_int_equal(offset, file->parts[1]);
    assert_int_equal(reordered(file, "0124", &offset), KVP_CORRUPT);
    assert_int_equal(offset, file->parts[3]);
    assert_int_equal(reordered(file, "h1234", &offset), KVP_CORRUPT);
    assert_int_equal(reordered(file, "012344", &offset), KVP_CORRUPT);
    assert_int_equal(offset, file->parts[PARTS]);
    assert_int_equal(reordered(file, "1234", &offset), KVP_CORRUPT);
    assert_int_equal(offset, 0);
}

static void append_pair(kvp_buf *pairs, const char *key)
{
    uint8_t sizes[8];
    kvp_put_u32(sizes, (uint32_t)strlen(key));
    kvp_put_u32(sizes + 4, 0);
    assert_int_equal(kvp_buf_append(pairs, sizes, sizeof(sizes)), KVP_OK);
    assert_int_equal(kvp_buf_append(pairs, key, strlen(key)), KVP_OK);
}

/* Whatever the checksums say. */
static void test_keys_out_of_order_and_keys_that_are_no_state_are_refused(void **state)
{
    static const char *const orders[][2] = {{"Db", "Da"}, {"Da", "Da"}};
    (void)state;
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        struct file file = {0};
        struct kvp_backup_writer writer = {0};
        kvp_buf pairs = {0};
        uint64_t offset;
        file_header(&file, &writer, (struct kvp_point){9, 3, 4});
        for (size_t k = 0; k < 2; k++) {
            pairs.size = 0;
            append_pair(&pairs, orders[i][k]);
            assert_int_equal(kvp_backup_write_chunk(&writer, kvp_buf_slice(&pairs), &file.bytes),
                             KVP_OK);
        }
        assert_int_equal(kvp_backup_write_trailer(&writer, &file.bytes), KVP_OK);
        assert_int_equal(verdict(kvp_buf_slice(&file.bytes), 4096, &offset), KVP_CORRUPT);
        pairs.size = 0;
        append_pair(&pairs, "Mmeta");
        assert_int_equal(kvp_backup_write_chunk(&writer, kvp_buf_slice(&pairs), &file.bytes),
                         KVP_CORRUPT);
        kvp_buf_free(&pairs);
        file_free(&file);
    }
}

/* ---- restoring ---- */

static kvp_status take_pairs(void *arg, kvp_slice pairs)
{
    return kvp_storage_incoming_write(arg, pairs);
}

/* Into the place, up to and without the end. */
static struct kvp_storage *restore_begin(struct place *place, const struct file *file,
                                         struct kvp_backup_header *header)
{
    struct kvp_storage *storage = NULL;
    char message[256] = "";
    if (kvp_storage_restore_begin(place->env, GROUP, NODE, &storage, message, sizeof(message)) !=
        KVP_OK) {
        fail_msg("%s", message);
    }
    struct kvp_backup_reader *reader = kvp_backup_reader_new(take_pairs, storage);
    assert_int_equal(kvp_backup_reader_feed(reader, kvp_buf_slice(&file->bytes)), KVP_OK);
    assert_int_equal(kvp_backup_reader_end(reader), KVP_OK);
    *header = *kvp_backup_reader_header(reader);
    kvp_backup_reader_free(reader);
    return storage;
}

static void depot_restored(struct depot *depot, const struct file *file, struct kvp_point *base)
{
    struct kvp_backup_header header;
    struct kvp_storage *storage = restore_begin(&depot->place, file, &header);
    assert_int_equal(kvp_storage_restore_finish(storage, &header, header.group_id, base),
                     KVP_BAD_ARGUMENT);
    assert_int_equal(kvp_storage_restore_finish(storage, &header, NEW_GROUP, base), KVP_OK);
    kvp_storage_restore_end(storage);
    place_reopen(&depot->place);
}

static void test_a_restored_store_has_the_state_and_is_of_another_group(void **state)
{
    const struct setting *setting = *state;
    struct depot made = {0};
    struct kvp_point base;
    place_open(&made.place, on_disk);
    depot_restored(&made, &setting->file, &base);
    depot_open(&made);
    struct kvp_state_view *view = kvp_storage_snapshot(made.storage);
    char *dump = state_dump(view);
    assert_string_equal(dump, setting->file.state);
    free(dump);
    kvp_state_view_close(view);
    const struct kvp_loaded *loaded = &made.loaded;
    assert_true(loaded->meta.group_id == NEW_GROUP);
    assert_int_equal(loaded->meta.view.version, 0);
    assert_int_equal(loaded->meta.member_epoch, 0);
    assert_true(loaded->tail.seq >= 30 + KVP_RESTORE_JUMP && loaded->tail.epoch > 3);
    assert_true(kvp_point_equal(loaded->tail, base) && kvp_point_equal(loaded->applied, base));
    assert_true(loaded->log_first == base.seq + 1);
    depot_remove(&made);
}

/* Of the restored group a backup is made, and of that one another group. */
static void test_a_backup_of_what_was_restored_has_the_same_digest(void **state)
{
    const struct setting *setting = *state;
    struct depot made = {0};
    struct file again;
    struct kvp_point base;
    uint64_t digests[2];
    place_open(&made.place, on_disk);
    depot_restored(&made, &setting->file, &base);
    depot_open(&made);
    file_make(&again, &made);
    for (unsigned i = 0; i < 2; i++) {
        struct kvp_backup_reader *reader = kvp_backup_reader_new(NULL, NULL);
        const kvp_buf *bytes = i == 0 ? &setting->file.bytes : &again.bytes;
        assert_int_equal(kvp_backup_reader_feed(reader, kvp_buf_slice(bytes)), KVP_OK);
        digests[i] = kvp_backup_reader_totals(reader)->digest;
        kvp_backup_reader_free(reader);
    }
    assert_true(digests[0] == digests[1]);
    file_free(&again);
    depot_remove(&made);
}

static void test_a_directory_with_a_store_is_left_alone(void **state)
{
    struct setting *setting = *state;
    struct depot *depot = &setting->depot;
    struct kvp_storage *storage = NULL;
    char message[256] = "";
    depot_close(depot);
    char *before = place_stores(&depot->place);
    assert_int_equal(kvp_storage_restore_begin(depot->place.env, GROUP, NODE, &storage, message,
                                               sizeof(message)),
                     KVP_EXISTS);
    assert_non_null(strstr(message, "empty"));
    place_check_stores(&depot->place, before);
    free(before);
    depot_open(depot);
    check_state(depot, &history, 30);
}

/* The number of an entry has 48 bits where a lease's has it in itself. */
static void test_a_backup_whose_numbers_could_not_go_on_is_refused(void **state)
{
    const struct setting *setting = *state;
    struct depot made = {0};
    struct kvp_backup_header header;
    struct kvp_point base;
    place_open(&made.place, on_disk);
    struct kvp_storage *storage = restore_begin(&made.place, &setting->file, &header);
    header.point.seq = ((uint64_t)1 << 47) + 1;
    assert_int_equal(kvp_storage_restore_finish(storage, &header, NEW_GROUP, &base), KVP_TOO_LARGE);
    kvp_storage_restore_end(storage);
    place_reopen(&made.place);
    depot_restored(&made, &setting->file, &base);
    depot_open(&made);
    depot_remove(&made);
}

/* Killed before the end: no node begins with what is there, and it can be tried again. */
static void test_half_a_restored_store_is_none(void **state)
{
    const struct setting *setting = *state;
    struct depot made = {0};
    struct kvp_backup_header header;
    struct kvp_point base;
    place_open(&made.place, on_disk);
    struct kvp_storage *storage = restore_begin(&made.place, &setting->file, &header);
    char *left = place_stores(&made.place);
    assert_string_equal(left, "incoming-1 ");
    free(left);
    storage_free(storage);
    place_reopen(&made.place);
    assert_int_equal(depot_try(&made), KVP_CORRUPT);
    assert_non_null(strstr(made.message, "active"));
    depot_restored(&made, &setting->file, &base);
    depot_open(&made);
    assert_true(made.loaded.meta.group_id == NEW_GROUP);
    depot_remove(&made);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest cases[] = {
    CASE(test_what_was_written_is_read_in_any_pieces),
    CASE(test_a_backup_that_is_cut_anywhere_is_refused_with_the_offset),
    CASE(test_every_flipped_bit_is_refused_with_the_offset),
    CASE(test_parts_that_are_missing_twice_or_in_another_place_are_refused_at_once),
    CASE(test_keys_out_of_order_and_keys_that_are_no_state_are_refused),
    CASE(test_a_restored_store_has_the_state_and_is_of_another_group),
    CASE(test_a_backup_of_what_was_restored_has_the_same_digest),
    CASE(test_a_directory_with_a_store_is_left_alone),
    CASE(test_a_backup_whose_numbers_could_not_go_on_is_refused),
    CASE(test_half_a_restored_store_is_none),
};

static int run_cases(const char *name)
{
    return _cmocka_run_group_tests(name, cases, sizeof(cases) / sizeof(cases[0]), NULL, NULL);
}

static int run_planted(void)
{
    return run_cases("planted");
}

static void test_each_planted_bug_is_found(void **state)
{
    (void)state;
    assert_false(planted_bug_is_found(KVP_MUTANT_NONE, run_planted));
    for (int i = KVP_MUTANT_BACKUP_UNCHAINED; i <= KVP_MUTANT_RESTORE_SAME_GROUP; i++) {
        if (!planted_bug_is_found((enum kvp_mutant)i, run_planted)) {
            fail_msg("the planted bug %d is not found", i - KVP_MUTANT_BACKUP_UNCHAINED);
        }
    }
}

int main(void)
{
    const struct CMUnitTest planted[] = {cmocka_unit_test(test_each_planted_bug_is_found)};
    int failed = cmocka_run_group_tests_name("planted bugs", planted, NULL, NULL);
    failed += run_cases("in memory");
    on_disk = true;
    return failed + run_cases("on disk");
}
