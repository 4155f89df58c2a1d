/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/node/kvnode_http.h"

#include "kvpair/job_codes.h"
#include "kvstore/base/clock.h"
#include "replication/http/http_page.h"
#include "replication/node/kvnode_metrics.h"
#include "replication/node/node_eyes.h"

#include <cjson/cJSON.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_WAIT_MS 1000u
#define STATUS_AGE_US  100000u  /* so often at most the loop thread is asked */
#define LOOP_STUCK_US  3000000u /* it is never at one thing for a hundredth of that */
#define READY_CHECKS   4u

/* What the loop thread has said last. */
struct http_told {
    kvp_status status;
    kvp_buf text;
    uint64_t asked_us;
};

struct kvnode_http {
    struct kvp_http_server *server;
    const char *others; /* the pages of the other nodes, with commas between */
    _Atomic(kvp_node *) node;
    /* Of the server's thread. */
    struct http_told about, jobs, workers;
};

/* ---- the status ---- */

/* Asks anew when the last answer is old. False: there is none. */
static bool http_refresh(struct kvnode_http *http, struct http_told *told)
{
    kvp_node *node = atomic_load(&http->node);
    uint64_t now_us = kvp_clock_now_us();
    if (told->asked_us == 0 || now_us - told->asked_us > STATUS_AGE_US) {
        told->text.size = 0;
        if (node == NULL) {
            told->status = KVP_UNAVAILABLE;
        } else if (told == &http->about) {
            told->status = node_eyes_status(node, STATUS_WAIT_MS, &told->text);
        } else {
            unsigned what = told == &http->jobs ? KVP_INFO_JOBS : KVP_INFO_WORKERS;
            told->status = node_eyes_work(node, what, STATUS_WAIT_MS, &told->text);
        }
        told->asked_us = node != NULL ? kvp_clock_now_us() : 0;
    }
    return told->status == KVP_OK;
}

static const char *http_reason(const struct kvnode_http *http, const struct http_told *told)
{
    if (atomic_load(&http->node) == NULL) {
        return "the node is starting: its data is being opened";
    }
    return told->status == KVP_TIMEOUT ? "the loop thread has not answered within a second"
                                       : kvp_strerror(told->status);
}

static void http_show_told(struct kvnode_http *http, struct http_told *told,
                           struct kvp_http_answer *answer)
{
    if (!http_refresh(http, told)) {
        kvp_http_refuse(answer, http_reason(http, told));
        return;
    }
    answer->type = "application/json";
    (void)kvp_buf_append(&answer->body, told->text.data, told->text.size);
    kvp_http_print(&answer->body, "\n");
}

/* An array of strings: the addresses have nothing that would have to be escaped. */
static void http_show_pages(const struct kvnode_http *http, struct kvp_http_answer *answer)
{
    const char *at = http->others;
    answer->type = "application/json";
    kvp_http_print(&answer->body, "[");
    while (*at != '\0') {
        size_t size = strcspn(at, ",");
        kvp_http_print(&answer->body, "%s\"%.*s\"", at == http->others ? "" : ",", (int)size, at);
        at += size + (at[size] == ',');
    }
    kvp_http_print(&answer->body, "]\n");
}

/* NULL, or what is not the address of a page in a list. */
static const char *http_wrong_other(const char *list)
{
    static const char scheme[] = "http://";
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  ".-:[]";
    for (const char *at = list; *at != '\0';) {
        size_t size = strcspn(at, ","), prefix = sizeof(scheme) - 1;
        if (size <= prefix || strncmp(at, scheme, prefix) != 0 ||
            strspn(at + prefix, letters) < size - prefix) {
            return at;
        }
        at += size + (at[size] == ',');
    }
    return NULL;
}

/* ---- is it alive ---- */

static struct kvp_http_check http_check_loop(const struct kvnode_http *http)
{
    struct kvp_http_check check = {.name = "loop", .good = true};
    const kvp_node *node = atomic_load(&http->node);
    uint64_t busy_us = node != NULL ? node_eyes_loop_busy_us(node) : 0;
    if (busy_us > LOOP_STUCK_US) {
        check.good = false;
        (void)snprintf(
            check.why, sizeof(check.why),
            "the loop thread has been at one thing, or asleep, for %.1f s: restart this node, "
            "and "
            "report it with a core dump",
            (double)busy_us / 1e6);
    }
    return check;
}

static void http_show_live(struct kvnode_http *http, bool verbose, struct kvp_http_answer *answer)
{
    struct kvp_http_check check = http_check_loop(http);
    kvp_http_judge(answer, &check, 1, verbose);
}

/* ---- is it ready ---- */

static const char *http_text(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text != NULL ? text : "";
}

static double http_number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static bool http_is_true(const cJSON *object, const char *name)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static bool http_hears(const cJSON *status, double id)
{
    const cJSON *peer;
    cJSON_ArrayForEach(peer, cJSON_GetObjectItemCaseSensitive(status, "peers"))
    {
        if (http_number(peer, "id") == id) {
            return http_is_true(peer, "connected");
        }
    }
    return false;
}

static bool http_in_sync(const cJSON *status)
{
    const cJSON *member;
    double self = http_number(status, "node");
    cJSON_ArrayForEach(member, cJSON_GetObjectItemCaseSensitive(status, "in_sync"))
    {
        if (member->valuedouble == self) {
            return true;
        }
    }
    return false;
}

/* It serves, or follows in sync one that it hears. */
static struct kvp_http_check http_check_role(const cJSON *status)
{
    struct kvp_http_check check = {.name = "role", .good = http_is_true(status, "serving")};
    const char *role = http_text(status, "role"), *why = http_text(status, "why");
    double primary = http_number(status, "primary");
    if (check.good) {
        (void)snprintf(check.why, sizeof(check.why), "%s, serving", role);
    } else if (strcmp(role, "backup") != 0) {
        (void)snprintf(check.why, sizeof(check.why), "%s, not serving%s%.200s", role,
                       why[0] ? ": " : "", why);
    } else if (!http_in_sync(status)) {
        (void)snprintf(check.why, sizeof(check.why), "backup, not in the in-sync set yet%s%.200s",
                       why[0] ? ": " : "", why);
    } else {
        check.good = http_hears(status, primary);
        (void)snprintf(check.why, sizeof(check.why),
                       check.good ? "backup, in sync" : "backup, but node %.0f is not heard",
                       primary);
    }
    return check;
}

static struct kvp_http_check http_check_disk(const cJSON *status)
{
    const cJSON *times = cJSON_GetObjectItemCaseSensitive(status, "times");
    double silent_ms = http_number(status, "disk_silent_ms");
    double bound_ms = http_number(times, "sync_timeout_ms");
    struct kvp_http_check check = {.name = "disk", .good = silent_ms < bound_ms};
    if (!check.good) {
        (void)snprintf(check.why, sizeof(check.why),
                       "it has not answered for %.1f s (--sync-timeout-ms is %.0f): look at it",
                       silent_ms / 1000, bound_ms);
    }
    return check;
}

/* What the arbiter is like decides nothing as long as the view stands. */
static struct kvp_http_check http_check_arbiter(const cJSON *status)
{
    const cJSON *arbiter = cJSON_GetObjectItemCaseSensitive(status, "arbiter");
    const char *state = http_text(arbiter, "state");
    struct kvp_http_check check = {.name = "arbiter", .good = true};
    if (strcmp(state, "ok") != 0) {
        (void)snprintf(check.why, sizeof(check.why),
                       "%.200s (does not count: it is needed for changes of view)", state);
    }
    return check;
}

static void http_show_ready(struct kvnode_http *http, bool verbose, struct kvp_http_answer *answer)
{
    struct kvp_http_check checks[READY_CHECKS] = {http_check_loop(http)};
    cJSON *status =
        checks[0].good && http_refresh(http, &http->about)
            ? cJSON_ParseWithLength((const char *)http->about.text.data, http->about.text.size)
            : NULL;
    unsigned count = 1;
    if (status != NULL) {
        checks[count++] = http_check_role(status);
        checks[count++] = http_check_disk(status);
        checks[count++] = http_check_arbiter(status);
    } else if (checks[0].good) {
        checks[0].good = false;
        (void)snprintf(checks[0].why, sizeof(checks[0].why), "%s", http_reason(http, &http->about));
    }
    cJSON_Delete(status);
    kvp_http_judge(answer, checks, count, verbose);
}

/* ---- numbers ---- */

static void http_show_metrics(struct kvnode_http *http, struct kvp_http_answer *answer)
{
    cJSON *status =
        http_refresh(http, &http->about)
            ? cJSON_ParseWithLength((const char *)http->about.text.data, http->about.text.size)
            : NULL;
    if (status == NULL) {
        kvp_http_refuse(answer, http_reason(http, &http->about));
        return;
    }
    answer->type = kvp_http_metrics_type;
    kvnode_metrics_print(&answer->body, atomic_load(&http->node), status);
    cJSON_Delete(status);
}

/* ---- all of it ---- */

static void http_answer(void *arg, const char *path, bool verbose, struct kvp_http_answer *answer)
{
    struct kvnode_http *http = arg;
    if (strcmp(path, "/livez") == 0) {
        http_show_live(http, verbose, answer);
    } else if (strcmp(path, "/readyz") == 0) {
        http_show_ready(http, verbose, answer);
    } else if (strcmp(path, "/metrics") == 0) {
        http_show_metrics(http, answer);
    } else if (strcmp(path, "/api/v1/status") == 0) {
        http_show_told(http, &http->about, answer);
    } else if (strcmp(path, "/api/v1/jobs") == 0) {
        http_show_told(http, &http->jobs, answer);
    } else if (strcmp(path, "/api/v1/workers") == 0) {
        http_show_told(http, &http->workers, answer);
    } else if (strcmp(path, "/api/v1/pages") == 0) {
        http_show_pages(http, answer);
    } else if (strcmp(path, "/") == 0) {
        kvp_http_browse(answer);
    } else {
        kvp_http_unknown(answer);
    }
}

kvp_status kvnode_http_open(const char *url, const char *others, struct kvnode_http **http,
                            char *reason, size_t reason_size)
{
    const char *wrong = http_wrong_other(others);
    if (wrong != NULL) {
        (void)snprintf(reason, reason_size,
                       "--http-others: %.200s is not of the form "
                       "http://127.0.0.1:PORT,http://127.0.0.1:PORT...",
                       wrong);
        return KVP_BAD_ARGUMENT;
    }
    struct kvnode_http *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        (void)snprintf(reason, reason_size, "%s", kvp_strerror(KVP_NO_MEMORY));
        return KVP_NO_MEMORY;
    }
    opened->others = others;
    const struct kvp_http_config config = {.url = url,
                                           .answer = http_answer,
                                           .arg = opened,
                                           .reason = reason,
                                           .reason_size = reason_size};
    kvp_status status = kvp_http.open(&config, &opened->server);
    if (status != KVP_OK) {
        free(opened);
        return status;
    }
    *http = opened;
    return KVP_OK;
}

void kvnode_http_show(struct kvnode_http *http, kvp_node *node)
{
    if (http != NULL) {
        atomic_store(&http->node, node);
    }
}

const char *kvnode_http_url(const struct kvnode_http *http)
{
    return kvp_http.url(http->server);
}

void kvnode_http_close(struct kvnode_http *http)
{
    if (http != NULL) {
        kvp_http.close(http->server);
        kvp_buf_free(&http->about.text);
        kvp_buf_free(&http->jobs.text);
        kvp_buf_free(&http->workers.text);
        free(http);
    }
}
