/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writer that never stops: creates one numbered key after the other, through failovers, and keeps
 * a journal of what was acknowledged; afterwards it looks whether all of it is there.
 *
 *   writer write  --nodes URL,URL [--journal FILE] [--seconds N] [--prefix TEXT] [--size BYTES]
 *   writer verify --nodes URL,URL [--journal FILE] [--prefix TEXT]
 *
 * Every key is created exactly once, so that a write that was executed twice is noticed: its second
 * execution would be answered with "exists". The last line of output is JSON.
 */
#include <kvpair/kvp_client.h>

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct options {
    const char *nodes, *journal, *prefix;
    double seconds;
    size_t size;
};

static volatile sig_atomic_t stop_asked;

static void on_signal(int number)
{
    (void)number;
    stop_asked = 1;
}

static double now_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

struct tally {
    unsigned long acknowledged, unknown, refused, twice;
    double last_s, gap_s, begin_s;
    unsigned gaps;
};

/* A pause of more than 50 ms between two acknowledgements is worth a line. */
static void note_gap(struct tally *tally)
{
    double now = now_s();
    double gap = now - tally->last_s;
    if (tally->acknowledged > 0 && gap > tally->gap_s) {
        tally->gap_s = gap;
    }
    if (tally->acknowledged > 0 && gap > 0.05) {
        tally->gaps++;
        printf("%8.3f s  writes stopped for %.0f ms, now they go on\n", now - tally->begin_s,
               gap * 1000);
        fflush(stdout);
    }
    tally->last_s = now;
}

static void count(struct tally *tally, kvp_status status, unsigned long number, FILE *journal)
{
    switch (status) {
    case KVP_OK:
        note_gap(tally);
        tally->acknowledged++;
        fprintf(journal, "%lu %.6f\n", number, now_s());
        fflush(journal);
        break;
    case KVP_EXISTS:
        tally->twice++;
        break;
    case KVP_TIMEOUT_UNKNOWN:
        tally->unknown++;
        break;
    default:
        tally->refused++;
        break;
    }
}

static int write_keys(kvp_client *client, const struct options *options)
{
    struct tally tally = {.begin_s = now_s(), .last_s = now_s()};
    FILE *journal = fopen(options->journal, "w");
    char key[256];
    char *value = calloc(1, options->size + 32);
    if (journal == NULL || value == NULL) {
        fprintf(stderr, "writer: %s: %s\n", options->journal, strerror(errno));
        free(value);
        return 1;
    }
    for (unsigned long number = 1;
         !stop_asked && (options->seconds == 0 || now_s() - tally.begin_s < options->seconds);
         number++) {
        snprintf(key, sizeof(key), "%s%010lu", options->prefix, number);
        int used = snprintf(value, 32, "%lu", number);
        size_t size = (size_t)used > options->size ? (size_t)used : options->size;
        kvp_slice k = {key, strlen(key)}, v = {value, size};
        count(&tally, kvp_create(client, k, v, NULL), number, journal);
    }
    fclose(journal);
    free(value);
    printf("{\"acknowledged\":%lu,\"unknown\":%lu,\"refused\":%lu,\"twice\":%lu,"
           "\"longest_gap_ms\":%.0f,\"seconds\":%.2f}\n",
           tally.acknowledged, tally.unknown, tally.refused, tally.twice, tally.gap_s * 1000,
           now_s() - tally.begin_s);
    return tally.twice != 0;
}

static int verify_keys(kvp_client *client, const struct options *options)
{
    unsigned long number, checked = 0, lost = 0;
    double when;
    char key[256], expected[32];
    FILE *journal = fopen(options->journal, "r");
    if (journal == NULL) {
        fprintf(stderr, "writer: %s: %s\n", options->journal, strerror(errno));
        return 1;
    }
    while (fscanf(journal, "%lu %lf", &number, &when) == 2) {
        kvp_result result;
        snprintf(key, sizeof(key), "%s%010lu", options->prefix, number);
        snprintf(expected, sizeof(expected), "%lu", number);
        kvp_slice k = {key, strlen(key)};
        kvp_status status = kvp_get(client, k, &result);
        if (status != KVP_OK && status != KVP_NOT_FOUND) {
            fprintf(stderr, "writer: %s: %s\n", key, kvp_strerror(status));
            fclose(journal);
            return 3;
        }
        bool same = status == KVP_OK && result.value.size >= strlen(expected) &&
                    memcmp(result.value.data, expected, strlen(expected)) == 0;
        lost += !same;
        checked++;
        kvp_result_free(&result);
    }
    fclose(journal);
    printf("{\"checked\":%lu,\"lost\":%lu}\n", checked, lost);
    return lost != 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: writer write|verify --nodes URL,URL [--journal FILE] [--seconds N] "
                    "[--prefix TEXT] [--size BYTES]\n");
    return 2;
}

static bool parse(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"nodes", required_argument, NULL, 'n'},   {"journal", required_argument, NULL, 'j'},
        {"seconds", required_argument, NULL, 's'}, {"prefix", required_argument, NULL, 'p'},
        {"size", required_argument, NULL, 'z'},    {NULL, 0, NULL, 0}};
    int which;
    while ((which = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (which) {
        case 'n':
            options->nodes = optarg;
            break;
        case 'j':
            options->journal = optarg;
            break;
        case 's':
            options->seconds = strtod(optarg, NULL);
            break;
        case 'p':
            options->prefix = optarg;
            break;
        case 'z':
            options->size = strtoul(optarg, NULL, 10);
            break;
        default:
            return false;
        }
    }
    return options->nodes != NULL && optind == argc - 1 && strlen(options->prefix) < 200;
}

int main(int argc, char **argv)
{
    struct options options = {.journal = "writer.journal", .prefix = "writer/"};
    kvp_client_options client_options;
    kvp_client *client = NULL;
    char message[256];
    if (!parse(argc, argv, &options)) {
        return usage();
    }
    bool writes = strcmp(argv[optind], "write") == 0;
    if (!writes && strcmp(argv[optind], "verify") != 0) {
        return usage();
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    kvp_client_options_init(&client_options);
    client_options.nodes = options.nodes;
    client_options.timeout_ms = 10000;
    if (kvp_client_open(&client_options, &client, message, sizeof(message)) != KVP_OK) {
        fprintf(stderr, "writer: %s\n", message);
        return 1;
    }
    int status = writes ? write_keys(client, &options) : verify_keys(client, &options);
    kvp_client_close(client);
    return status;
}
