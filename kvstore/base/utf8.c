/* SPDX-License-Identifier: Apache-2.0 */
#include "kvstore/base/utf8.h"

#include <string.h>

#define CUT "..."

static bool utf8_continues(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

/* Bytes that a character with this first byte has; 0: no character begins so. */
static size_t utf8_length_of(uint8_t first)
{
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xc2 || first > 0xf4) {
        return 0;
    }
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

size_t kvp_utf8_character(kvp_slice text)
{
    const uint8_t *bytes = text.data;
    size_t length = text.size > 0 ? utf8_length_of(bytes[0]) : 0;
    if (length == 0 || length > text.size) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if (!utf8_continues(bytes[i])) {
            return 0;
        }
    }
    /* Longer than need be, half of a surrogate pair, or above U+10FFFF. */
    bool wrong = length > 2 &&
                 ((bytes[0] == 0xe0 && bytes[1] < 0xa0) || (bytes[0] == 0xed && bytes[1] > 0x9f) ||
                  (bytes[0] == 0xf0 && bytes[1] < 0x90) || (bytes[0] == 0xf4 && bytes[1] > 0x8f));
    return wrong ? 0 : length;
}

static kvp_slice utf8_from(kvp_slice text, size_t offset)
{
    return kvp_slice_of(text.size > 0 ? (const uint8_t *)text.data + offset : NULL,
                        text.size - offset);
}

bool kvp_utf8_is_valid(kvp_slice text)
{
    size_t length = 1;
    for (size_t at = 0; at < text.size && length > 0; at += length) {
        length = kvp_utf8_character(utf8_from(text, at));
    }
    return length > 0;
}

/* U+0000 to U+001F, U+007F to U+009F. */
static bool utf8_is_control(const uint8_t *bytes, size_t length)
{
    return length == 1 ? bytes[0] < ' ' || bytes[0] == 0x7f
                       : length == 2 && bytes[0] == 0xc2 && bytes[1] < 0xa0;
}

size_t kvp_utf8_copy(char *to, size_t size, kvp_slice text)
{
    const uint8_t *from = text.data;
    size_t used = 0;
    for (size_t at = 0; at < text.size;) {
        size_t length = kvp_utf8_character(utf8_from(text, at));
        bool as_it_is = length > 0 && !utf8_is_control(from + at, length);
        size_t needed = as_it_is ? length : 1;
        if (used + needed >= size) {
            break;
        }
        if (as_it_is) {
            memcpy(to + used, from + at, length);
        } else {
            to[used] = length > 0 ? ' ' : '?';
        }
        used += needed;
        at += length > 0 ? length : 1;
    }
    to[used] = '\0';
    return used;
}

size_t kvp_utf8_copy_end(char *to, size_t size, kvp_slice text)
{
    const size_t mark = sizeof(CUT) - 1;
    if (text.size < size || size <= mark + 1) {
        return kvp_utf8_copy(to, size, text);
    }
    size_t from = text.size - (size - 1 - mark);
    while (from < text.size && utf8_continues(((const uint8_t *)text.data)[from])) {
        from++; /* the rest of a character */
    }
    memcpy(to, CUT, mark);
    return mark + kvp_utf8_copy(to + mark, size - mark, utf8_from(text, from));
}
