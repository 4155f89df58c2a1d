/* SPDX-License-Identifier: Apache-2.0 */
/* In place of http_server.c where the library that it needs is not there. */
#include "replication/http/http_server.h"

#include <stdio.h>

static kvp_status http_none_open(const struct kvp_http_config *config,
                                 struct kvp_http_server **server)
{
    (void)server;
    (void)snprintf(config->reason, config->reason_size,
                   "this program was built without HTTP: build it with libmicrohttpd "
                   "(meson setup -Dhttp=enabled)");
    return KVP_BAD_ARGUMENT;
}

static const char *http_none_url(const struct kvp_http_server *server)
{
    (void)server;
    return "";
}

static void http_none_close(struct kvp_http_server *server)
{
    (void)server;
}

const struct kvp_http_functions kvp_http = {http_none_open, http_none_url, http_none_close};
