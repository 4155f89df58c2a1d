#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every header that is installed, and every one of mcu-port/, compiles alone as C99, C11, C++11 and C++20, and says to
C++ that it is C. Without a C++ compiler only as C."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import lint_common

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
STANDARDS = [("gcc", "c", "c99"), ("gcc", "c", "c11"), ("g++", "c++", "c++11"), ("g++", "c++", "c++20")]
LWIP = "/usr/include/lwip"
# What a header of another system lacks here is elsewhere, or nowhere.
NEEDS_LWIP = {"port_lwip.h"}


def headers_of(root):
    """Those that lie directly in the two folders."""
    for folder in ("include/kvpair", "mcu-port"):
        for name in sorted(os.listdir(os.path.join(root, folder))):
            if name.endswith(".h") and (name not in NEEDS_LWIP or os.path.isdir(LWIP)):
                yield os.path.join(folder, name)


def compile_alone(root, header, compiler, language, standard):
    lwip = ["-isystem", LWIP] if os.path.basename(header) in NEEDS_LWIP else []
    command = [compiler, "-std=" + standard, *STRICT, "-I", os.path.join(root, "include"), "-I",
               os.path.join(root, "mcu-port"), *lwip, "-x", language, "-include", os.path.join(root, header), "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode == 0:
        return None
    first = next((line for line in done.stderr.splitlines() if "error:" in line), done.stderr.strip())
    return f"{header}: does not compile alone as {standard}: {first}"


def check(options):
    headers = list(headers_of(options.root))
    standards = [one for one in STANDARDS if shutil.which(one[0])]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        results = pool.map(lambda one: compile_alone(options.root, one[0], *one[1]),
                           [(header, standard) for header in headers for standard in standards])
    yield from (result for result in results if result)
    for header in headers:
        text = lint_common.read(os.path.join(options.root, header))
        if "(" in lint_common.without_comments(text) and 'extern "C"' not in text and ");\n" in text:
            yield f"{header}: declares functions, and does not say that they are C"


if __name__ == "__main__":
    sys.exit(lint_common.run(__doc__, check))
