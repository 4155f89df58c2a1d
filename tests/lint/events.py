#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every event that a program logs is in its man page: an operator greps there for what a line says. The names
are taken from the calls that log, from the core's table of notes, and from functions that choose a name."""

import os
import re
import sys

import lint_common

PAGES = (("docs/man/kvnode.8", ("replication/core", "replication/node", "replication/engine")),
         ("docs/man/kvwitness.8", ("replication/witness",)),
         ("docs/man/kvworker.1", ("client/kvworker",)))
CALL = re.compile(r"\b(?:kvp_log|exec_say|log_task|trouble_step)\(([^;]*);", re.DOTALL)
NOTE = re.compile(r'\[KVP_NOTE_\w+\]\s*=\s*("[a-z_]+")')
CHOICE = re.compile(r"^static const char \*\w*event\w*\([^)]*\)\n\{(.*?)^\}", re.DOTALL | re.MULTILINE)
CHOICES = re.compile(r"static const char \*const (?:names|events)\[\] = \{(.*?)\};", re.DOTALL)
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')
NAME = re.compile(r"[a-z]+(?:_[a-z]+)*$")


def names_in(call):
    """The names before the text that has the event's fields."""
    for literal in LITERAL.findall(call):
        if not NAME.match(literal):
            return
        yield literal


def events_of(text):
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    for call in CALL.findall(text):
        yield from names_in(call)
    for found in NOTE.findall(text):
        yield found.strip('"')
    for body in CHOICE.findall(text) + (CHOICES.findall(text) if "log_task" in text else []):
        yield from LITERAL.findall(body)


def events_below(root, folders):
    found = {}
    for folder in folders:
        for where, _, names in os.walk(os.path.join(root, folder)):
            for name in sorted(names):
                path = os.path.join(where, name)
                if name.endswith(".c"):
                    for event in events_of(lint_common.read(path)):
                        found.setdefault(event, os.path.relpath(path, root))
    return found


def check(options):
    for page, folders in PAGES:
        text = lint_common.read(os.path.join(options.root, page))
        words = {word for line in text.splitlines() if line.startswith(".It Cm") for word in line.split()}
        events = events_below(options.root, folders)
        if len(events) <= 5:
            yield f"{page}: the events of {', '.join(folders)} are not found"
        for event, file in sorted(events.items()):
            if event not in words:
                yield f"{page}: the event {event} of {file} is missing"


if __name__ == "__main__":
    sys.exit(lint_common.run(__doc__, check))
