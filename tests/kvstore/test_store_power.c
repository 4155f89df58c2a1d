/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A power cut under LevelDB. A process writes unsynced batches and is killed around the moment when
 * LevelDB goes over to a new log file. Then each file loses, or keeps, what came after its last
 * fsync, as a disk may do it: independently of the others. What is left must be a prefix of what
 * was written, without a hole, and not shorter than the last synced batch.
 *
 * Everything that uses LevelDB runs in processes of its own: its background thread does not get
 * through a fork.
 */
#include "tests/kvstore/kv_support.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    FILES_MAX = 256,
    VALUE_SIZE = 10000,
    SYNCED = 50,        /* this batch is written with a sync */
    BATCHES_MAX = 5000, /* the log has changed long before */
};

/* What the parent knows about the process that was killed. */
struct shared {
    unsigned written;
    unsigned tables;      /* so many may still be made */
    unsigned directories; /* synced so far */
    bool renamed;         /* since a directory was synced last */
    size_t file_count;
    struct {
        ino_t inode;
        off_t size;
    } files[FILES_MAX]; /* how much of each file is durable */
};

static struct shared *shared;
static struct place place; /* of the case that runs */

/* ---- who syncs what ---- */

static void note_synced(const struct stat *info)
{
    size_t i = 0;
    while (i < shared->file_count && shared->files[i].inode != info->st_ino) {
        i++;
    }
    if (i < FILES_MAX) {
        shared->files[i].inode = info->st_ino;
        shared->files[i].size = info->st_size;
        shared->file_count = i < shared->file_count ? shared->file_count : i + 1;
    }
}

static bool is_table(int fd)
{
    char link[64], path[256] = "";
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof(path) - 1);
    return size > 4 && strcmp(path + size - 4, ".ldb") == 0;
}

/* Some tables may be completed, then LevelDB's thread hangs: the old log stays needed. */
static void hold_table(int fd)
{
    if (shared != NULL && is_table(fd) && shared->tables-- == 0) {
        for (;;) {
            pause();
        }
    }
}

static int sync_and_note(int fd, long call)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct stat info;
    hold_table(fd);
    bool known = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);

    if (syscall(call, fd) != 0) {
        return -1;
    }
    if (shared != NULL) {
        pthread_mutex_lock(&lock);
        if (known) {
            note_synced(&info);
        } else {
            shared->directories++;
            shared->renamed = false;
        }
        pthread_mutex_unlock(&lock);
    }
    return 0;
}

/* These take the place of the C library's, for LevelDB as well. */
int fdatasync(int fd)
{
    return sync_and_note(fd, SYS_fdatasync);
}

int fsync(int fd)
{
    return sync_and_note(fd, SYS_fsync);
}

int rename(const char *from, const char *to)
{
    shared->renamed = true;
    return (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    shared->renamed = true;
    return (int)syscall(SYS_renameat, from_fd, from, to_fd, to);
}

static off_t durable_size(ino_t inode)
{
    for (size_t i = 0; i < shared->file_count; i++) {
        if (shared->files[i].inode == inode) {
            return shared->files[i].size;
        }
    }
    return 0;
}

/* ---- the process that is killed ---- */

/* The log files of the store, their numbers in rising order. */
static size_t list_logs(const char *store, unsigned long numbers[FILES_MAX])
{
    DIR *dir = opendir(store);
    size_t count = 0;

    assert_non_null(dir);
    for (struct dirent *item = readdir(dir); item != NULL; item = readdir(dir)) {
        if (strstr(item->d_name, ".log") != NULL && count < FILES_MAX) {
            size_t at = count++;
            unsigned long number = strtoul(item->d_name, NULL, 10);
            for (; at > 0 && numbers[at - 1] > number; at--) {
                numbers[at] = numbers[at - 1];
            }
            numbers[at] = number;
        }
    }
    closedir(dir);
    return count;
}

static unsigned long newest_log(const char *path)
{
    unsigned long numbers[FILES_MAX];
    size_t count = list_logs(path, numbers);
    return count == 0 ? 0 : numbers[count - 1];
}

static void make_pair(unsigned number, char key[16], char value[VALUE_SIZE])
{
    (void)snprintf(key, 16, "%08u", number);
    memset(value, (int)('a' + number % 26), VALUE_SIZE);
    (void)snprintf(value, 16, "%u", number);
}

static kvp_status write_pair(struct kvp_store *store, unsigned number)
{
    static char key[16], value[VALUE_SIZE];
    struct kvp_batch_op op = {.key = {key, 8}, .value = {value, VALUE_SIZE}};
    make_pair(number, key, value);
    return store->ops->write(store, &op, 1, number == SYNCED);
}

struct life {
    const char *directory, *store;
    unsigned changes; /* the process is killed after so many changes of the log */
    unsigned more;    /* and so many batches more */
};

static void live(const struct life *life)
{
    struct kvp_env *env = NULL;
    struct kvp_store *store = NULL;
    unsigned changes = 0, more = 0;
    if (kvp_env_posix_open(life->directory, &env, NULL, 0) != KVP_OK ||
        env->ops->open_store(env, "one", true, &store) != KVP_OK) {
        _exit(1);
    }
    unsigned long log = newest_log(life->store);
    for (unsigned i = 0; i < BATCHES_MAX; i++) {
        if (write_pair(store, i) != KVP_OK) {
            _exit(1);
        }
        shared->written = i + 1;
        unsigned long newest = newest_log(life->store);
        more += changes == life->changes ? 1 : 0;
        changes += newest != log ? 1 : 0;
        log = newest;
        if (changes == life->changes && more == life->more) {
            (void)kill(getpid(), SIGKILL);
        }
    }
    _exit(1);
}

/* ---- the cut ---- */

static void lose(const char *store, const char *name)
{
    char path[512];
    struct stat info;
    assert_true(snprintf(path, sizeof(path), "%s/%s", store, name) < (int)sizeof(path));
    assert_int_equal(stat(path, &info), 0);
    if (S_ISREG(info.st_mode) && durable_size(info.st_ino) < info.st_size) {
        assert_int_equal(truncate(path, durable_size(info.st_ino)), 0);
    }
}

/* All files but logs lose what is not durable; of the logs those whose bit is set. */
static void cut_power(const char *store, unsigned losers)
{
    unsigned long numbers[FILES_MAX];
    size_t count = list_logs(store, numbers);
    char name[32];
    DIR *dir = opendir(store);

    assert_non_null(dir);
    for (struct dirent *item = readdir(dir); item != NULL; item = readdir(dir)) {
        if (strstr(item->d_name, ".log") == NULL && strcmp(item->d_name, "LOCK") != 0) {
            lose(store, item->d_name);
        }
    }
    closedir(dir);
    assert_true(count >= 2); /* the old one is still needed: else this proves nothing */
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "%06lu.log", numbers[i]);
        if ((losers >> i & 1) != 0) {
            lose(store, name);
        }
    }
}

/* ---- what is left ---- */

static bool is_prefix(struct kvp_store *store, unsigned *count)
{
    struct kvp_iter *iter = store->ops->iter(store, NULL, false);
    static char key[16], value[VALUE_SIZE];
    bool right = true;
    *count = 0;
    for (store->ops->iter_seek(iter, TEXT("")); right && store->ops->iter_valid(iter); ++*count) {
        make_pair(*count, key, value);
        right = kvp_slice_compare(store->ops->iter_key(iter), kvp_slice_of(key, 8)) == 0 &&
                kvp_slice_compare(store->ops->iter_value(iter),
                                  kvp_slice_of(value, sizeof(value))) == 0;
        store->ops->iter_next(iter);
    }
    right = right && store->ops->iter_status(iter) == KVP_OK;
    store->ops->iter_close(iter);
    return right;
}

static void look(const struct life *life)
{
    struct kvp_env *env = NULL;
    struct kvp_store *store = NULL;
    unsigned count = 0;
    if (kvp_env_posix_open(life->directory, &env, NULL, 0) != KVP_OK ||
        env->ops->open_store(env, "one", false, &store) != KVP_OK) {
        print_error("not opened: %s\n", env == NULL ? "" : env->ops->error(env));
        _exit(1);
    }
    bool right = is_prefix(store, &count);
    if (!right || count <= SYNCED || count > shared->written) {
        print_error("%u written, %u there, then %s\n", shared->written, count,
                    right ? "the end" : "something else");
        _exit(1);
    }
    store->ops->close(store);
    env->ops->close(env);
    _exit(0);
}

static int in_process(void (*run)(const struct life *life), const struct life *life)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        run(life);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void try_cut(unsigned changes, unsigned more, unsigned losers)
{
    char store[128];
    place_open(&place, true);
    place.env->ops->close(place.env); /* only the name was wanted */
    place.env = NULL;
    (void)snprintf(store, sizeof(store), "%s/one", place.path);
    struct life life = {place.path, store, changes, more};
    memset(shared, 0, sizeof(*shared));
    shared->tables = changes - 1;
    int status = in_process(live, &life);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    cut_power(store, losers);
    shared->tables = UINT_MAX;
    status = in_process(look, &life);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    place_close(&place);
    place.on_disk = false;
}

/* ---- names ---- */

/* Has a directory been synced since the last call, and behind the last renaming? */
static bool names_durable(void)
{
    bool durable = shared->directories > 0 && !shared->renamed;
    shared->directories = 0;
    return durable;
}

static bool content_durable(const struct life *life, const char *name, off_t size)
{
    char path[256];
    struct stat info;
    (void)snprintf(path, sizeof(path), "%s/%s", life->directory, name);
    return stat(path, &info) == 0 && info.st_size == size && durable_size(info.st_ino) == size;
}

static bool change_files(const struct life *life, struct kvp_env *env)
{
    return env->ops->replace_file(env, "file", TEXT("x")) == KVP_OK && names_durable() &&
           content_durable(life, "file", 1) &&
           env->ops->replace_file(env, "file", TEXT("yz")) == KVP_OK && names_durable() &&
           content_durable(life, "file", 2) &&
           env->ops->write_at(env, "new", 0, TEXT("abc"), true) == KVP_OK && names_durable() &&
           content_durable(life, "new", 3) &&
           env->ops->write_at(env, "new", 3, TEXT("de"), true) == KVP_OK &&
           content_durable(life, "new", 5);
}

static bool change_stores(struct kvp_env *env)
{
    struct kvp_store *store = NULL;
    /* LevelDB renames a file as the last step of making a store. */
    if (env->ops->open_store(env, "one", true, &store) != KVP_OK || !names_durable()) {
        return false;
    }
    store->ops->close(store);
    (void)names_durable();
    return env->ops->rename_store(env, "one", "two") == KVP_OK && names_durable() &&
           env->ops->destroy_store(env, "two") == KVP_OK && names_durable();
}

static void change_all(const struct life *life)
{
    struct kvp_env *env = NULL;
    kvp_status status = kvp_env_posix_open(life->directory, &env, NULL, 0);
    (void)names_durable();
    _exit(status == KVP_OK && change_files(life, env) && change_stores(env) ? 0 : 1);
}

/* What is durable on return is so with its name, and a name lies in the directory. */
static void test_names_are_as_durable_as_what_they_name(void **state)
{
    (void)state;
    place_open(&place, true);
    place.env->ops->close(place.env);
    place.env = NULL;
    struct life life = {.directory = place.path};
    memset(shared, 0, sizeof(*shared));
    shared->tables = UINT_MAX;
    int status = in_process(change_all, &life);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    place_close(&place);
    place.on_disk = false;
}

static int teardown(void **state)
{
    (void)state;
    place_close(&place); /* what a failed case has left */
    return 0;
}

static void test_a_change_of_the_log_makes_no_hole(void **state)
{
    (void)state;
    for (unsigned losers = 0; losers < 4; losers++) {
        try_cut(1, 0, losers);
    }
    try_cut(1, 2, 1); /* the old one loses, the new one has something to keep */
    try_cut(2, 1, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_names_are_as_durable_as_what_they_name, teardown),
        cmocka_unit_test_teardown(test_a_change_of_the_log_makes_no_hole, teardown),
    };

    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return shared == MAP_FAILED ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
