# SPDX-License-Identifier: Apache-2.0
"""Disks that neither answer nor fail, under nodes and under the witness: who leads, what is said, and
that every process ends when it is told to."""

import os
import re
import signal
import subprocess
import time

import kvtest
from kvtest import Group, Process, program, wait_for

LIBRARY = os.path.join(kvtest.BUILD, "tests", "process", "libheld_calls.so")


def sanitizer_runtime():
    """Paths of the address sanitizer's library, which wants to be the first that is loaded; none where there is none,
    or where it is a part of the program."""
    listed = subprocess.run(["ldd", program("kvnode")], capture_output=True, check=True, text=True).stdout
    return re.findall(r"=> (\S*lib(?:clang_rt\.)?asan\S*)", listed)


class Held:
    """Processes started with its prefix wait in these calls on files below `under`, once held."""

    def __init__(self, group, under, calls):
        self.file = group.path("held")
        preload = sanitizer_runtime() + [os.path.realpath(LIBRARY)]
        self.prefix = ["env", "LD_PRELOAD=" + " ".join(preload), "HELD_CALLS=" + calls,
                       "HELD_UNDER=" + under, "HELD_WHILE=" + self.file]

    def hold(self):
        with open(self.file, "w"):
            pass

    def let_go(self):
        if os.path.exists(self.file):
            os.remove(self.file)


def ends_on_sigterm(process, seconds=8):
    process.signal(signal.SIGTERM)
    begin = time.monotonic()
    process.wait(seconds)
    return time.monotonic() - begin


def group_with_held_node(calls):
    """Node 1 leads, and its disk is ours."""
    group = Group(2)
    held = Held(group, group.data_dir(1), calls)
    group.start_witness()
    group.start_node(1, held.prefix)
    time.sleep(0.3)
    group.start_node(2)
    group.wait_in_sync(1, 2)
    if group.primary() != 1:
        group.cli("handover", check=0)
        group.wait_primary(1)
        group.wait_in_sync(1, 2)
    group.put("key", b"before")
    return group, held


def test_a_primary_whose_fsync_never_returns_hands_over():
    group, held = group_with_held_node("fsync,fdatasync")
    with group:
        held.hold()
        begin = time.monotonic()
        done = group.cli("put", "key", "after", timeout_ms=8000)
        assert done.returncode == 0, done
        assert time.monotonic() - begin < 5 * kvtest.SLOW
        assert group.primary() == 2
        assert "disk_silent" in group.nodes[1].text() and "disk_given_up" in group.nodes[1].text()
        assert group.status(1)["disk_silent_ms"] >= 2000
        assert ends_on_sigterm(group.nodes[1]) < 4 * kvtest.SLOW
        assert group.get("key") == b"after"


def test_a_disk_that_answers_again_brings_its_node_back_in_sync():
    group, held = group_with_held_node("fsync,fdatasync")
    with group:
        held.hold()
        group.cli("put", "key", "after", timeout_ms=8000, check=0)
        held.let_go()
        group.wait_in_sync(1, 2)
        assert "disk_answers" in group.nodes[1].text()
        assert group.get("key") == b"after"


def test_a_node_that_is_alone_with_a_hung_disk_says_so_and_ends_on_sigterm():
    group, held = group_with_held_node("fsync,fdatasync")
    with group:
        group.kill(2)
        wait_for(lambda: (group.status(1) or {}).get("in_sync") == [1], "node 1 alone")
        held.hold()
        assert group.cli("put", "key", "after", timeout_ms=4000).returncode == 4
        wait_for(lambda: "disk_no_heir" in group.nodes[1].text(), "a word about it")
        assert group.cli("put", "key", "after", timeout_ms=1000).returncode == 3
        assert ends_on_sigterm(group.nodes[1], 10) < 9 * kvtest.SLOW


def test_a_backup_whose_disk_hangs_leaves_and_ends_on_sigterm():
    group, held = group_with_held_node("fsync,fdatasync")
    with group:
        group.cli("handover", check=0)
        group.wait_primary(2)
        group.wait_in_sync(1, 2)
        held.hold()
        group.cli("put", "key", "after", timeout_ms=8000, check=0)
        wait_for(lambda: (group.status(2) or {}).get("in_sync") == [2], "node 1 out")
        assert ends_on_sigterm(group.nodes[1]) < 7 * kvtest.SLOW


def test_a_node_whose_disk_hangs_while_it_starts_says_so_and_ends_on_sigterm():
    for calls in ("open", "rename", "fsync,fdatasync", "read,pread"):
        with Group(2) as group:
            held = Held(group, group.data_dir(1), calls)
            if calls == "read,pread":
                group.start()
                group.nodes[1].signal(signal.SIGTERM)
                group.nodes[1].wait()
            else:
                group.start_witness()
            held.hold()
            group.start_node(1, held.prefix)
            wait_for(lambda: "opening the data" in group.nodes[1].text(), "a word, " + calls)
            assert ends_on_sigterm(group.nodes[1]) < 3 * kvtest.SLOW, calls


def test_a_witness_whose_disk_hangs_says_so_answers_and_ends_on_sigterm():
    group = Group(2)
    held = Held(group, group.path("witness"), "fsync,fdatasync")
    with group:
        group.witness = Process(held.prefix + [program("kvwitness"), "--data", group.path("witness"),
                                               "--listen", group.witness_url],
                                group.path("witness.log"))
        for node in group.urls:
            group.start_node(node)
        group.wait_in_sync(1, 2)
        held.hold()
        group.kill(2)
        wait_for(lambda: "disk_silent" in group.witness.text(), "a word about it")
        assert ends_on_sigterm(group.witness) < 5 * kvtest.SLOW


if __name__ == "__main__":
    kvtest.main([test_a_primary_whose_fsync_never_returns_hands_over,
                 test_a_disk_that_answers_again_brings_its_node_back_in_sync,
                 test_a_node_that_is_alone_with_a_hung_disk_says_so_and_ends_on_sigterm,
                 test_a_backup_whose_disk_hangs_leaves_and_ends_on_sigterm,
                 test_a_node_whose_disk_hangs_while_it_starts_says_so_and_ends_on_sigterm,
                 test_a_witness_whose_disk_hangs_says_so_answers_and_ends_on_sigterm])
