/* SPDX-License-Identifier: Apache-2.0 */
/* The microcontroller's product of tiles against the node's, bit by bit. */
#include "replication/matrix/matrix_multiply.h"
#include "kvstore/keyspace.h"
#include "mcu-port/kvmcu_matmul.h"
#include "tests/support/rounds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t state_of_random = 88172645463325252u;

static uint64_t next_random(void)
{
    state_of_random ^= state_of_random << 13;
    state_of_random ^= state_of_random >> 7;
    state_of_random ^= state_of_random << 17;
    return state_of_random;
}

/* Small, any, or at the ends of the range. */
static uint64_t next_integer(unsigned style, unsigned bits)
{
    static const uint64_t ends[] = {0, 1, UINT64_MAX, 2};
    uint64_t top = (uint64_t)1 << (bits - 1);
    switch (style) {
    case 0:
        return next_random() % 200 - 100;
    case 1:
        return next_random();
    case 2:
        return (int64_t)next_random() >> (64 - bits / 2);
    default:
        return top + ends[next_random() % 4];
    }
}

static void put_element(uint8_t *at, unsigned type, unsigned style)
{
    if (type == KVMCU_INT32) {
        kvp_put_u32(at, (uint32_t)next_integer(style, 32));
    } else if (type == KVMCU_INT64) {
        kvp_put_u64(at, next_integer(style, 64));
    } else if (type == KVMCU_FLOAT32) {
        static const float scales[] = {1, 1e-30f, 1e25f, 3e38f};
        float value = ((float)(next_random() % 2000) / 1000 - 1) * scales[style];
        memcpy(at, &value, sizeof(value));
    } else {
        static const double scales[] = {1, 1e-200, 1e160, 1e308};
        double value = ((double)(next_random() % 2000000) / 1e6 - 1) * scales[style];
        memcpy(at, &value, sizeof(value));
    }
}

static uint32_t make_payload(uint8_t *payload, unsigned type, const uint32_t *sides, unsigned style)
{
    uint32_t size = type == KVMCU_INT32 || type == KVMCU_FLOAT32 ? 4 : 8;
    uint32_t count = sides[0] * sides[1] + sides[1] * sides[2];
    kvp_put_u32(payload, type);
    for (unsigned i = 0; i < 3; i++) {
        kvp_put_u32(payload + 4 + 4 * i, sides[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        put_element(payload + 16 + (size_t)i * size, type, style);
    }
    return 16 + count * size;
}

static void test_the_same_bits_as_the_node(void **state)
{
    static uint8_t payload[16 + 2 * 144 * 8 + 1], mine[144 * 8 + 1], theirs[144 * 8];
    unsigned over = 0, fits = 0;
    (void)state;
    for (unsigned round = 0; round < TEST_ROUNDS(16000); round++) {
        unsigned type = round % 4, style = round / 4 % 4;
        uint32_t sides[3] = {1 + next_random() % 12, 1 + next_random() % 12,
                             1 + next_random() % 12};
        uint8_t *at = payload + round % 2; /* without alignment, too */
        struct kvmcu_tile tile;
        uint32_t size = make_payload(at, type, sides, style);
        assert_true(kvmcu_tile_read(&tile, at, size));
        assert_int_equal(tile.result_size, sides[0] * sides[2] * tile.element_size);
        bool good = true;
        for (uint32_t row = 0; row < tile.rows; row++) {
            good = kvmcu_tile_row(&tile, row, mine + round % 2) && good;
        }
        kvp_status status = kvp_multiply((enum kvp_matrix_type)type, sides[0], sides[1], sides[2],
                                         tile.a, tile.b, theirs);
        assert_int_equal(good ? KVP_OK : KVP_OVERFLOW, status);
        if (good) {
            assert_memory_equal(mine + round % 2, theirs, tile.result_size);
        }
        over += good ? 0 : 1;
        fits += good ? 1 : 0;
    }
    assert_true(over > TEST_ROUNDS(2000) && fits > TEST_ROUNDS(4000));
}

static void test_what_is_no_tile(void **state)
{
    uint8_t payload[16 + 6 * 4 + 8];
    uint32_t sides[3] = {1, 2, 2}, none[3] = {0, 3, 2}, huge[3] = {0x80000000u, 2, 1};
    struct kvmcu_tile tile;
    uint32_t size = make_payload(payload, KVMCU_INT32, sides, 0);
    (void)state;
    for (uint32_t other = 0; other <= sizeof(payload); other++) {
        assert_int_equal(kvmcu_tile_read(&tile, payload, other), other == size);
    }
    for (unsigned i = 0; i < 3; i++) {
        kvp_put_u32(payload + 4, none[i]);
        kvp_put_u32(payload + 8, none[(i + 1) % 3]);
        kvp_put_u32(payload + 12, none[(i + 2) % 3]);
        assert_false(kvmcu_tile_read(&tile, payload, size));
        kvp_put_u32(payload + 4, huge[i]);
        kvp_put_u32(payload + 8, huge[(i + 1) % 3]);
        kvp_put_u32(payload + 12, huge[(i + 2) % 3]);
        assert_false(kvmcu_tile_read(&tile, payload, size));
    }
    (void)make_payload(payload, KVMCU_INT32, sides, 0);
    for (uint32_t type = 4; type != 0; type += type < 300 ? 1 : type) {
        kvp_put_u32(payload, type);
        assert_false(kvmcu_tile_read(&tile, payload, size));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_bits_as_the_node),
        cmocka_unit_test(test_what_is_no_tile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
