/* SPDX-License-Identifier: Apache-2.0 */
/* What the pages of all programs are made with. */
#ifndef KVP_HTTP_PAGE_H
#define KVP_HTTP_PAGE_H

#include "replication/http/http_server.h"

#define KVP_HTTP_WHY_SIZE 256u

/* One thing that /livez or /readyz looks at. */
struct kvp_http_check {
    const char *name;
    bool good;
    char why[KVP_HTTP_WHY_SIZE]; /* it is not, and what to do; or what there is to say of it */
};

/* Appends text; where memory is short, less of it. */
void kvp_http_print(kvp_buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* 200 if all are good, else 503 and the first reason; `verbose`: a line for each. */
void kvp_http_judge(struct kvp_http_answer *answer, const struct kvp_http_check *checks,
                    unsigned count, bool verbose);
/* The type of /metrics. */
extern const char kvp_http_metrics_type[];
/* The two lines that come before a metric's values. */
void kvp_http_metric(kvp_buf *out, const char *name, const char *type, const char *help);
/* A metric with one value. */
void kvp_http_gauge(kvp_buf *out, const char *name, const char *help, double value);
void kvp_http_counter(kvp_buf *out, const char *name, const char *help, double value);
/* What Prometheus expects of every process, and kvpair_build_info. */
void kvp_http_process_metrics(kvp_buf *out);
/* The page for people. */
void kvp_http_browse(struct kvp_http_answer *answer);
/* 404, with the paths that there are. */
void kvp_http_unknown(struct kvp_http_answer *answer);
/* 503 with a reason. */
void kvp_http_refuse(struct kvp_http_answer *answer, const char *why);

#endif
