/* SPDX-License-Identifier: Apache-2.0 */
/* A witness over a store in memory, and short forms for what it is asked and what it must say. */
#ifndef KVP_TEST_WITNESS_SUPPORT_H
#define KVP_TEST_WITNESS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "replication/witness/witness.h"
#include "tests/support/store_memory.h"

#define GROUP_ID 0x1122334455667788u

struct fixture {
    struct kvp_env *env;
    struct kvp_witness *witness;
};

/* What the witness said. */
struct said {
    kvp_status handled; /* by kvp_witness_handle() */
    int code;
    bool has_register;
    uint64_t epoch;
    uint64_t group_id, known;
    struct kvp_view view;
};

kvp_node_set set_of(unsigned a, unsigned b, unsigned c);
struct kvp_view view_of(uint64_t version, uint64_t epoch, uint8_t primary, kvp_node_set in_sync);
struct said say(struct kvp_witness *witness, kvp_slice message);
struct said ask(struct kvp_witness *witness, const struct kvp_witness_request *request);
struct said get(struct kvp_witness *witness, uint64_t group_id);
struct said cas(struct kvp_witness *witness, unsigned from, uint64_t expected,
                struct kvp_view view);
struct said seed(struct kvp_witness *witness, unsigned from, struct kvp_view view, bool force);
void check_register(struct kvp_witness *witness, struct kvp_view view);

/* Refused or stale: told why, shown the register, and nothing changed. */
void check_no(struct kvp_witness *witness, struct said said, int code, struct kvp_view view);
void check_unknown(struct kvp_witness *witness, struct said said, int code);
int open_fixture(void **state);
int close_fixture(void **state);
struct kvp_witness *of(void **state);

/* {1, 2}, primary 1, version 1. */
struct kvp_view first_view(void);
void create_group(struct kvp_witness *witness);
void reopen(struct fixture *fixture);

#endif
