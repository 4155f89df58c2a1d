#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The arrows between the rooms of the library, held against the table in docs/architecture.md: a room includes
only what the table grants it, the table itself has no arrow upwards (a room stands below those that include it),
every file lies in a room, and no headers include each other in a ring. `rooms.py --table` prints what there is."""

import argparse
import os
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
ROW = re.compile(r"^\| `([\w/-]+)/` \|[^|]*\|([^|]*)\|$")
LIBRARY = ("include", "kvstore", "replication", "client")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def table_of(root):
    """{room: rooms that it may include}, in the table's order: from the bottom to the top."""
    rooms = {}
    for line in read(os.path.join(root, "docs", "architecture.md")).splitlines():
        row = ROW.match(line)
        if row:
            rooms[row.group(1)] = re.findall(r"`([\w/-]+)/`", row.group(2))
    return rooms


def files_of(root):
    for top in LIBRARY:
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in names:
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(folder, name), root)


def target_of(root, file, included):
    """The file that an include line means, or None where it is not one of ours."""
    for base in (os.path.dirname(file), "", "include"):
        path = os.path.normpath(os.path.join(base, included))
        if os.path.isfile(os.path.join(root, path)):
            return path
    return None


def arrows_of(root):
    return [(file, target) for file in sorted(files_of(root))
            for target in (target_of(root, file, name) for name in INCLUDE.findall(read(os.path.join(root, file))))
            if target is not None]


def wrong_table(rooms):
    seen = set()
    for room, granted in rooms.items():
        for other in granted:
            if other not in seen:
                yield f"docs/architecture.md: {room}/ stands below {other}/ or beside it, and may not include it"
        seen.add(room)


def wrong_rooms(root, rooms, arrows):
    for file in files_of(root):
        if os.path.dirname(file) not in rooms:
            yield f"{file}: lies in no room of the table"
    for file, target in arrows:
        here, there = os.path.dirname(file), os.path.dirname(target)
        if here != there and there not in rooms.get(here, []):
            yield f"{file}: includes {target}, which {here}/ may not"


def rings_of(arrows):
    """Sets of files that reach each other."""
    graph = {}
    for file, target in arrows:
        graph.setdefault(file, set()).add(target)
    reach = {}
    for start in graph:
        found, work = set(), [start]
        while work:
            new = graph.get(work.pop(), set()) - found
            found |= new
            work += new
        reach[start] = found
    rings = {frozenset(b for b in reach[a] if a in reach.get(b, ())) for a in graph if a in reach[a]}
    return sorted(sorted(ring) for ring in rings)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    root = os.path.normpath(options.root)
    rooms, arrows = table_of(root), arrows_of(root)
    if options.table:
        found = sorted({(os.path.dirname(a), os.path.dirname(b)) for a, b in arrows})
        print("\n".join(f"{a}/ -> {b}/" for a, b in found if a != b))
    wrong = list(wrong_table(rooms)) + list(wrong_rooms(root, rooms, arrows))
    wrong += ["files include each other in a ring: " + ", ".join(ring) for ring in rings_of(arrows)]
    if len(rooms) < 10:
        wrong.append("docs/architecture.md: the table of rooms is not found")
    print("\n".join(wrong) if wrong else f"{len(rooms)} rooms, {len(arrows)} includes: every arrow goes downwards")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
