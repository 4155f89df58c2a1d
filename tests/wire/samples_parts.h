/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small story: group "default" has the nodes 1, 2 and 3, node 1 is primary in epoch 5, and a
 * client reads and changes the key "lamp". Then it wants the product of two matrices, job 50, of
 * which the worker "mcu-7" computes the first of four tiles, and another job, 51, of two tasks.
 */
#ifndef KVP_TEST_SAMPLES_PARTS_H
#define KVP_TEST_SAMPLES_PARTS_H

#include "tests/wire/samples.h"

#define GROUP_ID 0x0123456789abcdefu
#define CLIENT   0x1122334455667788u
#define EPOCH    5u
#define REVISION 43u /* of "lamp", after it was put */
#define PRODUCT  50u /* a job */
#define COUNTS   51u /* another */
#define INSTANCE 52u /* of the worker */
#define ATTEMPT  1234567890123456789u

void must(kvp_status status);
kvp_slice text(const char *string);
/* Takes over `result`. */
void put_answer(kvp_buf *out, int status, const char *hint, kvp_buf *result);

/* ---- samples_group.c ---- */

void register_get(kvp_buf *out);
void register_cas(kvp_buf *out);
void register_seed(kvp_buf *out);
void register_answer(kvp_buf *out);
void register_unknown_answer(kvp_buf *out);
void peer_state(kvp_buf *out);
void peer_heartbeat(kvp_buf *out);
void peer_append(kvp_buf *out);
void peer_snapshot(kvp_buf *out);
void peer_ask_view(kvp_buf *out);
void peer_leave(kvp_buf *out);
void peer_resign(kvp_buf *out);
void peer_reply(kvp_buf *out);
void peer_blank_reply(kvp_buf *out);

#endif
