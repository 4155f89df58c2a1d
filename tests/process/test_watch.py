#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keys are watched with kvcli: every event once and in order while the primary dies, commands that are given them,
an interrupt."""

import json
import os
import signal
import subprocess
import sys

import kvtest
from kvtest import Group, program, wait_for

GROUP = None
COUNT = 60  # puts before the primary dies, and behind it


class Watcher:
    """kvcli watch, whose lines are gathered in a file."""

    def __init__(self, *arguments, json_lines=False):
        self.path = GROUP.path("watch-%d" % id(self))
        command = [program("kvcli"), "--nodes", GROUP.nodes_option()] + (["--json"] if json_lines else [])
        with open(self.path, "wb") as out, open(self.path + ".err", "wb") as err:
            self.process = subprocess.Popen(command + ["watch", *arguments], stdout=out, stderr=err,
                                            stdin=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def text(self, suffix=""):
        with open(self.path + suffix, "rb") as file:
            return file.read()

    def lines(self):
        return self.text().decode().splitlines()

    def wait_lines(self, count):
        wait_for(lambda: len(self.lines()) >= count, "%d events" % count, 30)
        return self.lines()

    def wait_end(self):
        return self.process.wait(20)


def puts(first, count):
    """One process for all of them; keys that nobody watches in between."""
    lines = []
    for i in range(first, first + count):
        lines += ["put w/%d value-%d" % (i % 7, i), "put other/%d x" % i]
    done = GROUP.cli(stdin=("\n".join(lines) + "\n").encode(), timeout_ms=20000)
    assert done.returncode == 0, done.stderr


def revision_of(key):
    return json.loads(GROUP.cli("--json", "get", key, check=0).stdout)["version"]


def test_every_event_comes_once_and_in_order_over_the_death_of_the_primary():
    GROUP.put("w/first", b"1")
    first = revision_of("w/first")
    with Watcher("w/", "--from", str(first), json_lines=True) as watcher:
        watcher.wait_lines(1)
        puts(0, COUNT)
        victim = GROUP.wait_primary()
        GROUP.kill(victim)
        puts(COUNT, COUNT)
        GROUP.cli("delete", "w/first", check=0)
        events = [json.loads(line) for line in watcher.wait_lines(2 * COUNT + 2)]
        GROUP.start_node(victim)
        GROUP.wait_in_sync(1, 2)
    assert events[0]["value"] == "1" and len(events) == 2 * COUNT + 2
    told = sorted((e["key"], e["value"]) for e in events[1:-1])  # those of one script are under way together
    assert told == sorted(("w/%d" % (i % 7), "value-%d" % i) for i in range(2 * COUNT)), told
    assert events[-1]["event"] == "delete" and events[-1]["key"] == "w/first"
    versions = [e["version"] for e in events]
    assert versions[0] == first and versions == sorted(set(versions)), versions
    with Watcher("w/", "--from", str(first), json_lines=True) as again:  # the same, from the log
        assert [json.loads(line) for line in again.wait_lines(2 * COUNT + 2)] == events


def test_once_is_over_with_the_next_event():
    GROUP.put("once", b"a\tb")
    version = revision_of("once")
    with Watcher("once", "--once", "--from=%d" % version) as watcher:
        assert watcher.wait_end() == 0
        assert watcher.text() == b"%d\tput\tonce\ta\\tb\n" % version, watcher.text()


def test_a_command_gets_key_and_value_of_each_event():
    GROUP.put("c/1", b"one\n")
    version = revision_of("c/1")
    with Watcher("c/", "--from", str(version), "--", "sh", "-c",
                 'echo "$KVPAIR_EVENT $KVPAIR_KEY $KVPAIR_REVISION"; cat') as watcher:
        watcher.wait_lines(2)
        GROUP.cli("delete", "c/1", check=0)
        GROUP.put("c/a b", b"two\n")
        lines = watcher.wait_lines(5)
    assert lines[:2] == ["put c/1 %d" % version, "one"] and lines[2].startswith("delete c/1 "), lines
    assert lines[3].startswith("put c/a b ") and lines[4] == "two", lines


def test_a_command_that_fails_ends_the_watch_and_loses_nothing():
    GROUP.put("f/1", b"one")
    version = revision_of("f/1")
    with Watcher("f/", "--from", str(version), "--", "false") as watcher:
        assert watcher.wait_end() == 1
        assert b"--from %d" % version in watcher.text(".err"), watcher.text(".err")


def test_an_interrupt_ends_a_watch():
    with Watcher("nothing/") as watcher:
        wait_for(lambda: not watcher.process.poll() and os.path.exists(watcher.path), "the watch")
        GROUP.put("x", b"1")
        watcher.process.send_signal(signal.SIGINT)
        assert watcher.wait_end() in (130, -signal.SIGINT)
        assert watcher.text() == b""


def test_a_stale_watch_needs_no_primary():
    GROUP.put("s/1", b"one")
    version = revision_of("s/1")
    GROUP.wait_in_sync(1, 2)
    victim = GROUP.wait_primary()
    GROUP.witness.kill()  # nobody takes over
    GROUP.kill(victim)
    with Watcher("s/", "--from", str(version), "--stale", "--once") as stale, \
            Watcher("s/", "--from", str(version), "--once") as other:
        assert stale.wait_end() == 0
        assert stale.text() == b"%d\tput\ts/1\tone\n" % version, stale.text()
        assert other.text() == b"" and other.process.poll() is None, other.text()
        GROUP.start_witness()
        GROUP.start_node(victim)
        assert other.wait_end() == 0 and other.text() == stale.text()
    GROUP.wait_in_sync(1, 2)


def test_what_is_no_revision_is_refused():
    assert GROUP.cli("watch", "--from", "x").returncode == 2
    assert GROUP.cli("watch", "a", "b").returncode == 2


def main():
    global GROUP
    code = 1
    with Group().start() as group:
        GROUP = group
        try:
            kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
        except SystemExit as end:
            code = end.code
    sys.exit(code)


if __name__ == "__main__":
    main()
