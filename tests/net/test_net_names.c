/* SPDX-License-Identifier: Apache-2.0 */
/* Host names with several addresses, some of which this machine cannot use. The resolver is the
 * test's own: it stands in for the one of the C library. */
#include "net_support.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ADDRESSES_MAX 4
/* Documentation: RFC 5737. */
#define NOT_OURS     "203.0.113.1"
#define NOT_OURS_TOO "198.51.100.1"

static const char *addresses[ADDRESSES_MAX];

struct found {
    struct addrinfo info;
    struct sockaddr_in name;
};

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **result)
{
    static struct found found[ADDRESSES_MAX];
    struct addrinfo **end = result;
    assert_non_null(host);
    assert_int_equal(hints->ai_socktype, SOCK_STREAM);
    for (size_t i = 0; i < ADDRESSES_MAX && addresses[i] != NULL; i++) {
        struct found *next = &found[i];
        memset(next, 0, sizeof(*next));
        next->name.sin_family = AF_INET;
        next->name.sin_port = htons((uint16_t)strtoul(service, NULL, 10));
        assert_int_equal(inet_pton(AF_INET, addresses[i], &next->name.sin_addr), 1);
        next->info.ai_family = AF_INET;
        next->info.ai_socktype = SOCK_STREAM;
        next->info.ai_addr = (struct sockaddr *)&next->name;
        next->info.ai_addrlen = sizeof(next->name);
        *end = &next->info;
        end = &next->info.ai_next;
    }
    *end = NULL;
    return *result != NULL ? 0 : EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *result)
{
    (void)result;
}

static void resolve_to(const char *first, const char *second)
{
    memset(addresses, 0, sizeof(addresses));
    addresses[0] = first;
    addresses[1] = second;
}

static void drop_request(void *arg, struct kvp_net_request *request)
{
    (void)arg;
    kvp_net_drop(request);
}

static kvp_status try_listen(const char *url)
{
    const struct kvp_net_server_config config = {.url = url, .on_request = drop_request};
    struct kvp_net_server *server = NULL;
    kvp_status status = kvp_net_listen(&config, &server);
    kvp_net_server_close(server);
    return status;
}

static void test_an_address_that_is_not_ours_is_passed_over(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct caller caller;
    resolve_to(NOT_OURS, "127.0.0.1");
    host_open(&host, &(struct kvp_net_server_config){.url = "tcp://some.host:0"});
    assert_memory_equal(kvp_net_server_url(host.server), "tcp://some.host:", 16);
    resolve_to("127.0.0.1", NULL);
    caller_open(&caller, kvp_net_server_url(host.server));
    caller_check_echo(&caller, "here");
    caller_close(&caller);
    host_close(&host);
}

/* At boot, programs start before names and addresses are there: that is not a mistake of the
 * user's. */
static void test_a_host_without_an_address_of_ours_may_have_one_later(void **state)
{
    (void)state;
    resolve_to(NOT_OURS, NOT_OURS_TOO);
    assert_int_equal(try_listen("tcp://some.host:0"), KVP_UNAVAILABLE);
    resolve_to(NULL, NULL);
    assert_int_equal(try_listen("tcp://some.host:0"), KVP_UNAVAILABLE);
}

/* "localhost" is 127.0.0.1 to one program and ::1 to another. */
static void test_all_addresses_of_a_host_are_listened_on(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct caller caller;
    resolve_to("127.0.0.1", "127.0.0.2");
    host_open(&host, &(struct kvp_net_server_config){.url = "tcp://some.host:0"});
    for (const char *const *address = (const char *const[]){"127.0.0.1", "127.0.0.2", NULL};
         *address != NULL; address++) {
        resolve_to(*address, NULL);
        caller_open(&caller, kvp_net_server_url(host.server));
        caller_check_echo(&caller, *address);
        caller_close(&caller);
    }
    host_close(&host);
}

static void test_an_address_that_is_named_twice_is_listened_on_once(void **state)
{
    (void)state;
    resolve_to("127.0.0.1", "127.0.0.1");
    assert_int_equal(try_listen("tcp://some.host:0"), KVP_OK);
}

/* Two processes with one URL must not share its addresses out among themselves. */
static void test_an_address_in_use_is_not_passed_over(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    resolve_to("127.0.0.1", "127.0.0.2");
    host_open(&host, &(struct kvp_net_server_config){.url = "tcp://some.host:0"});
    assert_int_equal(try_listen(kvp_net_server_url(host.server)), KVP_ADDRESS_IN_USE);
    host_close(&host);
}

static void test_a_link_finds_the_address_that_somebody_listens_on(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct caller caller;
    resolve_to("127.0.0.1", NULL);
    host_open(&host, &(struct kvp_net_server_config){.url = "tcp://some.host:0"});
    resolve_to("127.0.0.2", "127.0.0.1");
    caller_open(&caller, kvp_net_server_url(host.server));
    caller_check_echo(&caller, "at the second");
    caller_close(&caller);
    host_close(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_address_that_is_not_ours_is_passed_over),
        cmocka_unit_test(test_a_host_without_an_address_of_ours_may_have_one_later),
        cmocka_unit_test(test_all_addresses_of_a_host_are_listened_on),
        cmocka_unit_test(test_an_address_that_is_named_twice_is_listened_on_once),
        cmocka_unit_test(test_an_address_in_use_is_not_passed_over),
        cmocka_unit_test(test_a_link_finds_the_address_that_somebody_listens_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
