#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No function of the replication core calls itself by way of another one: what follows from an event is done in one
pass at its end. The call graph is read from the sources; calls through tables lead out of the core."""

import os
import re
import sys

import lint_common

FOLDERS = ("replication/core",)
CALL = re.compile(r"\b([a-z_]\w*)\s*\(")


def calls_of(root):
    """{"file:name" or "name": those that it calls}; static functions bear their file."""
    bodies, shared = {}, set()
    for path in lint_common.sources(root, FOLDERS):
        for name, static, _, _, body in lint_common.functions(lint_common.read(os.path.join(root, path))):
            bodies[path, name] = body
            if not static or path.endswith(".h"):
                shared.add((path, name))
    everywhere = {name: (path, name) for path, name in shared}
    graph = {}
    for (path, name), body in bodies.items():
        targets = [(path, called) if (path, called) in bodies else everywhere.get(called) for called in CALL.findall(body)]
        graph[path, name] = {target for target in targets if target is not None}
    return graph


def check(options):
    found = lint_common.rings(calls_of(options.root))
    measured = {"replication/core": sum(len(ring) for ring in found)}
    yield from lint_common.Exceptions(options.root).settle(options, "recursion", measured, 0,
                                                           "functions that call each other in rings")
    allowed = lint_common.Exceptions(options.root).of("recursion").get("replication/core", 0)
    if measured["replication/core"] > allowed:
        for ring in found:
            yield "ring: " + ", ".join(name for _, name in ring)


if __name__ == "__main__":
    sys.exit(lint_common.run(__doc__, check))
