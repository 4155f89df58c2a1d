#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast a new backup gets its data, beside a plain copy of the same bytes to the same disk, and what
is left for writes meanwhile: docs/performance.md has the results.

    KVPAIR_BUILD=build python3 tests/perf/measure_join.py [--mib N] [--value-size N] [--rounds N]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "process"))
from kvtest import Group, program  # noqa: E402


def kvbench(group, *options):
    done = subprocess.run([program("kvbench"), "put", "--nodes", group.nodes_option(), *options],
                          capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def size_of(directory):
    return sum(os.path.getsize(os.path.join(folder, name))
               for folder, _, names in os.walk(directory) for name in names)


def wait_quiet(directory):
    """Until LevelDB has put its files in order: no file comes or goes for three seconds."""
    before, since = None, time.monotonic()
    while time.monotonic() - since < 3:
        now = sorted(name for _, _, names in os.walk(directory) for name in names)
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.1)


def copy_seconds(group, primary):
    """The primary's directory, copied and synced by one program."""
    target = group.path("copy")
    wait_quiet(group.data_dir(primary))
    begin = time.monotonic()
    subprocess.run(["cp", "-r", group.data_dir(primary), target], check=True)
    subprocess.run(["sync", "-f", target], check=True)
    took = time.monotonic() - begin
    size = size_of(target)
    shutil.rmtree(target)
    return took, size


def empty(group, backup):
    group.kill(backup)
    shutil.rmtree(group.data_dir(backup))
    group.wait_in_sync(3 - backup)


def join_seconds(group, backup):
    begin = time.monotonic()
    group.start_node(backup)
    group.wait_in_sync(1, 2, seconds=1800)
    return time.monotonic() - begin


class Load:
    """Puts in the background, eight at a time."""

    def __init__(self, group, seconds):
        self.child = subprocess.Popen(
            [program("kvbench"), "put", "--nodes", group.nodes_option(), "--seconds",
             str(seconds), "--keys", "1000", "--outstanding", "8"],
            stdout=subprocess.PIPE, text=True)

    def rate(self):
        return json.loads(self.child.communicate()[0].splitlines()[-1])["ops_per_s"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--value-size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    count = options.mib * 1024 * 1024 // options.value_size
    with Group().start() as group:
        kvbench(group, "--outstanding", "64", "--value-size", str(options.value_size), "--count",
                str(count), "--keys", str(count))
        primary = group.primary()
        for number in range(options.rounds):
            copied, size = copy_seconds(group, primary)
            empty(group, 3 - primary)
            joined = join_seconds(group, 3 - primary)
            print("round %d: %d MiB on disk; copy %.1f s (%.0f MiB/s); join %.1f s (%.0f MiB/s of "
                  "values), %.0f %% of the copy's speed" %
                  (number + 1, size >> 20, copied, size / copied / 2**20, joined,
                   options.mib / joined, 100 * copied / joined))
            before = Load(group, 5).rate()
            empty(group, 3 - primary)
            load = Load(group, joined)
            joined = join_seconds(group, 3 - primary)
            print("round %d: under load join %.1f s; writes %.0f/s before, %.0f/s meanwhile" %
                  (number + 1, joined, before, load.rate()))


if __name__ == "__main__":
    main()
