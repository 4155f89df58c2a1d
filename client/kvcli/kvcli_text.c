/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes for people and programs. */
#include "client/kvcli/kvcli.h"
#include "kvstore/base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS   80u
#define COUNT_MAX 18446744073709549568.0 /* the last double below 2^64 */

static const char digits64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t sequence_size(const uint8_t *bytes, size_t size)
{
    return kvp_utf8_character(kvp_slice_of(bytes, size));
}

/* U+0000 to U+001F, U+007F to U+009F: terminals may take them for commands. */
static bool is_control(const uint8_t *bytes, size_t length)
{
    return length == 2 ? bytes[0] == 0xc2 && bytes[1] < 0xa0
                       : length == 1 && (bytes[0] < ' ' || bytes[0] == 0x7f);
}

bool kvcli_is_printable(const char *text, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)text;
    for (size_t i = 0, length; i < size; i += length) {
        length = sequence_size(bytes + i, size - i);
        if (length == 0 || is_control(bytes + i, length)) {
            return false;
        }
    }
    return true;
}

size_t kvcli_write_escaped(FILE *out, kvp_slice slice)
{
    static const char names[] = "\tt\nn\rr\\\\";
    const uint8_t *bytes = slice.data;
    size_t written = 0;
    for (size_t i = 0; i < slice.size;) {
        size_t length = sequence_size(bytes + i, slice.size - i);
        const char *name = bytes[i] == 0 ? NULL : strchr(names, bytes[i]);
        if (name != NULL && (name - names) % 2 == 0) {
            written += (size_t)fprintf(out, "\\%c", name[1]);
            i++;
        } else if (length == 0 || is_control(bytes + i, length)) {
            /* Of a longer sequence the rest is none by itself. */
            written += (size_t)fprintf(out, "\\x%02x", bytes[i]);
            i++;
        } else {
            fwrite(bytes + i, 1, length, out);
            written++;
            i += length;
        }
    }
    return written;
}

void kvcli_print_escaped(kvp_slice bytes)
{
    (void)kvcli_write_escaped(stdout, bytes);
}

void kvcli_complain_escaped(kvp_slice bytes)
{
    (void)kvcli_write_escaped(stderr, bytes);
}

static void print_words(size_t indent, size_t column, const char *text)
{
    for (text += strspn(text, " "); text[0] != '\0'; text += strspn(text, " ")) {
        size_t size = strcspn(text, " ");
        if (column > 0 && column + 1 + size > COLUMNS) {
            putchar('\n');
            column = 0;
        }
        size_t blanks = column == 0 ? indent : 1;
        printf("%*s", (int)blanks, "");
        column += blanks + kvcli_write_escaped(stdout, kvp_slice_of(text, size));
        text += size;
    }
    putchar('\n');
}

void kvcli_print_wrapped(size_t indent, const char *text)
{
    print_words(indent, 0, text);
}

void kvcli_print_named(const char *name, const char *text)
{
    size_t size = strlen(name);
    printf("%.*s", (int)size - 1, name); /* its last blank comes before the first word */
    print_words(size, size - 1, text);
}

void kvcli_print_cell(const char *text, int width)
{
    size_t written = kvcli_write_escaped(stdout, kvp_slice_of(text, strlen(text)));
    for (; written < (size_t)width; written++) {
        putchar(' ');
    }
}

void kvcli_print_name(const char *text, int indent, int width)
{
    size_t written = kvcli_write_escaped(stdout, kvp_slice_of(text, strlen(text)));
    if (written >= (size_t)width) {
        printf("\n%*s", indent + width, "");
    } else {
        printf("%*s", width - (int)written, "");
    }
}

bool kvcli_print_json(cJSON *object)
{
    char *text = object == NULL ? NULL : cJSON_PrintUnformatted(object);
    bool printed = text != NULL;
    if (printed) {
        puts(text);
    }
    cJSON_free(text);
    cJSON_Delete(object);
    return printed;
}

void kvcli_json_add(cJSON **object, const char *name, cJSON *item)
{
    bool added = *object != NULL && item != NULL &&
                 (name != NULL ? cJSON_AddItemToObject(*object, name, item)
                               : cJSON_AddItemToArray(*object, item));

    if (!added) {
        cJSON_Delete(item);
        cJSON_Delete(*object);
        *object = NULL;
    }
}

static bool is_text(kvp_slice slice)
{
    const uint8_t *bytes = slice.data;
    for (size_t i = 0, length; i < slice.size; i += length) {
        length = bytes[i] == 0 ? 0 : sequence_size(bytes + i, slice.size - i);
        if (length == 0) {
            return false;
        }
    }
    return true;
}

/* Base 64 (RFC 4648) with padding. */
static char *encode64(kvp_slice slice)
{
    const uint8_t *bytes = slice.data;
    char *text = malloc((slice.size + 2) / 3 * 4 + 1);
    char *next = text;
    for (size_t i = 0; text != NULL && i < slice.size; i += 3) {
        size_t left = slice.size - i;
        uint32_t group = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                         (left > 2 ? bytes[i + 2] : 0);
        *next++ = digits64[group >> 18];
        *next++ = digits64[group >> 12 & 63];
        *next++ = left > 1 ? digits64[group >> 6 & 63] : '=';
        *next++ = left > 2 ? digits64[group & 63] : '=';
    }
    if (text != NULL) {
        *next = '\0';
    }
    return text;
}

static bool decode64(const char *text, kvp_buf *bytes)
{
    size_t size = strlen(text);
    size_t padding = size < 2 ? 0 : (size_t)(text[size - 1] == '=') + (text[size - 2] == '=');
    if (size % 4 != 0) {
        return false;
    }
    for (size_t i = 0; i < size; i += 4) {
        bool end = i + 4 == size;
        uint32_t group = 0;
        for (size_t j = 0; j < 4; j++) {
            bool pad = end && j >= 4 - padding;
            const char *digit = pad ? digits64 : strchr(digits64, text[i + j]);
            if (digit == NULL) {
                return false;
            }
            group = group << 6 | (uint32_t)(digit - digits64);
        }
        uint8_t part[] = {(uint8_t)(group >> 16), (uint8_t)(group >> 8), (uint8_t)group};
        if (kvp_buf_append(bytes, part, end ? 3 - padding : 3) != KVP_OK) {
            return false;
        }
    }
    return true;
}

cJSON *kvcli_json_bytes(kvp_slice bytes)
{
    bool readable = is_text(bytes);
    char *text =
        readable ? strndup(bytes.size == 0 ? "" : bytes.data, bytes.size) : encode64(bytes);
    cJSON *item = text == NULL ? NULL : cJSON_CreateString(text);

    free(text);
    if (item != NULL && !readable) {
        cJSON *object = cJSON_CreateObject();
        if (object == NULL || !cJSON_AddItemToObject(object, "base64", item)) {
            cJSON_Delete(item);
            cJSON_Delete(object);
            return NULL;
        }
        item = object;
    }
    return item;
}

bool kvcli_bytes_of_json(const cJSON *item, kvp_buf *bytes)
{
    if (cJSON_IsString(item)) {
        return kvp_buf_append(bytes, item->valuestring, strlen(item->valuestring)) == KVP_OK;
    }
    static const char *const members[] = {"base64", NULL};
    const char *wrong = NULL;
    const cJSON *base64 = cJSON_GetObjectItemCaseSensitive(item, "base64");
    return kvcli_json_only(item, members, &wrong) && cJSON_IsString(base64) &&
           decode64(base64->valuestring, bytes);
}

bool kvcli_json_only(const cJSON *object, const char *const *members, const char **wrong)
{
    const cJSON *item;

    *wrong = NULL;
    if (!cJSON_IsObject(object)) {
        return false;
    }
    cJSON_ArrayForEach(item, object)
    {
        const char *const *known = members;
        while (*known != NULL && strcmp(*known, item->string) != 0) {
            known++;
        }
        if (*known == NULL || cJSON_GetObjectItemCaseSensitive(object, *known) != item) {
            *wrong = item->string;
            return false;
        }
    }
    return true;
}

double kvcli_json_count(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    double number = cJSON_IsNumber(item) ? item->valuedouble : 0;

    return !(number > 0) ? 0 : number < COUNT_MAX ? number : COUNT_MAX;
}

uint64_t kvcli_json_integer(const cJSON *object, const char *name, uint64_t max)
{
    double number = kvcli_json_count(object, name);
    return number < (double)max ? (uint64_t)number : max;
}

const char *kvcli_json_text(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

    return cJSON_IsString(item) ? item->valuestring : "";
}

cJSON *kvcli_json_readable(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = malloc(size);
    if (copy == NULL) {
        return NULL;
    }
    if (kvp_utf8_is_valid(kvp_slice_of(text, size - 1))) {
        memcpy(copy, text, size);
    } else {
        (void)kvp_utf8_copy(copy, size, kvp_slice_of(text, size - 1));
    }
    cJSON *item = cJSON_CreateString(copy);
    free(copy);
    return item;
}

cJSON *kvcli_json_number(uint64_t number)
{
    char digits[24];
    (void)snprintf(digits, sizeof(digits), "%" PRIu64, number);
    return cJSON_CreateRaw(digits);
}

/* cJSON's strings end at their first zero byte, so none may come in. Returns where one is, as
 * \u0000 or as it is; the size of the text: nowhere. Backslashes stand only within strings, where
 * each takes the next character with it. */
static size_t find_zero(const char *bytes, size_t size)
{
    size_t i = 0;
    while (i < size && bytes[i] != '\0') {
        if (size - i >= 6 && memcmp(bytes + i, "\\u0000", 6) == 0) {
            return i;
        }
        i += bytes[i] == '\\' && i + 1 < size && bytes[i + 1] != '\0' ? 2 : 1;
    }
    return i;
}

cJSON *kvcli_parse_json(kvp_slice text, const char **reason, size_t *at)
{
    const char *bytes = text.size == 0 ? "" : text.data;
    const char *end = bytes;
    *at = find_zero(bytes, text.size);
    if (*at < text.size) {
        *reason = "a zero byte: a string cannot hold it, {\"base64\": \"...\"} can";
        return NULL;
    }
    cJSON *root = cJSON_ParseWithLengthOpts(bytes, text.size, &end, false);
    *reason = "malformed JSON";
    while (root != NULL && end < bytes + text.size && memchr(" \t\r\n", *end, 4) != NULL) {
        end++;
    }
    *at = end == NULL ? 0 : (size_t)(end - bytes);
    if (root != NULL && *at < text.size) {
        *reason = "something follows the JSON value";
        cJSON_Delete(root);
        root = NULL;
    }
    return root;
}

bool kvcli_parse_number(const char *text, uint64_t max, uint64_t *number)
{
    char *end = NULL;
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value > max) {
        return false;
    }
    *number = value;
    return true;
}
