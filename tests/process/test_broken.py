# SPDX-License-Identifier: Apache-2.0
"""Workers that are broken or hang, beside good ones and alone: no job is lost by them, and no name."""

import os
import signal

import kvtest
import matrices
from kvtest import process_ended, wait_for
from test_jobs import Farm


def tasks(kind, count=1):
    return [{"kind": kind, "payload": "x%d" % i} for i in range(count)]


def program_of(mark):
    """The process that has written its number to the file."""
    return int(wait_for(lambda: os.path.exists(mark) and open(mark).read().strip(), "the program"))


def test_broken_workers_fail_no_job_of_a_good_one():
    commands = ["/no/such/program", "exit 1", "kill -SEGV $$"]
    with Farm(1).start() as farm:
        for i, command in enumerate(commands):
            farm.start_worker("bad%d" % i, "--no-matmul", "--handler", "k=" + command)
        farm.start_worker("good", "--no-matmul", "--handler", "k=sleep 0.05; cat")
        farm.wait_workers(4)
        for mode in ("single", "dual-first"):
            job = farm.submit_tasks(tasks("k", 30), "--mode", mode)
            farm.wait_job(job)
            assert farm.job(job)["done"] == 30
        bad = [w for name, w in farm.worker_list().items() if name.startswith("bad")]
        assert all(w["faults"] > 0 and w["reason"] for w in bad), bad
        assert farm.worker_list()["good"]["faults"] == 0
        # The barred ones are told why, and ended.
        barred = [w["name"] for w in bad if w["state"] == "barred"]
        assert barred, bad
        assert farm.workers[barred[0]].wait() == 4
        assert "other workers have done" in farm.workers[barred[0]].text()
        # Mended, it works again.
        farm.start_worker(barred[0], "--no-matmul", "--handler", "k=cat")
        wait_for(lambda: farm.worker_list()[barred[0]]["state"] == "probation", "probation")
        farm.wait_job(farm.submit_tasks(tasks("k", 40)))
        wait_for(lambda: farm.worker_list()[barred[0]]["faults"] < 6, "results that count for it")


def test_a_handler_that_hangs_is_ended_and_its_workers_come_back():
    with Farm(1).start() as farm:
        mark = farm.path("pid")
        farm.start_workers(2, "--no-matmul", "--handler", "ok=cat", "--handler",
                           "hang=trap '' TERM; echo $$ >%s; while :; do sleep 1; done" % mark)
        job = farm.submit_tasks(tasks("hang"), "--deadline", "1000", "--max-attempts", "2")
        pid = program_of(mark)
        wait_for(lambda: process_ended(pid), "its end")
        done = farm.wait_job(job, check=1)
        assert b"failed at 2 different workers" in done.stderr, done.stderr
        assert b"did not end by the deadline" in done.stderr, done.stderr
        farm.wait_job(farm.submit_tasks(tasks("ok", 20)))
        wait_for(lambda: all(w["state"] == "active" and w["tasks"] == 0 and w["faults"] == 0
                             for w in farm.worker_list().values()), "both workers")


def test_the_built_in_product_is_ended_too():
    with Farm(1).start() as farm:
        a, b, names = farm.write_matrices(30, 30, 30, "int32")
        farm.start_worker("w", "--hang-after", "1")
        farm.wait_workers(1)
        job = farm.submit("matmul", *names, "--deadline", "1000")
        farm.wait_job(job)
        assert farm.job(job)["redone"] == 1
        assert farm.result(job) == ("int32", matrices.product(a, b))


def test_a_worker_that_is_cut_off_ends_its_program_at_the_deadline():
    with Farm(1).start() as farm:
        mark = farm.path("pid")
        farm.start_worker("w", "--no-matmul", "--handler",
                          "hang=echo $$ >%s; exec sleep 100" % mark, "--handler", "ok=cat")
        farm.wait_workers(1)
        job = farm.submit_tasks(tasks("hang"), "--deadline", "2000", "--max-attempts", "1")
        pid = program_of(mark)
        farm.nodes[1].signal(signal.SIGSTOP)
        wait_for(lambda: process_ended(pid), "its end, with nobody to ask", seconds=8)
        farm.nodes[1].signal(signal.SIGCONT)
        farm.wait_job(job, check=1)
        farm.wait_job(farm.submit_tasks(tasks("ok", 3)))


def test_an_unfit_standby_is_left_where_it_is():
    with Farm(1).start() as farm:
        farm.start_worker("other", "--no-matmul", "--handler", "o=cat", "--standby")
        farm.start_worker("small", "--no-matmul", "--handler", "k=cat", "--standby", "--buffer", "64")
        farm.wait_workers(2, "standby")
        farm.start_worker("fit", "--no-matmul", "--handler", "k=cat", "--standby")
        farm.wait_workers(3, "standby")
        farm.start_worker("w", "--no-matmul", "--handler", "k=sleep 100")
        farm.wait_workers(1)
        job = farm.submit_tasks([{"kind": "k", "payload": "x" * 100}])
        farm.wait_running(job, "w")
        farm.workers["w"].kill()
        farm.wait_job(job)
        states = {name: w["state"] for name, w in farm.worker_list().items()}
        assert states == {"other": "standby", "small": "standby", "fit": "active", "w": "lost"}, states


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
