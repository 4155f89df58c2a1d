/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a client's request. */
#include "tests/fuzz/fuzz.h"
#include "replication/wire/wire.h"
#include "tests/wire/samples.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned version;
    unsigned op;
    kvp_slice message = kvp_slice_of(data, size);
    (void)kvp_wire_peek(message, &version, &op);
    sample_check_stable(SAMPLE_REQUEST, message);
    return 0;
}
