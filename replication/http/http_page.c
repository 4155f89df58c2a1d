/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/http/http_page.h"

#include <stdarg.h>
#include <stdio.h>

#define HTTP_LINE_SIZE 1024u

void kvp_http_print(kvp_buf *out, const char *format, ...)
{
    char line[HTTP_LINE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (size > 0) {
        (void)kvp_buf_append(out, line, size < (int)sizeof(line) ? (size_t)size : sizeof(line) - 1);
    }
}

void kvp_http_judge(struct kvp_http_answer *answer, const struct kvp_http_check *checks,
                    unsigned count, bool verbose)
{
    const struct kvp_http_check *bad = NULL;
    for (unsigned i = 0; i < count; i++) {
        const struct kvp_http_check *check = &checks[i];
        bad = bad != NULL || check->good ? bad : check;
        if (verbose) {
            kvp_http_print(&answer->body, "[%c]%s%s%s\n", check->good ? '+' : '-', check->name,
                           check->why[0] ? ": " : " ok", check->why);
        }
    }
    answer->code = bad != NULL ? 503 : 200;
    if (bad == NULL) {
        kvp_http_print(&answer->body, "ok\n");
    } else if (verbose) {
        kvp_http_print(&answer->body, "failed\n");
    } else {
        kvp_http_print(&answer->body, "%s: %s\n", bad->name, bad->why);
    }
}

void kvp_http_unknown(struct kvp_http_answer *answer)
{
    answer->code = 404;
    kvp_http_print(&answer->body, "there are /metrics, /livez, /readyz (both with ?verbose), "
                                  "/api/v1/status; at nodes also / for browsers, "
                                  "/api/v1/jobs, /api/v1/workers, /api/v1/pages\n");
}

void kvp_http_refuse(struct kvp_http_answer *answer, const char *why)
{
    answer->code = 503;
    kvp_http_print(&answer->body, "%s\n", why);
}
