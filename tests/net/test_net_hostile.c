/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that break the protocol, or only half speak it: nothing that they do reaches anybody else.
 */
#include "net_support.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const uint32_t request_word[] = {0x80000005u};

struct fixture {
    struct host host;
    struct caller caller; /* an ordinary client: served before, while and after */
    unsigned port;
};

static int open_fixture(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    fixture.host.echo = true;
    host_open(&fixture.host, &(struct kvp_net_server_config){.url = "tcp://127.0.0.1:0",
                                                             .message_size_max = 1000});
    fixture.port = url_port(kvp_net_server_url(fixture.host.server));
    caller_open(&fixture.caller, kvp_net_server_url(fixture.host.server));
    caller_check_echo(&fixture.caller, "before");
    *state = &fixture;
    return 0;
}

/* The ordinary client has seen nothing of it all. */
static int close_fixture(void **state)
{
    struct fixture *fixture = *state;
    caller_check_echo(&fixture->caller, "after");
    assert_int_equal(fixture->caller.state_count, 1);
    caller_close(&fixture->caller);
    host_wait_connections(&fixture->host, 0);
    host_close(&fixture->host);
    return 0;
}

static int greeted(const struct fixture *fixture)
{
    int fd = raw_connect(fixture->port);
    raw_greet(fd, SP_PROTOCOL_REQ);
    raw_take_greeting(fd, SP_PROTOCOL_REP);
    return fd;
}

static void check_answer(int fd, const void *expected, size_t size)
{
    uint8_t answer[64];
    assert_true(size <= sizeof(answer));
    assert_true(raw_receive(fd, answer, size));
    assert_memory_equal(answer, expected, size);
}

/* ---- what is right ---- */

static void test_the_bytes_of_request_and_answer_are_those_of_sp(void **state)
{
    const uint8_t request[] = {0, 0, 0, 0, 0, 0, 0, 6, 0x80, 0, 0, 5, 'h', 'i'};
    int fd = greeted(*state);
    raw_send(fd, request, sizeof(request));
    check_answer(fd, request, sizeof(request));
    close(fd);
}

static void test_a_request_may_come_byte_by_byte(void **state)
{
    const uint8_t bytes[] = {0, 'S', 'P', 0, 0, 0x30, 0, 0, 0, 0,   0,
                             0, 0,   0,   0, 6, 0x80, 0, 0, 5, 'h', 'i'};
    const struct fixture *fixture = *state;
    int fd = raw_connect(fixture->port);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        raw_send(fd, bytes + i, 1);
    }
    raw_take_greeting(fd, SP_PROTOCOL_REP);
    check_answer(fd, bytes + 8, sizeof(bytes) - 8);
    close(fd);
}

static void test_a_request_through_devices_keeps_its_way_back(void **state)
{
    const uint8_t request[] = {0, 0, 0, 0, 0, 0, 0, 13, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0, 0, 5, 'x'};
    int fd = greeted(*state);
    raw_send(fd, request, sizeof(request));
    check_answer(fd, request, sizeof(request));
    close(fd);
}

static void test_several_requests_in_one_segment_are_all_answered(void **state)
{
    const uint8_t request[] = {0, 0, 0, 0, 0, 0, 0, 5, 0x80, 0, 0, 5, 'x'};
    uint8_t many[40 * sizeof(request)];
    int fd = greeted(*state);
    for (size_t i = 0; i < 40; i++) {
        memcpy(many + i * sizeof(request), request, sizeof(request));
    }
    raw_send(fd, many, sizeof(many));
    for (size_t i = 0; i < 40; i++) {
        check_answer(fd, request, sizeof(request));
    }
    close(fd);
}

/* ---- what is wrong ---- */

static void check_greeting_is_cut(const struct fixture *fixture, const char bytes[8])
{
    int fd = raw_connect(fixture->port);
    raw_send(fd, bytes, 8);
    raw_wait_closed(fd);
}

static void test_another_greeting_is_cut_off(void **state)
{
    check_greeting_is_cut(*state, "GET / HT");
    check_greeting_is_cut(*state, "\0SP\1\0\x30\0\0");
    check_greeting_is_cut(*state, "\0SP\0\0\x31\0\0"); /* REP to REP */
    check_greeting_is_cut(*state, "\0SP\0\0\x20\0\0"); /* PUB */
    check_greeting_is_cut(*state, "\0SP\0\0\x30\0\1");
    check_greeting_is_cut(*state, "\377\377\377\377\377\377\377\377");
}

static void check_frame_is_cut(const struct fixture *fixture, const void *bytes, size_t size)
{
    int fd = greeted(fixture);
    raw_send(fd, bytes, size);
    raw_wait_closed(fd);
}

static void test_a_frame_with_an_impossible_size_is_cut_off(void **state)
{
    check_frame_is_cut(*state, "\377\377\377\377\377\377\377\377", 8);
    check_frame_is_cut(*state, "\0\0\0\1\0\0\0\0", 8);
    check_frame_is_cut(*state, "\0\0\0\0\1\0\0\0", 8); /* 16 MiB, where 1000 are allowed */
    check_frame_is_cut(*state, "\0\0\0\0\0\0\0\0", 8);
    check_frame_is_cut(*state, "\0\0\0\0\0\0\0\3abc", 11);
}

static void test_a_header_without_a_request_id_is_cut_off(void **state)
{
    const uint32_t words[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    for (size_t count = 1; count <= 12; count++) {
        int fd = greeted(*state);
        raw_send_message(fd, words, count, "");
        raw_wait_closed(fd);
    }
}

static void test_a_frame_over_the_limit_by_one_byte_is_cut_off(void **state)
{
    uint8_t frame[8 + 1001] = {0, 0, 0, 0, 0, 0, 0x03, 0xe9, 0x80};
    int fd = greeted(*state);
    raw_send(fd, frame, sizeof(frame));
    raw_wait_closed(fd);
}

static void test_random_bytes_are_cut_off(void **state)
{
    unsigned seed = 7;
    for (unsigned round = 0; round < 200; round++) {
        uint8_t bytes[64];
        for (size_t i = 0; i < sizeof(bytes); i++) {
            seed = seed * 1103515245u + 12345u;
            bytes[i] = (uint8_t)(seed >> 16);
        }
        bytes[0] |= 0x80; /* no legal greeting, no legal size */
        if (round % 2 == 0) {
            const struct fixture *fixture = *state;
            int fd = raw_connect(fixture->port);
            raw_send(fd, bytes, sizeof(bytes));
            raw_wait_closed(fd);
        } else {
            check_frame_is_cut(*state, bytes, sizeof(bytes));
        }
    }
}

static void test_connections_that_end_anywhere_leave_nothing(void **state)
{
    const uint8_t bytes[] = {0, 'S', 'P', 0, 0, 0x30, 0, 0, 0, 0,   0,
                             0, 0,   0,   0, 6, 0x80, 0, 0, 5, 'h', 'i'};
    struct fixture *fixture = *state;
    for (size_t size = 0; size <= sizeof(bytes); size++) {
        int fd = raw_connect(fixture->port);
        raw_send(fd, bytes, size);
        if (size % 2 == 0) {
            const struct linger reset = {.l_onoff = 1};
            assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
        }
        close(fd);
    }
    host_wait_connections(&fixture->host, 1);
}

static void test_half_greetings_hold_nobody_up_and_are_cut_off(void **state)
{
    struct fixture *fixture = *state;
    int fds[30];
    for (size_t i = 0; i < 30; i++) {
        fds[i] = raw_connect(fixture->port);
        raw_send(fds[i], "\0SP\0", i % 5);
    }
    caller_check_echo(&fixture->caller, "meanwhile");
    for (size_t i = 0; i < 30; i++) {
        if (i % 5 == 0) { /* one that sent nothing at all is cut off too */
            uint8_t greeting[8];
            assert_true(raw_receive(fds[i], greeting, sizeof(greeting)));
        }
        raw_wait_closed(fds[i]);
    }
}

/* The peer reads nothing: it is not read from any more, and nobody else notices. */
static void test_a_client_that_does_not_read_is_not_read_from(void **state)
{
    struct fixture *fixture = *state;
    const struct timeval limit = {.tv_usec = 300000};
    uint8_t frame[8 + 1000] = {0, 0, 0, 0, 0, 0, 0x03, 0xe8, 0x80};
    int fd = greeted(fixture);
    size_t sent = 0;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
    while (sent < (size_t)256 * 1024 * 1024) {
        ssize_t taken = send(fd, frame, sizeof(frame), MSG_NOSIGNAL);
        if (taken < (ssize_t)sizeof(frame)) {
            break;
        }
        sent += (size_t)taken;
    }
    assert_true(sent < (size_t)256 * 1024 * 1024);
    caller_check_echo(&fixture->caller, "meanwhile");
    close(fd);
}

/* A client that has sent so many short requests, which the host holds, and reads nothing. */
static int asked(struct host *host, size_t requests)
{
    size_t before = host->held_count;
    int fd = raw_connect(url_port(kvp_net_server_url(host->server)));
    raw_greet(fd, SP_PROTOCOL_REQ);
    raw_take_greeting(fd, SP_PROTOCOL_REP);
    for (size_t i = 0; i < requests; i++) {
        raw_send_message(fd, request_word, 1, "much, please");
    }
    host_wait_held(host, before + requests);
    return fd;
}

#define MUCH ((size_t)1024 * 1024)

/* Answers a request that is held with MUCH. */
static void answer_much(struct host *host, size_t index)
{
    static const uint8_t much[MUCH];
    kvp_net_answer(host->held[index], kvp_slice_of(much, sizeof(much)));
    host->held[index] = NULL;
}

static void test_a_client_that_does_not_read_what_it_asked_for_is_cut_off(void **state)
{
    (void)state;
    struct host host = {0};
    host_open(&host, &(struct kvp_net_server_config){.url = "tcp://127.0.0.1:0",
                                                     .unsent_max = 128 * MUCH});
    int fd = asked(&host, 200); /* none of which is ever postponed */
    for (size_t i = 0; i < 60; i++) {
        answer_much(&host, i);
    }
    assert_int_equal(kvp_net_server_connections(host.server), 1);
    for (size_t i = 60; i < 180; i++) {
        answer_much(&host, i);
    }
    host_wait_connections(&host, 0);
    raw_wait_closed(fd);
    for (size_t i = 180; i < 200; i++) {
        answer_much(&host, i);
    }
    host_close(&host);
}

static void test_who_has_most_is_cut_off_when_all_together_have_too_much(void **state)
{
    (void)state;
    struct host host = {0};
    const size_t each = 40;
    uint8_t *answer = malloc(MUCH + 12);
    assert_non_null(answer);
    host_open(&host,
              &(struct kvp_net_server_config){.url = "tcp://127.0.0.1:0", .unsent_max = 12 * MUCH});
    int greedy = asked(&host, each);
    int modest = asked(&host, each);
    for (size_t i = 0; i < each; i++) {
        answer_much(&host, i);
        answer_much(&host, each + i);
        if (i > 0) { /* slow, but it does read */
            assert_true(raw_receive(modest, answer, MUCH + 12));
        }
    }
    host_wait_connections(&host, 1);
    assert_true(raw_receive(modest, answer, MUCH + 12));
    raw_wait_closed(greedy);
    close(modest);
    free(answer);
    host_close(&host);
}

static unsigned cpu_ms(void)
{
    struct timespec used;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used), 0);
    return (unsigned)(used.tv_sec * 1000 + used.tv_nsec / 1000000);
}

/* A connection that cannot be accepted stays in the queue: nobody must run in circles for it. */
static void test_without_descriptors_connections_wait_and_nobody_spins(void **state)
{
    struct fixture *fixture = *state;
    const struct timespec pause = {.tv_nsec = 600000000};
    struct rlimit limit;
    int fd = raw_socket();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const struct rlimit none = {.rlim_cur = 3, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    raw_dial(fd, fixture->port);
    unsigned before_ms = cpu_ms();
    nanosleep(&pause, NULL);
    unsigned used_ms = cpu_ms() - before_ms;
    caller_check_echo(&fixture->caller, "meanwhile");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_in_range(used_ms, 0, 150);
    raw_take_greeting(fd, SP_PROTOCOL_REP);
    close(fd);
}

/* A child with copies of all descriptors but one, which waits for its end. */
static pid_t fork_without(int fd)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when the test fails */
        close(fd);
        for (;;) {
            pause();
        }
    }
    return child;
}

/* What a child process has a copy of (until it executes something else) does not go away by being
 * closed: neither for epoll nor for the other side. */
static void test_a_connection_ends_though_a_child_holds_a_copy(void **state)
{
    struct fixture *fixture = *state;
    int fd = greeted(fixture);
    pid_t child = fork_without(fd);
    int other = dup(fd); /* to send on it after raw_wait_closed() */
    raw_send_message(fd, request_word, 0, "no id");
    raw_wait_closed(fd);
    for (unsigned round = 0; round < 10; round++) {
        raw_send(other, "more", 4);
        caller_check_echo(&fixture->caller, "meanwhile");
    }
    host_wait_connections(&fixture->host, 1);
    close(other);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* ---- servers that misbehave towards a link ---- */

static void test_a_link_leaves_a_server_that_speaks_something_else(void **state)
{
    (void)state;
    struct caller caller;
    unsigned port;
    char url[64];
    int listener = raw_listen(&port);
    (void)snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    caller_open(&caller, url);
    for (unsigned round = 0; round < 3; round++) {
        int fd = raw_accept(listener);
        raw_greet(fd, round == 0 ? SP_PROTOCOL_REQ : SP_PROTOCOL_PUB);
        raw_take_greeting(fd, SP_PROTOCOL_REQ);
        raw_wait_closed(fd);
    }
    assert_int_equal(caller.state_count, 0);
    int fd = raw_accept(listener);
    raw_greet(fd, SP_PROTOCOL_REP);
    caller_wait_connected(&caller, true);
    caller_close(&caller);
    close(fd);
    close(listener);
}

static void test_a_link_dials_anew_when_the_greeting_does_not_come(void **state)
{
    (void)state;
    struct caller caller;
    unsigned port;
    char url[64];
    int listener = raw_listen(&port);
    (void)snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    caller_open(&caller, url);
    int silent = raw_accept(listener);
    int fd = raw_accept(listener); /* within the 10 s of every wait */
    raw_greet(fd, SP_PROTOCOL_REP);
    caller_wait_connected(&caller, true);
    caller_close(&caller);
    close(fd);
    close(silent);
    close(listener);
}

static void test_answers_that_nobody_asked_for_do_no_harm(void **state)
{
    (void)state;
    struct caller caller;
    unsigned port;
    char url[64];
    const uint32_t two_words[] = {7, 0x80000001u};
    int listener = raw_listen(&port);
    (void)snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    caller_open(&caller, url);
    int fd = raw_accept(listener);
    raw_greet(fd, SP_PROTOCOL_REP);
    caller_wait_connected(&caller, true);
    raw_send_message(fd, two_words, 2, "not for this link");
    raw_send_message(fd, request_word, 1, "unasked");
    caller_wait_answers(&caller, 1);
    assert_int_equal(caller.ids[0], 5); /* the user knows what it asked */
    raw_send_message(fd, two_words, 1, "no id");
    caller_wait_states(&caller, 2);
    assert_int_equal(caller.answer_count, 1);
    close(fd);
    caller_close(&caller);
    close(listener);
}

static void test_a_full_link_says_busy_and_sends_nothing_of_it_later(void **state)
{
    (void)state;
    struct caller caller;
    unsigned port;
    char url[64];
    const uint8_t expected[] = {0, 0, 0, 0, 0, 0, 0, 7, 0x80, 0, 0, 9, 'n', 'e', 'w'};
    size_t size = (size_t)1024 * 1024;
    char *body = calloc(1, size);
    assert_non_null(body);
    int listener = raw_listen(&port);
    (void)snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    caller_open(&caller, url);
    int fd = raw_accept(listener);
    raw_greet(fd, SP_PROTOCOL_REP);
    caller_wait_connected(&caller, true);
    kvp_status status = KVP_OK;
    for (uint32_t id = 0; id < 300 && status == KVP_OK; id++) {
        status = kvp_net_link_send(caller.link, id, kvp_slice_of(body, size));
    }
    assert_int_equal(status, KVP_BUSY);
    close(fd);
    caller_wait_states(&caller, 2);
    fd = raw_accept(listener);
    raw_greet(fd, SP_PROTOCOL_REP);
    raw_take_greeting(fd, SP_PROTOCOL_REQ);
    caller_wait_connected(&caller, true);
    caller_send(&caller, 9, "new");
    check_answer(fd, expected, sizeof(expected));
    assert_int_equal(caller.answer_count, 0);
    caller_close(&caller);
    close(fd);
    close(listener);
    free(body);
}

static struct kvp_net_flow flow_of(struct caller *caller)
{
    struct kvp_net_flow flow;
    kvp_net_link_flow(caller->link, &flow);
    return flow;
}

static bool all_arrived(void *arg)
{
    struct kvp_net_flow flow = flow_of(arg);
    return flow.arrived == flow.sent;
}

static bool is_incoming(void *arg)
{
    return flow_of(arg).incoming;
}

static void test_a_link_tells_how_far_its_bytes_have_come(void **state)
{
    (void)state;
    struct caller caller;
    unsigned port;
    char url[64];
    const size_t size = (size_t)15 * 1024 * 1024; /* more than the system takes */
    char *body = calloc(1, size + 12);
    assert_non_null(body);
    int listener = raw_listen(&port);
    (void)snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    caller_open(&caller, url);
    int fd = raw_accept(listener);
    raw_greet(fd, SP_PROTOCOL_REP);
    raw_take_greeting(fd, SP_PROTOCOL_REQ);
    caller_wait_connected(&caller, true);
    struct kvp_net_flow flow = flow_of(&caller);
    assert_int_equal(flow.sent, 0);
    assert_int_equal(flow.arrived, 0);
    assert_int_equal(flow.received, 8);
    assert_false(flow.incoming);
    assert_int_equal(kvp_net_link_send(caller.link, 5, kvp_slice_of(body, size)), KVP_OK);
    flow = flow_of(&caller);
    assert_int_equal(flow.sent, size + 12);
    assert_true(flow.arrived < flow.sent);
    assert_true(raw_receive(fd, body, size + 12));
    wait_for(all_arrived, &caller);
    raw_send(fd, "\0\0\0\0\0\0\0\6\200\0\0\5a", 13);
    wait_for(is_incoming, &caller);
    assert_int_equal(flow_of(&caller).received, 21);
    raw_send(fd, "b", 1);
    caller_wait_answers(&caller, 1);
    assert_int_equal(kvp_net_link_send(caller.link, 6, kvp_slice_of(body, size)), KVP_OK);
    close(fd);
    caller_wait_states(&caller, 2);
    assert_true(all_arrived(&caller)); /* nothing is on its way any more */
    assert_false(is_incoming(&caller));
    caller_close(&caller);
    close(listener);
    free(body);
}

static void test_a_reset_gives_up_a_silent_connection(void **state)
{
    (void)state;
    struct caller caller;
    unsigned port;
    char url[64];
    int listener = raw_listen(&port);
    (void)snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", port);
    caller_open(&caller, url);
    int silent = raw_accept(listener);
    raw_greet(silent, SP_PROTOCOL_REP);
    caller_wait_connected(&caller, true);
    caller_send(&caller, 1, "no answer comes");
    kvp_net_link_reset(caller.link);
    caller_wait_states(&caller, 2);
    int fd = raw_accept(listener);
    raw_greet(fd, SP_PROTOCOL_REP);
    caller_wait_states(&caller, 3);
    raw_wait_closed(silent);
    caller_close(&caller);
    close(fd);
    close(listener);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, open_fixture, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_the_bytes_of_request_and_answer_are_those_of_sp),
        WITH_SERVER(test_a_request_may_come_byte_by_byte),
        WITH_SERVER(test_a_request_through_devices_keeps_its_way_back),
        WITH_SERVER(test_several_requests_in_one_segment_are_all_answered),
        WITH_SERVER(test_another_greeting_is_cut_off),
        WITH_SERVER(test_a_frame_with_an_impossible_size_is_cut_off),
        WITH_SERVER(test_a_header_without_a_request_id_is_cut_off),
        WITH_SERVER(test_a_frame_over_the_limit_by_one_byte_is_cut_off),
        WITH_SERVER(test_random_bytes_are_cut_off),
        WITH_SERVER(test_connections_that_end_anywhere_leave_nothing),
        WITH_SERVER(test_half_greetings_hold_nobody_up_and_are_cut_off),
        WITH_SERVER(test_a_client_that_does_not_read_is_not_read_from),
        cmocka_unit_test(test_a_client_that_does_not_read_what_it_asked_for_is_cut_off),
        cmocka_unit_test(test_who_has_most_is_cut_off_when_all_together_have_too_much),
        WITH_SERVER(test_without_descriptors_connections_wait_and_nobody_spins),
        WITH_SERVER(test_a_connection_ends_though_a_child_holds_a_copy),
        cmocka_unit_test(test_a_link_leaves_a_server_that_speaks_something_else),
        cmocka_unit_test(test_a_link_dials_anew_when_the_greeting_does_not_come),
        cmocka_unit_test(test_answers_that_nobody_asked_for_do_no_harm),
        cmocka_unit_test(test_a_full_link_says_busy_and_sends_nothing_of_it_later),
        cmocka_unit_test(test_a_link_tells_how_far_its_bytes_have_come),
        cmocka_unit_test(test_a_reset_gives_up_a_silent_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
