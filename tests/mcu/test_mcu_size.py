# SPDX-License-Identifier: Apache-2.0
"""What the microcontroller's client takes: code, memory and stack at -Os, and whom it calls.
Without a cross compiler nothing is measured: exit code 77, which meson takes for "skipped"."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

COMPILER = "arm-none-eabi-gcc"
FLAGS = ["-std=c99", "-mthumb", "-Os", "-ffreestanding", "-fstack-usage", "-Wall", "-Wextra",
         "-Wpedantic", "-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Wmissing-prototypes",
         "-Werror"]
# The arithmetic of products is in the compiler's library.
CODE_MAX = {"kvmcu": 5 * 1024, "kvmcu_matmul": 2 * 1024, "port_uart": 1024,
            "port_at": 2304, "port_lwip": 768}
STACK_MAX = {"kvmcu": 256, "kvmcu_matmul": 320, "port_uart": 128,
             "port_at": 192, "port_lwip": 64}
MEMORY_MAX = 192
CALLED = {"memcpy", "memset", "memcmp", "memmove", "strlen"}
# The files of the client; every other one is alone.
CORE = ("kvmcu.c", "kvmcu_answer.c", "kvmcu_read.c", "kvmcu_route.c", "kvmcu_write.c")
SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "mcu-port")
# Whose headers port_lwip.c is compiled with: those that firmware is built with, or liblwip-dev's.
LWIP_HEADERS = os.path.join(SOURCE, "..", "build-lwip", "src", "include"), "/usr/include/lwip"


def lwip_headers():
    return next((each for each in LWIP_HEADERS if os.path.exists(os.path.join(each, "lwip/tcp.h"))), None)


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def files_of(name):
    return CORE if name == "kvmcu" else (name + ".c",)


def deepest(paths):
    """Bytes of stack of the deepest chain of calls, without those of the transport and of mem*."""
    text = ""
    for path in paths:
        with open(path) as file:
            text += file.read()
    frames = {}
    for name, size in re.findall(r'node: \{ title: "([^"]*)" label: "[^"]*?(?:\\n(\d+) bytes[^"]*)?"', text):
        frames[name] = max(frames.get(name, 0), int(size or 0))
    calls = {}
    for caller, callee in re.findall(r'sourcename: "([^"]*)" targetname: "([^"]*)"', text):
        calls.setdefault(caller, set()).add(callee)

    def depth(name, above):
        assert name not in above, "recursion: " + name
        below = [depth(each, above | {name}) for each in calls.get(name, ())]
        return frames.get(name, 0) + max(below, default=0)

    return max(depth(name, frozenset()) for name in frames)


def sizes_of(objects, tools=""):
    """Bytes of code with constants, of data, and of bss."""
    rows = [row.split()[:3] for row in run(tools + "size", *objects).splitlines()[1:]]
    return [sum(map(int, column)) for column in zip(*rows)]


def called_by(objects, tools=""):
    """Those that are in none of the objects."""
    rows = [row.split() for row in run(tools + "nm", "-g", *objects).splitlines()]
    return {row[-1] for row in rows if row[:1] == ["U"]} - {row[-1] for row in rows if len(row) == 3}


def instance_size(cpu, work):
    probe = os.path.join(work, "probe.c")
    with open(probe, "w") as file:
        file.write('#include "kvmcu.h"\nchar probe[sizeof(struct kvmcu)];\n')
    run(COMPILER, "-mcpu=" + cpu, "-mthumb", "-I", SOURCE, "-c", probe, "-o", probe + ".o")
    return int(run("arm-none-eabi-nm", "-S", probe + ".o").split()[1], 16)


def measure(name, cpu, work):
    # The compiler may have come without a C library, so string.h is our own.
    options = ["-isystem", os.path.join(SOURCE, "firmware", "include")]
    if name == "port_lwip":
        options += ["-I", os.path.join(SOURCE, "firmware", "lwip"), "-isystem", lwip_headers()]
    objects = []
    for file in files_of(name):
        objects.append(os.path.join(work, file.replace(".c", ".o")))
        run(COMPILER, "-mcpu=" + cpu, *FLAGS, "-fcallgraph-info=su", *options, "-c",
            os.path.join(SOURCE, file), "-o", objects[-1])
    text, data, bss = sizes_of(objects, "arm-none-eabi-")
    called = called_by(objects, "arm-none-eabi-")
    stack = deepest(each.replace(".o", ".ci") for each in objects)
    print("%s %s: code %d, data %d, bss %d, stack %d, calls %s" %
          (name, cpu, text, data, bss, stack, " ".join(sorted(called))))
    assert data == 0 and bss == 0, "globals"
    assert text <= CODE_MAX[name] and 0 < stack <= STACK_MAX[name]
    if name != "kvmcu":
        called = {each for each in called if not each.startswith(("__aeabi_", "__gnu_thumb1_", "kvmcu_"))}
    if name == "port_lwip":
        called = {each for each in called if not each.startswith(("tcp_", "pbuf_", "lwip_", "sys_now"))}
    assert called <= CALLED, called - CALLED


if __name__ == "__main__":
    if shutil.which(COMPILER) is None:
        print("no " + COMPILER)
        sys.exit(77)
    if lwip_headers() is None:
        print("no headers of lwIP: without port_lwip")
        del CODE_MAX["port_lwip"]
    with tempfile.TemporaryDirectory() as folder:
        for each in ("cortex-m0", "cortex-m3", "cortex-m4"):
            memory = instance_size(each, folder)
            print("%s: an instance has %d bytes" % (each, memory))
            assert memory <= MEMORY_MAX
            for file in CODE_MAX:
                measure(file, each, folder)
