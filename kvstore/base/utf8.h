/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text that others sent: is it UTF-8, and what of it may be shown? Names are checked at the door;
 * reasons, and what an earlier version has stored, are made readable instead. Internal.
 */
#ifndef KVP_UTF8_H
#define KVP_UTF8_H

#include "kvpair/kvp_base.h"

/* Bytes of the character that the text begins with (RFC 3629); 0: none begins there. */
size_t kvp_utf8_character(kvp_slice text);
bool kvp_utf8_is_valid(kvp_slice text);

/*
 * Both make valid UTF-8 of any bytes, ended by a zero, in `size` bytes (at least 1): a control
 * character becomes a space, a byte that belongs to no character a question mark. Text that is too
 * long is cut between two characters: kvp_utf8_copy() keeps its beginning, kvp_utf8_copy_end()
 * "..." and its end. Return the length.
 */
size_t kvp_utf8_copy(char *to, size_t size, kvp_slice text);
size_t kvp_utf8_copy_end(char *to, size_t size, kvp_slice text);

#endif
