# SPDX-License-Identifier: Apache-2.0
"""The microcontroller's client against real nodes over loopback."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "process"))

import kvtest  # noqa: E402
from kvtest import Group  # noqa: E402


class Tool:
    """tests/mcu/mcu_tool in the background; its words up to a `wait` are done at once."""

    def __init__(self, group, *words, timeout_ms=10000):
        path = os.path.join(kvtest.BUILD, "tests/mcu/mcu_tool")
        self.child = subprocess.Popen([path, group.nodes_option(),
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


def test_the_primary_is_killed():
    with Group().start() as group:
        with Tool(group, "put", "a", "1", "get", "a", "wait", "get", "a", "put", "b", "2", "get",
                  "b") as tool:
            assert tool.line()[0] == OK
            assert tool.line()[2] == "1"
            group.kill(group.wait_primary())
            tool.go_on()
            assert tool.line()[::2] == (OK, "1")
            assert tool.line()[0] == OK
            assert tool.line()[::2] == (OK, "2")
        assert group.get("b") == b"2"


def test_nobody_is_there():
    with Group() as group:
        with Tool(group, "get", "a", "put", "a", "1", timeout_ms=300) as tool:
            assert tool.line()[0] == TIMEOUT
            assert tool.line()[0] == TIMEOUT  # nothing was sent, so nothing can have happened


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
