/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Matrix Market exchange format: a banner line with four words, comments, a line with the size,
 * then one element a line: "row column value" (coordinate), or values column by column (array).
 * https://math.nist.gov/MatrixMarket/formats.html
 */
#include "replication/matrix/matrix_file.h"
#include "replication/matrix/matrix_element.h"
#include "replication/matrix/matrix_text.h"

#include <stdlib.h>

enum field { INTEGER, REAL, PATTERN };
enum symmetry { GENERAL, SYMMETRIC, SKEW };

struct market {
    struct kvp_lines lines;
    bool coordinate;
    enum field field;
    enum symmetry symmetry;
    uint64_t rows, columns, count; /* count: elements that the file gives */
    struct kvp_matrix *matrix;
    uint8_t *seen; /* a bit for every element */
    const struct kvp_message *message;
};

static kvp_status refuse_line(const struct market *market, const char *why)
{
    return kvp_refuse(market->message, KVP_BAD_REQUEST, "line %llu: %s",
                      (unsigned long long)market->lines.number, why);
}

/* ---- banner and size ---- */

/* The place of a word in a list, or -1 and a message. */
static int market_choose(const struct market *market, kvp_slice word, const char *const *names,
                         size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++) {
        if (kvp_word_is(word, names[i])) {
            return (int)i;
        }
    }
    (void)kvp_refuse(market->message, KVP_BAD_REQUEST, "%s '%s' is not supported", what,
                     kvp_show(word).text);
    return -1;
}

static kvp_status read_banner(struct market *market)
{
    static const char *const objects[] = {"matrix"};
    static const char *const formats[] = {"array", "coordinate"};
    static const char *const fields[] = {"integer", "real", "pattern"};
    static const char *const symmetries[] = {"general", "symmetric", "skew-symmetric"};
    kvp_slice line, banner, words[4];
    bool whole = kvp_lines_next(&market->lines, &line) && kvp_word_next(&line, &banner) &&
                 kvp_word_is(banner, "%%matrixmarket");
    for (size_t i = 0; i < 4; i++) {
        whole = whole && kvp_word_next(&line, &words[i]);
    }
    if (!whole) {
        return kvp_refuse(market->message, KVP_BAD_REQUEST, "this is not a Matrix Market file");
    }
    int format, field, symmetry;
    if (market_choose(market, words[0], objects, 1, "object") < 0 ||
        (format = market_choose(market, words[1], formats, 2, "format")) < 0 ||
        (field = market_choose(market, words[2], fields, 3, "field")) < 0 ||
        (symmetry = market_choose(market, words[3], symmetries, 3, "symmetry")) < 0) {
        return KVP_BAD_REQUEST;
    }
    market->coordinate = format == 1;
    market->field = (enum field)field;
    market->symmetry = (enum symmetry)symmetry;
    if (field == PATTERN && (format == 0 || symmetry == SKEW)) {
        return refuse_line(market, "a pattern has coordinates, and is not skew-symmetric");
    }
    return KVP_OK;
}

/* The next line that is neither empty nor a comment. */
static bool next_line(struct market *market, kvp_slice *line)
{
    while (kvp_lines_next(&market->lines, line)) {
        *line = kvp_trim(*line);
        if (line->size > 0 && *(const char *)line->data != '%') {
            return true;
        }
    }
    return false;
}

/* Digits only; fails over INT64_MAX. */
static bool market_read_count(kvp_slice *line, uint64_t *count)
{
    kvp_slice word;
    struct kvp_number number;
    if (!kvp_word_next(line, &word) || kvp_number_read(word, &number) != NULL || !number.plain ||
        !number.fits || number.integer < 0) {
        return false;
    }
    *count = (uint64_t)number.integer;
    return true;
}

/* Elements that an array file of this shape gives: all, or those of the lower triangle. */
static uint64_t array_count(const struct market *market)
{
    uint64_t n = market->rows;
    if (market->symmetry == GENERAL) {
        return n * market->columns;
    }
    return market->symmetry == SYMMETRIC ? n * (n + 1) / 2 : n * (n - 1) / 2;
}

/* Before memory is taken: are there enough bytes for as many elements? */
static kvp_status market_check_count(struct market *market)
{
    uint64_t left = (uint64_t)(market->lines.end - market->lines.at) + 1; /* an end of line */
    uint64_t least = !market->coordinate ? 2 : market->field == PATTERN ? 4 : 6;
    if (market->count > left / least) {
        return kvp_refuse(market->message, KVP_BAD_REQUEST,
                          "the file ends before its %llu elements",
                          (unsigned long long)market->count);
    }
    return KVP_OK;
}

static kvp_status read_size(struct market *market, enum kvp_matrix_type type, uint64_t size_max)
{
    kvp_slice line, word;
    if (!next_line(market, &line)) {
        return kvp_refuse(market->message, KVP_BAD_REQUEST, "the file ends before its size");
    }
    if (!market_read_count(&line, &market->rows) || !market_read_count(&line, &market->columns) ||
        (market->coordinate && !market_read_count(&line, &market->count)) ||
        kvp_word_next(&line, &word)) {
        return refuse_line(market, market->coordinate
                                       ? "rows, columns and number of elements are expected"
                                       : "rows and columns are expected");
    }
    if (market->symmetry != GENERAL && market->rows != market->columns) {
        return refuse_line(market, "a symmetric matrix has as many rows as columns");
    }
    kvp_status status = kvp_admit(type, market->rows, market->columns, size_max, market->message);
    if (status != KVP_OK) {
        return status;
    }
    market->count = market->coordinate ? market->count : array_count(market);
    return market_check_count(market);
}

/* ---- elements ---- */

static uint8_t *element_at(const struct market *market, uint64_t row, uint64_t column)
{
    struct kvp_matrix *matrix = market->matrix;
    return matrix->data.data +
           (row * matrix->columns + column) * kvp_matrix_element_size(matrix->type);
}

/* The element on the other side of the diagonal. */
static kvp_status mirror(const struct market *market, uint64_t row, uint64_t column)
{
    enum kvp_matrix_type type = market->matrix->type;
    size_t size = kvp_matrix_element_size(type);
    const uint8_t *from = element_at(market, row, column);
    uint8_t *to = element_at(market, column, row);
    if (market->symmetry == SYMMETRIC) {
        memcpy(to, from, size);
    } else if (kvp_matrix_type_is_float(type)) {
        memcpy(to, from, size);
        to[size - 1] ^= 0x80;
    } else {
        int64_t value = kvp_load_integer(type, from);
        if (value == INT64_MIN || !kvp_store_integer(type, -value, to)) {
            return refuse_line(market, "the opposite of this element does not fit the type");
        }
    }
    return KVP_OK;
}

static kvp_status store(const struct market *market, uint64_t row, uint64_t column, kvp_slice word)
{
    struct kvp_number number;
    const char *why = kvp_number_read(word, &number);
    if (why == NULL && market->field == INTEGER && !number.plain) {
        why = "is not an integer";
    }
    if (why == NULL) {
        why = kvp_number_store(&number, market->matrix->type, element_at(market, row, column));
    }
    if (why != NULL) {
        return kvp_refuse(market->message, KVP_BAD_REQUEST, "line %llu: '%s' %s",
                          (unsigned long long)market->lines.number, kvp_show(word).text, why);
    }
    return market->symmetry == GENERAL || row == column ? KVP_OK : mirror(market, row, column);
}

static kvp_status read_element(struct market *market, kvp_slice line)
{
    uint64_t row, column;
    kvp_slice word = kvp_slice_of("1", 1), more;
    if (!market_read_count(&line, &row) || !market_read_count(&line, &column) ||
        (market->field != PATTERN && !kvp_word_next(&line, &word)) || kvp_word_next(&line, &more)) {
        return refuse_line(market, market->field == PATTERN ? "a row and a column are expected"
                                                            : "a row, a column and a number are "
                                                              "expected");
    }
    if (row < 1 || row > market->rows || column < 1 || column > market->columns) {
        return refuse_line(market, "this element is outside the matrix");
    }
    if ((market->symmetry != GENERAL && row < column) ||
        (market->symmetry == SKEW && row == column)) {
        return refuse_line(market, "symmetry implies this element; it must not be given");
    }
    uint64_t index = (row - 1) * market->columns + (column - 1);
    if (market->seen[index / 8] & 1u << index % 8) {
        return refuse_line(market, "this element was given before");
    }
    market->seen[index / 8] |= (uint8_t)(1u << index % 8);
    return store(market, row - 1, column - 1, word);
}

static kvp_status read_elements(struct market *market)
{
    for (uint64_t i = 0; i < market->count; i++) {
        kvp_slice line;
        if (!next_line(market, &line)) {
            return kvp_refuse(market->message, KVP_BAD_REQUEST,
                              "the file ends after %llu of its %llu elements",
                              (unsigned long long)i, (unsigned long long)market->count);
        }
        kvp_status status = read_element(market, line);
        if (status != KVP_OK) {
            return status;
        }
    }
    return KVP_OK;
}

static kvp_status read_array(struct market *market)
{
    for (uint64_t column = 0; column < market->columns; column++) {
        uint64_t first = market->symmetry == GENERAL ? 0 : column + (market->symmetry == SKEW);
        for (uint64_t row = first; row < market->rows; row++) {
            kvp_slice line, word, more;
            if (!next_line(market, &line)) {
                return kvp_refuse(market->message, KVP_BAD_REQUEST,
                                  "the file ends before its %llu elements",
                                  (unsigned long long)market->count);
            }
            if (!kvp_word_next(&line, &word) || kvp_word_next(&line, &more)) {
                return refuse_line(market, "one number is expected");
            }
            kvp_status status = store(market, row, column, word);
            if (status != KVP_OK) {
                return status;
            }
        }
    }
    return KVP_OK;
}

/* Everything behind the size line. */
static kvp_status read_body(struct market *market)
{
    kvp_slice line;
    kvp_status status;
    if (market->coordinate) {
        market->seen = calloc(1, (size_t)((market->rows * market->columns + 7) / 8));
        if (market->seen == NULL) {
            return kvp_refuse(market->message, KVP_NO_MEMORY, "%s", kvp_strerror(KVP_NO_MEMORY));
        }
        status = read_elements(market);
        free(market->seen);
    } else {
        status = read_array(market);
    }
    if (status == KVP_OK && next_line(market, &line)) {
        status = refuse_line(market, "there are more elements than the file says");
    }
    return status;
}

static kvp_status read_market(struct market *market, int wanted, uint64_t size_max)
{
    kvp_status status = read_banner(market);
    if (status != KVP_OK) {
        return status;
    }
    enum kvp_matrix_type type = market->field == REAL ? KVP_FLOAT64 : KVP_INT64;
    type = wanted >= 0 ? (enum kvp_matrix_type)wanted : type;
    status = read_size(market, type, size_max);
    if (status == KVP_OK) {
        status = kvp_admit_new(type, market->rows, market->columns, size_max, market->matrix,
                               market->message);
    }
    if (status != KVP_OK) {
        return status;
    }
    status = read_body(market);
    if (status != KVP_OK) {
        kvp_matrix_free(market->matrix);
    }
    return status;
}

kvp_status kvp_market_read(kvp_slice file, int wanted, uint64_t size_max, struct kvp_matrix *matrix,
                           char *message, size_t message_size)
{
    const struct kvp_message text = {message, message_size};
    struct market market = {.lines = kvp_lines_of(file), .matrix = matrix, .message = &text};
    struct kvp_plain_locale locale;
    memset(matrix, 0, sizeof(*matrix));
    if (kvp_plain_locale_enter(&locale) != KVP_OK) {
        return kvp_refuse(&text, KVP_NO_MEMORY, "%s", kvp_strerror(KVP_NO_MEMORY));
    }
    kvp_status status = read_market(&market, wanted, size_max);
    kvp_plain_locale_leave(&locale);
    return status;
}
