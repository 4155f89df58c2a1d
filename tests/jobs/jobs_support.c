/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/jobs/jobs_support.h"

struct farm farm;

int setup_farm(void **state)
{
    (void)state;
    farm_open(&farm);
    return 0;
}

int teardown_farm(void **state)
{
    (void)state;
    farm_close(&farm);
    return 0;
}

void check_state(uint64_t job, const char *expected)
{
    assert_string_equal(farm_text(&farm, job, "state"), expected);
}

void check_result(uint64_t job, uint32_t number, const char *expected)
{
    kvp_buf bytes = {0};
    assert_int_equal(farm_result(&farm, job, number, &bytes), KVP_OK);
    check_slice(kvp_buf_slice(&bytes), text(expected));
    kvp_buf_free(&bytes);
}
