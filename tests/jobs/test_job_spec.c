/* SPDX-License-Identifier: Apache-2.0 */
/* Specifications of jobs on the wire. */
#include "tests/jobs/codec_support.h"

#include "replication/jobs/job_records.h"
#include "kvpair/job_spec.h"
#include "replication/wire/mp_writer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- specifications ---- */

enum field {
    NAME,
    TYPE,
    COPIES,
    QUORUM,
    COPIES_MAX,
    COMPARE,
    VERIFY,
    ROUNDS,
    PRIORITY,
    ATTEMPTS,
    TOLERANCE,
    SILENCE,
    DEADLINE,
    DELAY,
    KEEP,
    ELEMENT,
    ROWS,
    INNER,
    COLUMNS,
    TILE_ROWS,
    TILE_INNER,
    TILE_COLUMNS,
    FIELDS
};

static const uint64_t good_spec[FIELDS] = {
    [TYPE] = 1,       [COPIES] = 3,   [QUORUM] = 2,     [COPIES_MAX] = 5,  [COMPARE] = 2,
    [VERIFY] = 1,     [ROUNDS] = 10,  [PRIORITY] = 100, [ATTEMPTS] = 5,    [SILENCE] = 2000,
    [DEADLINE] = 600, [DELAY] = 10,   [KEEP] = 86400,   [ELEMENT] = 2,     [ROWS] = 100,
    [INNER] = 50,     [COLUMNS] = 70, [TILE_ROWS] = 10, [TILE_INNER] = 50, [TILE_COLUMNS] = 7,
};

static void put_spec(kvp_buf *out, const uint64_t *fields, const char *name, double tolerance)
{
    struct kvp_mp_writer writer;
    kvp_mp_write_begin(&writer, out);
    kvp_mp_write_array(&writer, FIELDS);
    kvp_mp_write_text(&writer, name);
    for (unsigned i = NAME + 1; i < FIELDS; i++) {
        if (i == TOLERANCE) {
            kvp_mp_write_double(&writer, tolerance);
        } else {
            kvp_mp_write_uint(&writer, fields[i]);
        }
    }
    assert_int_equal(kvp_mp_write_end(&writer), KVP_OK);
}

/* What is refused leaves the struct alone, and says why. */
static kvp_status decode_spec(kvp_slice bytes, struct kvp_job_spec *spec)
{
    static const struct kvp_job_spec untouched = {.name = "untouched", .rows = 4711};
    const char *reason = NULL;
    *spec = untouched;
    kvp_status status = kvp_job_spec_decode(bytes, spec, &reason);
    if (status == KVP_OK) {
        assert_null(reason);
    } else {
        assert_true(reason != NULL && reason[0] != '\0');
        assert_string_equal(spec->name, untouched.name);
        assert_int_equal(spec->rows, untouched.rows);
    }
    return status;
}

static kvp_status try_spec(const uint64_t *fields, const char *name, double tolerance)
{
    struct kvp_job_spec spec;
    kvp_buf bytes = {0};
    put_spec(&bytes, fields, name, tolerance);
    kvp_status status = decode_spec(kvp_buf_slice(&bytes), &spec);
    if (status == KVP_OK) {
        kvp_buf again = {0};
        assert_int_equal(kvp_job_spec_encode(&spec, &again), KVP_OK);
        assert_int_equal(kvp_slice_compare(kvp_buf_slice(&again), kvp_buf_slice(&bytes)), 0);
        kvp_buf_free(&again);
    }
    kvp_buf_free(&bytes);
    return status;
}

static kvp_status try_field(enum field field, uint64_t value)
{
    uint64_t fields[FIELDS];
    memcpy(fields, good_spec, sizeof(fields));
    fields[field] = value;
    return try_spec(fields, "", 0.5);
}

static void test_a_specification_comes_back_field_by_field(void **state)
{
    struct kvp_job_spec spec;
    kvp_buf bytes = {0};
    (void)state;
    put_spec(&bytes, good_spec, LONG_AGO, 0.25);
    assert_int_equal(decode_spec(kvp_buf_slice(&bytes), &spec), KVP_OK);
    assert_string_equal(spec.name, LONG_AGO);
    const uint64_t found[FIELDS] = {
        [TYPE] = spec.type,
        [COPIES] = spec.copies,
        [QUORUM] = spec.quorum,
        [COPIES_MAX] = spec.copies_max,
        [COMPARE] = spec.compare,
        [VERIFY] = spec.verify,
        [ROUNDS] = spec.rounds,
        [PRIORITY] = spec.priority,
        [ATTEMPTS] = spec.attempts_max,
        [SILENCE] = spec.silence_ms,
        [DEADLINE] = spec.deadline_ms,
        [DELAY] = spec.delay_ms,
        [KEEP] = spec.keep_s,
        [ELEMENT] = spec.element,
        [ROWS] = spec.rows,
        [INNER] = spec.inner,
        [COLUMNS] = spec.columns,
        [TILE_ROWS] = spec.tile_rows,
        [TILE_INNER] = spec.tile_inner,
        [TILE_COLUMNS] = spec.tile_columns,
    };
    assert_memory_equal(found, good_spec, sizeof(found));
    assert_true(spec.tolerance == 0.25);
    kvp_buf_free(&bytes);
}

static void test_the_defaults_are_good_specifications(void **state)
{
    (void)state;
    for (int type = KVP_JOB_TASKS; type <= KVP_JOB_MATMUL; type++) {
        struct kvp_job_spec spec, read;
        const char *reason = NULL;
        kvp_buf bytes = {0};
        kvp_job_spec_init(&spec, (enum kvp_job_type)type);
        if (type == KVP_JOB_MATMUL) {
            assert_int_equal(kvp_job_spec_check(&spec, &reason), KVP_BAD_REQUEST);
            spec.rows = spec.inner = spec.columns = 1;
            assert_int_equal(kvp_job_spec_tile(&spec, 28), KVP_OK);
        }
        assert_int_equal(kvp_job_spec_encode(&spec, &bytes), KVP_OK);
        assert_int_equal(decode_spec(kvp_buf_slice(&bytes), &read), KVP_OK);
        kvp_buf again = {0};
        assert_int_equal(kvp_job_spec_encode(&read, &again), KVP_OK);
        assert_int_equal(kvp_slice_compare(kvp_buf_slice(&again), kvp_buf_slice(&bytes)), 0);
        kvp_buf_free(&again);
        kvp_buf_free(&bytes);
    }
}

#define BELOW_2_32 ((uint64_t)UINT32_MAX)
#define FROM_2_32  (BELOW_2_32 + 1)

static const struct {
    enum field field;
    uint64_t value;
    kvp_status expected;
} limits[] = {
    {TYPE, 2, KVP_BAD_REQUEST},
    {TYPE, 257, KVP_BAD_REQUEST}, /* not cut to 1 */
    {COPIES, 0, KVP_BAD_REQUEST},
    {COPIES, 1, KVP_BAD_REQUEST}, /* below the quorum */
    {COPIES, 2, KVP_OK},
    {COPIES, 5, KVP_OK},
    {COPIES, 6, KVP_BAD_REQUEST}, /* above the most copies */
    {COPIES, 258, KVP_BAD_REQUEST},
    {QUORUM, 0, KVP_BAD_REQUEST},
    {QUORUM, 1, KVP_OK},
    {QUORUM, 3, KVP_OK},
    {QUORUM, 4, KVP_BAD_REQUEST},
    {COPIES_MAX, 2, KVP_BAD_REQUEST},
    {COPIES_MAX, 3, KVP_OK},
    {COPIES_MAX, 8, KVP_OK},
    {COPIES_MAX, 9, KVP_BAD_REQUEST},
    {COMPARE, 3, KVP_OK},
    {COMPARE, 4, KVP_BAD_REQUEST},
    {VERIFY, 2, KVP_OK},
    {VERIFY, 3, KVP_BAD_REQUEST},
    {ROUNDS, 0, KVP_BAD_REQUEST},
    {ROUNDS, 1, KVP_OK},
    {ROUNDS, 64, KVP_OK},
    {ROUNDS, 65, KVP_BAD_REQUEST},
    {PRIORITY, 0, KVP_OK},
    {PRIORITY, 255, KVP_OK},
    {PRIORITY, 256, KVP_BAD_REQUEST},
    {ATTEMPTS, 0, KVP_BAD_REQUEST},
    {ATTEMPTS, 1, KVP_OK},
    {ATTEMPTS, 255, KVP_OK},
    {ATTEMPTS, 256, KVP_BAD_REQUEST},
    {SILENCE, 99, KVP_BAD_REQUEST},
    {SILENCE, 100, KVP_OK},
    {SILENCE, 3600000, KVP_OK},
    {SILENCE, 3600001, KVP_BAD_REQUEST},
    {DEADLINE, 0, KVP_OK},
    {DEADLINE, BELOW_2_32, KVP_OK},
    {DEADLINE, FROM_2_32, KVP_BAD_REQUEST},
    {DELAY, BELOW_2_32, KVP_OK},
    {DELAY, FROM_2_32, KVP_BAD_REQUEST},
    {KEEP, 0, KVP_OK},
    {KEEP, BELOW_2_32, KVP_OK},
    {KEEP, FROM_2_32, KVP_BAD_REQUEST},
    {ELEMENT, 3, KVP_OK},
    {ELEMENT, 4, KVP_BAD_REQUEST},
    {ROWS, 0, KVP_BAD_REQUEST},
    {ROWS, 9, KVP_BAD_REQUEST}, /* less than a tile */
    {ROWS, 10, KVP_OK},
    {ROWS, 10 * (KVP_JOB_TASKS_MAX / 10), KVP_OK},
    {ROWS, 10 * (KVP_JOB_TASKS_MAX / 10) + 10, KVP_TOO_LARGE}, /* tasks */
    {ROWS, BELOW_2_32, KVP_TOO_LARGE},
    {ROWS, FROM_2_32, KVP_TOO_LARGE},
    {ROWS, UINT64_MAX, KVP_TOO_LARGE},
    {INNER, 0, KVP_BAD_REQUEST},
    {INNER, 49, KVP_BAD_REQUEST},
    {INNER, FROM_2_32, KVP_TOO_LARGE},
    {COLUMNS, 0, KVP_BAD_REQUEST},
    {COLUMNS, 6, KVP_BAD_REQUEST},
    {COLUMNS, FROM_2_32, KVP_TOO_LARGE},
    {TILE_ROWS, 0, KVP_BAD_REQUEST},
    {TILE_ROWS, 100, KVP_OK},
    {TILE_ROWS, 101, KVP_BAD_REQUEST},
    {TILE_ROWS, FROM_2_32 + 10, KVP_BAD_REQUEST},
    {TILE_INNER, 0, KVP_BAD_REQUEST},
    {TILE_INNER, 51, KVP_BAD_REQUEST},
    {TILE_COLUMNS, 0, KVP_BAD_REQUEST},
    {TILE_COLUMNS, 71, KVP_BAD_REQUEST},
};

static void test_every_field_has_its_limits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        kvp_status status = try_field(limits[i].field, limits[i].value);
        if (status != limits[i].expected) {
            fail_msg("case %zu: %s", i, kvp_strerror(status));
        }
    }
}

static void test_a_block_holds_at_most_1_mib(void **state)
{
    (void)state;
    static const struct {
        uint64_t rows, inner, columns;
        kvp_status expected;
    } cases[] = {
        {512, 512, 512, KVP_OK},
        {513, 512, 1, KVP_TOO_LARGE}, /* of A */
        {1, 512, 513, KVP_TOO_LARGE}, /* of B */
        {513, 1, 512, KVP_TOO_LARGE}, /* of C */
    };
    for (size_t i = 0; i < 4; i++) {
        uint64_t fields[FIELDS];
        memcpy(fields, good_spec, sizeof(fields));
        fields[ROWS] = fields[TILE_ROWS] = cases[i].rows;
        fields[INNER] = fields[TILE_INNER] = cases[i].inner;
        fields[COLUMNS] = fields[TILE_COLUMNS] = cases[i].columns;
        assert_int_equal(try_spec(fields, "", 0), cases[i].expected);
        fields[ELEMENT] = 1; /* of 8 bytes */
        assert_int_equal(try_spec(fields, "", 0), KVP_TOO_LARGE);
    }
}

static void test_a_tolerance_is_finite_and_not_negative(void **state)
{
    (void)state;
    assert_int_equal(try_spec(good_spec, "", 0), KVP_OK);
    assert_int_equal(try_spec(good_spec, "", 1e300), KVP_OK);
    assert_int_equal(try_spec(good_spec, "", -1e-300), KVP_BAD_REQUEST);
    assert_int_equal(try_spec(good_spec, "", INFINITY), KVP_BAD_REQUEST);
    assert_int_equal(try_spec(good_spec, "", -INFINITY), KVP_BAD_REQUEST);
    assert_int_equal(try_spec(good_spec, "", NAN), KVP_BAD_REQUEST);
}

static void test_tasks_are_compared_as_bytes_and_not_verified(void **state)
{
    (void)state;
    uint64_t fields[FIELDS] = {0};
    memcpy(fields, good_spec, sizeof(*fields) * ELEMENT);
    fields[TYPE] = 0;
    fields[COMPARE] = fields[VERIFY] = 0;
    assert_int_equal(try_spec(fields, "", 0), KVP_OK);
    fields[ELEMENT] = 200; /* not looked at */
    fields[ROWS] = UINT64_MAX;
    assert_int_equal(try_spec(fields, "", 0), KVP_OK);
    fields[COMPARE] = 1;
    assert_int_equal(try_spec(fields, "", 0), KVP_BAD_REQUEST);
    fields[COMPARE] = 0;
    fields[VERIFY] = 1;
    assert_int_equal(try_spec(fields, "", 0), KVP_BAD_REQUEST);
}

static void test_a_name_is_up_to_64_bytes_of_text(void **state)
{
    struct kvp_job_spec spec;
    kvp_buf bytes = {0};
    (void)state;
    assert_int_equal(try_spec(good_spec, LONG_AGO, 0), KVP_OK);
    assert_int_equal(try_spec(good_spec, LONG_AGO "x", 0), KVP_BAD_REQUEST);
    put_spec(&bytes, good_spec, "a-b", 0);
    *(uint8_t *)memchr(bytes.data, '-', bytes.size) = 0;
    assert_int_equal(decode_spec(kvp_buf_slice(&bytes), &spec), KVP_BAD_REQUEST);
    kvp_buf_free(&bytes);
}

static void test_a_specification_cut_off_or_too_long_is_refused(void **state)
{
    struct kvp_job_spec spec;
    kvp_buf bytes = {0};
    (void)state;
    put_spec(&bytes, good_spec, "name", 0.5);
    for (size_t size = 0; size < bytes.size; size++) {
        uint8_t *cut = exact(bytes.data, size);
        assert_int_equal(decode_spec(kvp_slice_of(cut, size), &spec), KVP_BAD_REQUEST);
        free(cut);
    }
    assert_memory_equal(bytes.data, "\xdc\x00\x16", 3);
    for (uint8_t count = 0x15; count <= 0x17; count++) {
        bytes.data[2] = count;
        assert_int_equal(decode_spec(kvp_buf_slice(&bytes), &spec),
                         count == FIELDS ? KVP_OK : KVP_BAD_REQUEST);
    }
    bytes.data[2] = FIELDS;
    assert_int_equal(kvp_buf_append(&bytes, "\xc0", 1), KVP_OK);
    assert_int_equal(decode_spec(kvp_buf_slice(&bytes), &spec), KVP_BAD_REQUEST);
    kvp_buf_free(&bytes);
}

/* What a version that does not know it wrote, or can read. */
static void test_a_specification_without_the_pause_has_the_default(void **state)
{
    struct kvp_job_spec spec, read;
    kvp_buf bytes = {0};
    (void)state;
    kvp_job_spec_init(&spec, KVP_JOB_TASKS);
    assert_int_equal(kvp_job_spec_encode(&spec, &bytes), KVP_OK);
    assert_int_equal(bytes.data[2], FIELDS);
    assert_int_equal(decode_spec(kvp_buf_slice(&bytes), &read), KVP_OK);
    assert_int_equal(read.retry_ms, KVP_JOB_RETRY_DEFAULT_MS);
    for (unsigned i = 0; i < 2; i++) {
        spec.retry_ms = i == 0 ? 0 : 3600000;
        bytes.size = 0;
        assert_int_equal(kvp_job_spec_encode(&spec, &bytes), KVP_OK);
        assert_int_equal(bytes.data[2], FIELDS + 1);
        assert_int_equal(decode_spec(kvp_buf_slice(&bytes), &read), KVP_OK);
        assert_int_equal(read.retry_ms, spec.retry_ms);
    }
    spec.retry_ms++;
    bytes.size = 0;
    assert_int_equal(kvp_job_spec_encode(&spec, &bytes), KVP_OK);
    assert_int_equal(decode_spec(kvp_buf_slice(&bytes), &read), KVP_BAD_REQUEST);
    kvp_buf_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_specification_comes_back_field_by_field),
        cmocka_unit_test(test_the_defaults_are_good_specifications),
        cmocka_unit_test(test_every_field_has_its_limits),
        cmocka_unit_test(test_a_block_holds_at_most_1_mib),
        cmocka_unit_test(test_a_tolerance_is_finite_and_not_negative),
        cmocka_unit_test(test_tasks_are_compared_as_bytes_and_not_verified),
        cmocka_unit_test(test_a_name_is_up_to_64_bytes_of_text),
        cmocka_unit_test(test_a_specification_without_the_pause_has_the_default),
        cmocka_unit_test(test_a_specification_cut_off_or_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
