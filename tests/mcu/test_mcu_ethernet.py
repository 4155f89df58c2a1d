# SPDX-License-Identifier: Apache-2.0
"""Firmware with Ethernet and lwIP on an emulated board: test_mcu_firmware.py's lab over a network, and over one that
breaks every connection. Without a cross compiler, an emulator or lwIP's sources (in build-lwip, or where
KVPAIR_LWIP says): exit code 77, which meson takes for "skipped"."""

import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "process"))

import kvtest  # noqa: E402
import matrices  # noqa: E402
from test_mcu_firmware import BOARDS, COMPILER, EMULATOR, PORT, run_lab, Farm as Boards  # noqa: E402

LWIP = os.environ.get("KVPAIR_LWIP", os.path.join(HERE, "..", "..", "build-lwip"))
LWIP_FLAGS = ["-std=c99", "-mthumb", "-Os", "-ffreestanding", "-ffunction-sections", "-fdata-sections",
              "-Wall", "-Werror"]
BOARD = "mps2_an385"
HOST = "10.0.2.2"  # as the emulated network has it
NETWORK = ['-DBOARD_IP="10.0.2.15"', '-DBOARD_MASK="255.255.255.0"', '-DBOARD_GATEWAY="%s"' % HOST]
CODE_MAX = 36 * 1024  # lwIP has texts for its assertions
STACK_MAX = 896  # lwIP's way from a frame that came to one that goes is longer than that to a line


class Cutter:
    """A relay to a port of this host that resets connections, each after some bytes, `good` in the mean."""

    def __init__(self, target, good):
        self.target, self.good, self.random = target, good, random.Random(good)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.resets = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.server.accept()
            threading.Thread(target=self.serve, args=(near,), daemon=True).start()

    def serve(self, near):
        try:
            far = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            self.reset(near)
            return
        # What goes through both ways together; the list is what the two threads share.
        left = [self.random.expovariate(1 / self.good)]
        threads = [threading.Thread(target=self.carry, args=(*ends, left), daemon=True)
                   for ends in ((near, far), (far, near))]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        with self.lock:
            self.resets += left[0] <= 0
        self.reset(near)
        self.reset(far)

    def carry(self, source, sink, left):
        try:
            while left[0] > 0:
                data = source.recv(300)
                if not data:
                    break
                sink.sendall(data[:max(0, int(left[0]))])
                left[0] -= len(data)
        except OSError:
            pass
        for each in source, sink:
            try:
                each.shutdown(socket.SHUT_RD)  # the other thread shall see it
            except OSError:
                pass

    @staticmethod
    def reset(end):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.close()


class Farm(Boards):
    stack_max = STACK_MAX

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.ports = [url.rpartition(":")[2] for url in self.urls.values()]

    def lwip(self):
        """Its objects: they have warnings of their own."""
        folder = self.path("lwip")
        with open(os.path.join(PORT, "firmware", "lwip", "files")) as file:
            sources = [os.path.join(LWIP, "src", name) for name in file.read().split()]
        if not os.path.exists(folder):
            os.mkdir(folder)
            subprocess.run([COMPILER, "-mcpu=" + BOARDS[BOARD][0], *LWIP_FLAGS, *self.includes(), "-c",
                            *sources], check=True, timeout=120, cwd=folder)
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]

    def includes(self):
        return ["-I", os.path.join(PORT, "firmware", "include"),
                "-I", os.path.join(PORT, "firmware", "lwip"), "-isystem", os.path.join(LWIP, "src/include")]

    def boot(self, name, slow_ms=0, standby=False):
        image = self.path(name + ".elf")
        addresses = ",".join('"tcp://%s:%s"' % (HOST, port) for port in self.ports)
        options = self.build_options(name, slow_ms, standby) + NETWORK + self.includes()
        size = self.compile(image, BOARD, options + ["-DBOARD_ADDRESSES=" + addresses],
                            ["firmware/link_ethernet.c", "firmware/lan9118.c", "port_lwip.c", *self.lwip()])
        assert size <= CODE_MAX, size
        return self.run(BOARD, name, image, ["-nic", "user,model=lan9118"])


def test_the_lab_over_ethernet():
    with Farm().start() as farm:
        run_lab(farm, farm.boot)


def test_every_type_in_two_votes():
    with Farm(1).start() as farm:
        for name in "one", "two":
            farm.boot(name)
        farm.wait_workers(2)
        for element in "int32", "int64", "float32", "float64":
            a, b, names = farm.write_matrices(24, 32, 24, element)
            job = farm.submit("matmul", *names, "--mode", "dual-compare", "--buffer", "4096")
            farm.wait_job(job)
            assert farm.result(job) == (element, matrices.product(a, b))
            assert farm.job(job)["disagreements"] == 0
        farm.check("one", "two")


def test_connections_that_are_reset():
    """Many of them: nothing of a connection stays in lwIP's pools, and nothing is done twice or wrong."""
    with Farm().start() as farm:
        cutters = [Cutter(int(port), 3000) for port in farm.ports]
        farm.ports = [cutter.port for cutter in cutters]
        farm.boot("board")
        farm.wait_workers(1)
        a, b, names = farm.write_matrices(48, 40, 48, "float32")
        job = farm.submit("matmul", *names, "--buffer", "4096", "--max-attempts", "250",
                          "--silence", "5000")
        farm.wait_job(job)
        assert farm.result(job) == ("float32", matrices.product(a, b))
        about = farm.job(job)
        resets = sum(cutter.resets for cutter in cutters)
        print("%d tasks, %d resets" % (about["tasks"], resets))
        assert about["done"] == about["tasks"] and resets >= 25, resets
        farm.check("board")


if __name__ == "__main__":
    for program in COMPILER, EMULATOR:
        if shutil.which(program) is None:
            print("no " + program)
            sys.exit(77)
    if not os.path.isdir(LWIP):
        print("no sources of lwIP in %s; mcu-port/firmware/lwip.sh fetches them" % LWIP)
        sys.exit(77)
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
