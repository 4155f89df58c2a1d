/* SPDX-License-Identifier: Apache-2.0 */
/* Matrices read from files and written: .npy byte by byte, CSV, Matrix Market. */
#include "tests/jobs/matrix_support.h"
#include "replication/matrix/matrix_file.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENOUGH 1000000u

/* The whole file as NumPy 1.24 writes numpy.array([[1, 2, 3], [4, 5, 6]], dtype='<i4'). */
static const char npy_int32[] = "\x93NUMPY\x01\x00\x76\x00"
                                "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }"
                                "                                                          \n"
                                "\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05\0\0\0\x06\0\0\0";

static void check_elements(const struct kvp_matrix *matrix, const double *expected)
{
    for (uint64_t i = 0; i < matrix->rows * matrix->columns; i++) {
        assert_true(element_get(matrix, i / matrix->columns, i % matrix->columns) == expected[i]);
    }
}

static void check_shape(const struct kvp_matrix *matrix, enum kvp_matrix_type type, uint64_t rows,
                        uint64_t columns)
{
    assert_int_equal(matrix->type, type);
    assert_int_equal(matrix->rows, rows);
    assert_int_equal(matrix->columns, columns);
    assert_int_equal(matrix->data.size, rows * columns * kvp_matrix_element_size(type));
}

static void check_refused(kvp_status status, kvp_status expected, const struct kvp_matrix *matrix,
                          const char *message, const char *said)
{
    if (status != expected || strcmp(message, said) != 0) {
        print_message("status %d: %s\n", status, message);
    }
    assert_int_equal(status, expected);
    assert_string_equal(message, said);
    assert_null(matrix->data.data);
}

/* ---- .npy ---- */

/* A file of this version and header, the data behind it. */
static kvp_buf npy_file(unsigned version, const char *header, const void *data, size_t size)
{
    kvp_buf file = {0};
    size_t length = strlen(header);
    uint8_t begin[12] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', (uint8_t)version, 0, (uint8_t)length, (uint8_t)(length >> 8),
        0,    0};
    assert_int_equal(kvp_buf_append(&file, begin, version == 1 ? 10 : 12), KVP_OK);
    assert_int_equal(kvp_buf_append(&file, header, length), KVP_OK);
    assert_int_equal(kvp_buf_append(&file, data, size), KVP_OK);
    return file;
}

static void npy_accept(unsigned version, const char *header, const void *data, size_t size,
                       enum kvp_matrix_type type, uint64_t rows, uint64_t columns,
                       const double *expected)
{
    char message[200] = "";
    kvp_buf file = npy_file(version, header, data, size);
    struct kvp_matrix matrix;
    assert_int_equal(kvp_npy_read(kvp_buf_slice(&file), ENOUGH, &matrix, message, sizeof(message)),
                     KVP_OK);
    check_shape(&matrix, type, rows, columns);
    check_elements(&matrix, expected);
    kvp_matrix_free(&matrix);
    kvp_buf_free(&file);
}

static void npy_refuse(kvp_status expected, unsigned version, const char *header, const void *data,
                       size_t size, const char *said)
{
    char message[200] = "";
    kvp_buf file = npy_file(version, header, data, size);
    struct kvp_matrix matrix;
    kvp_status status =
        kvp_npy_read(kvp_buf_slice(&file), ENOUGH, &matrix, message, sizeof(message));
    check_refused(status, expected, &matrix, message, said);
    kvp_buf_free(&file);
}

static void test_npy_of_numpy_is_read_and_written_byte_by_byte(void **state)
{
    (void)state;
    struct kvp_matrix matrix;
    kvp_buf file = {0};
    kvp_slice bytes = kvp_slice_of(npy_int32, sizeof(npy_int32) - 1);
    assert_int_equal(bytes.size, 128 + 24);
    assert_int_equal(kvp_npy_read(bytes, 24, &matrix, NULL, 0), KVP_OK);
    check_shape(&matrix, KVP_INT32, 2, 3);
    check_elements(&matrix, (double[]){1, 2, 3, 4, 5, 6});
    assert_int_equal(kvp_npy_write(&matrix, &file), KVP_OK);
    assert_int_equal(kvp_slice_compare(kvp_buf_slice(&file), bytes), 0);
    kvp_matrix_free(&matrix);
    kvp_buf_free(&file);
}

static void test_npy_types_orders_and_versions(void **state)
{
    (void)state;
    const double six[] = {1, 2, 3, 4, 5, 6};
    const int32_t by_columns[] = {1, 4, 2, 5, 3, 6};
    const float singles[] = {1, 2, 3, 4, 5, 6};
    const double doubles[] = {1, 2, 3, 4, 5, 6}, reals_by_columns[] = {1, 4, 2, 5, 3, 6};
    const int64_t longs[] = {1, 2, 3, 4, 5, 6};
    npy_accept(1, "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), }   \n", by_columns, 24,
               KVP_INT32, 2, 3, six);
    npy_accept(2, "{'shape': (2, 3,), 'fortran_order': False, 'descr': '<f4'}", singles, 24,
               KVP_FLOAT32, 2, 3, six);
    npy_accept(3, "{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"=f8\"}\n", doubles, 48,
               KVP_FLOAT64, 2, 3, six);
    npy_accept(1, "{'descr': '|i8', 'fortran_order': False, 'shape': (3L, 2L), }\n", longs, 48,
               KVP_INT64, 3, 2, six);
    npy_accept(1, "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3)}\n", reals_by_columns,
               48, KVP_FLOAT64, 2, 3, six);
    npy_accept(1, "{'descr': '>i4', 'fortran_order': False, 'shape': (1, 2), }\n",
               "\0\0\x01\x02\xff\xff\xff\xfe", 8, KVP_INT32, 1, 2, (double[]){258, -2});
    npy_accept(1, "{'descr': '>f8', 'fortran_order': True, 'shape': (1, 2), }\n",
               "\x3f\xf0\0\0\0\0\0\0\xc0\0\0\0\0\0\0\0", 16, KVP_FLOAT64, 1, 2, (double[]){1, -2});
}

static void test_npy_that_is_no_matrix_is_refused(void **state)
{
    (void)state;
    const char zeros[64] = {0};
    static const char *const no_matrix[] = {
        "the array has 1 dimension; a matrix has two: reshape it to (rows, columns)",
        "the array has 0 dimensions; a matrix has two: reshape it to (rows, columns)",
        "the array has 3 dimensions; a matrix has two: reshape it to (rows, columns)"};
    npy_refuse(KVP_BAD_REQUEST, 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (3,), }",
               zeros, 12, no_matrix[0]);
    npy_refuse(KVP_BAD_REQUEST, 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (), }", zeros,
               4, no_matrix[1]);
    npy_refuse(KVP_BAD_REQUEST, 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (1,1,1), }",
               zeros, 4, no_matrix[2]);
    npy_refuse(KVP_BAD_REQUEST, 1, "{'descr': '<i2', 'fortran_order': False, 'shape': (1, 1), }",
               zeros, 2,
               "the array's element type '<i2' is not supported: it must be int32, int64, float32 "
               "or float64");
    npy_refuse(KVP_BAD_REQUEST, 1, "{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }",
               zeros, 2,
               "the array's element type '|O' is not supported: it must be int32, int64, float32 "
               "or float64");
    npy_refuse(KVP_BAD_REQUEST, 1,
               "{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1, 1), }", zeros, 4,
               "the array's elements are records, not numbers");
    npy_refuse(KVP_BAD_REQUEST, 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (0, 3), }",
               zeros, 0, "the matrix has no elements");
    npy_refuse(KVP_BAD_REQUEST, 4, "{}", zeros, 0, "version 4 of the .npy format is not supported");
}

static void test_npy_that_lies_about_its_size_is_refused(void **state)
{
    (void)state;
    const char zeros[64] = {0};
    npy_refuse(KVP_BAD_REQUEST, 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }",
               zeros, 23,
               "the .npy file has 23 bytes of data, but its shape (2, 3) of int32 needs 24");
    npy_refuse(KVP_BAD_REQUEST, 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }",
               zeros, 25,
               "the .npy file has 25 bytes of data, but its shape (2, 3) of int32 needs 24");
    npy_refuse(KVP_TOO_LARGE, 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (500, 501), }",
               zeros, 64,
               "a matrix of 500 rows and 501 columns of int32 is too large: at most 1000000 bytes "
               "are allowed");
    npy_refuse(KVP_TOO_LARGE, 1,
               "{'descr': '<i4', 'fortran_order': False, 'shape': (4294967296, 4294967297), }",
               zeros, 64,
               "a matrix of 4294967296 rows and 4294967297 columns of int32 is too large: at most "
               "1000000 bytes are allowed");
    npy_refuse(KVP_BAD_REQUEST, 1,
               "{'descr': '<i4', 'fortran_order': False, 'shape': (18446744073709551616, 1), }",
               zeros, 64, "the header of the .npy file is damaged");
}

static void test_npy_with_a_damaged_header_is_refused(void **state)
{
    (void)state;
    static const char *const damaged[] = {
        "",
        "{",
        "{}",
        "}",
        "{'descr'}",
        "{'descr': }",
        "{'descr: '<i4'}",
        "{'descr': '<i4', 'fortran_order': False}",
        "{'descr': '<i4', 'shape': (1, 1)}",
        "{'fortran_order': False, 'shape': (1, 1)}",
        "{'descr': '<i4', 'descr': '<i4', 'fortran_order': False, 'shape': (1, 1)}",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 1), 'shape': (1, 1)}",
        "{'descr': '<i4', 'fortran_order': 0, 'shape': (1, 1)}",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (1 1)}",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 1}",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (-1, 1)}",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (, 1)}",
        "{'descr': '<i4', 'fortran_order': False, 'shape': 1}",
        "{'descr': '<i4', 'fortran_order': False 'shape': (1, 1)}",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 1)} x",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 1), 'more': 1}"};
    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
        npy_refuse(KVP_BAD_REQUEST, 1, damaged[i], "\0\0\0", 4,
                   "the header of the .npy file is damaged");
    }
}

/* Every beginning of a file, in memory of just that size. */
static void test_npy_that_ends_early_is_refused(void **state)
{
    (void)state;
    for (size_t size = 0; size < sizeof(npy_int32) - 1; size++) {
        char message[200] = "", *copy = malloc(size + 1);
        struct kvp_matrix matrix;
        memcpy(copy + 1, npy_int32, size);
        assert_int_equal(
            kvp_npy_read(kvp_slice_of(copy + 1, size), ENOUGH, &matrix, message, sizeof(message)),
            KVP_BAD_REQUEST);
        assert_string_not_equal(message, "");
        free(copy);
    }
}

static void test_npy_with_a_huge_header_is_refused(void **state)
{
    (void)state;
    char message[200];
    struct kvp_matrix matrix;
    kvp_status status = kvp_npy_read(TEXT("\x93NUMPY\x02\x00\xff\xff\xff\xff{}"), ENOUGH, &matrix,
                                     message, sizeof(message));
    check_refused(status, KVP_BAD_REQUEST, &matrix, message,
                  "the header of the .npy file claims 4294967295 bytes; at most 65536 are read");
    status = kvp_npy_read(TEXT("\x93NUMPX\x02\x00\xff\xff\xff\xff{}"), ENOUGH, &matrix, message,
                          sizeof(message));
    check_refused(status, KVP_BAD_REQUEST, &matrix, message, "this is not an .npy file");
}

static void test_npy_with_numbers_that_are_not_finite_is_refused(void **state)
{
    (void)state;
    const float singles[] = {1, 2, 3, INFINITY};
    const double doubles[] = {1, 2, NAN, 4};
    npy_refuse(KVP_BAD_REQUEST, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }",
               singles, 16, "row 2, column 2 is not a finite number");
    npy_refuse(KVP_BAD_REQUEST, 1, "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 2), }",
               doubles, 32, "row 1, column 2 is not a finite number");
}

static void test_files_written_are_read_as_the_same_matrix(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 80; i++) {
        enum kvp_matrix_type type = all_types[i % 4];
        double size = type == KVP_INT32 ? 0x1p31 : type == KVP_INT64 ? 0x1p63 : ldexp(1, i);
        uint64_t rows = random_count(&seed, 20), columns = random_count(&seed, 20);
        struct kvp_matrix matrix = random_matrix(&seed, type, rows, columns, size), again;
        kvp_buf npy = {0}, csv = {0};
        assert_int_equal(kvp_npy_write(&matrix, &npy), KVP_OK);
        assert_int_equal((npy.size - matrix.data.size) % 64, 0);
        assert_int_equal(kvp_npy_read(kvp_buf_slice(&npy), ENOUGH, &again, NULL, 0), KVP_OK);
        check_shape(&again, type, rows, columns);
        assert_memory_equal(again.data.data, matrix.data.data, matrix.data.size);
        kvp_matrix_free(&again);
        assert_int_equal(kvp_csv_write(&matrix, &csv), KVP_OK);
        assert_int_equal(kvp_csv_read(kvp_buf_slice(&csv), (int)type, ENOUGH, &again, NULL, 0),
                         KVP_OK);
        check_shape(&again, type, rows, columns);
        assert_memory_equal(again.data.data, matrix.data.data, matrix.data.size);
        kvp_matrix_free(&again);
        kvp_matrix_free(&matrix);
        kvp_buf_free(&npy);
        kvp_buf_free(&csv);
    }
}

/* ---- CSV ---- */

typedef kvp_status (*text_reader)(kvp_slice file, int wanted, uint64_t size_max,
                                  struct kvp_matrix *matrix, char *message, size_t message_size);

/* The bytes are in memory of exactly their size, for ASan. */
static kvp_status read_text(text_reader reader, const char *text, int wanted,
                            struct kvp_matrix *matrix, char message[200])
{
    size_t size = strlen(text);
    struct unaligned copy = unaligned_copy(kvp_slice_of(text, size));
    kvp_status status = reader(copy.bytes, wanted, ENOUGH, matrix, message, 200);
    free(copy.memory);
    return status;
}

static void text_accept(text_reader reader, const char *text, int wanted, enum kvp_matrix_type type,
                        uint64_t rows, uint64_t columns, const double *expected)
{
    char message[200] = "";
    struct kvp_matrix matrix;
    kvp_status status = read_text(reader, text, wanted, &matrix, message);
    assert_string_equal(message, "");
    assert_int_equal(status, KVP_OK);
    check_shape(&matrix, type, rows, columns);
    check_elements(&matrix, expected);
    kvp_matrix_free(&matrix);
}

static void text_refuse(text_reader reader, const char *text, int wanted, kvp_status expected,
                        const char *said)
{
    char message[200] = "";
    struct kvp_matrix matrix;
    kvp_status status = read_text(reader, text, wanted, &matrix, message);
    check_refused(status, expected, &matrix, message, said);
}

static void test_csv_separators_comments_and_ends_of_lines(void **state)
{
    (void)state;
    static const char *const texts[] = {"1,2,3\n4,5,6\n",
                                        "1,2,3\r\n4,5,6\r\n",
                                        "1;2;3\n4;5;6",
                                        "1\t2\t3\n4\t5\t6\n",
                                        "1 2 3\n4 5 6\n",
                                        "  1   2  3  \n 4\t5 6\t",
                                        "1, 2 ,3\n\n\n4,5,6\n",
                                        "# head, er\n1,2,3 # x\n#\n4,5,6\n",
                                        ("\xef\xbb\xbf"
                                         "1,2,3\n4,5,6"),
                                        "+1,02,3\n4,5,6\n\n",
                                        "\n\n1,2,3\n \t \n4,5,6"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        text_accept(kvp_csv_read, texts[i], KVP_MATRIX_GUESS, KVP_INT64, 2, 3,
                    (double[]){1, 2, 3, 4, 5, 6});
    }
    text_accept(kvp_csv_read, "7", KVP_MATRIX_GUESS, KVP_INT64, 1, 1, (double[]){7});
}

static void test_csv_guesses_the_type(void **state)
{
    (void)state;
    text_accept(kvp_csv_read, "-9223372036854775808,9223372036854774784", KVP_MATRIX_GUESS,
                KVP_INT64, 1, 2, (double[]){-0x1p63, 0x1.fffffffffffffp62});
    text_accept(kvp_csv_read, "1,2.0", KVP_MATRIX_GUESS, KVP_FLOAT64, 1, 2, (double[]){1, 2});
    text_accept(kvp_csv_read, "1\n.5\n-5.\n1e-3\n", KVP_MATRIX_GUESS, KVP_FLOAT64, 4, 1,
                (double[]){1, 0.5, -5, 1e-3});
    text_accept(kvp_csv_read, "9223372036854775808,1", KVP_MATRIX_GUESS, KVP_FLOAT64, 1, 2,
                (double[]){0x1p63, 1});
}

static void test_csv_numbers_are_read_exactly(void **state)
{
    (void)state;
    text_accept(kvp_csv_read, "1e3,2.50e1,-0.0,12345e-0", KVP_INT32, KVP_INT32, 1, 4,
                (double[]){1000, 25, 0, 12345});
    text_accept(kvp_csv_read, "-2147483648,2147483647", KVP_INT32, KVP_INT32, 1, 2,
                (double[]){INT32_MIN, INT32_MAX});
    text_accept(kvp_csv_read,
                "0.1000000000000000055511151231257827021181583404541015625,1e-400,"
                "1.7976931348623157e308,4.9e-324,0e999999999999999999",
                KVP_FLOAT64, KVP_FLOAT64, 1, 5, (double[]){0.1, 0, DBL_MAX, 0x1p-1074, 0});
    /* Half way between two float64, and a bit more. */
    text_accept(kvp_csv_read, "9007199254740993.0,9007199254740993.00000000000000000000000000001",
                KVP_FLOAT64, KVP_FLOAT64, 1, 2, (double[]){9007199254740992, 9007199254740994});
    text_accept(kvp_csv_read, "0.1,16777216,18446744073709551616", KVP_FLOAT32, KVP_FLOAT32, 1, 3,
                (double[]){(double)0.1f, 16777216, 0x1p64});
}

static void test_csv_refuses_what_a_type_cannot_hold(void **state)
{
    (void)state;
    text_refuse(kvp_csv_read, "1,2\n3,2147483648", KVP_INT32, KVP_BAD_REQUEST,
                "line 2, column 2: '2147483648' does not fit int32");
    text_refuse(kvp_csv_read, "-2147483649", KVP_INT32, KVP_BAD_REQUEST,
                "line 1, column 1: '-2147483649' does not fit int32");
    text_refuse(kvp_csv_read, "9223372036854775808", KVP_INT64, KVP_BAD_REQUEST,
                "line 1, column 1: '9223372036854775808' does not fit int64");
    text_refuse(kvp_csv_read, "1e19", KVP_INT64, KVP_BAD_REQUEST,
                "line 1, column 1: '1e19' does not fit int64");
    text_refuse(kvp_csv_read, "1e999999999999", KVP_INT64, KVP_BAD_REQUEST,
                "line 1, column 1: '1e999999999999' does not fit int64");
    text_refuse(kvp_csv_read, "\n1.5", KVP_INT64, KVP_BAD_REQUEST,
                "line 2, column 1: '1.5' is not an integer");
    text_refuse(kvp_csv_read, "0.99999999999999999999999", KVP_INT64, KVP_BAD_REQUEST,
                "line 1, column 1: '0.99999999999999999999999' is not an integer");
    text_refuse(kvp_csv_read, "16777217", KVP_FLOAT32, KVP_BAD_REQUEST,
                "line 1, column 1: '16777217' cannot be kept exactly as float32");
    text_refuse(kvp_csv_read, "0.5,9007199254740993", KVP_MATRIX_GUESS, KVP_BAD_REQUEST,
                "line 1, column 2: '9007199254740993' cannot be kept exactly as float64");
    text_refuse(kvp_csv_read, "99999999999999999999", KVP_MATRIX_GUESS, KVP_BAD_REQUEST,
                "line 1, column 1: '99999999999999999999' cannot be kept exactly as float64");
    text_refuse(kvp_csv_read, "1e39", KVP_FLOAT32, KVP_BAD_REQUEST,
                "line 1, column 1: '1e39' is too large for float32");
    text_refuse(kvp_csv_read, "1e309", KVP_MATRIX_GUESS, KVP_BAD_REQUEST,
                "line 1, column 1: '1e309' is too large for float64");
}

static void test_csv_that_is_malformed_is_refused_with_its_place(void **state)
{
    (void)state;
    static const char *const words[] = {"x",   "-",    "+",     ".",   "1.2.3", "e5", "1e",
                                        "1e+", "0x10", "1_000", "--1", "1-",    "1f"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        char text[64], said[128];
        (void)snprintf(text, sizeof(text), "1,2\n3,%s\n", words[i]);
        (void)snprintf(said, sizeof(said), "line 2, column 2: '%s' is not a number", words[i]);
        text_refuse(kvp_csv_read, text, KVP_MATRIX_GUESS, KVP_BAD_REQUEST, said);
    }
    text_refuse(kvp_csv_read, "1,2\n# x\n3\n", KVP_MATRIX_GUESS, KVP_BAD_REQUEST,
                "line 3 has another number of columns (1) than those before (2)");
    text_refuse(kvp_csv_read, "1 2\n1 2 3\n", KVP_MATRIX_GUESS, KVP_BAD_REQUEST,
                "line 2 has another number of columns (3) than those before (2)");
    text_refuse(kvp_csv_read, "1,,2", KVP_MATRIX_GUESS, KVP_BAD_REQUEST,
                "line 1, column 2 is empty");
    text_refuse(kvp_csv_read, "1,2,", KVP_MATRIX_GUESS, KVP_BAD_REQUEST,
                "line 1, column 3 is empty");
    text_refuse(kvp_csv_read, ",1", KVP_MATRIX_GUESS, KVP_BAD_REQUEST, "line 1, column 1 is empty");
    text_refuse(kvp_csv_read, "1,2 3", KVP_MATRIX_GUESS, KVP_BAD_REQUEST,
                "line 1, column 2: '2 3' is not a number");
    text_refuse(kvp_csv_read, "1,5;2,5", KVP_MATRIX_GUESS, KVP_BAD_REQUEST,
                "line 1, column 1: '1,5' is not a number");
    text_refuse(kvp_csv_read, "1\n\x1b[31m\n", KVP_MATRIX_GUESS, KVP_BAD_REQUEST,
                "line 2, column 1: '?[31m' is not a number");
    text_refuse(kvp_csv_read, "", KVP_MATRIX_GUESS, KVP_BAD_REQUEST,
                "there are no numbers in the file");
    text_refuse(kvp_csv_read, "# nothing\n\n \n", KVP_MATRIX_GUESS, KVP_BAD_REQUEST,
                "there are no numbers in the file");
}

static void test_csv_refuses_infinities_and_nan(void **state)
{
    (void)state;
    static const char *const words[] = {"nan", "NaN", "inf", "-INF", "+Infinity"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        char text[64], said[128];
        (void)snprintf(text, sizeof(text), "1.5 2\n3 %s\n", words[i]);
        (void)snprintf(said, sizeof(said), "line 2, column 2: '%s' is not a finite number",
                       words[i]);
        text_refuse(kvp_csv_read, text, KVP_FLOAT64, KVP_BAD_REQUEST, said);
    }
}

static void test_text_over_the_limit_is_too_large(void **state)
{
    (void)state;
    char message[200];
    struct kvp_matrix matrix;
    assert_int_equal(kvp_csv_read(TEXT("1,2\n3,4\n"), KVP_INT32, 16, &matrix, message, 200),
                     KVP_OK);
    kvp_matrix_free(&matrix);
    kvp_status status = kvp_csv_read(TEXT("1,2\n3,4\n"), KVP_INT32, 15, &matrix, message, 200);
    check_refused(status, KVP_TOO_LARGE, &matrix, message,
                  "a matrix of 2 rows and 2 columns of int32 is too large: at most 15 bytes are "
                  "allowed");
    char digits[4100], short_message[8];
    memset(digits, '1', sizeof(digits));
    assert_int_equal(kvp_csv_read(kvp_slice_of(digits, sizeof(digits)), KVP_FLOAT64, ENOUGH,
                                  &matrix, short_message, sizeof(short_message)),
                     KVP_BAD_REQUEST);
    assert_string_equal(short_message, "line 1,");
}

static void test_csv_writes_the_shortest_numbers(void **state)
{
    (void)state;
    static const double numbers[] = {
        0.1, 1, -2.5, 1e300, 0x1p-1074, 1.0 / 3, DBL_MAX, 123456789, (double)9007199254740993,
        -0.0};
    struct kvp_matrix matrix = zero_matrix(KVP_FLOAT64, 2, 5);
    kvp_buf file = {0};
    for (uint64_t i = 0; i < 10; i++) {
        element_set(&matrix, i / 5, i % 5, numbers[i]);
    }
    assert_int_equal(kvp_csv_write(&matrix, &file), KVP_OK);
    assert_int_equal(kvp_slice_compare(kvp_buf_slice(&file),
                                       TEXT("0.1,1,-2.5,1e+300,5e-324\n0.3333333333333333,"
                                            "1.7976931348623157e+308,123456789,9007199254740992,"
                                            "-0\n")),
                     0);
    kvp_matrix_free(&matrix);
    file.size = 0;
    matrix = zero_matrix(KVP_FLOAT32, 1, 4);
    element_set(&matrix, 0, 0, 0.1);
    element_set(&matrix, 0, 1, 16777216);
    element_set(&matrix, 0, 2, 1.0 / 3);
    element_set(&matrix, 0, 3, 0x1p-149);
    assert_int_equal(kvp_csv_write(&matrix, &file), KVP_OK);
    assert_int_equal(
        kvp_slice_compare(kvp_buf_slice(&file), TEXT("0.1,16777216,0.33333334,1e-45\n")), 0);
    kvp_matrix_free(&matrix);
    kvp_buf_free(&file);
}

/* The application's locale may write 1,5 for 1.5. Where there is none such, nothing is tested. */
static void test_text_does_not_depend_on_the_locale(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "de_DE", "fr_FR.UTF-8"};
    for (size_t i = 0; i < 4 && setlocale(LC_ALL, names[i]) == NULL; i++) {
    }
    struct kvp_matrix matrix = zero_matrix(KVP_FLOAT64, 1, 2);
    kvp_buf file = {0};
    element_set(&matrix, 0, 0, 1.5);
    element_set(&matrix, 0, 1, 0.25);
    assert_int_equal(kvp_csv_write(&matrix, &file), KVP_OK);
    assert_int_equal(kvp_slice_compare(kvp_buf_slice(&file), TEXT("1.5,0.25\n")), 0);
    text_accept(kvp_csv_read, "1.5,0.25", KVP_MATRIX_GUESS, KVP_FLOAT64, 1, 2,
                (double[]){1.5, 0.25});
    (void)setlocale(LC_ALL, "C");
    kvp_matrix_free(&matrix);
    kvp_buf_free(&file);
}

/* ---- Matrix Market ---- */

static void test_market_coordinates(void **state)
{
    (void)state;
    text_accept(kvp_market_read,
                "%%MatrixMarket matrix coordinate integer general\n% a comment\n\n2 3 3\n1 1 5\n"
                "2 3 -7\r\n 1\t2  9 \n",
                KVP_MATRIX_GUESS, KVP_INT64, 2, 3, (double[]){5, 9, 0, 0, 0, -7});
    text_accept(kvp_market_read,
                "%%matrixmarket MATRIX Coordinate REAL Symmetric\n3 3 3\n1 1 1.5\n3 1 2\n3 2 1e1",
                KVP_MATRIX_GUESS, KVP_FLOAT64, 3, 3, (double[]){1.5, 0, 2, 0, 0, 10, 2, 10, 0});
    text_accept(kvp_market_read,
                "%%MatrixMarket matrix coordinate real skew-symmetric\n2 2 1\n2 1 0.5\n",
                KVP_FLOAT32, KVP_FLOAT32, 2, 2, (double[]){0, -0.5, 0.5, 0});
    text_accept(kvp_market_read,
                "%%MatrixMarket matrix coordinate integer skew-symmetric\n2 2 1\n2 1 3\n",
                KVP_INT32, KVP_INT32, 2, 2, (double[]){0, -3, 3, 0});
    text_accept(kvp_market_read,
                "%%MatrixMarket matrix coordinate pattern symmetric\n2 2 2\n2 1\n2 2\n",
                KVP_MATRIX_GUESS, KVP_INT64, 2, 2, (double[]){0, 1, 1, 1});
    text_accept(kvp_market_read, "%%MatrixMarket matrix coordinate real general\n1 2 0\n",
                KVP_MATRIX_GUESS, KVP_FLOAT64, 1, 2, (double[]){0, 0});
    text_accept(kvp_market_read, "%%MatrixMarket matrix coordinate pattern general\n1 1 1\n1 1",
                KVP_MATRIX_GUESS, KVP_INT64, 1, 1, (double[]){1});
}

static void test_market_arrays_go_by_columns(void **state)
{
    (void)state;
    text_accept(kvp_market_read,
                "%%MatrixMarket matrix array integer general\n2 3\n1\n4\n2\n5\n3\n6\n",
                KVP_MATRIX_GUESS, KVP_INT64, 2, 3, (double[]){1, 2, 3, 4, 5, 6});
    text_accept(kvp_market_read,
                "%%MatrixMarket matrix array real symmetric\n3 3\n1\n2\n3\n4\n5\n6\n",
                KVP_MATRIX_GUESS, KVP_FLOAT64, 3, 3, (double[]){1, 2, 3, 2, 4, 5, 3, 5, 6});
    text_accept(kvp_market_read,
                "%%MatrixMarket matrix array integer skew-symmetric\n3 3\n1\n2\n% end\n3",
                KVP_FLOAT64, KVP_FLOAT64, 3, 3, (double[]){0, -1, -2, 1, 0, -3, 2, 3, 0});
    text_accept(kvp_market_read, "%%MatrixMarket matrix array integer skew-symmetric\n1 1\n",
                KVP_INT32, KVP_INT32, 1, 1, (double[]){0});
    text_accept(kvp_market_read, "%%MatrixMarket matrix array integer general\n1 1\n9", KVP_INT32,
                KVP_INT32, 1, 1, (double[]){9});
}

#define COORDINATE "%%MatrixMarket matrix coordinate integer "
#define ARRAY      "%%MatrixMarket matrix array integer "

static void test_market_headers_that_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "this is not a Matrix Market file"},
        {"1 2 3\n", "this is not a Matrix Market file"},
        {"%%MatrixMarket matrix coordinate real\n", "this is not a Matrix Market file"},
        {"%%MatrixMarket vector coordinate real general\n", "object 'vector' is not supported"},
        {"%%MatrixMarket matrix sparse real general\n", "format 'sparse' is not supported"},
        {"%%MatrixMarket matrix array complex general\n", "field 'complex' is not supported"},
        {"%%MatrixMarket matrix array real hermitian\n", "symmetry 'hermitian' is not supported"},
        {"%%MatrixMarket matrix array pattern general\n",
         "line 1: a pattern has coordinates, and is not skew-symmetric"},
        {"%%MatrixMarket matrix coordinate pattern skew-symmetric\n",
         "line 1: a pattern has coordinates, and is not skew-symmetric"},
        {COORDINATE "general\n% only this\n", "the file ends before its size"},
        {COORDINATE "general\n2 2\n", "line 2: rows, columns and number of elements are expected"},
        {COORDINATE "general\n2 2 1 1\n",
         "line 2: rows, columns and number of elements are expected"},
        {COORDINATE "general\n2 -2 1\n",
         "line 2: rows, columns and number of elements are expected"},
        {COORDINATE "general\n2 1.5 1\n",
         "line 2: rows, columns and number of elements are expected"},
        {COORDINATE "general\n2 99999999999999999999 1\n",
         "line 2: rows, columns and number of elements are expected"},
        {ARRAY "general\n2 2 1\n", "line 2: rows and columns are expected"},
        {COORDINATE "symmetric\n2 3 0\n", "line 2: a symmetric matrix has as many rows as columns"},
        {COORDINATE "general\n0 3 0\n", "the matrix has no elements"},
        {COORDINATE "general\n2 2 1000\n1 1 1\n", "the file ends before its 1000 elements"},
        {COORDINATE "general\n2 2 9223372036854775807\n1 1 1\n",
         "the file ends before its 9223372036854775807 elements"},
        {ARRAY "general\n200 200\n1\n", "the file ends before its 40000 elements"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        text_refuse(kvp_market_read, cases[i][0], KVP_MATRIX_GUESS, KVP_BAD_REQUEST, cases[i][1]);
    }
    text_refuse(kvp_market_read, COORDINATE "general\n1000000 1000000 1\n1 1 1\n", KVP_INT32,
                KVP_TOO_LARGE,
                "a matrix of 1000000 rows and 1000000 columns of int32 is too large: at most "
                "1000000 bytes are allowed");
    text_refuse(kvp_market_read,
                COORDINATE "general\n9223372036854775807 9223372036854775807 1\n1 1 1\n", KVP_INT32,
                KVP_TOO_LARGE,
                "a matrix of 9223372036854775807 rows and 9223372036854775807 columns of int32 is "
                "too large: at most 1000000 bytes are allowed");
}

static void test_market_elements_that_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {COORDINATE "general\n2 2 2\n1 1 5\n1 1 6\n", "line 4: this element was given before"},
        {COORDINATE "general\n2 2 1\n3 1 5\n", "line 3: this element is outside the matrix"},
        {COORDINATE "general\n2 2 1\n1 0 5\n", "line 3: this element is outside the matrix"},
        {COORDINATE "general\n2 2 1\n0 1 5\n", "line 3: this element is outside the matrix"},
        {COORDINATE "general\n2 2 1\n1 1\n# 12\n", "line 3: a row, a column and a number are "
                                                   "expected"},
        {COORDINATE "general\n2 2 1\n1 1 1 1\n", "line 3: a row, a column and a number are "
                                                 "expected"},
        {COORDINATE "general\n2 2 1\n1 x 1\n", "line 3: a row, a column and a number are "
                                               "expected"},
        {COORDINATE "general\n2 2 1\n1 1 x\n", "line 3: 'x' is not a number"},
        {COORDINATE "general\n2 2 1\n1 1 1.0\n", "line 3: '1.0' is not an integer"},
        {COORDINATE "general\n2 2 1\n1 1 inf\n", "line 3: 'inf' is not a finite number"},
        {COORDINATE "general\n2 2 1\n1 1 3000000000\n", "line 3: '3000000000' does not fit int32"},
        {COORDINATE "general\n2 2 2\n1 1 1000000000\n", "the file ends after 1 of its 2 elements"},
        {COORDINATE "general\n2 2 1\n1 1 1\n\n2 2 1\n",
         "line 5: there are more elements than the file says"},
        {COORDINATE "symmetric\n2 2 1\n1 2 5\n",
         "line 3: symmetry implies this element; it must not be given"},
        {COORDINATE "skew-symmetric\n2 2 1\n2 2 5\n",
         "line 3: symmetry implies this element; it must not be given"},
        {COORDINATE "skew-symmetric\n2 2 1\n2 1 -2147483648\n",
         "line 3: the opposite of this element does not fit the type"},
        {"%%MatrixMarket matrix coordinate pattern general\n2 2 1\n1 1 1\n",
         "line 3: a row and a column are expected"},
        {ARRAY "general\n2 1\n1 2\n", "line 3: one number is expected"},
        {ARRAY "general\n2 1\n1000\n", "the file ends before its 2 elements"},
        {ARRAY "general\n2 1\n1\n2\n3\n", "line 5: there are more elements than the file says"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        text_refuse(kvp_market_read, cases[i][0], KVP_INT32, KVP_BAD_REQUEST, cases[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_npy_of_numpy_is_read_and_written_byte_by_byte),
        cmocka_unit_test(test_npy_types_orders_and_versions),
        cmocka_unit_test(test_npy_that_is_no_matrix_is_refused),
        cmocka_unit_test(test_npy_that_lies_about_its_size_is_refused),
        cmocka_unit_test(test_npy_with_a_damaged_header_is_refused),
        cmocka_unit_test(test_npy_that_ends_early_is_refused),
        cmocka_unit_test(test_npy_with_a_huge_header_is_refused),
        cmocka_unit_test(test_npy_with_numbers_that_are_not_finite_is_refused),
        cmocka_unit_test(test_files_written_are_read_as_the_same_matrix),
        cmocka_unit_test(test_csv_separators_comments_and_ends_of_lines),
        cmocka_unit_test(test_csv_guesses_the_type),
        cmocka_unit_test(test_csv_numbers_are_read_exactly),
        cmocka_unit_test(test_csv_refuses_what_a_type_cannot_hold),
        cmocka_unit_test(test_csv_that_is_malformed_is_refused_with_its_place),
        cmocka_unit_test(test_csv_refuses_infinities_and_nan),
        cmocka_unit_test(test_text_over_the_limit_is_too_large),
        cmocka_unit_test(test_csv_writes_the_shortest_numbers),
        cmocka_unit_test(test_text_does_not_depend_on_the_locale),
        cmocka_unit_test(test_market_coordinates),
        cmocka_unit_test(test_market_arrays_go_by_columns),
        cmocka_unit_test(test_market_headers_that_are_refused),
        cmocka_unit_test(test_market_elements_that_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
