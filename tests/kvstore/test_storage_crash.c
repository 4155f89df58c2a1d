/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The power is cut, or a write fails, at every single change of a script. After each cut the
 * directory must open to what the model had after the last step that was made durable, or a later
 * one: never to something in between, and never in doubt, since nothing durable was lost.
 */
#include "tests/kvstore/storage_script.h"

#include <string.h>

/* ---- the cuts ---- */

struct cut {
    uint64_t change; /* the one that fails */
    bool persist;    /* it happens nevertheless */
    size_t keep_batches, keep_frames;
    bool keep_files;
    uint64_t recovery; /* the change of the opening afterwards that fails, too */
    bool finished;     /* the case went well */
};

static struct cut cut;

static int say_cut(void **state)
{
    (void)state;
    if (!cut.finished) {
        print_error("change %llu%s, %zu batches and %zu frames%s kept, then change %llu of the "
                    "recovery\n",
                    (unsigned long long)cut.change, cut.persist ? " (done)" : "", cut.keep_batches,
                    cut.keep_frames, cut.keep_files ? " and files" : "",
                    (unsigned long long)cut.recovery);
    }
    return 0;
}

static void set_cut(struct kvp_env *env, uint64_t change)
{
    struct kvp_memory_fault fault = {change, KVP_IO, cut.persist, true};
    kvp_env_memory_set_fault(env, fault);
}

static void cut_power(struct depot *depot)
{
    kvp_env_memory_crash(depot->place.env, cut.keep_batches, cut.keep_frames, cut.keep_files);
    depot_close(depot);
    kvp_env_memory_restart(depot->place.env);
}

/* False when the script has no such change. With `recover` the power fails once more, at that
 * change of the next opening; *recovered tells that there was none. */
static bool try_cut(bool recover, bool *recovered)
{
    struct run run;
    cut.finished = false;
    run_begin(&run);
    set_cut(run.depot.place.env, cut.change);
    kvp_status status = run_on(&run, STEPS);
    if (status != KVP_OK && run.depot.storage != NULL) {
        check_stopped(&run.depot);
    }
    cut_power(&run.depot);
    if (recover) {
        set_cut(run.depot.place.env, cut.recovery);
        *recovered = depot_try(&run.depot) == KVP_OK;
        cut_power(&run.depot);
    }
    depot_open(&run.depot);
    unsigned least = cut.keep_frames == SIZE_MAX ? run.done : run.durable;
    unsigned at = check_between(&run.depot, least, run.done + 1);
    check_goes_on(&run.depot, &models[at]);
    run_end(&run);
    cut.finished = true;
    return status != KVP_OK;
}

/* Calls `each` for every way in which a cut can treat what was not durable. */
static void in_every_way(void (*each)(void))
{
    static const size_t keeps[] = {0, 1, 2, SIZE_MAX};
    for (unsigned way = 0; way < 64; way++) {
        memset(&cut, 0, sizeof(cut));
        cut.persist = (way & 1) != 0;
        cut.keep_files = (way & 2) != 0;
        cut.keep_batches = keeps[(way >> 2) & 3];
        cut.keep_frames = keeps[way >> 4];
        each();
    }
}

static void at_every_change(void)
{
    for (cut.change = 0; try_cut(false, NULL); cut.change++) {
    }
    assert_true(cut.change > STEPS); /* nearly every step changes something, some several things */
}

static void at_every_two_changes(void)
{
    bool more = true;
    for (cut.change = 0; more; cut.change++) {
        bool recovered = false;
        for (cut.recovery = 0; more && !recovered; cut.recovery++) {
            more = try_cut(true, &recovered);
        }
    }
}

static void test_a_power_cut_at_every_change(void **state)
{
    (void)state;
    in_every_way(at_every_change);
}

static void test_a_power_cut_at_every_change_of_the_recovery(void **state)
{
    (void)state;
    in_every_way(at_every_two_changes);
}

/* ---- failures of which the process lives to tell ---- */

/* False when the script has no such change. */
static bool try_failure(kvp_status failure)
{
    struct run run;
    struct kvp_memory_fault fault = {cut.change, failure, cut.persist, false};
    cut.finished = false;
    run_begin(&run);
    struct kvp_env *env = run.depot.place.env;
    kvp_env_memory_set_fault(env, fault);
    kvp_status status = run_on(&run, STEPS);
    uint64_t changes = kvp_env_memory_changes(env);
    if (status != KVP_OK && run.depot.storage != NULL) {
        /* A change that wants memory half-way is no better than one that fails on the disk. */
        assert_int_equal(status, failure == KVP_NO_MEMORY ? KVP_IO : failure);
        check_stopped(&run.depot);
        depot_close(&run.depot);
        assert_int_equal(kvp_env_memory_changes(env), changes); /* stopped is stopped */
    }
    depot_close(&run.depot);
    fault.status = KVP_OK;
    kvp_env_memory_set_fault(env, fault);
    depot_open(&run.depot);
    unsigned at = check_between(&run.depot, run.done, run.done + 1);
    check_goes_on(&run.depot, &models[at]);
    run_end(&run);
    cut.finished = true;
    return cut.change < changes; /* a failed removal is passed over, so look at the count */
}

static void test_the_first_failure_is_the_last(void **state)
{
    (void)state;
    static const kvp_status failures[] = {KVP_IO, KVP_DISK_FULL, KVP_CORRUPT, KVP_NO_MEMORY};

    memset(&cut, 0, sizeof(cut));
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        for (unsigned persist = 0; persist < 2; persist++) {
            cut.persist = persist != 0;
            for (cut.change = 0; try_failure(failures[i]); cut.change++) {
            }
            assert_true(cut.change > STEPS);
        }
    }
}

/* ---- without any failure ---- */

/* The other tests prove something only if script and model agree when nothing goes wrong; then the
 * state does not lag, and entries that were trimmed are gone but for those in one frame with others
 * that were not. */
static void test_the_script_does_what_the_model_does(void **state)
{
    (void)state;
    for (unsigned steps = 1; steps <= STEPS; steps++) {
        struct run run;
        run_begin(&run);
        assert_int_equal(run_on(&run, steps), KVP_OK);
        depot_reopen(&run.depot);
        (void)check_between(&run.depot, steps, steps);
        assert_int_equal(run.depot.loaded.applied.seq, models[steps].applied);
        assert_true(run.depot.loaded.log_first + 4 > models[steps].base);
        check_goes_on(&run.depot, &models[steps]);
        run_end(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_script_does_what_the_model_does),
        cmocka_unit_test_teardown(test_a_power_cut_at_every_change, say_cut),
        cmocka_unit_test_teardown(test_a_power_cut_at_every_change_of_the_recovery, say_cut),
        cmocka_unit_test_teardown(test_the_first_failure_is_the_last, say_cut),
    };

    return cmocka_run_group_tests(tests, make_models, free_models);
}
