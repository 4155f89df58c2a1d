# SPDX-License-Identifier: Apache-2.0
"""What the rules share: the sources, functions in them, rings in a graph, and the list of exceptions, which may only
get shorter. Every rule is a program: 0 is "kept", 1 is "broken", with a line for each place."""

import argparse
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARY = ("kvstore", "replication", "client")
EXCEPTIONS = os.path.join("tests", "lint", "exceptions.txt")

TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
HEAD = re.compile(r"(\w+)\s*\(")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def sources(root, folders, endings=(".c", ".h")):
    """Paths below the root, sorted."""
    found = []
    for top in folders:
        for folder, _, names in os.walk(os.path.join(root, top)):
            found += [os.path.relpath(os.path.join(folder, name), root) for name in names if name.endswith(endings)]
    return sorted(found)


def without_comments(text):
    """The same lines without comments, and with empty strings."""
    def blank(match):
        token = match.group(0)
        return ('""' if token[0] in "\"'" else " ") + "\n" * token.count("\n")
    return TOKEN.sub(blank, text)


def functions(text):
    """(name, is static, first line, last line, body) of every function: its braces stand in the first column."""
    lines = without_comments(text).split("\n")
    for begin, line in enumerate(lines):
        if line.rstrip() != "{":
            continue
        first = begin
        while first > 0 and lines[first - 1].strip() and lines[first - 1].rstrip()[-1] not in ";}" \
                and not lines[first - 1].startswith("#"):
            first -= 1
        end = next((i for i in range(begin, len(lines)) if lines[i].rstrip() == "}"), len(lines) - 1)
        head = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", " ".join(lines[first:begin]))
        name = HEAD.search(head)
        if name:
            yield name.group(1), head.startswith("static"), first + 1, end + 1, "\n".join(lines[begin:end + 1])


def rings(graph):
    """Sets of more than one node that reach each other, sorted. `graph`: {node: nodes that it leads to}."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            ring = stack[stack.index(node):]
            del stack[stack.index(node):]
            if len(ring) > 1:
                found.append(sorted(ring))

    sys.setrecursionlimit(10000)
    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(found)


class Exceptions:
    """The lines "RULE PLACE NUMBER" of exceptions.txt: how bad a place may be. A place that has become better has to
    have its number changed, so that it stays so; `--lower` does that."""

    def __init__(self, root):
        self.path = os.path.join(root, EXCEPTIONS)
        self.lines = read(self.path).splitlines() if os.path.exists(self.path) else []

    def of(self, rule):
        parts = [line.split() for line in self.lines]
        return {part[1]: int(part[2]) for part in parts if len(part) == 3 and part[0] == rule}

    def twice(self, rule):
        places = [part[1] for part in map(str.split, self.lines) if len(part) == 3 and part[0] == rule]
        return sorted({place for place in places if places.count(place) > 1})

    def hold(self, rule, measured, limit, unit, rising=False):
        """What is wrong with `measured`, {place: number}. `limit`: how much is fine without being listed; `rising`:
        how little is."""
        allowed, wrong = self.of(rule), []
        sign = -1 if rising else 1
        word, order = ("least", "raise") if rising else ("most", "lower")
        for place, number in sorted(measured.items()):
            if sign * number <= sign * limit and place in allowed:
                wrong.append(f"{place}: {number} {unit}: it keeps the rule now, take \"{rule} {place}\" out of {EXCEPTIONS}")
            elif sign * number > sign * allowed.get(place, limit):
                wrong.append(f"{place}: {number} {unit}, at {word} {allowed.get(place, limit)} are allowed")
            elif place in allowed and number != allowed[place]:
                wrong.append(f"{place}: {number} {unit}: {order} the number {allowed[place]} in {EXCEPTIONS}")
        wrong += [f"{place}: is gone: take \"{rule} {place}\" out of {EXCEPTIONS}" for place in sorted(set(allowed) - set(measured))]
        wrong += [f"{place}: \"{rule} {place}\" is in {EXCEPTIONS} twice" for place in self.twice(rule)]
        return wrong

    def lower(self, rule, measured, limit, rising=False):
        """Writes what has become better, and nothing that has become worse."""
        sign, kept = (-1 if rising else 1), []
        for line in self.lines:
            part = line.split()
            if len(part) == 3 and part[0] == rule:
                number = measured.get(part[1])
                if number is None or sign * number <= sign * limit:
                    continue
                line = f"{rule} {part[1]} {sign * min(sign * number, sign * int(part[2]))}"
            kept.append(line)
        self.lines = kept
        with open(self.path, "w", encoding="utf-8") as file:
            file.write("\n".join(kept) + "\n")

    def settle(self, options, rule, measured, limit, unit, rising=False):
        if options.lower:
            self.lower(rule, measured, limit, rising)
        return self.hold(rule, measured, limit, unit, rising)


def run(text, check, **arguments):
    """Runs a rule: `check` yields what is wrong. `arguments`: {name of a positional argument: help}."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--root", default=os.path.normpath(os.path.join(HERE, "..", "..")))
    parser.add_argument("--lower", action="store_true", help="write what has become better to " + EXCEPTIONS)
    for name, what in arguments.items():
        parser.add_argument(name, help=what)
    options = parser.parse_args()
    wrong = list(check(options))
    print("\n".join(wrong) if wrong else "kept")
    return 1 if wrong else 0
