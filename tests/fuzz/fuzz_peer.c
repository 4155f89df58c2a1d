/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a request or a reply of another node. */
#include "tests/fuzz/fuzz.h"
#include "tests/wire/samples.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kvp_slice message = kvp_slice_of(data, size);
    sample_check_stable(SAMPLE_PEER_REQUEST, message);
    sample_check_stable(SAMPLE_PEER_REPLY, message);
    return 0;
}
