#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No two functions of the library and its programs have the same name, also where they are static: who looks for a
name finds one place. A static function bears the noun of its module. What is not so today is in exceptions.txt."""

import os
import sys

import lint_common

ENTRY = {"main"}  # of each program


def check(options):
    found = {}
    for path in lint_common.sources(options.root, lint_common.LIBRARY):
        for name, *_ in lint_common.functions(lint_common.read(os.path.join(options.root, path))):
            found.setdefault(name, set()).add(path)
    counts = {name: len(places) for name, places in found.items() if name not in ENTRY}
    for line in lint_common.Exceptions(options.root).settle(options, "name", counts, 1, "definitions"):
        places = sorted(found.get(line.split(":")[0], ()))
        yield f"{line} ({', '.join(places)})" if len(places) > 1 else line


if __name__ == "__main__":
    sys.exit(lint_common.run(__doc__, check))
