/* SPDX-License-Identifier: Apache-2.0 */
/* A store kept by LevelDB in one directory. */
#ifndef KVP_STORE_LEVELDB_H
#define KVP_STORE_LEVELDB_H

#include "kvstore/store.h"

/*
 * Opens the LevelDB in the directory `path`, made if `create`. KVP_NOT_FOUND (absent and not
 * `create`), KVP_CORRUPT, KVP_DISK_FULL, KVP_IO, KVP_NO_MEMORY; `message` receives the reason.
 * The caller closes *store.
 */
kvp_status kvp_store_leveldb_open(const char *path, bool create, struct kvp_store **store,
                                  char *message, size_t message_size);

#endif
