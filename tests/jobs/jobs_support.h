/* SPDX-License-Identifier: Apache-2.0 */
/* One farm for the tests of a program, new for each test, and what is asked of it again and again.
 */
#ifndef JOBS_SUPPORT_H
#define JOBS_SUPPORT_H

#include "tests/jobs/farm.h"

extern struct farm farm;

int setup_farm(void **state);
int teardown_farm(void **state);
#define FARM_TEST(name) cmocka_unit_test_setup_teardown(name, setup_farm, teardown_farm)

void check_state(uint64_t job, const char *expected);
void check_result(uint64_t job, uint32_t number, const char *expected);

#endif
