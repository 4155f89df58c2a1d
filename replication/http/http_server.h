/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages for operators: a small HTTP server of its own thread, for GET and HEAD, on this machine's
 * own addresses only. What a stranger may cost is bounded: 32 connections are kept, and who has
 * been there longest makes room for the next; each is for one request, whose head has at most 16
 * KiB, and lasts 5 seconds at most, however busy it looks.
 */
#ifndef KVP_HTTP_SERVER_H
#define KVP_HTTP_SERVER_H

#include "kvpair/kvp_base.h"

struct kvp_http_server;

struct kvp_http_answer {
    unsigned code;      /* 200 if it is left alone */
    const char *type;   /* static; text/plain if it is left alone */
    const char *policy; /* static; what a browser may do with it; NULL: nothing */
    kvp_buf body;       /* freed by the server */
};

struct kvp_http_config {
    const char
        *url; /* http://HOST:PORT of the loopback: 127.0.0.1, [::1], localhost; port 0 picks one */
    /* Makes the page at `path`; `verbose`: ?verbose was asked for. On the server's thread, one
     * after the other: all wait for it. */
    void (*answer)(void *arg, const char *path, bool verbose, struct kvp_http_answer *answer);
    void *arg;
    char *reason; /* why it cannot listen, for people */
    size_t reason_size;
};

/* A build without libmicrohttpd has functions, too: open() then says so. */
struct kvp_http_functions {
    /* Listens and serves. KVP_BAD_ARGUMENT (the URL, or a build without pages), KVP_ADDRESS_IN_USE,
     * KVP_UNAVAILABLE (the address is not there at the moment), KVP_IO, KVP_NO_MEMORY. */
    kvp_status (*open)(const struct kvp_http_config *config, struct kvp_http_server **server);
    /* With the real port; lives as long as the server. */
    const char *(*url)(const struct kvp_http_server *server);
    /* Waits for a page that is being made; connections are closed. NULL is fine. */
    void (*close)(struct kvp_http_server *server);
};
extern const struct kvp_http_functions kvp_http;

#endif
