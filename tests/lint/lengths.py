#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A file has at most 800 lines, a function 70. What is longer today is in exceptions.txt."""

import os
import sys

import lint_common

FOLDERS = ("include", "mcu-port", "examples", "tests") + lint_common.LIBRARY
FILE_MAX, FUNCTION_MAX = 800, 70


def check(options):
    files, longest = {}, {}
    for path in lint_common.sources(options.root, FOLDERS):
        text = lint_common.read(os.path.join(options.root, path))
        files[path] = text.count("\n")
        for name, _, first, last, _ in lint_common.functions(text):
            longest[f"{path}:{name}"] = last - first + 1
    exceptions = lint_common.Exceptions(options.root)
    yield from exceptions.settle(options, "file", files, FILE_MAX, "lines")
    yield from exceptions.settle(options, "function", longest, FUNCTION_MAX, "lines")


if __name__ == "__main__":
    sys.exit(lint_common.run(__doc__, check))
