# SPDX-License-Identifier: Apache-2.0
"""A worker in Python: `python3 -m kvpair.worker MODULE --nodes URL,...` does the tasks that the module's functions are
marked for with `@kvpair.task(KIND)`.

Each of `--parallel` places has a thread that fetches, works and posts; one more beats for all of them. A function is
not interrupted: when its task is taken away its `Context` says so. If it has not come back `--grace` seconds later,
the process ends, so that its other places are not held up by it: let something restart it.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from ctypes import byref, c_bool, c_char_p
from functools import partial
from typing import Dict, List, Optional, Sequence

from . import errors
from ._abi import OUTCOME_FAILED, OUTCOME_GIVEN_BACK, OUTCOME_RESULT, VALUE_SIZE_MAX, Result, Slice, Task, Worker, \
    library
from ._client import Client
from ._handle import make_error, reason_of, slice_of
from ._options import name_bytes
from ._tasks import Context, Function, registered

log = logging.getLogger("kvpair.worker")

DONE, FAILED, USAGE, REPLACED, BARRED, STUCK = 0, 1, 2, 3, 4, 5
FETCH_WAIT_MS, REST_S, LONG_REST_S, TIMEOUT_S = 1000, 0.2, 1.0, 3.0
REASON_MAX = 200  # bytes, which a node keeps
KINDS_MAX = 16

PASSING = {kind.status for kind in (errors.Timeout, errors.Unknown, errors.Unavailable, errors.NoMemory)}
LOST = {kind.status for kind in (errors.NotHeld, errors.NoSuchJob, errors.JobState, errors.WorkerUnknown,
                                 errors.WorkerReplaced, errors.WorkerBarred)}
FATAL = {kind.status for kind in (errors.WrongGroup, errors.BadVersion, errors.BadOp, errors.Refused, errors.Closed)}


class _Given:
    """A task that a place has."""

    def __init__(self, task: Task, held_by: Worker) -> None:
        self.task, self.held_by = task, held_by
        self.payload, checkpoint = task.payload.bytes(), task.checkpoint.bytes()
        self.context = Context(task.job, task.number, task.attempt, task.kind.bytes().decode("utf-8"),
                               checkpoint or None)
        now = time.monotonic()
        self.beat_s = task.beat_ms / 1000
        self.beat_due = now + self.beat_s
        self.deadline = now + task.deadline_ms / 1000 + 0.1
        self.dropped_at: Optional[float] = None

    def drop(self, why: str) -> None:
        if self.dropped_at is None:
            self.dropped_at = time.monotonic()
            self.context.drop(why)


class Runner:
    """The life of a worker. `run` returns what the process is to end with."""

    def __init__(self, client: Client, name: str, functions: Dict[str, Function], *, parallel: int = 1,
                 buffer: int = 16 << 20, standby: bool = False, grace: float = 10.0, idle_exit: float = 0.0) -> None:
        if not 1 <= len(functions) <= KINDS_MAX:
            raise ValueError("a worker does 1 to %d kinds of tasks, not %d: is there a @kvpair.task in its module?"
                             % (KINDS_MAX, len(functions)))
        if not 1 <= parallel <= 256:
            raise ValueError("parallel is 1 to 256, not %r" % (parallel,))
        self.client, self.functions, self.parallel = client, functions, parallel
        self.buffer, self.standby, self.grace, self.idle_exit = buffer, standby, grace, idle_exit
        self._self = Worker(name=name_bytes(name, "the name of a worker"))
        self._lock = threading.Condition()
        self._joining = threading.Lock()
        self._given: Dict[int, _Given] = {}
        self._stopping = threading.Event()
        self._status = DONE
        self._idle_since = time.monotonic()
        self._ended = False
        self._silent = False

    # ---- the end ----

    def stop(self, status: int = DONE) -> None:
        """Gives back what it has and ends; safe in a handler of signals."""
        if not self._stopping.is_set():
            self._status = status
            self._stopping.set()

    def _judge(self, result: Result) -> int:
        """Does what an answer of any operation may ask for; frees it, and returns its status."""
        status, reason = int(result.status), reason_of(result)
        library.kvp_result_free(byref(result))
        if status in PASSING:
            if not self._silent:
                log.warning("no answer from %s: %s", self.client.nodes, reason or make_error(status))
            self._silent = True
        elif status == errors.WorkerReplaced.status:
            log.error("another worker has joined under this name: each needs its own, see --id")
            self.stop(REPLACED)
        elif status == errors.WorkerBarred.status:
            log.error("barred: %s", reason or "too many results of this worker were outvoted")
            self.stop(BARRED)
        elif status in FATAL:
            log.error("refused: %s", make_error(status, reason))
            self.stop(FAILED)
        else:
            if self._silent:
                log.info("%s answers again", self.client.nodes)
            self._silent = False
        return status

    # ---- joining ----

    def _join(self) -> bool:
        kinds = [name_bytes(kind, "the kind of a task") for kind in self.functions]
        array = (c_char_p * len(kinds))(*kinds)
        joined = Worker(name=self._self.name)
        while not self._stopping.is_set():
            result = self.client._handle.call(library.kvp_worker_join, byref(joined), array, len(kinds), self.buffer,
                                              self.standby)
            reason = reason_of(result)
            status = self._judge(result)
            if status == 0:
                with self._lock:
                    self._self = joined
                log.info("joined as %s, for %s", joined.name.decode(), ", ".join(sorted(self.functions)))
                return True
            if status not in PASSING and not self._stopping.is_set():
                if status != errors.Busy.status:
                    log.error("cannot join: %s", make_error(status, reason))
                    self.stop(FAILED)
            self._stopping.wait(REST_S)
        return False

    def _join_again(self, instance: int) -> None:
        """The group has forgotten us: one place joins for all."""
        with self._joining:
            if self._self.instance == instance:
                log.warning("forgotten by the group: joining again")
                self._join()

    # ---- beating ----

    def _beat(self, given: _Given, checkpoint: Optional[bytes]) -> int:
        go_on = c_bool(True)
        state = None if checkpoint is None else byref(slice_of(checkpoint))
        given.beat_due = time.monotonic() + given.beat_s
        result = self.client._handle.call(library.kvp_task_beat, byref(given.held_by), byref(given.task),
                                          given.context.permille, state, byref(go_on))
        status = self._judge(result)
        if status in LOST or (status == 0 and not go_on.value):
            given.drop("nobody wants the result of this task any more")
        return status

    def _leave_checkpoint(self, given: _Given, state: bytes) -> None:
        """Until it is there, or nobody wants it."""
        while given.context.wanted and not self._stopping.is_set():
            status = self._beat(given, state)
            if status == 0 or status in LOST:
                return
            if status not in PASSING:
                raise make_error(status, "the checkpoint was not taken")
            self._stopping.wait(REST_S)

    def _look_at_clock(self) -> float:
        """Drops what is over, beats for what is due. Returns when to look again."""
        now = time.monotonic()
        with self._lock:
            several = list(self._given.values())
        for given in several:
            if self._stopping.is_set():
                given.drop("the worker ends")
            elif now >= given.deadline:
                given.drop("not done by the deadline, after %g s" % (given.task.deadline_ms / 1000))
            if given.dropped_at is not None and now - given.dropped_at > self.grace:
                self._give_up(given)
            if now >= given.beat_due and given.dropped_at is None:
                self._beat(given, None)
        due = [min(given.beat_due, given.deadline) for given in several if given.dropped_at is None]
        until: float = min([now + 0.2] + due)
        return max(0.01, until - time.monotonic())

    def _run_beats(self) -> None:
        while not self._ended:
            wait_s = self._look_at_clock()
            with self._lock:
                if not self._ended:
                    self._lock.wait(wait_s)

    def _give_up(self, stuck: _Given) -> None:
        """A function does not come back, and cannot be interrupted: the others' tasks are given back, and it ends."""
        log.error("task %d of job %d (%s) was to stop %g s ago and has not: the process ends", stuck.task.number,
                  stuck.task.job, stuck.context.kind, self.grace)
        with self._lock:
            several = list(self._given.values())
        for given in several:
            self._post(given, OUTCOME_GIVEN_BACK, b"", once=True)
        logging.shutdown()
        os._exit(DONE if self._stopping.is_set() and self._status == DONE else STUCK)

    # ---- a task from end to end ----

    def _post(self, given: _Given, outcome: int, data: bytes, once: bool = False) -> None:
        """Offered until somebody has answered, or nobody wants it."""
        while True:
            last = once or self._stopping.is_set()
            result = self.client._handle.call(library.kvp_task_post, byref(given.held_by), byref(given.task), outcome,
                                              slice_of(data))
            reason = reason_of(result)
            status = self._judge(result)
            if status not in PASSING:
                if status:
                    log.warning("task %d of job %d: its result was not taken: %s", given.task.number, given.task.job,
                                make_error(status, reason))
                return
            if last or not given.context.wanted:
                return

    def _work(self, given: _Given) -> None:
        context = given.context
        context._leave = partial(self._leave_checkpoint, given)
        try:
            data = self.functions[context.kind](context, given.payload)
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise TypeError("the function for %r returned %s, not bytes" % (context.kind, type(data).__name__))
            data = bytes(data)
            if len(data) > VALUE_SIZE_MAX:
                raise errors.TooLarge("result longer than %d bytes" % VALUE_SIZE_MAX)
            self._post(given, OUTCOME_RESULT, data)
        except errors.Unwanted:
            if self._stopping.is_set():
                self._post(given, OUTCOME_GIVEN_BACK, b"")
            elif time.monotonic() >= given.deadline:
                self._post(given, OUTCOME_FAILED, context._why.encode("utf-8"))
        except Exception as error:
            log.warning("task %d of job %d failed\n%s", context.task, context.job, traceback.format_exc().rstrip())
            self._post(given, OUTCOME_FAILED, _reason(error))

    def _fetch(self, place: int) -> Optional[_Given]:
        with self._lock:
            held_by = Worker.from_buffer_copy(self._self)
        task = Task()
        wait_ms = FETCH_WAIT_MS if self.idle_exit <= 0 else min(FETCH_WAIT_MS, max(1, int(self.idle_exit * 1000)))
        result = self.client._handle.call(library.kvp_task_fetch, byref(held_by), place, wait_ms, byref(task))
        status = self._judge(result)
        if status == 0:
            return _Given(task, held_by)
        if status == errors.NoTask.status:
            self._look_whether_idle()
        elif status == errors.WorkerUnknown.status:
            self._join_again(held_by.instance)
        else:
            self._stopping.wait(REST_S if status in PASSING else LONG_REST_S)
        return None

    def _look_whether_idle(self) -> None:
        with self._lock:
            idle = not self._given and time.monotonic() - self._idle_since >= self.idle_exit
        if self.idle_exit > 0 and idle:
            self.stop(DONE)

    def _run_place(self, place: int) -> None:
        while not self._stopping.is_set():
            given = self._fetch(place)
            if given is None:
                continue
            with self._lock:
                self._given[place] = given
                self._lock.notify_all()
            try:
                self._work(given)
            finally:
                with self._lock:
                    del self._given[place]
                    self._idle_since = time.monotonic()
                library.kvp_task_free(byref(given.task))

    def _guarded(self, place: int) -> None:
        try:
            self._run_place(place)
        except BaseException:
            log.exception("a place of this worker has ended")
            self.stop(FAILED)

    def run(self) -> int:
        """Works until it is stopped."""
        if self._join():
            beats = threading.Thread(target=self._run_beats, name="kvpair-beats", daemon=True)
            places = [threading.Thread(target=self._guarded, args=(place,), name="kvpair-place-%d" % place, daemon=True)
                      for place in range(self.parallel)]
            for thread in [beats] + places:
                thread.start()
            self._stopping.wait()
            for thread in places:
                thread.join()
            with self._lock:
                self._ended = True
                self._lock.notify_all()
            beats.join()
            self._leave()
        return self._status

    def _leave(self) -> None:
        """Who is not told finds out by the silence."""
        if not self._silent and self._status not in (REPLACED, BARRED):
            result = self.client._handle.call(library.kvp_worker_leave, byref(self._self))
            library.kvp_result_free(byref(result))
            log.info("left")


def _reason(error: BaseException) -> bytes:
    """What people are told: the last line of a traceback, and where it was raised."""
    text = "".join(traceback.format_exception_only(type(error), error)).strip()
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        text += " (%s:%s)" % (os.path.basename(frames[-1].filename), frames[-1].lineno)
    return text.encode("utf-8", "replace")[-REASON_MAX:].decode("utf-8", "ignore").encode("utf-8")


# ---- the program ----

def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m kvpair.worker",
                                     description="Does the tasks that functions of the modules are marked for with "
                                                 "@kvpair.task(KIND).",
                                     epilog="exit status: 0 stopped; 1 failed; 2 usage; 3 replaced by another worker of "
                                            "this name; 4 barred; 5 a task did not stop when it was to")
    add = parser.add_argument
    add("modules", metavar="MODULE", nargs="*", help="a module to import, from here or from where Python looks")
    add("--nodes", metavar="URL,...", help="nodes of the group, any of them; else $KVPAIR_NODES")
    add("--group", metavar="NAME", help="the group's name (default)")
    add("--tls-cert", metavar="FILE", help="certificate of worker/NAME for nodes at tls+tcp://; else $KVPAIR_TLS_CERT")
    add("--tls-key", metavar="FILE", help="its key; else $KVPAIR_TLS_KEY")
    add("--tls-ca", metavar="FILE", help="the CA of the group; else $KVPAIR_TLS_CA")
    add("--id", metavar="NAME", default="%s-%d" % (socket.gethostname()[:40], os.getpid()),
        help="the worker's own name (HOST-PID)")
    add("--parallel", metavar="N", type=int, default=1, help="so many tasks at a time, each in a thread (1)")
    add("--buffer", metavar="BYTES", type=int, default=16 << 20, help="no task that needs more (16777216)")
    add("--standby", action="store_true", help="no task while enough others are there")
    add("--grace", metavar="S", type=float, default=10.0,
        help="a task that was to stop and has not after so long ends the process (10)")
    add("--idle-exit", metavar="S", type=float, default=0.0, help="end when there was nothing to do for so long")
    add("--trusted", action="store_true",
        help="also run calls that were pickled by kvpair.Executor(trusted=True): whoever can reach the nodes can then "
             "run any code here")
    return parser


def _functions(modules: Sequence[str], trusted: bool) -> Dict[str, Function]:
    sys.path.insert(0, os.getcwd())
    for module in modules:
        importlib.import_module(module)
    functions = dict(registered)
    if trusted:
        from . import executor
        functions[executor.CALL_KIND] = executor.run_call
    return functions


def _watch_signals(runner: Runner) -> None:
    def on_signal(number: int, _: object) -> None:
        if runner._stopping.is_set():
            os._exit(FAILED)
        runner.stop()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


def main(arguments: Optional[List[str]] = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    if not options.modules and not options.trusted:
        print("kvpair.worker: no MODULE is given: whose tasks are to be done?", file=sys.stderr)
        return USAGE
    try:
        functions = _functions(options.modules, options.trusted)
        with Client(options.nodes, group=options.group, timeout=TIMEOUT_S, tls_cert=options.tls_cert,
                    tls_key=options.tls_key, tls_ca=options.tls_ca) as client:
            runner = Runner(client, options.id, functions, parallel=options.parallel, buffer=options.buffer,
                            standby=options.standby, grace=options.grace, idle_exit=options.idle_exit)
            _watch_signals(runner)
            return runner.run()
    except (ImportError, ValueError, errors.Error) as error:
        print("kvpair.worker: %s" % error, file=sys.stderr)
        return USAGE


if __name__ == "__main__":
    sys.exit(main())
