/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an answer, and its result as one of every kind. */
#include "tests/fuzz/fuzz.h"
#include "replication/wire/wire.h"
#include "tests/wire/samples.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kvp_answer answer;
    kvp_slice message = kvp_slice_of(data, size);
    sample_check_stable(SAMPLE_ANSWER, message);
    if (kvp_wire_answer_decode(message, &answer) == KVP_OK) {
        for (int kind = RESULT_UINT; kind < RESULT_KINDS; kind++) {
            sample_check_result_stable((enum sample_result)kind, answer.result);
        }
    }
    return 0;
}
