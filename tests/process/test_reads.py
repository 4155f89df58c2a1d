#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whatever clients read, others go on writing, and the lead stays where it is."""

import subprocess
import sys
import threading
import time

import kvtest
from kvtest import Group, program
from test_protocol import (Client, GET, HELLO, JOB_INFO, JOB_NEW, OK, PUT, SPEC, TXN, pack, scan_arguments)

VALUES = 100          # of 1 MiB each
READERS = 3
SECONDS = 1.5
PUTS_MIN = 6          # in that time: compares without a bound left two
PUTS_MIN_SMALL = 40   # beside what reads little: pages of keys without a bound left nine
MIB = 1 << 20

GROUP = None


def primary_url():
    return GROUP.urls[GROUP.wait_primary()]


class Reader(threading.Thread):
    """Asks the same again and again. Answers are not looked into: that would take this process's time."""

    def __init__(self, url, *request):
        super().__init__()
        self.client = Client(url)
        self.body = pack([1, request[0], "default", 0, 0, 0, 0, 0, *request[1:]])
        self.over = threading.Event()
        self.asked = 0

    def run(self):
        while not self.over.is_set():
            self.client.send_body(self.body)
            self.client.take(int.from_bytes(self.client.take(8), "big"))
            self.asked += 1
        self.client.link.close()


def puts_beside(*request):
    """How many puts one client got through, how long the longest took, and how often the others asked."""
    url = primary_url()
    readers = [Reader(url, *request) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    worst, count = 0.0, 0
    with Client(url) as c:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            began = time.monotonic()
            assert c.ask(PUT, b"written", b"%d" % count)[0] == OK
            worst = max(worst, time.monotonic() - began)
            count += 1
    for reader in readers:
        reader.over.set()
    for reader in readers:
        reader.join()
    return count, worst, sum(reader.asked for reader in readers)


def check_goes_on(what, *request, puts_min=PUTS_MIN):
    epoch = GROUP.status(GROUP.primary())["epoch"]
    count, worst, asked = puts_beside(*request)
    print("  %s: %d puts in %.1f s, the longest %.0f ms, %d reads" % (what, count, SECONDS, worst * 1000, asked))
    assert asked > 0 and count >= puts_min, (what, count, worst)
    assert GROUP.status(GROUP.primary())["epoch"] == epoch, what


def test_gets_of_large_values_do_not_starve_writes():
    check_goes_on("gets of 1 MiB", GET, b"large0000000000", False)


def test_scans_do_not_starve_writes():
    check_goes_on("scans of keys", *scan_arguments(b"large", b"largf", 10000, MIB, keys_only=True),
                  puts_min=PUTS_MIN_SMALL)
    check_goes_on("scans of keys and values", *scan_arguments(b"large", b"largf", 10000, MIB))


def test_compares_do_not_starve_writes():
    check_goes_on("transactions of 1,024 compares", TXN, [[4, b"large0000000000", 0]] * 1024, [], [])


def test_lists_of_jobs_do_not_starve_writes():
    with Client(primary_url()) as c:
        for _ in range(500):
            assert c.ask(JOB_NEW, SPEC)[0] == OK
    check_goes_on("lists of jobs", JOB_INFO, 0, 0, 0, puts_min=PUTS_MIN_SMALL)


def main():
    global GROUP
    code = 0
    with Group().start() as group:
        GROUP = group
        subprocess.run([program("load"), "--nodes", group.nodes_option(), "--count", str(VALUES), "--size", str(MIB),
                        "--prefix", "large"], check=True, timeout=120)
        with Client(primary_url()) as c:
            assert c.ask(HELLO)[0] == OK and c.ask(GET, b"large0000000000", False)[0] == OK
        try:
            kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
        except SystemExit as end:
            code = end.code
    sys.exit(code)


if __name__ == "__main__":
    main()
