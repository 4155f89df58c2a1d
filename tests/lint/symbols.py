#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A library exports nothing but names that begin with kvp_ or kvmcu_: an application has its own session_new."""

import os
import re
import subprocess
import sys

import lint_common

OURS = re.compile(r"^(kvp|kvmcu)_\w+$")


def exported(path):
    dynamic = ["-D"] if ".so" in os.path.basename(path) else []
    text = subprocess.run(["nm", *dynamic, "-g", "--defined-only", path], check=True, capture_output=True, text=True,
                          timeout=60).stdout
    return {parts[2] for parts in map(str.split, text.splitlines()) if len(parts) == 3}


def check(options):
    names = exported(options.library)
    if not any(OURS.match(name) for name in names):
        yield f"{options.library}: exports nothing of ours"
    foreign = sorted(name for name in names if not OURS.match(name))
    if foreign:
        yield f"{options.library}: exports {len(foreign)} names of others: {', '.join(foreign[:10])}"


if __name__ == "__main__":
    sys.exit(lint_common.run(__doc__, check, library="libkvpair.so or libkvpair.a"))
