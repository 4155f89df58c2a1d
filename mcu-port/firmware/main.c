/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker for matrix tasks on a bare board. Which way it is connected is linked with it:
 * link_line.c or link_ethernet.c. BOARD_NAME, BOARD_URLS (the nodes, as they call themselves),
 * BOARD_STANDBY and BOARD_SLOW_MS (more time for each row, to have a task under way when something
 * happens) come from the build; so does BOARD_FAULT_TASK, for labs: the board has a hard fault in
 * the middle of its task of that number after a start.
 */
#include "board.h"
#include "kvmcu_matmul.h"
#include "link.h"

#define WAIT_MS    1000u
#define TIMEOUT_MS 3000u

#ifndef BOARD_WORKSPACE
#define BOARD_WORKSPACE 4096u
#endif

static const char *const urls[] = {BOARD_URLS};
static const char *const kinds[] = {KVMCU_MATMUL_KIND};
static uint8_t buffer[256];
static uint8_t workspace[BOARD_WORKSPACE] __attribute__((aligned(8)));
static struct kvmcu client;
static uint32_t tasks; /* done since the start */

static const struct kvmcu_worker worker = {
    .name = BOARD_NAME,
    .kinds = kinds,
    .kind_count = 1,
    .workspace = workspace,
    .workspace_size = sizeof(workspace),
    .standby = BOARD_STANDBY,
};

static bool slow_row(const struct kvmcu_tile *tile, uint32_t row, uint8_t *result)
{
    uint32_t begin = board_now_ms(), slow_ms = BOARD_SLOW_MS;
    while (board_now_ms() - begin < slow_ms) {
        board_sleep();
    }
    board_alive();
#ifdef BOARD_FAULT_TASK
    if (tasks + 1 == BOARD_FAULT_TASK && row == tile->rows / 2) {
        __asm__ volatile("udf #0");
    }
#endif
    return kvmcu_tile_row(tile, row, result);
}

static void report(const char *what, uint32_t number)
{
    board_log(what);
    board_log_number(number);
    board_log(", stack ");
    board_log_number(stack_used());
    board_log("\n");
}

int main(void)
{
    struct {
        uint32_t numbers[4];
        char name[sizeof(BOARD_NAME)];
    } seed = {{0}, BOARD_NAME};
    int status = KVMCU_OK;

    board_log(BOARD_NAME " starts\n");
    board_seed(seed.numbers);
    const struct kvmcu_transport *transport = link_init(urls);
    if (transport == NULL) {
        return 2;
    }
    const struct kvmcu_config config = {
        .transport = transport,
        .worker = &worker,
        .group = "default",
        .urls = urls,
        .url_count = sizeof(urls) / sizeof(urls[0]),
        .buffer = buffer,
        .buffer_size = sizeof(buffer),
        .client = kvmcu_client_number(&seed, sizeof(seed)),
    };
    if (kvmcu_init(&client, &config) != KVMCU_OK) {
        return 2;
    }
    while (status != KVMCU_WORKER_REPLACED && status != KVMCU_WORKER_BARRED) {
        board_alive();
        status = kvmcu_matmul(&client, slow_row, WAIT_MS, TIMEOUT_MS);
        if (status == KVMCU_OK) {
            tasks++;
            report("task ", tasks);
        } else if (status != KVMCU_NO_TASK) {
            report("status ", (uint32_t)status);
        }
    }
    return 1;
}
