/* SPDX-License-Identifier: Apache-2.0 */
/* kvworker: a worker as a process of its own. */
#include "client/kvworker/kvworker.h"
#include "kvstore/base/process.h"

int main(int argc, char **argv)
{
    static struct kvworker worker;
    if (!kvp_process_fill_standard()) {
        return KVWORKER_FAILED;
    }
    int code = kvworker_parse(argc, argv, &worker.options);
    if (code >= 0) {
        return code;
    }
    worker.logger.level = worker.options.log_level;
    return kvworker_run(&worker);
}
