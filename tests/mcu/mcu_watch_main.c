/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A board that watches a key, for tests: what is put at "lamp" it puts at "lamp-seen". Connected
 * and built as the worker is (mcu-port/firmware/main.c).
 */
#include "board.h"
#include "kvmcu.h"
#include "link.h"

#define WAIT_MS    2000u
#define TIMEOUT_MS 3000u

static const char *const urls[] = {BOARD_URLS};
static uint8_t buffer[256], value[64];
static struct kvmcu client;

static bool react(const struct kvmcu_result *event)
{
    uint32_t size = event->size < sizeof(value) ? event->size : sizeof(value);
    for (uint32_t i = 0; i < size; i++) {
        value[i] = event->value[i];
    }
    return kvmcu_put(&client, "lamp-seen", 9, value, size, TIMEOUT_MS) == KVMCU_OK;
}

/* From where to go on: what could not be answered comes again. */
static uint64_t watch(uint64_t from)
{
    struct kvmcu_result event;
    int status = kvmcu_watch(&client, "lamp", 4, from, WAIT_MS, TIMEOUT_MS);
    kvmcu_result(&client, &event);
    if (status == KVMCU_OK && event.revision != 0) {
        return react(&event) ? event.next : from;
    }
    return status == KVMCU_OK || status == KVMCU_COMPACTED ? event.next : from;
}

int main(void)
{
    uint32_t seed[4];
    uint64_t from = 0;
    board_seed(seed);
    const struct kvmcu_transport *transport = link_init(urls);
    if (transport == NULL) {
        return 2;
    }
    const struct kvmcu_config config = {
        .transport = transport,
        .group = "default",
        .urls = urls,
        .url_count = sizeof(urls) / sizeof(urls[0]),
        .buffer = buffer,
        .buffer_size = sizeof(buffer),
        .client = kvmcu_client_number(seed, sizeof(seed)),
    };
    if (kvmcu_init(&client, &config) != KVMCU_OK) {
        return 2;
    }
    board_log("watching\n");
    for (;;) {
        board_alive();
        from = watch(from);
    }
}
