/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/net/sp_address.h"

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

#define KEEPALIVE_IDLE_S  10 /* a silent peer is gone after 10 + 3 * 5 s */
#define KEEPALIVE_EVERY_S 5
#define KEEPALIVE_COUNT   3
#define UNACKNOWLEDGED_MS 20000 /* so long may sent bytes stay without acknowledgement */

static bool address_starts_with(const char *text, const char *prefix)
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

kvp_status sp_address_unix(const struct sp_address *address, struct sockaddr_un *name,
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
    return sp_address_unix(address, &name, &size);
}

kvp_status sp_address_parse(const char *url, struct sp_address *address)
{
    if (url == NULL || strlen(url) > KVP_URL_SIZE_MAX) {
        return KVP_BAD_ARGUMENT;
    }
    struct sp_address parsed = {0};
    kvp_status status = KVP_BAD_ARGUMENT;
    if (address_starts_with(url, "tcp://")) {
        parsed.kind = SP_ADDRESS_TCP;
        status = parse_tcp(url + strlen("tcp://"), &parsed);
    } else if (address_starts_with(url, "tls+tcp://")) {
        parsed.kind = SP_ADDRESS_TCP;
        parsed.tls = true;
        status = parse_tcp(url + strlen("tls+tcp://"), &parsed);
    } else if (address_starts_with(url, "ipc://")) {
        parsed.kind = SP_ADDRESS_IPC;
        status = parse_unix(url + strlen("ipc://"), &parsed);
    } else if (address_starts_with(url, "inproc://")) {
        parsed.kind = SP_ADDRESS_INPROC;
        status = parse_unix(url + strlen("inproc://"), &parsed);
    }
    if (status == KVP_OK) {
        *address = parsed;
    }
    return status;
}

int sp_address_resolve(const struct sp_address *address, bool listening, struct addrinfo **found)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    bool any = address->name[0] == '\0';
    if (any) {
        hints.ai_family = AF_INET;
    }
    hints.ai_flags = AI_NUMERICSERV | (listening ? AI_PASSIVE : 0);
    return getaddrinfo(any ? NULL : address->name, address->port, &hints, found);
}

int sp_address_socket(int family)
{
    return socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

const char *sp_address_reason(int error)
{
    const char *text = error == ECONNREFUSED ? "connection refused: nobody listens there"
                       : error == ENOENT     ? "nothing is at that path"
                       : error == ETIMEDOUT  ? "no answer in time"
                                             : strerrordesc_np(error);
    return text == NULL ? "it cannot be reached" : text;
}

static kvp_status begin_connect(int family, const struct sockaddr *name, socklen_t size, int *fd,
                                const char **reason)
{
    int opened = sp_address_socket(family);
    if (opened >= 0 &&
        (connect(opened, name, size) == 0 || errno == EINPROGRESS || errno == EINTR)) {
        *fd = opened;
        return KVP_OK;
    }
    *reason = sp_address_reason(errno);
    if (opened >= 0) {
        (void)close(opened);
    }
    return KVP_UNAVAILABLE;
}

static kvp_status address_connect_tcp(const struct sp_address *address, unsigned attempt, int *fd,
                                      const char **reason)
{
    struct addrinfo *found = NULL;
    int failure = sp_address_resolve(address, false, &found);
    if (failure != 0) {
        *reason = failure == EAI_NONAME || failure == EAI_NODATA
                      ? "the host name is not known"
                      : "the host name cannot be resolved at the moment";
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
    kvp_status status =
        begin_connect(picked->ai_family, picked->ai_addr, picked->ai_addrlen, fd, reason);
    freeaddrinfo(found);
    return status;
}

kvp_status sp_address_connect(const struct sp_address *address, unsigned attempt, int *fd,
                              const char **reason)
{
    if (address->kind == SP_ADDRESS_TCP) {
        return address_connect_tcp(address, attempt, fd, reason);
    }
    struct sockaddr_un name;
    socklen_t size;
    kvp_status status = sp_address_unix(address, &name, &size);
    if (status != KVP_OK) {
        return status;
    }
    return begin_connect(AF_UNIX, (const struct sockaddr *)&name, size, fd, reason);
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
