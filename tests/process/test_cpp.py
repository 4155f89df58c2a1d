#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kvpair.hpp: keys, futures and jobs from C++, also with the primary killed in the middle."""

import os
import sys

import kvtest
from kvtest import Group, Process, wait_for

PROGRAM = os.path.join(kvtest.BUILD, "tests", "process", "cpp_client")


def test_what_the_header_promises_holds():
    with Group().start() as group:
        worker = Process([kvtest.program("kvworker"), "--nodes", group.nodes_option(), "--id", "w", "--parallel", "4",
                          "--handler", "echo=cat", "--handler", "fail=echo no such page >&2; exit 1"],
                         group.path("w.log"))
        wait_for(lambda: "joined" in worker.text(), "the worker to join")
        program = Process([PROGRAM, "all", group.nodes_option()], group.path("cpp.log"))
        status = program.wait(90)
        worker.kill()
        assert status == 0 and "done" in program.text(), program.text()


def test_a_counter_loses_nothing_when_the_primary_is_killed():
    with Group().start() as group:
        program = Process([PROGRAM, "failover", group.nodes_option()], group.path("cpp.log"))
        wait_for(lambda: "half way" in program.text(), "it to be in the middle")
        group.kill(group.primary())
        status = program.wait(60)
        assert status == 0 and "counted" in program.text(), program.text()


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
