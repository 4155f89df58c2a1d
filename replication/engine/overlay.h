/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The overlay: what entries that are appended but not yet applied to the store do to keys. Each key
 * has a chain of versions, newest first; each entry's versions are one *layer*, and layers come and
 * go in the order of their seq. One thread.
 */
#ifndef KVP_OVERLAY_H
#define KVP_OVERLAY_H

#include "kvpair/kvp_base.h"

struct overlay_version {
    struct overlay_version *older; /* of the same key */
    struct overlay_version *newer;
    struct overlay_version *next; /* of the same layer */
    struct overlay_key *key;
    uint64_t seq;
    bool is_delete;
    kvp_buf raw; /* the stored form (keyspace.h) */
};

struct overlay_key {
    struct overlay_key *next; /* in the hash chain */
    struct overlay_version *newest;
    uint64_t hash;
    size_t size;
    uint8_t data[]; /* raw key */
};

struct overlay_layer {
    struct overlay_layer *older, *newer;
    uint64_t seq;
    struct overlay_version *first, *last;
};

struct overlay {
    struct overlay_key **slots;
    size_t capacity, count;
    struct overlay_layer *oldest, *newest;
    /* To be used again: some for each update come and go. At most OVERLAY_SPARES of each. */
    struct overlay_layer *spare_layers;     /* linked by `older` */
    struct overlay_version *spare_versions; /* linked by `next` */
    unsigned spare_layer_count, spare_version_count;
};

#define OVERLAY_SPARES 256u

kvp_status overlay_init(struct overlay *overlay);
void overlay_clear(struct overlay *overlay); /* drops all layers */
void overlay_free(struct overlay *overlay);
void overlay_free_spares(struct overlay *overlay);
/* Frees versions of an overlay that nobody looks at any more, at most *budget, which is what is
 * left then. */
void overlay_dismantle(struct overlay *overlay, size_t *budget);

/* Opens a layer above all others. */
kvp_status overlay_begin(struct overlay *overlay, uint64_t seq);
/* Takes the newest layer away again. */
void overlay_rollback(struct overlay *overlay);
/* Takes back what the newest layer says; the layer stays. */
void overlay_empty(struct overlay *overlay);
/* Sets a key in the newest layer, in the place of what that layer said about it before. Takes over
 * the bytes of `raw` when it succeeds. */
kvp_status overlay_set(struct overlay *overlay, kvp_slice key, kvp_buf *raw, bool is_delete);
/* The newest version with a seq up to `seq`; NULL: the store knows. */
const struct overlay_version *overlay_find(const struct overlay *overlay, kvp_slice key,
                                           uint64_t seq);
/* Drops the layers up to `seq`: the store has them. */
void overlay_drop(struct overlay *overlay, uint64_t seq);

#endif
