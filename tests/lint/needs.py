#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The pure rooms call nothing that they may not: no clock, socket, file or thread of the system, none of ours that uses
those, and memory is asked for only in the files named here. By the undefined symbols of their objects."""

import os
import re
import sys

import lint_common
import rings

PURE = {"memchr", "memcmp", "memcpy", "memmove", "memset", "strcmp", "strlen", "assert_fail", "free"}
TEXT = {"snprintf", "vsnprintf"}
# What a room may call besides, and which of its files may ask for memory.
ROOMS = {
    "replication/core": (set(), {"core.c", "core_log.c"}),
    "replication/jobs": (TEXT | {"crc32_z", "crc32"}, {"job_dismantle.c", "job_fault.c", "job_info.c", "job_load.c", "job_queue.c",
                                                   "jobs.c"}),
    "replication/matrix": (TEXT | {"fmax", "freelocale", "newlocale", "strchr", "strcpy", "strtod", "strtof", "uselocale"},
                           {"matrix.c", "matrix_compare.c", "matrix_kernel.c", "matrix_market.c", "matrix_multiply.c",
                            "matrix_recheck.c", "matrix_verify.c"}),
    "replication/engine": ({"XXH3_64bits"}, {"engine.c", "engine_session.c", "lease_index.c", "overlay.c", "session.c", "session_age.c"}),
}
MEMORY = {"malloc", "calloc", "realloc", "aligned_alloc", "strdup", "reallocarray"}
# Of ours, what uses the system.
SYSTEM = re.compile(r"^kvstore/(base/(clock_posix|logger|posix_file)|env_posix|store_leveldb)\.c$|^replication/(net|node)/")
# The compiler's own.
COMPILER = re.compile(r"^(_GLOBAL_OFFSET_TABLE_|__stack_chk_fail|__cpu_model|__\w+[dst]i[234]|__(asan|ubsan|tsan|gcov)_\w+)$")


def plain(symbol):
    """__memcpy_chk is memcpy, with bounds that the compiler has added."""
    checked = re.match(r"^__(\w+)_chk$", symbol)
    return checked.group(1) if checked else symbol.removeprefix("__") if symbol == "__assert_fail" else symbol


def check(options):
    root = os.path.realpath(options.root)
    objects = rings.objects_of(os.path.realpath(options.build))
    table = rings.symbols_of(sorted(objects))
    homes = {symbol: os.path.relpath(objects[name], root) for name, (has, _) in table.items() for symbol in has}
    for name, (_, wants) in sorted(table.items()):
        source = os.path.relpath(objects[name], root)
        if os.path.dirname(source) not in ROOMS:
            continue
        extra, allocators = ROOMS[os.path.dirname(source)]
        for symbol in sorted(map(plain, wants)):
            home = homes.get(symbol)
            if home is not None and SYSTEM.match(home):
                yield f"{source}: calls {symbol} of {home}"
            elif symbol in MEMORY and os.path.basename(source) not in allocators:
                yield f"{source}: asks for memory: {symbol}"
            elif home is None and symbol not in PURE | MEMORY | extra and not COMPILER.match(symbol):
                yield f"{source}: calls {symbol}"


if __name__ == "__main__":
    sys.exit(lint_common.run(__doc__, check, build="the build's directory"))
