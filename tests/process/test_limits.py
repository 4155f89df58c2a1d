# SPDX-License-Identifier: Apache-2.0
"""Descriptors: few of them, none of the standard ones, and what a child process gets."""

import os
import re

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


def test_children_get_no_descriptor_but_the_standard_ones():
    with Group().start() as group:
        group.put("a", b"1")
        for process in list(group.nodes.values()) + [group.witness]:
            found = descriptors(process)
            assert len(found) > 5, found
            kept = [fd for fd, flags in found.items() if fd > 2 and not flags & os.O_CLOEXEC]
            names = [os.readlink("/proc/%d/fd/%d" % (process.pid, fd)) for fd in kept]
            assert not kept, (process.arguments[0], kept, names)


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
