/* SPDX-License-Identifier: Apache-2.0 */
/* What writing and reading a backup share: the sizes of its parts, and what a pair adds. */
#ifndef KVP_BACKUP_FORMAT_H
#define KVP_BACKUP_FORMAT_H

#include "kvstore/backup.h"

#define BACKUP_MAGIC      "KVPBACK1"
#define BACKUP_CHUNK      "CHNK"
#define BACKUP_TRAILER    "TAIL"
#define BACKUP_MAGIC_SIZE 8u
#define BACKUP_TAG_SIZE   4u
#define BACKUP_SUM_SIZE   8u

/* Up to and with the size of what follows; what follows without the name. */
#define BACKUP_HEADER_HEAD  (BACKUP_MAGIC_SIZE + 8u)
#define BACKUP_HEADER_FIXED 47u
#define BACKUP_CHUNK_HEAD   (BACKUP_TAG_SIZE + 8u)
#define BACKUP_TRAILER_SIZE (BACKUP_TAG_SIZE + 48u)
#define BACKUP_PAIR_HEADER  8u

/* The checksum of a part: `before` is that of the one before it. */
uint64_t backup_sum(uint64_t before, const uint8_t *part, size_t size);

/* Takes a pair off the front: its whole encoding, and its key. False: none is there. */
bool backup_take_pair(kvp_slice *pairs, kvp_slice *pair, kvp_slice *key);
/* Raw keys of the state, in rising order behind `last`, each once; what they add to the totals, and
 * the last of them. KVP_CORRUPT. */
kvp_status backup_count(kvp_slice pairs, kvp_slice *last, struct kvp_backup_totals *totals,
                        uint32_t *count);

#endif
