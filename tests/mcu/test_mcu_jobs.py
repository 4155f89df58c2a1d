# SPDX-License-Identifier: Apache-2.0
"""Microcontrollers' workers on jobs of real nodes over loopback."""

import os
import random
import signal
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "process"))

import kvtest  # noqa: E402
import matrices  # noqa: E402
from kvtest import Process, wait_for  # noqa: E402
from test_jobs import Farm as Workers  # noqa: E402

REPLACED = 35
BRIDGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "mcu-port",
                      "uart_bridge.py")


class Line:
    """A serial line between two ports: where it listens, and where a bridge does. Of the bytes that go
    through it loses or changes some, one of `good` in the mean (0: none)."""

    def __init__(self, bridge_port, good, seed):
        self.bridge_port, self.good, self.random = bridge_port, good, random.Random(seed)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.damaged = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        board, _ = self.server.accept()
        bridge = socket.create_connection(("127.0.0.1", self.bridge_port))
        for ends in (board, bridge), (bridge, board):
            ends[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.carry, args=ends, daemon=True).start()

    def carry(self, source, target):
        try:
            while True:
                data = bytearray(source.recv(1000))
                if not data:
                    break
                if self.good and self.random.random() < len(data) / self.good:
                    self.damage(data)
                target.sendall(data)
        except OSError:
            pass
        for each in source, target:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def damage(self, data):
        self.damaged += 1
        at = self.random.randrange(len(data))
        kind = self.random.randrange(3)
        if kind == 0:
            del data[at:at + self.random.randrange(1, 200)]
        elif kind == 1:
            data[at] ^= 1 << self.random.randrange(8)
        else:
            data[at:at] = self.random.randbytes(self.random.randrange(1, 100))


def listens(port):
    """Whether somebody listens there, without a connection to it."""
    with open("/proc/net/tcp") as file:
        return any(":%04X 00000000:0000 0A" % port in row for row in file)


class Farm(Workers):
    def start_board(self, name, workspace, *options):
        self.started += 1
        path = os.path.join(kvtest.BUILD, "tests/mcu/mcu_worker")
        board = Process([path, self.nodes_option(), name, str(workspace), *map(str, options)],
                        self.path("board-%s-%d.log" % (name, self.started)))
        self.workers[name] = board
        return board

    def start_line(self, name, workspace, good, *options):
        """A board that has a serial line and no network."""
        port, = kvtest.free_ports(1)
        urls = self.nodes_option()
        bridge = Process([sys.executable, BRIDGE, "tcp:%d" % port, *urls.split(",")],
                         self.path("bridge-%s.log" % name))
        self.workers["bridge-" + name] = bridge  # ends with the others
        wait_for(lambda: listens(port), "the bridge")
        line = Line(port, good, name)
        self.started += 1
        path = os.path.join(kvtest.BUILD, "tests/mcu/mcu_worker")
        self.workers[name] = Process(
            [path, "line:%d,%s" % (line.port, urls), name, str(workspace), *map(str, options)],
            self.path("board-%s-%d.log" % (name, self.started)))
        return line

    def done_by(self, name):
        return self.worker_list().get(name, {"done": 0})["done"]


def test_products_of_every_type():
    with Farm().start() as farm:
        for i in range(3):
            farm.start_board("board%d" % i, 4096)
        farm.wait_workers(3)
        for element in ("int32", "int64", "float32", "float64"):
            a, b, names = farm.write_matrices(30, 50, 40, element)
            for mode in "single", "dual-compare":
                job = farm.submit("matmul", *names, "--mode", mode, "--buffer", "4096")
                farm.wait_job(job)
                assert farm.result(job) == (element, matrices.product(a, b))
                about = farm.job(job)
                assert about["disagreements"] == 0 and about["redone"] == 0, about
        for i in range(3):
            assert farm.done_by("board%d" % i) > 0


def test_tiles_for_a_room_of_256_bytes():
    with Farm(1).start() as farm:
        farm.start_board("small", 256)
        farm.wait_workers(1)
        a, b, names = farm.write_matrices(10, 30, 10, "int64")
        large = farm.submit("matmul", *names, "--buffer", "10000")
        job = farm.submit("matmul", *names, "--buffer", "256")
        farm.wait_job(job)
        assert farm.result(job)[1] == matrices.product(a, b)
        assert farm.job(large)["done"] == 0  # what does not fit is never sent
        farm.start_workers(1)
        farm.wait_job(large)


def test_an_overflow():
    with Farm(1).start() as farm:
        farm.start_board("board", 4096)
        farm.wait_workers(1)
        a = farm.write("a.csv", "100000,1\n1,1\n")
        job = farm.submit("matmul", a, a, "--type", "int32")
        assert b"does not fit" in farm.wait_job(job, check=1).stderr


def test_the_primary_is_killed_twice_and_nothing_is_done_twice():
    with Farm().start() as farm:
        # Slow enough that there is work left when the second primary is found dead.
        farm.start_workers(1, "--slow-ms", str(20 * kvtest.SLOW))
        farm.start_board("board", 4096, 10 * kvtest.SLOW)
        farm.wait_workers(2)
        a, b, names = farm.write_matrices(80, 60, 80, "int32")
        job = farm.submit("matmul", *names, "--buffer", "4096", "--max-attempts", "100")
        tasks = farm.job(job)["tasks"]
        assert tasks >= 50, tasks
        for part in 8, 4:
            wait_for(lambda: farm.job(job)["done"] > tasks // part, "a part of the job")
            victim = farm.wait_primary()
            farm.kill(victim)
            farm.wait_primary(3 - victim)
            farm.start_node(victim)
            farm.wait_in_sync(1, 2)
        farm.wait_job(job)
        about = farm.job(job)
        assert farm.result(job) == ("int32", matrices.product(a, b))
        done = sum(farm.done_by(name) for name in ("board", "w1"))
        assert 0 < done <= tasks and farm.done_by("board") > 0
        assert about["done"] == tasks
        assert farm.workers["board"].alive(), farm.workers["board"].text()


def test_a_board_dies_in_a_task_and_a_standby_takes_over():
    with Farm(1).start() as farm:
        first = farm.start_board("first", 4096, 100)
        farm.wait_workers(1)
        farm.start_board("second", 4096, 0, "standby")
        farm.wait_workers(1, "standby")
        a, b, names = farm.write_matrices(40, 20, 40, "int64")
        job = farm.submit("matmul", *names, "--buffer", "4096")
        farm.wait_running(job, "first")
        first.kill()
        farm.wait_job(job)
        assert farm.result(job)[1] == matrices.product(a, b)
        assert farm.job(job)["redone"] == 1 and farm.done_by("second") > 0


def test_a_long_task_is_kept_by_beats():
    with Farm(1).start() as farm:
        farm.start_board("board", 16384, 100)
        farm.wait_workers(1)
        a, b, names = farm.write_matrices(50, 4, 20, "int64")
        job = farm.submit("matmul", *names, "--buffer", "16384", "--silence", "1000")
        assert farm.job(job)["tasks"] == 1  # of five seconds
        farm.wait_job(job)
        assert farm.result(job)[1] == matrices.product(a, b)
        assert farm.job(job)["redone"] == 0


def test_boards_on_serial_lines_good_and_bad():
    with Farm().start() as farm:
        good = farm.start_line("good", 4096, 0)
        bad = farm.start_line("bad", 4096, 12000)
        farm.wait_workers(2)
        a, b, names = farm.write_matrices(60, 50, 60, "float32")
        job = farm.submit("matmul", *names, "--mode", "dual-compare", "--buffer", "4096",
                          "--max-attempts", "200", "--silence", "5000")
        wait_for(lambda: farm.job(job)["done"] > 5, "a part of the job")
        farm.kill(farm.wait_primary())
        farm.wait_job(job, seconds=120)
        assert farm.result(job) == ("float32", matrices.product(a, b))
        about = farm.job(job)
        print("%d tasks, %d damages, %d redone" % (about["tasks"], bad.damaged, about["redone"]))
        assert about["disagreements"] == 0 and bad.damaged > 3 and good.damaged == 0


def test_one_is_replaced_and_one_leaves():
    with Farm(1).start() as farm:
        first = farm.start_board("twin", 4096)
        farm.wait_workers(1)
        second = farm.start_board("twin", 4096)
        assert first.wait() == 1 and "status %d" % REPLACED in first.text(), first.text()
        second.signal(signal.SIGTERM)
        assert second.wait() == 0 and "left 0" in second.text()
        assert farm.worker_list()["twin"]["state"] == "left"


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
