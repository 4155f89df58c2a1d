# SPDX-License-Identifier: Apache-2.0
"""Jobs from Python: each line of the guide, also with the primary killed in the middle; workers in Python."""

import concurrent.futures
import doctest
import importlib
import operator
import os
import signal
import subprocess
import sys
import threading
import time

import kvpython
from kvpython import PACKAGE, SOURCE, Farm, run_python

import kvtest
from kvtest import wait_for

import kvpair
import kvpair.worker
import tasks_for_tests

farm = None


def connect():
    return kvpair.connect(farm.nodes_option())


def raises(kind, function, *arguments, **named):
    try:
        function(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError("%s was expected" % (kind,))


def rows_of(rows, columns, seed):
    import matrices
    return matrices.make(rows, columns, "float64", seed)


def product_of(a, b):
    return [[sum(x * y for x, y in zip(row, column)) for column in zip(*b)] for row in a]


# ---- products ----

def test_lists_of_rows_are_multiplied():
    with connect() as kv:
        assert kv.matmul([[1, 2], [3, 4]], [[5, 6], [7, 8]]) == [[19, 22], [43, 50]]
        assert kv.matmul([[0.5]], [[3]], mode="tmr") == [[1.5]]
        a, b = rows_of(30, 40, 1), rows_of(40, 20, 2)
        told = []
        assert kv.matmul(a, b, mode="tmr", buffer=4096, progress=told.append) == product_of(a, b)
        assert told[0].phase == "uploading" and told[-1].done == told[-1].total, told


def test_arrays_of_numpy_come_back_as_such():
    if not kvpython.has("numpy"):
        return
    import numpy
    random = numpy.random.default_rng(1)
    with connect() as kv:
        for element in ("int32", "int64", "float32", "float64"):
            a, b = ((random.random(shape) * 100).astype(element) for shape in ((50, 70), (70, 30)))
            product = kv.matmul(a, b.T.copy().T, element=None)  # not in the order of rows
            assert product.dtype == element and numpy.allclose(product, a @ b, rtol=1e-5), element
        small = kv.matmul(numpy.array([[True, False]]), numpy.array([[1], [2]], dtype=numpy.uint8))
        assert small.dtype == numpy.int32 and small.tolist() == [[1]]
        mixed = kv.matmul(numpy.array([[1.5]], dtype=">f8"), [[2]])
        assert mixed.dtype == numpy.float64 and mixed.tolist() == [[3.0]]


def test_a_large_product_with_the_primary_killed_in_the_middle():
    if not kvpython.has("numpy"):
        return
    import numpy
    random = numpy.random.default_rng(2)
    a, b = random.random((600, 600)), random.random((600, 600))
    phases = []
    with connect() as kv:
        with farm.primary_killed_after(lambda: any(one.phase == "running" for one in phases)):
            product = kv.matmul(a, b, mode="tmr", buffer=300000, progress=phases.append)
    assert numpy.allclose(product, a @ b)


def test_a_matrix_that_cannot_be_is_refused_before_there_is_a_job():
    with connect() as kv:
        before = len(kv.jobs())
        for a, b, kind in (([[1, 2]], [[1, 2]], kvpair.BadRequest), ([], [[1]], ValueError), ([[]], [[1]], ValueError),
                           ([[1], [1, 2]], [[1]], ValueError), ([["a"]], [[1]], TypeError), (7, [[1]], TypeError),
                           ([[float("nan")]], [[1.0]], kvpair.BadRequest), ([[1 << 63]], [[1]], kvpair.Overflow),
                           ([[(1 << 53) + 1]], [[1.0]], kvpair.BadRequest)):
            assert str(raises(kind, kv.matmul, a, b)), a
        for options in ({"mode": "five"}, {"element": "int8"}, {"compare": "maybe"}, {"tolerance": 1.0},
                        {"rounds": 0}, {"verify": "not"}, {"priority": 256}, {"deadline": -1}):
            raises(ValueError, kv.matmul, [[1]], [[1]], **options)
        if kvpython.has("numpy"):
            import numpy
            for wrong in (numpy.zeros(3), numpy.zeros((1, 1, 1)), numpy.zeros((0, 1))):
                raises(ValueError, kv.matmul, wrong, wrong)
            raises(TypeError, kv.matmul, numpy.array([[1j]]), numpy.array([[1]]))
            raises(kvpair.Overflow, kv.matmul, numpy.array([[1 << 63]], dtype=numpy.uint64), [[1]])
        assert len(kv.jobs()) == before


def test_what_progress_raises_is_raised_and_the_job_cancelled():
    def stop(progress):
        raise KeyboardInterrupt

    with connect() as kv:
        raises(KeyboardInterrupt, kv.matmul, [[1]], [[1]], progress=stop)
        assert kv.jobs()[-1]["state"] in ("cancelled", "done")


# ---- tasks ----

def test_a_job_is_a_sequence_of_futures():
    with connect() as kv:
        job = kv.submit("count", (b"x " * number for number in range(20)), name="counted", priority=150)
        assert len(job) == 20 and isinstance(job[3], concurrent.futures.Future)
        assert {task.number: task.result() for task in kvpair.as_completed(job, 20)} == {
            number: b"%d" % number for number in range(20)}
        assert job.result() == [b"%d" % number for number in range(20)] and job.done()
        assert job.info()["name"] == "counted" and job.info()["priority"] == 150
        assert not job.cancel() and not job[0].cancel()
        assert [shown["state"] for shown in job.task_info()] == ["done"] * 20
        fed = kv.submit("echo", [b"a", kvpair.TaskSpec(b"b"), kvpair.TaskSpec(b"c ", "count", after=[0, 1], feed=True)])
        assert fed.result() == [b"a", b"b", b"2"]
        job.remove()
        raises(kvpair.NoSuchJob, job.info)


def test_a_callback_is_called_when_nobody_holds_the_job():
    import gc
    called = threading.Event()
    with connect() as kv:
        kv.submit("echo", [b""], delay=0.3)[0].add_done_callback(lambda task: called.set())
        gc.collect()
        assert called.wait(20)


def test_a_task_that_fails_says_why():
    with connect() as kv:
        job = kv.submit("fail", [b"this"], max_attempts=2, retry_delay=0.01)
        failure = job[0].exception(20)
        assert isinstance(failure, kvpair.TaskFailed) and failure.task == 0 and failure.job == job.id
        assert "ValueError: cannot do this (tasks_for_tests.py:" in str(failure), failure
        assert "cannot do this" in str(raises(kvpair.JobFailed, job.result))
        other = kv.submit("text", [b""], max_attempts=1)
        assert "returned str, not bytes" in str(other[0].exception(20))


def test_a_job_goes_on_without_what_has_failed_and_retry_brings_the_rest():
    mended = os.fsencode(farm.path("mended"))
    payloads = [b"%d" % number + (b" " + mended if number % 10 == 5 else b"") for number in range(40)]
    poisoned = [5, 15, 25, 35]
    with connect() as kv:
        job = kv.submit("page", payloads, on_failure="continue", max_attempts=1, retry_delay=0)
        failure = job[5].exception(20)
        assert isinstance(failure, kvpair.TaskFailed) and failure.task == 5 and "cannot read page 5" in str(failure)
        assert job[6].result(20) == b"6"
        partly = raises(kvpair.PartlyFailed, job.result)
        assert sorted(partly.failed) == poisoned and "cannot read page 15" in partly.failed[15], partly.failed
        assert "4 of 40" in str(partly) and "cannot read page 5" in str(partly) and partly.job == job.id
        assert [shown["task"] for shown in job.dead()] == poisoned
        assert [shown["task"] for shown in kv.job(job.id).dead(start=6)] == poisoned[1:]
        raises(kvpair.JobState, job.retry, 6)
        first = job[5]
        assert job.retry(5) == 1 and isinstance(job[5].exception(20), kvpair.TaskFailed)
        assert job[5] is not first and first.done()
        raises(kvpair.PartlyFailed, job.result, 20)
        open(mended, "w").close()
        with farm.primary_killed_after(lambda: True):
            assert job.retry() == 4
            assert [task.result(20) for task in job] == [b"%d" % number for number in range(40)]
        assert job.info()["state"] == "done" and job.result() == [b"%d" % number for number in range(40)]
        raises(kvpair.JobState, job.retry)
        job.remove()


def test_the_same_key_is_the_same_job_and_its_futures_are_those_of_the_first():
    with connect() as kv:
        job = kv.submit("echo", [b"a", b"b"], key="nightly", delay=0.2)
        other = kv.submit("echo", (b"%d" % number for number in range(5000)), key="nightly")
        assert other.id == job.id and len(other) == 2 and other[1].result(20) == b"b"
        assert job.info()["key"] == "nightly" and job[0].result(20) == b"a"
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            made = list(pool.map(lambda _: kv.submit("echo", [b"%d" % n for n in range(2000)], key="raced"), range(6)))
        assert len({one.id for one in made}) == 1
        assert all(one[1999].result(20) == b"1999" for one in made)
        assert sum(info["key"] == "raced" for info in kv.jobs()) == 1
        for one in (job, made[0]):
            one.wait(20)
            one.remove()
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            products = list(pool.map(lambda _: kv.submit_matmul([[1, 2]], [[3], [4]], key="product"), range(6)))
        assert len({one.id for one in products}) == 1 and [one.result(20) for one in products] == [[[11]]] * 6
        again = kv.submit("echo", [b"c"], key="nightly")
        assert again.id != job.id and again.result(20) == [b"c"]


def test_jobs_are_paused_and_limited_and_workers_drained():
    with connect() as kv:
        job = kv.submit("endless", [b"1", b"2", b"3"], max_running=1, deadline=60)
        wait_for(lambda: job.info()["running"] == 1, "a task to run")
        job.set(max_running=2, priority=7)
        wait_for(lambda: job.info()["running"] == 2, "another one to run")
        info = job.info()
        assert (info["max_running"], info["priority"], info["on_failure"]) == (2, 7, "stop"), info
        job.pause()
        assert job.info()["paused"]
        raises(ValueError, job.set, priority=256)
        job.resume()
        assert not job.info()["paused"] and job.cancel()
        raises(kvpair.JobState, job.pause)
        kv.drain_worker("kvworker-0")
        states = {worker["name"]: worker["state"] for worker in kv.workers()}
        assert states["kvworker-0"] in ("drained", "draining"), states
        kv.resume_worker("kvworker-0")
        assert {worker["name"]: worker["state"] for worker in kv.workers()}["kvworker-0"] == "active"
        raises(kvpair.NotFound, kv.drain_worker, "nobody")
        late = kv.submit("nobody", [b""], expires=1)
        assert "expired" in str(raises(kvpair.JobFailed, late.result, 20))


def test_a_job_is_told_from_asyncio_what_it_is_told_from_threads():
    import asyncio
    import kvpair.aio

    async def work():
        async with kvpair.aio.connect(farm.nodes_option()) as kv:
            job = await kv.submit("fail", [b"this"], on_failure="continue", max_attempts=1, delay=0.2, key="aio")
            await job.pause()
            await job.set(max_running=3)
            await job.resume()
            try:
                await job.result()
            except kvpair.PartlyFailed as partly:
                assert list(partly.failed) == [0], partly
            assert ["cannot do this" in shown["reason"] for shown in await job.dead()] == [True]
            assert await job.retry() == 1
            await kv.drain_worker("kvworker-1")
            await kv.resume_worker("kvworker-1")
            await job.cancel()

    asyncio.run(work())


def test_a_job_that_is_cancelled_ends_its_futures_and_its_tasks():
    with connect() as kv:
        job = kv.submit("endless", [b"1"], deadline=60)
        wait_for(lambda: job.info()["running"] == 1, "the task to run")
        raises(kvpair.Timeout, job.result, 0.05)
        raises(TimeoutError, job[0].result, 0.05)
        assert job[0].cancel() and job[0].cancelled()
        raises(kvpair.JobCancelled, job.result)
        raises(concurrent.futures.CancelledError, job[0].result)
        assert list(kvpair.as_completed(job, 5)) == [job[0]]
        two = kv.submit("nobody", [b"1", b"2"])
        assert not two[0].cancel() and two.cancel() and two[1].cancelled()
        assert kv.submit("echo", [b"the worker goes on"]).result(20) == [b"the worker goes on"]


def test_what_is_no_job_is_refused():
    with connect() as kv:
        before = len(kv.jobs())
        raises(TypeError, kv.submit, "echo", b"one payload")
        raises(TypeError, kv.submit, "echo", ["text"])
        raises(ValueError, kv.submit, "echo", [])
        raises(ValueError, kv.submit, "", [b""])
        raises(ValueError, kv.submit, "x" * 65, [b""])
        raises(TypeError, kv.submit, "echo", [b""], rounds=1)
        raises(TypeError, kv.submit, "echo", [b""], no_such_option=1)
        for options in ({"key": ""}, {"key": "x" * 65}, {"on_failure": "wait"}, {"max_running": -1}, {"expires": 0.5}):
            raises(ValueError, kv.submit, "echo", [b""], **options)
        raises(kvpair.BadRequest, kv.matmul, [[1]], [[1]], on_failure="continue")
        raises(ValueError, kv.submit, "echo", [kvpair.TaskSpec(b"", after=[0])])
        raises((kvpair.TooLarge, kvpair.BadRequest), kv.submit, "echo", [b"x" * ((1 << 20) + 1)])
        raises(ZeroDivisionError, kv.submit, "echo", (b"%d" % (1 // (3 - number)) for number in range(9)))
        raises(kvpair.NoSuchJob, kv.job(1 << 40).result)
        raises(ValueError, kv.job, 0)
        assert len(kv.jobs()) == before


def test_ten_thousand_futures_with_the_primary_killed_in_the_middle():
    with connect() as kv:
        job = kv.submit("echo", (b"%d" % number for number in range(10000)))
        seen = set()
        with farm.primary_killed_after(lambda: len(seen) > 2000):
            for task in kvpair.as_completed(job, 60):
                seen.add(task.number)
        results = [job[number].result() for number in range(0, 10000, 7)]
        assert len(seen) == 10000 and results == [b"%d" % number for number in range(0, 10000, 7)]
        job.remove()


def test_another_process_gets_the_result_after_a_failover():
    with connect() as kv:
        job = kv.submit("echo", [b"kept"] * 3)
        product = kv.submit_matmul([[1, 2]], [[3], [4]])
        text = "import sys, kvpair\nsys.modules['numpy'] = None\nprint(kvpair.job(int(sys.argv[1])).result())"
        with farm.primary_killed_after(lambda: True):
            out = [run_python(text, str(one.id), KVPAIR_NODES=farm.nodes_option()) for one in (job, product)]
        assert out == ["[b'kept', b'kept', b'kept']\n", "[[11]]\n"], out


# ---- executors ----

def test_an_executor_with_the_primary_killed_in_the_middle():
    with connect() as kv:
        before = len(kv.jobs())
        with kvpair.Executor(kv) as pool:
            done = []
            with farm.primary_killed_after(lambda: len(done) > 100):
                for result in pool.map(tasks_for_tests.count, [b"x " * (number % 9) for number in range(3000)]):
                    done.append(result)
            assert done == [b"%d" % (number % 9) for number in range(3000)]
            raises(TypeError, pool.submit, operator.neg, 1)
            raises(TypeError, pool.submit, tasks_for_tests.count, b"1", b"2")
            raises(kvpair.TooLarge, pool.submit, tasks_for_tests.count, b"x" * ((1 << 20) + 1))
        raises(RuntimeError, pool.submit, tasks_for_tests.count, b"")
        assert len(kv.jobs()) == before  # what it made it has removed


def test_a_failing_call_takes_no_other_along():
    with connect() as kv, kvpair.Executor(kv, max_attempts=1) as pool:
        good = [pool.submit(tasks_for_tests.count, b"1 2") for _ in range(5)]
        bad = pool.submit(tasks_for_tests.fail, b"that")
        good += [pool.submit(tasks_for_tests.count, b"1 2") for _ in range(5)]
        assert [each.result(30) for each in good] == [b"2"] * 10
        assert "cannot do that" in str(bad.exception(30))


def test_an_executor_that_trusts_pickles():
    with connect() as kv, kvpair.Executor(kv, trusted=True) as pool:
        assert list(pool.map(divmod, range(10, 20), [7] * 10)) == [divmod(number, 7) for number in range(10, 20)]
        error = pool.submit(operator.truediv, 1, 0).exception(20)
        assert type(error) is ZeroDivisionError and "truediv" not in str(error)
        assert "too large" not in str(error) and error.__cause__ is not None
        assert type(pool.submit(bytes, 2 << 20).exception(20)) is kvpair.TooLarge
        assert isinstance(pool.submit(threading.Lock).exception(20), TypeError)
        many = [pool.submit(time.sleep, 0.2) for _ in range(40)]
        pool.shutdown(wait=False, cancel_futures=True)
        concurrent.futures.wait(many, 30)
        assert all(each.done() for each in many)


def test_a_worker_that_does_not_trust_unpickles_nothing():
    with Farm(1).start() as lonely:
        lonely.start_worker("plain", "tasks_for_tests")
        with kvpair.connect(lonely.nodes_option()) as kv, kvpair.Executor(kv, trusted=True) as pool:
            call = pool.submit(operator.neg, 1)
            raises(TimeoutError, call.result, 0.5)
            lacks = kv.jobs()[-1]["id"]
            assert "no active worker can do task 0: its kind is python-call" in kv.job(lacks).info()["lacks"]
            kv.job(lacks).cancel()
            raises(kvpair.JobCancelled, call.result, 10)


# ---- workers ----

def test_a_checkpoint_is_what_the_next_worker_goes_on_from():
    with Farm(1).start() as lonely, kvpair.connect(lonely.nodes_option()) as kv:
        lonely.start_worker("first", "tasks_for_tests")
        job = kv.submit("steps", [b""])
        assert lonely.workers["first"].wait() == 9
        lonely.start_worker("first", "tasks_for_tests")  # under its name: nothing is waited for
        assert job.result(20) == [b"from 5"]


def test_progress_is_told_and_a_worker_ends_in_good_order():
    with Farm(1).start() as lonely, kvpair.connect(lonely.nodes_option()) as kv:
        lonely.start_worker("one", "tasks_for_tests", "--parallel", "2")
        job = kv.submit("endless", [b"", b""], deadline=60, silence=0.4)
        wait_for(lambda: all(run["progress"] > 0 for task in job.task_info() for run in task["running"] or [
            {"progress": 0}]), "progress of both tasks")
        lonely.workers["one"].signal(signal.SIGTERM)
        assert lonely.workers["one"].wait() == 0
        shown = list(job.task_info())
        assert all(task["lost"] == 0 and not task["running"] for task in shown), shown


def test_a_function_that_does_not_stop_ends_the_process():
    with Farm(1).start() as lonely, kvpair.connect(lonely.nodes_option()) as kv:
        lonely.start_worker("one", "tasks_for_tests", "--grace", "0.3")
        kv.submit("stuck", [b""], deadline=0.3, max_attempts=1)
        assert lonely.workers["one"].wait() == 5
        assert "was to stop" in lonely.workers["one"].text()


def test_a_second_worker_of_the_name_takes_its_place_and_wrong_use_is_said():
    with Farm(1).start() as lonely:
        first = lonely.start_worker("same", "tasks_for_tests")
        lonely.start_worker("same", "tasks_for_tests")
        assert first.wait() == 3 and "another worker" in first.text()
    for arguments, words in ((["no_such_module"], "no_such_module"), ([], "no MODULE"), (["json"], "@kvpair.task"),
                             (["tasks_for_tests", "--nodes", "nonsense"], "nonsense"),
                             (["tasks_for_tests", "--parallel", "0"], "parallel")):
        done = subprocess.run([sys.executable, "-m", "kvpair.worker", *arguments], capture_output=True, text=True,
                              timeout=20)
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr, done


# ---- words ----

def test_the_words_in_the_code_and_in_the_guide_are_true():
    os.environ["KVPAIR_NODES"] = farm.nodes_option()
    with connect() as kv:
        attempted = 0
        registered = kvpair.worker.registered
        for name in sorted(os.listdir(os.path.join(PACKAGE, "kvpair"))):
            if name.endswith(".py"):
                module = importlib.import_module("kvpair" if name == "__init__.py" else "kvpair." + name[:-3])
                registered.clear()  # each has a function of its own for "count"
                outcome = doctest.testmod(module, extraglobs={"kv": kv, "kvpair": kvpair})
                assert outcome.failed == 0, name
                attempted += outcome.attempted
        registered.clear()
        outcome = doctest.testfile(os.path.join(SOURCE, "docs", "python.md"), module_relative=False,
                                   globs={"kvpair": kvpair})
        assert outcome.failed == 0 and outcome.attempted > 20 and attempted > 30, (outcome, attempted)


def test_the_example_counts_words():
    folder = os.path.join(SOURCE, "examples", "python")
    environment = dict(os.environ, KVPAIR_NODES=farm.nodes_option(),
                       PYTHONPATH=os.pathsep.join([os.environ["PYTHONPATH"], folder]))
    worker = kvtest.Process([sys.executable, "-m", "kvpair.worker", "count_words", "--id", "example", "--nodes",
                             farm.nodes_option()], farm.path("example.log"), prefix=["env", "PYTHONPATH=" +
                                                                                     environment["PYTHONPATH"]])
    try:
        done = subprocess.run([sys.executable, os.path.join(folder, "count_words.py"),
                               os.path.join(SOURCE, "LICENSE"), os.path.join(SOURCE, "README.md")],
                              env=environment, capture_output=True, text=True, timeout=30)
    finally:
        worker.signal(signal.SIGTERM)
        worker.wait()
    assert done.returncode == 0, done.stderr
    words = sum(len(open(os.path.join(SOURCE, name)).read().split()) for name in ("LICENSE", "README.md"))
    assert done.stdout.splitlines()[-1].split() == [str(words), "words"], done.stdout


if __name__ == "__main__":
    with Farm().start() as farm:
        for number in range(2):
            farm.start_worker("python-%d" % number, "tasks_for_tests", "--parallel", "6", "--trusted")
        for number in range(3):
            farm.start_kvworker("kvworker-%d" % number)
        try:
            kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
        except SystemExit as end:
            status = end.code
    sys.exit(status)
