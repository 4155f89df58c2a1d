#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a change of primary stops puts and job requests, in an empty group and in a full one.

    KVPAIR_BUILD=build python3 tests/perf/measure_promotion.py
        [--sessions N] [--jobs N] [--tasks N] [--keys N] [--rounds N] [--profile lan] [--check]

Both groups run side by side, and are asked in turn: in each round of each there is a handover, and a
kill -9 of the primary. A stop is the longest time between two acknowledged requests of one kind around it.
With --check the exit status is 1 if the median stop of the full group is more than a tenth longer (and
20 ms, for what the machine does besides) than that of the empty one. Compare only what one run says, on
a machine with nothing else to do.
"""

import argparse
import json
import os
import random
import statistics
import sys
import threading
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "process"))
import test_protocol as wire  # noqa: E402
from kvtest import Group  # noqa: E402

JOB_START, JOB_INFO, TASK_POST = 19, 21, 28
LIMIT_S = 30  # no change of primary takes longer
WINDOW = 128  # requests under way
SPARE = 100  # session slots
KEYS_AT_ONCE, TXN_PUT = 512, 1
TASKS_AHEAD = 1500  # that the worker has not done when a round begins
NOT_HERE = (wire.NOT_PRIMARY, wire.UNAVAILABLE, wire.BUSY)
SPEC = ["job", 0, 1, 1, 1, 0, 0, 1, 100, 5, 0.0, 2000, 0, 0, 86400, 0, 0, 0, 0, 0, 0, 0]


class Client:
    """Asks whoever answers; a session of its own."""

    def __init__(self, group):
        self.urls, self.link, self.at = list(group.urls.values()), None, 0
        with wire.Client(group.urls[group.wait_primary()]) as link:
            session_start = link.ask(wire.HELLO)[1][5]
        self.session = [random.getrandbits(60) | 1, 0, 0, session_start]
        self.instance, self.fetches = None, 0

    def ask(self, *arguments, session=False):
        """The result, or None after a while without a good answer."""
        if session:
            self.session[2] += 1
        options = {"session": tuple(self.session)} if session else {}
        for _ in range(2000):
            code, result = self.ask_once(arguments, options)
            if code not in NOT_HERE:
                return result if code == wire.OK else None
            time.sleep(0.003)
        raise AssertionError("no answer to %r" % (arguments[:1],))

    def ask_once(self, arguments, options):
        try:
            if not self.link:
                self.link = wire.Client(self.urls[self.at % len(self.urls)])
                self.link.link.settimeout(0.3)
            code, result = self.link.ask(*arguments, **options)
        except (OSError, EOFError):
            code, result = wire.NOT_PRIMARY, None
        if code == wire.NOT_PRIMARY:
            if self.link:
                self.link.link.close()
            self.link, self.at = None, self.at + 1
        return code, result

    def put(self):
        return self.ask(wire.PUT, b"k", b"v", session=True) is not None

    def show(self, job):
        return self.ask(JOB_INFO, 1, job, 0) is not None

    def work(self):
        """A task is fetched and done."""
        if self.instance is None:
            self.instance = self.ask(wire.WORKER_JOIN, "w", ["count"], 4096, False, session=True)
        self.fetches += 1
        grant = self.ask(wire.TASK_FETCH, "w", self.instance, 0, self.fetches, 0)
        if grant is None:
            return False
        done = self.ask(TASK_POST, "w", self.instance, *grant[:3], 0, zlib.crc32(b"r"), b"r",
                        session=True)
        return done is not None


def pipelined(group, requests):
    """Sends (arguments, session), many at a time; all must be answered well."""
    primary = group.wait_primary()
    with wire.Client(group.urls[primary]) as link:
        under_way = 0
        for arguments, session in requests:
            link.send(*arguments, session=session)
            under_way += 1
            if under_way == WINDOW:
                assert link.answer()[1] == wire.OK
                under_way -= 1
        for _ in range(under_way):
            assert link.answer()[1] == wire.OK


def fill_sessions(group, count):
    """Leaves some slots to those that ask later: what was used a moment ago is not driven out."""
    base = random.getrandbits(50) << 8
    pipelined(group, (((wire.PUT, b"s", b"v"), (base + i, 0, 1, 0)) for i in range(count - SPARE)))


def fill_keys(group, count):
    """Small ones, in transactions of many."""
    parts = (range(first, min(first + KEYS_AT_ONCE, count)) for first in range(0, count, KEYS_AT_ONCE))
    pipelined(group, (((wire.TXN, [], [[TXN_PUT, b"%012d" % i, b"%016d" % i] for i in part], []),
                       (0, 0, 0, 0)) for part in parts))


def fill_jobs(group, jobs, tasks):
    """`tasks` tasks in `jobs` jobs that are running; the last one's id."""
    client, job = None, None
    for number in range(jobs):
        if number % 512 == 0:
            client = Client(group)  # one client may not have all places
        count = tasks * (number + 1) // jobs - tasks * number // jobs
        job = client.ask(wire.JOB_NEW, SPEC, session=True)
        assert job is not None
        for first in range(0, count, 1000):
            part = [["count", [], False, b"p"]] * min(1000, count - first)
            client.ask(wire.JOB_TASKS, job, first, part, session=True)
        client.ask(JOB_START, job, session=True)
    return job


class Asker(threading.Thread):
    """Sends one request after the other, when it may, until it is told to end; when each was answered
    well."""

    def __init__(self, group, name, ask):
        super().__init__(daemon=True)
        self.client = Client(group)
        self.name, self.ask, self.ended, self.times = name, ask, False, []
        self.may = threading.Event()

    def run(self):
        while not self.ended:
            self.may.wait()
            if self.ask(self.client):
                self.times.append(time.monotonic())
            time.sleep(0.002)

    def longest_ms(self, since):
        times = [since] + [each for each in self.times if each > since]
        return 1000 * max((b - a for a, b in zip(times, times[1:])), default=LIMIT_S)


def stop_of(askers, change):
    """What a change of primary costs each of them, in ms."""
    for each in askers:
        each.may.set()
    time.sleep(0.5)
    since = time.monotonic()
    change()
    deadline = since + LIMIT_S
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if all(each.times and each.times[-1] > since + 1.5 for each in askers):
            break
    for each in askers:
        each.may.clear()
    return {each.name: each.longest_ms(since) for each in askers}


class Side:
    """A group that is measured, and who asks it."""

    def __init__(self, group):
        self.group, self.results, self.askers = group, {}, []
        self.job, self.tasks = None, 0

    def add_tasks(self):
        """Where there is little, the worker would run out of it."""
        wanted = TASKS_AHEAD + sum(len(each.times) for each in self.askers if each.name == "work")
        if self.tasks < wanted:
            fill_jobs(self.group, 1, wanted - self.tasks)
            self.tasks = wanted

    def fill(self, sessions, jobs, tasks, keys):
        if keys:
            fill_keys(self.group, keys)
        self.job, self.tasks = fill_jobs(self.group, jobs, tasks), tasks
        fill_sessions(self.group, sessions)

    def begin(self):
        asks = {"put": Client.put, "show": lambda client: client.show(self.job), "work": Client.work}
        self.askers = [Asker(self.group, name, ask) for name, ask in asks.items()]
        for each in self.askers:
            each.start()

    def end(self):
        for each in self.askers:
            each.ended = True
            each.may.set()
            each.join()

    def note(self, change, stops):
        for name, stop in stops.items():
            self.results.setdefault(change + " " + name, []).append(stop)

    def prepare(self):
        self.group.wait_in_sync(1, 2, seconds=60)
        self.add_tasks()
        time.sleep(1)

    def handover(self):
        self.prepare()
        self.note("handover", stop_of(self.askers, self.hand_over))

    def kill(self):
        self.prepare()
        dead = []
        self.note("kill", stop_of(self.askers, lambda: dead.append(self.kill_primary())))
        self.group.start_node(dead[0])

    def hand_over(self):
        for _ in range(20):
            if self.group.cli("handover", timeout_ms=10000).returncode == 0:
                return
            time.sleep(0.3)
        raise AssertionError("no handover within 20 attempts")

    def kill_primary(self):
        primary = self.group.primary()
        self.group.kill(primary)
        return primary

    def show(self):
        """Median and longest of each."""
        return {key: [round(statistics.median(values)), round(max(values))]
                for key, values in self.results.items()}


def measure(options):
    sys.setswitchinterval(0.0005)  # the askers share one interpreter
    group_options = ["--profile", options.profile]
    with Group(options=group_options).start() as one, Group(options=group_options).start() as other:
        empty, full = Side(one), Side(other)
        full.fill(options.sessions, options.jobs, options.tasks, options.keys)
        empty.fill(SPARE, 1, options.tasks // options.jobs, 0)
        time.sleep(12 + options.settle)  # so long a session is in use
        for side in (empty, full):
            side.begin()
        for _ in range(options.rounds):
            for change in (Side.handover, Side.kill):
                change(empty)
                change(full)
        for side in (empty, full):
            side.end()
        return empty.show(), full.show()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=65536)
    parser.add_argument("--jobs", type=int, default=4096)
    parser.add_argument("--tasks", type=int, default=100000)
    parser.add_argument("--keys", type=int, default=0)
    parser.add_argument("--settle", type=int, default=0, help="seconds for LevelDB to sort")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--profile", choices=("default", "lan"), default="default")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    empty, full = measure(options)
    worse = [key for key in empty if full[key][0] > empty[key][0] * 1.1 + 20]
    print(json.dumps({"profile": options.profile, "sessions": options.sessions,
                      "jobs": options.jobs, "tasks": options.tasks, "keys": options.keys,
                      "empty_ms": empty, "full_ms": full, "worse": worse}))
    return 1 if worse and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
