/* SPDX-License-Identifier: Apache-2.0 */
/* What kvcli writes for people: whole or not at all, and without harm to what is there. */
#include "client/kvcli/kvcli.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[64], path[128];

static int make_directory(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof(directory), "/tmp/kvpair-write-XXXXXX");
    if (mkdtemp(directory) == NULL) {
        return -1;
    }
    (void)snprintf(path, sizeof(path), "%s/result.csv", directory);
    return 0;
}

/* Nothing but the file itself may have been left. */
static int remove_directory(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(directory);
}

static int write_text(const char *text)
{
    FILE *errors = stderr;

    stderr = fopen("/dev/null", "w");
    int code = kvcli_write_file(path, kvp_slice_of(text, strlen(text)));
    fclose(stderr);
    stderr = errors;
    return code;
}

static void check_content(const char *name, const char *wanted)
{
    char text[64] = "";
    FILE *file = fopen(name, "r");

    assert_non_null(file);
    (void)!fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    assert_string_equal(text, wanted);
}

static struct stat look(const char *name)
{
    struct stat about;
    assert_int_equal(lstat(name, &about), 0);
    return about;
}

/* Files that grow beyond this size fail, as on a full disk. */
static void limit_files(rlim_t size)
{
    struct rlimit limit = {.rlim_cur = size, .rlim_max = RLIM_INFINITY};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_a_failed_write_leaves_what_was_there(void **state)
{
    (void)state;
    assert_int_equal(write_text("before"), EXIT_DONE);
    limit_files(3);
    int code = write_text("what comes after");
    limit_files(RLIM_INFINITY);
    assert_int_equal(code, EXIT_NOTHING);
    check_content(path, "before");
    assert_int_equal(unlink(path), 0);
    limit_files(3);
    code = write_text("what comes after");
    limit_files(RLIM_INFINITY);
    assert_int_equal(code, EXIT_NOTHING);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_a_device_is_written_to_and_never_removed(void **state)
{
    (void)state;
    assert_int_equal(symlink("/dev/full", path), 0);
    assert_int_equal(write_text("x"), EXIT_NOTHING);
    assert_true(S_ISLNK(look(path).st_mode));
    assert_true(S_ISCHR(look("/dev/full").st_mode));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(write_text("x"), EXIT_DONE);
    assert_true(S_ISCHR(look("/dev/null").st_mode));
    assert_int_equal(unlink(path), 0);
    if (mknod(path, S_IFCHR | 0600, (1 << 8) | 7) == 0) { /* where we are allowed to */
        assert_int_equal(write_text("x"), EXIT_NOTHING);
        assert_true(S_ISCHR(look(path).st_mode));
    }
}

static void test_a_fifo_gets_the_bytes(void **state)
{
    char text[8] = "";
    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    assert_true(fd >= 0);
    assert_int_equal(write_text("bytes"), EXIT_DONE);
    assert_int_equal(read(fd, text, sizeof(text)), 5);
    assert_string_equal(text, "bytes");
    assert_true(S_ISFIFO(look(path).st_mode));
    (void)close(fd);
}

/* What the shell has redirected is written on: others write there, too. */
static void test_an_open_descriptor_is_written_on_and_not_replaced(void **state)
{
    char name[64];
    (void)state;
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "before ", 7), 7);
    (void)snprintf(name, sizeof(name), "/dev/fd/%d", fd);
    assert_int_equal(kvcli_write_file(name, kvp_slice_of("result ", 7)), EXIT_DONE);
    assert_int_equal(write(fd, "after", 5), 5);
    (void)close(fd);
    check_content(path, "before result after");
}

static void test_links_and_modes_stay(void **state)
{
    char target[160];
    (void)state;
    (void)snprintf(target, sizeof(target), "%s/target", directory);
    assert_int_equal(symlink("target", path), 0);
    assert_int_equal(write_text("first"), EXIT_DONE); /* what the link points to is made */
    check_content(target, "first");
    assert_int_equal(chmod(target, 0640), 0);
    assert_int_equal(write_text("second"), EXIT_DONE);
    assert_true(S_ISLNK(look(path).st_mode));
    check_content(target, "second");
    assert_int_equal(look(target).st_mode & 07777, 0640);
    assert_int_equal(unlink(target), 0);
}

static void test_a_new_file_has_the_mode_of_others(void **state)
{
    (void)state;
    mode_t mask = umask(027);
    assert_int_equal(write_text("x"), EXIT_DONE);
    (void)umask(mask);
    assert_int_equal(look(path).st_mode & 07777, 0640);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_failed_write_leaves_what_was_there, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(test_a_device_is_written_to_and_never_removed,
                                        make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(test_a_fifo_gets_the_bytes, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(test_an_open_descriptor_is_written_on_and_not_replaced,
                                        make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(test_links_and_modes_stay, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(test_a_new_file_has_the_mode_of_others, make_directory,
                                        remove_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
