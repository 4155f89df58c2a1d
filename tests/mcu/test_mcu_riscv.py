# SPDX-License-Identifier: Apache-2.0
"""The microcontroller's client for a 32-bit RISC-V without a C library, compiled by clang, which has that target
everywhere: code and largest frame at -Os, and whom it calls. Without clang: exit code 77, which meson takes for
"skipped"."""

import os
import shutil
import sys
import tempfile

from test_mcu_size import CALLED, FLAGS, MEMORY_MAX, SOURCE, called_by, files_of, run, sizes_of

COMPILERS = "clang", "clang-14"
TARGET = ["--target=riscv32-unknown-elf", "-march=rv32imac", "-mabi=ilp32", "-nostdlibinc"]
RISCV_FLAGS = [each for each in FLAGS if each != "-mthumb"]
CODE_MAX = {"kvmcu": 8192, "kvmcu_matmul": 3072, "port_uart": 1536, "port_at": 3584}
FRAME_MAX = 224
# Arithmetic of floats, in the compiler's library.
ARITHMETIC = {"__adddf3", "__muldf3", "__extendsfdf2", "__truncdfsf2", "__gtdf2", "__ltdf2", "__gedf2",
              "__ledf2", "__unorddf2"}


def compile_to(work, compiler, source, name):
    made = os.path.join(work, name + ".o")
    run(compiler, *TARGET, *RISCV_FLAGS, "-isystem", os.path.join(SOURCE, "firmware", "include"), "-I", SOURCE,
        "-c", source, "-o", made)
    return made


def instance_size(compiler, work):
    probe = os.path.join(work, "probe.c")
    with open(probe, "w") as file:
        file.write('#include "kvmcu.h"\nextern char probe[];\nchar probe[sizeof(struct kvmcu)];\n')
    return int(run("nm", "-S", compile_to(work, compiler, probe, "probe")).split()[1], 16)


def largest_frame(path):
    """Of lines with place, bytes and "static": anything else has no bound."""
    with open(path) as file:
        rows = [row.split("\t") for row in file.read().splitlines()]
    assert rows and all(row[2] == "static" for row in rows), rows
    return max(int(row[1]) for row in rows)


def measure(name, compiler, work):
    objects = [compile_to(work, compiler, os.path.join(SOURCE, file), file.replace(".c", ""))
               for file in files_of(name)]
    text, data, bss = sizes_of(objects)
    called = called_by(objects)
    frame = max(largest_frame(each.replace(".o", ".su")) for each in objects)
    print("%s riscv32: code %d, data %d, bss %d, largest frame %d, calls %s" %
          (name, text, data, bss, frame, " ".join(sorted(called))))
    assert data == 0 and bss == 0, "globals"
    assert text <= CODE_MAX[name] and frame <= FRAME_MAX
    if name != "kvmcu":
        called = {each for each in called if not each.startswith("kvmcu_")} - ARITHMETIC
    assert called <= CALLED, called - CALLED


if __name__ == "__main__":
    found = next((name for name in COMPILERS if shutil.which(name)), None)
    if found is None:
        print("no clang")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        memory = instance_size(found, folder)
        print("riscv32: an instance has %d bytes" % memory)
        assert memory <= MEMORY_MAX
        for file in CODE_MAX:
            measure(file, found, folder)
