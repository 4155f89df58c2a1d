/* SPDX-License-Identifier: Apache-2.0 */
/* Watches: one long poll after the other, each from where the one before ended. */
#include "kvstore/base/clock.h"
#include "replication/wire/asker.h"
#include "replication/wire/wire.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POLL_MS    10000u /* one request waits for so long: the fewer they are, the cheaper */
#define RETRY_MS   100u   /* between requests that nobody has answered */
#define EVENT_MAX  1000u
#define EVENT_SIZE (256u * 1024u)

struct kvp_watch {
    struct kvp_asker asker;
    kvp_buf start, end;
    uint64_t revision; /* of the next request; 0: none has been answered */
    bool stale;        /* any node is asked */
    kvp_buf page;
    struct kvp_scan_result rest;
    kvp_buf reason;
};

static uint64_t watch_next_revision(const kvp_watch *watch)
{
    struct kvp_scan_result rest = watch->rest;
    struct kvp_get_result pair;
    kvp_slice key;
    bool pending = kvp_wire_scan_next(&rest, &key, &pair) == KVP_OK;
    return pending ? pair.modify : watch->revision;
}

/* Asks once; `answer` is the result, or a reason. */
static kvp_status watch_ask(kvp_watch *watch, uint32_t wait_ms, kvp_buf *answer)
{
    unsigned place = 0;
    const struct kvp_request request = {.op = KVP_OP_WATCH,
                                        .key = kvp_buf_slice(&watch->start),
                                        .value = kvp_buf_slice(&watch->end),
                                        .version = watch->revision,
                                        .count_max = EVENT_MAX,
                                        .size_max = EVENT_SIZE,
                                        .wait_ms = wait_ms,
                                        .stale = watch->stale};
    return watch->asker.ask(watch->asker.handle, &request, &place, answer);
}

static kvp_status watch_take(kvp_watch *watch, kvp_buf *answer)
{
    struct kvp_scan_result told;
    kvp_status status = kvp_wire_read_scan(kvp_buf_slice(answer), &told);
    if (status == KVP_OK && told.cursor < watch->revision) {
        status = KVP_CORRUPT; /* it would come again and again */
    }
    if (status != KVP_OK) {
        kvp_buf_free(answer);
        return status;
    }
    kvp_buf_free(&watch->page);
    watch->page = *answer;
    watch->rest = told;
    watch->revision = told.cursor;
    return KVP_OK;
}

static kvp_status watch_compacted(kvp_watch *watch, kvp_buf *answer)
{
    uint64_t oldest;
    kvp_status status = kvp_wire_read_uint(kvp_buf_slice(answer), &oldest);
    kvp_buf_free(answer);
    if (status != KVP_OK || oldest <= watch->revision) {
        return KVP_CORRUPT;
    }
    watch->revision = oldest;
    return KVP_COMPACTED;
}

/* One request. KVP_OK: there may be events. */
static kvp_status watch_poll(kvp_watch *watch, uint32_t wait_ms)
{
    kvp_buf answer = {0};
    kvp_status status = watch_ask(watch, wait_ms, &answer);
    kvp_buf_free(&watch->reason);
    if (status == KVP_OK) {
        return watch_take(watch, &answer);
    }
    if (status == KVP_COMPACTED) {
        return watch_compacted(watch, &answer);
    }
    watch->reason = answer;
    return status;
}

/* Has nobody been able to answer, at the moment? */
static bool watch_may_go_on(kvp_status status)
{
    return status == KVP_TIMEOUT || status == KVP_UNAVAILABLE || status == KVP_NOT_PRIMARY ||
           status == KVP_BUSY;
}

static kvp_status watch_make(const struct kvp_asker *asker, kvp_slice start, kvp_slice end,
                             uint64_t from, bool stale, kvp_watch **watch)
{
    kvp_watch *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return KVP_NO_MEMORY;
    }
    made->asker = *asker;
    made->revision = from;
    made->stale = stale;
    kvp_status status = kvp_buf_append(&made->start, start.data, start.size);
    status = status == KVP_OK ? kvp_buf_append(&made->end, end.data, end.size) : status;
    if (status != KVP_OK) {
        kvp_watch_close(made);
        return status;
    }
    *watch = made;
    return KVP_OK;
}

kvp_status kvp_watch_start(const struct kvp_asker *asker, kvp_slice start, kvp_slice end,
                           uint64_t from, bool stale, kvp_watch **watch, kvp_buf *reason)
{
    const char *text;
    kvp_watch *made = NULL;
    kvp_status status = kvp_range_check(start, end, &text);
    if (status != KVP_OK) {
        kvp_reason_set(reason, kvp_slice_of(text, strlen(text)));
        return status;
    }
    status = watch_make(asker, start, end, from, stale, &made);
    if (status == KVP_OK && from == 0) {
        status = watch_poll(made, 0); /* what happens from now on is not missed */
    }
    if (status != KVP_OK) {
        if (made != NULL) {
            *reason = made->reason;
            made->reason = (kvp_buf){0};
        }
        kvp_watch_close(made);
        return status;
    }
    *watch = made;
    return KVP_OK;
}

kvp_status kvp_watch_start_prefix(const struct kvp_asker *asker, kvp_slice prefix, uint64_t from,
                                  bool stale, kvp_watch **watch, kvp_buf *reason)
{
    uint8_t end[KVP_KEY_SIZE_MAX];
    const char *text;
    kvp_status status = kvp_range_check(prefix, prefix, &text);
    if (status != KVP_OK) {
        kvp_reason_set(reason, kvp_slice_of(text, strlen(text)));
        return status;
    }
    return kvp_watch_start(asker, prefix, kvp_prefix_end(prefix, end), from, stale, watch, reason);
}

/* The next event of those that came. KVP_NOT_FOUND: there is none left. */
static kvp_status watch_pop(kvp_watch *watch, kvp_event *event)
{
    struct kvp_get_result pair;
    kvp_slice key;
    kvp_status status = kvp_wire_scan_next(&watch->rest, &key, &pair);
    if (status == KVP_OK) {
        *event = (kvp_event){.revision = pair.modify,
                             .create_revision = pair.create,
                             .key = key,
                             .value = pair.value};
    }
    return status;
}

/* How long the next request waits; 0: no longer at all. */
static uint32_t watch_left_ms(uint64_t until_us)
{
    uint64_t now_us = kvp_clock_now_us();
    uint64_t left_ms = until_us > now_us ? (until_us - now_us) / 1000 : 0;
    return left_ms < POLL_MS ? (uint32_t)left_ms : POLL_MS;
}

static void watch_rest(uint32_t left_ms)
{
    uint32_t ms = left_ms < RETRY_MS ? left_ms : RETRY_MS;
    const struct timespec time = {.tv_nsec = (long)ms * 1000000};
    (void)nanosleep(&time, NULL);
}

kvp_status kvp_watch_next(kvp_watch *watch, uint32_t timeout_ms, kvp_event *event)
{
    if (watch == NULL || event == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    uint64_t until_us = kvp_clock_now_us() + (uint64_t)timeout_ms * 1000;
    kvp_status status = watch_pop(watch, event);
    for (bool asked = false; status == KVP_NOT_FOUND; asked = true) {
        uint32_t left_ms = watch_left_ms(until_us);
        if (asked && left_ms == 0) {
            return KVP_TIMEOUT;
        }
        status = watch_poll(watch, left_ms);
        if (status == KVP_OK) {
            status = watch_pop(watch, event);
        } else if (watch_may_go_on(status)) {
            status = KVP_NOT_FOUND;
            watch_rest(watch_left_ms(until_us));
        }
    }
    return status;
}

uint64_t kvp_watch_revision(const kvp_watch *watch)
{
    return watch != NULL ? watch_next_revision(watch) : 0;
}

uint64_t kvp_watch_behind(const kvp_watch *watch)
{
    return watch != NULL ? watch->rest.behind : 0;
}

const char *kvp_watch_error(const kvp_watch *watch)
{
    return watch != NULL ? kvp_reason_text(&watch->reason) : "";
}

void kvp_watch_close(kvp_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    kvp_buf_free(&watch->start);
    kvp_buf_free(&watch->end);
    kvp_buf_free(&watch->page);
    kvp_buf_free(&watch->reason);
    free(watch);
}
