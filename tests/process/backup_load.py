#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A backup of KVPAIR_BACKUP_MIB (1024) under load: how much of their rate puts keep, and what comes back of it.

    KVPAIR_BUILD=build python3 tests/process/backup_load.py [kvcli backup's options]

Fails if puts keep less than 75 in 100 of their rate, or if what is restored is not what was backed up.
"""

import json
import os
import subprocess
import sys
import time

import kvtest
from kvtest import Group, Process, program, wait_for

MIB = int(os.environ.get("KVPAIR_BACKUP_MIB", "1024"))
VALUE = 4096
KEPT = 0.75
JUMP = 1 << 40


def commit(group, primary):
    return group.status(primary)["commit"]


def rate_of(group, primary, until):
    """Puts a second until it is over."""
    first, begin = commit(group, primary), time.monotonic()
    until()
    return (commit(group, primary) - first) / (time.monotonic() - begin)


def cli_json(group, *arguments):
    done = subprocess.run([program("kvcli"), "--nodes", group.nodes_option(), "--json", *arguments], capture_output=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def measure(group, file, options):
    primary = group.primary()
    load = Process([program("kvbench"), "put", "--nodes", group.nodes_option(), "--clients", "8", "--value-size", "100", "--seconds", "600"],
                   group.path("bench.log"))
    try:
        begin = commit(group, primary)
        wait_for(lambda: commit(group, primary) > begin + 2000, "the load")
        alone = rate_of(group, primary, lambda: time.sleep(10))
        taken = {}
        begin = time.monotonic()
        loaded = rate_of(group, primary, lambda: taken.update(cli_json(group, "backup", *options, file)))
        took = time.monotonic() - begin
        after = rate_of(group, primary, lambda: time.sleep(10))
    finally:
        load.kill()
    usual = min(alone, after)
    print("%.0f puts/s alone, %.0f while %.2f GiB were backed up in %.1f s (%.0f MB/s), %.0f after: %.0f in 100 kept"
          % (alone, loaded, taken["bytes"] / 2**30, took, taken["bytes"] / took / 1e6, after, 100 * loaded / usual), flush=True)
    return loaded / usual, taken


def main():
    options = sys.argv[1:]
    with Group() as group:
        group.start()
        subprocess.run([program("load"), "--nodes", group.nodes_option(), "--count", str(MIB * 2**20 // VALUE), "--size", str(VALUE),
                        "--prefix", "load/"], check=True, timeout=1800)
        file = group.path("backup")
        kept, taken = measure(group, file, options)
        last = cli_json(group, "backup", group.path("last"))
        revision = group.status(group.primary())["commit"]
        with Group() as other:
            begin = time.monotonic()
            subprocess.run([program("kvnode"), "--id", "1", "--data", other.data_dir(1), "--restore", file], check=True, timeout=900)
            print("restored in %.1f s" % (time.monotonic() - begin), flush=True)
            other.start()
            other.wait_in_sync(1, 2, seconds=300)
            again = cli_json(other, "backup", other.path("again"))
            assert (again["digest"], again["keys"]) == (taken["digest"], taken["keys"]), (again, taken)
            other.put("new", b"1")
            version = cli_json(other, "get", "new")["version"]
            assert version > taken["revision"] + JUMP > revision, (version, revision)
            print("digest %s, %d keys; version %d is above %d" % (again["digest"], again["keys"], version, revision))
        assert last["revision"] >= taken["revision"]
    if kept < KEPT:
        sys.exit("puts kept %.0f in 100 of their rate" % (100 * kept))


if __name__ == "__main__":
    main()
