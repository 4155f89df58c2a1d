# SPDX-License-Identifier: Apache-2.0
"""Microcontrollers' workers on jobs of real nodes over loopback."""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "process"))

import kvtest  # noqa: E402
import matrices  # noqa: E402
from kvtest import Process, wait_for  # noqa: E402
from test_jobs import Farm as Workers  # noqa: E402

REPLACED = 35


class Farm(Workers):
    def start_board(self, name, room, *options):
        self.started += 1
        path = os.path.join(kvtest.BUILD, "tests/mcu/mcu_worker")
        board = Process([path, self.nodes_option(), name, str(room), *map(str, options)],
                        self.path("board-%s-%d.log" % (name, self.started)))
        self.workers[name] = board
        return board

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
        farm.start_workers(1, "--slow-ms", "20")
        farm.start_board("board", 4096, 10)
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
