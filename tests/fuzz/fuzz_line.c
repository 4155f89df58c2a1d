/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what comes over a microcontroller's serial line: from a bridge (its frames, given
 * without their CRC-32, which is put behind each), or from a modem. The first byte says which, and
 * in what pieces they come. A modem says one word at a time, whenever something was said to it, or
 * time has passed.
 */
#include "tests/fuzz/fuzz.h"
#include "mcu-port/port_at.h"
#include "mcu-port/port_uart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define TIMEOUT_MS 3000u
#define IN_MAX     4096u

struct line {
    uint8_t bytes[2 * IN_MAX];
    size_t size, at, piece, given;
    bool words;
    uint32_t now_ms;
};

static void must(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

static size_t line_read(void *arg, void *data, size_t size)
{
    struct line *line = arg;
    size_t left = line->given - line->at;
    size = size < left ? size : left;
    size = size < line->piece ? size : line->piece;
    memcpy(data, line->bytes + line->at, size);
    line->at += size;
    return size;
}

static void give(struct line *line)
{
    bool more = true;
    while (more && line->given < line->size) {
        uint8_t byte = line->bytes[line->given++];
        more = !line->words || (byte != '\n' && byte != '>');
    }
}

static size_t line_write(void *arg, const void *data, size_t size)
{
    (void)data;
    give(arg);
    return size;
}

static uint32_t line_now(void *arg)
{
    return ((struct line *)arg)->now_ms;
}

static void line_idle(void *arg)
{
    ((struct line *)arg)->now_ms += 5;
    give(arg);
}

static void put(struct line *line, uint8_t byte)
{
    if (byte == 0xc0 || byte == 0xdb) {
        line->bytes[line->size++] = 0xdb;
        byte = byte == 0xc0 ? 0xdc : 0xdd;
    }
    line->bytes[line->size++] = byte;
}

/* Pieces of data, each with its length before it, become frames. */
static void make_frames(struct line *line, const uint8_t *data, size_t size)
{
    size_t at = 0;
    while (at < size && line->size + 2 * (size_t)data[at] + 10 < sizeof(line->bytes)) {
        size_t length = data[at] < size - at - 1 ? data[at] : size - at - 1;
        uint32_t crc = (uint32_t)crc32_z(crc32_z(0, NULL, 0), data + at + 1, length);
        for (size_t i = 0; i < length; i++) {
            put(line, data[at + 1 + i]);
        }
        for (unsigned i = 0; i < 4; i++) {
            put(line, (uint8_t)(crc >> 8 * i));
        }
        line->bytes[line->size++] = 0xc0;
        at += 1 + length;
    }
}

static void run(const struct line *line, struct kvmcu_transport *transport)
{
    static const char *const urls[] = {"tcp://10.0.0.1:7000", "tcp://10.0.0.2:7000"};
    uint8_t buffer[KVMCU_BUFFER_MIN];
    struct kvmcu client;
    struct kvmcu_config config = {.transport = transport,
                                  .group = "default",
                                  .urls = urls,
                                  .url_count = 2,
                                  .buffer = buffer,
                                  .buffer_size = sizeof(buffer),
                                  .client = 0x1122334455667788u};

    must(kvmcu_init(&client, &config) == KVMCU_OK, "init");
    int status = kvmcu_put(&client, "k", 1, "v", 1, TIMEOUT_MS);
    must(status >= 0 && status <= KVMCU_DOES_NOT_FIT, "status");
    must(line->now_ms <= TIMEOUT_MS + 5, "it came to no end");
    kvmcu_stop(&client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const urls[] = {"tcp://10.0.0.1:7000", "tcp://10.0.0.2:7000"};
    static struct line line;
    static struct kvmcu_uart uart;
    static struct kvmcu_at modem;
    const struct kvmcu_line calls = {line_read, line_write, line_now, line_idle, &line};

    if (size < 1 || size > IN_MAX) {
        return 0;
    }
    memset(&line, 0, sizeof(line));
    line.piece = (size_t)1 + (data[0] >> 2);
    if ((data[0] & 1) != 0) {
        make_frames(&line, data + 1, size - 1);
    } else {
        memcpy(line.bytes, data + 1, size - 1);
        line.size = size - 1;
    }
    line.words = (data[0] & 3) == 0;
    if (!line.words) {
        kvmcu_uart_init(&uart, &calls);
        run(&line, &uart.transport);
    } else {
        kvmcu_at_init(&modem, &calls, urls, NULL, NULL);
        run(&line, &modem.transport);
    }
    return 0;
}
