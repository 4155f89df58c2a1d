#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every C file looks as clang-format and the tree's .clang-format make it. Without clang-format: exit code 77."""

import os
import re
import shutil
import subprocess
import sys

import lint_common

FOLDERS = ("include", "mcu-port", "examples", "tests") + lint_common.LIBRARY


def check(options):
    files = lint_common.sources(options.root, FOLDERS)
    done = subprocess.run(["clang-format", "--dry-run", "--style=file", *files], cwd=options.root, capture_output=True,
                          text=True, timeout=300)
    if done.returncode != 0:
        yield done.stderr.strip()
    for path in sorted({match.group(1) for match in re.finditer(r"^(\S+?):\d+:\d+: warning", done.stderr, re.MULTILINE)}):
        yield f"{path}: is not formatted: clang-format -i {path}"


if __name__ == "__main__":
    sys.exit(lint_common.run(__doc__, check) if shutil.which("clang-format") else 77)
