#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a change of primary stops puts and job requests, in an empty group and in a full one.

    KVPAIR_BUILD=build python3 tests/perf/measure_promotion.py
        [--sessions N] [--jobs N] [--tasks N] [--keys N] [--rounds N] [--profile lan] [--check]

Each round is a handover, and a kill -9 of the primary. A stop is the longest time between two
acknowledged requests of one kind around it. With --check the exit status is 1 if a full group stops for
more than a tenth longer (and 20 ms, for what the machine does besides) than the empty one.
Compare only what one run says, on a machine with nothing else to do.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "process"))
import test_protocol as wire  # noqa: E402
from kvtest import Group, program  # noqa: E402

JOB_START, JOB_INFO, TASK_POST = 19, 21, 28
LIMIT_S = 30  # no change of primary takes longer
WINDOW = 128  # requests under way
NOT_HERE = (wire.NOT_PRIMARY, wire.UNAVAILABLE, wire.BUSY)
SPEC = ["job", 0, 1, 1, 1, 0, 0, 1, 100, 5, 0.0, 2000, 0, 0, 86400, 0, 0, 0, 0, 0, 0, 0]


class Client:
    """Asks whoever answers; a session of its own."""

    def __init__(self, group):
        self.urls, self.link, self.at = list(group.urls.values()), None, 0
        with wire.Client(group.urls[group.wait_primary()]) as link:
            birth = link.ask(wire.HELLO)[1][5]
        self.session = [random.getrandbits(60) | 1, 0, 0, birth]
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
    base = random.getrandbits(50) << 8
    pipelined(group, (((wire.PUT, b"s", b"v"), (base + i, 0, 1, 0)) for i in range(1, count + 1)))


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
    """Sends one request after the other until it is told to end; when each was answered well."""

    def __init__(self, group, name, ask):
        super().__init__(daemon=True)
        self.client = Client(group)
        self.name, self.ask, self.ended, self.times = name, ask, False, []

    def run(self):
        while not self.ended:
            if self.ask(self.client):
                self.times.append(time.monotonic())
            time.sleep(0.002)

    def longest_ms(self, since):
        times = [since] + [each for each in self.times if each > since]
        return 1000 * max((b - a for a, b in zip(times, times[1:])), default=LIMIT_S)


def stop_of(group, askers, change):
    """What a change of primary costs each of them, in ms."""
    time.sleep(0.5)
    since = time.monotonic()
    change()
    deadline = since + LIMIT_S
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if all(each.times and each.times[-1] > since + 1.5 for each in askers):
            break
    return {each.name: each.longest_ms(since) for each in askers}


def handover(group):
    for _ in range(20):
        if group.cli("handover", timeout_ms=10000).returncode == 0:
            return
        time.sleep(0.3)
    raise AssertionError("no handover within 20 attempts")


def kill(group):
    primary = group.primary()
    group.kill(primary)
    return primary


def measure(options, full):
    group_options = ["--profile", options.profile]
    results = {}
    with Group(options=group_options).start() as group:
        if full:
            fill_sessions(group, options.sessions)
            if options.keys:
                subprocess.run([program("load"), "--nodes", group.nodes_option(), "--count",
                                str(options.keys), "--size", "16"], check=True, timeout=3600)
        job = fill_jobs(group, options.jobs if full else 1, max(options.tasks if full else 0, 5000))
        time.sleep(12)  # so long a session is in use
        asks = {"put": Client.put, "show": lambda client: client.show(job), "work": Client.work}
        askers = [Asker(group, name, ask) for name, ask in asks.items()]
        for each in askers:
            each.start()
        for _ in range(options.rounds):
            group.wait_in_sync(1, 2, seconds=60)
            time.sleep(1)
            note(results, "handover", stop_of(group, askers, lambda: handover(group)))
            group.wait_in_sync(1, 2, seconds=60)
            time.sleep(1)
            dead = []
            note(results, "kill", stop_of(group, askers, lambda: dead.append(kill(group))))
            group.start_node(dead[0])
        for each in askers:
            each.ended = True
            each.join()
    return {key: round(statistics.median(values)) for key, values in results.items()}


def note(results, change, stops):
    for name, stop in stops.items():
        results.setdefault(change + " " + name, []).append(stop)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=65536)
    parser.add_argument("--jobs", type=int, default=4096)
    parser.add_argument("--tasks", type=int, default=100000)
    parser.add_argument("--keys", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", choices=("default", "lan"), default="default")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    empty, full = measure(options, False), measure(options, True)
    worse = [key for key in empty if full[key] > empty[key] * 1.1 + 20]
    print(json.dumps({"profile": options.profile, "sessions": options.sessions,
                      "jobs": options.jobs, "tasks": options.tasks, "keys": options.keys,
                      "empty_ms": empty, "full_ms": full, "worse": worse}))
    return 1 if worse and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
