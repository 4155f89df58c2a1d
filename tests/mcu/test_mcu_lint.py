# SPDX-License-Identifier: Apache-2.0
"""The rules of docs/mcu.md for the microcontroller's client, by cppcheck and clang-tidy (mcu-port/.clang-tidy has its
list): the core as a board's compiler sees it, the ports of a host as a host's does. Without the tools: exit code
77, which meson takes for "skipped"."""

import glob
import os
import shutil
import subprocess
import sys

from test_mcu_size import lwip_headers

HERE = os.path.dirname(os.path.abspath(__file__))
PORT = os.path.abspath(os.path.join(HERE, "..", "..", "mcu-port"))
HOST_FILES = {"port_posix.c", "port_sockets.c", "freertos_worker.c"}
LWIP_FILES = {"port_lwip.c", "firmware/link_ethernet.c", "firmware/lan9118.c"}
CPPCHECK = ["cppcheck", "--enable=warning,style,performance,portability", "--std=c99",
            "--suppress=missingIncludeSystem", "--suppress=unusedStructMember", "--error-exitcode=1", "-q",
            "-I.", "-Ifirmware"]
DEFINES = ['-DBOARD_NAME="board"', '-DBOARD_URLS="tcp://127.0.0.1:7000"', "-DBOARD_STANDBY=false",
           "-DBOARD_SLOW_MS=1", '-DBOARD_ADDRESSES="tcp://10.0.2.2:7000"', '-DBOARD_IP="10.0.2.15"',
           '-DBOARD_MASK="255.255.255.0"', '-DBOARD_GATEWAY="10.0.2.2"']
BOARD_FLAGS = ["-std=c99", "--target=arm-none-eabi", "-mcpu=cortex-m3", "-mthumb", "-ffreestanding",
               "-isystem", "firmware/include", "-I", "firmware/lwip", "-I", "firmware", "-I", ".", *DEFINES]
HOST_FLAGS = ["-std=c99", "-I", ".", "-I", os.path.join(HERE, "freertos")]


def run(*command):
    print(" ".join(command), flush=True)
    return subprocess.run(command, cwd=PORT, timeout=300).returncode == 0


def main():
    found = [os.path.relpath(path, PORT) for pattern in ("*.c", "firmware/*.c")
             for path in sorted(glob.glob(os.path.join(PORT, pattern)))]
    board = [file for file in found if file not in HOST_FILES]
    host = [file for file in found if file in HOST_FILES]
    assert len(board) >= 10 and len(host) == len(HOST_FILES), found
    headers = lwip_headers()
    if headers is None:
        print("no headers of lwIP: without " + " ".join(sorted(LWIP_FILES)))
        board = [file for file in board if file not in LWIP_FILES]
    lwip = ["-isystem", headers] if headers else []
    results = [run(*CPPCHECK, *found),
               run("clang-tidy", "-quiet", *board, "--", *BOARD_FLAGS, *lwip),
               run("clang-tidy", "-quiet", "firmware/link_line.c", "--", *BOARD_FLAGS, '-DBOARD_MODEM="AT"'),
               run("clang-tidy", "-quiet", *host, "--", *HOST_FLAGS)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    for program in "cppcheck", "clang-tidy":
        if shutil.which(program) is None:
            print("no " + program)
            sys.exit(77)
    sys.exit(main())
