/* SPDX-License-Identifier: Apache-2.0 */
/* What a node says about itself and its jobs, as JSON text. */
#include "client/client_priv.h"
#include "replication/mp_reader.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 4u

static cJSON *convert(struct kvp_mp_reader *reader, unsigned depth);

static cJSON *convert_text(kvp_slice text)
{
    char *copy = strndup(text.size == 0 ? "" : text.data, text.size);
    cJSON *item = copy == NULL ? NULL : cJSON_CreateString(copy);

    free(copy);
    return item;
}

/* Not through cJSON's numbers: they are floating point, and ids have 64 bits. */
static cJSON *convert_number(uint64_t number)
{
    char digits[24];

    (void)snprintf(digits, sizeof(digits), "%" PRIu64, number);
    return cJSON_CreateRaw(digits);
}

static cJSON *convert_array(struct kvp_mp_reader *reader, unsigned depth)
{
    uint32_t count = kvp_mp_array(reader);
    cJSON *array = cJSON_CreateArray();

    for (uint32_t i = 0; i < count && array != NULL && !reader->failed; i++) {
        cJSON *item = convert(reader, depth + 1);
        if (item == NULL || !cJSON_AddItemToArray(array, item)) {
            cJSON_Delete(item);
            cJSON_Delete(array);
            return NULL;
        }
    }
    return array;
}

static cJSON *convert_map(struct kvp_mp_reader *reader, unsigned depth)
{
    uint32_t count = kvp_mp_map(reader);
    cJSON *map = cJSON_CreateObject();

    for (uint32_t i = 0; i < count && map != NULL && !reader->failed; i++) {
        char name[64];
        kvp_slice key = kvp_mp_str(reader);
        (void)snprintf(name, sizeof(name), "%.*s", (int)(key.size < 63 ? key.size : 63),
                       key.size == 0 ? "" : (const char *)key.data);
        cJSON *item = convert(reader, depth + 1);
        if (item == NULL || !cJSON_AddItemToObject(map, name, item)) {
            cJSON_Delete(item);
            cJSON_Delete(map);
            return NULL;
        }
    }
    return map;
}

/* NULL: out of memory, or (then the reader has failed) malformed. */
static cJSON *convert(struct kvp_mp_reader *reader, unsigned depth)
{
    if (depth > DEPTH_MAX) {
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
        return convert_number(kvp_mp_uint(reader));
    case KVP_MP_FLOAT:
        return cJSON_CreateNumber(kvp_mp_double(reader));
    case KVP_MP_STR:
        return convert_text(kvp_mp_str(reader));
    case KVP_MP_ARRAY:
        return convert_array(reader, depth);
    case KVP_MP_MAP:
        return convert_map(reader, depth);
    default:
        kvp_mp_fail(reader);
        return NULL;
    }
}

kvp_status client_json(kvp_slice value, kvp_buf *text)
{
    struct kvp_mp_reader reader;

    kvp_mp_begin(&reader, value);
    cJSON *item = convert(&reader, 0);
    bool whole = kvp_mp_done(&reader);
    char *printed = item == NULL || !whole ? NULL : cJSON_PrintUnformatted(item);
    kvp_status status = whole ? KVP_NO_MEMORY : KVP_CORRUPT;

    if (printed != NULL) {
        status = kvp_buf_append(text, printed, strlen(printed));
        cJSON_free(printed);
    }
    cJSON_Delete(item);
    return status;
}
