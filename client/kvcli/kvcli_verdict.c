/* SPDX-License-Identifier: Apache-2.0 */
/* What may still fail: one sentence about a group that serves. */
#include "client/kvcli/kvcli.h"

#include <stdio.h>
#include <string.h>

static bool verdict_arbiter_is_well(const cJSON *status)
{
    const char *state =
        kvcli_json_text(cJSON_GetObjectItemCaseSensitive(status, "arbiter"), "state");

    return strcmp(state, "ok") == 0 || strcmp(state, "not heard of yet") == 0;
}

static const char *verdict_of_pair(const char *policy)
{
    if (strcmp(policy, "pair backup-wins") == 0) {
        return "the primary's failure is survived, the backup's stops service, none loses data";
    }
    if (strcmp(policy, "pair primary-wins") == 0) {
        return "the backup's failure is survived, the primary's stops service, none loses data";
    }
    return "one more failure is survived, two stop service; a cut between the nodes can lose "
           "updates";
}

static const char *verdict_alone(const cJSON *status)
{
    bool others = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(status, "peers")) > 0;
    return others
               ? "the next failure stops service, and with its disk goes what no other node has"
               : "a group of one node: its failure stops service, and its disk has the only copy";
}

void kvcli_verdict(const cJSON *status, char *text, size_t size)
{
    int members = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(status, "in_sync"));
    const char *kind = kvcli_json_text(cJSON_GetObjectItemCaseSensitive(status, "arbiter"), "kind");
    const char *what = "one more failure is survived, two stop service, none loses data";
    if (members < 2) {
        what = verdict_alone(status);
    } else if (strncmp(kind, "pair", 4) == 0) {
        what = verdict_of_pair(kind);
    } else if (!verdict_arbiter_is_well(status)) {
        what = "the next failure stops service, for the arbiter does not answer; none loses data";
    } else if (members > 2) {
        (void)snprintf(text, size,
                       "serving; one more failure is survived, and of nodes %d one after the "
                       "other; none loses data",
                       members - 1);
        return;
    }
    (void)snprintf(text, size, "serving; %s", what);
}
