/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock that silence is measured with. It is that of the time, but stands still while nobody
 * can be heard: then nobody's silence says anything about him. Deadlines are of the time, workers
 * know them.
 */
#include "replication/jobs/job_state.h"

#define HEAR_AGAIN_US 100000u

void kvp_jobs_hear(struct kvp_jobs *jobs, uint64_t deaf_us, uint64_t unheard_us)
{
    jobs->deaf_us = deaf_us;
    jobs->unheard_us = unheard_us;
}

uint64_t jobs_heard_us(const struct kvp_jobs *jobs, uint64_t now_us)
{
    bool deaf = jobs->deaf_us != 0 && jobs->deaf_us < now_us;
    return (deaf ? jobs->deaf_us : now_us) - jobs->unheard_us;
}

uint64_t jobs_silent_us(const struct kvp_jobs *jobs, uint64_t heard_us, uint64_t now_us)
{
    uint64_t until_us = jobs_heard_us(jobs, now_us);
    return until_us > heard_us ? until_us - heard_us : 0;
}

uint64_t jobs_silence_due_us(const struct kvp_jobs *jobs, uint64_t heard_us, uint64_t silence_us,
                             uint64_t now_us)
{
    uint64_t due_us = heard_us + silence_us + jobs->unheard_us;
    return due_us > now_us ? due_us : now_us + HEAR_AGAIN_US; /* the clock has stood still */
}
