/* SPDX-License-Identifier: Apache-2.0 */
/* The transport as its users see it, over TCP and within the process. */
#include "net_support.h"
#include "tls_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef TCP_URL /* the same tests are run over TLS */
#define TCP_URL "tcp://127.0.0.1:0"
#endif
#define INPROC_URL "inproc://kvpair-test-net"

/* ---- answers ---- */

static void check_any_order(const char *url)
{
    struct host host = {0};
    struct caller caller;
    char body[16];
    host_open(&host, &(struct kvp_net_server_config){.url = url});
    caller_open(&caller, kvp_net_server_url(host.server));
    caller_wait_connected(&caller, true);
    for (uint32_t id = 0; id < 20; id++) {
        (void)snprintf(body, sizeof(body), "body %u", id);
        caller_send(&caller, id, body);
    }
    host_wait_held(&host, 20);
    for (size_t i = 20; i-- > 0;) {
        host_answer(&host, i);
    }
    caller_wait_answers(&caller, 20);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(caller.ids[i], 19 - i);
    }
    assert_int_equal(caller.last.size, 6);
    assert_memory_equal(caller.last.data, "body 0", 6);
    caller_close(&caller);
    host_close(&host);
}

static void test_answers_go_out_in_the_order_of_answering(void **state)
{
    (void)state;
    check_any_order(TCP_URL);
    check_any_order(INPROC_URL);
}

static void send_and_hold(struct host *host, struct caller *caller, uint32_t count)
{
    for (uint32_t id = 0; id < count; id++) {
        caller_send(caller, id, "body");
    }
    host_wait_held(host, count);
    kvp_net_server_cork(host->server);
    for (uint32_t i = 0; i < count; i++) {
        host_answer(host, i);
    }
}

static void test_answers_wait_while_the_server_holds_but_not_without_bound(void **state)
{
    (void)state;
    struct host host = {0};
    struct caller few, many;
    host_open(&host, &(struct kvp_net_server_config){.url = TCP_URL});
    caller_open(&few, kvp_net_server_url(host.server));
    caller_wait_connected(&few, true);
    send_and_hold(&host, &few, 20);
    (void)usleep(50000);
    pthread_mutex_lock(&few.lock);
    assert_int_equal(few.answer_count, 0);
    pthread_mutex_unlock(&few.lock);
    kvp_net_server_uncork(host.server);
    caller_wait_answers(&few, 20);
    caller_close(&few);
    host_close(&host);
    host = (struct host){0};
    host_open(&host, &(struct kvp_net_server_config){.url = TCP_URL});
    caller_open(&many, kvp_net_server_url(host.server));
    caller_wait_connected(&many, true);
    send_and_hold(&host, &many, 64);
    caller_wait_answers(&many, 64); /* none waits for the server to let go */
    kvp_net_server_uncork(host.server);
    caller_close(&many);
    host_close(&host);
}

static void test_who_leaves_while_the_server_holds_is_forgotten(void **state)
{
    (void)state;
    struct host host = {0};
    struct caller goes, stays;
    host_open(&host, &(struct kvp_net_server_config){.url = TCP_URL});
    caller_open(&goes, kvp_net_server_url(host.server));
    caller_wait_connected(&goes, true);
    send_and_hold(&host, &goes, 5);
    caller_close(&goes);
    for (int i = 0; i < 1000 && kvp_net_server_connections(host.server) > 0; i++) {
        (void)usleep(5000);
    }
    assert_int_equal(kvp_net_server_connections(host.server), 0);
    kvp_net_server_uncork(host.server);
    caller_open(&stays, kvp_net_server_url(host.server));
    caller_wait_connected(&stays, true);
    caller_send(&stays, 1, "body");
    host_wait_held(&host, 6);
    host_answer(&host, 5);
    caller_wait_answers(&stays, 1);
    caller_close(&stays);
    host_close(&host);
}

static void test_the_whole_range_of_ids_comes_back(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct caller caller;
    host_open(&host, &(struct kvp_net_server_config){.url = TCP_URL});
    caller_open(&caller, kvp_net_server_url(host.server));
    caller_wait_connected(&caller, true);
    caller_send(&caller, 0, "");
    caller_wait_answers(&caller, 1);
    caller_send(&caller, 0x7fffffff, "x");
    caller_wait_answers(&caller, 2);
    assert_int_equal(caller.ids[0], 0);
    assert_int_equal(caller.ids[1], 0x7fffffff);
    assert_int_equal(kvp_net_link_send(caller.link, 0x80000000u, kvp_slice_of("x", 1)),
                     KVP_BAD_ARGUMENT);
    caller_close(&caller);
    host_close(&host);
}

#define LINKS       4u
#define OUTSTANDING 48u /* what KVP_WIRE_OUTSTANDING_MAX allows */

/* Every request of every link is answered once. */
static void check_answered_once(struct caller *callers, size_t count)
{
    for (size_t i = 0; i < LINKS; i++) {
        bool seen[ANSWERS_MAX] = {false};
        caller_wait_answers(&callers[i], count);
        assert_int_equal(callers[i].answer_count, count);
        for (size_t n = 0; n < count; n++) {
            assert_true(callers[i].ids[n] < count);
            assert_false(seen[callers[i].ids[n]]);
            seen[callers[i].ids[n]] = true;
        }
    }
}

static void test_no_answer_is_lost_with_many_requests_outstanding(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct caller callers[LINKS];
    host_open(&host, &(struct kvp_net_server_config){.url = TCP_URL});
    for (size_t i = 0; i < LINKS; i++) {
        caller_open(&callers[i], kvp_net_server_url(host.server));
        caller_wait_connected(&callers[i], true);
    }
    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t n = 0; n < OUTSTANDING; n++) {
            for (size_t i = 0; i < LINKS; i++) {
                caller_send(&callers[i], round * OUTSTANDING + n, "payload");
            }
        }
        for (size_t i = 0; i < LINKS; i++) {
            caller_wait_answers(&callers[i], (round + 1) * (size_t)OUTSTANDING);
        }
    }
    check_answered_once(callers, (size_t)20 * OUTSTANDING);
    for (size_t i = 0; i < LINKS; i++) {
        caller_close(&callers[i]);
    }
    host_close(&host);
}

static void test_a_burst_of_large_answers_is_not_cut(void **state)
{
    (void)state;
    struct host host = {0};
    struct caller caller;
    size_t size = (size_t)256 * 1024;
    char *body = calloc(1, size);
    assert_non_null(body);
    host_open(&host, &(struct kvp_net_server_config){.url = TCP_URL});
    caller_open(&caller, kvp_net_server_url(host.server));
    caller_wait_connected(&caller, true);
    for (uint32_t id = 0; id < OUTSTANDING; id++) {
        assert_int_equal(kvp_net_link_send(caller.link, id, kvp_slice_of(body, size)), KVP_OK);
    }
    host_wait_held(&host, OUTSTANDING);
    for (size_t i = 0; i < OUTSTANDING; i++) {
        host_answer(&host, i);
    }
    caller_wait_answers(&caller, OUTSTANDING);
    assert_int_equal(caller.last.size, size);
    caller_close(&caller);
    host_close(&host);
    free(body);
}

/* ---- states ---- */

static void check_restart(const char *url)
{
    struct host host = {.echo = true};
    struct caller caller;
    char actual[KVP_URL_SIZE_MAX + 1];
    host_open(&host, &(struct kvp_net_server_config){.url = url});
    (void)snprintf(actual, sizeof(actual), "%s", kvp_net_server_url(host.server));
    caller_open(&caller, actual);
    caller_check_echo(&caller, "before");
    for (size_t round = 1; round <= 3; round++) {
        host_close(&host);
        caller_wait_states(&caller, 2 * round);
        assert_false(caller_is_connected(&caller));
        assert_int_equal(kvp_net_link_send(caller.link, 1, kvp_slice_of("x", 1)), KVP_UNAVAILABLE);
        host_open(&host, &(struct kvp_net_server_config){.url = actual});
        caller_check_echo(&caller, "after");
    }
    assert_int_equal(caller.state_count, 7);
    caller_close(&caller);
    host_close(&host);
}

static void test_a_link_comes_back_after_a_restart_of_the_server(void **state)
{
    (void)state;
    check_restart(TCP_URL);
    check_restart(INPROC_URL);
}

static void test_a_link_waits_for_a_server_that_comes_later(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct caller caller;
    caller_open(&caller, INPROC_URL "-late");
    assert_int_equal(kvp_net_link_send(caller.link, 1, kvp_slice_of("x", 1)), KVP_UNAVAILABLE);
    host_open(&host, &(struct kvp_net_server_config){.url = INPROC_URL "-late"});
    caller_check_echo(&caller, "here");
    caller_close(&caller);
    host_close(&host);
}

/* ---- closing ---- */

static void test_requests_may_be_answered_or_dropped_after_the_server_closed(void **state)
{
    (void)state;
    struct host host = {0};
    struct caller caller;
    host_open(&host, &(struct kvp_net_server_config){.url = TCP_URL});
    caller_open(&caller, kvp_net_server_url(host.server));
    caller_wait_connected(&caller, true);
    caller_send(&caller, 1, "answered too late");
    caller_send(&caller, 2, "dropped too late");
    host_wait_held(&host, 2);
    kvp_net_server_close(host.server);
    host.server = NULL;
    host_answer(&host, 0);
    kvp_net_drop(host.held[1]);
    host.held[1] = NULL;
    caller_wait_connected(&caller, false);
    assert_int_equal(caller.answer_count, 0);
    caller_close(&caller);
    host_close(&host);
}

static void test_an_answer_to_a_connection_that_is_gone_vanishes(void **state)
{
    (void)state;
    struct host host = {0};
    struct caller gone;
    struct caller other;
    host_open(&host, &(struct kvp_net_server_config){.url = TCP_URL});
    caller_open(&gone, kvp_net_server_url(host.server));
    caller_wait_connected(&gone, true);
    caller_send(&gone, 5, "asked by the one");
    host_wait_held(&host, 1);
    caller_close(&gone);
    host_wait_connections(&host, 0);
    caller_open(&other, kvp_net_server_url(host.server));
    caller_wait_connected(&other, true);
    host_answer(&host, 0);
    caller_send(&other, 6, "asked by the other");
    host_wait_held(&host, 2);
    host_answer(&host, 1);
    caller_wait_answers(&other, 1);
    assert_int_equal(other.answer_count, 1);
    assert_int_equal(other.ids[0], 6);
    caller_close(&other);
    host_close(&host);
}

static void test_a_link_closes_with_requests_under_way(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    host_open(&host, &(struct kvp_net_server_config){.url = TCP_URL});
    for (unsigned round = 0; round < 30; round++) {
        struct caller caller;
        caller_open(&caller, kvp_net_server_url(host.server));
        caller_wait_connected(&caller, true);
        for (uint32_t id = 0; id < OUTSTANDING; id++) {
            caller_send(&caller, id, "under way");
        }
        caller_close(&caller);
    }
    host_wait_connections(&host, 0);
    host_close(&host);
}

static void test_a_link_closes_while_it_connects(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    host_open(&host, &(struct kvp_net_server_config){.url = TCP_URL});
    for (unsigned round = 0; round < 50; round++) {
        struct caller caller;
        caller_open(&caller, kvp_net_server_url(host.server));
        caller_close(&caller);
    }
    host_wait_connections(&host, 0);
    host_close(&host);
}

static void test_closing_nothing_is_fine(void **state)
{
    (void)state;
    kvp_net_server_close(NULL);
    kvp_net_link_close(NULL);
}

/* ---- limits and addresses ---- */

static void check_oversized(const char *url)
{
    struct host host = {.echo = true};
    struct caller caller;
    char body[998] = {0}; /* the id has 4 bytes */
    memset(body, 'x', 997);
    host_open(&host, &(struct kvp_net_server_config){.url = url, .message_size_max = 1000});
    caller_open(&caller, kvp_net_server_url(host.server));
    caller_wait_connected(&caller, true);
    caller_send(&caller, 1, body);
    caller_wait_states(&caller, 3); /* down, and up again */
    body[996] = '\0';
    caller_check_echo(&caller, body);
    assert_int_equal(caller.answer_count, 1);
    caller_close(&caller);
    host_close(&host);
}

static void test_a_message_over_the_limit_is_cut_off_and_one_at_the_limit_is_not(void **state)
{
    (void)state;
    check_oversized(TCP_URL);
    check_oversized(INPROC_URL);
}

static void ignore_answer(void *arg, uint32_t id, kvp_slice body)
{
    (void)arg;
    (void)id;
    (void)body;
}

static void test_a_link_does_not_send_over_its_own_limit(void **state)
{
    (void)state;
    const struct kvp_net_link_config config = {
        .url = INPROC_URL, .message_size_max = 10, .on_answer = ignore_answer};
    struct kvp_net_link *link;
    assert_int_equal(kvp_net_link_open(&config, &link), KVP_OK);
    assert_int_equal(kvp_net_link_send(link, 1, kvp_slice_of("0123456", 7)), KVP_TOO_LARGE);
    assert_int_equal(kvp_net_link_send(link, 1, kvp_slice_of("012345", 6)), KVP_UNAVAILABLE);
    kvp_net_link_close(link);
}

static void ignore_request(void *arg, struct kvp_net_request *request)
{
    (void)arg;
    kvp_net_drop(request);
}

static kvp_status try_listen(const char *url)
{
    const struct kvp_net_server_config config = {
        .url = url, .tls = net_support_tls, .on_request = ignore_request};
    struct kvp_net_server *server = NULL;
    kvp_status status = kvp_net_listen(&config, &server);
    if (status != KVP_OK) {
        assert_null(server);
    }
    kvp_net_server_close(server);
    return status;
}

static void test_the_url_of_a_server_has_its_real_port(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    host_open(&host, &(struct kvp_net_server_config){.url = TCP_URL});
    const char *url = kvp_net_server_url(host.server);
    assert_memory_equal(url, TCP_URL, strlen(TCP_URL) - 1);
    assert_true(url_port(url) > 0 && url_port(url) < 65536);
    host_close(&host);
}

static void test_an_address_is_not_taken_twice(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    host_open(&host, &(struct kvp_net_server_config){.url = TCP_URL});
    assert_int_equal(try_listen(kvp_net_server_url(host.server)), KVP_ADDRESS_IN_USE);
    host_close(&host);
    host_open(&host, &(struct kvp_net_server_config){.url = INPROC_URL});
    assert_int_equal(try_listen(INPROC_URL), KVP_ADDRESS_IN_USE);
    host_close(&host);
    assert_int_equal(try_listen(INPROC_URL), KVP_OK);
}

static void test_what_is_no_url_is_a_bad_argument(void **state)
{
    (void)state;
    static const char *const urls[] = {"",
                                       "tcp",
                                       "tcp://",
                                       "127.0.0.1:7000",
                                       "ws://127.0.0.1:0/x",
                                       "tcp://127.0.0.1:x",
                                       "tcp://127.0.0.1:99999",
                                       "tcp://127.0.0.1:0/path"};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        if (try_listen(urls[i]) != KVP_BAD_ARGUMENT) {
            fail_msg("%s: %s", urls[i], kvp_strerror(try_listen(urls[i])));
        }
    }
    assert_int_equal(try_listen("tcp://192.0.2.1:0"), KVP_UNAVAILABLE);
}

/* All addresses are fine to listen on, and nobody's to dial. */
static void test_what_cannot_be_dialled_is_a_bad_argument(void **state)
{
    (void)state;
    static const char *const urls[] = {"tcp://127.0.0.1", "ftp://127.0.0.1:1", "tcp://:7001",
                                       "tcp://*:7001"};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        const struct kvp_net_link_config config = {.url = urls[i], .on_answer = ignore_answer};
        struct kvp_net_link *link = NULL;
        if (kvp_net_link_open(&config, &link) != KVP_BAD_ARGUMENT) {
            fail_msg("%s can be dialled", urls[i]);
        }
        assert_null(link);
    }
    assert_int_equal(try_listen("tcp://:0"), KVP_OK);
    assert_int_equal(try_listen("tcp://*:0"), KVP_OK);
}

#ifdef TEST_OVER_TLS
static struct authority authority;

static int make_certificates(void **state)
{
    (void)state;
    authority_make(&authority);
    net_support_tls = authority_node(&authority, 1);
    return 0;
}

static int remove_certificates(void **state)
{
    (void)state;
    kvp_tls.close(net_support_tls);
    authority_remove(&authority);
    return 0;
}
#else
#define make_certificates   NULL
#define remove_certificates NULL
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_go_out_in_the_order_of_answering),
        cmocka_unit_test(test_answers_wait_while_the_server_holds_but_not_without_bound),
        cmocka_unit_test(test_who_leaves_while_the_server_holds_is_forgotten),
        cmocka_unit_test(test_the_whole_range_of_ids_comes_back),
        cmocka_unit_test(test_no_answer_is_lost_with_many_requests_outstanding),
        cmocka_unit_test(test_a_burst_of_large_answers_is_not_cut),
        cmocka_unit_test(test_a_link_comes_back_after_a_restart_of_the_server),
        cmocka_unit_test(test_a_link_waits_for_a_server_that_comes_later),
        cmocka_unit_test(test_requests_may_be_answered_or_dropped_after_the_server_closed),
        cmocka_unit_test(test_an_answer_to_a_connection_that_is_gone_vanishes),
        cmocka_unit_test(test_a_link_closes_with_requests_under_way),
        cmocka_unit_test(test_a_link_closes_while_it_connects),
        cmocka_unit_test(test_closing_nothing_is_fine),
        cmocka_unit_test(test_a_message_over_the_limit_is_cut_off_and_one_at_the_limit_is_not),
        cmocka_unit_test(test_a_link_does_not_send_over_its_own_limit),
        cmocka_unit_test(test_the_url_of_a_server_has_its_real_port),
        cmocka_unit_test(test_an_address_is_not_taken_twice),
        cmocka_unit_test(test_what_is_no_url_is_a_bad_argument),
        cmocka_unit_test(test_what_cannot_be_dialled_is_a_bad_argument),
    };
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
