# SPDX-License-Identifier: Apache-2.0
"""Damages files of one node of a group, and holds what the group does against what it promises: no
wrong answer, no lost acknowledged update, the node back in sync by itself, and a line in its log
that says what was done.

    KVPAIR_BUILD=build python3 tests/process/damage.py [--rounds N] [--seed N] [--pair POLICY]

Each round damages one place of one file, of a stopped node or of one that serves."""

import argparse
import collections
import glob
import os
import random
import re
import shutil
import signal
import subprocess
import sys

import kvtest
from kvtest import SLOW, Group, wait_for

SECTOR = 512
BACK_S = 20
KEYS = 3000


# ---- what can happen to a file ----

def content_size(path):
    """Journals end with zeros, which nobody reads."""
    with open(path, "rb") as file:
        return len(file.read().rstrip(b"\0")) or 1


def rewrite(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def read_at(path, at, size):
    with open(path, "rb") as file:
        file.seek(at)
        return file.read(size)


def flip(path, chance):
    at = chance.randrange(content_size(path))
    rewrite(path, at, bytes([(read_at(path, at, 1) or b"\0")[0] ^ (1 << chance.randrange(8))]))


def a_sector(path, chance):
    return chance.randrange((content_size(path) + SECTOR - 1) // SECTOR) * SECTOR


def zeroed(path, chance):
    at = a_sector(path, chance)
    rewrite(path, at, bytes(len(read_at(path, at, SECTOR))))


def swapped(path, chance):
    """Two sectors, each where the other belongs."""
    first, second = a_sector(path, chance), a_sector(path, chance)
    one, other = read_at(path, first, SECTOR), read_at(path, second, SECTOR)
    if len(one) == len(other):
        rewrite(path, first, other)
        rewrite(path, second, one)


def misdirected(path, chance):
    """What belongs elsewhere was written over a sector."""
    first, second = a_sector(path, chance), a_sector(path, chance)
    rewrite(path, second, read_at(path, first, len(read_at(path, second, SECTOR))))


def torn(path, chance):
    """Of a sector only the first half was written."""
    at = a_sector(path, chance) + SECTOR // 2
    rewrite(path, at, os.urandom(len(read_at(path, at, SECTOR // 2))))


def truncated(path, chance):
    os.truncate(path, chance.randrange(content_size(path)))


def emptied(path, chance):
    os.truncate(path, 0)


def missing(path, chance):
    os.unlink(path)


AT_REST = [flip] * 8 + [zeroed, swapped, misdirected, torn, truncated, emptied, missing]
IN_USE = [flip, flip, zeroed, misdirected]  # nothing that takes mapped pages away from a process


# ---- files by class ----

def class_of(name):
    name = re.sub(r"[0-9]+", "N", name)
    return {"N.ldb": "table", "N.sst": "table", "N.log": "leveldb log"}.get(name, name)


def files_of(directory):
    found = collections.defaultdict(list)
    for path in glob.glob(os.path.join(directory, "**"), recursive=True):
        set_aside = re.match(r"(damaged|diverged|replaced)-", os.path.relpath(path, directory))
        name = os.path.basename(path)
        if os.path.isfile(path) and not set_aside and name not in ("LOCK", "LOG", "LOG.old"):
            found[class_of(name)].append(path)
    return found


# ---- one round ----

EVERYTHING = b"".join(b"get --stale load%010d\n" % number for number in range(KEYS))


def everything(group, node):
    """All values at one node; None: it does not answer all the time."""
    done = group.cli("--bail", stdin=EVERYTHING, nodes=group.urls[node], timeout_ms=2000)
    return done.stdout if done.returncode == 0 else None


class Rounds:
    def __init__(self, group, seed):
        self.group = group
        self.chance = random.Random(seed)
        self.number = 0
        self.outcomes = collections.Counter()

    def load(self):
        done = subprocess.run([kvtest.program("load"), "--nodes", self.group.nodes_option(),
                               "--count", str(KEYS), "--size", "1000", "--prefix", "load"],
                              capture_output=True, timeout=300 * SLOW)
        assert done.returncode == 0, done.stderr
        self.expected = everything(self.group, self.in_sync())
        assert len(self.expected) == KEYS * 1000

    def put(self):
        self.number += 1
        self.group.cli("put", "round%d" % self.number, "value%d" % self.number, timeout_ms=15000,
                       check=0)

    def pick(self, victim):
        files = files_of(self.group.data_dir(victim))
        kind = self.chance.choice(sorted(files))
        return kind, self.chance.choice(sorted(files[kind]))

    def stop(self, victim):
        if self.chance.random() < 0.5:
            self.group.kill(victim)
        else:
            self.group.nodes[victim].signal(signal.SIGTERM)
            self.group.nodes[victim].wait(30)

    def in_sync(self):
        return self.group.wait_in_sync(1, 2, seconds=BACK_S * SLOW)

    def check(self, victim, what):
        """Whatever is read is right, also while the damage is found; and both are in sync again."""

        def same():
            found = everything(self.group, victim)
            assert found is None or found == self.expected, "a wrong answer after " + what
            return found is not None
        wait_for(same, "the same data at both nodes after " + what, BACK_S * SLOW)
        self.in_sync()
        log = self.group.nodes[victim].text()
        repaired = "damaged_set_aside" in log[self.before:]
        assert not repaired or re.search(r"store_damaged data=\S+ reason=\S+", log), log
        self.outcomes["repaired" if repaired else "nothing lost"] += 1
        for kept in glob.glob(os.path.join(self.group.data_dir(victim), "damaged-*")):
            shutil.rmtree(kept)  # as an operator does, who has seen the cause

    def at_rest(self):
        victim = self.chance.choice((1, 2))
        self.in_sync()
        self.stop(victim)
        if self.group.pair is None:  # a pair's other node may have to wait for it
            self.put()
        kind, path = self.pick(victim)
        how = self.chance.choice(AT_REST)
        what = "%s of %s (%s) of node %d" % (how.__name__, kind, os.path.basename(path), victim)
        how(path, self.chance)
        self.before = len(self.group.nodes[victim].text())
        self.group.start_node(victim)
        self.done(victim, what)

    def in_use(self):
        victim = self.chance.choice((1, 2))
        self.in_sync()
        kind, path = self.pick(victim)
        how = self.chance.choice(IN_USE)
        what = "%s of %s (%s) of node %d in use" % (how.__name__, kind, os.path.basename(path),
                                                    victim)
        self.before = len(self.group.nodes[victim].text())
        how(path, self.chance)
        self.put()
        self.done(victim, what)

    def done(self, victim, what):
        print("%s" % what, end=": ", flush=True)
        self.check(victim, what)
        for number in range(1, self.number + 1, max(1, self.number // 3)):
            assert self.group.get("round%d" % number) == b"value%d" % number, what
        print("ok", flush=True)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=100)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--pair")
    chosen = options.parse_args()
    failed = collections.Counter()
    done = 0
    seed = chosen.seed
    while done < chosen.rounds:
        with Group(pair=chosen.pair, options=["--log-size", "1"]).start() as group:
            rounds = Rounds(group, seed)
            rounds.load()
            try:
                while done < chosen.rounds:
                    done += 1
                    rounds.in_use() if rounds.chance.random() < 0.3 else rounds.at_rest()
            except AssertionError as error:
                print("FAILED: %s" % error, flush=True)
                for node in (1, 2):
                    lines = group.nodes[node].text().splitlines()[-6:]
                    print("  node %d:" % node, *lines, sep="\n    ", flush=True)
                failed[re.sub(r" \(.*", "", str(error))] += 1
                seed += 1000
        print(dict(rounds.outcomes))
    print("%d rounds, %d failed" % (done, sum(failed.values())), *sorted(failed), sep="\n  ")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
