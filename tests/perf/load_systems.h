/* SPDX-License-Identifier: Apache-2.0 */
/* What the load (load_systems.c) and what it speaks (load_protocols.c) share. */
#ifndef KVP_LOAD_SYSTEMS_H
#define KVP_LOAD_SYSTEMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LOAD_VALUE_SIZE = 100,
    LOAD_KEY_SIZE = 16,
    LOAD_WIDTH_MAX = 128,        /* requests under way on one connection */
    LOAD_ANSWERS_SIZE = 1 << 16, /* bytes of answers that have come and are not taken */
    LOAD_REQUESTS_SIZE = 1 << 16
};

enum load_operation { LOAD_PUT, LOAD_GET };

struct load_request {
    enum load_operation operation;
    unsigned key;
    uint64_t began_ns;
    uint64_t number; /* kvpair: of the update in its session slot */
};

struct load_connection {
    int socket;
    unsigned width; /* requests under way */
    struct load_request requests[LOAD_WIDTH_MAX];
    uint8_t done[LOAD_WIDTH_MAX]; /* requests that were answered, and are to be asked anew */
    unsigned done_count;
    /* Where answers come in the order of the requests: which ones have none yet, as a ring. */
    uint8_t order[2 * LOAD_WIDTH_MAX];
    unsigned order_first, order_count;
    uint8_t waiting[LOAD_WIDTH_MAX]; /* Redis: sets that a WAIT stands behind */
    unsigned waiting_count;
    unsigned long long job;         /* beanstalkd */
    int step;                       /* of beanstalkd's cycle */
    uint64_t client, session_start; /* kvpair */
    size_t in_size, out_size;
    uint8_t in[LOAD_ANSWERS_SIZE + 1], out[LOAD_REQUESTS_SIZE];
};

struct load_protocol {
    const char *name;
    unsigned width_max; /* how many requests may be under way on one connection */
    bool gets;
    /* Before anything is measured; NULL: nothing is said. */
    void (*greet)(struct load_connection *connection);
    /* Appends the request of that number to what goes out. */
    void (*ask)(struct load_connection *connection, unsigned index);
    /* Behind the last request of what goes out; NULL: nothing comes there. */
    void (*seal)(struct load_connection *connection);
    /* Takes one answer out of what has come; false: none is whole. */
    bool (*take)(struct load_connection *connection);
};

extern const struct load_protocol load_protocols[];
extern const unsigned load_protocol_count;
extern const char *load_value; /* LOAD_VALUE_SIZE bytes */

/* Ends the program with a message. */
_Noreturn void load_die(const char *what, const char *text);
/* The request has been answered. */
void load_done(struct load_connection *connection, unsigned index);
/* Appends bytes to what goes out; text likewise. */
void load_send(struct load_connection *connection, const void *bytes, size_t size);
__attribute__((format(printf, 2, 3))) void load_print(struct load_connection *connection,
                                                      const char *format, ...);
/* Drops so many bytes of what has come. */
void load_drop(struct load_connection *connection, size_t size);

#endif
