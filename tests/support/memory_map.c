/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A treap with copied paths. The priority of a node is a hash of its key, so the shape depends on
 * the keys alone, not on the order of updates, and the depth is logarithmic with overwhelming
 * probability: recursion is safe.
 */
#include "tests/support/memory_map.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Shared by the copies of a node. */
struct pair {
    atomic_size_t references;
    size_t key_size;
    size_t value_size;
    uint8_t bytes[]; /* key, value */
};

struct memory_map {
    atomic_size_t references;
    uint64_t priority;
    struct pair *pair;
    struct memory_map *left;
    struct memory_map *right;
};

static struct pair *pair_new(kvp_slice key, kvp_slice value)
{
    struct pair *pair = malloc(sizeof(*pair) + key.size + value.size);
    if (pair == NULL) {
        return NULL;
    }
    atomic_init(&pair->references, 1);
    pair->key_size = key.size;
    pair->value_size = value.size;
    if (key.size > 0) {
        memcpy(pair->bytes, key.data, key.size);
    }
    if (value.size > 0) {
        memcpy(pair->bytes + key.size, value.data, value.size);
    }
    return pair;
}

static void pair_unref(struct pair *pair)
{
    if (atomic_fetch_sub_explicit(&pair->references, 1, memory_order_acq_rel) == 1) {
        free(pair);
    }
}

struct memory_map *memory_map_ref(struct memory_map *map)
{
    if (map != NULL) {
        atomic_fetch_add_explicit(&map->references, 1, memory_order_relaxed);
    }
    return map;
}

void memory_map_unref(struct memory_map *map)
{
    if (map == NULL || atomic_fetch_sub_explicit(&map->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    memory_map_unref(map->left);
    memory_map_unref(map->right);
    pair_unref(map->pair);
    free(map);
}

/* A new node over a borrowed pair; takes the references of both subtrees, also when it fails. */
static struct memory_map *node_new(struct pair *pair, uint64_t priority, struct memory_map *left,
                                   struct memory_map *right)
{
    struct memory_map *node = malloc(sizeof(*node));
    if (node == NULL) {
        memory_map_unref(left);
        memory_map_unref(right);
        return NULL;
    }
    atomic_init(&node->references, 1);
    atomic_fetch_add_explicit(&pair->references, 1, memory_order_relaxed);
    node->priority = priority;
    node->pair = pair;
    node->left = left;
    node->right = right;
    return node;
}

kvp_slice memory_map_key(const struct memory_map *node)
{
    return kvp_slice_of(node->pair->bytes, node->pair->key_size);
}

kvp_slice memory_map_value(const struct memory_map *node)
{
    return kvp_slice_of(node->pair->bytes + node->pair->key_size, node->pair->value_size);
}

/* Lifts the fresh left child `sub` over a copy of `map`. Consumes `sub`. */
static struct memory_map *lift_left(struct memory_map *map, struct memory_map *sub)
{
    struct memory_map *middle = sub->right;
    sub->right = NULL;
    sub->right = node_new(map->pair, map->priority, middle, memory_map_ref(map->right));
    if (sub->right == NULL) {
        memory_map_unref(sub);
        return NULL;
    }
    return sub;
}

static struct memory_map *lift_right(struct memory_map *map, struct memory_map *sub)
{
    struct memory_map *middle = sub->left;
    sub->left = NULL;
    sub->left = node_new(map->pair, map->priority, memory_map_ref(map->left), middle);
    if (sub->left == NULL) {
        memory_map_unref(sub);
        return NULL;
    }
    return sub;
}

/* The copy of the path with the pair in it: every node returned is fresh, with one reference. NULL
 * when memory is short. */
static struct memory_map *put_pair(struct memory_map *map, struct pair *pair, uint64_t priority)
{
    if (map == NULL) {
        return node_new(pair, priority, NULL, NULL);
    }
    int order = kvp_slice_compare(kvp_slice_of(pair->bytes, pair->key_size), memory_map_key(map));
    if (order == 0) {
        return node_new(pair, map->priority, memory_map_ref(map->left), memory_map_ref(map->right));
    }
    struct memory_map *sub = put_pair(order < 0 ? map->left : map->right, pair, priority);
    if (sub == NULL) {
        return NULL;
    }
    if (order < 0) {
        return sub->priority > map->priority
                   ? lift_left(map, sub)
                   : node_new(map->pair, map->priority, sub, memory_map_ref(map->right));
    }
    return sub->priority > map->priority
               ? lift_right(map, sub)
               : node_new(map->pair, map->priority, memory_map_ref(map->left), sub);
}

kvp_status memory_map_put(struct memory_map *map, kvp_slice key, kvp_slice value,
                          struct memory_map **changed)
{
    struct pair *pair = pair_new(key, value);
    if (pair == NULL) {
        return KVP_NO_MEMORY;
    }
    struct memory_map *result = put_pair(map, pair, XXH3_64bits(key.data, key.size));
    pair_unref(pair);
    if (result == NULL) {
        return KVP_NO_MEMORY;
    }
    *changed = result;
    return KVP_OK;
}

/* Joins two maps, all keys of the first below those of the second. False when memory is short. */
static bool merge(struct memory_map *low, struct memory_map *high, struct memory_map **merged)
{
    struct memory_map *sub = NULL;
    struct memory_map *node = NULL;
    if (low == NULL || high == NULL) {
        *merged = memory_map_ref(low == NULL ? high : low);
        return true;
    }
    if (low->priority > high->priority) {
        if (!merge(low->right, high, &sub)) {
            return false;
        }
        node = node_new(low->pair, low->priority, memory_map_ref(low->left), sub);
    } else {
        if (!merge(low, high->left, &sub)) {
            return false;
        }
        node = node_new(high->pair, high->priority, sub, memory_map_ref(high->right));
    }
    *merged = node;
    return node != NULL;
}

/* The key is known to be there. */
static bool delete_key(struct memory_map *map, kvp_slice key, struct memory_map **changed)
{
    struct memory_map *sub = NULL;
    int order = kvp_slice_compare(key, memory_map_key(map));
    if (order == 0) {
        return merge(map->left, map->right, changed);
    }
    if (!delete_key(order < 0 ? map->left : map->right, key, &sub)) {
        return false;
    }
    struct memory_map *node =
        order < 0 ? node_new(map->pair, map->priority, sub, memory_map_ref(map->right))
                  : node_new(map->pair, map->priority, memory_map_ref(map->left), sub);
    *changed = node;
    return node != NULL;
}

kvp_status memory_map_delete(struct memory_map *map, kvp_slice key, struct memory_map **changed)
{
    struct memory_map *result = NULL;
    const struct memory_map *found = memory_map_find(map, key, false);
    if (found == NULL || kvp_slice_compare(memory_map_key(found), key) != 0) {
        *changed = memory_map_ref(map);
        return KVP_OK;
    }
    if (!delete_key(map, key, &result)) {
        return KVP_NO_MEMORY;
    }
    *changed = result;
    return KVP_OK;
}

const struct memory_map *memory_map_find(const struct memory_map *map, kvp_slice key, bool after)
{
    const struct memory_map *found = NULL;
    while (map != NULL) {
        int order = kvp_slice_compare(memory_map_key(map), key);
        if (order > 0 || (order == 0 && !after)) {
            found = map;
            map = map->left;
        } else {
            map = map->right;
        }
    }
    return found;
}

const struct memory_map *memory_map_find_back(const struct memory_map *map, kvp_slice key,
                                              bool before)
{
    const struct memory_map *found = NULL;
    while (map != NULL) {
        int order = kvp_slice_compare(memory_map_key(map), key);
        if (order < 0 || (order == 0 && !before)) {
            found = map;
            map = map->right;
        } else {
            map = map->left;
        }
    }
    return found;
}
