/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom to ask. All calls for the primary share one *target*: the endpoint believed to be primary.
 * What fails there moves the target on, for all of them; when all endpoints have been tried in vain
 * there is a pause.
 */
#include "client/client_state.h"

#include <string.h>

unsigned client_count_up(const struct client_core *core)
{
    unsigned count = 0;
    for (unsigned i = 0; i < core->endpoint_count; i++) {
        count += core->endpoints[i].up ? 1 : 0;
    }
    return count;
}

bool client_is_usable(const struct client_core *core, unsigned index)
{
    const struct endpoint *endpoint = &core->endpoints[index];
    return endpoint->up && core->now_us >= endpoint->shunned_us;
}

unsigned client_count_usable(const struct client_core *core)
{
    unsigned count = 0;
    for (unsigned i = 0; i < core->endpoint_count; i++) {
        count += client_is_usable(core, i) ? 1 : 0;
    }
    return count;
}

unsigned client_next_up(const struct client_core *core, unsigned from)
{
    unsigned usable = client_count_usable(core);
    for (unsigned step = 1; step < core->endpoint_count; step++) {
        unsigned candidate = (from + step) % core->endpoint_count;
        if (usable > 0 ? client_is_usable(core, candidate) : core->endpoints[candidate].up) {
            return candidate;
        }
    }
    return from;
}

void client_shun(struct client_core *core, struct endpoint *endpoint)
{
    unsigned times =
        endpoint->silences < TRY_DOUBLINGS_MAX ? endpoint->silences : TRY_DOUBLINGS_MAX;

    if (core->now_us >= endpoint->shunned_us) { /* else another call has just found it out */
        endpoint->shunned_us = core->now_us + (core->config.try_us << (times + 1));
        endpoint->silences++;
    }
}

void client_heard_of(struct client_core *core, struct endpoint *endpoint)
{
    endpoint->heard_us = core->now_us;
    endpoint->silences = 0;
    endpoint->shunned_us = 0;
}

static bool has_url(const struct endpoint *endpoint, kvp_slice url)
{
    return strlen(endpoint->url) == url.size && memcmp(endpoint->url, url.data, url.size) == 0;
}

unsigned client_find_url(const struct client_core *core, kvp_slice url)
{
    unsigned i = 0;
    while (i < core->endpoint_count && !has_url(&core->endpoints[i], url)) {
        i++;
    }
    return i;
}

void client_open_endpoint(struct client_core *core, unsigned index)
{
    struct endpoint *endpoint = &core->endpoints[index];
    if (!endpoint->opened) {
        endpoint->opened = true;
        core->config.port.connect(core->config.port.arg, index, endpoint->url);
    }
}

/* Those that were only heard of are for when the others are of no use. */
static void open_all(struct client_core *core)
{
    for (unsigned i = 0; i < core->endpoint_count; i++) {
        client_open_endpoint(core, i);
    }
}

static bool has_prefix(kvp_slice text, const char *prefix, size_t size)
{
    return text.size > size && memcmp(text.data, prefix, size) == 0;
}

/*
 * Nodes name others, and what a node says are bytes from the network: only those that the user has
 * named are believed, and the members of the group that those name, and so on: all nodes may be
 * replaced, one after the other. Each is believed about addresses of its own scheme ("tcp://":
 * nobody far away leads us to a socket of this machine). A node of this machine may name any.
 */
static bool may_name(const struct endpoint *from, kvp_slice url)
{
    const char *colon = strstr(from->url, "://");
    size_t size = colon == NULL ? 0 : (size_t)(colon - from->url) + 3;
    bool local = strncmp(from->url, "ipc://", 6) == 0 || strncmp(from->url, "inproc://", 9) == 0;
    return (from->given || from->vouched) &&
           (local || (size > 0 && has_prefix(url, from->url, size)));
}

unsigned client_learn_url(struct client_core *core, unsigned from, kvp_slice url)
{
    unsigned index = client_find_url(core, url);
    bool usable =
        url.size > 0 && url.size <= KVP_URL_SIZE_MAX && memchr(url.data, '\0', url.size) == NULL;

    if (index == core->endpoint_count && usable && index < CLIENT_ENDPOINTS_MAX &&
        may_name(&core->endpoints[from], url)) {
        memcpy(core->endpoints[core->endpoint_count++].url, url.data, url.size);
    }
    return usable ? index : core->endpoint_count;
}

void client_learn_member(struct client_core *core, unsigned from, kvp_slice url)
{
    unsigned index = client_learn_url(core, from, url);
    if (index < core->endpoint_count && may_name(&core->endpoints[from], url)) {
        core->endpoints[index].vouched = true;
    }
}

void client_move_target(struct client_core *core, unsigned from, kvp_slice hint)
{
    unsigned named = client_learn_url(core, from, hint);
    unsigned usable = client_count_usable(core);
    bool paused = core->now_us < core->pause_us;
    /* Else it is none of those to be asked. */
    bool counts =
        usable > 0 ? client_is_usable(core, core->target) : core->endpoints[core->target].up;

    core->moves += !paused && counts ? 1 : 0;
    open_all(core);
    if (named < core->endpoint_count && named != core->target) {
        core->hinted = named;
    }
    if (named < core->endpoint_count && named != core->target && client_is_usable(core, named)) {
        core->target = named;
    } else {
        core->target = client_next_up(core, core->target);
    }
    if (!paused && core->moves >= (usable > 0 ? usable : client_count_up(core))) {
        core->pause_us = core->now_us + client_backoff_time(core, core->backoffs++);
        core->moves = 0;
        client_due(core, core->pause_us);
    }
}

void client_all_is_well(struct client_core *core)
{
    core->moves = core->backoffs = 0;
    core->pause_us = 0;
    core->trouble = NULL;
}

bool client_pick_endpoint(struct client_core *core, struct client_call *call)
{
    if (call->route == CLIENT_TO_ONE) {
        return core->endpoints[call->endpoint].up;
    }
    unsigned from = call->route == CLIENT_TO_ANY && call->tries > 0 ? call->endpoint : core->target;
    if (!core->endpoints[from].up) {
        from = client_next_up(core, from);
        if (!core->endpoints[from].up) {
            open_all(core);
            return false;
        }
        if (call->route == CLIENT_TO_PRIMARY) {
            core->target = from;
        }
    }
    call->endpoint = from;
    return call->route == CLIENT_TO_ANY || core->now_us >= core->pause_us;
}
