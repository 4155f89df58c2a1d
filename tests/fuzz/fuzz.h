/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz target is this one function: it takes any bytes and must not crash. libFuzzer calls it
 * (-Dfuzz=true), else replay.c does, with the files of the seed corpus.
 */
#ifndef KVP_TEST_FUZZ_H
#define KVP_TEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
