# SPDX-License-Identifier: Apache-2.0
"""How many instructions the microcontroller's client takes for a task with 256 bytes of payload and of result, on an
emulated board that counts them: the same in every run. Without a cross compiler or an emulator: exit code 77, which
meson takes for "skipped"."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

from test_mcu_size import CORE

COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
HERE = os.path.dirname(os.path.abspath(__file__))
PORT = os.path.join(HERE, "..", "..", "mcu-port")
FLAGS = ["-std=c99", "-mthumb", "-Os", "-ffreestanding", "-nostdlib", "-ffunction-sections",
         "-fdata-sections", "-fno-tree-loop-distribute-patterns", "-Wall", "-Wextra", "-Werror",
         "-Wl,--gc-sections"]
SIZE = 256
# About a tenth above what it was last; what the answers in memory take is in it.
BOUNDS = {"cortex-m0": {"fetch": 17500, "beat": 5400, "post": 10800},
          "cortex-m3": {"fetch": 14500, "beat": 4700, "post": 8600}}


def count(cpu, work):
    firmware = os.path.join(PORT, "firmware")
    image = os.path.join(work, cpu + ".elf")
    subprocess.run(
        [COMPILER, "-mcpu=" + cpu, *FLAGS, "-I", os.path.join(firmware, "include"), "-I", PORT,
         "-DSIZE=%d" % SIZE, "-L", firmware, "-T", "mps2_an385.ld", "-o", image,
         os.path.join(firmware, "startup.c"), os.path.join(firmware, "mps2_an385.c"),
         os.path.join(HERE, "mcu_count.c"), *(os.path.join(PORT, name) for name in CORE), "-lgcc"],
        check=True, timeout=60)
    # An M3 executes what an M0 does.
    done = subprocess.run(
        [EMULATOR, "-M", "mps2-an385", "-display", "none", "-monitor", "none", "-serial", "null",
         "-serial", "null", "-icount", "shift=10,align=off,sleep=off",
         "-semihosting-config", "enable=on,target=native", "-kernel", image],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
        text=True)
    assert done.returncode == 0, done
    return {name: int(number) for name, number in re.findall(r"(\w+) (\d+)", done.stdout)}


if __name__ == "__main__":
    if shutil.which(COMPILER) is None or shutil.which(EMULATOR) is None:
        print("no %s or no %s" % (COMPILER, EMULATOR))
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        for each, bounds in BOUNDS.items():
            found = count(each, folder)
            print("%s, %d bytes: %s" % (each, SIZE, found))
            assert found == count(each, folder), "another count"
            assert found.keys() == bounds.keys()
            assert all(found[name] <= bounds[name] for name in bounds), bounds
