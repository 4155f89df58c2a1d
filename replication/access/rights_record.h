/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everybody's rights: one replicated record (keyspace.h), and what a node looks them up in. The
 * record is a version, u8, and entries in the order of their names: size u8, name ("user/ann"),
 * size u16, list (rights.h). A version that is not known gives nobody a right.
 */
#ifndef KVP_RIGHTS_RECORD_H
#define KVP_RIGHTS_RECORD_H

#include "replication/access/rights.h"

#define KVP_RIGHTS_RECORD_SIZE_MAX (256u * 1024u)
#define KVP_RIGHTS_LIST_SIZE_MAX   (16u * 1024u) /* of one name */
#define KVP_RIGHTS_OF_ONE_MAX      64u

struct kvp_rights_entry {
    kvp_slice name, list;
};

/* Before the first entry; KVP_CORRUPT, KVP_BAD_VERSION. An empty slice is a record without any. */
kvp_status kvp_rights_record_begin(kvp_slice record, kvp_slice *rest);
/* False: there is none left, or *rest has what is none. */
bool kvp_rights_record_next(kvp_slice *rest, struct kvp_rights_entry *entry);

/* What a name is to get or lose. */
struct kvp_rights_change {
    kvp_slice name;
    bool is_grant;
    kvp_slice list; /* revoke: empty for all */
};
/* Appends the record as the change leaves it. KVP_TOO_LARGE with a static reason; KVP_CORRUPT,
 * KVP_BAD_VERSION (of the old one); KVP_NO_MEMORY. */
kvp_status kvp_rights_record_change(kvp_slice record, const struct kvp_rights_change *change,
                                    kvp_buf *out, const char **reason);

/* A record in which names are found without reading all of it. A zeroed one is empty. */
struct kvp_rights_table {
    kvp_buf record;
    uint32_t *places; /* of its entries */
    size_t count;
};

/* What is the same as before costs a comparison. Without success it is empty: KVP_CORRUPT,
 * KVP_BAD_VERSION, KVP_NO_MEMORY. */
kvp_status kvp_rights_table_load(struct kvp_rights_table *table, kvp_slice record);
/* Points into the table, until the next load. Empty: no right. */
kvp_slice kvp_rights_table_find(const struct kvp_rights_table *table, kvp_slice name);
void kvp_rights_table_free(struct kvp_rights_table *table);

#endif
