/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events: who led when, why that changed, and how long nobody served. Each node has the changes of
 * view that it saw since its start; what is told here is what all that answer know together.
 */
#include "client/kvcli/kvcli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EVENTS_NODE_MAX 64u /* that are taken of one node's answer */
#define EVENTS_MAX      (KVCLI_NODES_MAX * EVENTS_NODE_MAX)
#define SET_TEXT_SIZE   32u
/* So long after a change of primary a follower waits to hear how long it took. */
#define SETTLES_MS 3000u

struct event {
    uint64_t version, epoch, at_ms, unserved_ms;
    unsigned primary;
    char in_sync[SET_TEXT_SIZE], reason[24], cause[32];
    bool by_leader; /* as the node says that leads by it */
};

struct events {
    const struct kvcli *cli;
    bool follow;
    bool answered;      /* by a node that knows of views */
    uint64_t told;      /* the version that was printed last */
    uint64_t silent_ms; /* since 1970: what is younger may get more to say */
    size_t count;
    struct event list[EVENTS_MAX];
};

/* ---- what the nodes say ---- */

static void event_take_set(const cJSON *list, char text[SET_TEXT_SIZE])
{
    const cJSON *id;
    size_t size = 0;
    text[0] = '\0';
    cJSON_ArrayForEach(id, list)
    {
        double number = cJSON_IsNumber(id) ? id->valuedouble : 0;
        if (number >= 1 && number <= KVP_NODE_ID_MAX && size + 4 < SET_TEXT_SIZE) {
            size += (size_t)snprintf(text + size, SET_TEXT_SIZE - size, "%s%.0f",
                                     size > 0 ? "," : "", number);
        }
    }
}

static struct event event_of(const cJSON *view, double node)
{
    struct event event = {
        .version = kvcli_json_integer(view, "version", UINT64_C(1) << 53),
        .epoch = kvcli_json_integer(view, "epoch", UINT64_C(1) << 53),
        .at_ms = kvcli_json_integer(view, "at_ms", UINT64_C(1) << 53),
        .unserved_ms = kvcli_json_integer(view, "unserved_ms", UINT64_C(1) << 53),
        .primary = (unsigned)kvcli_json_integer(view, "primary", KVP_NODE_ID_MAX),
    };
    event_take_set(cJSON_GetObjectItemCaseSensitive(view, "in_sync"), event.in_sync);
    (void)snprintf(event.reason, sizeof(event.reason), "%s", kvcli_json_text(view, "reason"));
    (void)snprintf(event.cause, sizeof(event.cause), "%s", kvcli_json_text(view, "cause"));
    event.by_leader = event.primary == node;
    return event;
}

/* A node that has started since knows a view, but not what was before it. */
static bool event_is_better(const struct event *event, const struct event *than)
{
    bool first = strcmp(event->reason, "first") == 0;
    if (first != (strcmp(than->reason, "first") == 0)) {
        return !first;
    }
    return event->by_leader && !than->by_leader;
}

static void event_merge(struct event *known, const struct event *event)
{
    struct event other = *event;
    if (event_is_better(event, known)) {
        other = *known;
        *known = *event;
    }
    if (known->cause[0] == '\0') {
        memcpy(known->cause, other.cause, sizeof(known->cause));
    }
    known->unserved_ms = known->unserved_ms == 0 ? other.unserved_ms : known->unserved_ms;
}

static void events_add(struct events *events, const struct event *event)
{
    for (size_t i = 0; i < events->count; i++) {
        if (events->list[i].version == event->version) {
            event_merge(&events->list[i], event);
            return;
        }
    }
    if (events->count < EVENTS_MAX && event->version > 0) {
        events->list[events->count++] = *event;
    }
}

static void events_take(struct events *events, const cJSON *status)
{
    const cJSON *views = cJSON_GetObjectItemCaseSensitive(status, "views"), *view;
    unsigned taken = 0;
    events->answered = events->answered || cJSON_IsArray(views);
    cJSON_ArrayForEach(view, views)
    {
        if (taken++ < EVENTS_NODE_MAX) {
            struct event event = event_of(view, kvcli_json_count(status, "node"));
            events_add(events, &event);
        }
    }
}

static int event_compare(const void *a, const void *b)
{
    const struct event *one = a, *other = b;
    return one->version < other->version ? -1 : one->version > other->version;
}

/* KVP_OK, also if nobody answered. */
static kvp_status events_ask(struct events *events)
{
    struct kvcli_query queries[KVCLI_NODES_MAX];
    char *nodes = strdup(events->cli->nodes);
    int count = nodes == NULL ? 0 : kvcli_ask_nodes(events->cli, nodes, queries);
    events->count = 0;
    events->silent_ms = kvcli_wall_ms() - SETTLES_MS;
    for (int i = 0; i < count; i++) {
        cJSON *status = kvcli_query_parse(&queries[i]);
        events_take(events, status);
        cJSON_Delete(status);
        kvp_result_free(&queries[i].result);
    }
    qsort(events->list, events->count, sizeof(events->list[0]), event_compare);
    kvp_status status = nodes == NULL ? KVP_NO_MEMORY : KVP_OK;
    free(nodes);
    return status;
}

/* ---- what is printed ---- */

static void event_print(const struct event *event)
{
    char when[32] = "-", what[160];
    time_t seconds = (time_t)(event->at_ms / 1000);
    struct tm parts;
    if (event->at_ms > 0 && gmtime_r(&seconds, &parts) != NULL) {
        (void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &parts);
    }
    bool more = event->cause[0] != '\0' && strcmp(event->cause, event->reason) != 0;
    int size = snprintf(what, sizeof(what), "%s%s%s%s", event->reason, more ? " (" : "",
                        more ? event->cause : "", more ? ")" : "");
    if (event->unserved_ms > 0) {
        (void)snprintf(what + size, sizeof(what) - (size_t)size, ", stop %.2f s",
                       (double)event->unserved_ms / 1000);
    }
    printf("%-19s %5" PRIu64 " %4u %-7s ", when, event->epoch, event->primary, event->in_sync);
    kvcli_print_escaped(kvp_slice_of(what, strlen(what)));
    putchar('\n');
}

static cJSON *event_members(const char *text)
{
    cJSON *list = cJSON_CreateArray();
    for (const char *next = text; next[0] != '\0'; next += next[0] == ',' ? 1 : 0) {
        char *end = NULL;
        kvcli_json_add(&list, NULL, kvcli_json_number(strtoull(next, &end, 10)));
        next = end;
    }
    return list;
}

static bool event_print_json(const struct event *event)
{
    cJSON *object = cJSON_CreateObject();
    kvcli_json_add(&object, "event", cJSON_CreateString("view"));
    kvcli_json_add(&object, "at_ms", kvcli_json_number(event->at_ms));
    kvcli_json_add(&object, "version", kvcli_json_number(event->version));
    kvcli_json_add(&object, "epoch", kvcli_json_number(event->epoch));
    kvcli_json_add(&object, "primary", kvcli_json_number(event->primary));
    kvcli_json_add(&object, "in_sync", event_members(event->in_sync));
    kvcli_json_add(&object, "reason", kvcli_json_readable(event->reason));
    kvcli_json_add(&object, "cause", kvcli_json_readable(event->cause));
    if (event->unserved_ms > 0) {
        kvcli_json_add(&object, "unserved_ms", kvcli_json_number(event->unserved_ms));
    }
    return kvcli_print_json(object);
}

/* Whoever follows is told of a change of primary when it is known how long it took, or soon after.
 */
static bool event_is_settled(const struct events *events, const struct event *event)
{
    bool moves = strcmp(event->reason, "failover") == 0 || strcmp(event->reason, "handover") == 0;
    return !events->follow || !moves || event->unserved_ms > 0 || event->at_ms < events->silent_ms;
}

/* False: memory was short. */
static bool events_print(struct events *events)
{
    bool printed = true;
    for (size_t i = 0; i < events->count && printed; i++) {
        const struct event *event = &events->list[i];
        if (event->version <= events->told) {
            continue;
        }
        if (!event_is_settled(events, event)) {
            break;
        }
        if (events->cli->json) {
            printed = event_print_json(event);
        } else {
            event_print(event);
        }
        events->told = event->version;
    }
    (void)fflush(stdout);
    return printed;
}

static int events_run(struct events *events)
{
    const struct timespec pause = {.tv_sec = 1};
    bool printed = true;
    kvp_status status = events_ask(events);
    if (status == KVP_OK && !events->answered && !events->follow) {
        return kvcli_failed_because(KVP_UNAVAILABLE, "no node tells of views: see kvcli doctor");
    }
    if (!events->cli->json) {
        printf("%-19s %5s %4s %-7s %s\n", "TIME (UTC)", "EPOCH", "LEAD", "IN SYNC", "WHY");
    }
    while (status == KVP_OK && (printed = events_print(events)) && events->follow &&
           !ferror(stdout) && !(events->cli->prompt && kvcli_interrupted())) {
        (void)nanosleep(&pause, NULL);
        status = events_ask(events);
    }
    return status != KVP_OK || !printed ? kvcli_failed_to_print(false) : EXIT_DONE;
}

int kvcli_events(struct kvcli *cli, int argc, char **argv)
{
    struct events *events = calloc(1, sizeof(*events));
    (void)argc;
    (void)argv;
    if (events == NULL) {
        return kvcli_failed(KVP_NO_MEMORY, NULL);
    }
    events->cli = cli;
    events->follow = kvcli_option(cli, "--follow") != NULL;
    int code = events_run(events);
    free(events);
    return code;
}
