/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor: asks every end that it hears of, compares what they say, and tells what is wrong with the
 * cause and the next command. What is well is one line for all of it.
 */
#include "client/kvcli/kvcli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES_SIZE       (KVCLI_NODES_MAX * (KVP_URL_SIZE_MAX + 1))
#define CAUSE_SIZE       768
#define CLOCK_APART_MS   1000.0
#define FSYNC_SLOW_US    20000.0
#define DISK_SILENT_MS   1000.0
#define ROOM_SMALL_SHARE 0.1
#define ROOM_SMALL_BYTES (256.0 * 1024 * 1024)
#define MIB              (1024.0 * 1024.0)
#define CONTINUATION     4u

struct doctor {
    struct kvcli *cli;
    char nodes[NODES_SIZE]; /* that were asked first; the queries point into it */
    char found[NODES_SIZE]; /* that these have told of */
    struct kvcli_query queries[KVCLI_NODES_MAX];
    cJSON *answers[KVCLI_NODES_MAX]; /* NULL: none */
    int count;
    const cJSON *leads; /* who serves; NULL: nobody */
    unsigned wrong;     /* findings */
    cJSON *list;        /* with --json: all of them */
};

/* ---- findings ---- */

static void doctor_print(const char *level, const char *cause, const char *next)
{
    char line[CAUSE_SIZE + 32];
    (void)snprintf(line, sizeof(line), "%s: %s", level, cause);
    kvcli_print_wrapped(0, line);
    if (next[0] != '\0') {
        (void)snprintf(line, sizeof(line), "next: %s", next);
        kvcli_print_wrapped(CONTINUATION, line);
    }
}

/* `level`: ok, warn, error. */
__attribute__((format(printf, 4, 5))) static void
doctor_find(struct doctor *doctor, const char *level, const char *next, const char *format, ...)
{
    char cause[CAUSE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(cause, sizeof(cause), format, arguments);
    va_end(arguments);
    doctor->wrong += strcmp(level, "ok") != 0;
    if (!doctor->cli->json) {
        doctor_print(level, cause, next);
        return;
    }
    cJSON *finding = cJSON_CreateObject();
    kvcli_json_add(&finding, "level", cJSON_CreateString(level));
    kvcli_json_add(&finding, "cause", kvcli_json_readable(cause));
    kvcli_json_add(&finding, "next", kvcli_json_readable(next));
    kvcli_json_add(&doctor->list, NULL, finding);
}

static double doctor_id(const struct doctor *doctor, int i)
{
    return kvcli_json_count(doctor->answers[i], "node");
}

/* ---- whom there is to ask ---- */

static bool doctor_has(const struct doctor *doctor, const cJSON *peer, const char *url)
{
    for (int i = 0; i < doctor->count; i++) {
        if (strcmp(doctor->queries[i].url, url) == 0 ||
            (doctor->answers[i] != NULL && doctor_id(doctor, i) == kvcli_json_count(peer, "id"))) {
            return true;
        }
    }
    return strstr(doctor->found, url) != NULL;
}

/* The peers that they tell of, and that are not among them. */
static void doctor_look_for_peers(struct doctor *doctor)
{
    size_t used = 0;
    for (int i = 0; i < doctor->count; i++) {
        const cJSON *peer;
        cJSON_ArrayForEach(peer, cJSON_GetObjectItemCaseSensitive(doctor->answers[i], "peers"))
        {
            const char *url = kvcli_json_text(peer, "url");
            size_t size = strlen(url);
            if (size > 0 && size <= KVP_URL_SIZE_MAX && strchr(url, ',') == NULL &&
                used + size + 2 < sizeof(doctor->found) &&
                kvcli_same_scheme(doctor->queries[i].url, url) && !doctor_has(doctor, peer, url)) {
                used += (size_t)snprintf(doctor->found + used, sizeof(doctor->found) - used, "%s%s",
                                         used == 0 ? "" : ",", url);
            }
        }
    }
}

static void doctor_parse(struct doctor *doctor, int first)
{
    for (int i = first; i < doctor->count; i++) {
        doctor->answers[i] = kvcli_query_parse(&doctor->queries[i]);
        if (kvcli_json_true(doctor->answers[i], "serving")) {
            doctor->leads = doctor->answers[i];
        }
    }
}

static void doctor_ask(struct doctor *doctor)
{
    struct kvcli_query more[KVCLI_NODES_MAX];
    (void)snprintf(doctor->nodes, sizeof(doctor->nodes), "%s", doctor->cli->nodes);
    doctor->count = kvcli_ask_nodes(doctor->cli, doctor->nodes, doctor->queries);
    doctor_parse(doctor, 0);
    doctor_look_for_peers(doctor);
    int given = doctor->count, found = kvcli_ask_nodes(doctor->cli, doctor->found, more);
    for (int i = 0; i < found; i++) {
        if (doctor->count < KVCLI_NODES_MAX) {
            doctor->queries[doctor->count++] = more[i];
        } else {
            kvp_result_free(&more[i].result);
        }
    }
    doctor_parse(doctor, given);
}

/* ---- each end ---- */

static const char *doctor_remedy(const struct kvcli_query *query, const char *reason)
{
    if (query->status == KVP_WRONG_GROUP) {
        return "give its name with --group, or another address with --nodes";
    }
    if (strstr(reason, "host name") != NULL) {
        return "look at the name: getent hosts NAME; or give an address";
    }
    if (strstr(reason, "refused") != NULL) {
        return "start it, or see in its log why it has ended: systemctl status 'kvnode@*'";
    }
    if (strstr(reason, "another protocol") != NULL) {
        return "see what listens on that port there: ss -ltnp";
    }
    return "see whether it runs, and whether a firewall is between: ping HOST; nc -vz HOST PORT";
}

static void doctor_check_answers(struct doctor *doctor)
{
    int answered = 0;
    for (int i = 0; i < doctor->count; i++) {
        const struct kvcli_query *query = &doctor->queries[i];
        char reason[CAUSE_SIZE / 2];
        if (doctor->answers[i] != NULL) {
            answered++;
            continue;
        }
        kvcli_query_explain(query, reason, sizeof(reason));
        doctor_find(doctor, "error", doctor_remedy(query, reason), "%s: %s", query->url, reason);
    }
    if (answered == doctor->count) {
        doctor_find(doctor, "ok", "", "all of %d nodes answer", answered);
    }
}

static void doctor_check_names(struct doctor *doctor)
{
    for (int i = 0; i < doctor->count; i++) {
        for (int j = i + 1; j < doctor->count && doctor->answers[i] != NULL; j++) {
            const char *one = kvcli_json_text(doctor->answers[i], "group_id");
            const char *other = kvcli_json_text(doctor->answers[j], "group_id");
            bool known = strcmp(one, "0") != 0 && strcmp(other, "0") != 0;
            if (doctor->answers[j] == NULL) {
                continue;
            }
            if (known && strcmp(one, other) != 0) {
                doctor_find(doctor, "error",
                            "keep one group's nodes in --nodes; a node that belongs to the other "
                            "joins this one with an empty --data directory",
                            "%s and %s belong to different groups of the same name",
                            doctor->queries[i].url, doctor->queries[j].url);
            } else if (doctor_id(doctor, i) == doctor_id(doctor, j)) {
                doctor_find(doctor, "warn",
                            "give each node once in --nodes; if these are two, give one another "
                            "--id and an empty --data directory",
                            "%s and %s are both node %.0f", doctor->queries[i].url,
                            doctor->queries[j].url, doctor_id(doctor, i));
            }
        }
    }
}

/* A node does not hear another one, which we do. */
static void doctor_check_links(struct doctor *doctor)
{
    for (int i = 0; i < doctor->count; i++) {
        const cJSON *peer;
        cJSON_ArrayForEach(peer, cJSON_GetObjectItemCaseSensitive(doctor->answers[i], "peers"))
        {
            const char *trouble = kvcli_json_text(peer, "trouble");
            bool answers = false;
            for (int j = 0; j < doctor->count; j++) {
                answers = answers || (doctor->answers[j] != NULL &&
                                      doctor_id(doctor, j) == kvcli_json_count(peer, "id"));
            }
            if (answers && (!kvcli_json_true(peer, "connected") || trouble[0] != '\0')) {
                doctor_find(doctor, "error",
                            "see that its --peer names an address by which it is reached from "
                            "there, and what a firewall lets through",
                            "node %.0f does not get along with node %.0f at %s, which answers "
                            "here%s%s",
                            doctor_id(doctor, i), kvcli_json_count(peer, "id"),
                            kvcli_json_text(peer, "url"), trouble[0] == '\0' ? "" : ": ", trouble);
            }
        }
    }
}

static void doctor_check_arbiter(struct doctor *doctor)
{
    for (int i = 0; i < doctor->count; i++) {
        const cJSON *arbiter = cJSON_GetObjectItemCaseSensitive(doctor->answers[i], "arbiter");
        const cJSON *first = cJSON_GetObjectItemCaseSensitive(doctor->answers[0], "arbiter");
        const char *state = kvcli_json_text(arbiter, "state");
        if (doctor->answers[i] == NULL) {
            continue;
        }
        if (state[0] != '\0' && strcmp(state, "ok") != 0) {
            doctor_find(doctor, "error",
                        "start it there: kvwitness --data DIR --listen URL; no view can change "
                        "without it",
                        "node %.0f has no witness at %s: %s", doctor_id(doctor, i),
                        kvcli_json_text(arbiter, "url"), state);
        }
        if (first != NULL &&
            (strcmp(kvcli_json_text(arbiter, "kind"), kvcli_json_text(first, "kind")) != 0 ||
             strcmp(kvcli_json_text(arbiter, "url"), kvcli_json_text(first, "url")) != 0)) {
            doctor_find(doctor, "error", "start all nodes with the same --witness, or --pair",
                        "node %.0f has another arbiter than node %.0f: %s %s", doctor_id(doctor, i),
                        doctor_id(doctor, 0), kvcli_json_text(arbiter, "kind"),
                        kvcli_json_text(arbiter, "url"));
        }
    }
}

/* ---- what differs ---- */

static void doctor_check_times(struct doctor *doctor)
{
    static const char *const names[] = {"heartbeat_ms", "lease_ms", "grace_ms", "sync_timeout_ms"};
    const cJSON *first = cJSON_GetObjectItemCaseSensitive(doctor->answers[0], "times");

    for (int i = 1; i < doctor->count && first != NULL; i++) {
        const cJSON *times = cJSON_GetObjectItemCaseSensitive(doctor->answers[i], "times");
        for (size_t n = 0; n < sizeof(names) / sizeof(names[0]) && times != NULL; n++) {
            double one = kvcli_json_count(first, names[n]);
            double other = kvcli_json_count(times, names[n]);
            if (one != other) {
                doctor_find(doctor, "warn",
                            "start both with the same times: --profile, --heartbeat-ms, "
                            "--lease-ms, --grace-ms, --sync-timeout-ms",
                            "%s is %.0f on node %.0f and %.0f on node %.0f", names[n], one,
                            doctor_id(doctor, 0), other, doctor_id(doctor, i));
            }
        }
    }
}

static void doctor_check_digests(struct doctor *doctor)
{
    const char *first = kvcli_json_text(doctor->answers[0], "config_digest");
    for (int i = 1; i < doctor->count; i++) {
        const char *digest = kvcli_json_text(doctor->answers[i], "config_digest");
        if (first[0] != '\0' && digest[0] != '\0' && strcmp(first, digest) != 0) {
            doctor_find(doctor, "warn",
                        "compare what they were started with: group, witness or pair, the "
                        "addresses of all nodes, times, --sync-replicas, --log-size, "
                        "--verify-memory",
                        "nodes %.0f and %.0f were configured differently", doctor_id(doctor, 0),
                        doctor_id(doctor, i));
        }
    }
}

static void doctor_check_releases(struct doctor *doctor)
{
    for (int i = 0; i < doctor->count; i++) {
        const char *release = kvcli_json_text(doctor->answers[i], "release");
        if (doctor->answers[i] != NULL && strcmp(release, kvp_version()) != 0) {
            doctor_find(doctor, "warn",
                        "upgrade what is older, one node after the other: docs/upgrading.md",
                        "node %.0f is of release %s, kvcli of %s", doctor_id(doctor, i),
                        release[0] == '\0' ? "0.1" : release, kvp_version());
        }
    }
}

/* Leases do not need clocks that agree; who compares logs does. */
static void doctor_check_clocks(struct doctor *doctor)
{
    for (int i = 0; i < doctor->count; i++) {
        double clock_ms = kvcli_json_count(doctor->answers[i], "clock_ms");
        double apart_ms = clock_ms - (double)doctor->queries[i].answered_ms;
        if (clock_ms > 0 && (apart_ms > CLOCK_APART_MS || apart_ms < -CLOCK_APART_MS)) {
            doctor_find(doctor, "warn", "set it by the network's time: chronyc tracking",
                        "the clock of node %.0f is %.1f s %s this machine's; its log has other "
                        "times",
                        doctor_id(doctor, i), (apart_ms < 0 ? -apart_ms : apart_ms) / 1000,
                        apart_ms < 0 ? "behind" : "ahead of");
        }
    }
}

/* ---- disks ---- */

static void doctor_check_disk(struct doctor *doctor, int i)
{
    const cJSON *answer = doctor->answers[i];
    double fsync_us = kvcli_json_count(answer, "fsync_us");
    double silent_ms = kvcli_json_count(answer, "disk_silent_ms");

    if (silent_ms >= DISK_SILENT_MS) {
        doctor_find(doctor, "error",
                    "look at the disk there: dmesg; stop the node if it does not come back",
                    "the disk of node %.0f has not answered for %.1f s", doctor_id(doctor, i),
                    silent_ms / 1000);
    } else if (fsync_us >= FSYNC_SLOW_US) {
        doctor_find(doctor, "warn",
                    "see who else writes there: iostat -x 1; each update waits for it",
                    "an fsync on node %.0f takes %.0f ms", doctor_id(doctor, i), fsync_us / 1000);
    }
}

static void doctor_check_room(struct doctor *doctor, int i)
{
    const cJSON *answer = doctor->answers[i];
    double all = kvcli_json_count(answer, "disk_bytes");
    double left = kvcli_json_count(answer, "disk_free_bytes");
    bool full = left < ROOM_SMALL_BYTES;

    if (all > 0 && (full || left < ROOM_SMALL_SHARE * all)) {
        doctor_find(doctor, full ? "error" : "warn",
                    "make room there: du -x; a node whose disk is full leaves the group",
                    "node %.0f has %.0f MiB left on its disk of %.0f MiB; its store takes %.0f",
                    doctor_id(doctor, i), left / MIB, all / MIB,
                    kvcli_json_count(answer, "store_bytes") / MIB);
    }
}

static void doctor_check_store(struct doctor *doctor, int i)
{
    const cJSON *answer = doctor->answers[i];

    if (kvcli_json_true(answer, "copy")) {
        doctor_find(doctor, "error", "empty the data directory of the copy, and start it again",
                    "node %.0f runs on a copy of its store, or on an old one put back",
                    doctor_id(doctor, i));
    }
    if (kvcli_json_true(answer, "quarantine_full")) {
        doctor_find(doctor, "error", "move diverged-* out of its data directory: kvnode(8)",
                    "node %.0f stays outside: it has no room to set its store aside",
                    doctor_id(doctor, i));
    }
    if (kvcli_json_count(answer, "diverged") > 0) {
        doctor_find(doctor, "warn", "see what they are: docs/operations.md, A store was set aside",
                    "node %.0f has %.0f updates that the group never agreed on",
                    doctor_id(doctor, i), kvcli_json_count(answer, "diverged"));
    }
}

/* ---- the group ---- */

static void doctor_check_service(struct doctor *doctor)
{
    int peers = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(doctor->leads, "peers"));
    int members = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(doctor->leads, "in_sync"));
    char sentence[256];
    for (int i = 0; i < doctor->count; i++) {
        const char *why = kvcli_json_text(doctor->answers[i], "why");
        if (why[0] != '\0') {
            doctor_find(doctor, "error", "mend that first; then: kvcli status", "node %.0f: %s",
                        doctor_id(doctor, i), why);
        }
    }
    if (doctor->leads == NULL) {
        doctor_find(doctor, "error",
                    "mend what is said above; if a node is lost for good: kvcli promote --help",
                    "nobody serves");
        return;
    }
    if (members < peers + 1) {
        doctor_find(doctor, "warn", "start the others, and wait: kvcli top",
                    "%d of %d nodes are in sync", members, peers + 1);
    }
    kvcli_verdict(doctor->leads, sentence, sizeof(sentence));
    doctor_find(doctor, "ok", "", "%s", sentence);
}

static int doctor_finish(struct doctor *doctor)
{
    unsigned wrong = doctor->wrong;
    bool printed = true;
    for (int i = 0; i < doctor->count; i++) {
        cJSON_Delete(doctor->answers[i]);
        kvp_result_free(&doctor->queries[i].result);
    }
    if (doctor->cli->json) {
        printed = kvcli_print_json(doctor->list);
    }
    free(doctor);
    return !printed ? kvcli_failed_to_print(false) : wrong > 0 ? EXIT_NO : EXIT_DONE;
}

int kvcli_doctor(struct kvcli *cli, int argc, char **argv)
{
    struct doctor *doctor = calloc(1, sizeof(*doctor));
    (void)argc;
    (void)argv;
    if (doctor == NULL) {
        return kvcli_failed(KVP_NO_MEMORY, NULL);
    }
    doctor->cli = cli;
    doctor->list = cli->json ? cJSON_CreateArray() : NULL;
    doctor_ask(doctor);
    doctor_check_answers(doctor);
    doctor_check_names(doctor);
    doctor_check_links(doctor);
    doctor_check_arbiter(doctor);
    doctor_check_times(doctor);
    doctor_check_digests(doctor);
    doctor_check_releases(doctor);
    doctor_check_clocks(doctor);
    for (int i = 0; i < doctor->count; i++) {
        doctor_check_disk(doctor, i);
        doctor_check_room(doctor, i);
        doctor_check_store(doctor, i);
    }
    doctor_check_service(doctor);
    return doctor_finish(doctor);
}
