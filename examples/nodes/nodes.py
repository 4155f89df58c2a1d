#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Groups of n nodes and a witness on this machine, of which n-1 are killed, and all that was acknowledged is still there.

  nodes.py [-b BUILD-DIR] [N...]     groups of so many nodes, 2 to 5 (2 3 4 5)

Hot: all nodes are in sync; the primary is killed with SIGKILL, and whoever follows it, until one is left. Warm: the
killed ones are started again on what their disks have, and catch up; then all but one of them are killed at once."""

import argparse
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "tests", "process"))

import kvtest  # noqa: E402

WRITES = 20  # after each death


class Data:
    """What was written and acknowledged."""

    def __init__(self, group):
        self.group, self.pairs = group, {}

    def write(self):
        """How many ms it took until the first of some writes was acknowledged."""
        begin = time.monotonic()
        self.put()
        first = (time.monotonic() - begin) * 1000
        for _ in range(WRITES - 1):
            self.put()
        return first

    def put(self):
        key = "key/%d" % len(self.pairs)
        self.group.put(key, key.encode())
        self.pairs[key] = key

    def check(self):
        """All of it, as the group tells it now."""
        lines = self.group.cli("scan", "key/", check=0).stdout.decode().splitlines()
        found = dict(line.split()[:2] for line in lines)
        assert found == self.pairs, "%d keys of %d" % (len(found), len(self.pairs))
        return len(found)


def alive(group):
    return [node for node, process in group.nodes.items() if process.alive()]


def kill_hot(group, data):
    """The primary, and whoever follows it."""
    while len(alive(group)) > 1:
        leader = group.wait_primary(*alive(group))
        group.kill(leader)
        took = data.write()
        print("  node %d, the primary, is killed; writes go on after %3.0f ms; %d of %d nodes are left, all %d keys are there"
              % (leader, took, len(alive(group)), group.count, data.check()), flush=True)


def kill_warm(group, data):
    last, = alive(group)
    begin = time.monotonic()
    for node in group.urls:
        if node != last:
            group.start_node(node)
    group.wait_in_sync(*group.urls)
    print("  the others are started on their disks, and in sync after %.1f s" % (time.monotonic() - begin), flush=True)
    survivor = next(node for node in group.urls if node != last)
    for node in group.urls:
        if node != survivor:
            group.kill(node)
    took = data.write()
    print("  all but node %d are killed at once; writes go on after %3.0f ms, all %d keys are there"
          % (survivor, took, data.check()), flush=True)


def main(sizes):
    for count in sizes:
        with kvtest.Group(count).start() as group:
            print("%d nodes and a witness" % count, flush=True)
            data = Data(group)
            data.write()
            kill_hot(group, data)
            kill_warm(group, data)
    print("nothing is lost")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("-b", dest="build", default=kvtest.BUILD)
    parser.add_argument("sizes", nargs="*", type=int)
    options = parser.parse_args()
    if not all(2 <= size <= 5 for size in options.sizes):
        parser.error("groups have 2 to 5 nodes here")
    kvtest.BUILD = options.build
    main(options.sizes or range(2, 6))
