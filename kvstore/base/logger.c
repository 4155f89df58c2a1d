/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines in logfmt. A line is put together on the stack and leaves with one write(2), so that
 * lines of several threads and processes do not mix.
 *
 * Who logs must not wait for who reads: a line for which standard error has no room at the moment
 * is dropped and counted. A pipe that poll(2) calls writable takes PIPE_BUF bytes at once, so a
 * write of less does not wait either, as long as this process is the only one that writes into it.
 */
#include "kvstore/base/logger.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_SIZE  1024
#define WRITE_SIZE (2 * (LINE_SIZE + 1)) /* the line before it tells how many were dropped */

static_assert(WRITE_SIZE <= PIPE_BUF, "a line must fit into a pipe at once");

kvp_status kvp_log_level_parse(const char *text, enum kvp_log_level *level)
{
    for (enum kvp_log_level i = KVP_LOG_ERROR; i <= KVP_LOG_DEBUG; i++) {
        if (strcmp(text, kvp_log_level_name(i)) == 0) {
            *level = i;
            return KVP_OK;
        }
    }
    return KVP_BAD_ARGUMENT;
}

void kvp_logger_set_level(struct kvp_logger *logger, enum kvp_log_level level)
{
    __atomic_store_n(&logger->level, level, __ATOMIC_RELAXED);
}

/* What is left of a buffer, and where: snprintf may count more than it has written. */
static size_t logger_advance(size_t used, int printed, size_t size)
{
    if (printed < 0) {
        return used;
    }
    size_t after = used + (size_t)printed;
    return after < size ? after : size - 1;
}

static size_t print_head(char *line, size_t size, const struct kvp_logger *logger,
                         enum kvp_log_level level, const char *event)
{
    struct timespec now = {0};
    struct tm utc = {0};
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    size_t used = strftime(line, size, "time=%Y-%m-%dT%H:%M:%S", &utc);
    used = logger_advance(used,
                          snprintf(line + used, size - used, ".%03dZ level=%s",
                                   (int)(now.tv_nsec / 1000000), kvp_log_level_name(level)),
                          size);
    if (logger->node_id != 0) {
        used = logger_advance(used, snprintf(line + used, size - used, " node=%u", logger->node_id),
                              size);
    }
    return logger_advance(used, snprintf(line + used, size - used, " event=%s", event), size);
}

/* A line must stay one line, whatever a caller lets through. */
static void flatten(char *line, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = '?';
        }
    }
}

/* Guards what follows, and the time between looking for room and writing. */
static pthread_mutex_t output_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long long dropped; /* lines, since the last one that went out */

static bool has_room(void)
{
    struct pollfd output = {.fd = STDERR_FILENO, .events = POLLOUT};
    int ready;
    do {
        ready = poll(&output, 1, 0);
    } while (ready < 0 && errno == EINTR);
    return ready > 0 && (output.revents & POLLOUT) != 0;
}

static bool logger_write_out(const char *text, size_t size)
{
    ssize_t written;
    do {
        written = write(STDERR_FILENO, text, size);
    } while (written < 0 && errno == EINTR);
    return written == (ssize_t)size;
}

/* The line is without newline. */
static void put_out(const struct kvp_logger *logger, const char *line, size_t size)
{
    char text[WRITE_SIZE];
    size_t used = 0;
    pthread_mutex_lock(&output_lock);
    if (dropped > 0) {
        used = print_head(text, LINE_SIZE, logger, KVP_LOG_WARN, "log_lines_dropped");
        used = logger_advance(used, snprintf(text + used, LINE_SIZE - used, " count=%llu", dropped),
                              LINE_SIZE);
        text[used++] = '\n';
    }
    memcpy(text + used, line, size);
    used += size;
    text[used++] = '\n';
    dropped = has_room() && logger_write_out(text, used) ? 0 : dropped + 1;
    pthread_mutex_unlock(&output_lock);
}

void kvp_log(const struct kvp_logger *logger, enum kvp_log_level level, const char *event,
             const char *fields, ...)
{
    if (level > __atomic_load_n(&logger->level, __ATOMIC_RELAXED)) {
        return;
    }
    char line[LINE_SIZE];
    size_t used = print_head(line, LINE_SIZE, logger, level, event);
    if (used + 1 < LINE_SIZE) {
        va_list args;
        size_t blank = used;
        line[used++] = ' ';
        va_start(args, fields);
        used =
            logger_advance(used, vsnprintf(line + used, LINE_SIZE - used, fields, args), LINE_SIZE);
        va_end(args);
        used = used == blank + 1 ? blank : used; /* no fields, no blank */
    }
    flatten(line, used);
    line[used] = '\0';
    if (logger->sink != NULL) {
        logger->sink(logger->arg, level, line);
    } else {
        put_out(logger, line, used);
    }
}

static bool is_bare(const char *text)
{
    if (text[0] == '\0') {
        return false;
    }
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        if (*c <= ' ' || *c == '"' || *c == '=' || *c == '\\' || *c == 0x7f) {
            return false;
        }
    }
    return true;
}

/* How `c` is written between quotes: up to four characters. */
static size_t escape(char out[5], unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    if (c == '"' || c == '\\') {
        out[0] = '\\';
        out[1] = (char)c;
        return 2;
    }
    if (c == '\n' || c == '\r' || c == '\t') {
        out[0] = '\\';
        out[1] = c == '\n' ? 'n' : c == '\r' ? 'r' : 't';
        return 2;
    }
    if (c < 0x20 || c == 0x7f) {
        memcpy(out, "\\x", 2);
        out[2] = digits[c >> 4];
        out[3] = digits[c & 15];
        return 4;
    }
    out[0] = (char)c;
    return 1;
}

const char *kvp_log_quote(char *out, size_t out_size, const char *text)
{
    if (out_size == 0) {
        return "";
    }
    if (is_bare(text)) {
        (void)snprintf(out, out_size, "%s", text);
        return out;
    }
    if (out_size < 3) {
        out[0] = '\0';
        return out;
    }
    size_t used = 0;
    out[used++] = '"';
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        char escaped[5];
        size_t size = escape(escaped, *c);
        if (used + size > out_size - 2) {
            break; /* room for the closing quote and the end */
        }
        memcpy(out + used, escaped, size);
        used += size;
    }
    out[used++] = '"';
    out[used] = '\0';
    return out;
}
