/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/net/sp_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_BACKLOG 512

static kvp_status listen_refuse(struct sp_listener *listener, kvp_status status, const char *format,
                                ...) __attribute__((format(printf, 3, 4)));

static kvp_status listen_refuse(struct sp_listener *listener, kvp_status status, const char *format,
                                ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(listener->reason, sizeof(listener->reason), format, arguments);
    va_end(arguments);
    return status;
}

static kvp_status refuse_errno(struct sp_listener *listener, int error)
{
    switch (error) {
    case EADDRINUSE:
        return listen_refuse(listener, KVP_ADDRESS_IN_USE, "another process listens there");
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return listen_refuse(listener, KVP_UNAVAILABLE, "no address of this machine at the moment");
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE:
        return listen_refuse(listener, KVP_NO_MEMORY, "%s", strerror(error));
    default:
        return listen_refuse(listener, KVP_IO, "%s", strerror(error));
    }
}

/* Returns 0 or an errno; the socket is bound and listens then. */
static int bind_socket(int family, const struct sockaddr *name, socklen_t size, bool alone, int *fd)
{
    const int on = 1;
    int opened = sp_address_socket(family);
    if (opened < 0) {
        return errno;
    }
    bool tcp = family != AF_UNIX;
    bool v6_only = family == AF_INET6 && !alone; /* the others are listened on, too */
    if ((tcp && setsockopt(opened, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) ||
        (v6_only && setsockopt(opened, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0) ||
        bind(opened, name, size) != 0 || listen(opened, LISTEN_BACKLOG) != 0) {
        int error = errno;
        (void)close(opened);
        return error;
    }
    *fd = opened;
    return 0;
}

/* ---- tcp ---- */

static uint16_t *port_of(struct sockaddr *name)
{
    return name->sa_family == AF_INET6 ? &((struct sockaddr_in6 *)name)->sin6_port
                                       : &((struct sockaddr_in *)name)->sin_port;
}

static bool bound_port(int fd, uint16_t *port)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof(name);
    if (getsockname(fd, (struct sockaddr *)&name, &size) != 0) {
        return false;
    }
    *port = *port_of((struct sockaddr *)&name);
    return true;
}

/* The resolver may name an address twice. */
static bool is_repeated(const struct addrinfo *found, const struct addrinfo *info)
{
    while (found != info && (found->ai_addrlen != info->ai_addrlen ||
                             memcmp(found->ai_addr, info->ai_addr, info->ai_addrlen) != 0)) {
        found = found->ai_next;
    }
    return found != info;
}

/*
 * A host may have an address of a kind that is switched off here, ::1 of "localhost" without IPv6:
 * such are passed over. Any other failure counts, or a second process would listen beside the
 * first. The port that the system chose at the first address is taken at the others, unless
 * somebody has it there.
 */
static int bind_all(struct addrinfo *found, struct sp_listener *listener, uint16_t *port)
{
    bool chosen = *port_of(found->ai_addr) == 0;
    int passed = EADDRNOTAVAIL;
    for (struct addrinfo *info = found; info != NULL; info = info->ai_next) {
        if (is_repeated(found, info) || listener->count == SP_LISTENERS_MAX) {
            continue;
        }
        if (listener->count > 0) {
            *port_of(info->ai_addr) = *port;
        }
        int error = bind_socket(info->ai_family, info->ai_addr, info->ai_addrlen,
                                found->ai_next == NULL, &listener->fds[listener->count]);
        if (error == 0 && !bound_port(listener->fds[listener->count], port)) {
            return errno;
        }
        listener->count += error == 0 ? 1 : 0;
        bool foreign = error == EADDRNOTAVAIL || error == EAFNOSUPPORT;
        if (error != 0 && !foreign && !(chosen && listener->count > 0)) {
            return error;
        }
    }
    return listener->count > 0 ? 0 : passed;
}

static kvp_status listen_tcp(const struct sp_address *address, struct sp_listener *listener)
{
    struct addrinfo *found = NULL;
    uint16_t port = 0;
    int failure = sp_address_resolve(address, true, &found);
    if (failure != 0) {
        bool known = failure != EAI_SYSTEM && failure != EAI_MEMORY;
        return listen_refuse(listener, failure == EAI_MEMORY ? KVP_NO_MEMORY : KVP_UNAVAILABLE,
                             "the host name cannot be resolved: %s",
                             known ? gai_strerror(failure) : strerror(errno));
    }
    int error = bind_all(found, listener, &port);
    freeaddrinfo(found);
    if (error != 0) {
        return refuse_errno(listener, error);
    }
    bool bracketed = strchr(address->name, ':') != NULL;
    (void)snprintf(listener->url, sizeof(listener->url), "%stcp://%s%s%s:%u",
                   address->tls ? "tls+" : "", bracketed ? "[" : "",
                   address->name[0] != '\0' ? address->name : "0.0.0.0", bracketed ? "]" : "",
                   (unsigned)ntohs(port));
    return KVP_OK;
}

/* ---- ipc, inproc ---- */

static bool is_deserted(const struct sockaddr_un *name, socklen_t size)
{
    int fd = sp_address_socket(AF_UNIX);
    bool refused =
        fd >= 0 && connect(fd, (const struct sockaddr *)name, size) != 0 && errno == ECONNREFUSED;
    if (fd >= 0) {
        (void)close(fd);
    }
    return refused;
}

static const char *kind_of_file(mode_t mode)
{
    return S_ISREG(mode)    ? "a file"
           : S_ISDIR(mode)  ? "a directory"
           : S_ISLNK(mode)  ? "a symbolic link"
           : S_ISFIFO(mode) ? "a fifo"
                            : "a device";
}

static void close_directory(int fd)
{
    if (fd >= 0) {
        (void)close(fd); /* and unlocks it */
    }
}

/* Something is at the path. True: it was a socket that nobody listens on, and is gone. */
static bool remove_deserted(const char *path, const struct sockaddr_un *name, socklen_t size,
                            struct sp_listener *listener, kvp_status *status)
{
    struct stat about;
    if (lstat(path, &about) != 0) {
        bool gone = errno == ENOENT; /* by itself */
        *status = refuse_errno(listener, errno);
        return gone;
    }
    if (!S_ISSOCK(about.st_mode)) {
        *status =
            listen_refuse(listener, KVP_ADDRESS_IN_USE,
                          "%s stands there, which is not touched: remove it or choose another path",
                          kind_of_file(about.st_mode));
        return false;
    }
    if (!is_deserted(name, size)) {
        *status = refuse_errno(listener, EADDRINUSE);
        return false;
    }
    bool removed = unlink(path) == 0;
    *status = removed ? KVP_OK : refuse_errno(listener, errno);
    return removed;
}

/* The directory is locked meanwhile: a second process that starts now must not remove what the
 * first has put there after it looked. */
static bool listen_make_room(const char *path, const struct sockaddr_un *name, socklen_t size,
                             struct sp_listener *listener, kvp_status *status)
{
    char directory[KVP_URL_SIZE_MAX + 1];
    (void)snprintf(directory, sizeof(directory), "%s", path);
    int fd = open(dirname(directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        *status = refuse_errno(listener, errno);
        close_directory(fd);
        return false;
    }
    bool removed = remove_deserted(path, name, size, listener, status);
    close_directory(fd);
    return removed;
}

static void remember_file(const char *path, struct sp_listener *listener)
{
    struct stat about;
    if (lstat(path, &about) == 0 && S_ISSOCK(about.st_mode)) {
        listener->device = about.st_dev;
        listener->inode = about.st_ino;
    }
}

/* The socket gets its path when it listens already, or a second process that starts at the same
 * time would take it for a deserted one. Returns 0 or an errno. */
static int bind_beside(const struct sp_address *address, struct sp_listener *listener)
{
    struct sp_address beside = {.kind = SP_ADDRESS_IPC};
    struct sockaddr_un name;
    socklen_t size;
    int printed =
        snprintf(beside.name, sizeof(beside.name), "%s~%ld", address->name, (long)getpid());
    if (printed >= (int)sizeof(beside.name) || sp_address_unix(&beside, &name, &size) != KVP_OK) {
        return ENAMETOOLONG;
    }
    int error = bind_socket(AF_UNIX, (const struct sockaddr *)&name, size, true, listener->fds);
    if (error != 0) {
        return error == EADDRINUSE ? EIO : error; /* left by a process with our id: unheard of */
    }
    remember_file(beside.name, listener);
    error = link(beside.name, address->name) == 0 ? 0 : errno;
    (void)unlink(beside.name);
    if (error != 0) {
        (void)close(listener->fds[0]);
    }
    return error == EEXIST ? EADDRINUSE : error;
}

static int bind_unix(const struct sp_address *address, const struct sockaddr_un *name,
                     socklen_t size, struct sp_listener *listener)
{
    int error = address->kind == SP_ADDRESS_IPC ? bind_beside(address, listener) : ENAMETOOLONG;
    if (error == ENAMETOOLONG) {
        error = bind_socket(AF_UNIX, (const struct sockaddr *)name, size, true, listener->fds);
        remember_file(address->name, listener);
    }
    return error;
}

static kvp_status listen_unix(const struct sp_address *address, struct sp_listener *listener)
{
    bool file = address->kind == SP_ADDRESS_IPC;
    struct sockaddr_un name;
    socklen_t size;
    kvp_status status = sp_address_unix(address, &name, &size);
    if (status != KVP_OK) {
        return listen_refuse(listener, status, "the path is too long");
    }
    int error = bind_unix(address, &name, size, listener);
    if (error == EADDRINUSE && file) {
        if (!listen_make_room(address->name, &name, size, listener, &status)) {
            return status;
        }
        error = bind_unix(address, &name, size, listener);
    }
    if (error != 0) {
        return refuse_errno(listener, error);
    }
    listener->count = 1;
    (void)snprintf(listener->path, sizeof(listener->path), "%s", file ? address->name : "");
    (void)snprintf(listener->url, sizeof(listener->url), "%s%s", file ? "ipc://" : "inproc://",
                   address->name);
    return KVP_OK;
}

/* ---- both ---- */

kvp_status sp_listen_open(const struct sp_address *address, struct sp_listener *listener)
{
    memset(listener, 0, sizeof(*listener));
    kvp_status status = address->kind == SP_ADDRESS_TCP ? listen_tcp(address, listener)
                                                        : listen_unix(address, listener);
    if (status != KVP_OK) {
        sp_listen_close(listener);
    }
    return status;
}

void sp_listen_close(struct sp_listener *listener)
{
    struct stat about;
    if (listener->path[0] != '\0' && lstat(listener->path, &about) == 0 &&
        about.st_dev == listener->device && about.st_ino == listener->inode) {
        (void)unlink(listener->path);
    }
    listener->path[0] = '\0';
    for (; listener->count > 0; listener->count--) {
        (void)close(listener->fds[listener->count - 1]);
    }
}
