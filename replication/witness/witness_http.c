/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/witness/witness_http.h"

#include "kvstore/base/clock.h"
#include "replication/http/http_page.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WITNESS_DISK_SILENT_US 2000000u

static uint64_t witness_http_number(const atomic_uint_fast64_t *number)
{
    return atomic_load_explicit(number, memory_order_relaxed);
}

static uint64_t witness_disk_silent_us(const struct witness_http *http)
{
    uint64_t since_us = atomic_load(http->disk_us), now_us = kvp_clock_now_us();
    return since_us != 0 && now_us > since_us ? now_us - since_us : 0;
}

/* The main thread waits for requests or for the disk, and for nothing else. */
static struct kvp_http_check witness_check_disk(const struct witness_http *http)
{
    struct kvp_http_check check = {.name = "disk", .good = true};
    uint64_t silent_us = witness_disk_silent_us(http);
    if (silent_us > WITNESS_DISK_SILENT_US) {
        check.good = false;
        (void)snprintf(check.why, sizeof(check.why),
                       "the disk of the registers has not answered for %.1f s: look at it",
                       (double)silent_us / 1e6);
    }
    return check;
}

static struct kvp_http_check witness_check_serving(const struct witness_http *http)
{
    struct kvp_http_check check = {.name = "serving", .good = atomic_load(&http->serving)};
    if (!check.good) {
        (void)snprintf(check.why, sizeof(check.why), "it is starting or stopping");
    }
    return check;
}

static void witness_show_status(const struct witness_http *http, struct kvp_http_answer *answer)
{
    answer->type = "application/json";
    kvp_http_print(&answer->body,
                   "{\"serving\":%s,\"groups\":%" PRIu64 ",\"changes\":%" PRIu64
                   ",\"requests\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"strangers\":%" PRIu64
                   ",\"disk_silent_ms\":%" PRIu64 ",\"uptime_ms\":%" PRIu64
                   ",\"release\":\"%s\"}\n",
                   atomic_load(&http->serving) ? "true" : "false",
                   witness_http_number(&http->groups), witness_http_number(&http->changes),
                   witness_http_number(&http->handled), witness_http_number(&http->refused),
                   witness_http_number(&http->strangers), witness_disk_silent_us(http) / 1000,
                   (kvp_clock_now_us() - http->started_us) / 1000, kvp_version());
}

static void witness_show_metrics(const struct witness_http *http, struct kvp_http_answer *answer)
{
    kvp_buf *out = &answer->body;
    answer->type = kvp_http_metrics_type;
    kvp_http_gauge(out, "kvpair_witness_serving", "1 while requests are taken.",
                   atomic_load(&http->serving));
    kvp_http_gauge(out, "kvpair_witness_groups", "Groups that have a register.",
                   (double)witness_http_number(&http->groups));
    kvp_http_counter(out, "kvpair_witness_changes_total", "Changes of registers, ever.",
                     (double)witness_http_number(&http->changes));
    kvp_http_counter(out, "kvpair_witness_requests_total", "Requests handled.",
                     (double)witness_http_number(&http->handled));
    kvp_http_counter(out, "kvpair_witness_crowd_refusals_total",
                     "Requests for one more group than an address may bring.",
                     (double)witness_http_number(&http->refused));
    kvp_http_counter(out, "kvpair_witness_stranger_refusals_total",
                     "Changes asked for from an address that is not allowed.",
                     (double)witness_http_number(&http->strangers));
    kvp_http_gauge(out, "kvpair_witness_disk_silent_seconds",
                   "For so long the disk has owed an answer.",
                   (double)witness_disk_silent_us(http) / 1e6);
    kvp_http_process_metrics(out);
}

static void witness_answer(void *arg, const char *path, bool verbose,
                           struct kvp_http_answer *answer)
{
    const struct witness_http *http = arg;
    const struct kvp_http_check checks[] = {witness_check_disk(http), witness_check_serving(http)};
    if (strcmp(path, "/livez") == 0) {
        kvp_http_judge(answer, checks, 1, verbose);
    } else if (strcmp(path, "/readyz") == 0) {
        kvp_http_judge(answer, checks, 2, verbose);
    } else if (strcmp(path, "/metrics") == 0) {
        witness_show_metrics(http, answer);
    } else if (strcmp(path, "/api/v1/status") == 0) {
        witness_show_status(http, answer);
    } else {
        kvp_http_unknown(answer);
    }
}

kvp_status witness_http_open(struct witness_http *http, const char *url, char *reason,
                             size_t reason_size)
{
    const struct kvp_http_config config = {.url = url,
                                           .answer = witness_answer,
                                           .arg = http,
                                           .reason = reason,
                                           .reason_size = reason_size};
    http->started_us = kvp_clock_now_us();
    return url != NULL ? kvp_http.open(&config, &http->server) : KVP_OK;
}

void witness_http_close(struct witness_http *http)
{
    atomic_store(&http->serving, false);
    kvp_http.close(http->server);
    http->server = NULL;
}
