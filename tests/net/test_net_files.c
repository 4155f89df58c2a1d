/* SPDX-License-Identifier: Apache-2.0 */
/* The file that a Unix socket is: what else stands at its path is not ours. */
#include "net_support.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char directory[64];
    char path[128];
    char url[160];
    char reason[600];
};

static void place_make(struct place *place)
{
    (void)snprintf(place->directory, sizeof(place->directory), "/tmp/kvpair-files-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    (void)snprintf(place->path, sizeof(place->path), "%s/s", place->directory);
    (void)snprintf(place->url, sizeof(place->url), "ipc://%s", place->path);
}

/* Nothing else may have been left there. */
static void place_remove(struct place *place)
{
    (void)unlink(place->path);
    assert_int_equal(rmdir(place->directory), 0);
}

static void drop_request(void *arg, struct kvp_net_request *request)
{
    (void)arg;
    kvp_net_drop(request);
}

static kvp_status listen_at(struct place *place, struct kvp_net_server **server)
{
    const struct kvp_net_server_config config = {.url = place->url,
                                                 .on_request = drop_request,
                                                 .reason = place->reason,
                                                 .reason_size = sizeof(place->reason)};
    place->reason[0] = '\0';
    *server = NULL;
    return kvp_net_listen(&config, server);
}

static void check_refused(struct place *place, const char *word)
{
    struct kvp_net_server *server;
    assert_int_equal(listen_at(place, &server), KVP_ADDRESS_IN_USE);
    if (strstr(place->reason, word) == NULL) {
        fail_msg("no \"%s\" in: %s", word, place->reason);
    }
}

static ino_t inode_of(const char *path)
{
    struct stat about;
    assert_int_equal(lstat(path, &about), 0);
    return about.st_ino;
}

static void test_listening_touches_no_file_of_others(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    char target[160];
    (void)snprintf(target, sizeof(target), "%s/target", place.directory);
    for (int kind = 0; kind < 4; kind++) {
        static const char *const words[] = {"a file", "a fifo", "a symbolic link", "a directory"};
        int made = kind == 0   ? open(place.path, O_CREAT | O_WRONLY, 0600)
                   : kind == 1 ? mkfifo(place.path, 0600)
                   : kind == 2 ? symlink(target, place.path)
                               : mkdir(place.path, 0700);
        assert_true(made >= 0);
        ino_t inode = inode_of(place.path);
        check_refused(&place, words[kind]);
        assert_int_equal(inode_of(place.path), inode);
        assert_int_equal(kind == 3 ? rmdir(place.path) : unlink(place.path), 0);
        if (kind == 0) {
            (void)close(made);
        }
    }
    place_remove(&place);
}

/* What a crash leaves. */
static void leave_socket(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    (void)snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
    assert_int_equal(listen(fd, 1), 0);
    (void)close(fd);
}

static void test_a_socket_that_nobody_listens_on_is_replaced(void **state)
{
    (void)state;
    struct place place;
    struct kvp_net_server *server;
    place_make(&place);
    leave_socket(place.path);
    assert_int_equal(listen_at(&place, &server), KVP_OK);
    check_refused(&place, "another process");
    kvp_net_server_close(server);
    assert_int_equal(access(place.path, F_OK), -1);
    place_remove(&place);
}

static void test_closing_removes_only_the_file_that_was_made(void **state)
{
    (void)state;
    struct place place;
    struct kvp_net_server *server;
    place_make(&place);
    assert_int_equal(listen_at(&place, &server), KVP_OK);
    assert_int_equal(unlink(place.path), 0);
    leave_socket(place.path);
    kvp_net_server_close(server);
    assert_int_equal(access(place.path, F_OK), 0);
    place_remove(&place);
}

/* A child: listens, tells whether it does, and ends when the parent has heard from all. */
static void compete(struct place *place, const int done[2], int results)
{
    struct kvp_net_server *server;
    char outcome = listen_at(place, &server) == KVP_OK ? 'w' : 'l';
    (void)close(done[1]);
    (void)!write(results, &outcome, 1);
    (void)!read(done[0], &outcome, 1);
    _exit(0);
}

/* Of many that start at once, with what a crash left in the way, exactly one listens. */
static void test_one_of_those_that_start_at_once_listens(void **state)
{
    (void)state;
    enum { CHILDREN = 8, ROUNDS = 30 };
    struct place place;
    place_make(&place);
    for (int round = 0; round < ROUNDS; round++) {
        int done[2], results[2];
        int winners = 0;
        leave_socket(place.path);
        assert_int_equal(pipe(done) | pipe(results), 0);
        for (int i = 0; i < CHILDREN; i++) {
            if (fork() == 0) {
                compete(&place, done, results[1]);
            }
        }
        for (int i = 0; i < CHILDREN; i++) {
            char outcome;
            assert_int_equal(read(results[0], &outcome, 1), 1);
            winners += outcome == 'w' ? 1 : 0;
        }
        (void)close(done[1]);
        while (wait(NULL) > 0) {
        }
        (void)close(done[0]);
        (void)close(results[0]);
        (void)close(results[1]);
        assert_int_equal(winners, 1);
        assert_int_equal(unlink(place.path), 0); /* the winner has not closed it */
    }
    place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listening_touches_no_file_of_others),
        cmocka_unit_test(test_a_socket_that_nobody_listens_on_is_replaced),
        cmocka_unit_test(test_closing_removes_only_the_file_that_was_made),
        cmocka_unit_test(test_one_of_those_that_start_at_once_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
