/* SPDX-License-Identifier: Apache-2.0 */
/* A histogram of durations whose buckets grow with them. */
#include "client/kvbench/kvbench.h"

#include <math.h>

static unsigned bucket_of(uint64_t ns)
{
    const uint64_t most = (UINT64_C(1) << (HIST_OCTAVES + HIST_BITS)) - 1;
    ns = ns < most ? ns : most;
    if (ns < UINT64_C(1) << HIST_BITS) {
        return (unsigned)ns;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - HIST_BITS;
    return (shift << HIST_BITS) + (unsigned)(ns >> shift);
}

static double middle_of(unsigned bucket)
{
    if (bucket < 2u << HIST_BITS) {
        return bucket;
    }
    unsigned shift = (bucket >> HIST_BITS) - 1;
    uint64_t low = (uint64_t)(bucket - (shift << HIST_BITS)) << shift;
    return (double)low + (double)(UINT64_C(1) << shift) / 2;
}

void hist_add(struct hist *hist, uint64_t ns)
{
    hist->buckets[bucket_of(ns)]++;
    hist->total++;
    hist->max_ns = ns > hist->max_ns ? ns : hist->max_ns;
}

void hist_merge(struct hist *into, const struct hist *from)
{
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        into->buckets[i] += from->buckets[i];
    }
    into->total += from->total;
    into->max_ns = from->max_ns > into->max_ns ? from->max_ns : into->max_ns;
}

double hist_quantile_us(const struct hist *hist, double quantile)
{
    uint64_t rank = (uint64_t)ceil(quantile * (double)hist->total);
    uint64_t seen = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        seen += hist->buckets[i];
        if (seen >= rank && seen > 0) {
            double ns = middle_of(i);
            return (ns < (double)hist->max_ns ? ns : (double)hist->max_ns) / 1000;
        }
    }
    return 0;
}
