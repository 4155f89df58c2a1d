/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An example: a worker for matrix tasks as a task of FreeRTOS, over lwIP's sockets. One thread
 * works and beats; others of the system run while it waits, and when their priority is higher. Call
 * kvmcu_worker_begin() when the network is up.
 *
 * Nodes, name and seed are the board's. The client needs a quarter of the stack (docs/mcu.md); the
 * rest is for lwIP's socket calls.
 */
#include "FreeRTOS.h"
#include "task.h"

#include "kvmcu_matmul.h"
#include "port_sockets.h"

#define STACK_WORDS 512u
#define WAIT_MS     5000u
#define TIMEOUT_MS  5000u
#define REST_MS     1000u

extern const char *const board_urls[2];
extern const char board_name[];
void board_seed(uint32_t seed[4]); /* its serial number, and what no other start has had */
void kvmcu_worker_begin(void);

static uint8_t buffer[256];
static uint8_t workspace[4096] __attribute__((aligned(8)));
static struct kvmcu client;
static struct kvmcu_sockets sockets;

static uint32_t now_ms(void *arg)
{
    (void)arg;
    return (uint32_t)xTaskGetTickCount() * portTICK_PERIOD_MS;
}

static void idle(void *arg)
{
    (void)arg;
    vTaskDelay(1);
}

static void work(void *arg)
{
    static const char *const kinds[] = {KVMCU_MATMUL_KIND};
    static struct kvmcu_worker worker = {.kinds = kinds,
                                         .kind_count = 1,
                                         .workspace = workspace,
                                         .workspace_size = sizeof(workspace)};
    uint32_t seed[4];
    int status = KVMCU_OK;

    (void)arg;
    worker.name = board_name;
    board_seed(seed);
    kvmcu_sockets_init(&sockets, board_urls, now_ms, idle);
    const struct kvmcu_config config = {
        .transport = &sockets.transport,
        .worker = &worker,
        .group = "default",
        .urls = board_urls,
        .url_count = 2,
        .buffer = buffer,
        .buffer_size = sizeof(buffer),
        .client = kvmcu_client_number(seed, sizeof(seed)),
    };
    if (kvmcu_init(&client, &config) == KVMCU_OK) {
        while (status != KVMCU_WORKER_REPLACED && status != KVMCU_WORKER_BARRED) {
            status = kvmcu_matmul(&client, NULL, WAIT_MS, TIMEOUT_MS);
            if (status != KVMCU_OK && status != KVMCU_NO_TASK) {
                vTaskDelay(pdMS_TO_TICKS(REST_MS));
            }
        }
        kvmcu_stop(&client);
    }
    vTaskDelete(NULL);
}

void kvmcu_worker_begin(void)
{
    (void)xTaskCreate(work, "kvmcu", STACK_WORDS, NULL, tskIDLE_PRIORITY + 1, NULL);
}
