#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a call from Python costs more than the same call from C: processor time of the client, and time on the clock, for
reads from a group of one node, and the same with the node left out: a key that is refused before anything is sent.

    KVPAIR_BUILD=build python3 tests/perf/measure_python.py [--calls N] [--rounds N]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
import kvpython  # noqa: E402

import kvpair  # noqa: E402

PROGRAM = r"""
#include <kvpair/kvp_client.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}
int main(int argc, char **argv)
{
    kvp_client_options options;
    kvp_client *client;
    long calls = atol(argv[2]);
    kvp_slice key = {"k", argc > 3 ? 0 : 1};
    kvp_client_options_init(&options);
    options.nodes = argv[1];
    if (kvp_client_open(&options, &client, NULL, 0) != KVP_OK) {
        return 1;
    }
    kvp_get(client, (kvp_slice){"k", 1}, NULL);
    double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    for (long i = 0; i < calls; i++) {
        kvp_result result;
        kvp_get(client, key, &result);
        kvp_result_free(&result);
    }
    printf("%f %f\n", (now(CLOCK_MONOTONIC) - wall) / (double)calls,
           (now(CLOCK_PROCESS_CPUTIME_ID) - cpu) / (double)calls);
    kvp_client_close(client);
    return 0;
}
"""


def build(work):
    source, program = os.path.join(work, "get.c"), os.path.join(work, "get")
    with open(source, "w") as file:
        file.write(PROGRAM)
    subprocess.run(["cc", "-O2", "-I", os.path.join(kvpython.SOURCE, "include"), source, "-o", program,
                    kvpython.LIBRARY, "-Wl,-rpath," + os.path.dirname(kvpython.LIBRARY)], check=True)
    return program


def measure_c(program, nodes, calls, *refused):
    out = subprocess.run([program, nodes, str(calls), *refused], check=True, capture_output=True, text=True).stdout
    return [float(number) for number in out.split()]


def measure_python(kv, calls, key):
    def get():
        try:
            kv.get(key)
        except kvpair.BadArgument:
            pass

    get()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        get()
    return [(time.perf_counter() - wall) / calls * 1e6, (time.process_time() - cpu) / calls * 1e6]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, kvpython.Farm(1).start() as farm:
        program, nodes = build(work), farm.nodes_option()
        with kvpair.connect(nodes) as kv:
            kv["k"] = b"v"
            for what, key, refused in (("get", b"k", []), ("refused", b"", ["refused"])):
                rounds = [(measure_c(program, nodes, options.calls, *refused),
                           measure_python(kv, options.calls, key)) for _ in range(options.rounds)]
                for unit, index in (("clock", 0), ("processor", 1)):
                    c, python = (statistics.median(one[side][index] for one in rounds) for side in (0, 1))
                    print("%-8s %-9s  C %7.2f us  Python %7.2f us  more %7.2f us" % (what, unit, c, python, python - c))


if __name__ == "__main__":
    main()
