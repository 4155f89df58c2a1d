/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the storage tests share: a place, which is a data directory of either kind (on disk or in
 * memory), and short forms for looking into stores.
 */
#ifndef KV_SUPPORT_H
#define KV_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kvstore/store.h"

#define TEXT(literal) kvp_slice_of(literal, sizeof(literal) - 1)

struct place {
    bool on_disk;
    char path[64]; /* on disk only; removed with the place */
    struct kvp_env *env;
};

void place_open(struct place *place, bool on_disk);
/* Gives the directory up and takes it again; what is in memory just stays. All stores are closed.
 */
void place_reopen(struct place *place);
void place_close(struct place *place);

kvp_slice slice_of_text(const char *text);
void check_slice(kvp_slice found, kvp_slice expected);

struct kvp_store *store_open(struct place *place, const char *name);
void store_put(struct kvp_store *store, const char *key, const char *value);
void store_delete(struct kvp_store *store, const char *key);
/* The value is that; NULL: there is none. */
void store_check(struct kvp_store *store, const char *key, const char *expected);
/* Everything in the store, as "key=value " in order. The caller frees it. */
char *store_dump(struct kvp_store *store, struct kvp_snapshot *snapshot);
void store_check_all(struct kvp_store *store, const char *expected);

/* All stores of the directory in order, as "name ". The caller frees it. */
char *place_stores(struct place *place);
void place_check_stores(struct place *place, const char *expected);

#endif
