#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Injects each failure of Chameleon's table into groups on this machine, again and again, and prints how many were
noticed and recovered from, and how long that took, beside the figures of Chameleon's thesis.

  campaign.py [-b BUILD-DIR] [-n TIMES] [-j GROUPS] [ROW...]

-n: each of them so many times (20). -j: so many groups at a time (1: nothing disturbs the times). A ROW is the
begin of a failure's name; without one, all of them. Exit status 0: each time everything was recovered from, and
no median is above Chameleon's figure."""

import argparse
import concurrent.futures
import itertools
import os
import random
import signal
import socket
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(SOURCE, "tests", "process"))

import kvtest  # noqa: E402
from test_jobs import Farm  # noqa: E402

SILENCE_MS = 1000  # of a worker, before its tasks are given to others
DEADLINE_MS = 500  # of a task, where the user has said one

# A task begins with a mark, goes on when there is a file that says so, and ends with its payload. Who lies adds to it.
HANDLER = """: >'{0}/{1}.'$KVPAIR_JOB.$$
until [ -e '{0}/go.'$KVPAIR_JOB ] || [ -e '{0}/go.'$KVPAIR_JOB.{1} ]; do sleep 0.01; done
cat{2}"""
# Compiles on one of two platforms.
PROGRAM = """#include <stdio.h>
#ifdef OLD_PLATFORM
#error "this platform lacks what the program needs"
#endif
int main(void) { return puts("x") == EOF; }
"""


# Groups run beside each other: what is free is given out once, and below what the kernel gives to connections.
PORTS = itertools.count(random.randrange(20000, 29000))


def own_url():
    for port in PORTS:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return "tcp://127.0.0.1:%d" % port


def timed(condition, what, seconds=20):
    """How many ms it takes until the condition holds, and what it then gives."""
    begin = time.monotonic()
    while not (value := condition()):
        if time.monotonic() - begin > seconds:
            raise AssertionError("waited too long for: " + what)
        time.sleep(0.002)
    return (time.monotonic() - begin) * 1000, value


class Lab(Farm):
    """A group, and workers whose tasks wait to be told to end."""

    def __init__(self):
        super().__init__()
        self.urls = {node: own_url() for node in self.urls}
        self.peer_urls = dict(self.urls)
        self.witness_url = own_url()
        self.round = 0
        self.marks = self.path("marks")
        os.mkdir(self.marks)

    def join(self, *names, lies=False, options=()):
        for name in names:
            self.start_worker(name, "--no-matmul", "--handler", "step=" + HANDLER.format(
                self.marks, name, "; echo a lie" if lies else ""), *options)
        kvtest.wait_for(lambda: set(names) <= set(self.worker_list()), "workers to join")

    def leave(self):
        """All workers; the next round has others, against whom nothing is held."""
        for worker in self.workers.values():
            worker.signal(signal.SIGTERM)
        for worker in self.workers.values():
            worker.wait()
        self.workers.clear()

    def names(self, count):
        self.round += 1
        return ["%s%d" % (letter, self.round) for letter in "abcd"[:count]]

    def submit_step(self, *options, tasks=1):
        steps = [{"kind": "step", "payload": "x\n", "after": list(range(i))} for i in range(tasks)]
        return self.submit_tasks(steps, "--silence", str(SILENCE_MS), *options)

    def held(self, job):
        """(worker, process) of all who have begun with one of its tasks."""
        found = (name.split(".") for name in os.listdir(self.marks) if not name.startswith("go."))
        return {(worker, int(pid)) for worker, number, pid in found if number == job}

    def wait_held(self, job, count=1):
        return timed(lambda: len(self.held(job)) >= count and self.held(job), "the tasks to begin")[1]

    def resumed_ms(self, job, before):
        """Until somebody works on it again."""
        return timed(lambda: self.held(job) - before, "somebody to go on")[0]

    def go(self, job, worker=None):
        with open(os.path.join(self.marks, "go." + job + ("." + worker if worker else "")), "w"):
            pass

    def task(self, job, number=0):
        return self.show(job)["tasks"][number]

    def done_ms(self, job):
        begin = time.monotonic()
        self.wait_job(job)
        took = (time.monotonic() - begin) * 1000
        assert self.cli("job", "result", job, "--task", "0", check=0).stdout == b"x\n"
        return took

    def finish(self, job):
        self.go(job)
        self.done_ms(job)
        self.leave()

    def write_ms(self):
        """Until a write is acknowledged."""
        begin = time.monotonic()
        self.put("campaign", b"%d" % self.round)
        return (time.monotonic() - begin) * 1000

    def view(self, node):
        return kvtest.wait_for(lambda: self.status(node), "node %d to answer" % node)["version"]

    def mend(self, node):
        self.start_node(node)
        self.wait_in_sync(1, 2)

    def cut(self, *relays):
        for relay in relays:
            self.relays[relay].cut()


class CutLab(Lab):
    """With a relay in each link between the nodes, and between them and the witness."""

    def __init__(self):
        super().__init__()
        self.relays = {(1, 2): kvtest.Relay(self.urls[2]), (2, 1): kvtest.Relay(self.urls[1]),
                       (1, "witness"): kvtest.Relay(self.witness_url), (2, "witness"): kvtest.Relay(self.witness_url)}
        self.peer_urls.update({link: self.relays[link].url for link in ((1, 2), (2, 1))})

    def arguments(self, node):
        return [self.relays[node, "witness"].url if each == self.witness_url else each
                for each in super().arguments(node)]

    def heal(self):
        for relay in self.relays.values():
            relay.heal()
        self.wait_in_sync(1, 2)

    def __exit__(self, *failure):
        super().__exit__(*failure)
        for relay in self.relays.values():
            relay.close()


# ---- the rows: each injects once, and tells whether it was noticed, and after how many ms all went on ----


def application_crashes(lab):
    lab.join(*lab.names(2))
    job = lab.submit_step()
    before = lab.wait_held(job)
    os.kill(next(iter(before))[1], signal.SIGSEGV)
    took = lab.resumed_ms(job, before)
    seen = "signal 11" in lab.task(job)["reason"]
    lab.finish(job)
    return seen, took


def application_hangs(lab):
    lab.join(*lab.names(2))
    job = lab.submit_step("--deadline", str(DEADLINE_MS))
    before = lab.wait_held(job)
    took = lab.resumed_ms(job, before)
    seen = lab.task(job)["lost"] == 1
    lab.finish(job)
    return seen, took


def application_does_not_compile(lab):
    old, new = lab.names(2)
    source = lab.write("program.c", PROGRAM)
    for name, options, define in (old, [], " -DOLD_PLATFORM"), (new, ["--standby"], ""):
        program = lab.path(name)
        lab.start_worker(name, "--no-matmul", "--handler", "step=cc%s -o '%s' '%s' && '%s'" % (
            define, program, source, program), *options)
    kvtest.wait_for(lambda: len({old, new} & set(lab.worker_list())) == 2, "both to join")
    job = lab.submit_step()
    took = lab.done_ms(job)
    seen = lab.task(job)["faults"][0]["worker"] == old
    lab.leave()
    return seen, took


def takes_over(lab, node, known):
    return lab.view(node) > known and lab.status(node)["role"] == "primary"


def outvoted(lab, job, liar):
    results = {result["worker"]: result["agreed"] for result in lab.task(job)["results"]}
    return results[liar] is False and sum(results.values()) == 2


def wrong_result_in_dual(lab):
    liar, second, third = lab.names(3)
    lab.join(liar, lies=True)
    lab.join(second)
    job = lab.submit_step("--mode", "dual-compare")
    lab.wait_held(job, 2)
    lab.join(third)
    lab.go(job)
    took = lab.done_ms(job)
    seen = outvoted(lab, job, liar)
    lab.leave()
    return seen, took


def wrong_result_in_tmr(lab):
    liar, *others = lab.names(3)
    lab.join(liar, lies=True)
    lab.join(*others)
    job = lab.submit_step("--mode", "tmr")
    lab.wait_held(job, 3)
    lab.go(job, liar)
    kvtest.wait_for(lambda: lab.task(job)["votes"] == 1, "the wrong result")
    lab.go(job)
    took = lab.done_ms(job)
    seen = outvoted(lab, job, liar)
    lab.leave()
    return seen, took


def agent_lost(lab, number):
    lab.join(*lab.names(2))
    job = lab.submit_step()
    before = lab.wait_held(job)
    victim = next(iter(before))[0]
    lab.workers[victim].signal(number)
    took = lab.resumed_ms(job, before)
    seen = lab.task(job)["lost"] == 1
    lab.workers[victim].signal(signal.SIGCONT)
    lab.finish(job)
    return seen, took


def agent_dies(lab):
    return agent_lost(lab, signal.SIGKILL)


def agent_does_not_answer(lab):
    return agent_lost(lab, signal.SIGSTOP)


def agent_dies_and_is_started_again(lab):
    name, = lab.names(1)
    lab.join(name)
    job = lab.submit_step()
    before = lab.wait_held(job)
    lab.workers[name].kill()
    begin = time.monotonic()
    lab.join(name)
    lab.resumed_ms(job, before)
    took = (time.monotonic() - begin) * 1000
    seen = lab.task(job)["lost"] == 1
    lab.finish(job)
    return seen, took


def daemon_dies(lab):
    leader = lab.wait_in_sync(1, 2)
    lab.kill(3 - leader)
    took = lab.write_ms()
    seen = lab.status(leader)["in_sync"] == [leader]
    lab.mend(3 - leader)
    return seen, took


def ftm_dies(lab):
    leader = lab.wait_in_sync(1, 2)
    known = lab.view(3 - leader)
    lab.kill(leader)
    took = lab.write_ms()
    seen = takes_over(lab, 3 - leader, known)
    lab.mend(leader)
    return seen, took


def ftm_does_not_answer(lab):
    leader = lab.wait_in_sync(1, 2)
    known = lab.view(3 - leader)
    lab.nodes[leader].signal(signal.SIGSTOP)
    took = lab.write_ms()
    seen = takes_over(lab, 3 - leader, known)
    lab.nodes[leader].signal(signal.SIGCONT)
    lab.wait_in_sync(1, 2)
    return seen, took


def manager_dies(lab):
    leader = lab.wait_in_sync(1, 2)
    known = lab.view(3 - leader)
    lab.join(*lab.names(1))
    job = lab.submit_step(tasks=2)
    before = lab.wait_held(job)
    lab.kill(leader)
    lab.go(job)
    took = lab.resumed_ms(job, before)  # with the second task: the result of the first one counts
    seen = takes_over(lab, 3 - leader, known)
    lab.finish(job)
    lab.mend(leader)
    return seen, took


def voter_dies(lab):
    leader = lab.wait_in_sync(1, 2)
    known = lab.view(3 - leader)
    names = lab.names(3)
    lab.join(*names)
    job = lab.submit_step("--mode", "tmr")
    lab.wait_held(job, 3)
    lab.go(job, names[0])
    kvtest.wait_for(lambda: lab.task(job)["votes"] == 1, "the first result")
    lab.kill(leader)
    lab.go(job)
    took = lab.done_ms(job)
    seen = takes_over(lab, 3 - leader, known)
    lab.leave()
    lab.mend(leader)
    return seen, took


def node_down(lab):
    """The machine of the primary, on which a worker runs, too."""
    leader = lab.wait_in_sync(1, 2)
    known = lab.view(3 - leader)
    lab.join(*lab.names(2))
    job = lab.submit_step()
    before = lab.wait_held(job)
    lab.kill(leader)
    lab.workers[next(iter(before))[0]].kill()
    written = lab.write_ms()
    took = written + lab.resumed_ms(job, before)
    seen = takes_over(lab, 3 - leader, known)
    lab.finish(job)
    lab.mend(leader)
    return seen, took


def link_down(lab):
    """Between the nodes; both still reach the witness."""
    lab.wait_in_sync(1, 2)
    lab.cut((1, 2), (2, 1))
    took = lab.write_ms()
    now = lab.wait_primary()
    seen = lab.status(now)["in_sync"] == [now]
    lab.heal()
    return seen, took


def switch_down(lab):
    """The primary reaches neither the backup nor the witness."""
    leader = lab.wait_in_sync(1, 2)
    lab.cut((1, 2), (2, 1), (leader, "witness"))
    took = lab.write_ms()
    seen = lab.wait_primary() == 3 - leader
    lab.heal()
    return seen, took


# The failure in Chameleon's words; what is done here; its figure in ms: of the recovery, or, with a *, of the
# detection alone.
ROWS = [
    ("node down", "primary and a worker killed at once", node_down, "10494*"),
    ("link down", "no way between the nodes", link_down, ""),
    ("switch down", "primary cut off from everything", switch_down, ""),
    ("application crashed", "handler: SIGSEGV", application_crashes, "928*"),
    ("application hung", "handler never ends; deadline 0.5 s", application_hangs, ""),
    ("application: no compile", "cc fails on one platform", application_does_not_compile, ""),
    ("wrong result, dual", "a third copy decides", wrong_result_in_dual, ""),
    ("wrong result, TMR", "masked", wrong_result_in_tmr, ""),
    ("agent dead", "kvworker: SIGKILL", agent_dies, "2499"),
    ("agent dead, restarted", "kvworker: SIGKILL, started again", agent_dies_and_is_started_again, "2499"),
    ("agent unresponsive", "kvworker: SIGSTOP", agent_does_not_answer, "2499"),
    ("daemon dead", "backup kvnode: SIGKILL", daemon_dies, "1921"),
    ("manager dead", "primary killed in the middle of a job", manager_dies, "1928"),
    ("voter dead", "primary killed between two votes", voter_dies, "1581"),
    ("FTM dead", "primary kvnode: SIGKILL", ftm_dies, ""),
    ("FTM's daemon dead", "primary kvnode: SIGSTOP", ftm_does_not_answer, ""),
]


def run_row(inject, times):
    """How many were noticed, and the times of those that were recovered from."""
    seen, took, error = 0, [], None
    try:
        with (CutLab if inject in (link_down, switch_down) else Lab)().start() as lab:
            for _ in range(times):
                noticed, ms = inject(lab)
                seen += bool(noticed)
                took.append(ms)
    except Exception as failure:  # noqa: BLE001 - the other rows go on
        error = failure
    return seen, took, error


def main(arguments):
    rows = [row for row in ROWS if not arguments.row or row[0].startswith(tuple(arguments.row))]
    print("%-23s  %-36s %8s %8s %9s %7s %9s" % (
        "failure", "as injected here", "injected", "detected", "recovered", "ms", "Chameleon"), flush=True)
    good = bool(rows)
    with concurrent.futures.ThreadPoolExecutor(arguments.groups) as pool:
        outcomes = pool.map(lambda row: run_row(row[2], arguments.times), rows)
        for (name, how, _, figure), (seen, took, error) in zip(rows, outcomes):
            median = statistics.median(took) if took else float("inf")
            print("%-23s  %-36s %8d %8d %9d %7.0f %9s" % (
                name, how, len(took) + (error is not None), seen, len(took), median, figure), flush=True)
            if error is not None:
                print("  " + str(error), file=sys.stderr)
            good &= error is None and seen == len(took) and median < float(figure.rstrip("*") or "inf")
    print("ms: median, from the injection until all goes on, detection included. *: Chameleon's detection alone.")
    print("every failure was recovered from" if good else "not every failure was recovered from as it should be")
    return 0 if good else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("-b", dest="build", default=kvtest.BUILD)
    parser.add_argument("-n", dest="times", type=int, default=20)
    parser.add_argument("-j", dest="groups", type=int, default=1)
    parser.add_argument("row", nargs="*")
    options = parser.parse_args()
    kvtest.BUILD = options.build
    sys.exit(main(options))
