# SPDX-License-Identifier: Apache-2.0
"""The microcontroller's client against real nodes over loopback."""

import os
import resource
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "process"))

import kvtest  # noqa: E402
from kvtest import Group  # noqa: E402


class Tool:
    """tests/mcu/mcu_tool in the background; its words up to a `wait` are done at once."""

    def __init__(self, group, *words, timeout_ms=10000, port=""):
        path = os.path.join(kvtest.BUILD, "tests/mcu/mcu_tool")
        self.child = subprocess.Popen([path, port + group.nodes_option(),
                                       str(timeout_ms * kvtest.SLOW), *words],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                      bufsize=1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.communicate()

    def line(self):
        """(status, revision, value) of the next call."""
        status, revision, value = self.child.stdout.readline().rstrip("\n").split(" ", 2)
        return int(status), int(revision), value

    def go_on(self):
        self.child.stdin.write("\n")
        self.child.stdin.flush()


OK, NOT_FOUND, EXISTS, VERSION_DIFFERS, TIMEOUT = 0, 1, 2, 3, 18


def test_every_operation():
    with Group().start() as group:
        with Tool(group, "hello", "get", "lamp", "put", "lamp", "on", "get", "lamp", "create",
                  "lamp", "x", "cas", "lamp", "0", "x") as tool:
            assert tool.line()[0] == OK
            assert tool.line()[0] == NOT_FOUND
            status, revision, _ = tool.line()
            assert status == OK
            assert tool.line() == (OK, revision, "on")
            assert tool.line()[:2] == (EXISTS, revision)
            assert tool.line()[:2] == (VERSION_DIFFERS, revision)
        assert group.get("lamp") == b"on"
        group.put("lamp", b"x" * 1000)
        with Tool(group, "get", "lamp", "cas", "lamp", "1", "x", "delete", "lamp", "0", "get",
                  "lamp") as tool:
            assert tool.line()[0] == 256  # it does not fit
            status, revision, _ = tool.line()
            assert status == VERSION_DIFFERS and revision > 1
            assert tool.line()[0] == OK
            assert tool.line()[0] == NOT_FOUND


def test_a_key_is_watched_over_the_death_of_the_primary():
    with Group().start() as group:
        with Tool(group, "watch", "lamp", "0") as tool:
            status, revision, rest = tool.line()
            assert (status, revision) == (OK, 0), rest
        from_there = rest.split(" ")[0]
        group.put("lamp", b"on")
        with Tool(group, "watch", "lamp", from_there) as tool:
            status, revision, rest = tool.line()
            assert status == OK and revision >= int(from_there), rest
            assert rest == "%d on" % (revision + 1), rest
        group.kill(group.wait_primary())
        with Tool(group, "watch", "lamp", str(revision), "watch", "lamp", str(revision + 1)) as tool:
            assert tool.line() == (OK, revision, "%d on" % (revision + 1))  # as it was told before
            group.cli("delete", "lamp", check=0)
            group.put("lamp2", b"another")
            status, deleted, rest = tool.line()
            assert status == OK and deleted > revision and rest == "%d " % (deleted + 1), (status, deleted, rest)


def kill_the_primary(port):
    with Group().start() as group:
        with Tool(group, "put", "a", "1", "get", "a", "wait", "get", "a", "put", "b", "2", "get",
                  "b", port=port) as tool:
            assert tool.line()[0] == OK
            assert tool.line()[2] == "1"
            group.kill(group.wait_primary())
            tool.go_on()
            assert tool.line()[::2] == (OK, "1")
            assert tool.line()[0] == OK
            assert tool.line()[::2] == (OK, "2")
        assert group.get("b") == b"2"


def test_the_primary_is_killed():
    kill_the_primary("")


def test_the_primary_is_killed_under_the_smaller_port():
    kill_the_primary("sockets:")


def test_a_crowd():
    """10000 of them, if a process may have so many descriptors."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count, processes = (10000 if descriptors >= 12000 and kvtest.SLOW == 1 else 1000), 4
    path = os.path.join(kvtest.BUILD, "tests/mcu/mcu_crowd")
    with Group().start() as group:
        group.wait_primary()

        def resident_kib():
            return sum(node.resident_kib() for node in group.nodes.values())

        before = resident_kib()
        crowd = [subprocess.Popen(
            [path, group.nodes_option(), str(i * count // processes), str(count // processes),
             str(60000 * kvtest.SLOW)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for i in range(processes)]
        try:
            begin = time.monotonic()
            words = [each.stdout.readline() for each in crowd]
            took = time.monotonic() - begin
            more = resident_kib() - before
            # Two nodes: there may be a change of primary under such a load.
            held = sum(len(os.listdir("/proc/%d/fd" % node.pid)) for node in group.nodes.values())
            print("%d clients in %.1f s, %.1f KiB each in both nodes, which have %d descriptors" %
                  (count, took, more / count, held))
            assert words == ["served %d\n" % (count // processes)] * processes, words
            assert held > count
            assert kvtest.SLOW > 1 or more / count < 8
        finally:
            for each in crowd:
                each.kill()
                each.communicate()
        assert group.get("board-7") == b"board-7"


def test_nobody_is_there():
    with Group() as group:
        for port in "", "sockets:":
            with Tool(group, "get", "a", "put", "a", "1", timeout_ms=300, port=port) as tool:
                assert tool.line()[0] == TIMEOUT
                assert tool.line()[0] == TIMEOUT  # nothing was sent, so nothing can have happened


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
