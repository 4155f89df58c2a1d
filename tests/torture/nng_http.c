/* SPDX-License-Identifier: Apache-2.0 */
/* NNG's HTTP server with one small page, for tests/process/http_torture.py to judge: PORT */
#include <nng/nng.h>
#include <nng/supplemental/http/http.h>

#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char text[64];
    nng_url *url;
    nng_http_server *server;
    nng_http_handler *handler;
    (void)snprintf(text, sizeof(text), "http://127.0.0.1:%s", argc > 1 ? argv[1] : "0");
    if (nng_url_parse(&url, text) != 0 || nng_http_server_hold(&server, url) != 0 ||
        nng_http_handler_alloc_static(&handler, "/livez", "ok\n", 3, "text/plain") != 0 ||
        nng_http_server_add_handler(server, handler) != 0 || nng_http_server_start(server) != 0) {
        fputs("cannot listen\n", stderr);
        return 1;
    }
    for (;;) {
        pause();
    }
}
