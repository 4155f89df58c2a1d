/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of a script that are under way together. Their answers are printed in the order of the
 * lines, and no line is begun before those that use the same key have their answers, unless all of
 * them only read it: what comes of a script is what would come of it line by line.
 */
#ifndef KVCLI_PIPELINE_H
#define KVCLI_PIPELINE_H

#include "client/kvcli/kvcli.h"

struct kvcli_pipeline;

/* What came of a line, and was printed: its exit status. False: no other one shall be begun. */
typedef bool (*kvcli_outcome)(void *arg, unsigned long line, int code);

/* `together`: so many lines at once, at most. NULL: memory was short. */
struct kvcli_pipeline *kvcli_pipeline_new(struct kvcli *cli, unsigned together, kvcli_outcome tell,
                                          void *arg);
enum kvcli_begun {
    KVCLI_BEGUN,
    KVCLI_ALONE,  /* it is nothing that can be under way with others, and was not begun */
    KVCLI_STOPPED /* nothing is begun any more */
};
enum kvcli_begun kvcli_pipeline_begin(struct kvcli_pipeline *pipeline, unsigned long line, int argc,
                                      const char *const *argv);
/* Waits for all that is under way. After an interrupt the wait is short, and the handle closed when
 * it is over. */
void kvcli_pipeline_finish(struct kvcli_pipeline *pipeline);
/* Nothing may be under way. NULL is fine. */
void kvcli_pipeline_free(struct kvcli_pipeline *pipeline);

#endif
