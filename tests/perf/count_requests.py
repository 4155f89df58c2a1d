#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Instructions and allocations per request: counted, so that a busy machine changes nothing.

    count_requests.py PROGRAM [--print]

fails when a request costs more than LIMITS allow, which is a twentieth more than it did when they were
set, and for the transaction, half of which is copying, a tenth (the C library chooses its copying by the
processor): either there is a reason, and they are set anew with what --print shows, or it is a mistake. What is counted is the work of both nodes, without
sockets, threads and store (see count_requests.c).
"""

import os
import re
import subprocess
import sys

REQUESTS = 2000

# workload: (instructions, allocations) per request; a txn puts 100 keys
LIMITS = {
    "put": (20250, 10.5),
    "put-64": (8030, 4.5),
    "get": (3190, 0.1),
    "txn": (346700, 120),
}


def count(program, workload):
    # Meson has the C library fill what is allocated, which would be counted, too.
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
         "--toggle-collect=measured", "--toggle-collect=store", program, workload, str(REQUESTS)],
        capture_output=True, text=True, check=True, timeout=300,
        env={name: value for name, value in os.environ.items() if name != "MALLOC_PERTURB_"})
    instructions = int(re.search(r"Collected : (\d+)", done.stderr).group(1))
    requests, allocations = map(int, re.search(r"(\d+) requests, (\d+) allocations",
                                               done.stdout).groups())
    assert requests == REQUESTS, done.stdout
    return instructions / requests, allocations / requests


def main():
    program, only_print = sys.argv[1], "--print" in sys.argv[2:]
    try:
        subprocess.run(["valgrind", "--version"], capture_output=True, check=True)
    except FileNotFoundError:
        print("skipped: there is no valgrind")
        return 77
    failed = False
    for workload, limits in LIMITS.items():
        costs = count(program, workload)
        over = any(cost > limit for cost, limit in zip(costs, limits))
        failed = failed or over
        print("%-8s %9.0f instructions (at most %d), %7.2f allocations (at most %.1f)%s"
              % (workload, costs[0], limits[0], costs[1], limits[1],
                 ": TOO MANY" if over else ""))
    return 1 if failed and not only_print else 0


if __name__ == "__main__":
    sys.exit(main())
