#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The replication core asserts and explains: at least 25 assertions for each thousand lines that are not blank, and a
comment on at least 15 of a hundred. Where it stands today is in exceptions.txt, and may only rise."""

import os
import re
import sys

import lint_common

ROOM = "replication/core"
ASSERTS_MIN, COMMENTS_MIN = 25, 15
ASSERT = re.compile(r"\b(?:static_)?assert\s*\(", re.ASCII)


def check(options):
    lines = asserts = comments = 0
    for path in lint_common.sources(options.root, (ROOM,)):
        text = lint_common.read(os.path.join(options.root, path))
        plain = lint_common.without_comments(text)
        asserts += len(ASSERT.findall(plain))
        lines += sum(bool(line.strip()) for line in text.split("\n"))
        for token in lint_common.TOKEN.finditer(text):
            if token.group(0)[0] == "/":
                comments += sum(bool(line.strip()) for line in token.group(0).split("\n"))
    measured = {"asserts": {ROOM: asserts * 1000 // max(lines, 1)}, "comments": {ROOM: comments * 100 // max(lines, 1)}}
    exceptions = lint_common.Exceptions(options.root)
    yield from exceptions.settle(options, "asserts", measured["asserts"], ASSERTS_MIN, "assertions for 1000 lines", True)
    yield from exceptions.settle(options, "comments", measured["comments"], COMMENTS_MIN, "of 100 lines have a comment", True)


if __name__ == "__main__":
    sys.exit(lint_common.run(__doc__, check))
