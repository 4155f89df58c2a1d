/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the embedding API share: a place, which is a directory with the data of two
 * nodes, and a witness in the same process. Whoever waits, waits for a condition, and fails the
 * test when it has not come true in WAIT_MS.
 */
#ifndef NODE_SUPPORT_H
#define NODE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kvpair/kvp_node.h"

#include <pthread.h>

#define WAIT_MS       30000u
#define TEXT(literal) kvp_slice_of(literal, sizeof(literal) - 1)

/* ---- places ---- */

struct place {
    char path[64];
    char dirs[3][96]; /* data directories of the nodes 1 and 2 (0: spare) */
    char urls[3][64]; /* addresses free at the time of place_open() */
    char peers[3][80];
};

void place_open(struct place *place);
void place_close(struct place *place);
/* A port of this machine that nobody listens on. */
unsigned free_port(void);

/* ---- what nodes say ---- */

/* Looks for a text in the log lines of all nodes that were given it. */
struct watch {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const char *text;
    unsigned seen, lines, changes;
};

void watch_open(struct watch *watch, const char *text);
void watch_wait(struct watch *watch, unsigned seen);
void watch_close(struct watch *watch);

/* ---- a witness ---- */

struct watcher;
struct watcher *witness_open(char url[64]);
void witness_close(struct watcher *witness);

/* ---- nodes ---- */

/* A node alone; what tests change is changed afterwards. Logs nothing. */
kvp_node_options alone(const struct place *place);
/* Node 1 or 2 of two, with a witness or (NULL) as a pair with that policy. */
kvp_node_options member(const struct place *place, unsigned id, const char *witness,
                        const char *pair);
kvp_node *node_open(const kvp_node_options *options);
kvp_node *node_open_serving(const kvp_node_options *options);
/* Waits until one of the two (NULL: closed) serves, and gives it. */
kvp_node *wait_any_serving(kvp_node *a, kvp_node *b);
void wait_in_sync(kvp_node *node, uint64_t set);
void wait_not_serving(kvp_node *node);
/* Puts, and repeats it while the node has no lease, as on a machine that is too busy. */
void must_put(kvp_node *node, const char *key, const char *value, uint64_t *version);
/* NULL: absent. */
void check_value(kvp_node *node, const char *key, const char *value, uint64_t version);

#endif
