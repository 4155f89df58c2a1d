/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a request to the witness. */
#include "tests/fuzz/fuzz.h"
#include "tests/wire/samples.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sample_check_stable(SAMPLE_WITNESS_REQUEST, kvp_slice_of(data, size));
    return 0;
}
