/* SPDX-License-Identifier: Apache-2.0 */
/* Runs seeds: sim [--mode witness|backup-wins|primary-wins|available|any] [--seeds N] [--from SEED]
 * [--replay SEED]. */
#include "sim.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const modes[] = {"witness", "backup-wins", "primary-wins", "available"};

static int usage(void)
{
    fprintf(stderr, "usage: sim [--mode witness|backup-wins|primary-wins|available|any] "
                    "[--seeds N] [--from SEED] [--replay SEED]\n");
    return 2;
}

static int find_mode(const char *name)
{
    for (int i = 0; i < 4; i++) {
        if (strcmp(name, modes[i]) == 0) {
            return i;
        }
    }
    return -1;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"mode", required_argument, NULL, 'm'},
                                            {"seeds", required_argument, NULL, 'n'},
                                            {"from", required_argument, NULL, 'f'},
                                            {"replay", required_argument, NULL, 'r'},
                                            {NULL, 0, NULL, 0}};
    static struct sim sim;
    int mode = -1, which;
    unsigned long long seeds = 100, from = 1, failed = 0, faults = 0, failovers = 0;
    unsigned long long virtual_us = 0, deliveries = 0;
    bool replay = false;
    while ((which = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (which) {
        case 'm':
            mode = find_mode(optarg);
            break;
        case 'n':
            seeds = strtoull(optarg, NULL, 0);
            break;
        case 'r':
            replay = true;
            seeds = 1;
            from = strtoull(optarg, NULL, 0);
            break;
        case 'f':
            from = strtoull(optarg, NULL, 0);
            break;
        default:
            return usage();
        }
    }
    for (unsigned long long seed = from; seed < from + seeds; seed++) {
        struct sim_plan plan;
        sim_plan_make(&plan, seed, mode);
        bool ok = sim_run(&sim, seed, &plan, replay);
        faults += sim.faults;
        failovers += sim.failovers;
        virtual_us += sim.now_us;
        deliveries += sim.deliveries;
        if (!ok) {
            failed++;
            printf("seed %llu mode %s nodes %u: %s\n  replay: sim --mode %s --replay %llu\n", seed,
                   modes[plan.policy], plan.nodes, sim.failure, mode < 0 ? "any" : modes[mode],
                   seed);
        }
    }
    printf("%llu passed, %llu failed; %.2f virtual hours, %llu faults, %llu changes of who serves, "
           "%llu messages\n",
           seeds - failed, failed, (double)virtual_us / 3.6e9, faults, failovers, deliveries);
    return failed != 0;
}
