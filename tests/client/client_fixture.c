/* SPDX-License-Identifier: Apache-2.0 */
#include "client_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

kvp_slice text(const char *string)
{
    return kvp_slice_of(string, strlen(string));
}

kvp_client *open_client_of(const char *nodes, const char *group, uint32_t timeout_ms)
{
    kvp_client_options options;
    kvp_client *client = NULL;
    char message[200] = "";
    kvp_client_options_init(&options);
    options.nodes = nodes;
    options.group = group;
    options.timeout_ms = timeout_ms;
    if (kvp_client_open(&options, &client, message, sizeof(message)) != KVP_OK) {
        fail_msg("%s", message);
    }
    return client;
}

kvp_client *open_client(const char *nodes, uint32_t timeout_ms)
{
    return open_client_of(nodes, NULL, timeout_ms);
}

void fixture_begin(struct fixture *fixture)
{
    server_open(&fixture->server, NULL);
    fixture->client = open_client(server_url(&fixture->server), 30000);
}

void fixture_end(struct fixture *fixture)
{
    kvp_client_close(fixture->client);
    server_close(&fixture->server);
}

void put_text(kvp_client *client, const char *key, const char *value)
{
    assert_int_equal(kvp_put(client, text(key), text(value), NULL), KVP_OK);
}

void check_reason(kvp_result *result, const char *word)
{
    char reason[256];
    (void)snprintf(reason, sizeof(reason), "%.*s", (int)result->value.size,
                   (const char *)result->value.data);
    assert_non_null(strstr(reason, word));
    kvp_result_free(result);
}
