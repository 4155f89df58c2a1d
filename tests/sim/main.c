/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs seeds: sim [--mode witness|backup-wins|primary-wins|available|any] [--seeds N] [--from SEED]
 * [--jobs] [--sessions] [--copies] [--operators] [--rough] [--accidents] [--members] [--eager]
 * [--no-hangs]
 * [--no-strangers] [--watch] [--rights] [--leases]
 * [--replay SEED] [--regressions] [--marks] [--lines]. Nodes tick at their deadlines only; with
 * --eager, and with jobs, far more often: seeds that found something before it was so keep their
 * meaning.
 */
#include "sim.h"

#include "sim_marks.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const modes[] = {"witness", "backup-wins", "primary-wins", "available"};

enum { WITNESS, BACKUP_WINS, PRIMARY_WINS, AVAILABLE };

/* Seeds that have found something once. What a seed does changes with the plans and with how often
 * the streams are drawn from: then an entry is a seed like others. */
static const struct {
    int mode;
    unsigned long long seed;
    bool jobs, lazy, strangers, hangs, copies, sessions, rough, accidents;
} regressions[] = {
    /* The APPEND that cuts a suffix, or its answer, got lost, and was never sent again. */
    {WITNESS, 1877},
    {BACKUP_WINS, 1318},
    {BACKUP_WINS, 1723},
    {BACKUP_WINS, 1872},
    {BACKUP_WINS, 1877},
    {BACKUP_WINS, 1947},
    {BACKUP_WINS, 3663},
    {AVAILABLE, 1301},
    {AVAILABLE, 1614},
    /* A resignation came late, when its sender was primary again. */
    {WITNESS, 3386},
    /* A view was told before it was durable at its holder, and lost there. */
    {BACKUP_WINS, 2899},
    /* A grant of an earlier proposal came late, and was taken for the present one's. */
    {BACKUP_WINS, 402632},
    /* A member that had been replaced by an empty one got a message of before: it promised to
     * count, and led with an empty log. */
    {WITNESS, 20020753, .lazy = true},
    /* What a holder had granted after its disk had failed was on its way to the other's disk, or on
     * it unknown to anybody, when the holder came back and decided anew. */
    {BACKUP_WINS, 10027022, .lazy = true},
    {BACKUP_WINS, 30008024, .lazy = true},
    {PRIMARY_WINS, 30006312, .lazy = true},
    /* The same, and the holder led in a view that it had forgotten and was told again. */
    {PRIMARY_WINS, 8019180, .lazy = true, .strangers = true, .hangs = true, .rough = true},
    {PRIMARY_WINS, 8020242, .lazy = true, .strangers = true, .hangs = true, .rough = true},
    {PRIMARY_WINS, 8516215, .lazy = true, .strangers = true, .hangs = true, .rough = true},
    /* A checkpoint of a worker that lied was given to those who should have found it out. */
    {WITNESS, 19, .jobs = true},
    /* A task was fed a result that was not committed, and never was. */
    {WITNESS, 679, .jobs = true},
    /* A new primary was still reading its jobs: the refusal was kept as the answer. */
    {WITNESS, 4, .jobs = true},
    /* A worker that hung got its task back by beating, or kept its place, while standbys waited. */
    {WITNESS, 23, .jobs = true},
    /* A forged snapshot took the place of a store while the register, out of reach, gave its node
     * the lead of one whose disk hung. */
    {WITNESS, 406276, .lazy = true, .strangers = true, .hangs = true},
    {WITNESS, 518331, .lazy = true, .strangers = true, .hangs = true},
    /* A worker that was forgotten and came back had failed nothing. */
    {BACKUP_WINS, 3005024, .jobs = true, .hangs = true},
    {WITNESS, 500254, .jobs = true, .hangs = true},
    /* What an earlier life of a node had asked came late, and twice: no second store. */
    {WITNESS, 3011155, .lazy = true, .strangers = true, .hangs = true, .copies = true},
    /* The lead of a node whose disk hung took as long as its messages, of 63 ms each, and more
     * than was allowed. */
    {WITNESS, 4003001, .lazy = true, .strangers = true, .hangs = true, .sessions = true},
    /* So many outcomes are unknown that the search for an order took hours. */
    {BACKUP_WINS, 6009159, .lazy = true, .strangers = true, .hangs = true, .sessions = true},
    /* A good worker could post nothing for seconds, as all session slots had been used of late. */
    {PRIMARY_WINS, 8000104, .jobs = true, .hangs = true},
    /* All stood by, each had lost the task once, and nobody was called for it any more. */
    {WITNESS, 9014095, .jobs = true, .hangs = true},
    /* A primary whose workers waited for what was not committed took them for gone. */
    {BACKUP_WINS, 9100679, .jobs = true, .hangs = true},
    {BACKUP_WINS, 9200019, .jobs = true, .hangs = true},
    /* A witness that was emptied and restarted had forgotten whom it had to tell that. */
    {WITNESS, 9028081, .lazy = true, .strangers = true, .hangs = true, .accidents = true},
    /* An old directory was told of a later view by a message that was late, and nobody helped. */
    {WITNESS, 9618018, .lazy = true, .strangers = true, .hangs = true, .accidents = true},
    /* Questions to the witness got lost while it was to be asked for another lead. */
    {WITNESS, 9500072, .jobs = true, .hangs = true},
    {WITNESS, 9603272, .lazy = true, .strangers = true, .hangs = true},
};

struct totals {
    unsigned long long passed, failed, faults, failovers, virtual_us, deliveries, with_jobs;
};

/* The exit status. */
static int usage(bool wanted)
{
    fprintf(wanted ? stdout : stderr,
            "usage: sim [--mode witness|backup-wins|primary-wins|available|any] "
            "[--jobs] [--sessions] [--copies] [--operators] [--rough] [--accidents] [--watch] "
            "[--members] "
            "[--rights] [--leases] [--eager] "
            "[--no-hangs] [--no-strangers] [--seeds "
            "N] [--from SEED] "
            "[--replay SEED] [--regressions] [--marks] [--lines]\n"
            "docs/testing.md tells what they do, and how a seed is replayed.\n");
    return wanted ? 0 : 2;
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

/* A kind of world: what is in it besides nodes and clients. */
struct world {
    bool jobs, sessions, lazy, hangs, strangers, copies, operators, rough, accidents, watch, rights,
        leases, members;
};

/* What a run prints besides its failure: each of its events; its line, and what it came to. */
struct shown {
    bool events, lines;
};

/* The arguments that run this seed again: with jobs, nodes are eager and there are no strangers. */
static void print_line(int mode, unsigned long long seed, struct world world)
{
    bool eager = !world.lazy && !world.jobs;
    printf("sim --mode %s %s%s%s%s%s%s%s%s%s%s%s%s--replay %llu", mode < 0 ? "any" : modes[mode],
           world.jobs ? "--jobs " : "", world.sessions ? "--sessions " : "",
           world.copies ? "--copies " : "", world.operators ? "--operators " : "",
           world.rough ? "--rough " : "",
           world.members     ? "--members "
           : world.accidents ? "--accidents "
                             : "",
           world.watch ? "--watch " : "", world.rights ? "--rights " : "",
           world.leases ? "--leases " : "", eager ? "--eager " : "",
           world.hangs ? "" : "--no-hangs ",
           world.strangers || eager || world.jobs ? "" : "--no-strangers ", seed);
}

static void run(int mode, unsigned long long seed, struct world world, struct shown shown,
                struct totals *totals)
{
    static struct sim sim;
    struct sim_plan plan;
    sim_plan_make(&plan, seed, mode);
    plan.lazy_ticks = world.lazy;
    plan.chunk_size = world.lazy ? plan.chunk_size : 0;
    if (world.strangers) {
        sim_plan_strangers(&plan, seed);
    }
    if (world.jobs) {
        sim_plan_jobs(&plan, seed);
    }
    if (world.hangs) {
        sim_plan_hangs(&plan, seed);
    }
    if (world.sessions) {
        sim_plan_sessions(&plan, seed);
    }
    if (world.copies) {
        sim_plan_copies(&plan, seed);
    }
    if (world.rough) {
        sim_plan_rough(&plan, seed);
    }
    if (world.operators) {
        sim_plan_operators(&plan, seed);
    }
    if (world.members) {
        sim_plan_members(&plan, seed);
    }
    if (world.accidents) {
        sim_plan_accidents(&plan, seed);
    }
    if (world.watch) {
        sim_plan_watches(&plan, seed);
    }
    if (world.rights) {
        sim_plan_rights(&plan, seed);
    }
    if (world.leases) {
        sim_plan_leases(&plan, seed);
    }
    bool ok = sim_run(&sim, seed, &plan, shown.events);
    totals->passed += ok;
    totals->failed += !ok;
    totals->faults += sim.faults;
    totals->failovers += sim.failovers;
    totals->with_jobs += sim.failovers_with_jobs;
    totals->virtual_us += sim.now_us;
    totals->deliveries += sim.deliveries;
    if (!ok) {
        printf("seed %llu mode %s nodes %u: %s\n  replay: ", seed, modes[plan.policy], plan.nodes,
               sim.failure);
        print_line(mode, seed, world);
        printf("\n");
    }
    if (shown.lines) {
        print_line(mode, seed, world);
        printf(": %llu us, %llu faults, %llu messages\n", (unsigned long long)sim.now_us,
               (unsigned long long)sim.faults, (unsigned long long)sim.deliveries);
    }
}

/* Those of one mode, or (-1) of all. */
static void run_regressions(int mode, struct shown shown, struct totals *totals)
{
    for (size_t i = 0; i < sizeof(regressions) / sizeof(regressions[0]); i++) {
        if (mode < 0 || mode == regressions[i].mode) {
            const struct world world = {.jobs = regressions[i].jobs,
                                        .lazy = regressions[i].lazy,
                                        .strangers = regressions[i].strangers,
                                        .hangs = regressions[i].hangs,
                                        .copies = regressions[i].copies,
                                        .sessions = regressions[i].sessions,
                                        .rough = regressions[i].rough,
                                        .accidents = regressions[i].accidents};
            run(regressions[i].mode, regressions[i].seed, world, shown, totals);
        }
    }
}

/* The seeds that the tests run, of all worlds, until every mark has been reached. */
static void run_marks(unsigned long long seeds, struct totals *totals)
{
    static const struct shown nothing;
    static const struct world lazy = {.lazy = true, .strangers = true, .hangs = true};
    for (unsigned long long seed = 1; seed <= seeds && sim_marks_missing() != 0; seed++) {
        for (int mode = WITNESS; mode <= AVAILABLE; mode++) {
            run(mode, seed, lazy, nothing, totals);
        }
        struct world copies = lazy, operators = lazy, rough = lazy, accidents = lazy;
        copies.copies = operators.operators = rough.rough = accidents.accidents = true;
        run(WITNESS, seed, copies, nothing, totals);
        run(WITNESS, seed, operators, nothing, totals);
        run(WITNESS, seed, accidents, nothing, totals);
        run(-1, seed, rough, nothing, totals);
    }
}

struct arguments {
    int mode;
    unsigned long long seeds, from;
    int replay, again, eager, marks, lines; /* flags of getopt_long() */
    int jobs, sessions, copies, operators, rough, accidents, watch, rights, leases, members,
        no_hangs, no_strangers, help;
};

static bool take_arguments(int argc, char **argv, struct arguments *taken)
{
    const struct option options[] = {{"mode", required_argument, NULL, 'm'},
                                     {"seeds", required_argument, NULL, 'n'},
                                     {"from", required_argument, NULL, 'f'},
                                     {"replay", required_argument, NULL, 'r'},
                                     {"regressions", no_argument, &taken->again, 1},
                                     {"jobs", no_argument, &taken->jobs, 1},
                                     {"sessions", no_argument, &taken->sessions, 1},
                                     {"copies", no_argument, &taken->copies, 1},
                                     {"operators", no_argument, &taken->operators, 1},
                                     {"rough", no_argument, &taken->rough, 1},
                                     {"accidents", no_argument, &taken->accidents, 1},
                                     {"members", no_argument, &taken->members, 1},
                                     {"watch", no_argument, &taken->watch, 1},
                                     {"rights", no_argument, &taken->rights, 1},
                                     {"leases", no_argument, &taken->leases, 1},
                                     {"marks", no_argument, &taken->marks, 1},
                                     {"eager", no_argument, &taken->eager, 1},
                                     {"lines", no_argument, &taken->lines, 1},
                                     {"no-hangs", no_argument, &taken->no_hangs, 1},
                                     {"no-strangers", no_argument, &taken->no_strangers, 1},
                                     {"help", no_argument, &taken->help, 1},
                                     {NULL, 0, NULL, 0}};
    int which;
    while ((which = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (which) {
        case 0:
            break;
        case 'm':
            taken->mode = find_mode(optarg);
            break;
        case 'n':
            taken->seeds = strtoull(optarg, NULL, 0);
            break;
        case 'r':
            taken->replay = 1;
            taken->seeds = 1;
            taken->from = strtoull(optarg, NULL, 0);
            break;
        case 'f':
            taken->from = strtoull(optarg, NULL, 0);
            break;
        default:
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    struct arguments taken = {.mode = -1, .seeds = 100, .from = 1};
    struct totals totals = {0};
    if (!take_arguments(argc, argv, &taken) || taken.help) {
        return usage(taken.help);
    }
    const struct world world = {
        .hangs = !taken.no_hangs,
        .lazy = !taken.jobs && !taken.eager,
        .strangers = !taken.jobs && !taken.eager && !taken.no_strangers,
        .jobs = taken.jobs,
        .sessions = taken.sessions,
        .copies = taken.copies,
        .operators = taken.operators,
        .rough = taken.rough,
        .accidents = taken.accidents,
        .members = taken.members,
        .watch = taken.watch,
        .rights = taken.rights,
        .leases = taken.leases,
    };
    const struct shown shown = {.events = taken.replay, .lines = taken.lines};
    /* Marks of one kind of world, or whether those of all kinds have all been reached. */
    bool given = world.jobs || world.sessions || world.copies || world.operators || world.rough ||
                 world.accidents || world.watch || world.rights || world.leases || world.members;
    bool every = taken.marks && !taken.again && !given;
    if (every) {
        run_marks(taken.seeds, &totals);
    } else if (taken.again) {
        run_regressions(taken.mode, shown, &totals);
    }
    for (unsigned long long i = 0; !taken.again && !every && i < taken.seeds; i++) {
        run(taken.mode, taken.from + i, world, shown, &totals);
    }
    printf("%llu passed, %llu failed; %.2f virtual hours, %llu faults, %llu changes of who serves, "
           "%llu messages\n",
           totals.passed, totals.failed, (double)totals.virtual_us / 3.6e9, totals.faults,
           totals.failovers, totals.deliveries);
    if (world.jobs) {
        printf("%llu of the changes while jobs were running\n", totals.with_jobs);
    }
    if (taken.marks) {
        sim_marks_print(given);
    }
    return totals.failed != 0 || (every && sim_marks_missing() != 0);
}
