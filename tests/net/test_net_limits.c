/* SPDX-License-Identifier: Apache-2.0 */
/* What strangers may take of a server: connections, memory, time. They take it, and others are
 * served. */
#include "net_support.h"

#include "replication/net/address_list.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1024 * 1024)

static const uint32_t request_word[] = {0x80000005u};

static unsigned port_of(const struct host *host)
{
    return url_port(kvp_net_server_url(host->server));
}

static int greeted(const struct host *host)
{
    int fd = raw_connect(port_of(host));
    raw_greet(fd, SP_PROTOCOL_REQ);
    raw_take_greeting(fd, SP_PROTOCOL_REP);
    return fd;
}

/* Nothing is there to be read, and the connection is open. */
static bool is_open(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static void sleep_ms(unsigned ms)
{
    const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

/* ---- connections ---- */

static void test_the_longest_idle_connection_makes_room_for_a_new_one(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct caller caller;
    int fds[8];
    host_open(&host,
              &(struct kvp_net_server_config){.url = "tcp://127.0.0.1:0", .connections_max = 8});
    for (size_t i = 0; i < 8; i++) {
        fds[i] = greeted(&host);
    }
    raw_send_message(fds[0], request_word, 1, "");
    uint8_t answer[12];
    assert_true(
        raw_receive(fds[0], answer, sizeof(answer))); /* now the second is the longest idle */
    caller_open(&caller, kvp_net_server_url(host.server));
    caller_check_echo(&caller, "served");
    assert_int_equal(kvp_net_server_connections(host.server), 8);
    raw_wait_closed(fds[1]);
    for (size_t i = 0; i < 8; i++) {
        if (i != 1) {
            assert_true(is_open(fds[i]));
            close(fds[i]);
        }
    }
    caller_close(&caller);
    host_close(&host);
}

static void test_idle_clients_without_number_shut_nobody_out(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct caller caller;
    int fds[200];
    host_open(&host,
              &(struct kvp_net_server_config){.url = "tcp://127.0.0.1:0", .connections_max = 32});
    caller_open(&caller, kvp_net_server_url(host.server));
    for (size_t i = 0; i < 200; i++) {
        fds[i] = raw_connect(port_of(&host));
        if (i % 10 == 0) {
            caller_check_echo(&caller, "meanwhile");
        }
    }
    caller_check_echo(&caller, "after");
    assert_int_equal(caller.state_count, 1);
    for (size_t i = 0; i < 200; i++) {
        close(fds[i]);
    }
    caller_close(&caller);
    host_close(&host);
}

static void test_who_has_a_request_under_way_does_not_give_way(void **state)
{
    (void)state;
    struct host host = {0};
    int fds[4];
    uint8_t answer[12 + 4];
    host_open(&host,
              &(struct kvp_net_server_config){.url = "tcp://127.0.0.1:0", .connections_max = 4});
    for (size_t i = 0; i < 4; i++) {
        fds[i] = greeted(&host);
        raw_send_message(fds[i], request_word, 1, "held");
        host_wait_held(&host, i + 1);
    }
    int turned_away = raw_connect(port_of(&host));
    raw_wait_closed(turned_away);
    for (size_t i = 0; i < 4; i++) {
        host_answer(&host, i);
        assert_true(raw_receive(fds[i], answer, sizeof(answer)));
        close(fds[i]);
    }
    host_close(&host);
}

static struct kvp_address_list *list_of(const char *text)
{
    struct kvp_address_list *list = kvp_address_list_new();
    assert_non_null(list);
    assert_int_equal(kvp_address_list_add_all(list, text), KVP_OK);
    assert_int_equal(kvp_address_list_start(list), KVP_OK);
    return list;
}

static void test_a_peer_does_not_give_way_to_clients(void **state)
{
    (void)state;
    struct host host = {0};
    int clients[40];
    struct kvp_address_list *list = list_of("tcp://127.0.0.1:1");
    host_open(&host, &(struct kvp_net_server_config){
                         .url = "tcp://127.0.0.1:0", .connections_max = 16, .peers = list});
    int peer = greeted(&host);
    raw_send_message(peer, request_word, 1, "peer");
    host_wait_held(&host, 1);
    assert_true(kvp_net_request_from_peer(host.held[0]));
    host_answer(&host, 0);
    uint8_t answer[12 + 4];
    assert_true(raw_receive(peer, answer, sizeof(answer)));
    for (size_t i = 0; i < 40; i++) {
        clients[i] = greeted(&host);
    }
    assert_true(is_open(peer));
    for (size_t i = 0; i < 40; i++) {
        close(clients[i]);
    }
    close(peer);
    host_close(&host);
    kvp_address_list_free(list);
}

static int dial_from(const char *address, unsigned port)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    int fd = raw_socket();
    assert_int_equal(inet_pton(AF_INET, address, &from.sin_addr), 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
    raw_dial(fd, port);
    return fd;
}

static bool is_from_peer(struct host *host, const char *address)
{
    char text[KVP_NET_ADDRESS_SIZE];
    size_t before = host->held_count;
    int fd = dial_from(address, port_of(host));
    raw_greet(fd, SP_PROTOCOL_REQ);
    raw_take_greeting(fd, SP_PROTOCOL_REP);
    raw_send_message(fd, request_word, 1, "peer");
    host_wait_held(host, before + 1);
    assert_string_equal(kvp_net_request_address(host->held[before], text), address);
    bool from_peer = kvp_net_request_from_peer(host->held[before]);
    host_answer(host, before);
    close(fd);
    return from_peer;
}

static void test_a_peer_is_known_by_its_address(void **state)
{
    (void)state;
    struct host host = {0};
    struct kvp_address_list *list = kvp_address_list_new();
    assert_int_equal(kvp_address_list_add(list, kvp_slice_of("127.9.0.0/16", 12)), KVP_OK);
    host_open(&host, &(struct kvp_net_server_config){.url = "tcp://0.0.0.0:0", .peers = list});
    assert_true(is_from_peer(&host, "127.9.1.2"));
    assert_false(is_from_peer(&host, "127.8.1.2"));
    host_close(&host);
    host_open(&host, &(struct kvp_net_server_config){.url = "tcp://0.0.0.0:0"});
    assert_false(is_from_peer(&host, "127.9.1.2")); /* without a list there are no peers */
    host_close(&host);
    kvp_address_list_free(list);
}

static bool list_has(struct kvp_address_list *list, const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
        return kvp_address_list_has(list, (struct sockaddr *)&v4);
    }
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return kvp_address_list_has(list, (struct sockaddr *)&v6);
}

static void test_a_list_has_its_addresses_and_no_others(void **state)
{
    (void)state;
    struct kvp_address_list *list =
        list_of("10.1.2.3,tcp://10.2.0.1:7000,192.168.4.0/22,fd00:1::/32,tcp://[fd00::7]:1");
    assert_true(list_has(list, "10.1.2.3"));
    assert_true(list_has(list, "::ffff:10.1.2.3"));
    assert_false(list_has(list, "10.1.2.4"));
    assert_true(list_has(list, "10.2.0.1"));
    assert_true(list_has(list, "192.168.7.255"));
    assert_false(list_has(list, "192.168.8.0"));
    assert_true(list_has(list, "fd00:1:ffff::1"));
    assert_false(list_has(list, "fd00:2::1"));
    assert_true(list_has(list, "fd00::7"));
    assert_false(list_has(list, "127.0.0.1"));
    kvp_address_list_free(list);
    list = list_of("any");
    assert_true(list_has(list, "8.8.8.8"));
    kvp_address_list_free(list);
    list = list_of("");
    assert_false(list_has(list, "127.0.0.1"));
    kvp_address_list_free(list);
}

static void test_this_machine_is_one_address(void **state)
{
    (void)state;
    const struct sockaddr local = {.sa_family = AF_UNIX};
    static const char *const names[] = {"localhost", "tcp://127.0.0.3:1", "::1", "ipc:///tmp/x"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct kvp_address_list *list = list_of(names[i]);
        assert_true(list_has(list, "127.0.0.1"));
        assert_true(list_has(list, "::1"));
        assert_true(kvp_address_list_has(list, &local));
        assert_false(list_has(list, "10.0.0.1"));
        kvp_address_list_free(list);
    }
    struct kvp_address_list *list = list_of("10.0.0.1");
    assert_false(kvp_address_list_has(list, &local));
    kvp_address_list_free(list);
}

struct look {
    struct kvp_address_list *list;
    struct addrinfo *wanted;
};

static bool name_is_known(void *arg)
{
    const struct look *look = arg;
    return kvp_address_list_has(look->list, look->wanted->ai_addr);
}

static void test_a_name_of_a_list_is_looked_up(void **state)
{
    (void)state;
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct look look = {0};
    char name[256], text[300];
    assert_int_equal(gethostname(name, sizeof(name)), 0);
    if (strcmp(name, "localhost") == 0 || getaddrinfo(name, NULL, &hints, &look.wanted) != 0) {
        skip(); /* a machine that does not know its own name */
    }
    (void)snprintf(text, sizeof(text), "no-such-host.invalid,tcp://%s:1", name);
    look.list = list_of(text);
    wait_for(name_is_known, &look);
    kvp_address_list_free(look.list);
    freeaddrinfo(look.wanted);
}

static void test_what_is_no_address_is_no_entry(void **state)
{
    (void)state;
    static const char *const wrong[] = {"10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8x", "a/8",
                                        "tcp://",      "tcp://x",   "a b",         "http://x:1",
                                        "fd00::/129",  "a:80",      "10.0.0.0/-1"};
    struct kvp_address_list *list = kvp_address_list_new();
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(kvp_address_list_add_all(list, wrong[i]), KVP_BAD_ARGUMENT);
    }
    assert_int_equal(kvp_address_list_add(list, kvp_slice_of("", 0)), KVP_BAD_ARGUMENT);
    for (unsigned i = 0; i < KVP_ADDRESS_LIST_MAX; i++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "10.0.0.%u", i);
        assert_int_equal(kvp_address_list_add_all(list, text), KVP_OK);
    }
    assert_int_equal(kvp_address_list_add_all(list, "10.1.0.0"), KVP_TOO_LARGE);
    kvp_address_list_free(list);
}

/* ---- half frames ---- */

static void test_half_a_frame_does_not_stand_for_ever(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct caller caller;
    host_open(&host, &(struct kvp_net_server_config){.url = "tcp://127.0.0.1:0", .stall_ms = 400});
    caller_open(&caller, kvp_net_server_url(host.server));
    caller_check_echo(&caller, "before");
    int half_head = greeted(&host);
    raw_send(half_head, "\0\0\0", 3);
    int half_body = greeted(&host);
    raw_send(half_body, "\0\0\0\0\0\0\1\0\200\0\0\5abc", 15);
    int idle = greeted(&host);
    raw_wait_closed(half_head);
    raw_wait_closed(half_body);
    assert_true(is_open(idle));
    assert_int_equal(caller.state_count, 1);
    close(idle);
    caller_close(&caller);
    host_close(&host);
}

/* Bytes come again and again, but so few that the frame would take days. */
static void test_a_frame_that_trickles_is_cut_off(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    host_open(&host, &(struct kvp_net_server_config){.url = "tcp://127.0.0.1:0", .stall_ms = 400});
    int fd = greeted(&host);
    raw_send(fd, "\0\0\0\0\0\20\0\0\200\0\0\5", 12);
    unsigned count = 0;
    while (count < 100 && is_open(fd)) {
        raw_send(fd, "x", 1);
        sleep_ms(50);
        count++;
    }
    assert_in_range(count, 8, 60);
    close(fd);
    host_close(&host);
}

static void test_a_slow_frame_that_keeps_its_rate_arrives(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    uint8_t frame[8 + 4000] = {0, 0, 0, 0, 0, 0, 0x0f, 0xa0, 0x80};
    host_open(&host, &(struct kvp_net_server_config){.url = "tcp://127.0.0.1:0", .stall_ms = 400});
    int fd = greeted(&host);
    for (size_t sent = 0; sent < sizeof(frame); sent += 167) { /* 24 * 100 ms */
        raw_send(fd, frame + sent, sent + 167 < sizeof(frame) ? 167 : sizeof(frame) - sent);
        sleep_ms(100);
    }
    assert_true(raw_receive(fd, frame, sizeof(frame)));
    close(fd);
    host_close(&host);
}

static void send_half_frame(int fd, size_t size)
{
    static const uint8_t head[] = {0, 0, 0, 0, 0, 0xff, 0, 0, 0x80, 0, 0, 1};
    static uint8_t zeros[MIB];
    raw_send(fd, head, sizeof(head));
    for (size_t sent = 0; sent < size; sent += sizeof(zeros)) {
        raw_send(fd, zeros, sizeof(zeros));
    }
}

static bool four_are_left(void *arg)
{
    return kvp_net_server_connections(((struct host *)arg)->server) <= 5;
}

static void test_half_frames_of_all_clients_are_bounded_together(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct caller caller;
    int fds[20];
    host_open(&host, &(struct kvp_net_server_config){.url = "tcp://127.0.0.1:0",
                                                     .incoming_max = 16 * MIB});
    caller_open(&caller, kvp_net_server_url(host.server));
    caller_check_echo(&caller, "before");
    for (size_t i = 0; i < 20; i++) {
        fds[i] = greeted(&host);
    }
    for (size_t i = 0; i < 20; i++) {
        send_half_frame(fds[i], 3 * MIB); /* for which it takes 4 MiB */
    }
    wait_for(four_are_left, &host);
    assert_true(is_open(fds[19]));
    assert_false(is_open(fds[0]));
    caller_check_echo(&caller, "after");
    assert_int_equal(caller.state_count, 1);
    for (size_t i = 0; i < 20; i++) {
        close(fds[i]);
    }
    caller_close(&caller);
    host_close(&host);
}

static void check_frame_of(const struct host *host, size_t size, bool taken)
{
    uint8_t *frame = calloc(1, 8 + size);
    assert_non_null(frame);
    for (unsigned i = 0; i < 8; i++) {
        frame[i] = (uint8_t)((uint64_t)size >> (8 * (7 - i)));
    }
    frame[8] = 0x80;
    int fd = greeted(host);
    for (size_t sent = 0; sent < 8 + size; sent += MIB) {
        raw_send(fd, frame + sent, 8 + size - sent < MIB ? 8 + size - sent : MIB);
    }
    if (taken) {
        assert_true(raw_receive(fd, frame, 8 + size));
        close(fd);
    } else {
        raw_wait_closed(fd);
    }
    free(frame);
}

static void test_a_frame_has_16_mib_its_ids_included(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    host_open(&host, &(struct kvp_net_server_config){.url = "tcp://127.0.0.1:0"});
    check_frame_of(&host, 16 * MIB, true);
    check_frame_of(&host, 16 * MIB + 1, false);
    host_close(&host);
}

/* ---- answers that are not read ---- */

#define GETS 192u

/* Executes one request after the other, as the loop of a node does, with answers of 1 MiB. */
struct server {
    struct host host;
    size_t executed;
};

static void execute(struct server *server)
{
    static const uint8_t much[MIB];
    struct host *host = &server->host;
    pthread_mutex_lock(&host->lock);
    size_t count = host->held_count;
    pthread_mutex_unlock(&host->lock);
    for (; server->executed < count; server->executed++) {
        struct kvp_net_request *request = host->held[server->executed];
        host->held[server->executed] = NULL;
        if (!kvp_net_request_postpone(request)) {
            kvp_net_answer(request, kvp_slice_of(much, sizeof(much)));
        }
    }
}

static void restart_list(struct server *server)
{
    struct host *host = &server->host;
    pthread_mutex_lock(&host->lock);
    if (server->executed == host->held_count) {
        server->executed = host->held_count = 0;
    }
    pthread_mutex_unlock(&host->lock);
}

static void receive_and_execute(struct server *server, int fd, uint8_t *data, size_t size)
{
    size_t got = 0;
    for (unsigned round = 0; got < size && round < 10000; round++) {
        ssize_t part = recv(fd, data + got, size - got, MSG_DONTWAIT);
        assert_true(part > 0 || (part < 0 && errno == EAGAIN));
        got += part > 0 ? (size_t)part : 0;
        execute(server);
        restart_list(server);
        if (part < 0) {
            sleep_ms(1);
        }
    }
    assert_int_equal(got, size);
}

static void test_a_slow_reader_of_192_large_answers_is_slowed_and_not_closed(void **state)
{
    (void)state;
    struct server server = {0};
    uint8_t *answer = malloc(12 + MIB);
    assert_non_null(answer);
    host_open(&server.host,
              &(struct kvp_net_server_config){.url = "tcp://127.0.0.1:0", .unsent_max = 64 * MIB});
    int fd = greeted(&server.host);
    for (uint32_t i = 0; i < GETS; i++) {
        const uint32_t word = 0x80000000u | i;
        raw_send_message(fd, &word, 1, "get");
    }
    host_wait_held(&server.host, GETS);
    for (uint32_t i = 0; i < GETS; i++) { /* slowly, while the server does what it may */
        receive_and_execute(&server, fd, answer, 12 + MIB);
        assert_int_equal(answer[11], i); /* in the order in which they were asked for */
        sleep_ms(2);
    }
    assert_true(is_open(fd));
    close(fd);
    free(answer);
    host_close(&server.host);
}

static void test_who_reads_nothing_for_long_is_cut_off(void **state)
{
    (void)state;
    struct server server = {0};
    host_open(&server.host,
              &(struct kvp_net_server_config){.url = "tcp://127.0.0.1:0", .stall_ms = 400});
    int fd = greeted(&server.host);
    for (uint32_t i = 0; i < GETS; i++) {
        raw_send_message(fd, request_word, 1, "get");
    }
    host_wait_held(&server.host, GETS);
    execute(&server);
    host_wait_connections(&server.host, 0); /* with what was postponed */
    close(fd);
    host_close(&server.host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_longest_idle_connection_makes_room_for_a_new_one),
        cmocka_unit_test(test_idle_clients_without_number_shut_nobody_out),
        cmocka_unit_test(test_who_has_a_request_under_way_does_not_give_way),
        cmocka_unit_test(test_a_peer_does_not_give_way_to_clients),
        cmocka_unit_test(test_a_peer_is_known_by_its_address),
        cmocka_unit_test(test_a_list_has_its_addresses_and_no_others),
        cmocka_unit_test(test_this_machine_is_one_address),
        cmocka_unit_test(test_a_name_of_a_list_is_looked_up),
        cmocka_unit_test(test_what_is_no_address_is_no_entry),
        cmocka_unit_test(test_half_a_frame_does_not_stand_for_ever),
        cmocka_unit_test(test_a_frame_that_trickles_is_cut_off),
        cmocka_unit_test(test_a_slow_frame_that_keeps_its_rate_arrives),
        cmocka_unit_test(test_half_frames_of_all_clients_are_bounded_together),
        cmocka_unit_test(test_a_frame_has_16_mib_its_ids_included),
        cmocka_unit_test(test_a_slow_reader_of_192_large_answers_is_slowed_and_not_closed),
        cmocka_unit_test(test_who_reads_nothing_for_long_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
