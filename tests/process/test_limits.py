# SPDX-License-Identifier: Apache-2.0
"""Descriptors: few of them, none of the standard ones, and what a child process gets."""

import os
import re
import subprocess

import kvtest
from kvtest import Group


def descriptors(process):
    """{number: flags} of what the process has open."""
    folder = "/proc/%d/fdinfo" % process.pid
    found = {}
    for name in os.listdir(folder):
        try:
            with open(os.path.join(folder, name)) as file:
                found[int(name)] = int(re.search(r"flags:\s*([0-7]+)", file.read()).group(1), 8)
        except FileNotFoundError:  # closed meanwhile
            pass
    return found


def logged(folder):
    """The files there that have log lines in them."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(place, name), "rb") as file:
                if b" level=" in file.read():
                    found.append(os.path.join(place, name))
    return found


def test_children_get_no_descriptor_but_the_standard_ones():
    with Group().start() as group:
        group.put("a", b"1")
        for process in list(group.nodes.values()) + [group.witness]:
            found = descriptors(process)
            assert len(found) > 5, found
            kept = [fd for fd, flags in found.items() if fd > 2 and not flags & os.O_CLOEXEC]
            names = [os.readlink("/proc/%d/fd/%d" % (process.pid, fd)) for fd in kept]
            assert not kept, (process.arguments[0], kept, names)


def test_standard_descriptors_that_are_closed_harm_nobody():
    """Log lines and messages must not go into whatever file gets the number."""
    closed = ["sh", "-c", 'exec 0<&- 1>&- 2>&-; exec "$@"', "sh"]
    with Group() as group:
        group.witness = kvtest.Process([kvtest.program("kvwitness"), "--data",
                                        group.path("witness"), "--listen", group.witness_url],
                                       group.path("witness.log"), closed)
        for node in group.urls:
            group.start_node(node, closed, ["--log-level", "debug"])
        group.wait_in_sync(1, 2)
        group.put("a", b"1")
        for process in list(group.nodes.values()) + [group.witness]:
            for fd in range(3):
                assert os.readlink("/proc/%d/fd/%d" % (process.pid, fd)) == "/dev/null"
        for name in ("node1", "node2", "witness"):
            assert not logged(group.path(name)), logged(group.path(name))
        for node in group.urls:  # all of it is still to be read
            group.kill(node)
        for node in group.urls:
            group.start_node(node)
        group.wait_in_sync(1, 2)
        assert group.get("a") == b"1"
        done = subprocess.run(closed + [kvtest.program("kvcli"), "--nodes", group.nodes_option(),
                                        "put", "b", "2"], timeout=60)
        assert done.returncode == 0, done
        assert group.get("b") == b"2"


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
