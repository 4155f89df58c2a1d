/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock, elect: run a command while a lock is held. Its lease is kept in the background; when that
 * cannot be said any more to be so, the command is ended, in time.
 */
#include "client/kvcli/kvcli.h"
#include "kvpair/kvp_lock.h"
#include "kvstore/base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TTL_MS  10000u
#define LOCK_WAIT_MS 1000u /* a wait for the lock is broken off so often, for an interrupt */
#define LOOK_NS      20000000
#define AGAIN_US     100000u

struct locking {
    struct kvcli *cli;
    const char *title; /* "lock" */
    kvp_slice name, value;
    uint64_t lease, ttl_ms, fence;
    pthread_t keeper;
    _Atomic uint64_t kept_us; /* when the call began that kept the lease last */
    atomic_bool lost, over;
};

static void lock_doze(void)
{
    const struct timespec step = {0, LOOK_NS};
    (void)nanosleep(&step, NULL);
}

/* ---- the lease ---- */

static void *lock_keep(void *arg)
{
    struct locking *locking = arg;
    uint64_t next_us = kvp_clock_now_us() + locking->ttl_ms * 1000 / 3;
    while (!atomic_load(&locking->over) && !atomic_load(&locking->lost)) {
        uint64_t now_us = kvp_clock_now_us();
        if (now_us < next_us) {
            lock_doze();
            continue;
        }
        kvp_status status = kvp_lease_keep(locking->cli->client, locking->lease, NULL, NULL);
        if (status == KVP_OK) {
            atomic_store(&locking->kept_us, now_us);
        } else if (status == KVP_NOT_FOUND || status == KVP_REFUSED) {
            atomic_store(&locking->lost, true);
        }
        next_us =
            status == KVP_OK ? now_us + locking->ttl_ms * 1000 / 3 : kvp_clock_now_us() + AGAIN_US;
    }
    return NULL;
}

/* For how long the lease is known to go on; 0: it may have ended. */
static uint64_t lock_left_us(const struct locking *locking)
{
    uint64_t now_us = kvp_clock_now_us();
    uint64_t until_us = atomic_load(&locking->kept_us) + locking->ttl_ms * 1000;
    return atomic_load(&locking->lost) || now_us >= until_us ? 0 : until_us - now_us;
}

/* ---- the command ---- */

static void lock_become(const struct locking *locking, char **command)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    char fence[24], lease[24];
    sigset_t none;
    (void)sigemptyset(&none);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        (void)signal(numbers[i], SIG_DFL);
    }
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setpgid(0, 0);                    /* what it has started ends with it */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* nobody keeps the lease any more */
    (void)snprintf(fence, sizeof(fence), "%" PRIu64, locking->fence);
    (void)snprintf(lease, sizeof(lease), "%" PRIu64, locking->lease);
    if (setenv("KVPAIR_FENCE", fence, 1) == 0 && setenv("KVPAIR_LEASE", lease, 1) == 0) {
        (void)execvp(command[0], command);
    }
    (void)kvcli_complain("%s: %s: %s", locking->title, command[0], strerror(errno));
    _exit(127);
}

/* Waits for the command's end. It is told when the lease has a tenth of its time left, and killed
 * at its end. *lost: it was. */
static int lock_wait_for(const struct locking *locking, pid_t child, bool *lost)
{
    int status = 0, passed = 0;
    *lost = false;
    for (;;) {
        pid_t ended = waitpid(child, &status, WNOHANG);
        if (ended == child) {
            return status;
        }
        uint64_t left_us = lock_left_us(locking);
        if (left_us == 0) {
            (void)kill(-child, SIGKILL);
        } else if (left_us < locking->ttl_ms * 100 && !*lost) {
            (void)kill(-child, SIGTERM);
        }
        *lost = *lost || left_us < locking->ttl_ms * 100;
        int number = kvcli_interrupt_number();
        if (number != 0 && number != passed) {
            passed = number;
            (void)kill(-child, number);
        }
        lock_doze();
    }
}

static int lock_run(struct locking *locking, char **command)
{
    bool lost = false;
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        lock_become(locking, command);
    }
    if (child < 0) {
        (void)kvcli_complain("%s: %s cannot be started: %s", locking->title, command[0],
                             strerror(errno));
        return EXIT_NOTHING;
    }
    (void)setpgid(child, child); /* whoever comes first */
    int status = lock_wait_for(locking, child, &lost);
    if (lost) {
        (void)kvcli_complain("%s: the lock was lost, or may have been: %s was ended",
                             locking->title, command[0]);
        return EXIT_UNKNOWN;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- the lock ---- */

/* Until it is had, or the time is over. */
static kvp_status lock_take(struct locking *locking, uint64_t timeout_ms, kvp_result *result)
{
    uint64_t until_us = kvp_clock_now_us() + timeout_ms * 1000;
    kvp_status status = KVP_EXISTS;
    while (status == KVP_EXISTS && kvcli_interrupt_number() == 0) {
        uint64_t now_us = kvp_clock_now_us();
        uint64_t left_ms = now_us < until_us ? (until_us - now_us) / 1000 : 0;
        kvp_result_free(result);
        status = kvp_lock_acquire(
            locking->cli->client, locking->name, locking->value, locking->lease,
            left_ms < LOCK_WAIT_MS ? (uint32_t)left_ms : LOCK_WAIT_MS, &locking->fence, result);
        if (left_ms == 0) {
            break;
        }
    }
    return status;
}

static int lock_hold(struct locking *locking, uint64_t timeout_ms, char **command)
{
    kvp_result result = {0};
    int code;
    if (pthread_create(&locking->keeper, NULL, lock_keep, locking) != 0) {
        return kvcli_failed(KVP_NO_MEMORY, NULL);
    }
    kvp_status status = lock_take(locking, timeout_ms, &result);
    if (status == KVP_OK && kvcli_interrupt_number() == 0) {
        code = lock_run(locking, command);
    } else if (kvcli_interrupt_number() != 0) {
        code = 128 + kvcli_interrupt_number();
    } else if (status == KVP_EXISTS) {
        code = EXIT_NO;
        (void)kvcli_complain("%s: another one has it", locking->title);
    } else {
        code = kvcli_failed(status, &result);
    }
    atomic_store(&locking->over, true);
    (void)pthread_join(locking->keeper, NULL);
    kvp_result_free(&result);
    return code;
}

static int lock_with(struct kvcli *cli, const char *title, const char *name, const char *value,
                     char **command)
{
    const char *ttl = kvcli_option(cli, "--ttl"), *timeout = kvcli_option(cli, "--timeout");
    struct locking locking = {.cli = cli,
                              .title = title,
                              .name = kvcli_slice(name),
                              .value = kvcli_slice(value),
                              .ttl_ms = LOCK_TTL_MS};
    uint64_t seconds = UINT64_MAX / 2000000;
    kvp_result result = {0};
    if ((ttl != NULL && !kvcli_take_ttl(title, ttl, &locking.ttl_ms)) ||
        (timeout != NULL && !kvcli_parse_number(timeout, 1000000000, &seconds))) {
        return timeout != NULL ? kvcli_complain("%s: --timeout: '%s' is not a number of seconds",
                                                title, timeout)
                               : EXIT_USAGE;
    }
    kvcli_ends_note();
    atomic_store(&locking.kept_us, kvp_clock_now_us());
    kvp_status status = kvp_lease_grant(cli->client, locking.ttl_ms, &locking.lease, &result);
    if (status != KVP_OK) {
        int code = kvcli_failed(status, &result);
        kvp_result_free(&result);
        return code;
    }
    kvp_result_free(&result);
    int code = lock_hold(&locking, seconds * 1000, command);
    (void)kvp_lease_revoke(cli->client, locking.lease, NULL); /* else it ends by itself */
    return code;
}

int kvcli_lock(struct kvcli *cli, int argc, char **argv)
{
    char value[300] = "";
    if (cli->given->before != 1 || argc < 2) {
        return kvcli_complain("lock: lock NAME -- COMMAND ...");
    }
    (void)gethostname(value, 255);
    (void)snprintf(value + strlen(value), 24, " %ld", (long)getpid());
    return lock_with(cli, "lock", argv[0], value, argv + 1);
}

int kvcli_elect(struct kvcli *cli, int argc, char **argv)
{
    if (cli->given->before != 2 || argc < 3) {
        return kvcli_complain("elect: elect NAME VALUE -- COMMAND ...");
    }
    return lock_with(cli, "elect", argv[0], argv[1], argv + 2);
}
