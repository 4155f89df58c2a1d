# SPDX-License-Identifier: Apache-2.0
"""Keys from Python: each line of the guide, also with the primary killed in the middle; against a dict; threads, asyncio,
fork, the end of the interpreter, bad input."""

import asyncio
import os
import random
import signal
import sys
import threading
import time

import kvpython
from kvpython import Farm, run_python

import kvtest

import kvpair
import kvpair.aio

farm = None
NOTHING_HAPPENED = (kvpair.Timeout, kvpair.Unavailable)


def connect(**options):
    return kvpair.connect(farm.nodes_option(), **options)


def raises(kind, function, *arguments, **named):
    try:
        function(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError("%s was expected" % (kind,))


# ---- a mapping ----

def test_the_lines_of_the_guide():
    with connect() as kv:
        kv["k"] = b"v"
        assert kv["k"] == b"v" and "k" in kv and b"k" in kv and kv.get("k") == b"v"
        del kv["k"]
        assert "k" not in kv and kv.get("k") is None and kv.get("k", b"d") == b"d"
        raises(kvpair.NotFound, lambda: kv["k"])
        raises(kvpair.NotFound, kv.delete, "k")
        assert isinstance(raises(kvpair.NotFound, lambda: kv["k"]), KeyError)
        first = kv.create("k", b"1")
        assert raises(kvpair.Exists, kv.create, "k", b"2").version == first
        second = kv.cas("k", b"2", first)
        assert second > first
        assert raises(kvpair.VersionDiffers, kv.cas, "k", b"3", first).version == second
        entry = kv.entry("k")
        assert (entry.value, entry.version, entry.created) == (b"2", second, first)
        raises(kvpair.VersionDiffers, kv.delete, "k", first)
        kv.delete("k", second)
        kv["bytes"] = bytes(range(256))
        assert kv[bytearray(b"bytes")] == bytes(range(256))
        kv["empty"] = memoryview(b"")
        assert kv["empty"] == b""
        assert kv.get("bytes", stale=True) is not None
    raises(kvpair.Closed, lambda: kv["k"])
    kv.close()


def test_a_scan_reads_page_by_page_and_can_be_left():
    with connect() as kv:
        wanted = []
        for number in range(700):
            wanted.append((b"scan/%04d" % number, b"x" * 2000))
            kv[wanted[-1][0]] = wanted[-1][1]
        found = list(kv.scan(prefix="scan/"))
        assert [(pair.key, pair.value) for pair in found] == wanted
        assert all(a.version < b.version for a, b in zip(found, found[1:]))
        assert [pair.key for pair in kv.scan("scan/0100", "scan/0103")] == [b"scan/0100", b"scan/0101", b"scan/0102"]
        assert all(pair.value == b"" for pair in kv.scan(prefix="scan/", keys_only=True))
        with kv.scan(prefix="scan/") as scan:
            assert next(scan).key == b"scan/0000"
        assert list(scan) == []
        left_open = kv.scan()
        next(left_open)
    raises(kvpair.Closed, next, left_open)
    del left_open


def test_a_watch_tells_everything_once_over_the_death_of_the_primary():
    with connect() as kv, kv.watch(prefix="watched/") as watch:
        assert watch.next(0.01) is None
        wanted = []

        def put(number):
            key = "watched/%d" % (number % 5)
            wanted.append((key.encode(), b"%d" % number, kv.put(key, b"%d" % number)))

        done = 0
        with farm.primary_killed_after(lambda: done > 50):
            for done in range(200):
                put(done)
        del kv["watched/3"]
        told = [next(watch) for _ in range(201)]
        assert [(event.key, event.value, event.version) for event in told[:-1]] == wanted
        assert (told[-1].key, told[-1].value, told[-1].created) == (b"watched/3", None, 0)
        assert watch.next(0.01) is None and watch.behind == 0
        again = kv.watch("watched/1", "watched/2", from_revision=wanted[0][2])
        assert [next(again).value for _ in range(40)] == [value for key, value, _ in wanted if key == b"watched/1"]
        stale = kv.watch(prefix="watched/", from_revision=wanted[0][2], stale=True)
        assert [next(stale) for _ in range(201)] == told
        waiting = threading.Thread(target=lambda: list(again))
        waiting.start()
        begin = time.monotonic()
        again.close()
        waiting.join(10)
        assert not waiting.is_alive() and time.monotonic() - begin < 5
        assert watch.revision > told[-1].version
        raises(ValueError, kv.watch, "a", prefix="a")
    raises(kvpair.Closed, lambda: stale.revision)
    assert list(watch) == []
    raises(kvpair.Closed, next, stale)


def test_a_lease_is_kept_and_known_to_be_lost_when_nobody_answers():
    # A group of its own: nodes that were stopped leave each other's view for a while.
    with kvtest.Group().start() as group, kvpair.connect(group.nodes_option(), timeout=0.3) as kv:
        with kv.lease(0.6) as lease:
            kv.put("held", b"1", lease=lease)
            assert not lease.lost.wait(2) and kv["held"] == b"1" and 0 < lease.left() <= 0.6
            lease.revoke()
            assert lease.lost.wait(2) and lease.left() == 0 and "held" not in kv
        with kv.lease(1) as lease:
            began = time.monotonic()
            for node in group.nodes.values():
                node.signal(signal.SIGSTOP)
            try:
                assert lease.lost.wait(10) and lease.left() == 0
                assert time.monotonic() - began < 1 + 0.3 + 1, time.monotonic() - began
            finally:
                for node in group.nodes.values():
                    node.signal(signal.SIGCONT)
                group.wait_primary()
        raises(ValueError, kv.lease, 0)
        raises(ValueError, kv.put, "k", b"v", ttl=1, lease=lease)


def test_a_transaction_is_all_or_nothing():
    with connect() as kv:
        kv["a"] = b"1"
        version = kv.entry("a").version
        txn = kv.txn().if_value("a", b"1").if_absent("b").if_present("a").if_version("a", "==", version)
        txn.then.put("b", b"2").get("a").delete("nothing")
        txn.otherwise.get("b")
        done = txn.commit()
        assert done and done.revision > version
        assert [(one.found, one.value) for one in done.results] == [(True, b""), (True, b"1"), (False, b"")]
        done = txn.commit()
        assert not done and [one.value for one in done.results] == [b"2"]
        raises(ValueError, kv.txn().if_version, "a", "!=", 1)
        too_large = kv.txn()
        too_large.then.put("a", b"x" * (2 << 20))
        raises(kvpair.TooLarge, too_large.commit)
        del kv["b"]


def test_keys_with_the_primary_killed_in_the_middle():
    """Every update that was acknowledged is there, in order; none has run twice; a scan says when it cannot go on."""
    with connect() as kv:
        for number in range(200):
            kv["cut/%04d" % number] = b"x" * 5000
        scan = kv.scan(prefix="cut/")
        seen = [next(scan).key]
        version, done = kv.put("counter", b"0"), 0
        with farm.primary_killed_after(lambda: done > 20):
            begin = time.monotonic()
            gap = 0
            while done < 400 or gap < 0.05:
                before = time.monotonic()
                version = kv.cas("counter", b"%d" % (done + 1), version)
                gap = max(gap, time.monotonic() - before)
                done += 1
                assert time.monotonic() - begin < 20
        assert int(kv["counter"]) == done
        try:
            seen += [pair.key for pair in scan]
        except kvpair.CursorExpired:
            seen = [pair.key for pair in kv.scan(prefix="cut/")]
        assert seen == [b"cut/%04d" % number for number in range(200)]


def test_against_a_dict():
    if not kvpython.has("hypothesis"):
        return
    from hypothesis import HealthCheck, settings, strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
    kv = connect()
    keys = st.sampled_from([b"\0", b"a", b"a\0", b"ab", b"\xff"])
    values = st.binary(max_size=40)

    class Machine(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.model = {}
            for pair in list(kv.scan(prefix=b"h/", keys_only=True)):
                del kv[pair.key]

        @rule(key=keys, value=values)
        def put(self, key, value):
            kv[b"h/" + key] = value
            self.model[key] = value

        @rule(key=keys, value=values)
        def create(self, key, value):
            try:
                kv.create(b"h/" + key, value)
                assert key not in self.model
                self.model[key] = value
            except kvpair.Exists:
                assert key in self.model

        @rule(key=keys, value=values)
        def swap(self, key, value):
            entry = kv.entry(b"h/" + key)
            assert (entry and entry.value) == self.model.get(key)
            kv.cas(b"h/" + key, value, entry.version if entry else 0)
            self.model[key] = value

        @rule(key=keys)
        def delete(self, key):
            try:
                del kv[b"h/" + key]
                del self.model[key]
            except kvpair.NotFound:
                assert key not in self.model

        @rule(key=keys, other=keys, value=values)
        def move(self, key, other, value):
            txn = kv.txn().if_present(b"h/" + key)
            txn.then.delete(b"h/" + key).put(b"h/" + other, value)
            txn.otherwise.get(b"h/" + other)
            done = txn.commit()
            assert bool(done) == (key in self.model)
            if done:
                del self.model[key]
                self.model[other] = value
            else:
                assert done.results[0].found == (other in self.model)

        @rule(start=keys, end=keys)
        def scan(self, start, end):
            found = [(pair.key[2:], pair.value) for pair in kv.scan(b"h/" + start, b"h/" + end)]
            assert found == sorted(item for item in self.model.items() if start <= item[0] < end)

        @invariant()
        def the_same(self):
            for key in (b"a", b"\xff"):
                assert kv.get(b"h/" + key) == self.model.get(key)

    run_state_machine_as_test(Machine, settings=settings(
        max_examples=25, stateful_step_count=25, deadline=None, database=None, print_blob=False,
        suppress_health_check=list(HealthCheck)))
    kv.close()


# ---- failures ----

def test_an_update_without_an_answer_is_unknown_and_what_was_not_sent_is_not():
    with Farm(1).start() as lonely:
        with kvpair.connect(lonely.nodes_option(), timeout=0.6) as kv:
            kv["k"] = b"1"
            lonely.nodes[1].signal(signal.SIGSTOP)
            error = raises(kvpair.Unknown, kv.put, "k", b"2")
            assert not isinstance(error, TimeoutError)
            raises(NOTHING_HAPPENED, kv.get, "k")
            lonely.nodes[1].signal(signal.SIGCONT)
        lonely.kill(1)
        with kvpair.connect(lonely.nodes_option(), timeout=0.3) as kv:
            for function in (lambda: kv.put("k", b"3"), lambda: kv["k"], kv.jobs):
                try:
                    function()
                    raise AssertionError("it cannot be done")
                except kvpair.Error as error:
                    assert not isinstance(error, kvpair.Unknown), error


def test_bad_input_is_refused_where_it_comes_in():
    with connect() as kv:
        raises(TypeError, kv.put, "k", "text")
        raises(TypeError, kv.put, 1, b"v")
        raises(TypeError, kv.get, None)
        raises(kvpair.BadArgument, kv.put, "", b"v")
        raises(kvpair.TooLarge, kv.put, b"k" * 1025, b"v")
        raises(kvpair.TooLarge, kv.put, "k", b"v" * ((1 << 20) + 1))
        raises(UnicodeEncodeError, kv.get, "\udc80")
        for version in (-1, 1 << 64):
            raises(ValueError, kv.cas, "k", b"v", version)
        raises(ValueError, kv.scan, "a", prefix="a")
        raises(NOTHING_HAPPENED, kvpair.connect("tcp://127.0.0.1:1", timeout=0.2).get, "k")
        kv[b"nul\0in\0key"] = b"nul\0in\0value"
        assert kv[b"nul\0in\0key"] == b"nul\0in\0value"
    for nodes in ("", "nonsense", "tcp://127.0.0.1:7001,,", "tcp://127.0.0.1:1\0"):
        assert str(raises(kvpair.BadArgument, kvpair.connect, nodes))
    raises(TypeError, kvpair.connect, 7)
    for timeout in (0, -1, 1e9, float("nan")):
        raises(ValueError, kvpair.connect, "tcp://127.0.0.1:1", timeout=timeout)
    raises(kvpair.BadArgument, kvpair.connect, "tcp://127.0.0.1:1", group="x" * 65)
    raises(ValueError, kvpair.connect, "tcp://127.0.0.1:1", outstanding=-1)


# ---- threads, asyncio ----

def test_many_threads_use_one_client_and_it_can_be_closed_under_them():
    kv = connect()
    wrong, ended = [], []

    def work(number):
        try:
            for step in range(100000):
                kv["thread/%d" % number] = b"%d" % step
                if kv["thread/%d" % number] != b"%d" % step:
                    wrong.append((number, step))
        except kvpair.Closed:
            ended.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    kv.close()
    for thread in threads:
        thread.join(10)
    assert not wrong and sorted(ended) == list(range(8)), (wrong, ended)


def test_others_run_while_a_call_waits():
    with Farm(1).start() as lonely:
        with kvpair.connect(lonely.nodes_option(), timeout=1) as kv:
            kv["k"] = b"1"
            lonely.nodes[1].signal(signal.SIGSTOP)
            waits = threading.Thread(target=lambda: raises(NOTHING_HAPPENED, kv.get, "k"))
            waits.start()
            steps = 0
            while waits.is_alive():
                steps += 1
            lonely.nodes[1].signal(signal.SIGCONT)
    assert steps > 100000, steps


def test_asyncio_with_the_primary_killed_in_the_middle():
    async def main():
        async with kvpair.aio.connect(farm.nodes_option()) as kv:
            version = await kv.create("aio", b"0")
            assert await kv.get("aio") == b"0" and await kv.get("nothing", b"d") == b"d"
            assert (await kv.entry("aio")).version == version
            for kind, call in ((kvpair.Exists, kv.create("aio", b"")), (kvpair.NotFound, kv.delete("nothing")),
                               (kvpair.VersionDiffers, kv.cas("aio", b"", version + 1))):
                try:
                    await call
                    raise AssertionError(kind)
                except kind as error:
                    assert kind is not kvpair.Exists or error.version == version
            done = 0

            async def count(number):
                nonlocal done
                for step in range(60):
                    await kv.put("aio/%d" % number, b"%d" % step)
                    done += 1
                    await asyncio.sleep(0.01)

            with farm.primary_killed_after(lambda: done > 100):
                await asyncio.gather(*(count(number) for number in range(20)))
            found = [(pair.key, pair.value) async for pair in kv.scan(prefix="aio/")]
            assert found == sorted((b"aio/%d" % number, b"59") for number in range(20)), found
            watch = kv.watch(prefix="aio/", from_revision=1)
            told = [(await anext(watch)).value for _ in range(20 * 60)]
            assert sorted(told) == sorted([b"%d" % step for step in range(60)] * 20)
            await watch.aclose()
            txn = kv.txn().if_present("aio")
            txn.then.delete("aio")
            assert await kv.commit(txn)
            cancelled = asyncio.ensure_future(kv.put("aio/x", b"v"))
            await asyncio.sleep(0)
            cancelled.cancel()
        try:
            await kv.get("aio")
            raise AssertionError("it is closed")
        except kvpair.Closed:
            pass

    asyncio.run(asyncio.wait_for(main(), 40))


# ---- fork, the end ----

def test_a_child_after_fork_is_told_and_ends():
    with connect() as kv:
        kv["k"] = b"v"
        scan = kv.scan()
        next(scan)
        busy = threading.Thread(target=lambda: [kv["k"] for _ in range(300)])
        busy.start()
        for _ in range(5):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    signal.alarm(10)
                    raises(kvpair.Closed, lambda: kv["k"])
                    raises(kvpair.Closed, next, scan)
                    del scan
                    kv.close()
                    with connect() as mine:  # a new one works
                        assert mine["k"] == b"v"
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        busy.join()
        assert kv["k"] == b"v" and next(scan)


ENDS = {
    "an open client, scan and transaction": "kv['k'] = b'v'; scan = kv.scan(); next(scan); txn = kv.txn()",
    "a cycle": "a = [kv, kv.scan()]; a.append(a); del a, kv",
    "daemon threads inside": "import threading\nfor _ in range(4):\n"
                             "    threading.Thread(target=lambda: [kv['k'] for _ in range(10**9)], daemon=True).start()\n"
                             "import time; time.sleep(0.1)",
    "futures that wait": "job = kv.submit('nobody', [b'x'] * 10); import time; time.sleep(0.1)",
    "an executor that waits": "pool = kvpair.Executor(kv, trusted=True); pool.submit(print)\nimport time; time.sleep(0.1)",
    "asyncio under way": "import asyncio, kvpair.aio\nasync def main():\n    c = kvpair.aio.connect(sys.argv[1])\n"
                         "    [asyncio.ensure_future(c.put('k', b'v')) for _ in range(50)]\n"
                         "    await asyncio.sleep(0.001)\nasyncio.run(main())",
    "forked processes": "import multiprocessing\np = multiprocessing.get_context('fork').Process(target=kv.close)\n"
                        "p.start(); p.join(); assert p.exitcode == 0",
}


def test_the_interpreter_ends_without_a_hang_or_a_crash():
    for what, text in ENDS.items():
        begin = time.monotonic()
        run_python("import sys, kvpair\nkv = kvpair.connect(sys.argv[1])\nkv['k'] = b'v'\n" + text + "\n",
                   farm.nodes_option(), seconds=20)
        assert time.monotonic() - begin < 8, what


if __name__ == "__main__":
    with Farm().start() as farm:
        try:
            kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
        except SystemExit as end:
            status = end.code
    sys.exit(status)
