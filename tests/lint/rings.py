#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files of the library, and of each program, call each other in one direction: by the symbols of their objects. A ring
that remains is a row of the table "Circles" in docs/architecture.md, which says why; there are at most two."""

import json
import os
import re
import subprocess
import sys

import lint_common

RINGS_MAX = 2
ROW = re.compile(r"^\| `([\w/-]+)/` \|[^|]*\|$")
LOCAL = "tbdrvw"  # small letters: of one file alone


def objects_of(build):
    """{object: source} of the library and its programs, as the build makes them now."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        entries = json.load(file)
    found = {}
    for entry in entries:
        source = os.path.normpath(os.path.join(entry["directory"], entry["file"]))
        output = entry["output"]
        if not output.startswith(("tests/", "examples/", "mcu-port/", "docs/")):
            found[os.path.join(build, output)] = source
    return found


def symbols_of(objects):
    """{object: (those it has, those it wants)}"""
    text = subprocess.run(["nm", "-A", *objects], check=True, capture_output=True, text=True, timeout=120).stdout
    table = {name: (set(), set()) for name in objects}
    for line in text.splitlines():
        name, rest = line.split(":", 1)
        parts = rest.split()
        kind, symbol = parts[-2], parts[-1]
        if kind == "U":
            table[name][1].add(symbol)
        elif kind not in LOCAL:
            table[name][0].add(symbol)
    return table


def rings_of(build, root):
    objects = objects_of(build)
    table = symbols_of(sorted(objects))
    # A target's directory is the program or the archive; the archives are one library.
    homes = {}
    for name, (has, _) in table.items():
        for symbol in has:
            homes.setdefault(symbol, []).append(name)
    graph = {}
    for name, (_, wants) in table.items():
        source = os.path.relpath(objects[name], root)
        for symbol in wants:
            for home in homes.get(symbol, ()):
                same = os.path.dirname(home) == os.path.dirname(name)
                if home != name and (same or ".a.p" in home):
                    graph.setdefault(source, set()).add(os.path.relpath(objects[home], root))
    return lint_common.rings(graph)


def justified(root):
    """The rooms whose rings docs/architecture.md names."""
    text = lint_common.read(os.path.join(root, "docs", "architecture.md"))
    section = text.partition("## Circles\n")[2].partition("\n## ")[0]
    return [row.group(1) for row in map(ROW.match, section.splitlines()) if row]


def check(options):
    root = os.path.realpath(options.root)
    rooms = justified(root)
    if len(rooms) > RINGS_MAX:
        yield f"docs/architecture.md: {len(rooms)} circles, at most {RINGS_MAX} are allowed"
    seen = set()
    for ring in rings_of(os.path.realpath(options.build), root):
        rooms_of_ring = {os.path.dirname(file) for file in ring}
        room = rooms_of_ring.pop()
        if rooms_of_ring or room not in rooms or room in seen:
            yield "files call each other in a ring: " + ", ".join(ring)
        seen.add(room)
    for room in rooms:
        if room not in seen:
            yield f"docs/architecture.md: there is no circle in {room}/ any more: take it out of \"Circles\""


if __name__ == "__main__":
    sys.exit(lint_common.run(__doc__, check, build="the build's directory"))
