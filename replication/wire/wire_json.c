/* SPDX-License-Identifier: Apache-2.0 */
/* What a node says about itself and its jobs, as JSON text. */
#include "replication/wire/wire.h"
#include "kvstore/base/utf8.h"
#include "replication/wire/mp_reader.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX  4u
#define VALUES_MAX (1u << 19) /* in one answer: a page of a list has a tenth of it */
#define NAME_MAX   63u

/* An answer on its way. A node may send anything; what it comes to is bounded, valid JSON. */
struct conversion {
    struct kvp_mp_reader reader;
    unsigned values;
};

static cJSON *json_convert(struct conversion *conversion, const char *name, unsigned depth);

/* Strings of cJSON end at their first zero byte. */
static cJSON *convert_text(kvp_slice text)
{
    bool sound =
        kvp_utf8_is_valid(text) && (text.size == 0 || memchr(text.data, '\0', text.size) == NULL);
    char *copy = malloc(text.size + 1);

    if (copy == NULL) {
        return NULL;
    }
    if (sound) {
        memcpy(copy, text.size == 0 ? "" : text.data, text.size);
        copy[text.size] = '\0';
    } else {
        (void)kvp_utf8_copy(copy, text.size + 1, text);
    }
    cJSON *item = cJSON_CreateString(copy);
    free(copy);
    return item;
}

/* Identities of 64 bits are drawn at random: most readers of JSON would round them as numbers. */
static bool is_identity(const char *name)
{
    size_t size = strlen(name);
    return size > 3 && strcmp(name + size - 3, "_id") == 0;
}

/* Not through cJSON's numbers: they are floating point. */
static cJSON *convert_number(uint64_t number, const char *name)
{
    char digits[24];
    (void)snprintf(digits, sizeof(digits), "%" PRIu64, number);
    return is_identity(name) ? cJSON_CreateString(digits) : cJSON_CreateRaw(digits);
}

static cJSON *convert_array(struct conversion *conversion, const char *name, unsigned depth)
{
    uint32_t count = kvp_mp_array(&conversion->reader);
    cJSON *array = cJSON_CreateArray();

    for (uint32_t i = 0; i < count && array != NULL && !conversion->reader.failed; i++) {
        cJSON *item = json_convert(conversion, name, depth + 1);
        if (item == NULL || !cJSON_AddItemToArray(array, item)) {
            cJSON_Delete(item);
            cJSON_Delete(array);
            return NULL;
        }
    }
    return array;
}

static cJSON *convert_map(struct conversion *conversion, unsigned depth)
{
    uint32_t count = kvp_mp_map(&conversion->reader);
    cJSON *map = cJSON_CreateObject();

    for (uint32_t i = 0; i < count && map != NULL && !conversion->reader.failed; i++) {
        char name[NAME_MAX + 1];
        (void)kvp_utf8_copy(name, sizeof(name), kvp_mp_str(&conversion->reader));
        cJSON *item = json_convert(conversion, name, depth + 1);
        if (item == NULL || !cJSON_AddItemToObject(map, name, item)) {
            cJSON_Delete(item);
            cJSON_Delete(map);
            return NULL;
        }
    }
    return map;
}

/* NULL: out of memory, or (then the reader has failed) malformed. */
static cJSON *json_convert(struct conversion *conversion, const char *name, unsigned depth)
{
    struct kvp_mp_reader *reader = &conversion->reader;
    if (depth > DEPTH_MAX || ++conversion->values > VALUES_MAX) {
        kvp_mp_fail(reader);
        return NULL;
    }
    switch (kvp_mp_peek(reader)) {
    case KVP_MP_NIL:
        kvp_mp_nil(reader);
        return cJSON_CreateNull();
    case KVP_MP_BOOL:
        return cJSON_CreateBool(kvp_mp_bool(reader));
    case KVP_MP_UINT:
        return convert_number(kvp_mp_uint(reader), name);
    case KVP_MP_FLOAT:
        return cJSON_CreateNumber(kvp_mp_double(reader));
    case KVP_MP_STR:
        return convert_text(kvp_mp_str(reader));
    case KVP_MP_BIN: /* a key */
        return convert_text(kvp_mp_bin(reader));
    case KVP_MP_ARRAY:
        return convert_array(conversion, name, depth);
    case KVP_MP_MAP:
        return convert_map(conversion, depth);
    default:
        kvp_mp_fail(reader);
        return NULL;
    }
}

kvp_status kvp_wire_json(kvp_slice value, bool list, kvp_buf *text)
{
    struct conversion conversion = {0};
    kvp_mp_begin(&conversion.reader, value);
    if (kvp_mp_peek(&conversion.reader) != (list ? KVP_MP_ARRAY : KVP_MP_MAP)) {
        return KVP_CORRUPT;
    }
    cJSON *item = json_convert(&conversion, "", 0);
    bool whole = kvp_mp_done(&conversion.reader);
    char *printed = item == NULL || !whole ? NULL : cJSON_PrintUnformatted(item);
    kvp_status status = whole ? KVP_NO_MEMORY : KVP_CORRUPT;

    if (printed != NULL) {
        status = kvp_buf_append(text, printed, strlen(printed));
        cJSON_free(printed);
    }
    cJSON_Delete(item);
    return status;
}
