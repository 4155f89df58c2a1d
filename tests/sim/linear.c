/* SPDX-License-Identifier: Apache-2.0 */
#include "linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
    struct node *previous, *next;
    struct node *match; /* a call's return; NULL for returns */
    const struct linear_op *op;
    size_t index;
    uint64_t at;
    bool is_call;
    bool idle;      /* its outcome is unknown, and nobody has read what it may have written */
    uint64_t value; /* that it writes, as told apart: nobody tells those that were never read */
};

#define UNREAD 1u /* a value that is there, whichever */

struct memo {
    struct {
        uint64_t set, value;
    } * slots;
    size_t capacity, used;
};

static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Is the operation legal on `*value`, and what does it leave there? An operation of unknown outcome
 * may do nothing, which is the same as being placed last. */
static bool step(const struct node *call, uint64_t *value)
{
    const struct linear_op *op = call->op;
    switch (op->kind) {
    case LINEAR_GET:
        return *value == op->value;
    case LINEAR_PUT:
        *value = call->value;
        return true;
    case LINEAR_CREATE:
        if (op->known && op->effect != (*value == 0)) {
            return false;
        }
        *value = *value == 0 ? call->value : *value;
        return true;
    case LINEAR_DELETE:
        if (op->known && op->effect != (*value != 0)) {
            return false;
        }
        *value = 0;
        return true;
    }
    return false;
}

static void *must(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* Sets are kept as sums of random numbers (Zobrist 1970): equal sets have equal sums. */
static bool memo_add(struct memo *memo, uint64_t set, uint64_t value)
{
    if (2 * memo->used >= memo->capacity) {
        struct memo old = *memo;
        memo->capacity = old.capacity ? old.capacity * 2 : 1024;
        memo->used = 0;
        memo->slots = must(calloc(memo->capacity, sizeof(*memo->slots)));
        for (size_t i = 0; i < old.capacity; i++) {
            if (old.slots[i].set != 0) {
                memo_add(memo, old.slots[i].set, old.slots[i].value);
            }
        }
        free(old.slots);
    }
    size_t at = mix(set ^ mix(value)) & (memo->capacity - 1);
    while (memo->slots[at].set != 0) {
        if (memo->slots[at].set == set && memo->slots[at].value == value) {
            return false;
        }
        at = (at + 1) & (memo->capacity - 1);
    }
    memo->slots[at].set = set;
    memo->slots[at].value = value;
    memo->used++;
    return true;
}

static int by_time(const void *a, const void *b)
{
    const struct node *x = *(struct node *const *)a, *y = *(struct node *const *)b;
    if (x->at != y->at) {
        return x->at < y->at ? -1 : 1;
    }
    if (x->is_call != y->is_call) {
        return x->is_call ? -1 : 1;
    }
    return x->index < y->index ? -1 : x->index > y->index;
}

static void lift(struct node *call)
{
    call->previous->next = call->next;
    call->next->previous = call->previous;
    struct node *back = call->match;
    back->previous->next = back->next;
    if (back->next != NULL) {
        back->next->previous = back->previous;
    }
}

static void unlift(struct node *call)
{
    struct node *back = call->match;
    back->previous->next = back;
    if (back->next != NULL) {
        back->next->previous = back;
    }
    call->previous->next = call;
    call->next->previous = call;
}

static bool was_read(const struct linear_op *ops, size_t count, const struct linear_op *write)
{
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind == LINEAR_GET && ops[i].known && ops[i].key == write->key &&
            ops[i].value == write->value) {
            return true;
        }
    }
    return false;
}

static size_t build(const struct linear_op *ops, size_t count, unsigned key, struct node *nodes,
                    struct node *head)
{
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        const struct linear_op *op = &ops[i];
        if (op->key != key || (!op->known && op->kind == LINEAR_GET)) {
            continue;
        }
        struct node *call = &nodes[used], *back = &nodes[used + 1];
        *call = (struct node){
            .match = back, .op = op, .index = used, .at = op->called, .is_call = true};
        *back = (struct node){.op = op, .index = used + 1, .at = op->returned};
        bool read = op->kind != LINEAR_DELETE && was_read(ops, count, op);
        call->value = read ? op->value : UNREAD;
        call->idle = !op->known && !read;
        used += 2;
    }
    struct node **order = must(calloc(used + 1, sizeof(*order)));
    for (size_t i = 0; i < used; i++) {
        order[i] = &nodes[i];
    }
    qsort(order, used, sizeof(*order), by_time);
    struct node *last = head;
    for (size_t i = 0; i < used; i++) {
        order[i]->previous = last;
        last->next = order[i];
        last = order[i];
    }
    last->next = NULL;
    free(order);
    return used;
}

struct placed {
    struct node *call;
    uint64_t value;
};

/* Of two with the same effect and no latest time the one that was called first is tried: what the
 * other one explains, it explains, too. */
static bool stands_behind_its_like(const struct node *head, const struct node *call)
{
    for (const struct node *at = head->next; call->idle && at != call; at = at->next) {
        if (at->is_call && at->idle && at->op->kind == call->op->kind) {
            return true;
        }
    }
    return false;
}

/* May it be placed next? An unknown outcome that changes nothing need not be. */
static bool places(const struct node *head, const struct node *call, uint64_t *value)
{
    uint64_t before = *value;
    return !stands_behind_its_like(head, call) && step(call, value) &&
           (call->op->known || *value != before);
}

static bool search(struct node *head, size_t used, const struct linear_op **stuck)
{
    struct placed *stack = must(calloc(used / 2 + 1, sizeof(*stack)));
    struct memo memo = {0};
    size_t depth = 0, deepest = 0;
    uint64_t value = 0, set = 1;
    struct node *at = head->next;
    bool ok = true;
    while (head->next != NULL && ok) {
        uint64_t after = value;
        if (!at->is_call && at->at == UINT64_MAX) {
            break; /* what is left has an unknown outcome, and need not have happened */
        }
        if (at->is_call && places(head, at, &after) &&
            memo_add(&memo, set + mix(at->index + 1), after)) {
            stack[depth++] = (struct placed){at, value};
            value = after;
            set += mix(at->index + 1);
            lift(at);
            at = head->next;
        } else if (at->is_call) {
            at = at->next;
        } else {
            if (depth >= deepest) {
                deepest = depth;
                *stuck = at->op;
            }
            if (depth == 0) {
                ok = false;
                break;
            }
            struct placed top = stack[--depth];
            value = top.value;
            set -= mix(top.call->index + 1);
            unlift(top.call);
            at = top.call->next;
        }
    }
    free(memo.slots);
    free(stack);
    return ok;
}

bool linear_check(const struct linear_op *ops, size_t count, unsigned keys, char *why,
                  size_t why_size)
{
    struct node *nodes = must(calloc(2 * count + 1, sizeof(*nodes)));
    bool ok = true;
    for (unsigned key = 0; ok && key < keys; key++) {
        struct node head = {0};
        const struct linear_op *stuck = NULL;
        size_t used = build(ops, count, key, nodes, &head);
        ok = search(&head, used, &stuck);
        if (!ok) {
            snprintf(why, why_size, "key %u, at the operation %u of client %u called at %.3f ms",
                     key, stuck->kind, stuck->client, (double)stuck->called / 1000);
        }
    }
    free(nodes);
    return ok;
}
