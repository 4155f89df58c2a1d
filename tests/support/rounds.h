/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How often a test of mere computing repeats itself. With a sanitizer, which looks for another kind
 * of fault and is 40 times as slow in arithmetic, an eighth of the rounds is enough: the seeds are
 * the first of those without.
 */
#ifndef TESTS_SUPPORT_ROUNDS_H
#define TESTS_SUPPORT_ROUNDS_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_ROUNDS(count) ((count) / 8)
#else
#define TEST_ROUNDS(count) (count)
#endif

#endif
