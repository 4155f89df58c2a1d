/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A microcontroller's worker for matrix tasks, on a host: mcu_worker URL,URL... NAME WORKSPACE
 * [SLOW-MS [standby]]. With line:PORT,URL... instead of URLs it has a serial line only, which is a
 * connection to that port; a bridge there makes connections for it. Each row of a tile takes
 * SLOW-MS longer than it has to. Ends with SIGTERM, with what is then in hand done; else with the
 * status that ends a worker.
 */
#include "mcu-port/kvmcu_matmul.h"
#include "mcu-port/port_posix.h"
#include "mcu-port/port_uart.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS    1000u
#define TIMEOUT_MS 3000u

static volatile sig_atomic_t ending;
static unsigned slow_ms;

static void end(int number)
{
    (void)number;
    ending = 1;
}

static void pause_ms(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

static bool slow_row(const struct kvmcu_tile *tile, uint32_t row, uint8_t *result)
{
    pause_ms(slow_ms);
    return kvmcu_tile_row(tile, row, result);
}

/* ---- a serial line ---- */

static size_t line_read(void *arg, void *data, size_t size)
{
    ssize_t count = recv(*(int *)arg, data, size, MSG_DONTWAIT);
    return count > 0 ? (size_t)count : 0;
}

static size_t line_write(void *arg, const void *data, size_t size)
{
    ssize_t count = send(*(int *)arg, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    return count > 0 ? (size_t)count : 0;
}

static uint32_t line_now_ms(void *arg)
{
    struct timespec now;
    (void)arg;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u);
}

static void line_idle(void *arg)
{
    struct pollfd item = {.fd = *(int *)arg, .events = POLLIN};
    (void)poll(&item, 1, 5);
}

static int line_open(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        perror("line");
        exit(2);
    }
    return fd;
}

/* ---- work ---- */

static uint64_t client_number(void)
{
    struct {
        struct timespec now;
        long pid;
    } seed;

    memset(&seed, 0, sizeof(seed));
    (void)clock_gettime(CLOCK_REALTIME, &seed.now);
    seed.pid = (long)getpid();
    return kvmcu_client_number(&seed, sizeof(seed));
}

static int work(struct kvmcu *client)
{
    unsigned tasks = 0;
    int status = KVMCU_OK;
    while (!ending && status != KVMCU_WORKER_REPLACED && status != KVMCU_WORKER_BARRED) {
        status = kvmcu_matmul(client, slow_row, WAIT_MS, TIMEOUT_MS);
        if (status == KVMCU_OK) {
            tasks++;
            printf("task %u\n", tasks);
        } else if (status != KVMCU_NO_TASK) {
            printf("status %d\n", status);
            pause_ms(status == KVMCU_TIMEOUT ? 0 : 200);
        }
        (void)fflush(stdout);
    }
    if (ending) {
        status = kvmcu_leave(client, TIMEOUT_MS);
        printf("left %d\n", status);
    }
    kvmcu_stop(client);
    return status;
}

int main(int argc, char **argv)
{
    static uint8_t buffer[256];
    static const char *const kinds[] = {KVMCU_MATMUL_KIND};
    static const char *urls[KVMCU_ADDRESSES_MAX];
    static struct kvmcu_uart uart;
    struct kvmcu_posix port;
    const struct kvmcu_transport *transport = &port.transport;
    struct kvmcu client;
    unsigned count = 0;
    int fd = -1;
    const struct kvmcu_line line = {line_read, line_write, line_now_ms, line_idle, &fd};

    if (argc < 4) {
        fprintf(stderr, "usage: mcu_worker URL,URL... NAME WORKSPACE [SLOW-MS [standby]]\n");
        return 2;
    }
    if (strncmp(argv[1], "line:", 5) == 0) {
        fd = line_open(strtok(argv[1] + 5, ","));
        kvmcu_uart_init(&uart, &line);
        transport = &uart.transport;
        argv[1] = NULL;
    }
    for (char *url = strtok(argv[1], ","); url != NULL && count < KVMCU_ADDRESSES_MAX;
         url = strtok(NULL, ",")) {
        urls[count++] = url;
    }
    slow_ms = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
    struct kvmcu_worker worker = {.name = argv[2],
                                  .kinds = kinds,
                                  .kind_count = 1,
                                  .workspace_size = (uint32_t)strtoul(argv[3], NULL, 10),
                                  .standby = argc > 5};
    worker.workspace = malloc(worker.workspace_size);
    kvmcu_posix_init(&port, urls);
    struct kvmcu_config config = {.transport = transport,
                                  .group = "default",
                                  .urls = urls,
                                  .url_count = (uint8_t)count,
                                  .buffer = buffer,
                                  .buffer_size = sizeof(buffer),
                                  .client = client_number(),
                                  .worker = &worker};
    if (worker.workspace == NULL || kvmcu_init(&client, &config) != KVMCU_OK) {
        fprintf(stderr, "mcu_worker: bad configuration\n");
        return 2;
    }
    (void)signal(SIGTERM, end);
    int status = work(&client);
    free(worker.workspace);
    if (fd >= 0) {
        (void)close(fd);
    }
    return status == KVMCU_OK ? 0 : 1;
}
