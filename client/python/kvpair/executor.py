# SPDX-License-Identifier: Apache-2.0
"""A `concurrent.futures.Executor` whose threads are the workers of the group.

Calls that wait are sent together, as one job. A call may run more than once, where a worker was lost; one result
counts.
"""

from __future__ import annotations

import concurrent.futures
import pickle
import queue
import threading
import traceback
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Tuple, cast

from . import errors
from ._abi import BATCH_MAX, VALUE_SIZE_MAX
from ._client import Client, connect
from ._handle import services, value_bytes
from ._jobs import BATCH_SIZE, PASSING, Job, Options, Task, TaskSpec, submit as submit_job
from ._tasks import Context

CALL_KIND = "python-call"
FETCHERS = 4
REST_S = 0.2


def run_call(context: Context, payload: bytes) -> bytes:
    """In a worker that trusts: makes the call of a pickle. What the function raises is a result like any other."""
    function, arguments, named = pickle.loads(payload)
    try:
        outcome: Tuple[bool, Any] = (True, function(*arguments, **named))
    except Exception as error:
        error.__cause__ = None
        outcome = (False, (error, traceback.format_exc()))
    try:
        data = pickle.dumps(outcome)
    except Exception as error:
        data = pickle.dumps((False, (TypeError("the outcome cannot be pickled: %s" % error), "")))
    if len(data) > VALUE_SIZE_MAX:
        data = pickle.dumps((False, (errors.TooLarge("the result takes %d bytes, at most %d go through the group"
                                                     % (len(data), VALUE_SIZE_MAX)), "")))
    return data


class _RemoteTraceback(Exception):
    """Where it was raised, in the worker."""

    def __str__(self) -> str:
        return "\n" + str(self.args[0])


def _settle_call(future: "concurrent.futures.Future[Any]", data: bytes) -> None:
    good, value = pickle.loads(data)
    if good:
        future.set_result(value)
    else:
        error, text = value
        error.__cause__ = _RemoteTraceback(text)
        future.set_exception(error)


class _Call:
    def __init__(self, future: "concurrent.futures.Future[Any]", kind: str, payload: bytes) -> None:
        self.future, self.kind, self.payload = future, kind, payload
        self.begun = False


class _Batch:
    """The calls of one job, which is removed with the last of them."""

    def __init__(self, job: Job, count: int) -> None:
        self.job, self.left = job, count


class Executor(concurrent.futures.Executor):
    """Without `trusted` the functions are those of `@kvpair.task`, with one payload of bytes; they run in workers that
    know the kind, in whatever language.

    >>> @kvpair.task("count")
    ... def count(ctx, payload):
    ...     return b"%d" % len(payload.split())
    >>> with kvpair.Executor(kv) as pool:
    ...     list(pool.map(count, [b"to be", b"or not to be"]))
    [b'2', b'4']

    `trusted=True` pickles any call, and unpickles what the workers answer: whoever can write to the group can then run
    code in this process, and in workers that were started with `--trusted`.
    """

    def __init__(self, client: Optional[Client] = None, *, trusted: bool = False,
                 dumps: Callable[[Any], bytes] = pickle.dumps, **options: Any) -> None:
        self._options = Options(**options)
        self._options.refuse_matrix_options()
        self._own = client is None
        self._client = connect() if client is None else client
        self._trusted, self._dumps = trusted, dumps
        self._waiting: "queue.SimpleQueue[Optional[_Call]]" = queue.SimpleQueue()
        self._ended: "queue.SimpleQueue[Optional[Tuple[_Batch, _Call, Task]]]" = queue.SimpleQueue()
        self._lock = threading.Condition()
        self._pending = 0
        self._shut = False
        self._stopped = False
        self._threads: List[threading.Thread] = []
        services.add(self)

    # ---- what a user calls ----

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "concurrent.futures.Future[Any]":
        call = self._make_call(fn, args, kwargs)
        with self._lock:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._pending += 1
            if not self._threads:
                self._start()
        call.future.add_done_callback(self._one_less)
        self._waiting.put(call)
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._shut = True
        if cancel_futures:
            self._cancel_waiting()
        if wait:
            with self._lock:
                self._lock.wait_for(lambda: self._pending == 0 or self._stopped)
            self.stop()
            for thread in self._threads:
                thread.join()
            if self._own:
                self._client.close()

    # ---- calls to bytes ----

    def _make_call(self, fn: Callable[..., Any], args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> _Call:
        kind = getattr(fn, "kind", None)
        if isinstance(kind, str) and not kwargs and len(args) == 1:
            payload = value_bytes(args[0], "the payload of a task")
        elif self._trusted:
            kind, payload = CALL_KIND, self._dumps((fn, args, kwargs))
        else:
            raise TypeError("%r is no function of @kvpair.task with one payload: mark it, or make the executor with "
                            "trusted=True, which pickles" % (fn,))
        if len(payload) > VALUE_SIZE_MAX:
            raise errors.TooLarge("the call takes %d bytes, at most %d go through the group: put large arguments "
                                  "under keys" % (len(payload), VALUE_SIZE_MAX))
        assert isinstance(kind, str)
        return _Call(concurrent.futures.Future(), kind, payload)

    # ---- sending ----

    def _start(self) -> None:
        targets = [self._run_sender] + [self._run_fetcher] * FETCHERS
        self._threads = [threading.Thread(target=target, name="kvpair-executor", daemon=True) for target in targets]
        for thread in self._threads:
            thread.start()

    def _take(self) -> Optional[List[_Call]]:
        """All calls that wait, as many as go together. None: the end."""
        calls, size = [], 0
        call = self._waiting.get()
        while call is not None:
            if call.begun or call.future.set_running_or_notify_cancel():
                call.begun = True
                calls.append(call)
                size += len(call.payload)
            if len({each.kind for each in calls}) == 16 or len(calls) == BATCH_MAX or size >= BATCH_SIZE:
                return calls
            try:
                call = self._waiting.get_nowait()
            except queue.Empty:
                return calls
        return calls or None

    def _run_sender(self) -> None:
        calls: Optional[List[_Call]] = []
        while calls is not None and not self._stopped:
            if calls:
                self._send(calls)
            calls = self._take()
        for call in calls or ():
            call.future.set_exception(errors.Closed("the executor has ended"))

    def _send(self, calls: List[_Call]) -> None:
        tasks = [TaskSpec(call.payload, call.kind) for call in calls]
        while True:
            try:
                job = submit_job(self._client, calls[0].kind, tasks, self._options)
                break
            except (errors.Busy, errors.Unavailable, errors.Timeout) as error:
                if self._stopped:
                    return self._fail(calls, error)
                threading.Event().wait(REST_S)
            except BaseException as error:
                return self._fail(calls, error)
        batch = _Batch(job, len(calls))
        for call, task in zip(calls, job.tasks):
            task.add_done_callback(partial(self._note_end, batch, call))

    def _note_end(self, batch: _Batch, call: _Call, task: "concurrent.futures.Future[Any]") -> None:
        self._ended.put((batch, call, cast(Task, task)))

    @staticmethod
    def _fail(calls: List[_Call], error: BaseException) -> None:
        for call in calls:
            call.future.set_exception(error)

    # ---- results ----

    def _run_fetcher(self) -> None:
        while True:
            ended = self._ended.get()
            if ended is None:
                return
            self._settle(*ended)

    def _settle(self, batch: _Batch, call: _Call, task: Task) -> None:
        try:
            data = self._result(task)
            if data is None:  # another task of its job has failed, which is nothing to this one
                self._waiting.put(call)
            elif call.kind == CALL_KIND and self._trusted:
                _settle_call(call.future, data)
            else:
                call.future.set_result(data)
        except BaseException as error:
            call.future.set_exception(error)
        self._one_less_of(batch)

    def _result(self, task: Task) -> Optional[bytes]:
        """None: it is to be sent again."""
        if task.cancelled():
            raise errors.JobCancelled("job %d was cancelled" % task.job.id)
        failure = task.exception()
        if isinstance(failure, errors.JobFailed) and not isinstance(failure, errors.TaskFailed):
            return None
        while True:
            try:
                return task.result()
            except PASSING:
                if self._stopped:
                    raise

    def _one_less_of(self, batch: _Batch) -> None:
        with self._lock:
            batch.left -= 1
            last = batch.left == 0
        if last:
            try:
                batch.job.remove()
            except errors.Error:
                pass  # the group does it at the end of its time

    # ---- the end ----

    def _one_less(self, _: "concurrent.futures.Future[Any]") -> None:
        with self._lock:
            self._pending -= 1
            if self._pending == 0:
                self._lock.notify_all()

    def _cancel_waiting(self) -> None:
        kept = []
        try:
            while True:
                call = self._waiting.get_nowait()
                if call is not None and not call.begun and call.future.cancel():
                    call.future.set_running_or_notify_cancel()  # who waits is told
                elif call is not None:
                    kept.append(call)
        except queue.Empty:
            pass
        for call in kept:
            self._waiting.put(call)

    def stop(self) -> None:
        """Its threads end; what is under way is not waited for."""
        with self._lock:
            self._shut = self._stopped = True
            self._lock.notify_all()
        self._waiting.put(None)
        for _ in range(FETCHERS):
            self._ended.put(None)

    def forked(self) -> None:
        self._lock = threading.Condition()
        self._threads, self._pending = [], 0
        self._shut = self._stopped = True
