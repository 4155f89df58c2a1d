# SPDX-License-Identifier: Apache-2.0
"""Jobs from end to end: kvcli submits, kvworkers work, nodes and workers die."""

import json
import os
import random
import re
import signal
import struct
import time

import kvtest
import matrices
from kvtest import SLOW, Group, Process, process_ended, program, wait_for

TYPES = ("int32", "int64", "float32", "float64")
MODES = ("single", "dual-first", "dual-compare", "tmr", "quad")
LONG = os.environ.get("KVPAIR_LONG") == "1"


class Farm(Group):
    """A group with workers."""

    def __init__(self, count=2):
        super().__init__(count)
        self.workers = {}
        self.started = 0

    def __exit__(self, kind, value, trace):
        for worker in self.workers.values():
            worker.kill()
        return super().__exit__(kind, value, trace)

    def start_worker(self, name, *options):
        self.started += 1
        self.workers[name] = Process(
            [program("kvworker"), "--nodes", self.nodes_option(), "--id", name, *options],
            self.path("worker-%s-%d.log" % (name, self.started)))
        return self.workers[name]

    def start_workers(self, count, *options):
        for i in range(count):
            self.start_worker("w%d" % (i + 1), *options)
        self.wait_workers(count)
        return self

    def worker_list(self):
        done = self.cli("--json", "job", "workers")
        return {w["name"]: w for w in json.loads(done.stdout)} if done.returncode == 0 else {}

    def wait_workers(self, count, state="active"):
        wait_for(lambda: sum(w["state"] == state for w in self.worker_list().values()) >= count,
                 "%d workers that are %s" % (count, state))

    def submit(self, *arguments, stdin=None):
        return self.cli("job", "submit", *arguments, stdin=stdin, check=0).stdout.decode().strip()

    def submit_tasks(self, tasks, *options):
        lines = "".join(json.dumps(task) + "\n" for task in tasks)
        return self.submit("tasks", "-", *options, stdin=lines.encode())

    def wait_job(self, job, check=0, seconds=60):
        return self.cli("job", "wait", job, "--timeout", str(seconds * SLOW), check=check)

    def job(self, job):
        jobs = json.loads(self.cli("--json", "job", "list", check=0).stdout)
        return next(j for j in jobs if j["id"] == int(job))

    def show(self, job):
        return json.loads(self.cli("--json", "job", "show", job, check=0, timeout_ms=10000).stdout)

    def result(self, job):
        """(element, rows) of a product."""
        self.cli("job", "result", job, "-o", self.path("result.npy"), check=0, timeout_ms=20000)
        return matrices.read_npy(self.path("result.npy"))

    def write(self, name, content):
        path = self.path(name)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return path

    def write_matrices(self, rows, inner, columns, element, seed=1):
        """A, B, and the names of their files."""
        a = matrices.make(rows, inner, element, seed)
        b = matrices.make(inner, columns, element, seed + 1)
        names = self.path("a-%s.npy" % element), self.path("b-%s.npy" % element)
        matrices.write_npy(names[0], a, element)
        matrices.write_npy(names[1], b, element)
        return a, b, names

    def running(self, job):
        """Names of workers that are on one of its tasks."""
        return {each["worker"] for task in self.show(job)["tasks"] for each in task["running"]}

    def wait_running(self, job, *names):
        wait_for(lambda: self.running(job) >= set(names), "tasks at " + ", ".join(names))


# ---- products ----


def test_products_of_every_type_in_every_mode():
    with Farm().start() as farm:
        farm.start_workers(4)
        products = {}
        for element in TYPES:
            a, b, names = farm.write_matrices(200, 400, 200, element)
            kind = element.rstrip("0123456789")  # the numbers are the same
            expected = products[kind] = products.get(kind) or matrices.product(a, b)
            for mode in MODES:
                job = farm.submit("matmul", *names, "--mode", mode, "--buffer", "300000")
                farm.wait_job(job)
                assert farm.result(job) == (element, expected), (element, mode)
                about = farm.job(job)
                assert about["state"] == "done" and about["disagreements"] == 0, about
                assert about["tasks"] == about["done"] >= 9, about


def test_products_of_a_thousand_rows_and_columns():
    with Farm().start() as farm:
        farm.start_workers(4, "--parallel", "2")
        for element in TYPES if LONG else ("int32", "float64"):
            a, b, names = farm.write_matrices(1000, 1000, 1000, element)
            for mode in MODES if LONG else ("single",):
                job = farm.submit("matmul", *names, "--mode", mode)
                farm.wait_job(job, seconds=120)
                found, c = farm.result(job)
                assert found == element and matrices.is_product(c, a, b), (element, mode)


def test_the_inner_dimension_is_cut_where_a_worker_cannot_hold_it():
    with Farm().start() as farm:
        farm.start_workers(2, "--buffer", "2000")
        for element in TYPES:
            a, b, names = farm.write_matrices(20, 300, 30, element)
            job = farm.submit("matmul", *names, "--mode", "dual-compare", "--buffer", "2000")
            farm.wait_job(job)
            about = farm.job(job)
            assert about["tile_inner"] < 300 and about["combined"] == about["outputs"]
            assert farm.result(job) == (element, matrices.product(a, b))


def test_matrices_come_from_and_go_to_files_of_several_formats():
    with Farm().start() as farm:
        farm.start_workers(1)
        a = farm.write("a.csv", "1,2,3\n4,5,6\n")
        b = farm.write("b.mtx", "%%MatrixMarket matrix coordinate integer general\n"
                                "3 2 3\n1 1 1\n2 2 10\n3 1 -1\n")
        job = farm.submit("matmul", a, b, "--wait")
        assert farm.cli("job", "result", job, check=0).stdout == b"-2,20\n-2,50\n"
        assert farm.job(job)["element"] == "int64"
        farm.cli("job", "result", job, "-o", farm.path("c.csv"), check=0)
        with open(farm.path("c.csv")) as file:
            assert file.read() == "-2,20\n-2,50\n"
        as_json = json.loads(farm.cli("--json", "job", "result", job, check=0).stdout)
        assert as_json["data"] == [[-2, 20], [-2, 50]] and as_json["rows"] == 2
        job = farm.submit("matmul", a, b, "--type", "float32", "--wait")
        assert farm.result(job) == ("float32", [[-2, 20], [-2, 50]])
        halves = farm.write("halves.csv", "0.5,1\n1,1\n0,0\n")  # floats by integers: floats
        job = farm.submit("matmul", a, halves, "--wait")
        assert farm.result(job) == ("float64", [[2.5, 3], [7, 9]])
        with open(a, "rb") as file:  # no name, so the first bytes tell
            job = farm.submit("matmul", "-", b, "--wait", stdin=file.read())
        assert farm.result(job) == ("int64", [[-2, 20], [-2, 50]])


def npy(head, data=b"", version=b"\x01\x00"):
    return b"\x93NUMPY" + version + struct.pack("<H", len(head)) + head.encode() + data


def test_malformed_matrices_are_refused_and_leave_nothing():
    good = "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 2), }\n"
    huge = "{'descr': '<i8', 'fortran_order': False, 'shape': (99999999, 99999999), }\n"
    market = "%%MatrixMarket matrix coordinate real general\n"
    files = {
        "empty.npy": b"", "empty.csv": b"\n\n", "short.npy": b"\x93NUMPY", "text.npy": b"1,2\n",
        "truncated.npy": npy(good, b"x" * 31), "long.npy": npy(good, b"x" * 33),
        "huge.npy": npy(huge, b"x" * 64), "header.npy": npy("{'descr': ", b"x" * 32),
        "complex.npy": npy(good.replace("i8", "c8"), b"x" * 32),
        "cube.npy": npy(good.replace("(2, 2)", "(2, 2, 2)"), b"x" * 64),
        "none.npy": npy(good.replace("(2, 2)", "(0, 2)")),
        "nan.npy": npy(good.replace("i8", "f8"), struct.pack("<4d", 1, 2, float("nan"), 4)),
        "infinite.csv": b"1,2\n3,inf\n", "nan.csv": b"1,nan\n", "ragged.csv": b"1,2\n3\n",
        "words.csv": b"a,b\n1,2\n", "number.csv": b"1,2x\n3,4\n",
        "outside.mtx": (market + "2 2 1\n3 1 1.0\n").encode(),
        "twice.mtx": (market + "2 2 2\n1 1 1.0\n1 1 2.0\n").encode(),
        "few.mtx": (market + "2 2 2\n1 1 1.0\n").encode(),
        "claims.mtx": (market + "99999999 99999999 1\n1 1 1.0\n").encode(),
    }
    with Farm(1).start() as farm:
        fine = farm.write("fine.csv", "1,2\n3,4\n")
        for name, content in files.items():
            path = farm.write(name, content)
            done = farm.cli("job", "submit", "matmul", fine, path)
            message = done.stderr.decode()
            assert done.returncode == 2 and done.stdout == b"", (name, done)
            assert name in message and len(message) > len(path) + 20, message
        wide = farm.write("wide.csv", "1,2,3\n")
        done = farm.cli("job", "submit", "matmul", fine, wide, check=2)
        assert b"2 x 2" in done.stderr and b"1 x 3" in done.stderr
        farm.cli("job", "submit", "matmul", fine, farm.path("missing.npy"), check=2)
        farm.cli("job", "submit", "matmul", fine, farm.work, check=2)
        farm.cli("job", "submit", "matmul", fine, fine, "--buffer", "20", check=2)
        farm.cli("job", "submit", "matmul", fine, fine, "--type", "int8", check=2)
        farm.cli("job", "submit", "matmul", fine, fine, "--mode", "2/3", check=2)
        farm.cli("job", "submit", "matmul", fine, fine, "--tolerance", "0.1", check=2)
        assert json.loads(farm.cli("--json", "job", "list", check=0).stdout) == []


def test_an_integer_overflow_fails_the_job_with_a_reason():
    with Farm(1).start() as farm:
        farm.start_workers(3)
        a = farm.write("a.csv", "100000,1\n1,1\n")
        job = farm.submit("matmul", a, a, "--type", "int32", "--mode", "tmr")
        done = farm.wait_job(job, check=1)
        assert b"does not fit" in done.stderr, done.stderr
        assert farm.job(job)["state"] == "failed"
        farm.cli("job", "result", job, check=1)


# ---- workers that are wrong ----


def outvoted(shown, name):
    """Tasks in which a result of this worker disagreed, with the evidence."""
    return [task for task in shown["tasks"]
            if any(vote["worker"] == name and not vote["agreed"] for vote in task["results"])
            and any(vote["agreed"] for vote in task["results"])]


def test_a_worker_that_corrupts_every_result_is_outvoted_named_and_barred():
    for mode, element, rate in (("tmr", "int64", "1"), ("tmr", "float32", "1"),
                                ("dual-compare", "float64", "1"),
                                ("dual-compare", "int32", "0.5")):
        with Farm(1).start() as farm:
            farm.start_workers(3)
            bad = farm.start_worker("bad", "--corrupt-rate", rate)
            farm.wait_workers(4)
            a, b, names = farm.write_matrices(80, 40, 80, element)
            job = farm.submit("matmul", *names, "--mode", mode, "--buffer", "5000")
            farm.wait_job(job)
            assert farm.result(job) == (element, matrices.product(a, b)), (mode, element)
            shown = farm.show(job)
            assert shown["job"]["disagreements"] >= 1, shown["job"]
            evidence = outvoted(shown, "bad")
            assert len(evidence) >= 3
            assert all(len({vote["digest"] for vote in task["results"]}) > 1 for task in evidence)
            assert not any(outvoted(shown, "w%d" % i) for i in (1, 2, 3))
            assert bad.wait() == 4 and "barred" in bad.text()
            assert farm.worker_list()["bad"]["state"] == "barred"
            text = farm.cli("job", "show", job, check=0).stdout.decode()
            assert re.search(r"bad +disagreed", text) and re.search(r"bad +barred", text), text


def test_copies_that_never_agree_fail_the_job_with_the_evidence():
    with Farm(1).start() as farm:
        for i in range(4):
            farm.start_worker("bad%d" % i, "--corrupt-rate", "1")
        farm.wait_workers(4)
        a = farm.write("a.csv", "1,2\n3,4\n")
        job = farm.submit("matmul", a, a, "--mode", "dual-compare", "--max-copies", "4")
        done = farm.wait_job(job, check=1)
        assert b"agree" in done.stderr
        votes = farm.show(job)["tasks"][0]["results"]
        assert len(votes) == 4 and len({vote["worker"] for vote in votes}) == 4


# ---- workers that go away ----


def test_a_lost_worker_is_replaced_by_a_standby():
    with Farm(1).start() as farm:
        farm.start_worker("first", "--slow-ms", "400", "--crash-after", "1")
        farm.wait_workers(1)
        farm.start_worker("reserve", "--standby")
        farm.wait_workers(1, "standby")
        a, b, names = farm.write_matrices(20, 20, 20, "int64")
        begin = time.monotonic()
        job = farm.submit("matmul", *names)
        farm.wait_job(job)
        assert time.monotonic() - begin < 6 * SLOW
        assert farm.result(job)[1] == matrices.product(a, b)
        assert farm.job(job)["redone"] == 1
        assert farm.workers["first"].wait() == -signal.SIGKILL
        assert farm.worker_list()["reserve"]["done"] == 1


def test_a_task_that_never_ends_is_taken_away():
    with Farm(1).start() as farm:
        hanging = farm.start_worker("hanging", "--hang-after", "1")
        farm.wait_workers(1)
        a, b, names = farm.write_matrices(20, 20, 20, "int64")
        job = farm.submit("matmul", *names, "--deadline", "700")
        farm.wait_running(job, "hanging")
        farm.start_workers(1)
        farm.wait_job(job)
        assert farm.result(job)[1] == matrices.product(a, b)
        assert farm.job(job)["redone"] >= 1
        wait_for(lambda: "task_taken_away" in hanging.text() or
                 "not done by the deadline" in hanging.text(), "the worker to give it up")
        assert hanging.alive()


def test_a_worker_that_is_told_to_end_gives_its_tasks_back():
    with Farm(1).start() as farm:
        for name in "ending", "staying":
            farm.start_worker(name, "--handler", "slow=sleep %d" % (60 if name == "ending" else 0),
                              "--parallel", "2")
            farm.wait_workers(len(farm.workers))
            if name == "ending":
                job = farm.submit_tasks([{"kind": "slow"}, {"kind": "slow"}])
                farm.wait_running(job, "ending")
        begin = time.monotonic()
        farm.workers["ending"].signal(signal.SIGTERM)
        assert farm.workers["ending"].wait() == 0
        farm.wait_job(job)
        assert time.monotonic() - begin < 5 * SLOW  # nobody waited for a silence or a deadline
        assert farm.job(job)["redone"] == 0
        assert farm.worker_list()["ending"]["state"] == "left"


def test_of_two_workers_with_one_name_the_second_stays():
    with Farm(1).start() as farm:
        first = farm.start_worker("twin", "--slow-ms", "300")
        farm.wait_workers(1)
        a, b, names = farm.write_matrices(40, 20, 40, "int32")
        job = farm.submit("matmul", *names, "--buffer", "3000")
        farm.wait_running(job, "twin")
        farm.start_worker("twin")
        assert first.wait() == 3 and "another worker has joined" in first.text()
        farm.wait_job(job)
        assert farm.result(job)[1] == matrices.product(a, b)
        assert list(farm.worker_list()) == ["twin"]


def test_a_worker_waits_for_nodes_and_says_so_once():
    with Farm(1) as farm:
        worker = farm.start_worker("early")
        wait_for(lambda: "nodes_unreachable" in worker.text(), "the worker to complain")
        farm.start()
        farm.wait_workers(1)
        assert worker.text().count("nodes_unreachable") == 1 and "nodes_reached" in worker.text()
        farm.kill(1)
        wait_for(lambda: worker.text().count("nodes_unreachable") == 2, "another complaint")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


def kill_and_restart(farm, random_numbers, stop_at, options):
    """A worker each second, and the primary now and then; how many of them. Some of those that come in
    their places have their names."""
    workers = primaries = 0
    next_primary = time.monotonic() + 2.5
    while not stop_at():
        time.sleep(1)
        name = random_numbers.choice(sorted(farm.workers))
        farm.workers.pop(name).kill()
        workers += 1
        farm.start_worker(name if workers % 3 == 0 else "new%d" % workers, *options)
        if time.monotonic() > next_primary and primaries < (10 if LONG else 2):
            victim = farm.wait_primary()
            farm.kill(victim)
            primaries += 1
            farm.wait_primary(3 - victim)
            farm.start_node(victim)
            farm.wait_in_sync(1, 2)
            next_primary = time.monotonic() + 5
    return workers, primaries


def test_a_job_survives_workers_and_primaries_that_die():
    options = ("--slow-ms", "60")
    with Farm().start() as farm:
        farm.start_workers(4, *options)
        a, b, names = farm.write_matrices(200, 400, 200, "int64")
        job = farm.submit("matmul", *names, "--buffer", "68000", "--max-attempts", "100")
        tasks = farm.job(job)["tasks"]
        assert 400 <= tasks <= 700, tasks

        def ended():
            done = farm.cli("--json", "job", "list")
            return done.returncode == 0 and json.loads(done.stdout)[0]["state"] == "done"

        workers, primaries = kill_and_restart(farm, random.Random(3), ended, options)
        farm.wait_job(job)
        about = farm.job(job)
        print("%d tasks; killed: %d workers, %d primaries; redone %d, late %d" % (
            tasks, workers, primaries, about["redone"], about["late"]))
        assert farm.result(job) == ("int64", matrices.product(a, b))
        assert about["done"] == tasks and workers >= 3 and primaries >= 1
        assert about["redone"] >= 1


# ---- tasks of other kinds ----


def test_local_programs_do_tasks_that_depend_on_each_other():
    with Farm().start() as farm:
        farm.start_worker("h", "--no-matmul", "--parallel", "4", "--handler", "count=wc -w",
                          "--handler", "add=awk '{s+=$1} END{print s}'")
        farm.wait_workers(1)
        tasks = [{"kind": "count", "payload": "word " * i} for i in range(1, 11)]
        tasks += [{"kind": "add", "after": ["0-4", 5], "feed": True},
                  {"kind": "add", "after": [6, 7, 8, 9], "feed": True, "payload": "1000\n"},
                  {"kind": "add", "after": [10, 11], "feed": True}]
        job = farm.submit_tasks(tasks, "--name", "words", "--mode", "single")
        farm.wait_job(job)
        assert farm.cli("job", "result", job, "--task", "12", check=0).stdout == b"1055\n"
        lines = farm.cli("job", "result", job, check=0).stdout.decode().splitlines()
        assert lines[0] == "0\t1\\n" and lines[12] == "12\t1055\\n" and len(lines) == 13


def test_programs_that_fail_say_why():
    with Farm(1).start() as farm:
        farm.start_worker("h", "--handler", "bad=echo one >&2; echo 'the reason' >&2; exit 7",
                          "--handler", "slow=sleep 60", "--handler-timeout", "0.3")
        farm.wait_workers(1)
        for kind, reason in ("bad", "exit status 7: one the reason"), ("slow", "timed out after 0.3 s"):
            job = farm.submit_tasks([{"kind": kind}], "--max-attempts", "2")
            done = farm.wait_job(job, check=1)
            assert reason in done.stderr.decode(), done.stderr
            shown = farm.show(job)
            assert shown["tasks"][0]["state"] == "failed" and shown["tasks"][0]["lost"] == 2
            assert reason in shown["tasks"][0]["reason"]


def test_malformed_tasks_are_refused_with_their_line():
    lines = ['{"kind":"a"', "[]", '{"kind":""}', '{"kind":"a","colour":1}', '{"payload":"x"}',
             '{"kind":"a","after":[1]}', '{"kind":"a","after":["5-1"]}', '{"kind":"a","after":7}',
             '{"kind":"a","feed":1}', '{"kind":"a","payload":"x","file":"y"}',
             '{"kind":"a","file":"/nonexistent"}', '{"kind":"a","payload":7}']
    with Farm(1).start() as farm:
        for line in lines:
            done = farm.cli("job", "submit", "tasks", "-", stdin=b'{"kind":"a"}\n\n' + line.encode())
            assert done.returncode == 2 and b"line 3" in done.stderr, (line, done)
            path = farm.path("lines")
            with open(path, "wb") as file:
                file.write(b'{"kind":"a"}\n\n' + line.encode())
            done = farm.cli("job", "submit", "tasks", path, check=2)
            assert b"line 3" in done.stderr, (line, done)
        farm.cli("job", "submit", "tasks", "-", stdin=b"\n", check=2)
        wait_for(lambda: json.loads(farm.cli("--json", "job", "list", check=0).stdout) == [],
                 "nothing to be left of them")


def test_what_kvcli_refuses_makes_no_job():
    with Farm(1).start() as farm:
        first = farm.submit_tasks([{"kind": "a"}])
        path = farm.path("lines")
        kinds = [{"kind": "k%d" % number} for number in range(17)]
        for lines in (["nonsense"], [json.dumps(kind) for kind in kinds],
                      ['{"kind":"a"}'] * 5000 + ["{}"]):
            with open(path, "w") as file:
                file.write("\n".join(lines))
            done = farm.cli("job", "submit", "tasks", path, check=2)
            assert b"line %d" % len(lines) in done.stderr, done
        with open(farm.path("nan.csv"), "w") as file:
            file.write("1.5,nan\n2,3\n")
        done = farm.cli("job", "submit", "matmul", farm.path("nan.csv"), farm.path("nan.csv"), check=2)
        jobs = json.loads(farm.cli("--json", "job", "list", check=0).stdout)
        assert [str(job["id"]) for job in jobs] == [str(first)], jobs


def test_a_cancelled_job_ends_its_programs():
    with Farm(1).start() as farm:
        mark = farm.path("pid")
        farm.start_worker("h", "--handler", "sleep=echo $$ >%s; exec sleep 60" % mark)
        farm.wait_workers(1)
        job = farm.submit_tasks([{"kind": "sleep"}])
        pid = int(wait_for(lambda: os.path.exists(mark) and open(mark).read(), "the program"))
        farm.cli("job", "wait", job, "--timeout", "1", check=3)
        farm.cli("job", "cancel", job, check=0)
        farm.wait_job(job, check=6)
        wait_for(lambda: process_ended(pid), "its end")
        farm.cli("job", "cancel", job, check=1)


def test_unknown_jobs_and_wrong_arguments():
    with Farm(1).start() as farm:
        for command in (["show"], ["wait"], ["result"], ["cancel"]):
            farm.cli("job", *command, "999", check=1)
            farm.cli("job", *command, "x", check=2)
            farm.cli("job", *command, check=2)
        for command in (["job"], ["job", "nothing"], ["job", "list", "x"], ["job", "submit"],
                        ["job", "submit", "other", "x"], ["job", "show", "1", "--all"]):
            farm.cli(*command, check=2)


# ---- failure and flow ----


def start_bad_and_good(farm, handler):
    """Four that work, one that fails everything, one that lies, one that hangs."""
    for i in range(4):
        farm.start_worker("good%d" % i, "--parallel", "2", "--handler", handler)
    farm.start_worker("broken", "--handler", "task=echo no such disk >&2; exit 9")
    farm.start_worker("liar", "--corrupt-rate", "1", "--handler", handler)
    farm.start_worker("hanging", "--handler", handler)
    farm.wait_workers(7)


def kill_primary(farm):
    victim = farm.wait_primary()
    farm.kill(victim)
    farm.wait_primary(3 - victim)
    farm.start_node(victim)
    farm.wait_in_sync(1, 2)


def check_dead(farm, job, poisoned):
    dead = json.loads(farm.cli("--json", "job", "dead", job, check=0).stdout)
    assert [task["task"] for task in dead] == poisoned, dead
    # A reason is that of the last attempt, which in a short job may have been a broken worker's.
    reasons = ("cannot read page", "no such disk", "the worker fell silent")
    assert all(any(reason in task["reason"] for reason in reasons) for task in dead), dead
    pages = sum("cannot read page" in task["reason"] for task in dead)
    assert pages >= 0.9 * len(dead) or not LONG, dead
    text = farm.cli("job", "dead", job, check=0).stdout.decode()
    assert text.count("cannot read page") == pages, text
    wait_for(lambda: farm.worker_list()["hanging"]["state"] == "lost", "who hangs to be taken for lost")
    workers = farm.worker_list()
    assert workers["liar"]["state"] == "barred" and workers["liar"]["lost_votes"] >= 3, workers
    # Who fails what others do is on probation first; a short job may end before it is barred.
    assert workers["broken"]["state"] in ("probation", "barred"), workers
    assert "no such disk" in workers["broken"]["reason"], workers


def test_a_poisoned_hundredth_ends_in_the_dead_list_and_the_rest_is_done():
    count = 10000 if LONG else 200
    poisoned = list(range(50, count, 100))
    with Farm().start() as farm:
        mended = farm.path("mended")
        start_bad_and_good(farm, "task=read n; case $n in *50) [ -e %s ] || { echo cannot read page $n >&2; "
                           "exit 3; };; esac; echo $((n * n))" % mended)
        # A number that ends in 50 is poisoned: one in a hundred.
        job = farm.submit_tasks([{"kind": "task", "payload": "%d\n" % i} for i in range(count)],
                                "--mode", "dual-compare", "--on-failure", "continue", "--max-attempts", "4",
                                "--retry-delay", "20", "--silence", "2000", "--key", "pages")
        farm.wait_running(job, "hanging")
        farm.workers["hanging"].signal(signal.SIGSTOP)
        for part in (0.2, 0.5):
            wait_for(lambda: farm.job(job)["done"] >= part * count, "a part to be done", seconds=600)
            kill_primary(farm)
        wait_for(lambda: farm.job(job)["state"] != "running", "all to be done that can be", seconds=1800)
        done = farm.wait_job(job, check=7)
        about = farm.job(job)
        assert (about["done"], about["failed"]) == (count - len(poisoned), len(poisoned)), (about, done)
        assert about["state"] == "done-with-failures"
        row = farm.cli("job", "list", check=0).stdout.split(b"\n")[1]
        assert row.split()[:3] == [job.encode(), b"partly", b"tasks"] and len(row) <= 80, row
        check_dead(farm, job, poisoned)
        farm.write("mended", "")
        assert farm.cli("job", "retry", job, "--failed", check=0).stdout == b"%d\n" % len(poisoned)
        farm.wait_job(job, seconds=60)
        assert (farm.job(job)["done"], farm.job(job)["failed"]) == (count, 0)
        lines = farm.cli("job", "result", job, check=0, timeout_ms=60000).stdout.decode().splitlines()
        assert lines == ["%d\t%d\\n" % (i, i * i) for i in range(count)]
        print("%d tasks, %d poisoned: redone %d, late %d" % (count, len(poisoned), about["redone"], about["late"]))


def test_a_short_job_beside_a_long_one_waits_at_most_two_tasks():
    with Farm(1).start() as farm:
        farm.start_worker("w", "--handler", "long=sleep 1", "--handler", "short=true")
        farm.wait_workers(1)
        job = farm.submit_tasks([{"kind": "long"}] * 12)
        farm.wait_running(job, "w")
        begin = time.monotonic()
        short = farm.submit_tasks([{"kind": "short"}] * 3, "--wait")
        waited = time.monotonic() - begin
        print("the short job took %.2f s beside tasks of 1 s, job %s" % (waited, short))
        assert waited < 2 * SLOW, waited
        assert farm.job(job)["state"] == "running"
        farm.cli("job", "cancel", job, check=0)


def test_a_job_is_paused_limited_and_found_again_by_its_key():
    with Farm(1).start() as farm:
        for name in "ann", "bob":
            farm.start_worker(name, "--handler", "task=sleep 0.2")
        farm.wait_workers(2)
        key = ["--key", "nightly"]
        job = farm.submit_tasks([{"kind": "task"}] * 40, "--max-running", "1", *key)
        assert farm.submit_tasks([{"kind": "task"}] * 40, *key) == job
        assert len(json.loads(farm.cli("--json", "job", "list", check=0).stdout)) == 1
        farm.cli("job", "pause", job, check=0)
        wait_for(lambda: farm.job(job)["running"] == 0, "what is under way to end")
        done = farm.job(job)["done"]
        time.sleep(0.6)
        assert farm.job(job)["done"] == done and farm.show(job)["job"]["paused"]
        farm.cli("job", "set", job, "--max-running", "2", "--priority", "7", check=0)
        farm.cli("job", "resume", job, check=0)
        wait_for(lambda: farm.job(job)["running"] == 2, "two at a time")
        farm.cli("worker", "drain", "ann", check=0)
        wait_for(lambda: farm.worker_list()["ann"]["state"] == "drained", "it to have nothing any more")
        farm.cli("worker", "resume", "ann", check=0)
        wait_for(lambda: farm.worker_list()["ann"]["state"] == "active", "it to work again")
        farm.cli("worker", "drain", "nobody", check=1)
        farm.cli("job", "retry", job, check=1)
        farm.cli("job", "set", job, check=2)
        farm.cli("job", "cancel", job, check=0)
        farm.cli("job", "rm", job, check=0)
        assert farm.submit_tasks([{"kind": "task"}], *key) != job
        expired = farm.submit_tasks([{"kind": "nobody"}], "--expires", "1")
        assert b"expired" in farm.wait_job(expired, check=1).stderr


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
