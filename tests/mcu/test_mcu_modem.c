/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The microcontroller's client behind a modem with AT commands, and a modem that is as bad as a
 * test wants: it drops the connection, loses its words, says others, is busy, resets, and gives
 * data in pieces.
 */
#include "mcu-port/port_at.h"
#include "mcu_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LONG_MS        60000u
#define WORKSPACE_SIZE 400u
#define LATE_MAX       30u

enum fault {
    DROP_LINK = 1,
    LOSE_SEND_OK = 2,
    LOSE_PROMPT = 4,
    GARBAGE = 8,
    BUSY = 16,
    RESET = 32,
    SMALL_PIECES = 64,
    DEAF = 128, /* for a second */
    LATE = 256,
    ALL = 511,
};

struct modem {
    struct kvmcu_line line;
    struct peer peer; /* what it connects to */
    unsigned faults, rarity;
    uint32_t random;
    bool echo, joined, connected;
    unsigned resets, connects, sends, done;
    char command[400];
    size_t command_size;
    uint8_t data[2048];
    size_t wanted, collected; /* bytes of data that were announced, and those that came */
    kvp_buf out;              /* to the board */
    size_t out_at;
    uint32_t out_when, deaf_until, busy;
};

struct rig {
    struct modem modem;
    struct kvmcu_at port;
    struct kvmcu client;
    struct kvmcu_worker worker;
    struct kvmcu_task task;
    uint8_t buffer[160], workspace[WORKSPACE_SIZE], result[2 * WORKSPACE_SIZE];
};

/* ---- the modem ---- */

static uint32_t next_random(struct modem *modem)
{
    modem->random ^= modem->random << 13;
    modem->random ^= modem->random >> 17;
    modem->random ^= modem->random << 5;
    return modem->random;
}

static bool happens(struct modem *modem, enum fault fault)
{
    if ((modem->faults & fault) == 0 || next_random(modem) % modem->rarity != 0) {
        return false;
    }
    modem->done++;
    return true;
}

static void say_bytes(struct modem *modem, const void *data, size_t size)
{
    assert_int_equal(kvp_buf_append(&modem->out, data, size), KVP_OK);
}

static void say(struct modem *modem, const char *text)
{
    if (happens(modem, GARBAGE)) {
        static const char *const garbage[] = {"\xf0\x9c\x80\x1c",
                                              "\r\n",
                                              "WIFI DISCONNECT\r\n",
                                              "x\n",
                                              "\xff\xff\r\nSomething else\r\n",
                                              "+",
                                              "+STA:5\r\n"};
        const char *chosen = garbage[next_random(modem) % 7];
        say_bytes(modem, chosen, strlen(chosen));
    }
    say_bytes(modem, text, strlen(text));
    if ((modem->faults & LATE) != 0) {
        modem->out_when = modem->peer.now_ms + next_random(modem) % LATE_MAX;
    }
}

static void hang_up(struct modem *modem, const char *words)
{
    if (modem->connected) {
        modem->peer.transport.close(&modem->peer);
        modem->connected = false;
        say(modem, words);
    }
}

static void restart(struct modem *modem)
{
    hang_up(modem, "");
    modem->echo = true;
    modem->joined = false;
    modem->wanted = modem->collected = modem->command_size = 0;
    modem->out.size = modem->out_at = 0;
    modem->resets++;
    say(modem, "\x8c\xfc\x1c garbage of another speed \xe0\r\nready\r\n");
}

static void dial(struct modem *modem)
{
    static const char head[] = "AT+CIPSTART=\"TCP\",\"10.0.0.";
    const char *at = modem->command + sizeof(head) - 1;
    assert_memory_equal(modem->command, head, sizeof(head) - 1);
    assert_string_equal(at + 1, "\",7000");
    assert_in_range(*at, '1', '3');
    if (!modem->joined) {
        say(modem, "no ip\r\n\r\nERROR\r\n");
    } else if (modem->connected) {
        say(modem, "ALREADY CONNECTED\r\n\r\nERROR\r\n");
    } else if (modem->peer.transport.open(&modem->peer, (unsigned)(*at - '1')) == 1) {
        modem->connected = true;
        modem->connects++;
        say(modem, "CONNECT\r\n\r\nOK\r\n");
    } else {
        say(modem, "\r\nERROR\r\nCLOSED\r\n");
    }
}

static void begin_send(struct modem *modem)
{
    modem->wanted = strtoul(modem->command + 11, NULL, 10);
    assert_in_range(modem->wanted, 1, sizeof(modem->data));
    if (!modem->connected) {
        modem->wanted = 0;
        say(modem, "link is not valid\r\n\r\nERROR\r\n");
    } else {
        modem->collected = 0;
        say(modem, happens(modem, LOSE_PROMPT) ? "\r\nOK\r\n\r\n" : "\r\nOK\r\n\r\n> ");
    }
}

static void obey(struct modem *modem)
{
    const char *command = modem->command;
    if (modem->echo) {
        say(modem, command);
        say(modem, "\r\r\n");
    }
    if (happens(modem, BUSY)) {
        say(modem, "busy p...\r\n");
    } else if (strcmp(command, "ATE0") == 0) {
        modem->echo = false;
        say(modem, "\r\nOK\r\n");
    } else if (strcmp(command, "AT+CWMODE=1") == 0) {
        say(modem, "\r\nOK\r\n");
    } else if (strcmp(command, "AT+CWJAP=\"net\",\"word\"") == 0) {
        modem->joined = true;
        say(modem, "WIFI CONNECTED\r\nWIFI GOT IP\r\n\r\nOK\r\n");
    } else if (strcmp(command, "AT+CIPCLOSE") == 0) {
        bool was = modem->connected;
        hang_up(modem, "CLOSED\r\n");
        say(modem, was ? "\r\nOK\r\n" : "\r\nERROR\r\n");
    } else if (strncmp(command, "AT+CIPSTART=", 12) == 0) {
        dial(modem);
    } else if (strncmp(command, "AT+CIPSEND=", 11) == 0) {
        begin_send(modem);
    } else {
        say(modem, "\r\nERROR\r\n");
    }
}

static void pass_on(struct modem *modem)
{
    char text[40];
    size_t at = 0;
    modem->sends++;
    (void)snprintf(text, sizeof(text), "\r\nRecv %zu bytes\r\n", modem->wanted);
    say(modem, text);
    while (at < modem->wanted && modem->connected) {
        int count = modem->peer.transport.send(&modem->peer, modem->data + at, modem->wanted - at);
        if (count < 0) {
            hang_up(modem, "CLOSED\r\n");
        }
        at += count > 0 ? (size_t)count : 0;
    }
    modem->wanted = 0;
    if (!happens(modem, LOSE_SEND_OK)) {
        say(modem, at > 0 ? "\r\nSEND OK\r\n" : "\r\nSEND FAIL\r\n");
    }
}

static void hear(struct modem *modem, char byte)
{
    if (modem->wanted > 0) {
        modem->data[modem->collected++] = (uint8_t)byte;
        if (modem->collected == modem->wanted) {
            pass_on(modem);
        }
    } else if (byte == '\n') {
        modem->command[modem->command_size] = '\0';
        modem->command_size = 0;
        if (modem->command[0] != '\0') {
            obey(modem);
        }
    } else if (byte != '\r' && modem->command_size < sizeof(modem->command) - 1) {
        modem->command[modem->command_size++] = byte;
    }
}

/* What came over the network, in a piece or two. */
static void carry(struct modem *modem)
{
    uint8_t data[300];
    char text[20];
    size_t most =
        (modem->faults & SMALL_PIECES) != 0 ? 1 + next_random(modem) % sizeof(data) : sizeof(data);

    if (!modem->connected) {
        return;
    }
    int count = modem->peer.transport.recv(&modem->peer, data, most);
    if (count < 0) {
        hang_up(modem, "CLOSED\r\n");
    } else if (count > 0) {
        (void)snprintf(text, sizeof(text), "\r\n+IPD,%d:", count);
        say(modem, text);
        say_bytes(modem, data, (size_t)count);
    }
}

/* ---- the line ---- */

static size_t line_write(void *arg, const void *data, size_t size)
{
    struct modem *modem = arg;
    size = size < 50 ? size : 50;
    for (size_t i = 0; i < size; i++) {
        hear(modem, ((const char *)data)[i]);
    }
    return size;
}

static size_t line_read(void *arg, void *data, size_t size)
{
    struct modem *modem = arg;
    bool late = (int32_t)(modem->peer.now_ms - modem->out_when) < 0 ||
                (int32_t)(modem->peer.now_ms - modem->deaf_until) < 0;

    if (modem->out_at == modem->out.size) {
        modem->out.size = modem->out_at = 0;
        carry(modem);
    }
    size_t left = late ? 0 : modem->out.size - modem->out_at;
    size = size < left ? size : left;
    if (size > 0) {
        memcpy(data, modem->out.data + modem->out_at, size);
        modem->out_at += size;
    }
    return size;
}

static uint32_t line_now(void *arg)
{
    return ((struct modem *)arg)->peer.now_ms;
}

/* A millisecond, in which something may happen. */
static void line_idle(void *arg)
{
    struct modem *modem = arg;
    modem->peer.now_ms++;
    if (next_random(modem) % 128 != 0) {
        return;
    }
    if (happens(modem, RESET)) {
        restart(modem);
    } else if (happens(modem, DROP_LINK) && modem->wanted == 0) {
        hang_up(modem, "CLOSED\r\n");
    } else if (happens(modem, DEAF)) {
        modem->deaf_until = modem->peer.now_ms + 1000;
    }
}

static void pull_reset(void *arg)
{
    restart(arg);
}

/* ---- a board ---- */

static struct rig *rig_new(unsigned faults, unsigned rarity, uint32_t seed)
{
    static const char *const setup[] = {"AT+CWMODE=1", "AT+CWJAP=\"net\",\"word\"", NULL};
    struct rig *rig = calloc(1, sizeof(*rig));

    assert_non_null(rig);
    struct modem *modem = &rig->modem;
    peer_open(&modem->peer);
    modem->peer.work.kind = 1;
    modem->faults = faults;
    modem->rarity = rarity;
    modem->random = seed * 2654435761u + 1;
    modem->echo = true;
    modem->out_when = modem->deaf_until = modem->peer.now_ms;
    modem->line = (struct kvmcu_line){line_read, line_write, line_now, line_idle, modem};
    rig->worker = (struct kvmcu_worker){.name = "board",
                                        .kinds = work_kinds,
                                        .kind_count = 2,
                                        .workspace = rig->workspace,
                                        .workspace_size = WORKSPACE_SIZE};
    kvmcu_at_init(&rig->port, &modem->line, peer_urls, setup, seed % 2 == 0 ? pull_reset : NULL);
    struct kvmcu_config config = {.transport = &rig->port.transport,
                                  .group = "default",
                                  .urls = peer_urls,
                                  .url_count = PEER_NODES,
                                  .buffer = rig->buffer,
                                  .buffer_size = sizeof(rig->buffer),
                                  .client = 0x1122334455667788u,
                                  .worker = &rig->worker};
    assert_int_equal(kvmcu_init(&rig->client, &config), KVMCU_OK);
    return rig;
}

static void rig_free(struct rig *rig)
{
    kvmcu_stop(&rig->client);
    peer_close(&rig->modem.peer);
    kvp_buf_free(&rig->modem.out);
    free(rig);
}

static void work_off(struct rig *rig)
{
    struct work *work = &rig->modem.peer.work;
    for (unsigned i = 0; i < 2000 && !work_is_done(work); i++) {
        if (kvmcu_fetch(&rig->client, &rig->task, 200, LONG_MS) == KVMCU_OK) {
            uint32_t size = rig->task.payload_size;
            for (uint32_t at = 0; at < size; at++) {
                rig->result[at] = rig->result[size + at] = rig->workspace[at] ^ WORK_XOR;
            }
            (void)kvmcu_post(&rig->client, &rig->task, KVMCU_OUTCOME_RESULT, rig->result, 2 * size,
                             LONG_MS);
        }
    }
    assert_true(work_is_done(work));
    for (unsigned i = 0; i < work->tasks; i++) {
        assert_int_equal(work->task[i].posted, 1);
    }
}

static void test_a_good_modem(void **state)
{
    struct rig *rig = rig_new(0, 1, 2);
    struct modem *modem = &rig->modem;
    struct kvmcu_result result;
    (void)state;
    modem->peer.work.tasks = 5;
    modem->peer.work.payload_size = 300;
    work_off(rig);
    assert_int_equal(modem->connects, 1);
    assert_int_equal(modem->resets, 0);
    assert_false(modem->echo);
    assert_int_equal(kvmcu_put(&rig->client, "k", 1, "value", 5, LONG_MS), KVMCU_OK);
    assert_int_equal(kvmcu_get(&rig->client, "k", 1, LONG_MS), KVMCU_OK);
    kvmcu_result(&rig->client, &result);
    assert_int_equal(result.size, 5);
    unsigned sends = modem->sends; /* head and body leave in one piece */
    assert_int_equal(kvmcu_get(&rig->client, "k", 1, LONG_MS), KVMCU_OK);
    assert_int_equal(modem->sends, sends + 1);
    rig_free(rig);
}

static void test_a_failover(void **state)
{
    struct rig *rig = rig_new(0, 1, 1);
    struct peer *peer = &rig->modem.peer;
    (void)state;
    assert_int_equal(kvmcu_put(&rig->client, "k", 1, "v", 1, LONG_MS), KVMCU_OK);
    peer->dead[0] = true;
    peer->primary = 2;
    peer->epoch++;
    assert_int_equal(kvmcu_put(&rig->client, "k", 1, "v", 1, LONG_MS), KVMCU_OK);
    assert_int_equal(peer->last_node, 2);
    assert_int_equal(peer->executed, 2);
    rig_free(rig);
}

static void test_each_fault_alone(void **state)
{
    (void)state;
    for (unsigned fault = 1; fault < ALL; fault <<= 1) {
        for (uint32_t seed = 1; seed <= 20; seed++) {
            struct rig *rig = rig_new(fault, fault == RESET || fault == DEAF ? 100 : 5, seed);
            rig->modem.peer.work.tasks = 10;
            rig->modem.peer.work.payload_size = 10 + seed * 15;
            rig->modem.peer.work.bytes_max = WORKSPACE_SIZE;
            work_off(rig);
            rig_free(rig);
        }
    }
}

static void test_a_thousand_jobs_on_bad_modems(void **state)
{
    unsigned faults = 0, resets = 0;
    uint64_t time_ms = 0;
    (void)state;
    for (uint32_t seed = 1; seed <= 1000; seed++) {
        struct rig *rig = rig_new(ALL, 10 + seed % 50, seed);
        uint32_t begin = rig->modem.peer.now_ms;
        rig->modem.peer.work.tasks = 20;
        rig->modem.peer.work.payload_size = seed % 350;
        work_off(rig);
        faults += rig->modem.done;
        resets += rig->modem.resets;
        time_ms += rig->modem.peer.now_ms - begin;
        rig_free(rig);
    }
    print_message("%u faults, %u resets, %u ms for a job\n", faults, resets,
                  (unsigned)(time_ms / 1000));
    assert_true(faults > 50000 && resets > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_modem),
        cmocka_unit_test(test_a_failover),
        cmocka_unit_test(test_each_fault_alone),
        cmocka_unit_test(test_a_thousand_jobs_on_bad_modems),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
