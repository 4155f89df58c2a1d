# SPDX-License-Identifier: Apache-2.0
"""Firmware on emulated boards: it boots, works on a job of real nodes over its serial line, boards die and others
take over, the primary dies. Without a cross compiler or an emulator: exit code 77, which meson takes for
"skipped"."""

import os
import re
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "process"))

import kvtest  # noqa: E402
import matrices  # noqa: E402
from kvtest import Process, wait_for  # noqa: E402
from test_mcu_jobs import BRIDGE, Farm as Boards, listens  # noqa: E402
from test_mcu_size import CORE  # noqa: E402

COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
PORT = os.path.join(HERE, "..", "..", "mcu-port")
FLAGS = ["-std=c99", "-mthumb", "-Os", "-ffreestanding", "-nostdlib", "-ffunction-sections",
         "-fdata-sections", "-fno-tree-loop-distribute-patterns", "-Wall", "-Wextra", "-Wshadow",
         "-Wconversion", "-Wstrict-prototypes", "-Werror", "-Wl,--gc-sections",
         "-Wl,--fatal-warnings"]
# Processor, QEMU's name of the machine, its serial ports before the line.
BOARDS = {"mps2_an385": ("cortex-m3", "mps2-an385", ["-serial", "null"]),
          "microbit": ("cortex-m0", "microbit", [])}
JOIN_COMMANDS = r'''-DBOARD_MODEM="AT+CWMODE=1","AT+CWJAP=\"net\",\"word\""'''
MODEM = os.path.join(HERE, "at_modem.py")
STACK_MAX = 768
CODE_MAX = 16 * 1024


class Farm(Boards):
    stack_max = STACK_MAX
    semihosting = ["-semihosting-config", "enable=on,target=native"]

    def compile(self, image, board, options, sources, main="firmware/main.c"):
        """`sources` are named from the folder of the client."""
        folder = os.path.join(PORT, "firmware")
        own = [*CORE, "kvmcu_matmul.c", "firmware/startup.c", main, "firmware/%s.c" % board]
        subprocess.run(
            [COMPILER, "-mcpu=" + BOARDS[board][0], *FLAGS, "-I", os.path.join(folder, "include"),
             "-I", PORT, "-I", folder, *options, "-L", folder, "-T", board + ".ld", "-o", image,
             *(os.path.join(PORT, file) for file in own + sources), "-lgcc"],
            check=True, timeout=60)
        text = subprocess.run(["arm-none-eabi-size", image], check=True, stdout=subprocess.PIPE)
        return int(text.stdout.splitlines()[1].split()[0])

    def build_options(self, name, slow_ms, standby):
        urls = ",".join('"%s"' % url for url in self.nodes_option().split(","))
        return ['-DBOARD_NAME="%s"' % name, "-DBOARD_URLS=" + urls,
                "-DBOARD_STANDBY=" + ("true" if standby else "false"), "-DBOARD_SLOW_MS=%d" % slow_ms]

    def build(self, board, name, slow_ms, standby, modem, main):
        image = self.path(name + ".elf")
        options = self.build_options(name, slow_ms, standby) + ([JOIN_COMMANDS] if modem else [])
        size = self.compile(image, board, options,
                            ["firmware/link_line.c", "port_uart.c", "port_at.c"], main)
        assert size <= CODE_MAX, size
        return image

    def run(self, board, name, image, devices):
        self.workers[name] = Process(
            [EMULATOR, "-M", BOARDS[board][1], "-display", "none", "-monitor", "none", *devices,
             *self.semihosting, "-kernel", image],
            self.path("board-%s.log" % name))
        return self.workers[name]

    def boot(self, board, name, slow_ms=0, standby=False, modem=None, main="firmware/main.c"):
        """`modem`: how many bytes go well between two of its faults, 0: it has none."""
        image = self.build(board, name, slow_ms, standby, modem is not None, main)
        port, = kvtest.free_ports(1)
        if modem is None:
            command = [BRIDGE, "tcp:%d" % port, *self.nodes_option().split(",")]
        else:
            command = [MODEM, str(port), str(modem)]
        bridge = Process([sys.executable, *command], self.path("bridge-%s.log" % name))
        self.workers["bridge-" + name] = bridge  # ends with the others
        wait_for(lambda: listens(port), "the bridge")
        return self.run(board, name, image, [
            *BOARDS[board][2], "-chardev", "socket,id=line,host=127.0.0.1,port=%d,nodelay=on" % port,
            "-serial", "chardev:line"])

    def check(self, *names):
        """No faults, no overflow."""
        for name in names:
            text = self.workers[name].text()
            stacks = [int(number) for number in re.findall(r"stack (\d+)", text)]
            print("%s: %d tasks, stack %d" % (name, text.count("task "), max(stacks, default=0)))
            assert "fault" not in text and stacks and max(stacks) < self.stack_max, text


def test_every_board_multiplies_every_type():
    with Farm(1).start() as farm:
        for board in BOARDS:
            farm.boot(board, board)
        farm.wait_workers(len(BOARDS))
        for element in "int32", "int64", "float32", "float64":
            a, b, names = farm.write_matrices(12, 16, 12, element)
            job = farm.submit("matmul", *names, "--mode", "dual-compare", "--buffer", "2048")
            farm.wait_job(job)
            assert farm.result(job) == (element, matrices.product(a, b))
            assert farm.job(job)["disagreements"] == 0
        farm.check(*BOARDS)


class Alone(Farm):
    """Boards without a debugger."""
    semihosting = []


def test_boards_work_without_a_debugger():
    with Alone().start() as farm:
        for board in BOARDS:
            farm.boot(board, board)
        farm.wait_workers(len(BOARDS))
        a, b, names = farm.write_matrices(12, 16, 12, "int32")
        job = farm.submit("matmul", *names, "--mode", "dual-compare", "--buffer", "2048")
        farm.wait_job(job)
        assert farm.result(job) == ("int32", matrices.product(a, b))


def restarts(farm, name, options):
    """Waits until the board's log shows that it has started again and again; returns the log."""
    image, log = farm.path(name + ".elf"), farm.path(name + ".txt")
    farm.compile(image, "mps2_an385", options, [], "../tests/mcu/mcu_bad_main.c")
    farm.run("mps2_an385", name, image, ["-serial", "file:" + log])

    def text():
        with open(log) as file:
            return file.read()
    wait_for(lambda: os.path.exists(log) and text().count("start") >= 3, name + " to start again")
    return text()


def test_a_fault_resets_the_board():
    with Alone() as farm:
        assert restarts(farm, "fault", []).count("fault") >= 2


def test_a_board_that_hangs_is_reset_by_its_watchdog():
    with Alone() as farm:
        restarts(farm, "hang", ["-DBAD_HANGS", "-DBOARD_WATCHDOG_S=1u"])


def test_with_a_debugger_a_fault_ends_the_emulator():
    with Farm() as farm:
        image = farm.path("fault.elf")
        farm.compile(image, "mps2_an385", [], [], "../tests/mcu/mcu_bad_main.c")
        assert farm.run("mps2_an385", "fault", image, []).wait() == 3
        assert farm.workers["fault"].text().count("fault") == 1


def run_lab(farm, boot):
    """One board is killed in a task, a standby takes over, the primary is killed, the result is right."""
    boot("first", slow_ms=100)
    boot("second", slow_ms=60)
    farm.wait_workers(2)
    boot("reserve", slow_ms=20, standby=True)
    farm.wait_workers(1, "standby")
    a, b, names = farm.write_matrices(48, 40, 48, "int32")
    job = farm.submit("matmul", *names, "--buffer", "4096", "--max-attempts", "50")
    farm.wait_running(job, "first", "second")
    farm.workers["first"].kill()
    wait_for(lambda: farm.done_by("reserve") > 0, "the reserve to work")
    primary = farm.wait_primary()
    about = farm.job(job)
    assert 0 < about["done"] < about["tasks"] - 2, about  # there is work left for the time after it
    farm.kill(primary)
    farm.wait_job(job)
    assert farm.result(job) == ("int32", matrices.product(a, b))
    print("results match")
    assert farm.job(job)["done"] == farm.job(job)["tasks"]
    farm.check("second", "reserve")


def test_the_lab_on_boards():
    with Farm().start() as farm:
        run_lab(farm, lambda name, **how: farm.boot(
            "microbit" if name == "second" else "mps2_an385", name, **how))


def test_boards_behind_modems():
    with Farm().start() as farm:
        farm.boot("mps2_an385", "good", slow_ms=10, modem=0)
        farm.boot("microbit", "bad", slow_ms=10, modem=4000)
        farm.wait_workers(2)
        a, b, names = farm.write_matrices(40, 30, 40, "int32")
        job = farm.submit("matmul", *names, "--buffer", "2048", "--max-attempts", "200",
                          "--mode", "dual-compare", "--silence", "5000")
        wait_for(lambda: farm.job(job)["done"] > 4, "a part of the job")
        farm.kill(farm.wait_primary())
        farm.wait_job(job)
        assert farm.result(job) == ("int32", matrices.product(a, b))
        print(farm.workers["bridge-bad"].text().count("fault"), "faults")
        farm.check("good", "bad")


def seen(farm, value):
    """How long after the beginning of a put the board has said that it knows of it."""
    begin = time.monotonic()
    farm.put("lamp", value)
    while farm.get("lamp-seen") != value:
        assert time.monotonic() - begin < 20 * kvtest.SLOW, "the board does not react"
    return (time.monotonic() - begin) * 1000


def test_a_board_reacts_to_a_key_over_a_modem():
    with Farm().start() as farm:
        farm.put("lamp", b"off")
        farm.boot("microbit", "watcher", modem=0, main="../tests/mcu/mcu_watch_main.c")
        # It watches from some moment on.
        wait_for(lambda: farm.put("lamp", b"first") or farm.cli("get", "lamp-seen").stdout == b"first", "the board")
        times = sorted(seen(farm, b"%d" % i) for i in range(20))
        print("from a put to the board's answer: median %.0f ms, longest %.0f ms" % (times[10], times[-1]))
        assert times[10] < 100 * kvtest.SLOW, times
        farm.kill(farm.wait_primary())
        seen(farm, b"after")


if __name__ == "__main__":
    if shutil.which(COMPILER) is None or shutil.which(EMULATOR) is None:
        print("no %s or no %s" % (COMPILER, EMULATOR))
        sys.exit(77)
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
