/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fence command: makes a silent primary harmless (power switch, cloud API) before another one
 * takes its place. Runs in a shell of its own process group, at most FENCE_LIMIT_MS.
 */
#include "replication/node/node_state.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>

#define FENCE_LIMIT_MS 30000u
#define FENCE_LOOK_MS  20u

extern char **environ;

static bool wait_for_child(struct kvp_node *node, pid_t child)
{
    for (unsigned waited_ms = 0; waited_ms < FENCE_LIMIT_MS && !atomic_load(&node->fence_cancel);
         waited_ms += FENCE_LOOK_MS) {
        int how = 0;
        pid_t done = waitpid(child, &how, WNOHANG);
        if (done == child) {
            return WIFEXITED(how) && WEXITSTATUS(how) == 0;
        }
        if (done < 0 && errno != EINTR) {
            return false;
        }
        struct timespec pause = {0, FENCE_LOOK_MS * 1000000L};
        nanosleep(&pause, NULL);
    }
    kill(-child, SIGKILL);
    waitpid(child, NULL, 0);
    return false;
}

static bool fence_run_command(struct kvp_node *node)
{
    char *const argv[] = {"sh", "-c", node->fence_command, NULL};
    posix_spawnattr_t attributes;
    sigset_t none, all;
    pid_t child;
    sigemptyset(&none);
    sigfillset(&all); /* as a shell expects them, whatever this process ignores */
    if (posix_spawnattr_init(&attributes) != 0) {
        return false;
    }
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int error = posix_spawn(&child, "/bin/sh", NULL, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    return error == 0 && wait_for_child(node, child);
}

static void *fence_run(void *arg)
{
    struct kvp_node *node = arg;
    node->fence_event.flag = fence_run_command(node);
    node_post(node, &node->fence_event);
    return NULL;
}

void node_fence_start(struct kvp_node *node)
{
    node_fence_stop(node); /* the last one has ended: it has told so */
    atomic_store(&node->fence_cancel, false);
    node->fence_event = (struct node_event){.kind = NODE_FENCE_DONE};
    if (pthread_create(&node->fence_thread, NULL, fence_run, node) == 0) {
        node->fence_joinable = true;
    } else {
        node_post(node, &node->fence_event); /* as failed */
    }
}

void node_fence_stop(struct kvp_node *node)
{
    if (node->fence_joinable) {
        atomic_store(&node->fence_cancel, true);
        pthread_join(node->fence_thread, NULL);
        node->fence_joinable = false;
    }
}
