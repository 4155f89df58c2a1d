/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/matrix/matrix_text.h"
#include "replication/matrix/matrix_element.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

kvp_status kvp_refuse(const struct kvp_message *message, kvp_status status, const char *format, ...)
{
    va_list arguments;
    if (message->size > 0) {
        va_start(arguments, format);
        (void)vsnprintf(message->text, message->size, format, arguments);
        va_end(arguments);
    }
    return status;
}

kvp_status kvp_admit(enum kvp_matrix_type type, uint64_t rows, uint64_t columns, uint64_t size_max,
                     const struct kvp_message *message)
{
    uint64_t size = UINT64_MAX;
    kvp_status status = kvp_matrix_size(type, rows, columns, &size);
    if (status == KVP_BAD_REQUEST) {
        return kvp_refuse(message, status, "the matrix has no elements");
    }
    if (status == KVP_TOO_LARGE || size > size_max) {
        return kvp_refuse(message, KVP_TOO_LARGE,
                          "a matrix of %llu rows and %llu columns of %s is too large: at most %llu "
                          "bytes are allowed",
                          (unsigned long long)rows, (unsigned long long)columns,
                          kvp_matrix_type_name(type), (unsigned long long)size_max);
    }
    return KVP_OK;
}

kvp_status kvp_admit_new(enum kvp_matrix_type type, uint64_t rows, uint64_t columns,
                         uint64_t size_max, struct kvp_matrix *matrix,
                         const struct kvp_message *message)
{
    kvp_status status = kvp_admit(type, rows, columns, size_max, message);
    if (status == KVP_OK && (status = kvp_matrix_new(type, rows, columns, matrix)) != KVP_OK) {
        return kvp_refuse(message, status, "%s", kvp_strerror(status));
    }
    return status;
}

/* ---- lines and words ---- */

struct kvp_lines kvp_lines_of(kvp_slice text)
{
    const char *at = text.size > 0 ? text.data : "";
    struct kvp_lines lines = {at, at + text.size, 0};
    return lines;
}

bool kvp_lines_next(struct kvp_lines *lines, kvp_slice *line)
{
    if (lines->at == lines->end) {
        return false;
    }
    const char *begin = lines->at;
    const char *feed = memchr(begin, '\n', (size_t)(lines->end - begin));
    const char *stop = feed != NULL ? feed : lines->end;
    lines->at = feed != NULL ? feed + 1 : lines->end;
    lines->number++;
    if (stop > begin && stop[-1] == '\r') {
        stop--;
    }
    *line = kvp_slice_of(begin, (size_t)(stop - begin));
    return true;
}

static bool text_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

kvp_slice kvp_trim(kvp_slice text)
{
    const char *begin = text.data;
    size_t size = text.size;
    while (size > 0 && text_is_blank(begin[0])) {
        begin++;
        size--;
    }
    while (size > 0 && text_is_blank(begin[size - 1])) {
        size--;
    }
    return kvp_slice_of(begin, size);
}

bool kvp_word_next(kvp_slice *text, kvp_slice *word)
{
    kvp_slice rest = kvp_trim(*text);
    const char *begin = rest.data;
    size_t size = 0;
    while (size < rest.size && !text_is_blank(begin[size])) {
        size++;
    }
    if (size == 0) {
        return false;
    }
    *word = kvp_slice_of(begin, size);
    *text = kvp_slice_of(begin + size, rest.size - size);
    return true;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool kvp_word_is(kvp_slice word, const char *lower_case)
{
    const char *text = word.data;
    if (word.size != strlen(lower_case)) {
        return false;
    }
    for (size_t i = 0; i < word.size; i++) {
        if (lower(text[i]) != lower_case[i]) {
            return false;
        }
    }
    return true;
}

struct kvp_shown kvp_show(kvp_slice word)
{
    struct kvp_shown shown;
    const char *text = word.data;
    size_t room = sizeof(shown.text) - 4, size = word.size < room ? word.size : room;
    for (size_t i = 0; i < size; i++) {
        shown.text[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    }
    strcpy(shown.text + size, word.size > room ? "..." : "");
    return shown;
}

/* ---- numbers ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_nonfinite(kvp_slice word)
{
    const char *text = word.data;
    if (word.size > 0 && (text[0] == '+' || text[0] == '-')) {
        word = kvp_slice_of(text + 1, word.size - 1);
    }
    return kvp_word_is(word, "nan") || kvp_word_is(word, "inf") || kvp_word_is(word, "infinity");
}

/* The parts of a number: the digits from `digits` to `end`, maybe with a point among them, and the
 * power of ten that the last of them counts. */
struct parts {
    bool negative, plain;
    const char *digits, *end;
    int64_t power;
};

/* [e[+-]digits] up to the end of the word; a huge exponent is cut to one that is huge as well. */
static bool read_exponent(const char *at, const char *end, struct parts *parts)
{
    int64_t exponent = 0;
    bool negative = at < end && *at == '-';
    at += at < end && (*at == '-' || *at == '+');
    if (at == end) {
        return false;
    }
    for (; at < end; at++) {
        if (!is_digit(*at)) {
            return false;
        }
        exponent = exponent < 100000 ? 10 * exponent + (*at - '0') : exponent;
    }
    parts->power += negative ? -exponent : exponent;
    return true;
}

static bool read_parts(kvp_slice word, struct parts *parts)
{
    const char *at = word.data, *end = at + word.size, *point = NULL;
    size_t count = 0;
    memset(parts, 0, sizeof(*parts));
    parts->negative = at < end && *at == '-';
    at += at < end && (*at == '-' || *at == '+');
    parts->digits = at;
    for (; at < end && (is_digit(*at) || (*at == '.' && point == NULL)); at++) {
        if (*at == '.') {
            point = at;
        } else {
            count++;
        }
    }
    parts->end = at;
    parts->plain = point == NULL && at == end;
    parts->power = point != NULL ? -(int64_t)(at - point - 1) : 0;
    if (count == 0) {
        return false;
    }
    return at == end || ((*at == 'e' || *at == 'E') && read_exponent(at + 1, end, parts));
}

/* The digits times 10^power, exactly, if that is an integer (and fits). */
static void find_integer(const struct parts *parts, struct kvp_number *number)
{
    const char *end = parts->end;
    int64_t power = parts->power;
    uint64_t magnitude = 0;
    for (; end > parts->digits && (end[-1] == '0' || end[-1] == '.'); end--) {
        power += end[-1] == '0';
    }
    bool zero = true, overflow = false;
    for (const char *at = parts->digits; at < end; at++) {
        if (*at != '.') {
            overflow |= __builtin_mul_overflow(magnitude, 10u, &magnitude);
            overflow |= __builtin_add_overflow(magnitude, (uint64_t)(*at - '0'), &magnitude);
            zero &= *at == '0';
        }
    }
    number->integral = zero || power >= 0;
    for (; !zero && !overflow && power > 0; power--) {
        overflow = __builtin_mul_overflow(magnitude, 10u, &magnitude);
    }
    uint64_t most = (uint64_t)INT64_MAX + parts->negative;
    number->fits = number->integral && (zero || (!overflow && magnitude <= most));
    if (number->fits) {
        number->integer = (int64_t)(parts->negative ? 0 - magnitude : magnitude);
    }
}

const char *kvp_number_read(kvp_slice word, struct kvp_number *number)
{
    struct parts parts;
    memset(number, 0, sizeof(*number));
    if (is_nonfinite(word)) {
        return "is not a finite number";
    }
    if (word.size > KVP_NUMBER_SIZE_MAX) {
        return "is too long for a number";
    }
    if (!read_parts(word, &parts)) {
        return "is not a number";
    }
    number->text = word;
    number->plain = parts.plain;
    find_integer(&parts, number);
    return NULL;
}

/* Is this float the plain integer, digit by digit? For those too large to be so in any case. */
static bool is_exactly(double value, kvp_slice text)
{
    char digits[512];
    const char *at = text.data, *end = at + text.size;
    at += *at == '+' || *at == '-';
    while (at < end - 1 && *at == '0') {
        at++;
    }
    int size = snprintf(digits, sizeof(digits), "%.0f", fabs(value));
    return size == end - at && memcmp(digits, at, (size_t)size) == 0;
}

static const char *store_real(const struct kvp_number *number, enum kvp_matrix_type type,
                              uint8_t *element)
{
    char text[KVP_NUMBER_SIZE_MAX + 1];
    bool is_single = type == KVP_FLOAT32;
    const int64_t safe = is_single ? 1 << 24 : (int64_t)1 << 53; /* integers up to here are exact */
    memcpy(text, number->text.data, number->text.size);
    text[number->text.size] = '\0';
    float single = is_single ? strtof(text, NULL) : 0;
    double value = is_single ? (double)single : strtod(text, NULL);
    if (!isfinite(value)) {
        return is_single ? "is too large for float32" : "is too large for float64";
    }
    bool small = number->fits && number->integer >= -safe && number->integer <= safe;
    if (number->plain && !small && !is_exactly(value, number->text)) {
        return is_single ? "cannot be kept exactly as float32"
                         : "cannot be kept exactly as float64";
    }
    memcpy(element, is_single ? (void *)&single : (void *)&value, is_single ? 4 : 8);
    return NULL;
}

const char *kvp_number_store(const struct kvp_number *number, enum kvp_matrix_type type,
                             uint8_t *element)
{
    if (kvp_matrix_type_is_float(type)) {
        return store_real(number, type, element);
    }
    if (!number->integral) {
        return "is not an integer";
    }
    if (!number->fits || !kvp_store_integer(type, number->integer, element)) {
        return type == KVP_INT32 ? "does not fit int32" : "does not fit int64";
    }
    return NULL;
}

/*
 * Of a float64, 15 digits are kept by any decimal number, so if 15 give the float again, they are
 * the shortest once trailing zeros are gone; 17 always do (float32: 6 and 9). Below the smallest
 * normal number there are fewer bits, and fewer digits may do.
 */
size_t kvp_element_text(enum kvp_matrix_type type, const uint8_t *element,
                        char text[KVP_ELEMENT_TEXT_MAX])
{
    char made[KVP_ELEMENT_TEXT_MAX] = "";
    if (!kvp_matrix_type_is_float(type)) {
        int length =
            snprintf(made, sizeof(made), "%lld", (long long)kvp_load_integer(type, element));
        memcpy(text, made, sizeof(made));
        return (size_t)length;
    }
    double value = kvp_load_real(type, element);
    bool is_single = type == KVP_FLOAT32;
    bool tiny = fabs(value) < (is_single ? 0x1p-126 : 0x1p-1022);
    int digits = tiny ? 1 : is_single ? 6 : 15, most = is_single ? 9 : 17, size;
    for (;; digits++) {
        size = snprintf(made, sizeof(made), "%.*g", digits, value);
        double again = is_single ? (double)strtof(made, NULL) : strtod(made, NULL);
        if (digits >= most || again == value) {
            memcpy(text, made, sizeof(made));
            return (size_t)size;
        }
    }
}

kvp_status kvp_plain_locale_enter(struct kvp_plain_locale *locale)
{
    locale->plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (locale->plain == (locale_t)0) {
        return KVP_NO_MEMORY;
    }
    locale->before = uselocale(locale->plain);
    return KVP_OK;
}

void kvp_plain_locale_leave(struct kvp_plain_locale *locale)
{
    (void)uselocale(locale->before);
    freelocale(locale->plain);
}
