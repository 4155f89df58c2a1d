/* SPDX-License-Identifier: Apache-2.0 */
/* Who is let in over TLS and who is not, and what each side is told. */
#include "net_support.h"
#include "tls_support.h"
#include "kvstore/base/clock.h"
#include "replication/net/net_tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define TLS_URL   "tls+tcp://127.0.0.1:0"
#define PLAIN_URL "tcp://127.0.0.1:0"

static struct authority ours, theirs;
static struct kvp_tls *node_1;

static void ignore_request(void *arg, struct kvp_net_request *request)
{
    (void)arg;
    kvp_net_drop(request);
}

static void ignore_answer(void *arg, uint32_t id, kvp_slice body)
{
    (void)arg;
    (void)id;
    (void)body;
}

static const char *other_scheme(const char *url, const char *scheme)
{
    static char out[128];
    (void)snprintf(out, sizeof(out), "%s%s", scheme, strstr(url, "://"));
    return out;
}

/* A link with the certificate at a server of node 1: both say why it comes to nothing. */
static void check_refused(struct kvp_tls *tls, const char *at_server, const char *at_link)
{
    struct host host = {.echo = true};
    struct caller caller;
    host_open(&host, &(struct kvp_net_server_config){.url = TLS_URL, .tls = node_1});
    caller_open_with(
        &caller, &(struct kvp_net_link_config){.url = kvp_net_server_url(host.server), .tls = tls});
    caller_wait_failure(&caller, at_link);
    host_wait_refused(&host, at_server);
    assert_false(caller_is_connected(&caller));
    caller_close(&caller);
    host_close(&host);
}

static void test_a_certificate_of_another_ca_is_refused_on_both_sides(void **state)
{
    (void)state;
    struct kvp_tls *tls;
    authority_issue(&theirs, "node-1", "kvpair:default/node/1", true, DAY_S);
    tls = authority_open(&theirs, "node-1", &theirs);
    check_refused(tls, "the other side does not know the CA of our certificate", "--tls-ca");
    kvp_tls.close(tls);
}

static void test_a_certificate_that_expires_is_refused_on_both_sides(void **state)
{
    (void)state;
    authority_issue(&ours, "old", "kvpair:default/user/old", false, 3);
    struct kvp_tls *tls = authority_open(&ours, "old", &ours);
    while (kvp_tls.not_after(tls) >= (int64_t)time(NULL)) {
        (void)usleep(50000);
    }
    check_refused(tls, "its certificate has expired", "our certificate has expired");
    kvp_tls.close(tls);
}

static void check_not_loaded(const struct kvp_tls_files *files, const char *words)
{
    char reason[256] = "";
    struct kvp_tls *tls = NULL;
    assert_int_equal(kvp_tls.open(files, &tls, reason, sizeof(reason)), KVP_BAD_ARGUMENT);
    if (strstr(reason, words) == NULL) {
        fail_msg("%s", reason);
    }
    assert_null(tls);
}

static void test_what_cannot_be_used_is_not_loaded(void **state)
{
    (void)state;
    struct kvp_tls_files files = {.cert = authority_path(&ours, "node-1.crt"),
                                  .key = authority_path(&ours, "node-1.key"),
                                  .ca = authority_path(&ours, "ca.crt")};
    assert_int_equal(chmod(files.key, 0640), 0);
    check_not_loaded(&files, "chmod 600");
    assert_int_equal(chmod(files.key, 0604), 0);
    check_not_loaded(&files, "chmod 600");
    assert_int_equal(chmod(files.key, 0600), 0);
    files.min = "1.1";
    check_not_loaded(&files, "1.3 or 1.2");
    files.min = NULL;
    files.key = authority_path(&ours, "ca.key");
    check_not_loaded(&files, "is not the one of the certificate");
    files.key = authority_path(&ours, "none.key");
    check_not_loaded(&files, "cannot be read");
    files.key = NULL;
    check_not_loaded(&files, "belong together");
    authority_issue(&ours, "old", "kvpair:default/user/old", false, -60);
    files.cert = authority_path(&ours, "old.crt");
    files.key = authority_path(&ours, "old.key");
    check_not_loaded(&files, "expired");
    files.ca = authority_path(&theirs, "ca.crt");
    files.cert = authority_path(&ours, "node-1.crt");
    files.key = authority_path(&ours, "node-1.key");
    check_not_loaded(&files, "was not issued by the CA");
}

/* ---- who it has to be ---- */

static void check_server_is(enum kvp_identity_kind kind, unsigned node, const char *group,
                            const char *words)
{
    struct host host = {.echo = true};
    struct caller caller;
    host_open(&host, &(struct kvp_net_server_config){.url = TLS_URL, .tls = node_1});
    caller_open_with(&caller, &(struct kvp_net_link_config){.url = kvp_net_server_url(host.server),
                                                            .tls = node_1,
                                                            .peer_kind = kind,
                                                            .peer_node = node,
                                                            .peer_group = group});
    if (words == NULL) {
        caller_check_echo(&caller, "who is there");
    } else {
        caller_wait_failure(&caller, words);
        assert_int_equal(caller.state_count, 0);
    }
    caller_close(&caller);
    host_close(&host);
}

static void test_a_link_talks_to_nobody_but_whom_it_means(void **state)
{
    (void)state;
    check_server_is(KVP_IDENTITY_NODE, 1, "default", NULL);
    check_server_is(KVP_IDENTITY_NODE, 0, "default", NULL);
    check_server_is(KVP_IDENTITY_NODE, 2, "default", "node with this number");
    check_server_is(KVP_IDENTITY_NODE, 0, "other", "of a node of this group");
    check_server_is(KVP_IDENTITY_WITNESS, 0, "default", "of a witness of this group");
}

static void test_a_user_cannot_pass_for_a_server(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct caller caller;
    authority_issue(&ours, "eve", "kvpair:default/node/1", false, DAY_S);
    struct kvp_tls *eve = authority_open(&ours, "eve", &ours);
    host_open(&host, &(struct kvp_net_server_config){.url = TLS_URL, .tls = eve});
    caller_open_with(&caller, &(struct kvp_net_link_config){.url = kvp_net_server_url(host.server),
                                                            .tls = node_1});
    caller_wait_failure(&caller, "cannot be that of a server");
    host_wait_refused(&host, "cannot be that of a server");
    caller_close(&caller);
    host_close(&host);
    kvp_tls.close(eve);
}

static void test_a_server_knows_who_asks(void **state)
{
    (void)state;
    struct host host = {0};
    struct caller caller;
    authority_issue(&ours, "two", "localhost,kvpair:a/worker/w%2F1,kvpair:b%20c/node/63", false,
                    DAY_S);
    struct kvp_tls *tls = authority_open(&ours, "two", &ours);
    host_open(&host, &(struct kvp_net_server_config){.url = TLS_URL, .tls = node_1, .group = "a"});
    caller_open_with(
        &caller, &(struct kvp_net_link_config){.url = kvp_net_server_url(host.server), .tls = tls});
    caller_wait_connected(&caller, true);
    caller_send(&caller, 1, "who am I");
    host_wait_held(&host, 1);
    const struct kvp_identity *a = kvp_net_request_identity(host.held[0], kvp_slice_of("a", 1));
    const struct kvp_identity *b = kvp_net_request_identity(host.held[0], kvp_slice_of("b c", 3));
    assert_true(kvp_net_request_is_tls(host.held[0]));
    assert_int_equal(a->kind, KVP_IDENTITY_WORKER);
    assert_string_equal(a->name, "w/1");
    assert_int_equal(a->node, 0);
    assert_int_equal(b->kind, KVP_IDENTITY_NODE);
    assert_int_equal(b->node, 63);
    assert_null(kvp_net_request_identity(host.held[0], kvp_slice_of("b", 1)));
    assert_false(kvp_net_request_from_peer(host.held[0])); /* a node, of another group */
    caller_close(&caller);
    assert_string_equal(a->name, "w/1"); /* as long as the request */
    host_close(&host);
    kvp_tls.close(tls);
}

static void test_names_that_are_not_ours_name_nobody(void **state)
{
    (void)state;
    static const char *const good[] = {"kvpair:g/node/1", "kvpair:g/node/63", "kvpair:g/user/a",
                                       "kvpair:%C3%A4/witness/w", "kvpair:g/worker/a%2fb"};
    static const char *const bad[] = {
        "",
        "kvpair:",
        "kvpair:g",
        "kvpair:g/node",
        "kvpair:g/node/",
        "kvpair:/node/1",
        "kvpair:g/node/0",
        "kvpair:g/node/64",
        "kvpair:g/node/01",
        "kvpair:g/node/1x",
        "kvpair:g/node/1/2",
        "kvpair:g/h/node/1",
        "kvpair:g/admin/a",
        "kvpair:g/user/a%0Ab",
        "kvpair:g/user/a%00",
        "kvpair:g/user/a%7F",
        "kvpair:g/user/a%4",
        "kvpair:g/user/a%zz",
        "kvpair:g/user/a b",
        "Kvpair:g/user/a",
        "kvpair:g/user/0123456789012345678901234567890123456789012345678901234567890123456789",
    };
    struct kvp_identity identity;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(kvp_identity_parse(kvp_slice_of(good[i], strlen(good[i])), &identity),
                         KVP_OK);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (kvp_identity_parse(kvp_slice_of(bad[i], strlen(bad[i])), &identity) == KVP_OK) {
            fail_msg("%s is somebody", bad[i]);
        }
    }
}

/* ---- with and without ---- */

static void test_a_plain_link_at_a_port_with_tls_is_told_so(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct caller caller;
    host_open(&host, &(struct kvp_net_server_config){.url = TLS_URL, .tls = node_1});
    caller_open(&caller, other_scheme(kvp_net_server_url(host.server), "tcp"));
    caller_wait_failure(&caller, "tls+tcp://");
    host_wait_refused(&host, "does not speak TLS");
    caller_close(&caller);
    host_close(&host);
}

static void test_a_link_with_tls_at_a_plain_port_is_told_so(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct caller caller;
    host_open(&host, &(struct kvp_net_server_config){.url = PLAIN_URL});
    caller_open_with(&caller, &(struct kvp_net_link_config){
                                  .url = other_scheme(kvp_net_server_url(host.server), "tls+tcp"),
                                  .tls = node_1});
    caller_wait_failure(&caller, "does not speak TLS");
    host_wait_refused(&host, "it speaks TLS");
    caller_close(&caller);
    host_close(&host);
}

static void test_an_address_with_tls_needs_a_certificate(void **state)
{
    (void)state;
    char reason[256] = "";
    struct kvp_net_server *server = NULL;
    struct kvp_net_link *link = NULL;
    struct caller unused;
    const struct kvp_net_server_config config = {
        .url = TLS_URL, .on_request = ignore_request, .reason = reason, .reason_size = 256};
    const struct kvp_net_link_config link_config = {
        .url = "tls+tcp://127.0.0.1:1", .on_answer = ignore_answer, .arg = &unused};
    assert_int_equal(kvp_net_listen(&config, &server), KVP_BAD_ARGUMENT);
    assert_non_null(strstr(reason, "--tls-cert"));
    assert_int_equal(kvp_net_link_open(&link_config, &link), KVP_BAD_ARGUMENT);
}

/* ---- new certificates ---- */

static void test_certificates_are_changed_without_a_lost_connection(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct caller before, after;
    char reason[256] = "";
    authority_issue(&ours, "node-7", "kvpair:default/node/7", true, DAY_S);
    struct kvp_tls *tls = authority_open(&ours, "node-7", &ours);
    int64_t not_after = kvp_tls.not_after(tls);
    host_open(&host, &(struct kvp_net_server_config){.url = TLS_URL, .tls = tls});
    const char *url = kvp_net_server_url(host.server);
    caller_open_with(&before, &(struct kvp_net_link_config){.url = url, .tls = node_1});
    caller_check_echo(&before, "as it was");
    authority_issue(&theirs, "node-7", "kvpair:default/node/7", true, DAY_S);
    assert_int_equal(rename(authority_path(&ours, "node-7.crt"), authority_path(&ours, "keep")), 0);
    assert_int_equal(kvp_tls.reload(tls, reason, sizeof(reason)), KVP_BAD_ARGUMENT);
    assert_non_null(strstr(reason, "node-7.crt"));
    assert_true(kvp_tls.not_after(tls) == not_after);
    caller_check_echo(&before, "as it was");
    authority_issue(&ours, "node-7", "kvpair:default/node/8", true, 2 * DAY_S);
    assert_int_equal(kvp_tls.reload(tls, reason, sizeof(reason)), KVP_OK);
    assert_true(kvp_tls.not_after(tls) > not_after);
    caller_check_echo(&before, "still there");
    assert_int_equal(before.state_count, 1);
    caller_open_with(&after, &(struct kvp_net_link_config){.url = url,
                                                           .tls = node_1,
                                                           .peer_kind = KVP_IDENTITY_NODE,
                                                           .peer_node = 8,
                                                           .peer_group = "default"});
    caller_check_echo(&after, "with the new one");
    caller_close(&before);
    caller_close(&after);
    host_close(&host);
    kvp_tls.close(tls);
}

/* ---- the next time ---- */

static void take_nothing(int fd, struct net_tls *tls)
{
    uint8_t bytes[4096];
    ssize_t got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    assert_true(got > 0);
    assert_true(net_tls.take(tls, bytes, (size_t)got, NULL, NULL));
}

/* Returns how many bytes the server sends: a certificate among them, or not. */
static int shake_hands(struct net_tls_session *session)
{
    static const struct net_tls_expected anybody = {0};
    int fds[2], size = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    struct net_tls *client = net_tls.connect(node_1, fds[0], &anybody, session);
    struct net_tls *server = net_tls.accept(node_1, fds[1]);
    assert_int_equal(net_tls.handshake(client), NET_TLS_READS);
    (void)net_tls.handshake(server);
    assert_int_equal(ioctl(fds[0], FIONREAD, &size), 0);
    assert_int_equal(net_tls.handshake(client), NET_TLS_DONE);
    assert_int_equal(net_tls.handshake(server), NET_TLS_DONE);
    unsigned count;
    assert_int_equal(net_tls.identities(server, &count)->node, 1);
    take_nothing(fds[0], client); /* a ticket */
    net_tls.free(client);
    net_tls.free(server);
    (void)close(fds[0]);
    (void)close(fds[1]);
    return size;
}

static void test_a_session_is_resumed_and_the_server_still_knows_who_it_is(void **state)
{
    (void)state;
    struct net_tls_session session = {NULL};
    int first = shake_hands(&session);
    assert_non_null(session.kept);
    int second = shake_hands(&session);
    assert_non_null(session.kept);
    assert_true(first > 600);
    assert_true(second < 300);
    net_tls.forget(&session);
}

/* ---- strangers ---- */

#define STRANGERS 2000 /* the door holds 512 */

/* Bytes of the process's own memory. */
static size_t resident_size(void)
{
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &total, &resident), 2);
    (void)fclose(file);
    return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void raise_limit(void)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* The longest time that an answer took, in microseconds. */
static uint64_t check_prompt(struct caller *caller, uint64_t longest_us)
{
    uint64_t before_us = kvp_clock_now_us();
    caller_check_echo(caller, "heartbeat");
    uint64_t took_us = kvp_clock_now_us() - before_us;
    return took_us > longest_us ? took_us : longest_us;
}

/* They connect; half of them say something that is no TLS, or the beginning of it. */
static void test_half_handshakes_hold_up_nobody_and_take_no_memory_without_bound(void **state)
{
    (void)state;
    static const uint8_t hello[] = {0x16, 3, 1, 0, 200, 1, 0, 0};
    static int fds[STRANGERS];
    struct host host = {.echo = true};
    struct caller caller;
    uint64_t longest_us = 0;
    raise_limit();
    host_open(&host, &(struct kvp_net_server_config){.url = TLS_URL, .tls = node_1});
    caller_open_with(&caller, &(struct kvp_net_link_config){.url = kvp_net_server_url(host.server),
                                                            .tls = node_1});
    caller_check_echo(&caller, "before");
    size_t before = resident_size();
    for (int i = 0; i < STRANGERS; i++) {
        fds[i] = raw_connect(url_port(kvp_net_server_url(host.server)));
        raw_send(fds[i], hello, i % 2 == 0 ? sizeof(hello) : 0);
        if (i % 50 == 0) {
            longest_us = check_prompt(&caller, longest_us);
        }
    }
    assert_int_equal(kvp_net_server_connections(host.server), 1);
#ifndef __SANITIZE_ADDRESS__ /* which keeps what is freed */
    assert_true(resident_size() - before < 64u << 20);
#endif
    print_message("longest answer %llu us, %zu KiB more\n", (unsigned long long)longest_us,
                  (resident_size() - before) / 1024);
    assert_true(longest_us < 400000); /* a lease; mostly it is a tenth of that */
    struct caller another;            /* who means it is let in meanwhile */
    caller_open_with(&another, &(struct kvp_net_link_config){.url = kvp_net_server_url(host.server),
                                                             .tls = node_1});
    caller_check_echo(&another, "let me in");
    for (int i = 0; i < STRANGERS; i++) {
        (void)close(fds[i]);
    }
    assert_int_equal(caller.state_count, 1);
    caller_close(&another);
    caller_close(&caller);
    host_close(&host);
}

/* ---- a storm ---- */

#define STORM_THREADS 16u
#ifdef __SANITIZE_ADDRESS__
#define STORM_EACH 20u
#else
#define STORM_EACH 125u
#endif

struct storm {
    unsigned port;
    atomic_uint done, running;
};

static bool storm_shake(unsigned port)
{
    static const struct net_tls_expected anybody = {0};
    struct net_tls_session session = {NULL};
    int fd = raw_connect(port);
    struct net_tls *tls = net_tls.connect(node_1, fd, &anybody, &session);
    enum net_tls_step step = net_tls.handshake(tls);
    for (unsigned i = 0; step == NET_TLS_READS && i < 10000; i++) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        (void)poll(&ready, 1, 1000);
        step = net_tls.handshake(tls);
    }
    net_tls.free(tls);
    (void)close(fd);
    return step == NET_TLS_DONE;
}

static void *storm_run(void *arg)
{
    struct storm *storm = arg;
    for (unsigned i = 0; i < STORM_EACH; i++) {
        atomic_fetch_add(&storm->done, storm_shake(storm->port));
    }
    atomic_fetch_sub(&storm->running, 1);
    return NULL;
}

/* Each with a proof of its own; a link's answers must not wait for them. */
static void test_two_thousand_handshakes_hold_up_nobody(void **state)
{
    (void)state;
    struct host host = {.echo = true};
    struct caller caller;
    pthread_t threads[STORM_THREADS];
    uint64_t longest_us = 0, begin_us;
    unsigned asked = 0;
    host_open(&host, &(struct kvp_net_server_config){.url = TLS_URL, .tls = node_1});
    caller_open_with(&caller, &(struct kvp_net_link_config){.url = kvp_net_server_url(host.server),
                                                            .tls = node_1});
    caller_check_echo(&caller, "before");
    struct storm storm = {.port = url_port(kvp_net_server_url(host.server))};
    atomic_store(&storm.running, STORM_THREADS);
    begin_us = kvp_clock_now_us();
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, storm_run, &storm), 0);
    }
    while (atomic_load(&storm.running) > 0) {
        longest_us = check_prompt(&caller, longest_us);
        asked++;
        (void)usleep(20000);
    }
    for (unsigned i = 0; i < STORM_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    print_message("%u handshakes in %llu ms, longest of %u answers %llu us\n",
                  atomic_load(&storm.done),
                  (unsigned long long)(kvp_clock_now_us() - begin_us) / 1000, asked,
                  (unsigned long long)longest_us);
    assert_int_equal(atomic_load(&storm.done), STORM_THREADS * STORM_EACH);
    assert_true(longest_us < 400000);
    caller_close(&caller);
    host_close(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_certificate_of_another_ca_is_refused_on_both_sides),
        cmocka_unit_test(test_a_certificate_that_expires_is_refused_on_both_sides),
        cmocka_unit_test(test_what_cannot_be_used_is_not_loaded),
        cmocka_unit_test(test_a_link_talks_to_nobody_but_whom_it_means),
        cmocka_unit_test(test_a_user_cannot_pass_for_a_server),
        cmocka_unit_test(test_a_server_knows_who_asks),
        cmocka_unit_test(test_names_that_are_not_ours_name_nobody),
        cmocka_unit_test(test_a_plain_link_at_a_port_with_tls_is_told_so),
        cmocka_unit_test(test_a_link_with_tls_at_a_plain_port_is_told_so),
        cmocka_unit_test(test_an_address_with_tls_needs_a_certificate),
        cmocka_unit_test(test_certificates_are_changed_without_a_lost_connection),
        cmocka_unit_test(test_a_session_is_resumed_and_the_server_still_knows_who_it_is),
        cmocka_unit_test(test_half_handshakes_hold_up_nobody_and_take_no_memory_without_bound),
        cmocka_unit_test(test_two_thousand_handshakes_hold_up_nobody),
    };
    authority_make(&ours);
    authority_make(&theirs);
    node_1 = authority_node(&ours, 1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kvp_tls.close(node_1);
    authority_remove(&ours);
    authority_remove(&theirs);
    return failed;
}
