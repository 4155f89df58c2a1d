/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts. They end a command, quietly, as a shell expects it; but nobody shall think that an
 * update has not happened. At the prompt they only want it back.
 *
 * A read that waits for a person is left by a jump. To look for an interrupt before it is not
 * enough, as one may come in between; nor is it to wait with the signal let in only there
 * (ppoll()), as the terminal throws away on an interrupt what made it ready.
 */
#include "client/kvcli/kvcli.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>

static volatile sig_atomic_t update_under_way, interrupted, reading;
static sigjmp_buf out_of_reading;

void kvcli_update_begins(void)
{
    update_under_way = 1;
}

void kvcli_settled(void)
{
    update_under_way = 0;
}

static void interrupt_end(int number)
{
    static const char text[] =
        "kvcli: interrupted; whether the command was executed is not known\n";

    if (update_under_way) {
        (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    }
    _exit(128 + number);
}

/* Whom somebody has told to take no notice of them does not. */
static void handle_all(void (*handler)(int number))
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = handler}, before;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            (void)sigaction(numbers[i], &action, NULL);
        }
    }
}

void kvcli_interrupts_end(void)
{
    handle_all(interrupt_end);
}

static void interrupt_note(int number)
{
    interrupted = number;
    if (reading) {
        siglongjmp(out_of_reading, 1); /* all other threads keep signals out */
    }
}

void kvcli_interrupts_note(void)
{
    struct sigaction action = {.sa_handler = interrupt_note};
    (void)sigaction(SIGINT, &action, NULL);
}

void kvcli_ends_note(void)
{
    handle_all(interrupt_note);
}

int kvcli_interrupt_number(void)
{
    return interrupted;
}

bool kvcli_interrupted(void)
{
    return interrupted != 0;
}

void kvcli_interrupt_forget(void)
{
    interrupted = 0;
}

ssize_t kvcli_read_input(void *bytes, size_t size)
{
    ssize_t got = -1;
    if (sigsetjmp(out_of_reading, 1) != 0) {
        reading = 0;
        errno = EINTR;
        return -1;
    }
    reading = 1;
    errno = EINTR;
    while (!interrupted && (got = read(STDIN_FILENO, bytes, size)) < 0 && errno == EINTR) {
    }
    reading = 0;
    return got;
}
