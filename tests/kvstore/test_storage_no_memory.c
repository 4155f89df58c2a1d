/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every single allocation of a script fails once. A step that is refused for want of memory has
 * changed nothing, and succeeds when it is repeated; or the storage has stopped, and goes on after
 * reopening from before or after that step.
 */
#include "tests/kvstore/storage_script.h"

#include <stdlib.h>

/* ---- allocations ---- */

static bool armed;            /* only what the storage does is counted */
static bool refused;          /* the one that had to fail has failed */
static unsigned long left;    /* allocations that still succeed before it */
static unsigned long running; /* the case, said when it fails; 0: none */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);

static bool refuse(void)
{
    if (!armed || refused) {
        return false;
    }
    refused = left == 0;
    left -= refused ? 0 : 1;
    return refused;
}

void *__wrap_malloc(size_t size)
{
    return refuse() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return refuse() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size)
{
    return refuse() ? NULL : __real_realloc(block, size);
}

/* ---- the script ---- */

static kvp_status step_armed(struct run *run)
{
    armed = true;
    kvp_status status = run_step(run);
    armed = false;
    return status;
}

static bool has_stopped(const struct depot *depot)
{
    return depot->storage != NULL && kvp_storage_error(depot->storage)[0] != '\0';
}

/* Repeats the step, or, if the storage has stopped, opens it again and ends the run there. */
static unsigned recover(struct run *run, kvp_status status)
{
    if (!has_stopped(&run->depot)) {
        /* What a closing or giving up a snapshot cannot do, it leaves. */
        assert_true(status == KVP_OK || status == KVP_NO_MEMORY || run->depot.storage == NULL);
        assert_int_equal(run_on(run, STEPS), KVP_OK);
        depot_reopen(&run->depot);
        return check_between(&run->depot, STEPS, STEPS);
    }
    assert_int_equal(status, KVP_IO); /* nobody shall take it for a mere shortage */
    check_stopped(&run->depot);
    depot_reopen(&run->depot);
    return check_between(&run->depot, run->done, run->done + 1);
}

/* False when there are not so many allocations. */
static bool try_allocation(unsigned long number)
{
    struct run run;
    kvp_status status = KVP_OK;
    running = number + 1;
    run_begin(&run);
    left = number;
    refused = false;
    while (run.done < STEPS && status == KVP_OK) {
        status = step_armed(&run);
    }
    unsigned at = recover(&run, status);
    check_goes_on(&run.depot, &models[at]);
    run_end(&run);
    running = 0;
    return refused;
}

static void test_memory_runs_out_at_every_allocation(void **state)
{
    (void)state;
    unsigned long number = 0;

    while (try_allocation(number)) {
        number++;
    }
    assert_true(number > 500);
}

static int say_case(void **state)
{
    (void)state;
    if (running != 0) {
        print_error("allocation %lu\n", running - 1);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_memory_runs_out_at_every_allocation, say_case),
    };

    return cmocka_run_group_tests(tests, make_models, free_models);
}
