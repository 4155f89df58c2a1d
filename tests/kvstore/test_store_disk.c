/* SPDX-License-Identifier: Apache-2.0 */
/* What only a directory on disk can do: be locked, be no directory, be damaged, be full. */
#include "tests/kvstore/kv_support.h"

#include <signal.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int setup(void **state)
{
    static struct place place;
    place_open(&place, true);
    *state = &place;
    return 0;
}

static int teardown(void **state)
{
    place_close(*state);
    return 0;
}

static void path_in(const struct place *place, const char *name, char path[256])
{
    assert_true(snprintf(path, 256, "%s/%s", place->path, name) < 256);
}

static void write_file(const struct place *place, const char *name, const char *content)
{
    char path[256];
    path_in(place, name, path);
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* ---- the lock ---- */

static void test_a_second_opening_is_told_who_has_the_directory(void **state)
{
    struct place *place = *state;
    struct kvp_env *second = NULL;
    char message[256] = "", holder[32];
    assert_int_equal(kvp_env_posix_open(place->path, &second, message, sizeof(message)),
                     KVP_LOCKED);
    (void)snprintf(holder, sizeof(holder), "process %ld", (long)getpid());
    assert_non_null(strstr(message, place->path));
    assert_non_null(strstr(message, holder));
    assert_null(second);
    /* The lock survives the attempt, and whoever does not want to know why need not. */
    assert_int_equal(kvp_env_posix_open(place->path, &second, NULL, 0), KVP_LOCKED);
    assert_int_equal(kvp_env_posix_open(place->path, &second, message, 8), KVP_LOCKED);
    assert_int_equal(strlen(message), 7);
}

static void test_the_lock_goes_with_the_handle(void **state)
{
    struct place *place = *state;
    place_reopen(place);
    place_reopen(place);
}

/* Runs in a process of its own: takes the directory, says so, and waits to be killed. */
static void hold_directory(const char *path, int say)
{
    struct kvp_env *env = NULL;
    char done = kvp_env_posix_open(path, &env, NULL, 0) == KVP_OK ? 'y' : 'n';
    if (write(say, &done, 1) == 1) {
        for (;;) {
            pause();
        }
    }
    _exit(1);
}

static void test_the_lock_goes_with_a_killed_process(void **state)
{
    struct place *place = *state;
    struct kvp_env *second = NULL;
    char message[256] = "", holder[32], done = 'n';
    int pipes[2];
    place->env->ops->close(place->env);
    place->env = NULL;
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        hold_directory(place->path, pipes[1]);
    }
    assert_int_equal(read(pipes[0], &done, 1), 1);
    kvp_status locked = kvp_env_posix_open(place->path, &second, message, sizeof(message));
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(done, 'y');
    assert_int_equal(locked, KVP_LOCKED);
    (void)snprintf(holder, sizeof(holder), "process %ld", (long)child);
    assert_non_null(strstr(message, holder));
    assert_int_equal(kvp_env_posix_open(place->path, &place->env, NULL, 0), KVP_OK);
    close(pipes[0]);
    close(pipes[1]);
}

/* ---- the directory ---- */

static void test_a_new_directory_is_for_its_owner_only(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = NULL;
    char path[256];
    struct stat info;
    path_in(place, "new", path);
    assert_int_equal(kvp_env_posix_open(path, &env, NULL, 0), KVP_OK);
    env->ops->close(env);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
}

static void check_not_opened(const char *path)
{
    struct kvp_env *env = NULL;
    char message[256] = "";
    assert_int_equal(kvp_env_posix_open(path, &env, message, sizeof(message)), KVP_IO);
    assert_non_null(strstr(message, path));
}

static void test_what_can_be_no_directory_is_refused(void **state)
{
    struct place *place = *state;
    char path[256];
    write_file(place, "plain", "x");
    path_in(place, "plain", path);
    check_not_opened(path);
    path_in(place, "absent/below", path);
    check_not_opened(path);
}

static void test_a_file_that_is_too_long_is_damage(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    char content[4098];
    kvp_buf found = {0};
    memset(content, 'x', sizeof(content) - 1);
    content[4097] = '\0';
    write_file(place, "file", content);
    assert_int_equal(env->ops->read_file(env, "file", &found), KVP_CORRUPT);
    assert_int_equal(found.size, 0);
    assert_non_null(strstr(env->ops->error(env), "file"));
}

/* A crash in the middle of a replacement leaves a file beside the old one. */
static void test_the_rest_of_a_replacement_is_in_nobodys_way(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    kvp_buf content = {0};
    assert_int_equal(env->ops->replace_file(env, "file", TEXT("old")), KVP_OK);
    write_file(place, "file~", "half of the new cont");
    assert_int_equal(env->ops->read_file(env, "file", &content), KVP_OK);
    assert_int_equal(env->ops->replace_file(env, "file", TEXT("new")), KVP_OK);
    assert_int_equal(env->ops->read_file(env, "file", &content), KVP_OK);
    check_slice(kvp_buf_slice(&content), TEXT("oldnew"));
    kvp_buf_free(&content);
}

/* ---- broken stores ---- */

static void test_what_a_crash_left_of_a_store_is_none(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    struct kvp_store *store = store_open(place, "one");
    char path[256];
    store_put(store, "a", "1");
    store->ops->close(store);
    path_in(place, "one/CURRENT", path); /* a removal takes this away first */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(env->ops->open_store(env, "one", false, &store), KVP_NOT_FOUND);
    assert_int_equal(env->ops->destroy_store(env, "one"), KVP_OK);
    place_check_stores(place, "");
    path_in(place, "one", path);
    assert_int_not_equal(access(path, F_OK), 0);
}

/* Only the store's own files go; what others have put beside them stays. */
static void test_a_removal_leaves_what_others_put_there(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    struct kvp_store *store = store_open(place, "one");
    static const char *const others[] = {"notes",       "CURRENT.bak",     "000005.log.gz",
                                         "journal-1.x", "MANIFEST-00001a", ".log"};
    char name[32], path[256];

    store->ops->close(store);
    path_in(place, "one/directory", path);
    assert_int_equal(mkdir(path, 0700), 0);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        (void)snprintf(name, sizeof(name), "one/%s", others[i]);
        write_file(place, name, "mine");
    }
    assert_int_equal(env->ops->destroy_store(env, "one"), KVP_OK);
    assert_int_equal(env->ops->open_store(env, "one", false, &store), KVP_NOT_FOUND);
    place_check_stores(place, "one ");
    path_in(place, "one", path);
    DIR *dir = opendir(path);
    unsigned count = 0;
    for (struct dirent *item = readdir(dir); item != NULL; item = readdir(dir)) {
        count++;
    }
    closedir(dir);
    assert_int_equal(count, sizeof(others) / sizeof(others[0]) + 1 + 2);
}

static void test_a_damaged_store_is_refused_with_its_name(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    struct kvp_store *store = store_open(place, "one");
    store_put(store, "a", "1");
    store->ops->close(store);
    write_file(place, "one/CURRENT", "MANIFEST-999999\n");
    assert_int_equal(env->ops->open_store(env, "one", false, &store), KVP_CORRUPT);
    assert_non_null(strstr(env->ops->error(env), "/one"));
    write_file(place, "one/CURRENT", "no name of a file");
    assert_int_equal(env->ops->open_store(env, "one", true, &store), KVP_CORRUPT);
    assert_int_equal(env->ops->destroy_store(env, "one"), KVP_OK);
    place_check_stores(place, "");
}

/* ---- failing writes ---- */

/* From now on no file of this process can grow past `size`, as on a disk that is full. */
static void limit_files(rlim_t size)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = size == RLIM_INFINITY ? limit.rlim_max : size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void check_failed(struct kvp_store *store)
{
    struct kvp_batch_op op = {.key = TEXT("b"), .value = TEXT("2")};
    kvp_buf value = {0};
    assert_int_equal(store->ops->write(store, &op, 1, true), KVP_FAILED);
    assert_int_equal(store->ops->write(store, &op, 1, false), KVP_FAILED);
    assert_int_equal(store->ops->get(store, TEXT("a"), &value), KVP_FAILED);
    struct kvp_iter *iter = store->ops->iter(store, NULL, false);
    store->ops->iter_seek(iter, TEXT(""));
    assert_false(store->ops->iter_valid(iter));
    assert_int_equal(store->ops->iter_status(iter), KVP_FAILED);
    store->ops->iter_close(iter);
    assert_true(store->ops->error(store)[0] != '\0');
}

/* LevelDB by itself goes on after a failed write and loses what it then acknowledges. */
static void test_the_first_failed_write_is_the_last(void **state)
{
    struct place *place = *state;
    struct kvp_store *store = store_open(place, "one");
    static char big[65536];
    struct kvp_batch_op op = {.key = TEXT("big"), .value = {big, sizeof(big)}};
    store_put(store, "a", "1");
    limit_files(32768);
    kvp_status status = store->ops->write(store, &op, 1, true);
    limit_files(RLIM_INFINITY);
    assert_int_equal(status, KVP_IO);
    check_failed(store);
    store->ops->close(store);
    place_reopen(place);
    store = store_open(place, "one");
    store_check(store, "a", "1");
    store_check(store, "b", NULL);
    store->ops->close(store);
}

static void test_an_iterator_ends_with_the_failure_of_its_store(void **state)
{
    struct kvp_store *store = store_open(*state, "one");
    static char big[65536];
    struct kvp_batch_op op = {.key = TEXT("big"), .value = {big, sizeof(big)}};
    store_put(store, "a", "1");
    struct kvp_snapshot *snapshot = store->ops->snapshot(store);
    struct kvp_iter *iter = store->ops->iter(store, snapshot, true);
    store->ops->iter_seek(iter, TEXT(""));
    assert_true(store->ops->iter_valid(iter));
    limit_files(32768);
    kvp_status status = store->ops->write(store, &op, 1, true);
    limit_files(RLIM_INFINITY);
    assert_int_equal(status, KVP_IO);
    assert_false(store->ops->iter_valid(iter));
    store->ops->iter_next(iter);
    assert_int_equal(store->ops->iter_status(iter), KVP_FAILED);
    store->ops->iter_close(iter);
    store->ops->snapshot_release(store, snapshot);
    store->ops->close(store);
}

static void test_a_failed_replacement_leaves_the_old_file(void **state)
{
    struct place *place = *state;
    struct kvp_env *env = place->env;
    static char big[4096];
    kvp_buf content = {0};
    char path[256];
    assert_int_equal(env->ops->replace_file(env, "file", TEXT("old")), KVP_OK);
    limit_files(1000);
    kvp_status replaced = env->ops->replace_file(env, "file", kvp_slice_of(big, sizeof(big)));
    kvp_status written = env->ops->write_at(env, "other", 2000, TEXT("x"), false);
    limit_files(RLIM_INFINITY);
    assert_int_equal(replaced, KVP_IO);
    assert_int_equal(written, KVP_IO);
    assert_non_null(strstr(env->ops->error(env), "other"));
    assert_int_equal(env->ops->read_file(env, "file", &content), KVP_OK);
    check_slice(kvp_buf_slice(&content), TEXT("old"));
    kvp_buf_free(&content);
    path_in(place, "file~", path);
    assert_int_not_equal(access(path, F_OK), 0); /* a full disk is not filled further */
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_a_second_opening_is_told_who_has_the_directory),
        CASE(test_the_lock_goes_with_the_handle),
        CASE(test_the_lock_goes_with_a_killed_process),
        CASE(test_a_new_directory_is_for_its_owner_only),
        CASE(test_what_can_be_no_directory_is_refused),
        CASE(test_a_file_that_is_too_long_is_damage),
        CASE(test_the_rest_of_a_replacement_is_in_nobodys_way),
        CASE(test_what_a_crash_left_of_a_store_is_none),
        CASE(test_a_removal_leaves_what_others_put_there),
        CASE(test_a_damaged_store_is_refused_with_its_name),
        CASE(test_the_first_failed_write_is_the_last),
        CASE(test_an_iterator_ends_with_the_failure_of_its_store),
        CASE(test_a_failed_replacement_leaves_the_old_file),
    };

    (void)signal(SIGXFSZ, SIG_IGN); /* a write past the limit shall fail, not kill */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
