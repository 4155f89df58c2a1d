/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data directory on a POSIX file system: each store is a directory in it, each small file a
 * file, and LOCK (upper case, so no store or file can be called so) is held with flock(): the
 * kernel gives it up with the process, however that ends.
 */
#include "kvstore/base/posix_file.h"
#include "kvstore/store.h"
#include "kvstore/store_leveldb.h"
#include "kvstore/store_name.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ERROR_SIZE = 512,
    PATH_SIZE = 4096,
};

struct posix_env {
    struct kvp_env env;
    char *path;
    int directory;
    int lock;
    int file; /* the one that write_at() had last, -1: none */
    char file_name[KVP_STORE_NAME_SIZE];
    bool file_entry_synced;
    char error[ERROR_SIZE];
};

static struct posix_env *posix_env_of(struct kvp_env *env)
{
    return (struct posix_env *)env;
}

/* Keeps the reason of a failure for error(). */
static kvp_status env_fail(struct posix_env *self, kvp_status status, const char *name,
                           const char *reason)
{
    (void)snprintf(self->error, sizeof(self->error), "%s%s%s: %s", self->path,
                   name[0] == '\0' ? "" : "/", name, reason);
    return status;
}

static kvp_status env_fail_errno(struct posix_env *self, const char *name)
{
    int number = errno;
    return env_fail(self, kvp_status_of_errno(number), name, strerror(number));
}

static kvp_status env_sync_directory(struct posix_env *self)
{
    return fsync(self->directory) == 0 ? KVP_OK : env_fail_errno(self, "");
}

static kvp_status check_name(struct posix_env *self, const char *name)
{
    return kvp_store_name_valid(name)
               ? KVP_OK
               : env_fail(self, KVP_BAD_ARGUMENT, "", "not a name for a store");
}

/* ---- stores ---- */

static kvp_status make_directory(struct posix_env *self, const char *name)
{
    if (mkdirat(self->directory, name, 0700) == 0) {
        return env_sync_directory(self);
    }
    return errno == EEXIST ? KVP_OK : env_fail_errno(self, name);
}

/* The files that LevelDB has just made: it syncs what is in them, not always that they are there.
 */
static kvp_status sync_store(struct posix_env *self, const char *name)
{
    int fd = openat(self->directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return env_fail_errno(self, name);
    }
    kvp_status status = fsync(fd) == 0 ? KVP_OK : env_fail_errno(self, name);
    close(fd);
    return status;
}

static kvp_status env_open_store(struct kvp_env *env, const char *name, bool create,
                                 struct kvp_store **store)
{
    struct posix_env *self = posix_env_of(env);
    char path[PATH_SIZE];
    struct kvp_store *opened = NULL;
    kvp_status status = check_name(self, name);
    if (status == KVP_OK && snprintf(path, sizeof(path), "%s/%s", self->path, name) >= PATH_SIZE) {
        status = env_fail(self, KVP_BAD_ARGUMENT, name, "the path is too long");
    }
    if (status == KVP_OK && create) {
        status = make_directory(self, name);
    }
    if (status != KVP_OK) {
        return status;
    }
    status = kvp_store_leveldb_open(path, create, &opened, self->error, sizeof(self->error));
    if (status != KVP_OK) {
        return status;
    }
    status = sync_store(self, name);
    if (status != KVP_OK) {
        opened->ops->close(opened);
        return status;
    }
    *store = opened;
    return KVP_OK;
}

static bool all_digits(const char *text, size_t size)
{
    return size > 0 && strspn(text, "0123456789") >= size;
}

/* Does LevelDB, or the journal, call its files so? */
static bool is_of_store(const char *name)
{
    static const char *const names[] = {"CURRENT", "LOCK", "LOG", "LOG.old"};
    static const char *const prefixes[] = {"MANIFEST-", "journal-"};
    static const char *const ends[] = {".log", ".ldb", ".sst", ".dbtmp"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        size_t size = strlen(prefixes[i]);
        if (strncmp(name, prefixes[i], size) == 0) {
            return all_digits(name + size, strlen(name + size));
        }
    }
    const char *end = strchr(name, '.');
    for (size_t i = 0; end != NULL && i < sizeof(ends) / sizeof(ends[0]); i++) {
        if (strcmp(end, ends[i]) == 0) {
            return all_digits(name, (size_t)(end - name));
        }
    }
    return false;
}

/* Calls `each` for the files of a store's directory; false, with errno, ends that. */
static kvp_status walk_store(struct posix_env *self, const char *name, int fd,
                             bool (*each)(int fd, const char *file, uint64_t *sum), uint64_t *sum)
{
    int copy = dup(fd);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);

    if (dir == NULL) {
        kvp_status status = env_fail_errno(self, name);
        if (copy >= 0) {
            close(copy);
        }
        return status;
    }
    kvp_status status = KVP_OK;
    errno = 0;
    for (struct dirent *item = readdir(dir); item != NULL; item = readdir(dir)) {
        bool ours = is_of_store(item->d_name);
        if (ours && !each(fd, item->d_name, sum) && errno != ENOENT) {
            break;
        }
        errno = 0;
    }
    if (errno != 0) {
        status = env_fail_errno(self, name);
    }
    closedir(dir);
    return status;
}

static bool env_remove_file(int fd, const char *file, uint64_t *sum)
{
    (void)sum;
    return unlinkat(fd, file, 0) == 0;
}

static bool add_file(int fd, const char *file, uint64_t *sum)
{
    struct stat info;
    if (fstatat(fd, file, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return false;
    }
    *sum += (uint64_t)info.st_size;
    return true;
}

/* Takes all files of the store out of its directory. CURRENT goes first: without it there is no
 * store, so what a crash leaves in between is never taken for one. */
static kvp_status empty_store(struct posix_env *self, const char *name, int fd)
{
    if (unlinkat(fd, "CURRENT", 0) != 0 && errno != ENOENT) {
        return env_fail_errno(self, name);
    }
    return walk_store(self, name, fd, env_remove_file, NULL);
}

/* The directory of the store in *fd; -1: there is none. */
static kvp_status env_find_store(struct posix_env *self, const char *name, int *fd)
{
    kvp_status status = check_name(self, name);
    *fd = status == KVP_OK ? openat(self->directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (status == KVP_OK && *fd < 0 && errno != ENOENT) {
        return env_fail_errno(self, name);
    }
    return status;
}

static kvp_status env_store_size(struct kvp_env *env, const char *name, uint64_t *size)
{
    struct posix_env *self = posix_env_of(env);
    int fd;
    kvp_status status = env_find_store(self, name, &fd);
    if (status != KVP_OK || fd < 0) {
        return status;
    }
    status = walk_store(self, name, fd, add_file, size);
    close(fd);
    return status;
}

static kvp_status env_destroy_store(struct kvp_env *env, const char *name)
{
    struct posix_env *self = posix_env_of(env);
    int fd;
    kvp_status status = env_find_store(self, name, &fd);
    if (status != KVP_OK || fd < 0) {
        return status;
    }
    status = empty_store(self, name, fd);
    close(fd);
    if (status == KVP_OK && unlinkat(self->directory, name, AT_REMOVEDIR) != 0 &&
        errno != ENOTEMPTY && errno != EEXIST) {
        status = env_fail_errno(self, name);
    }
    return status == KVP_OK ? env_sync_directory(self) : status;
}

static kvp_status env_rename_store(struct kvp_env *env, const char *from, const char *to)
{
    struct posix_env *self = posix_env_of(env);
    struct stat info;
    kvp_status status = check_name(self, from);
    status = status == KVP_OK ? check_name(self, to) : status;
    if (status != KVP_OK) {
        return status;
    }
    if (fstatat(self->directory, to, &info, AT_SYMLINK_NOFOLLOW) == 0) {
        return env_fail(self, KVP_EXISTS, to, "is there already");
    }
    if (errno != ENOENT || renameat(self->directory, from, self->directory, to) != 0) {
        return env_fail_errno(self, from);
    }
    return env_sync_directory(self);
}

static bool is_directory(struct posix_env *self, const struct dirent *item)
{
    struct stat info;
    if (item->d_type != DT_UNKNOWN) {
        return item->d_type == DT_DIR;
    }
    return fstatat(self->directory, item->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISDIR(info.st_mode);
}

static kvp_status env_list_stores(struct kvp_env *env, void (*each)(void *arg, const char *name),
                                  void *arg)
{
    struct posix_env *self = posix_env_of(env);
    DIR *dir = opendir(self->path);

    if (dir == NULL) {
        return env_fail_errno(self, "");
    }
    errno = 0;
    for (struct dirent *item = readdir(dir); item != NULL; item = readdir(dir)) {
        if (kvp_store_name_valid(item->d_name) && is_directory(self, item)) {
            each(arg, item->d_name);
        }
        errno = 0;
    }
    kvp_status status = errno == 0 ? KVP_OK : env_fail_errno(self, "");
    closedir(dir);
    return status;
}

/* ---- files ---- */

static void forget_file(struct posix_env *self)
{
    if (self->file >= 0) {
        close(self->file);
        self->file = -1;
    }
}

static kvp_status read_content(struct posix_env *self, const char *name, int fd, kvp_buf *content)
{
    uint8_t bytes[KVP_FILE_SIZE_MAX + 1];
    size_t size;
    if (!kvp_read_all(fd, bytes, sizeof(bytes), 0, &size)) {
        return env_fail_errno(self, name);
    }
    if (size == sizeof(bytes)) {
        return env_fail(self, KVP_CORRUPT, name, "longer than any file of this kind");
    }
    return kvp_buf_append(content, bytes, size);
}

static kvp_status env_read_file(struct kvp_env *env, const char *name, kvp_buf *content)
{
    struct posix_env *self = posix_env_of(env);
    kvp_status status = check_name(self, name);
    if (status != KVP_OK) {
        return status;
    }
    int fd = openat(self->directory, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return env_fail_errno(self, name);
    }
    status = read_content(self, name, fd, content);
    close(fd);
    return status;
}

static kvp_status write_new_file(struct posix_env *self, const char *name, kvp_slice content)
{
    int fd = openat(self->directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return env_fail_errno(self, name);
    }
    kvp_status status = KVP_OK;
    if (!kvp_write_all(fd, content.data, content.size, 0) || fsync(fd) != 0) {
        status = env_fail_errno(self, name);
    }
    close(fd);
    return status;
}

static kvp_status env_replace_file(struct kvp_env *env, const char *name, kvp_slice content)
{
    struct posix_env *self = posix_env_of(env);
    char fresh[KVP_STORE_NAME_SIZE + 1]; /* '~' is in no name, so it cannot be in the way */
    kvp_status status = check_name(self, name);

    if (status == KVP_OK && content.size > KVP_FILE_SIZE_MAX) {
        status = env_fail(self, KVP_BAD_ARGUMENT, name, "the content is too long");
    }
    if (status != KVP_OK) {
        return status;
    }
    if (strcmp(self->file_name, name) == 0) {
        forget_file(self);
    }
    (void)snprintf(fresh, sizeof(fresh), "%s~", name);
    status = write_new_file(self, fresh, content);
    if (status == KVP_OK && renameat(self->directory, fresh, self->directory, name) != 0) {
        status = env_fail_errno(self, name);
    }
    if (status != KVP_OK) {
        (void)unlinkat(self->directory, fresh, 0);
        return status;
    }
    return env_sync_directory(self);
}

static kvp_status use_file(struct posix_env *self, const char *name)
{
    if (self->file >= 0 && strcmp(self->file_name, name) == 0) {
        return KVP_OK;
    }
    forget_file(self);
    self->file = openat(self->directory, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (self->file < 0) {
        return env_fail_errno(self, name);
    }
    memcpy(self->file_name, name, strlen(name) + 1);
    self->file_entry_synced = false;
    return KVP_OK;
}

static kvp_status sync_used_file(struct posix_env *self)
{
    if (fsync(self->file) != 0) {
        return env_fail_errno(self, self->file_name);
    }
    if (self->file_entry_synced) {
        return KVP_OK;
    }
    kvp_status status = env_sync_directory(self);
    self->file_entry_synced = status == KVP_OK;
    return status;
}

static kvp_status env_write_at(struct kvp_env *env, const char *name, uint64_t offset,
                               kvp_slice content, bool sync)
{
    struct posix_env *self = posix_env_of(env);
    kvp_status status = check_name(self, name);
    if (status == KVP_OK &&
        (content.size > KVP_FILE_SIZE_MAX || offset > KVP_FILE_SIZE_MAX - content.size)) {
        status = env_fail(self, KVP_BAD_ARGUMENT, name, "the content is too long");
    }
    if (status == KVP_OK) {
        status = use_file(self, name);
    }
    if (status == KVP_OK && !kvp_write_all(self->file, content.data, content.size, offset)) {
        status = env_fail_errno(self, name);
    }
    return status == KVP_OK && sync ? sync_used_file(self) : status;
}

static const char *env_error(struct kvp_env *env)
{
    return posix_env_of(env)->error;
}

static void env_free(struct posix_env *self)
{
    forget_file(self);
    if (self->lock >= 0) {
        close(self->lock);
    }
    if (self->directory >= 0) {
        close(self->directory);
    }
    free(self->path);
    free(self);
}

static void env_close(struct kvp_env *env)
{
    struct posix_env *self = posix_env_of(env);
    if (self != NULL) {
        /* Only for the eye: the number of a process that is gone helps nobody. */
        (void)!ftruncate(self->lock, 0);
        env_free(self);
    }
}

static const struct kvp_env_ops posix_env_ops = {
    .open_store = env_open_store,
    .destroy_store = env_destroy_store,
    .rename_store = env_rename_store,
    .list_stores = env_list_stores,
    .store_size = env_store_size,
    .read_file = env_read_file,
    .replace_file = env_replace_file,
    .write_at = env_write_at,
    .error = env_error,
    .close = env_close,
};

/* ---- opening ---- */

/* The same, while the directory is opened, with what can be done about it. */
static kvp_status env_fail_to_open(struct posix_env *self, const char *name)
{
    int number = errno;
    char reason[256];
    const char *advice = "";
    if (number == ENOENT) {
        advice = " (the directory above it has to be there: make it first)";
    } else if (number == ENOTDIR) {
        advice = " (a directory is wanted)";
    } else if (number == EACCES || number == EPERM || number == EROFS) {
        advice = " (who runs this has to own it, or be allowed to write there)";
    } else if (number == ENOSPC || number == EDQUOT || number == EFBIG) {
        advice = " (make room there, or raise the limit)";
    }
    (void)snprintf(reason, sizeof(reason), "%s%s", strerror(number), advice);
    return env_fail(self, number == ENOENT ? KVP_IO : kvp_status_of_errno(number), name, reason);
}

/* Makes the directory if need be, durably, and opens it. */
static kvp_status open_directory(struct posix_env *self)
{
    bool made = mkdir(self->path, 0700) == 0;
    if (!made && errno != EEXIST) {
        return env_fail_to_open(self, "");
    }
    self->directory = open(self->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (self->directory < 0) {
        return env_fail_to_open(self, "");
    }
    if (!made) {
        return KVP_OK;
    }
    int parent = openat(self->directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0) {
        return KVP_OK; /* it may be unreadable for us; then its own file system has to do */
    }
    kvp_status status = fsync(parent) == 0 ? KVP_OK : env_fail_errno(self, "..");
    close(parent);
    return status;
}

static kvp_status say_locked(struct posix_env *self)
{
    char holder[24] = "";
    ssize_t size = pread(self->lock, holder, sizeof(holder) - 1, 0);
    holder[size > 0 ? size : 0] = '\0';
    holder[strspn(holder, "0123456789")] = '\0';
    if (holder[0] == '\0') {
        return env_fail(self, KVP_LOCKED, "",
                        "in use by another process: end that, or take another directory");
    }
    char reason[96];
    (void)snprintf(reason, sizeof(reason),
                   "in use by process %s: end that, or take another directory", holder);
    return env_fail(self, KVP_LOCKED, "", reason);
}

static kvp_status take_lock(struct posix_env *self)
{
    char text[24];
    self->lock = openat(self->directory, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (self->lock < 0) {
        return env_fail_to_open(self, "LOCK");
    }
    if (flock(self->lock, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK ? say_locked(self) : env_fail_to_open(self, "LOCK");
    }
    int size = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(self->lock, 0) != 0 || !kvp_write_all(self->lock, text, (size_t)size, 0)) {
        return env_fail_to_open(self, "LOCK");
    }
    return KVP_OK;
}

kvp_status kvp_env_posix_open(const char *path, struct kvp_env **env, char *message,
                              size_t message_size)
{
    kvp_status status = KVP_NO_MEMORY;
    struct posix_env *self = calloc(1, sizeof(*self));
    if (self != NULL) {
        self->env.ops = &posix_env_ops;
        self->directory = self->lock = self->file = -1;
        self->path = strdup(path);
    }
    if (self != NULL && self->path != NULL) {
        status = open_directory(self);
        status = status == KVP_OK ? take_lock(self) : status;
    }
    if (status != KVP_OK) {
        if (message != NULL && message_size > 0) {
            bool known = self != NULL && self->error[0] != '\0';
            (void)snprintf(message, message_size, "%s", known ? self->error : kvp_strerror(status));
        }
        if (self != NULL) {
            env_free(self);
        }
        return status;
    }
    *env = &self->env;
    return KVP_OK;
}
