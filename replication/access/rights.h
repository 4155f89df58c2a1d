/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rights, one by one and as packed lists: what the record of rights (rights_record.h) keeps for an
 * identity, and as text, "read app/". A list is items one behind the other: kind u8, size u16,
 * bytes. Pure, and nothing here allocates but what appends to a buffer.
 */
#ifndef KVP_RIGHTS_H
#define KVP_RIGHTS_H

#include "kvpair/kvp_base.h"

/* In records they are numbers, for ever. */
enum kvp_right_kind {
    KVP_RIGHT_READ = 1, /* keys that begin with `of`; empty: all */
    KVP_RIGHT_WRITE,    /* likewise */
    KVP_RIGHT_SUBMIT,   /* jobs, and to do with his own what can be done */
    KVP_RIGHT_WORK,     /* tasks of the kind `of`; with a '*' at its end of those that begin so */
    KVP_RIGHT_OBSERVE,
    KVP_RIGHT_OPERATE,
    KVP_RIGHT_ADMIN, /* to give rights, and so all of them */
};
#define KVP_RIGHT_KINDS_END (KVP_RIGHT_ADMIN + 1)

struct kvp_right {
    enum kvp_right_kind kind;
    kvp_slice of;
};

/* Takes the first right of a list away from it. False: there is none, or what is there is none. */
bool kvp_rights_next(kvp_slice *list, struct kvp_right *right);
kvp_status kvp_rights_append(kvp_buf *list, const struct kvp_right *right); /* KVP_NO_MEMORY */
bool kvp_rights_equal(const struct kvp_right *a, const struct kvp_right *b);
/* Is exactly this right in the list? */
bool kvp_rights_has(kvp_slice list, const struct kvp_right *right);
/* Is this whole list of rights that this release knows? */
bool kvp_rights_are_valid(kvp_slice list);

/* Does a right to keys with the prefix `of` cover the key, or every key of [start, end)? An empty
 * end: none. */
bool kvp_right_covers_key(kvp_slice of, kvp_slice key);
bool kvp_right_covers_range(kvp_slice of, kvp_slice start, kvp_slice end);
bool kvp_right_covers_kind(kvp_slice of, kvp_slice kind);

const char *kvp_right_name(enum kvp_right_kind kind); /* "read" */
/* "read app/": a name and, where it has one, a blank and what it is of, in which %XX is the byte
 * with that number. `room` takes that, `right` points into it. KVP_BAD_ARGUMENT; `reason` is
 * static. */
kvp_status kvp_right_parse(kvp_slice text, uint8_t room[KVP_KEY_SIZE_MAX], struct kvp_right *right,
                           const char **reason);
/* Appends that text: printable ASCII. KVP_NO_MEMORY. */
kvp_status kvp_right_print(const struct kvp_right *right, kvp_buf *out);

#endif
