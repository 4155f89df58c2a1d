/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers in lines of text. The file is read twice: first to learn shape and type and to find what
 * is wrong, then into a matrix of the right size.
 */
#include "replication/matrix/matrix_file.h"
#include "replication/matrix/matrix_text.h"

#include <string.h>

struct csv {
    kvp_slice file;
    char separator; /* ' ': any number of spaces and tabs; '\0': not known yet */
    enum kvp_matrix_type type;
    uint64_t rows, columns;
    bool integers; /* all numbers are written as integers and are int64 */
    const struct kvp_message *message;
};

/* The next line with numbers in it, without its comment. */
static bool next_row(struct kvp_lines *lines, kvp_slice *row)
{
    kvp_slice line;
    while (kvp_lines_next(lines, &line)) {
        const char *comment = line.size > 0 ? memchr(line.data, '#', line.size) : NULL;
        if (comment != NULL) {
            line.size = (size_t)(comment - (const char *)line.data);
        }
        *row = kvp_trim(line);
        if (row->size > 0) {
            return true;
        }
    }
    return false;
}

static char find_separator(kvp_slice row)
{
    static const char kinds[] = {';', ',', '\t'};
    for (size_t i = 0; i < sizeof(kinds); i++) {
        if (memchr(row.data, kinds[i], row.size) != NULL) {
            return kinds[i];
        }
    }
    return ' ';
}

/* The fields of a row, one after the other; `more` says that one is left, if only an empty one. */
struct fields {
    kvp_slice rest;
    char separator;
    bool more;
};

static bool next_field(struct fields *fields, kvp_slice *field)
{
    if (fields->separator == ' ') {
        return kvp_word_next(&fields->rest, field);
    }
    if (!fields->more) {
        return false;
    }
    const char *begin = fields->rest.data;
    const char *stop =
        fields->rest.size > 0 ? memchr(begin, fields->separator, fields->rest.size) : NULL;
    size_t size = stop != NULL ? (size_t)(stop - begin) : fields->rest.size;
    fields->more = stop != NULL;
    *field = kvp_trim(kvp_slice_of(begin, size));
    size_t skip = size + fields->more;
    fields->rest = kvp_slice_of(begin + skip, fields->rest.size - skip);
    return true;
}

static kvp_status refuse_field(const struct csv *csv, const struct kvp_lines *lines,
                               uint64_t column, kvp_slice field, const char *why)
{
    if (field.size == 0) {
        return kvp_refuse(csv->message, KVP_BAD_REQUEST, "line %llu, column %llu is empty",
                          (unsigned long long)lines->number, (unsigned long long)column + 1);
    }
    return kvp_refuse(csv->message, KVP_BAD_REQUEST, "line %llu, column %llu: '%s' %s",
                      (unsigned long long)lines->number, (unsigned long long)column + 1,
                      kvp_show(field).text, why);
}

/* Reads one row: stores its elements at `to` unless that is NULL. *count: its numbers. */
static kvp_status read_row(struct csv *csv, const struct kvp_lines *lines, kvp_slice row,
                           uint8_t *to, uint64_t *count)
{
    struct fields fields = {row, csv->separator, true};
    kvp_slice field;
    for (*count = 0; next_field(&fields, &field); (*count)++) {
        struct kvp_number number;
        const char *why = kvp_number_read(field, &number);
        if (why == NULL && to != NULL) {
            why = kvp_number_store(&number, csv->type,
                                   to + *count * kvp_matrix_element_size(csv->type));
        }
        if (why != NULL) {
            return refuse_field(csv, lines, *count, field, why);
        }
        csv->integers &= number.plain && number.fits;
    }
    return KVP_OK;
}

static kvp_status survey(struct csv *csv)
{
    struct kvp_lines lines = kvp_lines_of(csv->file);
    kvp_slice row;
    while (next_row(&lines, &row)) {
        uint64_t count;
        csv->separator = csv->separator == '\0' ? find_separator(row) : csv->separator;
        kvp_status status = read_row(csv, &lines, row, NULL, &count);
        if (status != KVP_OK) {
            return status;
        }
        csv->columns = csv->rows == 0 ? count : csv->columns;
        if (count != csv->columns) {
            return kvp_refuse(csv->message, KVP_BAD_REQUEST,
                              "line %llu has another number of columns (%llu) than those before "
                              "(%llu)",
                              (unsigned long long)lines.number, (unsigned long long)count,
                              (unsigned long long)csv->columns);
        }
        csv->rows++;
    }
    if (csv->rows == 0) {
        return kvp_refuse(csv->message, KVP_BAD_REQUEST, "there are no numbers in the file");
    }
    return KVP_OK;
}

static kvp_status fill(struct csv *csv, struct kvp_matrix *matrix)
{
    struct kvp_lines lines = kvp_lines_of(csv->file);
    size_t width = (size_t)csv->columns * kvp_matrix_element_size(csv->type);
    kvp_slice row;
    for (uint64_t i = 0; next_row(&lines, &row); i++) {
        uint64_t count;
        kvp_status status = read_row(csv, &lines, row, matrix->data.data + i * width, &count);
        if (status != KVP_OK) {
            kvp_matrix_free(matrix);
            return status;
        }
    }
    return KVP_OK;
}

static kvp_status read_csv(struct csv *csv, int wanted, uint64_t size_max,
                           struct kvp_matrix *matrix)
{
    kvp_status status = survey(csv);
    if (status != KVP_OK) {
        return status;
    }
    csv->type = wanted >= 0     ? (enum kvp_matrix_type)wanted
                : csv->integers ? KVP_INT64
                                : KVP_FLOAT64;
    status = kvp_admit_new(csv->type, csv->rows, csv->columns, size_max, matrix, csv->message);
    return status == KVP_OK ? fill(csv, matrix) : status;
}

kvp_status kvp_csv_read(kvp_slice file, int wanted, uint64_t size_max, struct kvp_matrix *matrix,
                        char *message, size_t message_size)
{
    const struct kvp_message text = {message, message_size};
    struct kvp_plain_locale locale;
    if (file.size >= 3 && memcmp(file.data, "\xef\xbb\xbf", 3) == 0) {
        file = kvp_slice_of((const char *)file.data + 3, file.size - 3);
    }
    struct csv csv = {.file = file, .integers = true, .message = &text};
    memset(matrix, 0, sizeof(*matrix));
    if (kvp_plain_locale_enter(&locale) != KVP_OK) {
        return kvp_refuse(&text, KVP_NO_MEMORY, "%s", kvp_strerror(KVP_NO_MEMORY));
    }
    kvp_status status = read_csv(&csv, wanted, size_max, matrix);
    kvp_plain_locale_leave(&locale);
    return status;
}

static kvp_status write_rows(const struct kvp_matrix *matrix, kvp_buf *file)
{
    size_t size = kvp_matrix_element_size(matrix->type);
    uint64_t count = matrix->rows * matrix->columns;
    for (uint64_t i = 0; i < count; i++) {
        char text[KVP_ELEMENT_TEXT_MAX + 1];
        size_t used = kvp_element_text(matrix->type, matrix->data.data + i * size, text);
        text[used] = (i + 1) % matrix->columns == 0 ? '\n' : ',';
        kvp_status status = kvp_buf_append(file, text, used + 1);
        if (status != KVP_OK) {
            return status;
        }
    }
    return KVP_OK;
}

kvp_status kvp_csv_write(const struct kvp_matrix *matrix, kvp_buf *file)
{
    struct kvp_plain_locale locale;
    size_t before = file->size;
    kvp_status status = kvp_plain_locale_enter(&locale);
    if (status != KVP_OK) {
        return status;
    }
    status = write_rows(matrix, file);
    kvp_plain_locale_leave(&locale);
    if (status != KVP_OK) {
        file->size = before;
    }
    return status;
}
