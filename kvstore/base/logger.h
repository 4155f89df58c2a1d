/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines in logfmt, one event a line:
 *   time=2026-01-31T12:00:00.123Z level=info node=1 event=view_changed epoch=3 primary=2
 * Thread-safe: a line is written with one write(2), and dropped when that would have to wait.
 * Before the next one that goes out, a line log_lines_dropped tells how many were.
 */
#ifndef KVP_LOGGER_H
#define KVP_LOGGER_H

#include "kvpair/node_codes.h"

struct kvp_logger {
    enum kvp_log_level level; /* lines above it are not written */
    unsigned node_id;         /* 0: no node= field */
    /* Where lines go, without newline; NULL: standard error. */
    void (*sink)(void *arg, enum kvp_log_level level, const char *line);
    void *arg;
};

/* While other threads log, too. */
void kvp_logger_set_level(struct kvp_logger *logger, enum kvp_log_level level);

/* Parses "error", "warn", "info", "debug". KVP_BAD_ARGUMENT. */
kvp_status kvp_log_level_parse(const char *text, enum kvp_log_level *level);

/*
 * Writes a line. `event` is a bare word; `fields` is a printf format that makes "key=value ..."
 * (may be ""). Values with blanks, quotes, control characters or from outside go through
 * kvp_log_quote().
 */
void kvp_log(const struct kvp_logger *logger, enum kvp_log_level level, const char *event,
             const char *fields, ...) __attribute__((format(printf, 4, 5)));

/* Quotes `text` as a logfmt value into `out` (cut to fit, always terminated); returns `out`. */
const char *kvp_log_quote(char *out, size_t out_size, const char *text);

#endif
