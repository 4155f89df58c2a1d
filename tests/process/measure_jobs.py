#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what a death costs a job, and what redundancy costs: docs/performance.md has the results.

    KVPAIR_BUILD=build python3 tests/process/measure_jobs.py [--rounds N] [--size N] [recovery|overhead]

Two nodes, a witness and the workers run on this machine. Times are taken where the work is: a task's
command writes down when it begins."""

import argparse
import json
import os
import random
import statistics
import struct
import subprocess
import time

from kvtest import Group, Process, program, wait_for

HOLD = 'echo "$KVPAIR_TASK $(date +%s%N) {name}" >> {journal}; exec sleep {seconds}'


def start_worker(group, name, *options):
    return Process([program("kvworker"), "--nodes", group.nodes_option(), "--id", name, *options],
                   group.path("worker-%s.log" % name))


def hold(group, name, seconds, *options):
    """A worker whose tasks write down when they begin, and then take so long."""
    command = HOLD.format(name=name, journal=group.path("journal"), seconds=seconds)
    return start_worker(group, name, "--no-matmul", "--handler", "hold=" + command, *options)


def begun(group):
    """[(task, ns, worker)] in the order of beginning."""
    try:
        with open(group.path("journal")) as file:
            lines = [line.split() for line in file if line.endswith("\n")]
    except FileNotFoundError:
        return []
    return [(int(task), int(ns), worker) for task, ns, worker in lines]


def submit(group, count, *options):
    tasks = "".join('{"kind": "hold", "payload": ""}\n' for _ in range(count))
    done = group.cli("--json", "job", "submit", "tasks", "-", *options, stdin=tasks.encode(),
                     check=0)
    answer = json.loads(done.stdout)
    return str(answer["job"] if isinstance(answer, dict) else answer)


def joined(group, count):
    def condition():
        done = group.cli("--json", "job", "workers")
        if done.returncode != 0:
            return False
        workers = json.loads(done.stdout)
        return sum(w["state"] in ("active", "standby") for w in workers) == count
    wait_for(condition, "%d workers" % count)


def begins(group, count):
    """Waits until so many attempts have begun; the last one."""
    return wait_for(lambda: (lambda all: all[count - 1] if len(all) >= count else None)
                    (begun(group)), "attempt %d" % count, 60)


def end(group, job, *workers):
    group.cli("job", "cancel", job)
    for worker in workers:
        worker.kill()
    os.unlink(group.path("journal"))


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_REALTIME)


# ---- recovery: the time from the fault to the task's next beginning ----

def lost_worker(group, *options):
    workers = {name: hold(group, name, 1000) for name in ("a", "b")}
    joined(group, 2)
    job = submit(group, 1, *options)
    _, _, first = begins(group, 1)
    at = now_ns()
    workers[first].kill()
    _, ns, second = begins(group, 2)
    assert second != first
    end(group, job, *workers.values())
    return (ns - at) / 1e6


def hung_task(group, *options):
    """The worker beats, but its task does not end: from its beginning, not from the deadline."""
    workers = {name: hold(group, name, 1000) for name in ("a", "b")}
    joined(group, 2)
    job = submit(group, 1, *options)
    _, at, first = begins(group, 1)
    _, ns, _ = begins(group, 2)
    end(group, job, *workers.values())
    return (ns - at) / 1e6


def restarted_worker(group):
    """The only worker is killed and started again at once."""
    worker = hold(group, "a", 1000)
    joined(group, 1)
    job = submit(group, 1)
    begins(group, 1)
    at = now_ns()
    worker.kill()
    worker = hold(group, "a", 1000)
    _, ns, _ = begins(group, 2)
    end(group, job, worker)
    return (ns - at) / 1e6


def lost_primary(group):
    """Workers take short tasks; the next one to begin after the primary's death."""
    workers = [hold(group, name, 0.01) for name in ("a", "b")]
    primary = group.wait_in_sync(1, 2)
    joined(group, 2)
    job = submit(group, 2000)
    begins(group, 20)
    at = now_ns()
    group.kill(primary)
    # What was under way at that moment may go on with its next task only when there is a primary.
    wait_for(lambda: begun(group)[-1][1] > at + 200e6, "a task after the failover", 60)
    times = [ns for _, ns, _ in begun(group)]
    gap = max(b - a for a, b in zip(times, times[1:]) if b > at)
    group.start_node(primary)
    group.wait_in_sync(1, 2)
    end(group, job, *workers)
    return gap / 1e6


def recovery(rounds):
    cases = [
        ("lost worker, to its task running elsewhere (silence 2000 ms)", lost_worker, ()),
        ("the same with --silence 500", lost_worker, ("--silence", "500")),
        ("hung task, to its running elsewhere (--deadline 2000)", hung_task,
         ("--deadline", "2000")),
        ("lost primary, to the next task handed out", lost_primary, ()),
        ("worker killed and started again, to its task running", restarted_worker, ()),
    ]
    print("| recovery (%d runs each) | min ms | median ms | max ms |\n|---|---|---|---|" % rounds)
    for name, case, options in cases:
        with Group() as group:
            group.start()
            times = [case(group, *options) for _ in range(rounds)]
        print("| %s | %.0f | %.0f | %.0f |"
              % (name, min(times), statistics.median(times), max(times)), flush=True)


# ---- overhead: a product of two matrices, against the bare multiplication ----

def write_matrix(path, size, rng):
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (%d, %d), }" % (size, size)
    header += " " * (63 - (len(header) + 10) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        for _ in range(size):
            file.write(struct.pack("<%dd" % size, *(rng.uniform(-1, 1) for _ in range(size))))


def product(group, a, b, *options):
    begin = time.monotonic()
    done = group.cli("--json", "job", "submit", "matmul", a, b, "--keep", "5", *options, check=0,
                     timeout_ms=60000)
    job = str(json.loads(done.stdout)["job"])
    group.cli("job", "wait", job, check=0, timeout_ms=60000)
    return (time.monotonic() - begin) * 1000


def with_fault(group, a, b, fault, *options):
    """The same, and in the middle of it something dies."""
    begin = time.monotonic()
    done = group.cli("--json", "job", "submit", "matmul", a, b, "--keep", "5", *options, check=0,
                     timeout_ms=60000)
    job = str(json.loads(done.stdout)["job"])
    fault()
    group.cli("job", "wait", job, check=0, timeout_ms=60000)
    return (time.monotonic() - begin) * 1000


def overhead(rounds, size):
    rng = random.Random(1)
    bare, rows = [], {}
    with Group() as group:
        a, b = group.path("a.npy"), group.path("b.npy")
        write_matrix(a, size, rng)
        write_matrix(b, size, rng)
        group.start()
        workers = {n: start_worker(group, n, "--blas", "never") for n in ("a", "b", "c")}
        joined(group, 3)
        modes = ["single", "dual-first", "dual-compare", "tmr"]
        for _ in range(rounds):
            done = subprocess.run([program("bare_multiply"), a, b], capture_output=True, check=True)
            bare.append(float(done.stdout))
            for mode in modes:
                rows.setdefault(mode, []).append(product(group, a, b, "--mode", mode))

            def kill_worker():
                workers["a"].kill()
            rows.setdefault("tmr, a worker killed", []).append(
                with_fault(group, a, b, kill_worker, "--mode", "tmr"))
            workers["a"] = start_worker(group, "a", "--blas", "never")
            joined(group, 3)
            primary = group.wait_in_sync(1, 2)
            rows.setdefault("single, the primary killed", []).append(
                with_fault(group, a, b, lambda: group.kill(primary)))
            group.start_node(primary)
            group.wait_in_sync(1, 2)
        for worker in workers.values():
            worker.kill()
    base = statistics.median(bare)
    print("| float64, %d x %d (%d runs each) | median ms | of the bare product |\n|---|---|---|"
          % (size, size, rounds))
    print("| bare multiplication, one thread | %.0f | 1 |" % base)
    for name, times in rows.items():
        median = statistics.median(times)
        print("| %s | %.0f | %.2f |" % (name, median, median / base))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--size", type=int, default=2000)
    parser.add_argument("what", nargs="?", choices=["recovery", "overhead"])
    arguments = parser.parse_args()
    if arguments.what != "overhead":
        recovery(arguments.rounds)
    if arguments.what != "recovery":
        overhead(arguments.rounds, arguments.size)


if __name__ == "__main__":
    main()
