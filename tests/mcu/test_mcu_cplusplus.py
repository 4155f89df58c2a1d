# SPDX-License-Identifier: Apache-2.0
"""The headers for boards are C++, too, as Arduino and others want it: a C++ program links with what a C compiler made of
the client. (That each compiles by itself is a rule: tests/lint/headers.py.) Without a C++ compiler: exit code 77, which
meson takes for "skipped"."""

import os
import shutil
import subprocess
import sys
import tempfile

from test_mcu_size import CORE

HERE = os.path.dirname(os.path.abspath(__file__))
PORT = os.path.abspath(os.path.join(HERE, "..", "..", "mcu-port"))
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]

PROGRAM = r"""
#include "kvmcu.h"
#include "kvmcu_matmul.h"
#include "port_posix.h"
#include "port_uart.h"
#include "port_at.h"

int main()
{
    kvmcu client;
    kvmcu_config config{};
    kvmcu_task task{};
    if (kvmcu_init(&client, &config) != KVMCU_BAD_ARGUMENT) {
        return 1;
    }
    /* The inline calls set what they are for, and nothing else. */
    kvmcu_transport transport{};
    (void)transport;
    return kvmcu_client_number("x", 1) != 0 && task.job == 0 ? 0 : 1;
}
"""


def run(*command):
    print(" ".join(command), flush=True)
    subprocess.run(command, check=True, timeout=120)


def test_a_program_in_cplusplus_links_with_the_client(folder):
    source = os.path.join(folder, "program.cpp")
    with open(source, "w") as file:
        file.write(PROGRAM)
    objects = []
    for name in (*CORE, "kvmcu_matmul.c", "port_posix.c", "port_sockets.c", "port_uart.c", "port_at.c"):
        objects.append(os.path.join(folder, name + ".o"))
        run("gcc", "-std=c99", "-c", "-I", PORT, "-o", objects[-1], os.path.join(PORT, name))
    program = os.path.join(folder, "program")
    run("g++", "-std=c++11", *STRICT, "-I", PORT, "-o", program, source, *objects)
    run(program)


def main():
    for compiler in ("gcc", "g++"):
        if shutil.which(compiler) is None:
            print("no " + compiler)
            return 77
    with tempfile.TemporaryDirectory() as folder:
        for name, test in list(globals().items()):
            if name.startswith("test_"):
                test(folder)
                print("ok", name, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
