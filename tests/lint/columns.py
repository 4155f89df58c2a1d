#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A line of C has at most 100 columns. clang-format sees to most of that, but not to comments behind code."""

import os
import sys

import lint_common

FOLDERS = ("include", "mcu-port", "examples", "tests") + lint_common.LIBRARY
COLUMNS_MAX = 100


def check(options):
    for path in lint_common.sources(options.root, FOLDERS):
        for number, line in enumerate(lint_common.read(os.path.join(options.root, path)).split("\n"), 1):
            if len(line) > COLUMNS_MAX:
                yield f"{path}:{number}: {len(line)} columns, at most {COLUMNS_MAX} are allowed"


if __name__ == "__main__":
    sys.exit(lint_common.run(__doc__, check))
