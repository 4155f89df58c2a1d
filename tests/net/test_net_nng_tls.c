/* SPDX-License-Identifier: Apache-2.0 */
/* The same wire as NNG over TLS, which in the release of Debian 12 is mbedTLS and version 1.2. */
#include "net_support.h"
#include "tls_support.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/tls/tls.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TIMEOUT_MS 10000
#define ROUNDS     20u

static struct authority authority;

/* Of the certificate "node-1", which is for localhost, too. */
static struct kvp_tls *open_1_2(void)
{
    const struct kvp_tls_files files = {.cert = authority_path(&authority, "node-1.crt"),
                                        .key = authority_path(&authority, "node-1.key"),
                                        .ca = authority_path(&authority, "ca.crt"),
                                        .min = "1.2"};
    char reason[256] = "";
    struct kvp_tls *tls = NULL;
    if (kvp_tls.open(&files, &tls, reason, sizeof(reason)) != KVP_OK) {
        fail_msg("%s", reason);
    }
    return tls;
}

/* NNG wants both in one file. */
static const char *cert_and_key(void)
{
    const char *path = authority_path(&authority, "both.pem");
    char command[512];
    (void)snprintf(command, sizeof(command), "cat %s %s > %s",
                   authority_path(&authority, "node-1.crt"),
                   authority_path(&authority, "node-1.key"), path);
    assert_int_equal(system(command), 0);
    return path;
}

static nng_tls_config *nng_config(nng_tls_mode mode)
{
    nng_tls_config *config;
    assert_int_equal(nng_tls_config_alloc(&config, mode), 0);
    assert_int_equal(nng_tls_config_ca_file(config, authority_path(&authority, "ca.crt")), 0);
    assert_int_equal(nng_tls_config_cert_key_file(config, cert_and_key(), NULL), 0);
    assert_int_equal(nng_tls_config_auth_mode(config, NNG_TLS_AUTH_MODE_REQUIRED), 0);
    if (mode == NNG_TLS_MODE_CLIENT) {
        assert_int_equal(nng_tls_config_server_name(config, "localhost"), 0);
    }
    return config;
}

static void test_a_req_socket_of_nng_is_served_over_tls(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct kvp_tls *tls = open_1_2();
    nng_socket socket;
    nng_dialer dialer;
    host_open(&host, &(struct kvp_net_server_config){.url = "tls+tcp://127.0.0.1:0", .tls = tls});
    assert_int_equal(nng_req0_open(&socket), 0);
    assert_int_equal(nng_socket_set_ms(socket, NNG_OPT_RECVTIMEO, TIMEOUT_MS), 0);
    assert_int_equal(nng_dialer_create(&dialer, socket, kvp_net_server_url(host.server)), 0);
    nng_tls_config *config = nng_config(NNG_TLS_MODE_CLIENT);
    assert_int_equal(nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, config), 0);
    assert_int_equal(nng_dialer_start(dialer, 0), 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        char text[] = "a request of NNG", answer[64];
        size_t size = sizeof(answer);
        assert_int_equal(nng_send(socket, text, sizeof(text), 0), 0);
        assert_int_equal(nng_recv(socket, answer, &size, 0), 0);
        assert_int_equal(size, sizeof(text));
        assert_string_equal(answer, text);
    }
    assert_int_equal(nng_close(socket), 0);
    nng_tls_config_free(config);
    host_close(&host);
    kvp_tls.close(tls);
}

/* Answers what comes, until the socket is closed. */
static void *serve(void *arg)
{
    nng_socket socket = *(nng_socket *)arg;
    nng_msg *message;
    while (nng_recvmsg(socket, &message, 0) == 0) {
        if (nng_sendmsg(socket, message, 0) != 0) {
            nng_msg_free(message);
        }
    }
    return NULL;
}

static void test_a_link_is_served_by_a_rep_socket_of_nng_over_tls(void **state)
{
    (void)state;
    struct kvp_tls *tls = open_1_2();
    struct caller caller;
    nng_socket socket;
    nng_listener listener;
    pthread_t thread;
    char url[64];
    int port;
    assert_int_equal(nng_rep0_open(&socket), 0);
    assert_int_equal(nng_listener_create(&listener, socket, "tls+tcp://127.0.0.1:0"), 0);
    nng_tls_config *config = nng_config(NNG_TLS_MODE_SERVER);
    assert_int_equal(nng_listener_set_ptr(listener, NNG_OPT_TLS_CONFIG, config), 0);
    assert_int_equal(nng_listener_start(listener, 0), 0);
    assert_int_equal(nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port), 0);
    (void)snprintf(url, sizeof(url), "tls+tcp://127.0.0.1:%d", port);
    assert_int_equal(pthread_create(&thread, NULL, serve, &socket), 0);
    caller_open_with(&caller, &(struct kvp_net_link_config){.url = url,
                                                            .tls = tls,
                                                            .peer_kind = KVP_IDENTITY_NODE,
                                                            .peer_node = 1,
                                                            .peer_group = "default"});
    for (unsigned round = 0; round < ROUNDS; round++) {
        caller_check_echo(&caller, "answered by NNG");
    }
    caller_close(&caller);
    assert_int_equal(nng_close(socket), 0);
    pthread_join(thread, NULL);
    nng_tls_config_free(config);
    kvp_tls.close(tls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_req_socket_of_nng_is_served_over_tls),
        cmocka_unit_test(test_a_link_is_served_by_a_rep_socket_of_nng_over_tls),
    };
    authority_make(&authority);
    authority_issue(&authority, "node-1", "kvpair:default/node/1,localhost", true, DAY_S);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    authority_remove(&authority);
    return failed;
}
