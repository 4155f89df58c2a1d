/* SPDX-License-Identifier: Apache-2.0 */
/* A client of a server within the test. */
#ifndef KVP_TEST_CLIENT_FIXTURE_H
#define KVP_TEST_CLIENT_FIXTURE_H

#include "fake_server.h"
#include "kvpair/kvp_client.h"

kvp_slice text(const char *string);
kvp_client *open_client_of(const char *nodes, const char *group, uint32_t timeout_ms);
kvp_client *open_client(const char *nodes, uint32_t timeout_ms);

struct fixture {
    struct fake_server server;
    kvp_client *client;
};

void fixture_begin(struct fixture *fixture);
void fixture_end(struct fixture *fixture);
void put_text(kvp_client *client, const char *key, const char *value);
void check_reason(kvp_result *result, const char *word);

#endif
