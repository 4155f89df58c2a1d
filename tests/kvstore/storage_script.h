/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A script that does everything a storage can do, and a model of it, a few lines long. Whatever
 * happens on the way, a storage that is opened afterwards must be at one of the model's steps.
 */
#ifndef STORAGE_SCRIPT_H
#define STORAGE_SCRIPT_H

#include "tests/kvstore/storage_support.h"

enum {
    STEPS = 45,
};

struct model {
    struct history log; /* from the first entry on, so that every state can be computed */
    uint64_t base, applied;
    struct kvp_meta meta; /* the group id is the number of the step that wrote it last */
    unsigned quarantined;
};

extern struct model models[STEPS + 1]; /* before the first step, after each */

int make_models(void **state); /* for a group of tests */
int free_models(void **state);

struct run {
    struct depot depot; /* in memory */
    unsigned done;      /* steps that succeeded */
    unsigned durable;   /* of them, up to the last that promised it */
    unsigned chunk;
};

void run_begin(struct run *run); /* the first step opens the storage */
void run_end(struct run *run);
/* Does the next step, the one with the number `done`. If it fails it is still the next. */
kvp_status run_step(struct run *run);
/* Runs steps until one fails or `steps` are done. */
kvp_status run_on(struct run *run, unsigned steps);

/* The storage that was just opened is at one of the steps, and all of it; says at which. */
unsigned check_between(struct depot *depot, unsigned first, unsigned last);
/* The storage goes on from where it is, and nothing lies about in its directory. */
void check_goes_on(struct depot *depot, const struct model *model);

#endif
