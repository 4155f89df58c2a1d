/* SPDX-License-Identifier: Apache-2.0 */
/* One function understands the first bytes of a value; everything else is a use of it. */
#include "replication/wire/mp_reader.h"

#include <endian.h>
#include <string.h>

/* What stands before the contents of a value. */
struct head {
    enum kvp_mp_type type;
    size_t size;     /* bytes of the head itself */
    size_t body;     /* bytes behind it that belong to the value, nested values not counted */
    uint64_t number; /* the integer (two's complement), the bool, or the declared size or count */
};

/* The formats with the first byte 0xc0..0xdf: bytes of the number behind it, bytes of fixed body.
 */
struct format {
    uint8_t type;
    uint8_t width;
    uint8_t body;
};

static const struct format formats[32] = {
    {KVP_MP_NIL, 0, 0},   {KVP_MP_NONE, 0, 0},  {KVP_MP_BOOL, 0, 0},  {KVP_MP_BOOL, 0, 0},
    {KVP_MP_BIN, 1, 0},   {KVP_MP_BIN, 2, 0},   {KVP_MP_BIN, 4, 0},   {KVP_MP_EXT, 1, 1},
    {KVP_MP_EXT, 2, 1},   {KVP_MP_EXT, 4, 1},   {KVP_MP_FLOAT, 0, 4}, {KVP_MP_FLOAT, 0, 8},
    {KVP_MP_UINT, 1, 0},  {KVP_MP_UINT, 2, 0},  {KVP_MP_UINT, 4, 0},  {KVP_MP_UINT, 8, 0},
    {KVP_MP_INT, 1, 0},   {KVP_MP_INT, 2, 0},   {KVP_MP_INT, 4, 0},   {KVP_MP_INT, 8, 0},
    {KVP_MP_EXT, 0, 2},   {KVP_MP_EXT, 0, 3},   {KVP_MP_EXT, 0, 5},   {KVP_MP_EXT, 0, 9},
    {KVP_MP_EXT, 0, 17},  {KVP_MP_STR, 1, 0},   {KVP_MP_STR, 2, 0},   {KVP_MP_STR, 4, 0},
    {KVP_MP_ARRAY, 2, 0}, {KVP_MP_ARRAY, 4, 0}, {KVP_MP_MAP, 2, 0},   {KVP_MP_MAP, 4, 0},
};

static struct head head_of_one_byte(uint8_t byte)
{
    struct head head = {KVP_MP_NONE, 1, 0, 0};
    if (byte < 0x80) {
        head.type = KVP_MP_UINT;
        head.number = byte;
    } else if (byte < 0x90) {
        head.type = KVP_MP_MAP;
        head.number = byte & 0x0fu;
    } else if (byte < 0xa0) {
        head.type = KVP_MP_ARRAY;
        head.number = byte & 0x0fu;
    } else if (byte < 0xc0) {
        head.type = KVP_MP_STR;
        head.number = byte & 0x1fu;
    } else {
        head.type = KVP_MP_INT;
        head.number = UINT64_MAX - (0xffu - byte);
    }
    return head;
}

/* A signed format of `width` bytes: fills up the sign, and calls it unsigned when it is not below
 * 0. */
static void settle_sign(struct head *head, unsigned width)
{
    uint64_t sign = (uint64_t)1 << (8 * width - 1);
    if ((head->number & sign) == 0) {
        head->type = KVP_MP_UINT;
    } else {
        head->number |= ~(sign | (sign - 1));
    }
}

/* `width` bytes, the first the highest: 0, 1, 2, 4 or 8. Each in one piece: most of a message
 * between nodes is numbers of 8 bytes. */
static uint64_t mp_number_of(const uint8_t *bytes, unsigned width)
{
    uint64_t eight;
    uint32_t four;
    switch (width) {
    case 0:
        return 0;
    case 1:
        return bytes[0];
    case 2:
        return (uint64_t)bytes[0] << 8 | bytes[1];
    case 4:
        memcpy(&four, bytes, sizeof(four));
        return be32toh(four);
    default:
        memcpy(&eight, bytes, sizeof(eight));
        return be64toh(eight);
    }
}

static bool head_of_format(const uint8_t *bytes, size_t size, struct head *head)
{
    const struct format *format = &formats[bytes[0] - 0xc0];
    head->type = (enum kvp_mp_type)format->type;
    head->size = 1u + format->width;
    head->body = format->body;
    if (head->type == KVP_MP_NONE || size < head->size) {
        return false;
    }
    head->number = mp_number_of(bytes + 1, format->width);
    if (head->type == KVP_MP_BOOL) {
        head->number = bytes[0] & 1u;
    } else if (head->type == KVP_MP_INT) {
        settle_sign(head, format->width);
    }
    return true;
}

/* Can what is declared be there? `left` bytes follow the head. Numbers have 32 bits here: no sum of
 * them overflows. */
static bool settle_body(struct head *head, size_t left)
{
    uint64_t needed = head->body;
    if (head->type == KVP_MP_STR || head->type == KVP_MP_BIN || head->type == KVP_MP_EXT) {
        needed += head->number;
        head->body = (size_t)needed;
    } else if (head->type == KVP_MP_ARRAY) {
        needed = head->number;
    } else if (head->type == KVP_MP_MAP) {
        needed = 2 * head->number;
    }
    return needed <= left;
}

/* Inline: every element of every message passes here. */
static inline __attribute__((always_inline)) bool read_bare_head(const struct kvp_mp_reader *reader,
                                                                 struct head *head)
{
    size_t size = (size_t)(reader->end - reader->next);
    if (reader->failed || size == 0) {
        return false;
    }
    uint8_t first = reader->next[0];
    if (first >= 0xc0 && first < 0xe0) {
        return head_of_format(reader->next, size, head);
    }
    *head = head_of_one_byte(first);
    return true;
}

static bool mp_read_head(const struct kvp_mp_reader *reader, struct head *head)
{
    return read_bare_head(reader, head) &&
           settle_body(head, (size_t)(reader->end - reader->next) - head->size);
}

/* Moves behind a value of the type (only its head, for arrays and maps). */
static bool mp_take(struct kvp_mp_reader *reader, enum kvp_mp_type type, struct head *head)
{
    if (!mp_read_head(reader, head) || head->type != type) {
        kvp_mp_fail(reader);
        return false;
    }
    reader->next += head->size + head->body;
    return true;
}

void kvp_mp_begin(struct kvp_mp_reader *reader, kvp_slice bytes)
{
    static const uint8_t nothing[1];
    reader->next = bytes.size == 0 ? nothing : bytes.data;
    reader->end = reader->next + bytes.size;
    reader->failed = false;
}

enum kvp_mp_type kvp_mp_peek(const struct kvp_mp_reader *reader)
{
    struct head head;
    return mp_read_head(reader, &head) ? head.type : KVP_MP_NONE;
}

/*
 * The formats that most values have are read without a head, as they are met a hundred times for a
 * put: fixed ones, whose first byte tells all, the unsigned numbers, and short bytes. Whatever else
 * it is, and every error, goes the way of the rest, which is not inlined so that its stack and the
 * guard of it are not the short way's.
 */
#define MP_REST static __attribute__((noinline))

/* The first byte of what is next; 0xc1, which begins no value: nothing is, or a read has failed. */
static inline uint8_t mp_first(const struct kvp_mp_reader *reader)
{
    return reader->failed || reader->next == reader->end ? 0xc1 : reader->next[0];
}

static inline size_t mp_left(const struct kvp_mp_reader *reader)
{
    return (size_t)(reader->end - reader->next);
}

MP_REST uint64_t mp_uint_of_any_format(struct kvp_mp_reader *reader)
{
    struct head head;
    return mp_take(reader, KVP_MP_UINT, &head) ? head.number : 0;
}

uint64_t kvp_mp_uint(struct kvp_mp_reader *reader)
{
    uint8_t first = mp_first(reader);
    if (first < 0x80) {
        reader->next++;
        return first;
    }
    unsigned width = 1u << (first & 3u);
    if (first < 0xcc || first > 0xcf || mp_left(reader) <= width) {
        return mp_uint_of_any_format(reader);
    }
    uint64_t number = mp_number_of(reader->next + 1, width);
    reader->next += 1 + width;
    return number;
}

uint64_t kvp_mp_uint_max(struct kvp_mp_reader *reader, uint64_t max)
{
    uint64_t value = kvp_mp_uint(reader);
    if (value > max) {
        kvp_mp_fail(reader);
        return 0;
    }
    return value;
}

int64_t kvp_mp_int(struct kvp_mp_reader *reader)
{
    if (kvp_mp_peek(reader) != KVP_MP_INT) {
        return (int64_t)kvp_mp_uint_max(reader, INT64_MAX);
    }
    struct head head;
    if (!mp_take(reader, KVP_MP_INT, &head)) {
        return 0;
    }
    return -(int64_t)(~head.number) - 1; /* no conversion of what does not fit */
}

double kvp_mp_double(struct kvp_mp_reader *reader)
{
    struct head head;
    uint64_t bits;
    double value;
    if (!mp_take(reader, KVP_MP_FLOAT, &head) || head.body != sizeof(bits)) {
        kvp_mp_fail(reader);
        return 0;
    }
    bits = mp_number_of(reader->next - sizeof(bits), sizeof(bits));
    memcpy(&value, &bits, sizeof(value));
    return value;
}

bool kvp_mp_bool(struct kvp_mp_reader *reader)
{
    struct head head;
    return mp_take(reader, KVP_MP_BOOL, &head) && head.number != 0;
}

void kvp_mp_nil(struct kvp_mp_reader *reader)
{
    struct head head;
    (void)mp_take(reader, KVP_MP_NIL, &head);
}

/* Its bytes begin `head` bytes from here. */
static inline kvp_slice mp_take_short(struct kvp_mp_reader *reader, size_t head, size_t size)
{
    kvp_slice bytes = kvp_slice_of(reader->next + head, size);
    reader->next += head + size;
    return bytes;
}

MP_REST kvp_slice mp_bytes_of_any_format(struct kvp_mp_reader *reader, enum kvp_mp_type type)
{
    struct head head;
    if (!mp_take(reader, type, &head)) {
        return kvp_slice_of(NULL, 0);
    }
    return kvp_slice_of(reader->next - head.body, head.body);
}

kvp_slice kvp_mp_str(struct kvp_mp_reader *reader)
{
    uint8_t first = mp_first(reader);
    size_t size = first & 0x1fu;
    if (first < 0xa0 || first >= 0xc0 || mp_left(reader) <= size) {
        return mp_bytes_of_any_format(reader, KVP_MP_STR);
    }
    return mp_take_short(reader, 1, size);
}

kvp_slice kvp_mp_bin(struct kvp_mp_reader *reader)
{
    size_t left = mp_left(reader);
    if (mp_first(reader) != 0xc4 || left < 2 || left - 2 < reader->next[1]) {
        return mp_bytes_of_any_format(reader, KVP_MP_BIN);
    }
    return mp_take_short(reader, 2, reader->next[1]);
}

MP_REST uint32_t mp_array_of_any_format(struct kvp_mp_reader *reader)
{
    struct head head;
    return mp_take(reader, KVP_MP_ARRAY, &head) ? (uint32_t)head.number : 0;
}

uint32_t kvp_mp_array(struct kvp_mp_reader *reader)
{
    uint8_t first = mp_first(reader);
    uint32_t count = first & 0x0fu;
    if (first < 0x90 || first >= 0xa0 || mp_left(reader) <= count) {
        return mp_array_of_any_format(reader);
    }
    reader->next++;
    return count;
}

MP_REST uint32_t mp_array_begun_of_any_format(struct kvp_mp_reader *reader)
{
    struct head head;
    if (!read_bare_head(reader, &head) || head.type != KVP_MP_ARRAY) {
        kvp_mp_fail(reader);
        return 0;
    }
    reader->next += head.size;
    return (uint32_t)head.number;
}

uint32_t kvp_mp_array_begun(struct kvp_mp_reader *reader)
{
    uint8_t first = mp_first(reader);
    if (first < 0x90 || first >= 0xa0) {
        return mp_array_begun_of_any_format(reader);
    }
    reader->next++;
    return first & 0x0fu;
}

uint32_t kvp_mp_map(struct kvp_mp_reader *reader)
{
    struct head head;
    return mp_take(reader, KVP_MP_MAP, &head) ? (uint32_t)head.number : 0;
}

void kvp_mp_array_of(struct kvp_mp_reader *reader, uint32_t count)
{
    if (kvp_mp_array(reader) != count) {
        kvp_mp_fail(reader);
    }
}

static uint64_t children(const struct head *head)
{
    if (head->type == KVP_MP_ARRAY) {
        return head->number;
    }
    return head->type == KVP_MP_MAP ? 2 * head->number : 0;
}

kvp_slice kvp_mp_skip(struct kvp_mp_reader *reader)
{
    const uint8_t *start = reader->next;
    uint64_t left[KVP_MP_DEPTH_MAX + 1] = {1}; /* values still to come, by depth */
    unsigned depth = 0;
    for (;;) {
        struct head head;
        if (!mp_read_head(reader, &head)) {
            break;
        }
        reader->next += head.size + head.body;
        left[depth]--;
        if (children(&head) > 0) {
            if (depth == KVP_MP_DEPTH_MAX) {
                break;
            }
            left[++depth] = children(&head);
        }
        while (depth > 0 && left[depth] == 0) {
            depth--;
        }
        if (left[depth] == 0) {
            return kvp_slice_of(start, (size_t)(reader->next - start));
        }
    }
    kvp_mp_fail(reader);
    return kvp_slice_of(NULL, 0);
}

void kvp_mp_fail(struct kvp_mp_reader *reader)
{
    reader->failed = true;
}

bool kvp_mp_done(const struct kvp_mp_reader *reader)
{
    return !reader->failed && reader->next == reader->end;
}
