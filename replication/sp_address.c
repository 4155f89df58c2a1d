/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/sp_address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_BACKLOG    512
#define KEEPALIVE_IDLE_S  10 /* a silent peer is gone after 10 + 3 * 5 s */
#define KEEPALIVE_EVERY_S 5
#define KEEPALIVE_COUNT   3
#define UNACKNOWLEDGED_MS 20000 /* so long may sent bytes stay without acknowledgement */

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool port_is_sound(const char *port)
{
    size_t digits = strspn(port, "0123456789");
    return digits > 0 && digits <= 5 && port[digits] == '\0' && strtoul(port, NULL, 10) <= 65535;
}

/* HOST:PORT, with an IPv6 host in brackets. */
static kvp_status parse_tcp(const char *text, struct sp_address *address)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || !port_is_sound(colon + 1)) {
        return KVP_BAD_ARGUMENT;
    }
    const char *host = text;
    size_t size = (size_t)(colon - text);
    bool bracketed = size >= 2 && host[0] == '[' && host[size - 1] == ']';
    if (bracketed) {
        host++;
        size -= 2;
    } else if (memchr(host, ':', size) != NULL) {
        return KVP_BAD_ARGUMENT;
    }
    if (memchr(host, '/', size) != NULL || (bracketed && size == 0)) {
        return KVP_BAD_ARGUMENT;
    }
    if (size == 1 && host[0] == '*') {
        size = 0;
    }
    memcpy(address->name, host, size);
    address->name[size] = '\0';
    (void)snprintf(address->port, sizeof(address->port), "%s", colon + 1);
    return KVP_OK;
}

static kvp_status fill_unix(const struct sp_address *address, struct sockaddr_un *name,
                            socklen_t *size)
{
    memset(name, 0, sizeof(*name));
    name->sun_family = AF_UNIX;
    int printed;
    if (address->kind == SP_ADDRESS_IPC) {
        printed = snprintf(name->sun_path, sizeof(name->sun_path), "%s", address->name);
    } else {
        printed = snprintf(name->sun_path, sizeof(name->sun_path), "@kvpair/%ld/%s", (long)getpid(),
                           address->name);
    }
    if (printed <= 0 || (size_t)printed >= sizeof(name->sun_path)) {
        return KVP_BAD_ARGUMENT;
    }
    if (address->kind == SP_ADDRESS_INPROC) {
        name->sun_path[0] = '\0'; /* makes the name abstract */
    }
    *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)printed);
    return KVP_OK;
}

static kvp_status parse_unix(const char *text, struct sp_address *address)
{
    struct sockaddr_un name;
    socklen_t size;
    if (text[0] == '\0') {
        return KVP_BAD_ARGUMENT;
    }
    (void)snprintf(address->name, sizeof(address->name), "%s", text);
    return fill_unix(address, &name, &size);
}

kvp_status sp_address_parse(const char *url, struct sp_address *address)
{
    if (url == NULL || strlen(url) > KVP_URL_SIZE_MAX) {
        return KVP_BAD_ARGUMENT;
    }
    struct sp_address parsed = {0};
    kvp_status status = KVP_BAD_ARGUMENT;
    if (starts_with(url, "tcp://")) {
        parsed.kind = SP_ADDRESS_TCP;
        status = parse_tcp(url + strlen("tcp://"), &parsed);
    } else if (starts_with(url, "ipc://")) {
        parsed.kind = SP_ADDRESS_IPC;
        status = parse_unix(url + strlen("ipc://"), &parsed);
    } else if (starts_with(url, "inproc://")) {
        parsed.kind = SP_ADDRESS_INPROC;
        status = parse_unix(url + strlen("inproc://"), &parsed);
    }
    if (status == KVP_OK) {
        *address = parsed;
    }
    return status;
}

static kvp_status status_of_errno(int error)
{
    switch (error) {
    case EADDRINUSE:
        return KVP_ADDRESS_IN_USE;
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return KVP_BAD_ARGUMENT;
    case ENOMEM:
    case ENOBUFS:
        return KVP_NO_MEMORY;
    default:
        return KVP_IO;
    }
}

static struct addrinfo *resolve(const struct sp_address *address, bool listening)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    struct addrinfo *found = NULL;
    bool any = address->name[0] == '\0';
    if (any) {
        hints.ai_family = AF_INET;
    }
    hints.ai_flags = AI_NUMERICSERV | (listening ? AI_PASSIVE : 0);
    return getaddrinfo(any ? NULL : address->name, address->port, &hints, &found) == 0 ? found
                                                                                       : NULL;
}

static int open_socket(int family)
{
    return socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static kvp_status bind_and_listen(int family, const struct sockaddr *name, socklen_t size, int *fd)
{
    const int on = 1;
    int opened = open_socket(family);
    if (opened < 0) {
        return status_of_errno(errno);
    }
    if ((family != AF_UNIX && setsockopt(opened, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) ||
        bind(opened, name, size) != 0 || listen(opened, LISTEN_BACKLOG) != 0) {
        kvp_status status = status_of_errno(errno);
        (void)close(opened);
        return status;
    }
    *fd = opened;
    return KVP_OK;
}

static kvp_status bound_port(int fd, unsigned *port)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof(name);
    if (getsockname(fd, (struct sockaddr *)&name, &size) != 0) {
        return KVP_IO;
    }
    *port = name.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&name)->sin6_port)
                                       : ntohs(((struct sockaddr_in *)&name)->sin_port);
    return KVP_OK;
}

/* A host may have an address of a kind that is switched off here, ::1 of "localhost" without IPv6:
 * such are passed over. Any other failure counts, or a second process would listen beside the
 * first. */
static kvp_status bind_first(const struct addrinfo *found, int *fd)
{
    kvp_status status = KVP_BAD_ARGUMENT;
    for (; found != NULL && status == KVP_BAD_ARGUMENT; found = found->ai_next) {
        status = bind_and_listen(found->ai_family, found->ai_addr, found->ai_addrlen, fd);
    }
    return status;
}

static kvp_status listen_tcp(const struct sp_address *address, int *fd, char *url, size_t url_size)
{
    struct addrinfo *found = resolve(address, true);
    if (found == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    int opened;
    unsigned port;
    kvp_status status = bind_first(found, &opened);
    freeaddrinfo(found);
    if (status != KVP_OK) {
        return status;
    }
    status = bound_port(opened, &port);
    if (status != KVP_OK) {
        (void)close(opened);
        return status;
    }
    bool bracketed = strchr(address->name, ':') != NULL;
    (void)snprintf(url, url_size, "tcp://%s%s%s:%u", bracketed ? "[" : "",
                   address->name[0] != '\0' ? address->name : "0.0.0.0", bracketed ? "]" : "",
                   port);
    *fd = opened;
    return KVP_OK;
}

/* A socket file that nobody listens on is what a crash left. */
static void remove_stale(const struct sockaddr_un *name, socklen_t size)
{
    int fd = open_socket(AF_UNIX);
    if (fd < 0) {
        return;
    }
    if (connect(fd, (const struct sockaddr *)name, size) != 0 && errno == ECONNREFUSED) {
        (void)unlink(name->sun_path);
    }
    (void)close(fd);
}

kvp_status sp_address_listen(const struct sp_address *address, int *fd, char *url, size_t url_size)
{
    if (address->kind == SP_ADDRESS_TCP) {
        return listen_tcp(address, fd, url, url_size);
    }
    struct sockaddr_un name;
    socklen_t size;
    kvp_status status = fill_unix(address, &name, &size);
    if (status != KVP_OK) {
        return status;
    }
    if (address->kind == SP_ADDRESS_IPC) {
        remove_stale(&name, size);
    }
    status = bind_and_listen(AF_UNIX, (const struct sockaddr *)&name, size, fd);
    if (status == KVP_OK) {
        (void)snprintf(url, url_size, "%s%s",
                       address->kind == SP_ADDRESS_IPC ? "ipc://" : "inproc://", address->name);
    }
    return status;
}

static kvp_status begin_connect(int family, const struct sockaddr *name, socklen_t size, int *fd)
{
    int opened = open_socket(family);
    if (opened < 0) {
        return KVP_UNAVAILABLE;
    }
    if (connect(opened, name, size) != 0 && errno != EINPROGRESS && errno != EINTR) {
        (void)close(opened);
        return KVP_UNAVAILABLE;
    }
    *fd = opened;
    return KVP_OK;
}

static kvp_status connect_tcp(const struct sp_address *address, unsigned attempt, int *fd)
{
    struct addrinfo *found = resolve(address, false);
    if (found == NULL) {
        return KVP_UNAVAILABLE;
    }
    unsigned count = 0;
    for (struct addrinfo *info = found; info != NULL; info = info->ai_next) {
        count++;
    }
    struct addrinfo *picked = found;
    for (unsigned skip = attempt % count; skip > 0; skip--) {
        picked = picked->ai_next;
    }
    kvp_status status = begin_connect(picked->ai_family, picked->ai_addr, picked->ai_addrlen, fd);
    freeaddrinfo(found);
    return status;
}

kvp_status sp_address_connect(const struct sp_address *address, unsigned attempt, int *fd)
{
    if (address->kind == SP_ADDRESS_TCP) {
        return connect_tcp(address, attempt, fd);
    }
    struct sockaddr_un name;
    socklen_t size;
    kvp_status status = fill_unix(address, &name, &size);
    if (status != KVP_OK) {
        return status;
    }
    return begin_connect(AF_UNIX, (const struct sockaddr *)&name, size, fd);
}

static void set_option(int fd, int level, int option, int value)
{
    /* Best effort: a connection without it works as well, if less promptly. */
    (void)setsockopt(fd, level, option, &value, sizeof(value));
}

void sp_address_tune(const struct sp_address *address, int fd)
{
    if (address->kind != SP_ADDRESS_TCP) {
        return;
    }
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_EVERY_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS);
}

void sp_address_forget(const struct sp_address *address)
{
    if (address->kind == SP_ADDRESS_IPC) {
        (void)unlink(address->name);
    }
}
