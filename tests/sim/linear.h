/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a history of operations on registers linearizable? The search of Wing and Gong (1993) with the
 * memory of Lowe (2017), key by key.
 */
#ifndef KVP_LINEAR_H
#define KVP_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum linear_kind { LINEAR_GET, LINEAR_PUT, LINEAR_CREATE, LINEAR_DELETE };

struct linear_op {
    unsigned client, key;
    enum linear_kind kind;
    uint64_t value; /* put, create: written; get: seen. 0: absent */
    uint64_t called, returned;
    bool known;  /* the answer is; else `returned` is UINT64_MAX */
    bool effect; /* create, delete: it did something */
};

/* `why` names the key and the operation at which no order fits. */
bool linear_check(const struct linear_op *ops, size_t count, unsigned keys, char *why,
                  size_t why_size);

#endif
