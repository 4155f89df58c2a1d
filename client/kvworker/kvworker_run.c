/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a worker. Each slot has a thread that fetches a task, works on it and posts the
 * result; one more thread beats for all of them. What becomes of a task in the meantime the beats
 * find out; they tell its slot through an eventfd, which a running handler is killed by, too.
 */
#include "client/kvworker/kvworker.h"
#include "kvstore/base/clock.h"
#include "kvstore/base/notify.h"
#include "kvstore/base/process.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define FETCH_WAIT_MS     1000u
#define TIMEOUT_MS        3000u /* of other calls; all of them are repeated */
#define REST_MS           200u
#define LONG_REST_MS      1000u
#define DEADLINE_SLACK_MS 100u /* the node, which counts it, takes the task away before */

/* ---- stopping ---- */

static void wake(struct kvworker_slot *slot)
{
    uint64_t one = 1;
    ssize_t done = write(slot->wake, &one, sizeof(one)); /* full is as good */

    (void)done;
}

void kvworker_stop(struct kvworker *worker, int status)
{
    pthread_mutex_lock(&worker->lock);
    if (!atomic_load(&worker->stopping)) {
        atomic_store(&worker->status, status);
        atomic_store(&worker->stopping, true);
        for (unsigned i = 0; i < worker->options.parallel; i++) {
            wake(&worker->slots[i]);
        }
    }
    pthread_mutex_unlock(&worker->lock);
}

/* Between tasks only the end is of interest, and nobody else resets the descriptor. */
static void worker_rest(struct kvworker *worker, uint32_t ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    if (!atomic_load(&worker->stopping)) {
        (void)nanosleep(&time, NULL);
    }
}

/* Feeds the supervisor's watchdog when that is due. */
static void worker_feed(struct kvworker *worker)
{
    uint64_t now_us = kvp_clock_now_us();
    if (worker->feed_us > 0 && now_us >= atomic_load(&worker->feed_due_us)) {
        atomic_store(&worker->feed_due_us, now_us + worker->feed_us);
        kvp_notify("WATCHDOG=1");
    }
}

/* ---- what the nodes say ---- */

static const char *reason_of(const kvp_result *result)
{
    return result->value.data == NULL ? "" : (const char *)result->value.data;
}

static void note_reached(struct kvworker *worker, bool reached, const kvp_result *result)
{
    char quoted[256];
    pthread_mutex_lock(&worker->lock);
    bool news = worker->unreachable == reached;
    worker->unreachable = !reached;
    pthread_mutex_unlock(&worker->lock);
    if (news && reached) {
        kvp_log(&worker->logger, KVP_LOG_INFO, "nodes_reached", "nodes=%s", worker->options.nodes);
    } else if (news) {
        kvp_log(&worker->logger, KVP_LOG_WARN, "nodes_unreachable", "nodes=%s reason=%s",
                worker->options.nodes, kvp_log_quote(quoted, sizeof(quoted), reason_of(result)));
    }
}

enum reply {
    REPLY_GOOD,    /* or an answer that is the caller's business */
    REPLY_AGAIN,   /* nobody has answered */
    REPLY_UNKNOWN, /* the worker has to join again */
    REPLY_END,
};

/* Does what answers of any operation may ask for. */
static enum reply worker_judge(struct kvworker *worker, kvp_status status, const kvp_result *result)
{
    char text[128], reason[256];
    switch (status) {
    case KVP_TIMEOUT:
    case KVP_TIMEOUT_UNKNOWN:
    case KVP_UNAVAILABLE:
        note_reached(worker, false, result);
        return REPLY_AGAIN;
    case KVP_NO_MEMORY:
        return REPLY_AGAIN;
    case KVP_WORKER_UNKNOWN:
        return REPLY_UNKNOWN;
    case KVP_WORKER_REPLACED:
        kvp_log(&worker->logger, KVP_LOG_ERROR, "replaced", "text=%s",
                "\"another worker has joined under this name: each needs its own, see --id\"");
        kvworker_stop(worker, KVWORKER_REPLACED);
        return REPLY_END;
    case KVP_WORKER_BARRED:
        kvp_log(&worker->logger, KVP_LOG_ERROR, "barred", "text=%s",
                reason_of(result)[0] == '\0'
                    ? "\"too many results of this worker were outvoted: it gets no more tasks\""
                    : kvp_log_quote(reason, sizeof(reason), reason_of(result)));
        kvworker_stop(worker, KVWORKER_BARRED);
        return REPLY_END;
    case KVP_WRONG_GROUP:
    case KVP_BAD_VERSION:
    case KVP_BAD_OP:
    case KVP_REFUSED:
        kvp_log(&worker->logger, KVP_LOG_ERROR, "refused", "status=%s reason=%s",
                kvp_log_quote(text, sizeof(text), kvp_strerror(status)),
                kvp_log_quote(reason, sizeof(reason), reason_of(result)));
        kvworker_stop(worker, KVWORKER_FAILED);
        return REPLY_END;
    default:
        note_reached(worker, true, result);
        return REPLY_GOOD;
    }
}

/* ---- joining ---- */

static unsigned list_kinds(const struct kvworker_options *options, const char **kinds)
{
    unsigned count = 0;
    bool builtin = options->matmul;
    for (unsigned i = 0; i < options->handler_count; i++) {
        kinds[count++] = options->handlers[i].kind;
        builtin = builtin && strcmp(options->handlers[i].kind, KVP_JOB_MATMUL_KIND) != 0;
    }
    if (builtin) {
        kinds[count++] = KVP_JOB_MATMUL_KIND;
    }
    if (builtin && count < KVP_JOB_KINDS_MAX) {
        kinds[count++] = KVP_JOB_BLOCKS_KIND;
    }
    return count;
}

/* Until it has worked or the worker ends. */
static bool worker_join(struct kvworker *worker)
{
    const struct kvworker_options *options = &worker->options;
    const char *kinds[KVP_JOB_KINDS_MAX + 1];
    unsigned count = list_kinds(options, kinds);
    kvp_worker self = {0};
    char quoted[256];
    (void)snprintf(self.name, sizeof(self.name), "%s", options->name);
    while (!atomic_load(&worker->stopping)) {
        kvp_result result;
        worker_feed(worker);
        kvp_status status = kvp_worker_join(worker->client, &self, kinds, count, options->buffer,
                                            options->standby, &result);
        enum reply reply = worker_judge(worker, status, &result);
        if (status == KVP_OK) {
            pthread_mutex_lock(&worker->lock);
            worker->self = self;
            pthread_mutex_unlock(&worker->lock);
            kvp_log(&worker->logger, KVP_LOG_INFO, "joined", "worker=%s instance=%" PRIu64 " as=%s",
                    kvp_log_quote(quoted, sizeof(quoted), self.name), self.instance,
                    options->standby ? "standby" : "active");
            kvp_notify("STATUS=joined, %s", options->standby ? "standby" : "active");
        } else if (reply == REPLY_GOOD) { /* malformed, it says */
            kvp_log(&worker->logger, KVP_LOG_ERROR, "join_failed", "reason=%s",
                    kvp_log_quote(quoted, sizeof(quoted), reason_of(&result)));
            kvworker_stop(worker, KVWORKER_FAILED);
        }
        kvp_result_free(&result);
        if (status == KVP_OK) {
            return true;
        }
        worker_rest(worker, REST_MS);
    }
    return false;
}

/* The worker's identity `instance` is no longer known: one slot joins for all. */
static void join_again(struct kvworker *worker, uint64_t instance)
{
    pthread_mutex_lock(&worker->joining);
    pthread_mutex_lock(&worker->lock);
    bool still = worker->self.instance == instance;
    pthread_mutex_unlock(&worker->lock);
    if (still) {
        kvp_log(&worker->logger, KVP_LOG_WARN, "forgotten", "instance=%" PRIu64, instance);
        (void)worker_join(worker);
    }
    pthread_mutex_unlock(&worker->joining);
}

/* ---- beating ---- */

/* The slot whose beat is due first. NULL: none has a task. */
static struct kvworker_slot *next_due(struct kvworker *worker)
{
    struct kvworker_slot *first = NULL;
    for (unsigned i = 0; i < worker->options.parallel; i++) {
        struct kvworker_slot *slot = &worker->slots[i];
        if (slot->busy && !slot->unwanted &&
            (first == NULL || slot->beat_due_us < first->beat_due_us)) {
            first = slot;
        }
    }
    return first;
}

static void wait_until(struct kvworker *worker, uint64_t now_us, uint64_t until_us)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t nanoseconds = (uint64_t)until.tv_nsec + (until_us - now_us) % 1000000 * 1000;
    until.tv_sec += (time_t)((until_us - now_us) / 1000000 + nanoseconds / 1000000000);
    until.tv_nsec = (long)(nanoseconds % 1000000000);
    (void)pthread_cond_timedwait(&worker->changed, &worker->lock, &until);
}

static bool worker_is_lost(kvp_status status, bool go_on)
{
    switch (status) {
    case KVP_OK:
        return !go_on;
    case KVP_NOT_HELD:
    case KVP_NO_SUCH_JOB:
    case KVP_JOB_STATE:
    case KVP_WORKER_UNKNOWN:
    case KVP_WORKER_REPLACED:
    case KVP_WORKER_BARRED:
        return true;
    default:
        return false;
    }
}

/* Called and returns with the lock held, not in between. */
static void beat(struct kvworker *worker, struct kvworker_slot *slot)
{
    kvp_task task = slot->task; /* its slices may be gone when they are used: they are not */
    kvp_worker held_by = slot->held_by;
    bool go_on = true;
    kvp_result result;

    slot->beat_due_us = kvp_clock_now_us() + (uint64_t)task.beat_ms * 1000;
    pthread_mutex_unlock(&worker->lock);
    kvp_status status = kvp_task_beat(worker->client, &held_by, &task, atomic_load(&slot->progress),
                                      NULL, &go_on, &result);
    (void)worker_judge(worker, status, &result);
    kvp_result_free(&result);
    pthread_mutex_lock(&worker->lock);
    bool same = slot->busy && slot->task.job == task.job && slot->task.attempt == task.attempt;
    if (same && worker_is_lost(status, go_on)) {
        slot->unwanted = true;
        wake(slot);
        kvp_log(&worker->logger, KVP_LOG_INFO, "task_taken_away",
                "job=%" PRIu64 " task=%" PRIu32 " attempt=%" PRIu64, task.job, task.number,
                task.attempt);
    }
}

static void *run_beats(void *arg)
{
    struct kvworker *worker = arg;
    pthread_mutex_lock(&worker->lock);
    while (!worker->ended) {
        struct kvworker_slot *slot = next_due(worker);
        uint64_t now_us = kvp_clock_now_us();
        worker_feed(worker);
        if (slot == NULL && worker->feed_us > 0) {
            wait_until(worker, now_us, now_us + worker->feed_us / 2);
        } else if (slot == NULL) {
            pthread_cond_wait(&worker->changed, &worker->lock);
        } else if (slot->beat_due_us > now_us) {
            wait_until(worker, now_us, slot->beat_due_us);
        } else {
            beat(worker, slot);
        }
    }
    pthread_mutex_unlock(&worker->lock);
    return NULL;
}

/* ---- a task from end to end ---- */

static void log_task(struct kvworker_slot *slot, enum kvp_log_level level, const char *event,
                     const char *text)
{
    char quoted[512];
    const kvp_task *task = &slot->task;
    kvp_log(&slot->worker->logger, level, event,
            "job=%" PRIu64 " task=%" PRIu32 " attempt=%" PRIu64 "%s%s", task->job, task->number,
            task->attempt, text[0] == '\0' ? "" : " reason=",
            text[0] == '\0' ? "" : kvp_log_quote(quoted, sizeof(quoted), text));
}

static bool is_unwanted(struct kvworker_slot *slot)
{
    pthread_mutex_lock(&slot->worker->lock);
    bool unwanted = slot->unwanted;
    pthread_mutex_unlock(&slot->worker->lock);
    return unwanted;
}

static void log_posted(struct kvworker_slot *slot, unsigned outcome, kvp_status status,
                       const kvp_result *result)
{
    static const char *const names[] = {"task_done", "task_failed", "task_overflow",
                                        "task_given_back"};
    char text[300];

    if (status == KVP_OK && !result->counted && outcome != KVP_OUTCOME_GIVEN_BACK) {
        log_task(slot, KVP_LOG_DEBUG, "task_late", "");
    } else if (status == KVP_OK) {
        enum kvp_log_level level = outcome == KVP_OUTCOME_RESULT || outcome == KVP_OUTCOME_FAILED
                                       ? KVP_LOG_DEBUG
                                       : KVP_LOG_INFO;
        log_task(slot, level, names[outcome], "");
    } else {
        const char *reason = reason_of(result);
        (void)snprintf(text, sizeof(text), "%s%s%s", kvp_strerror(status),
                       reason[0] == '\0' ? "" : ": ", reason);
        log_task(slot, KVP_LOG_WARN, "result_dropped", text);
    }
}

/* A result is offered until somebody has answered, or nobody wants it any more. */
static void worker_post(struct kvworker_slot *slot, unsigned outcome, kvp_slice bytes)
{
    struct kvworker *worker = slot->worker;
    enum reply reply;
    bool last;
    do {
        kvp_result result;
        last = atomic_load(&worker->stopping);
        kvp_status status =
            kvp_task_post(worker->client, &slot->held_by, &slot->task, outcome, bytes, &result);
        reply = worker_judge(worker, status, &result);
        if (reply != REPLY_AGAIN) {
            log_posted(slot, outcome, status, &result);
        }
        kvp_result_free(&result);
    } while (reply == REPLY_AGAIN && !last && !is_unwanted(slot));
}

static void begin_task(struct kvworker_slot *slot)
{
    struct kvworker *worker = slot->worker;
    uint64_t count = 0;
    atomic_store(&slot->progress, 0);
    slot->deadline_us =
        kvp_clock_now_us() + ((uint64_t)slot->task.deadline_ms + DEADLINE_SLACK_MS) * 1000;
    pthread_mutex_lock(&worker->lock);
    slot->busy = true;
    slot->unwanted = false;
    if (!atomic_load(&worker->stopping)) { /* what is left of the task before */
        while (read(slot->wake, &count, sizeof(count)) > 0) {
        }
    }
    slot->beat_due_us = kvp_clock_now_us() + (uint64_t)slot->task.beat_ms * 1000;
    pthread_cond_signal(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    log_task(slot, KVP_LOG_DEBUG, "task_begun", "");
}

static void end_task(struct kvworker_slot *slot)
{
    struct kvworker *worker = slot->worker;
    pthread_mutex_lock(&worker->lock);
    slot->busy = false;
    worker->idle_since_us = kvp_clock_now_us();
    pthread_mutex_unlock(&worker->lock);
    kvp_task_free(&slot->task);
}

/* It was interrupted, by the end of the worker or by the deadline. */
static void post_unfinished(struct kvworker_slot *slot)
{
    char text[64];
    if (atomic_load(&slot->worker->stopping) || kvworker_left_ms(slot) > 0) {
        worker_post(slot, KVP_OUTCOME_GIVEN_BACK, kvp_slice_of(NULL, 0));
        return;
    }
    (void)snprintf(text, sizeof(text), "not done by the deadline, after %g s",
                   (double)slot->task.deadline_ms / 1000);
    log_task(slot, KVP_LOG_WARN, "task_failed", text);
    worker_post(slot, KVP_OUTCOME_FAILED, kvp_slice_of(text, strlen(text)));
}

static void work(struct kvworker_slot *slot)
{
    struct kvworker_result result = {0};
    begin_task(slot);
    if (kvworker_task_run(slot, &result)) {
        if (result.outcome == KVP_OUTCOME_FAILED) {
            char text[KVWORKER_REASON_MAX + 1];
            (void)snprintf(text, sizeof(text), "%.*s", (int)result.bytes.size,
                           result.bytes.size == 0 ? "" : (const char *)result.bytes.data);
            log_task(slot, KVP_LOG_WARN, "task_failed", text);
        }
        worker_post(slot, result.outcome, kvp_buf_slice(&result.bytes));
    } else if (!is_unwanted(slot)) {
        post_unfinished(slot);
    }
    kvp_buf_free(&result.bytes);
    end_task(slot);
}

/* ---- fetching ---- */

static void look_whether_idle(struct kvworker *worker)
{
    uint64_t idle_us = (uint64_t)worker->options.idle_exit_ms * 1000;
    bool idle = idle_us > 0;
    pthread_mutex_lock(&worker->lock);
    for (unsigned i = 0; i < worker->options.parallel; i++) {
        idle = idle && !worker->slots[i].busy;
    }
    idle = idle && kvp_clock_now_us() - worker->idle_since_us >= idle_us;
    pthread_mutex_unlock(&worker->lock);
    if (idle) {
        kvp_log(&worker->logger, KVP_LOG_INFO, "idle", "idle_ms=%" PRIu32,
                worker->options.idle_exit_ms);
        kvworker_stop(worker, KVWORKER_DONE);
    }
}

static uint32_t fetch_wait_ms(const struct kvworker *worker)
{
    uint32_t idle_ms = worker->options.idle_exit_ms;
    return idle_ms > 0 && idle_ms < FETCH_WAIT_MS ? idle_ms : FETCH_WAIT_MS;
}

static kvp_status fetch(struct kvworker_slot *slot, kvp_result *result)
{
    struct kvworker *worker = slot->worker;
    pthread_mutex_lock(&worker->lock);
    slot->held_by = worker->self;
    pthread_mutex_unlock(&worker->lock);
    return kvp_task_fetch(worker->client, &slot->held_by, slot->number, fetch_wait_ms(worker),
                          &slot->task, result);
}

static void *run_slot(void *arg)
{
    struct kvworker_slot *slot = arg;
    struct kvworker *worker = slot->worker;
    bool done = false;
    while (!done && !atomic_load(&worker->stopping)) {
        kvp_result result;
        kvp_status status = fetch(slot, &result);
        enum reply reply = worker_judge(worker, status, &result);
        kvp_result_free(&result);
        if (status == KVP_OK) {
            work(slot);
            done = worker->options.once;
        } else if (status == KVP_NO_TASK) {
            look_whether_idle(worker);
        } else if (reply == REPLY_UNKNOWN) {
            join_again(worker, slot->held_by.instance);
        } else {
            if (reply == REPLY_GOOD) { /* damaged on its way, or a misunderstanding */
                kvp_log(&worker->logger, KVP_LOG_WARN, "fetch_failed", "reason=\"%s\"",
                        kvp_strerror(status));
            }
            worker_rest(worker, reply == REPLY_GOOD ? LONG_REST_MS : REST_MS);
        }
    }
    return NULL;
}

/* ---- life ---- */

/* The first signal ends the worker in good order, a second one at once. */
static void *worker_watch_signals(void *arg)
{
    struct kvworker *worker = arg;
    sigset_t set;
    int number = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    (void)sigwait(&set, &number);
    kvp_log(&worker->logger, KVP_LOG_INFO, "stopping", "signal=%d", number);
    kvp_notify("STOPPING=1\nSTATUS=stopping");
    kvworker_stop(worker, KVWORKER_DONE);
    (void)sigwait(&set, &number);
    for (unsigned i = 0; i < worker->options.parallel; i++) {
        pid_t group = atomic_load(&worker->slots[i].handler);
        if (group > 0) {
            (void)kill(-group, SIGKILL);
        }
    }
    _exit(KVWORKER_FAILED);
}

static bool make_slots(struct kvworker *worker)
{
    pthread_condattr_t attributes;
    (void)pthread_mutex_init(&worker->lock, NULL);
    (void)pthread_mutex_init(&worker->joining, NULL);
    kvworker_blocks_init(&worker->blocks);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&worker->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    for (unsigned i = 0; i < worker->options.parallel; i++) {
        struct kvworker_slot *slot = &worker->slots[i];
        slot->worker = worker;
        slot->number = i;
        slot->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (slot->wake < 0) {
            return false;
        }
    }
    return true;
}

static void work_until_stopped(struct kvworker *worker)
{
    pthread_t beats;
    worker->idle_since_us = kvp_clock_now_us();
    if (pthread_create(&beats, NULL, run_beats, worker) != 0) {
        kvp_log(&worker->logger, KVP_LOG_ERROR, "no_threads", "reason=\"%s\"", strerror(EAGAIN));
        kvworker_stop(worker, KVWORKER_FAILED);
        return;
    }
    while (worker->slot_count < worker->options.parallel) {
        struct kvworker_slot *slot = &worker->slots[worker->slot_count];
        if (pthread_create(&slot->thread, NULL, run_slot, slot) != 0) {
            kvp_log(&worker->logger, KVP_LOG_ERROR, "no_threads", "reason=\"%s\"",
                    strerror(EAGAIN));
            kvworker_stop(worker, KVWORKER_FAILED);
            break;
        }
        worker->slot_count++;
    }
    for (unsigned i = 0; i < worker->slot_count; i++) {
        pthread_join(worker->slots[i].thread, NULL);
    }
    pthread_mutex_lock(&worker->lock);
    worker->ended = true;
    pthread_cond_signal(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    pthread_join(beats, NULL);
}

/* Who is not told finds out by the silence. */
static void worker_leave(struct kvworker *worker)
{
    int status = atomic_load(&worker->status);
    if (worker->unreachable || status == KVWORKER_REPLACED || status == KVWORKER_BARRED) {
        return;
    }
    kvp_status left = kvp_worker_leave(worker->client, &worker->self, NULL);
    kvp_log(&worker->logger, KVP_LOG_INFO, left == KVP_OK ? "left" : "not_left", "tasks=%" PRIu64,
            atomic_load(&worker->tasks));
}

static int live(struct kvworker *worker)
{
    pthread_t watcher;
    if (pthread_create(&watcher, NULL, worker_watch_signals, worker) != 0) {
        kvp_log(&worker->logger, KVP_LOG_ERROR, "no_threads", "reason=\"%s\"", strerror(EAGAIN));
        return KVWORKER_FAILED;
    }
    worker->feed_us = kvp_notify_feed_us();
    kvp_notify("READY=1\nSTATUS=joining"); /* nodes that are away are waited for */
    if (worker_join(worker)) {
        work_until_stopped(worker);
        worker_leave(worker);
    }
    (void)pthread_cancel(watcher);
    (void)pthread_join(watcher, NULL);
    return atomic_load(&worker->status);
}

static kvp_status worker_open_client(struct kvworker *worker)
{
    kvp_client_options options;
    char message[512];
    kvp_client_options_init(&options);
    options.nodes = worker->options.nodes;
    options.group = worker->options.group;
    options.timeout_ms = TIMEOUT_MS;
    kvp_tls_names_fill(&worker->options.tls, &options);
    kvp_status status = kvp_client_open(&options, &worker->client, message, sizeof(message));
    if (status != KVP_OK) {
        fprintf(stderr, "kvworker: %s\n", message);
    }
    return status;
}

/* What workers before have left, and how the next one will know what is ours. */
static void clear_away(struct kvworker *worker)
{
    unsigned orphans = kvworker_end_orphans();
    if (orphans > 0) {
        kvp_log(&worker->logger, KVP_LOG_WARN, "orphans_ended",
                "count=%u text=\"processes of handlers whose worker was killed\"", orphans);
    }
    kvworker_mark(worker->mark, sizeof(worker->mark));
}

int kvworker_run(struct kvworker *worker)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    kvp_process_bear_failed_writes();
    (void)signal(SIGHUP, SIG_IGN); /* a terminal that closes is no reason to stop */
    clear_away(worker);
    kvp_status status = worker_open_client(worker);
    if (status != KVP_OK) {
        return status == KVP_BAD_ARGUMENT ? KVWORKER_USAGE : KVWORKER_FAILED;
    }
    if (!make_slots(worker)) {
        fprintf(stderr, "kvworker: no descriptors left\n");
        kvp_client_close(worker->client);
        return KVWORKER_FAILED;
    }
    int code = live(worker);
    kvp_client_close(worker->client);
    kvworker_blocks_free(&worker->blocks);
    for (unsigned i = 0; i < worker->options.parallel; i++) {
        (void)close(worker->slots[i].wake);
    }
    return code;
}
