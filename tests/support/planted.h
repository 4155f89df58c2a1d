/* SPDX-License-Identifier: Apache-2.0 */
/* Planted bugs (kvstore/base/mutant.h), and whether a file's own cases find them. */
#ifndef KVP_TEST_PLANTED_H
#define KVP_TEST_PLANTED_H

#include "kvstore/base/mutant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Does the bug make them fail? `run` runs all and says how many did. In a process of its own: what
 * a case that fails leaves is left. */
static inline bool planted_bug_is_found(enum kvp_mutant mutant, int (*run)(void))
{
    int status = 0;
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        kvp_mutant = mutant;
        bool quiet =
            freopen("/dev/null", "w", stdout) != NULL && freopen("/dev/null", "w", stderr) != NULL;
        _exit(quiet && run() == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return !WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS;
}

#endif
