/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A local program as the handler of a task: payload in, result out, and a reason when there is
 * none.
 *
 * The shell leads a process group, so that what it starts can be killed with it. As long as it has
 * not been waited for, its number, and with that the group's, belongs to nobody else.
 */
#include "client/kvworker/kvworker.h"
#include "kvstore/base/utf8.h"
#include "kvstore/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TERM_GRACE_MS 2000 /* from SIGTERM to SIGKILL */
#define LOOK_MS       10   /* where the system does not tell when a process ends */
#define CHUNK_SIZE    65536u

extern char **environ;

enum verdict { NONE, CANCELLED, TIMED_OUT, TOO_LONG, NO_MEMORY };

enum { INPUT, OUTPUT, ERRORS, PIPES };

struct handler {
    const struct kvworker_order *order;
    pid_t pid;
    int process;      /* a pidfd; -1: there is none */
    int pipes[PIPES]; /* our ends; -1: closed */
    size_t written;
    kvp_buf *output;
    char errors[KVWORKER_REASON_MAX]; /* the last of standard error */
    size_t error_size;
    enum verdict verdict;
    uint64_t deadline_us; /* of what comes next: the timeout, or SIGKILL; 0: nothing */
    siginfo_t exit;
};

/* ---- starting ---- */

static bool same_name(const char *a, const char *b)
{
    size_t size = strcspn(a, "=");
    return strncmp(a, b, size) == 0 && b[size] == '=';
}

/* Our environment with the order's variables in it; the strings are borrowed. */
static char **make_environment(const char *const *variables)
{
    size_t count = 0, added = 0, used = 0;
    while (environ[count] != NULL) {
        count++;
    }
    while (variables[added] != NULL) {
        added++;
    }
    char **all = calloc(count + added + 1, sizeof(*all));
    for (size_t i = 0; all != NULL && i < count; i++) {
        size_t j = 0;
        while (j < added && !same_name(variables[j], environ[i])) {
            j++;
        }
        if (j == added) {
            all[used++] = environ[i];
        }
    }
    for (size_t i = 0; all != NULL && i < added; i++) {
        all[used++] = (char *)variables[i]; /* nobody writes into it */
    }
    return all;
}

static void close_end(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

/* Ours does not block; the child's end is in theirs[]. */
static bool make_pipes(int ours[PIPES], int theirs[PIPES])
{
    for (int i = 0; i < PIPES; i++) {
        int both[2];
        if (pipe2(both, O_CLOEXEC) != 0) {
            return false;
        }
        ours[i] = both[i == INPUT ? 1 : 0];
        theirs[i] = both[i == INPUT ? 0 : 1];
        if (fcntl(ours[i], F_SETFL, O_NONBLOCK) != 0) {
            return false;
        }
    }
    return true;
}

/* Signals are as a shell expects them, whatever we block and ignore. */
static void reset_signals(void)
{
    struct sigaction usual = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int number = 1; number < NSIG; number++) {
        (void)sigaction(number, &usual, NULL);
    }
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The child's life up to the shell. It dies with this thread, which waits for it: a worker that is
 * killed leaves no shell behind. Only what is safe between fork and exec is called. */
static _Noreturn void become_shell(const char *command, const int theirs[PIPES], char **environment,
                                   pid_t worker)
{
    const char *const arguments[] = {"sh", "-c", command, NULL};

    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != worker) {
        _exit(127); /* it was killed before it could be asked for */
    }
    for (int i = 0; i < PIPES; i++) {
        if (theirs[i] == i ? fcntl(i, F_SETFD, 0) != 0 : dup2(theirs[i], i) < 0) {
            _exit(127);
        }
    }
    reset_signals();
    (void)execve("/bin/sh", (char *const *)arguments, environment);
    _exit(127);
}

static int spawn(struct handler *handler, const int theirs[PIPES], char **environment)
{
    sigset_t all, before;
    pid_t worker = getpid();
    sigfillset(&all); /* no handler of ours runs in the child */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    handler->pid = fork();
    if (handler->pid == 0) {
        become_shell(handler->order->command, theirs, environment, worker);
    }
    int failed = handler->pid < 0 ? errno : 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed == 0) {
        (void)setpgid(handler->pid, handler->pid); /* whoever of the two comes first */
    }
    return failed;
}

/* Returns an errno; 0: it runs. */
static int handler_start(struct handler *handler)
{
    int theirs[PIPES] = {-1, -1, -1};
    int failed = 0;
    char **environment = make_environment(handler->order->variables);
    if (environment == NULL) {
        return ENOMEM;
    }
    if (!make_pipes(handler->pipes, theirs)) {
        failed = errno;
    } else {
        failed = spawn(handler, theirs, environment);
    }
    free(environment);
    for (int i = 0; i < PIPES; i++) {
        close_end(&theirs[i]);
        if (failed != 0) {
            close_end(&handler->pipes[i]);
        }
    }
    if (failed == 0) {
        handler->process = pidfd_open(handler->pid, 0);
        uint32_t timeout_ms = handler->order->timeout_ms;
        handler->deadline_us =
            timeout_ms == 0 ? 0 : kvp_clock_now_us() + (uint64_t)timeout_ms * 1000;
    }
    return failed;
}

/* ---- ending ---- */

/* The first reason counts. */
static void condemn(struct handler *handler, enum verdict verdict)
{
    if (handler->verdict == NONE) {
        handler->verdict = verdict;
        handler->deadline_us = kvp_clock_now_us() + TERM_GRACE_MS * 1000;
        (void)kill(-handler->pid, SIGTERM);
    }
}

static void look_at_clock(struct handler *handler)
{
    if (handler->deadline_us == 0 || kvp_clock_now_us() < handler->deadline_us) {
        return;
    }
    if (handler->verdict == NONE) {
        condemn(handler, TIMED_OUT);
    } else {
        handler->deadline_us = 0;
        (void)kill(-handler->pid, SIGKILL);
    }
}

static bool handler_has_ended(struct handler *handler)
{
    handler->exit.si_pid = 0;
    return waitid(P_PID, (id_t)handler->pid, &handler->exit, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           handler->exit.si_pid == handler->pid;
}

/* ---- bytes there and back ---- */

static void handler_feed(struct handler *handler)
{
    kvp_slice input = handler->order->input;
    while (handler->written < input.size) {
        ssize_t sent = write(handler->pipes[INPUT], (const uint8_t *)input.data + handler->written,
                             input.size - handler->written);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (sent < 0) {
            break; /* it does not want to read it: that is its business */
        }
        handler->written += (size_t)sent;
    }
    close_end(&handler->pipes[INPUT]);
}

static void keep_errors(struct handler *handler, const uint8_t *bytes, size_t size)
{
    const size_t max = sizeof(handler->errors);
    if (size > max) {
        bytes += size - max;
        size = max;
    }
    size_t kept = handler->error_size < max - size ? handler->error_size : max - size;
    memmove(handler->errors, handler->errors + handler->error_size - kept, kept);
    memcpy(handler->errors + kept, bytes, size);
    handler->error_size = kept + size;
}

static void keep_output(struct handler *handler, const uint8_t *bytes, size_t size)
{
    if (handler->verdict != NONE) {
        return;
    }
    if (handler->output->size + size > handler->order->output_max) {
        condemn(handler, TOO_LONG);
    } else if (kvp_buf_append(handler->output, bytes, size) != KVP_OK) {
        condemn(handler, NO_MEMORY);
    }
}

/* Reads what there is, at most one chunk. False: there is nothing more at the moment. */
static bool drain(struct handler *handler, int which)
{
    uint8_t bytes[CHUNK_SIZE];
    if (handler->pipes[which] < 0) {
        return false;
    }
    ssize_t got = read(handler->pipes[which], bytes, sizeof(bytes));
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    if (got <= 0) {
        close_end(&handler->pipes[which]);
        return false;
    }
    if (which == OUTPUT) {
        keep_output(handler, bytes, (size_t)got);
    } else {
        keep_errors(handler, bytes, (size_t)got);
    }
    return true;
}

static int poll_time(const struct handler *handler)
{
    uint64_t now_us = kvp_clock_now_us();
    int ms = -1;
    if (handler->deadline_us != 0) {
        uint64_t left_us = handler->deadline_us > now_us ? handler->deadline_us - now_us : 0;
        ms = left_us / 1000 < 3600000 ? (int)(left_us / 1000) + 1 : 3600000;
    }
    return handler->process < 0 && (ms < 0 || ms > LOOK_MS) ? LOOK_MS : ms;
}

static void attend(struct handler *handler)
{
    bool hear = handler->verdict == NONE;
    struct pollfd events[] = {
        {.fd = handler->pipes[INPUT], .events = POLLOUT},
        {.fd = handler->pipes[OUTPUT], .events = POLLIN},
        {.fd = handler->pipes[ERRORS], .events = POLLIN},
        {.fd = hear ? handler->order->cancel : -1, .events = POLLIN},
        {.fd = handler->process, .events = POLLIN},
    };

    if (poll(events, sizeof(events) / sizeof(events[0]), poll_time(handler)) < 0) {
        return; /* a signal */
    }
    if (events[INPUT].revents != 0) {
        handler_feed(handler);
    }
    for (int i = OUTPUT; i <= ERRORS; i++) {
        if (events[i].revents != 0) {
            (void)drain(handler, i);
        }
    }
    if (events[PIPES].revents != 0) {
        condemn(handler, CANCELLED);
    }
}

/* The shell has ended. What it left behind in the pipes counts, what it left running does not. */
static void handler_finish(struct handler *handler)
{
    while (handler->verdict == NONE && drain(handler, OUTPUT)) {
    }
    for (unsigned i = 0; i < 16 && drain(handler, ERRORS); i++) {
    }
    (void)kill(-handler->pid, SIGKILL);
    if (handler->order->group != NULL) {
        atomic_store(handler->order->group, 0);
    }
    while (waitpid(handler->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    for (int i = 0; i < PIPES; i++) {
        close_end(&handler->pipes[i]);
    }
    close_end(&handler->process);
}

/* ---- what to say ---- */

static int describe(const struct handler *handler, char *text, size_t size)
{
    int code = handler->exit.si_status;
    switch (handler->verdict) {
    case TIMED_OUT:
        return snprintf(text, size,
                        handler->order->deadline ? "not done by the deadline, after %g s"
                                                 : "timed out after %g s",
                        (double)handler->order->timeout_ms / 1000);
    case TOO_LONG:
        return snprintf(text, size, "result longer than %zu bytes", handler->order->output_max);
    case NO_MEMORY:
        return snprintf(text, size, "out of memory");
    default:
        break;
    }
    if (handler->exit.si_code == CLD_EXITED) {
        return snprintf(text, size, "exit status %d", code);
    }
    return snprintf(text, size, "killed by signal %d (%s)", code, strsignal(code));
}

/* The verdict, and as much of the end of standard error as fits. */
static void handler_explain(const struct handler *handler, char *reason)
{
    size_t size = handler->error_size;
    size_t used = (size_t)describe(handler, reason, KVWORKER_REASON_MAX - 2);
    while (size > 0 && (unsigned char)handler->errors[size - 1] <= ' ') {
        size--;
    }
    if (size > 0) {
        memcpy(reason + used, ": ", 2);
        used += 2;
        (void)kvp_utf8_copy_end(reason + used, KVWORKER_REASON_MAX + 1 - used,
                                kvp_slice_of(handler->errors, size));
    }
}

enum kvworker_ending kvworker_handler_run(const struct kvworker_order *order, kvp_buf *output,
                                          char *reason)
{
    struct handler handler = {
        .order = order, .process = -1, .pipes = {-1, -1, -1}, .output = output};
    int failed = handler_start(&handler);

    reason[0] = '\0';
    if (failed != 0) {
        (void)snprintf(reason, KVWORKER_REASON_MAX + 1, "the handler cannot be started: %s",
                       strerror(failed));
        return KVWORKER_HANDLER_FAILED;
    }
    if (order->group != NULL) {
        atomic_store(order->group, handler.pid);
    }
    while (!handler_has_ended(&handler)) {
        attend(&handler);
        look_at_clock(&handler);
    }
    handler_finish(&handler);
    if (handler.verdict == CANCELLED) {
        return KVWORKER_HANDLER_CANCELLED;
    }
    if (handler.verdict == NONE && handler.exit.si_code == CLD_EXITED &&
        handler.exit.si_status == 0) {
        return KVWORKER_HANDLER_DONE;
    }
    handler_explain(&handler, reason);
    return KVWORKER_HANDLER_FAILED;
}
