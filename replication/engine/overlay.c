/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/engine/overlay.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define CAPACITY_MIN 1024u

kvp_status overlay_init(struct overlay *overlay)
{
    memset(overlay, 0, sizeof(*overlay));
    overlay->slots = calloc(CAPACITY_MIN, sizeof(*overlay->slots));
    if (overlay->slots == NULL) {
        return KVP_NO_MEMORY;
    }
    overlay->capacity = CAPACITY_MIN;
    return KVP_OK;
}

void overlay_clear(struct overlay *overlay)
{
    overlay_drop(overlay, UINT64_MAX);
    assert(overlay->count == 0);
}

/* ---- layers and versions, which are used again ---- */

static struct overlay_layer *overlay_new_layer(struct overlay *overlay)
{
    struct overlay_layer *layer = overlay->spare_layers;
    if (layer == NULL) {
        return calloc(1, sizeof(*layer));
    }
    overlay->spare_layers = layer->older;
    overlay->spare_layer_count--;
    memset(layer, 0, sizeof(*layer));
    return layer;
}

static void overlay_put_layer(struct overlay *overlay, struct overlay_layer *layer)
{
    if (overlay->spare_layer_count == OVERLAY_SPARES) {
        free(layer);
        return;
    }
    layer->older = overlay->spare_layers;
    overlay->spare_layers = layer;
    overlay->spare_layer_count++;
}

static struct overlay_version *overlay_new_version(struct overlay *overlay)
{
    struct overlay_version *version = overlay->spare_versions;
    if (version == NULL) {
        return calloc(1, sizeof(*version));
    }
    overlay->spare_versions = version->next;
    overlay->spare_version_count--;
    memset(version, 0, sizeof(*version));
    return version;
}

static void overlay_put_version(struct overlay *overlay, struct overlay_version *version)
{
    kvp_buf_free(&version->raw);
    if (overlay->spare_version_count == OVERLAY_SPARES) {
        free(version);
        return;
    }
    version->next = overlay->spare_versions;
    overlay->spare_versions = version;
    overlay->spare_version_count++;
}

void overlay_free_spares(struct overlay *overlay)
{
    while (overlay->spare_layers != NULL) {
        free(overlay_new_layer(overlay));
    }
    while (overlay->spare_versions != NULL) {
        free(overlay_new_version(overlay));
    }
}

void overlay_free(struct overlay *overlay)
{
    if (overlay->slots != NULL) {
        overlay_clear(overlay);
        overlay_free_spares(overlay);
        free(overlay->slots);
        overlay->slots = NULL;
    }
}

static struct overlay_key **slot_of(const struct overlay *overlay, uint64_t hash)
{
    return &overlay->slots[hash & (overlay->capacity - 1)];
}

static struct overlay_key *find_key(const struct overlay *overlay, kvp_slice key, uint64_t hash)
{
    struct overlay_key *at = *slot_of(overlay, hash);
    while (at != NULL && (at->hash != hash || at->size != key.size ||
                          memcmp(at->data, key.data, key.size) != 0)) {
        at = at->next;
    }
    return at;
}

/* A table that stays small is only slower: failing to grow is no failure. */
static void overlay_grow(struct overlay *overlay)
{
    struct overlay_key **old = overlay->slots;
    size_t old_capacity = overlay->capacity;
    struct overlay_key **slots = calloc(old_capacity * 2, sizeof(*slots));
    if (slots == NULL) {
        return;
    }
    overlay->slots = slots;
    overlay->capacity = old_capacity * 2;
    for (size_t i = 0; i < old_capacity; i++) {
        for (struct overlay_key *key = old[i], *next; key != NULL; key = next) {
            next = key->next;
            struct overlay_key **slot = slot_of(overlay, key->hash);
            key->next = *slot;
            *slot = key;
        }
    }
    free(old);
}

static struct overlay_key *get_key(struct overlay *overlay, kvp_slice key)
{
    uint64_t hash = XXH3_64bits(key.data, key.size);
    struct overlay_key *found = find_key(overlay, key, hash);
    if (found != NULL) {
        return found;
    }
    if (overlay->count >= overlay->capacity) {
        overlay_grow(overlay);
    }
    struct overlay_key *made = calloc(1, sizeof(*made) + key.size);
    if (made != NULL) {
        struct overlay_key **slot = slot_of(overlay, hash);
        made->hash = hash;
        made->size = key.size;
        memcpy(made->data, key.data, key.size);
        made->next = *slot;
        *slot = made;
        overlay->count++;
    }
    return made;
}

static void overlay_put_key(struct overlay *overlay, struct overlay_key *key)
{
    if (key->newest != NULL) {
        return;
    }
    struct overlay_key **link = slot_of(overlay, key->hash);
    while (*link != key) {
        link = &(*link)->next;
    }
    *link = key->next;
    overlay->count--;
    free(key);
}

kvp_status overlay_begin(struct overlay *overlay, uint64_t seq)
{
    assert(overlay->newest == NULL || overlay->newest->seq < seq);
    struct overlay_layer *layer = overlay_new_layer(overlay);
    if (layer == NULL) {
        return KVP_NO_MEMORY;
    }
    layer->seq = seq;
    layer->older = overlay->newest;
    *(overlay->newest != NULL ? &overlay->newest->newer : &overlay->oldest) = layer;
    overlay->newest = layer;
    return KVP_OK;
}

/* Unlinks a version from its key and frees it. Nothing is searched for: a key that everybody
 * writes has as many versions as there are entries under way. */
static void drop_version(struct overlay *overlay, struct overlay_version *version)
{
    *(version->newer != NULL ? &version->newer->older : &version->key->newest) = version->older;
    if (version->older != NULL) {
        version->older->newer = version->newer;
    }
    overlay_put_key(overlay, version->key);
    overlay_put_version(overlay, version);
}

static void drop_versions(struct overlay *overlay, struct overlay_layer *layer)
{
    for (struct overlay_version *version = layer->first, *next; version != NULL; version = next) {
        next = version->next;
        drop_version(overlay, version);
    }
    layer->first = layer->last = NULL;
}

void overlay_empty(struct overlay *overlay)
{
    drop_versions(overlay, overlay->newest);
}

void overlay_rollback(struct overlay *overlay)
{
    struct overlay_layer *layer = overlay->newest;
    drop_versions(overlay, layer);
    overlay->newest = layer->older;
    *(layer->older != NULL ? &layer->older->newer : &overlay->oldest) = NULL;
    overlay_put_layer(overlay, layer);
}

static void overlay_take(kvp_buf *to, kvp_buf *from)
{
    kvp_buf_free(to);
    *to = *from;
    memset(from, 0, sizeof(*from));
}

kvp_status overlay_set(struct overlay *overlay, kvp_slice key, kvp_buf *raw, bool is_delete)
{
    struct overlay_layer *layer = overlay->newest;
    struct overlay_key *at = get_key(overlay, key);
    if (at == NULL) {
        return KVP_NO_MEMORY;
    }
    struct overlay_version *version = at->newest;
    if (version == NULL || version->seq != layer->seq) {
        version = overlay_new_version(overlay);
        if (version == NULL) {
            overlay_put_key(overlay, at);
            return KVP_NO_MEMORY;
        }
        version->key = at;
        version->seq = layer->seq;
        version->older = at->newest;
        if (at->newest != NULL) {
            at->newest->newer = version;
        }
        at->newest = version;
        if (layer->last != NULL) {
            layer->last->next = version;
        } else {
            layer->first = version;
        }
        layer->last = version;
    }
    version->is_delete = is_delete;
    overlay_take(&version->raw, raw);
    return KVP_OK;
}

const struct overlay_version *overlay_find(const struct overlay *overlay, kvp_slice key,
                                           uint64_t seq)
{
    const struct overlay_key *at = find_key(overlay, key, XXH3_64bits(key.data, key.size));
    const struct overlay_version *version = at != NULL ? at->newest : NULL;
    while (version != NULL && version->seq > seq) {
        version = version->older;
    }
    return version;
}

static void drop_oldest(struct overlay *overlay)
{
    struct overlay_layer *layer = overlay->oldest;
    drop_versions(overlay, layer);
    overlay->oldest = layer->newer;
    *(layer->newer != NULL ? &layer->newer->older : &overlay->newest) = NULL;
    overlay_put_layer(overlay, layer);
}

void overlay_drop(struct overlay *overlay, uint64_t seq)
{
    while (overlay->oldest != NULL && overlay->oldest->seq <= seq) {
        drop_oldest(overlay);
    }
}

void overlay_dismantle(struct overlay *overlay, size_t *budget)
{
    while (overlay->oldest != NULL && *budget > 0) {
        struct overlay_layer *layer = overlay->oldest;
        struct overlay_version *version = layer->first;
        --*budget;
        if (version != NULL) {
            layer->first = version->next;
            drop_version(overlay, version);
        } else {
            drop_oldest(overlay);
        }
    }
}
