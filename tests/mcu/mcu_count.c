/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many instructions a fetch, a beat and a post take, on an emulated board that counts them: the
 * nodes are answers in memory, so that every run is the same. With SIZE bytes of payload, and of
 * result.
 */
#include "firmware/board.h"
#include "kvmcu_matmul.h"

#include <string.h>

#define TICK_CONTROL (*(volatile uint32_t *)0xe000e010u)
#define TICK_RELOAD  (*(volatile uint32_t *)0xe000e014u)
#define TICK_VALUE   (*(volatile uint32_t *)0xe000e018u)
#define TICKS        0xffffffu
/* 1024 ns an instruction (-icount shift=10), 40 ns a tick. */
#define INSTRUCTIONS(ticks) ((ticks)*5u / 128u)

static const char *const urls[] = {"tcp://10.0.0.1:7000"};
static const char *const kinds[] = {KVMCU_MATMUL_KIND};
static uint8_t buffer[256], workspace[2 * SIZE + 8], answer[SIZE + 200], result[SIZE];
static size_t answer_size, answer_at;
static size_t request_at, request_size;
static uint8_t head[128];

static const struct kvmcu_worker worker = {
    .name = "board-1",
    .kinds = kinds,
    .kind_count = 1,
    .workspace = workspace,
    .workspace_size = sizeof(workspace),
};

/* ---- the nodes ---- */

static void put(const void *data, size_t size)
{
    memcpy(answer + answer_size, data, size);
    answer_size += size;
}

#define PUT(text) put(text, sizeof(text) - 1)

static uint32_t crc_of_zeros(uint32_t size)
{
    uint32_t crc = 0xffffffff;
    for (uint32_t bit = 0; bit < 8 * size; bit++) {
        crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

static void put_grant(void)
{
    uint32_t crc = crc_of_zeros(SIZE);
    uint8_t bin[] = {0xc5, SIZE >> 8, SIZE & 255};
    uint8_t last[] = {0xce, (uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8),
                      (uint8_t)crc};

    PUT("\x99\xce\x01\x02\x03\x04\x07\xcf\x11\x22\x33\x44\x55\x66\x77\x08\xa6matmul\xcd\x01\xf4"
        "\xcd\xea\x60\xc4\x00");
    put(bin, sizeof(bin));
    memset(answer + answer_size, 0, SIZE);
    answer_size += SIZE;
    put(last, sizeof(last));
}

static void make_answer(void)
{
    unsigned at = head[12] == 0xdc ? 15 : 13;
    unsigned op = head[at + 1];
    answer_at = answer_size = 0;
    PUT("\0\0\0\0\0\0\0\0");
    put(head + 8, 4);
    PUT("\x95\x01\x00\x05\xb3tcp://10.0.0.1:7000");
    if (op == KVMCU_HELLO) {
        PUT("\x9b\x01\x04\x2a\x01\x90\x28\xcd\x04\x00\x01\x01\x01\x01");
    } else if (op == KVMCU_JOIN) {
        PUT("\x29");
    } else if (op == KVMCU_FETCH) {
        put_grant();
    } else {
        PUT("\xc3");
    }
    answer[6] = (uint8_t)((answer_size - 8) >> 8);
    answer[7] = (uint8_t)(answer_size - 8);
}

/* ---- the transport ---- */

static int count_open(void *arg, unsigned index)
{
    (void)arg;
    (void)index;
    answer_size = answer_at = request_at = 0;
    PUT("\0SP\0\0\x31\0\0");
    return 1;
}

static int count_send(void *arg, const void *data, size_t size)
{
    size_t kept = request_at < sizeof(head) ? sizeof(head) - request_at : 0;
    (void)arg;
    if (size == 8 && request_at == 0) {
        return 8; /* the greeting */
    }
    memcpy(head + request_at, data, size < kept ? size : kept);
    request_at += size;
    request_size = (size_t)(8 + (head[5] << 16 | head[6] << 8 | head[7]));
    if (request_at >= 8 && request_at == request_size) {
        request_at = 0;
        make_answer();
    }
    return (int)size;
}

static int count_recv(void *arg, void *data, size_t size)
{
    size_t left = answer_size - answer_at;
    (void)arg;
    size = size < left ? size : left;
    memcpy(data, answer + answer_at, size);
    answer_at += size;
    return (int)size;
}

static void count_close(void *arg)
{
    (void)arg;
}

static uint32_t count_now_ms(void *arg)
{
    (void)arg;
    return 0;
}

static const struct kvmcu_transport transport = {count_open,   count_send, count_recv, count_close,
                                                 count_now_ms, NULL,       NULL};

/* ---- counting ---- */

static void report(const char *what, uint32_t ticks)
{
    board_log(what);
    board_log_number(INSTRUCTIONS(ticks));
    board_log("\n");
}

/* Without what the nodes above take: that of making the answer is counted once more, and taken off.
 */
static uint32_t ticks_of_answer(void)
{
    uint32_t begin = TICK_VALUE;
    make_answer();
    uint32_t ticks = (begin - TICK_VALUE) & TICKS;
    answer_at = answer_size; /* nobody has asked for it */
    return ticks;
}

int main(void)
{
    static struct kvmcu client;
    static struct kvmcu_task task;
    const struct kvmcu_config config = {.transport = &transport,
                                        .worker = &worker,
                                        .group = "default",
                                        .urls = urls,
                                        .url_count = 1,
                                        .buffer = buffer,
                                        .buffer_size = sizeof(buffer),
                                        .client = 0x1122334455667788u};

    TICK_CONTROL = 5;
    TICK_RELOAD = TICKS;
    TICK_VALUE = 0;
    if (kvmcu_init(&client, &config) != KVMCU_OK || kvmcu_join(&client, 1000) != KVMCU_OK) {
        return 2;
    }
    uint32_t begin = TICK_VALUE;
    if (kvmcu_fetch(&client, &task, 0, 1000) != KVMCU_OK) {
        return 3;
    }
    uint32_t ticks = (begin - TICK_VALUE) & TICKS;
    report("fetch ", ticks - ticks_of_answer());
    begin = TICK_VALUE;
    if (kvmcu_beat(&client, &task, 500, NULL, 0, 1000) != KVMCU_OK) {
        return 4;
    }
    report("beat ", (begin - TICK_VALUE) & TICKS);
    begin = TICK_VALUE;
    if (kvmcu_post(&client, &task, 0, result, SIZE, 1000) != KVMCU_OK) {
        return 5;
    }
    report("post ", (begin - TICK_VALUE) & TICKS);
    return 0;
}
