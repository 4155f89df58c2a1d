/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's JSON, both ways. Odd first byte: any bytes as an answer of a node that is shown as
 * JSON, which must be JSON whatever came. Even: any text as JSON that a person has written, with
 * bytes in it.
 */
#include "tests/fuzz/fuzz.h"
#include "client/kvcli/kvcli.h"
#include "replication/wire/wire.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

static void show(kvp_slice answer, bool list)
{
    kvp_buf text = {0};
    if (kvp_wire_json(answer, list, &text) == KVP_OK) {
        cJSON *root = cJSON_ParseWithLength((const char *)text.data, text.size);
        must(root != NULL, "what is shown is no JSON");
        cJSON_Delete(root);
    }
    kvp_buf_free(&text);
}

/* What can be read as bytes comes out as the same bytes. */
static void try_bytes(const cJSON *item)
{
    kvp_buf bytes = {0}, again = {0};
    if (kvcli_bytes_of_json(item, &bytes)) {
        cJSON *shown = kvcli_json_bytes(kvp_buf_slice(&bytes));
        must(shown != NULL && kvcli_bytes_of_json(shown, &again), "bytes cannot be shown");
        must(kvp_slice_compare(kvp_buf_slice(&bytes), kvp_buf_slice(&again)) == 0, "other bytes");
        cJSON_Delete(shown);
    }
    kvp_buf_free(&bytes);
    kvp_buf_free(&again);
}

static void walk(const cJSON *item, unsigned depth)
{
    static const char *const members[] = {"kind", "payload", "after", NULL};
    const char *wrong = NULL;
    const cJSON *child;
    try_bytes(item);
    if (cJSON_IsObject(item)) {
        (void)kvcli_json_only(item, members, &wrong);
        must(kvcli_json_integer(item, "done", 1000) <= 1000, "a number out of range");
        (void)kvcli_json_text(item, "state");
    }
    cJSON_ArrayForEach(child, item)
    {
        if (depth < 1000) {
            walk(child, depth + 1);
        }
    }
}

static void read_text(kvp_slice text)
{
    const char *reason = "";
    size_t at = 0;
    cJSON *root = kvcli_parse_json(text, &reason, &at);
    must(at <= text.size, "a place behind the text");
    must(root != NULL || reason[0] != '\0', "refused without a reason");
    if (root != NULL) {
        walk(root, 0);
        cJSON_Delete(root);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    if ((data[0] & 1) != 0) {
        show(kvp_slice_of(data + 1, size - 1), (data[0] & 2) != 0);
    } else {
        read_text(kvp_slice_of(data + 1, size - 1));
    }
    return 0;
}
