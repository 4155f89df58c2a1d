/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/wire/operations.h"

/* The name on the wire is the constant's without its prefix. */
#define OPERATION_ROW(op, number, least, most, update, has_session, served_by, job, said_by,       \
                      needed)                                                                      \
    [number] = {&#op[sizeof("KVP_OP_") - 1],                                                       \
                least,                                                                             \
                most,                                                                              \
                update,                                                                            \
                job,                                                                               \
                KVP_SESSION_##has_session,                                                         \
                KVP_SERVED_##served_by,                                                            \
                KVP_BY_##said_by,                                                                  \
                KVP_NEEDS_##needed},

const struct kvp_operation kvp_operations[KVP_OPERATIONS_END] = {KVP_OPERATIONS(OPERATION_ROW)};
