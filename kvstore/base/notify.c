/* SPDX-License-Identifier: Apache-2.0 */
#include "kvstore/base/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NOTIFY_SIZE 512u

/* The size of the address; 0: there is none, or it cannot be one. */
static socklen_t notify_address(struct sockaddr_un *address)
{
    const char *name = getenv("NOTIFY_SOCKET");
    size_t size = name != NULL ? strlen(name) : 0;
    if (size < 2 || size >= sizeof(address->sun_path) || (name[0] != '/' && name[0] != '@')) {
        return 0;
    }
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, name, size);
    bool abstract = name[0] == '@';
    if (abstract) {
        address->sun_path[0] = '\0';
    }
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + !abstract);
}

bool kvp_notify_wanted(void)
{
    struct sockaddr_un address;
    return notify_address(&address) != 0;
}

void kvp_notify(const char *format, ...)
{
    struct sockaddr_un address;
    socklen_t size = notify_address(&address);
    char text[NOTIFY_SIZE];
    va_list arguments;
    if (size == 0) {
        return;
    }
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && length > 0 && length < (int)sizeof(text)) {
        (void)sendto(fd, text, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL,
                     (const struct sockaddr *)&address, size);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* A whole decimal number; 0: it is none. */
static uint64_t notify_number(const char *name)
{
    const char *text = getenv(name);
    char *end = NULL;
    errno = 0;
    unsigned long long number = text != NULL ? strtoull(text, &end, 10) : 0;
    bool whole = text != NULL && text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
    return whole ? number : 0;
}

uint64_t kvp_notify_feed_us(void)
{
    bool others =
        getenv("WATCHDOG_PID") != NULL && notify_number("WATCHDOG_PID") != (uint64_t)getpid();
    return others || !kvp_notify_wanted() ? 0 : notify_number("WATCHDOG_USEC") / 2;
}
