/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of the wire that the users of kvp_jobs.h see, too. */
#ifndef KVP_JOB_CODES_H
#define KVP_JOB_CODES_H

/* What JOB_INFO tells about. */
enum kvp_job_info {
    KVP_INFO_JOBS = 0,    /* all jobs, from the id `from` on */
    KVP_INFO_JOB = 1,     /* one job */
    KVP_INFO_TASKS = 2,   /* its tasks, from the number `from` on */
    KVP_INFO_WORKERS = 3, /* all workers */
    KVP_INFO_DEAD = 4,    /* the tasks of a job that have failed, from the number `from` on */
};

/* What becomes of a job when one of its tasks has failed. */
enum kvp_job_on_failure {
    KVP_ON_FAILURE_STOP = 0,     /* it has failed, too */
    KVP_ON_FAILURE_CONTINUE = 1, /* the other tasks go on; own tasks only */
};

/* What can be changed of a job that has not ended. */
enum kvp_job_setting {
    KVP_JOB_SET_PAUSED = 0,      /* 1: no task is handed out any more; 0: they are again */
    KVP_JOB_SET_MAX_RUNNING = 1, /* attempts under way at a time; 0: any number */
    KVP_JOB_SET_PRIORITY = 2,    /* 0 to 255 */
};

/* And of a worker, whether it is there or not. */
enum kvp_worker_setting {
    KVP_WORKER_SET_DRAINED = 0, /* 1: it is given no task any more; 0: it is again */
};

/* How an attempt at a task ended. */
enum kvp_task_outcome {
    KVP_OUTCOME_RESULT = 0,   /* with the result that is posted */
    KVP_OUTCOME_FAILED = 1,   /* without: the bytes posted say why, for people */
    KVP_OUTCOME_OVERFLOW = 2, /* the result does not fit its type: as much a result as any other */
    KVP_OUTCOME_GIVEN_BACK = 3, /* the worker ends, or took the task by mistake: nobody's fault */
};

/* On the wire and in stores they are numbers, for ever. Elements x and y agree when: */
enum kvp_agreement {
    KVP_AGREE_EXACT = 0,    /* x == y, so 0.0 agrees with -0.0; a job compares the bytes */
    KVP_AGREE_ABSOLUTE = 1, /* |x - y| <= tolerance */
    KVP_AGREE_RELATIVE = 2, /* |x - y| <= tolerance * max(|x|, |y|), or |x - y| <= floor */
    /* Not elements but the sums of all rows and of all columns agree: integers' modulo 2^64;
     * floats' (in float64) if they differ by at most tolerance * the larger sum of magnitudes of
     * the same elements, or by at most floor. */
    KVP_AGREE_CHECKSUM = 3,
};

#endif
