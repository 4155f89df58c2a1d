/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrices as files: NumPy's .npy, comma-separated values, Matrix Market. A file is bytes in
 * memory.
 *
 * Files are not trusted. What a file claims about its size is believed up to `size_max`, the bytes
 * that its matrix may have, and is compared with the bytes that are there before memory is taken.
 * Besides the matrix, only Matrix Market takes memory: a bit for every element, to see one that is
 * given twice.
 *
 * Readers return KVP_OK and a matrix that the caller frees, or leave it empty and return
 *   KVP_BAD_REQUEST   this is no such file, or it is damaged, or holds what a matrix here cannot
 *   KVP_TOO_LARGE     the matrix has more than size_max bytes
 *   KVP_NO_MEMORY
 * and say in `message` (always terminated; NULL if message_size is 0) what is wrong and where,
 * lines, rows and columns counted from 1. NaN and infinities are refused.
 *
 * In text, a number is read exactly whatever the locale. An integer that the type cannot hold
 * exactly is refused, also 16777217 as float32; a fraction becomes the nearest float. "1e3" and
 * "2.0" are integers too. `wanted` is a kvp_matrix_type or KVP_MATRIX_GUESS.
 *
 * Writers append to a buffer; on failure (KVP_NO_MEMORY) what was appended is taken back.
 */
#ifndef KVP_MATRIX_FILE_H
#define KVP_MATRIX_FILE_H

#include "kvpair/matrix.h"

#define KVP_MATRIX_GUESS (-1)

/*
 * .npy, versions 1 to 3 (numpy.lib.format): arrays of two dimensions, of 4 or 8 byte integers or
 * floats of any byte order, stored by rows or by columns. The data must have exactly the size that
 * the header says. Other element types: kvp_matrix_convert() after reading.
 */
kvp_status kvp_npy_read(kvp_slice file, uint64_t size_max, struct kvp_matrix *matrix, char *message,
                        size_t message_size);

/* Version 1.0, by rows, data at a multiple of 64 bytes, as NumPy writes it. */
kvp_status kvp_npy_write(const struct kvp_matrix *matrix, kvp_buf *file);

/* The header of kvp_npy_write() alone, for a writer that has the rows piece by piece. */
kvp_status kvp_npy_write_header(enum kvp_matrix_type type, uint64_t rows, uint64_t columns,
                                kvp_buf *file);

/*
 * One row a line. Between numbers stand, in the whole file, semicolons, commas, tabs or spaces,
 * whichever comes first in this list and appears in the first line. Empty lines are skipped, and
 * everything from a # to the end of its line, and a byte order mark. Column names and quoted fields
 * are not understood. A guess is int64 if all numbers are written as integers and fit, else
 * float64.
 */
kvp_status kvp_csv_read(kvp_slice file, int wanted, uint64_t size_max, struct kvp_matrix *matrix,
                        char *message, size_t message_size);

/* Commas and LF; floats with the fewest digits from which the same float is read again. */
kvp_status kvp_csv_write(const struct kvp_matrix *matrix, kvp_buf *file);

/*
 * Matrix Market exchange format (math.nist.gov/MatrixMarket/formats.html): coordinate or array, of
 * field integer, real or pattern (elements are 1), general, symmetric or skew-symmetric; complex
 * and hermitian are refused. The result is dense. An element given twice is refused (the format
 * wants each once), as is one in the half that symmetry implies. A guess is int64 for integer and
 * pattern, float64 for real.
 */
kvp_status kvp_market_read(kvp_slice file, int wanted, uint64_t size_max, struct kvp_matrix *matrix,
                           char *message, size_t message_size);

#endif
