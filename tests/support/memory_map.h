/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sorted map of bytes to bytes that is never changed: an update makes a new map, which shares all
 * but one path with the old one. So an old state, for a snapshot or for going back after a
 * simulated crash, is one pointer.
 *
 * Maps are counted by reference and may be read from any thread. NULL is the empty map.
 */
#ifndef KVP_MEMORY_MAP_H
#define KVP_MEMORY_MAP_H

#include "kvpair/kvp_base.h"

struct memory_map;

struct memory_map *memory_map_ref(struct memory_map *map);
void memory_map_unref(struct memory_map *map);

/* *changed is a new map with one pair put or taken away; the caller owns it. KVP_NO_MEMORY. */
kvp_status memory_map_put(struct memory_map *map, kvp_slice key, kvp_slice value,
                          struct memory_map **changed);
kvp_status memory_map_delete(struct memory_map *map, kvp_slice key, struct memory_map **changed);

/* The first node with a key >= `key` (> `key` if `after`); NULL at the end. Lives with the map. */
const struct memory_map *memory_map_find(const struct memory_map *map, kvp_slice key, bool after);
/* The last one <= `key`, or < it. */
const struct memory_map *memory_map_find_back(const struct memory_map *map, kvp_slice key,
                                              bool before);
kvp_slice memory_map_key(const struct memory_map *node);
kvp_slice memory_map_value(const struct memory_map *node);

#endif
