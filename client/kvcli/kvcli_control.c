/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of jobs and workers while they are at work, and of tasks that have failed. */
#include "client/kvcli/kvcli.h"
#include "kvpair/kvp_jobs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int control_end(struct kvcli *cli, kvp_status status, kvp_result *result)
{
    int code = status == KVP_OK ? EXIT_DONE : kvcli_failed(status, result);
    if (status == KVP_OK && cli->prompt) {
        puts("done");
    }
    kvp_result_free(result);
    return code;
}

static int control_set(struct kvcli *cli, const char *id, unsigned setting, uint64_t value)
{
    uint64_t job = 0;
    kvp_result result = {0};
    if (!kvcli_job_id(id, &job)) {
        return EXIT_USAGE;
    }
    return control_end(cli, kvp_job_set(cli->client, job, setting, value, &result), &result);
}

int kvcli_job_pause(struct kvcli *cli, int argc, char **argv)
{
    (void)argc;
    return control_set(cli, argv[0], KVP_JOB_SET_PAUSED, 1);
}

int kvcli_job_resume(struct kvcli *cli, int argc, char **argv)
{
    (void)argc;
    return control_set(cli, argv[0], KVP_JOB_SET_PAUSED, 0);
}

int kvcli_job_set(struct kvcli *cli, int argc, char **argv)
{
    static const struct {
        const char *option;
        unsigned setting;
        uint64_t max;
    } settings[] = {{"--max-running", KVP_JOB_SET_MAX_RUNNING, UINT32_MAX},
                    {"--priority", KVP_JOB_SET_PRIORITY, UINT8_MAX}};
    int code = EXIT_USAGE;

    (void)argc;
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        const char *text = kvcli_option(cli, settings[i].option);
        uint64_t value = 0;
        if (text == NULL) {
            continue;
        }
        if (!kvcli_parse_number(text, settings[i].max, &value)) {
            return kvcli_complain("job set: %s cannot be '%s'", settings[i].option, text);
        }
        code = control_set(cli, argv[0], settings[i].setting, value);
        if (code != EXIT_DONE) {
            return code;
        }
    }
    return code == EXIT_USAGE ? kvcli_complain("job set: --max-running or --priority is missing")
                              : code;
}

/* ---- failed tasks ---- */

int kvcli_job_retry(struct kvcli *cli, int argc, char **argv)
{
    const char *text = kvcli_option(cli, "--task");
    uint64_t job = 0, task = 0;
    uint32_t count = 0;
    kvp_result result = {0};
    (void)argc;
    if (!kvcli_job_id(argv[0], &job)) {
        return EXIT_USAGE;
    }
    if (text != NULL && !kvcli_parse_number(text, UINT32_MAX, &task)) {
        return kvcli_complain("job retry: --task: '%s' is not the number of a task", text);
    }
    if (text != NULL && kvcli_option(cli, "--failed") != NULL) {
        return kvcli_complain("job retry: either --task or --failed");
    }
    kvp_status status = kvp_job_retry(cli->client, job, (uint32_t)task,
                                      text != NULL ? 1 : UINT32_MAX, &count, &result);
    int code = status == KVP_OK ? EXIT_DONE : kvcli_failed(status, &result);
    kvp_result_free(&result);
    if (code == EXIT_DONE) {
        printf(cli->json ? "{\"retried\":%" PRIu32 "}\n" : "%" PRIu32 "\n", count);
    }
    return code;
}

/* ---- workers ---- */

static int control_worker(struct kvcli *cli, const char *name, uint64_t drained)
{
    kvp_result result = {0};
    kvp_status status = kvp_worker_set(cli->client, name, KVP_WORKER_SET_DRAINED, drained, &result);
    return control_end(cli, status, &result);
}

int kvcli_worker_drain(struct kvcli *cli, int argc, char **argv)
{
    (void)argc;
    return control_worker(cli, argv[0], 1);
}

int kvcli_worker_resume(struct kvcli *cli, int argc, char **argv)
{
    (void)argc;
    return control_worker(cli, argv[0], 0);
}
