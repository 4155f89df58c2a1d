/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of kvbench share. */
#ifndef KVBENCH_H
#define KVBENCH_H

#include "kvstore/base/tls_names.h"
#include "kvpair/kvp_client.h"

#include <cjson/cJSON.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/types.h>

/* Exit statuses: those of kvcli. */
enum {
    EXIT_DONE = 0,
    EXIT_NO = 1, /* acknowledged writes were lost, or executed twice; tasks were lost */
    EXIT_USAGE = 2,
    EXIT_NOTHING = 3, /* nothing could be measured, or the result got lost */
    EXIT_REFUSED = 5,
};

struct bench {
    const char *mode;
    const char *nodes, *group;
    struct kvp_tls_names tls;
    bool spawn;
    const char *profile;    /* of the nodes that it spawns */
    const char *bin, *data; /* NULL: kvbench's own directory; a temporary one */
    unsigned clients, outstanding;
    unsigned reads;    /* mixed: per cent of the operations */
    unsigned txn_keys; /* txn: puts in each */
    unsigned kills;    /* failover, jobs */
    size_t value_size;
    uint64_t keys;
    bool zipf;
    uint64_t count; /* 0: only time ends it */
    double seconds; /* 0: not given */
    uint32_t timeout_ms;
    uint64_t seed;
};

/* ---- kvbench_parts.c ---- */

extern volatile sig_atomic_t bench_signal; /* the signal that has come; 0: none */

int bench_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
int bench_exit_status(kvp_status status);
uint64_t bench_now_ns(void);
void bench_sleep_ms(unsigned ms); /* or less, when a signal comes */
/* Adds a number with that many decimals. */
void bench_add_number(cJSON *object, const char *name, double value, int decimals);

/* ---- kvbench_hist.c ---- */

/*
 * Counts durations in buckets whose width is a 128th of the power of two below them. A quantile is
 * the middle of its bucket, so it is wrong by at most 1/256: 0.4 per cent. The maximum is exact.
 */
enum {
    HIST_BITS = 7,
    HIST_OCTAVES = 36, /* up to 2^42 ns: more than an hour */
    HIST_BUCKETS = (HIST_OCTAVES + 1) << HIST_BITS,
};

struct hist {
    uint64_t total, max_ns;
    uint64_t buckets[HIST_BUCKETS];
};

void hist_add(struct hist *hist, uint64_t ns);
void hist_merge(struct hist *into, const struct hist *from);
double hist_quantile_us(const struct hist *hist, double quantile);

/* ---- kvbench_load.c ---- */

enum bench_op { BENCH_LOAD, BENCH_GET, BENCH_PUT, BENCH_MIXED, BENCH_TXN };

enum { BENCH_STATUSES = 64 }; /* more than there are statuses */

struct bench_result {
    struct hist hist; /* of the operations that succeeded */
    uint64_t gets, puts;
    uint64_t errors[BENCH_STATUSES]; /* by the status without its sign */
    double seconds;
};

/* Opens a handle; complains. */
kvp_client *bench_open(const struct bench *bench, uint32_t timeout_ms);
/* Runs operations until bench->count or bench->seconds is reached. Complains; an exit status. */
int bench_measure(const struct bench *bench, enum bench_op op, struct bench_result *result);
/* Writes all keys once, so that reads find them. */
int bench_load(const struct bench *bench);
/* ops_per_s, quantiles; then the errors if `errors`. */
void bench_add_result(cJSON *object, const struct bench_result *result, bool errors);

/* ---- kvbench_spawn.c ---- */

enum { GROUP_WITNESS, GROUP_NODES = 2, GROUP_PROCESSES };

/* Two nodes and a witness of our own. Index 0 is the witness, others are node ids. */
struct group {
    char bin[PATH_MAX], dir[PATH_MAX];
    bool made, temporary;
    pid_t pids[GROUP_PROCESSES]; /* 0: does not run */
    char urls[GROUP_PROCESSES][40];
    char nodes[100];
    char profile[16]; /* of the nodes */
};

/* Makes the directory only. Both complain; exit statuses. */
int group_make_dir(const struct bench *bench, struct group *group);
int group_start(const struct bench *bench, struct group *group);
/* Waits until both nodes are in sync; returns the primary's id, 0: it takes too long. */
unsigned group_wait_in_sync(const struct bench *bench, struct group *group);
void group_kill(struct group *group, unsigned index);
bool group_spawn(struct group *group, unsigned index);
/* Ends what runs and removes the directory if it is a temporary one. */
void group_end(struct group *group);

/* ---- the other modes: they fill `line` and return an exit status ---- */

int bench_failover(const struct bench *bench, struct group *group, cJSON *line);
int bench_jobs(const struct bench *bench, struct group *group, cJSON *line);
int bench_limits(const struct bench *bench, const char *dir, cJSON *line);
/* `outstanding` requests of 100 bytes under way at once over one connection. Complains. */
bool bench_nng(unsigned outstanding, double seconds, struct bench_result *result);

#endif
