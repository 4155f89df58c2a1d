# SPDX-License-Identifier: Apache-2.0
"""Jobs from outside: made, waited for, their tasks as futures."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import sys
import threading
import time
from ctypes import byref, c_uint32, c_uint64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, \
    Tuple, Union, cast

from . import errors
from ._abi import BATCH_MAX, DEPS_MAX, INFO_DEAD, INFO_JOB, INFO_JOBS, INFO_TASKS, INFO_WORKERS, JOB_SET_MAX_RUNNING, \
    JOB_SET_PAUSED, JOB_SET_PRIORITY, JOB_TASKS, TASKS_MAX, Buffer, Result, View, library
from ._handle import Bytes, raise_for, services, slice_of, take_value, value_bytes
from ._options import Options, check_status, name_bytes, number_in

if TYPE_CHECKING:
    from ._client import Client

BATCH_SIZE = 1 << 20  # bytes of tasks in a message, about
PAUSE_FIRST_S, PAUSE_LAST_S = 0.02, 0.2
DEAD_NAMED = 256  # that an exception names
LIST_FROM = 16  # so many jobs are looked at one by one, more in one list

GOING_ON = ("uploading", "running", "verifying")
# Of a look, not of an update: the group may answer the next one.
PASSING = (errors.Timeout, errors.Unavailable, errors.Busy, errors.NotPrimary, errors.Unknown)


class Progress(NamedTuple):
    """How far a job is. `phase` is "uploading" (bytes), "running" (tasks) or "verifying" (thousandths)."""
    phase: str
    done: int
    total: int


ProgressTo = Union[None, bool, Callable[[Progress], None]]


class _Line:
    """Progress as a line on standard error; elsewhere than on a terminal a line for each step of a tenth."""

    def __init__(self) -> None:
        self._last: Tuple[str, int] = ("", -1)

    def __call__(self, progress: Progress) -> None:
        step = progress.done * 10 // max(1, progress.total)
        terminal = sys.stderr.isatty()
        text = "%s: %d of %d" % progress
        if terminal:
            sys.stderr.write("\r" + text + "\033[K" + ("\n" if progress.done >= progress.total else ""))
        elif (progress.phase, step) != self._last:
            sys.stderr.write(text + "\n")
        self._last = (progress.phase, step)
        sys.stderr.flush()


def listener_of(progress: ProgressTo) -> Optional[Callable[[Progress], None]]:
    if progress is None or progress is False:
        return None
    if progress is True:
        return _Line()
    if not callable(progress):
        raise TypeError("progress is True or a function of one argument, not %r" % (progress,))
    return progress


# ---- asking ----

def ask(client: "Client", what: int, job: int, start: int) -> Tuple[Any, int]:
    """The answer to one look, and where to go on (0: nowhere)."""
    more = c_uint64()
    text = take_value(client._handle.call(library.kvp_job_info, what, job, start, byref(more)))
    return json.loads(text), more.value


def list_all(client: "Client", what: int, job: int, start: int) -> Iterator[Dict[str, Any]]:
    while True:
        page, start = ask(client, what, job, start)
        yield from page
        if start == 0:
            return


def update(client: "Client", function: Any, *arguments: Any) -> Tuple[bool, int]:
    """`counted` and `version` of the result."""
    result: Result = client._handle.call(function, *arguments)
    raise_for(result)
    told = bool(result.counted), int(result.version)
    library.kvp_result_free(byref(result))
    return told


# ---- making ----

@dataclass
class TaskSpec:
    """A payload with what else a task may have: its own kind, the numbers of the tasks that it waits for, and whether
    it is fed with their results, which follow its payload then."""

    payload: Bytes
    kind: Optional[str] = None
    after: Sequence[int] = ()
    feed: bool = False


def _encode(batch: List[TaskSpec], kind: bytes, first: int) -> Buffer:
    buffer = Buffer()
    try:
        check_status(library.kvp_job_tasks_open(byref(buffer), len(batch)))
        for number, task in enumerate(batch, first):
            if len(task.after) > DEPS_MAX or not all(0 <= other < number for other in task.after):
                raise ValueError("task %d waits for at most %d tasks before it, not %r"
                                 % (number, DEPS_MAX, task.after))
            own = kind if task.kind is None else name_bytes(task.kind, "the kind of a task")
            after = (c_uint32 * len(task.after))(*task.after)
            check_status(library.kvp_job_tasks_put(byref(buffer), slice_of(own), after, len(task.after), task.feed,
                                                   slice_of(cast(bytes, task.payload))))
    except BaseException:
        library.kvp_buf_free(byref(buffer))
        raise
    return buffer


def _as_task(payload: Union[Bytes, TaskSpec]) -> TaskSpec:
    task = payload if isinstance(payload, TaskSpec) else TaskSpec(payload)
    return TaskSpec(value_bytes(task.payload, "a payload"), task.kind, task.after, task.feed)


def _batches(payloads: Iterable[Union[Bytes, TaskSpec]]) -> Iterator[List[TaskSpec]]:
    batch: List[TaskSpec] = []
    size = 0
    for task in map(_as_task, payloads):
        batch.append(task)
        size += len(task.payload)
        if len(batch) == BATCH_MAX or size >= BATCH_SIZE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def new_job(client: "Client", spec: Any) -> Tuple[int, bool]:
    """The job, and whether it is a new one: else one was started under the key, and there is nothing to upload."""
    number = c_uint64()
    made, _ = update(client, library.kvp_job_new, byref(spec), byref(number))
    return number.value, made


def _add(client: "Client", job: int, first: int, batch: List[TaskSpec], kind: bytes) -> None:
    buffer = _encode(batch, kind, first)
    try:
        result = client._handle.call(library.kvp_job_add_tasks, job, first, View(buffer.data, buffer.size))
    finally:
        library.kvp_buf_free(byref(buffer))
    raise_for(result)
    library.kvp_result_free(byref(result))


def _start(client: "Client", job: int) -> None:
    """An answer that is lost does no harm: whether the job has begun can be seen."""
    try:
        update(client, library.kvp_job_start, job)
    except errors.Unknown:
        if ask(client, INFO_JOB, job, 0)[0]["state"] == "uploading":
            update(client, library.kvp_job_start, job)


def _start_keyed(client: "Client", job: int, spec: Any) -> int:
    """The job that has the key now: this one, or the one that was started meanwhile, for which this one went."""
    for again in (True, False):
        try:
            return update(client, library.kvp_job_start, job)[1]
        except errors.Unknown:
            if not again:
                raise
        except errors.NoSuchJob:  # a start whose answer was lost
            holder, made = new_job(client, spec)
            if not made:
                return holder
            _drop(client, holder)
            raise
    raise AssertionError


def _drop(client: "Client", job: int) -> None:
    """What could not be made whole is taken away; what cannot be taken away goes by itself after an hour."""
    try:
        update(client, library.kvp_job_cancel, job)
        update(client, library.kvp_job_remove, job)
    except errors.Error:
        pass


def submit(client: "Client", kind: str, payloads: Iterable[Union[Bytes, TaskSpec]], options: Options) -> "Job":
    if isinstance(payloads, (str, bytes, bytearray, memoryview)):
        raise TypeError("payloads is a list of payloads, one for each task: [%s]" % type(payloads).__name__)
    options.refuse_matrix_options()
    own = name_bytes(kind, "the kind of a task")
    batches = _batches(payloads)
    first = next(batches, None)
    if first is None:
        raise ValueError("payloads is empty: a job has at least one task")
    spec = options.spec(JOB_TASKS)
    number, made = new_job(client, spec)
    if not made:
        return Job(client, number)
    begun, count = _fill(client, number, spec, itertools.chain([first], batches), own)
    job = Job(client, begun)
    if begun == number:
        job._make_tasks(count)
    return job


def _fill(client: "Client", number: int, spec: Any, batches: Iterable[List[TaskSpec]], kind: bytes) -> Tuple[int, int]:
    """Uploads the tasks and starts the job: its number, and how many there are. With a key it may be another's from
    its start on: it is left then."""
    count, started = 0, False
    try:
        for batch in batches:
            if count + len(batch) > TASKS_MAX:
                raise errors.TooLarge("a job has at most %d tasks" % TASKS_MAX)
            _add(client, number, count, batch, kind)
            count += len(batch)
        if spec.key:
            started = True
            return _start_keyed(client, number, spec), count
        _start(client, number)
        return number, count
    except BaseException:
        if not started:
            _drop(client, number)
        raise


# ---- tasks as futures ----

_THERE = object()  # the result is there, and has not been asked for


class Task(concurrent.futures.Future):  # type: ignore[type-arg]
    """A task of a job as a future: `result`, `exception`, `done`, `add_done_callback` and `concurrent.futures.wait`
    work as for those. The result is fetched when it is asked for."""

    def __init__(self, job: "Job", number: int) -> None:
        super().__init__()
        self.job = job
        self.number = number

    def __repr__(self) -> str:
        return "<kvpair.Task %d of job %d: %s>" % (self.number, self.job.id, "done" if self.done() else "pending")

    def result(self, timeout: Optional[float] = None) -> bytes:
        value = super().result(timeout)
        if value is _THERE:
            value = self.job.task_result(self.number)
            self._result = value
        return cast(bytes, value)

    def cancel(self) -> bool:
        """A job is cancelled as a whole: a single task can be only while no other one of its job is wanted."""
        if self.cancelled():
            return True
        if self.done() or any(task is not self and not task.done() for task in self.job.tasks):
            return False
        return self.job.cancel()

    # What the watcher says; a future that has an outcome keeps it.

    def _settle(self, failure: Optional[BaseException]) -> None:
        try:
            if failure is None:
                self.set_result(_THERE)
            else:
                self.set_exception(failure)
        except concurrent.futures.InvalidStateError:
            pass

    def _settle_cancelled(self) -> None:
        if super().cancel():
            self.set_running_or_notify_cancel()


# ---- jobs ----

def _failure(kind: Any, job: int, text: str) -> errors.JobFailed:
    failure = cast(errors.JobFailed, kind("job %d: %s" % (job, text), reason=text))
    failure.job = job
    return failure


class Job:
    """A job in the group. It is there whatever happens to this process: `kvpair.job(id)` finds it from another one.

    It is a sequence of its tasks, each a future.
    """

    def __init__(self, client: "Client", number: int) -> None:
        if not isinstance(number, int) or not 0 < number < 1 << 64:
            raise ValueError("the number of a job is above 0, not %r" % (number,))
        self.client = client
        self.id = number
        self._tasks: Optional[List[Task]] = None
        self._arrays: Optional[bool] = None  # None: NumPy's, if it is there

    def __repr__(self) -> str:
        return "<kvpair.Job %d>" % self.id

    def info(self) -> Dict[str, Any]:
        """What `kvcli job show` shows: state, reason, tasks, done, running and more."""
        return cast(Dict[str, Any], ask(self.client, INFO_JOB, self.id, 0)[0])

    def task_info(self, start: int = 0) -> Iterator[Dict[str, Any]]:
        """The same of its tasks, from a number on."""
        return list_all(self.client, INFO_TASKS, self.id, start)

    def task_result(self, number: int) -> bytes:
        """The bytes of a task's result; of a product, of a block. `JobState`: not there yet, or it has failed."""
        if not 0 <= number < 1 << 32:
            raise ValueError("there is no task %r" % (number,))
        return take_value(self.client._handle.call(library.kvp_job_result, self.id, number))

    # ---- its end ----

    def done(self) -> bool:
        """Has it ended, in whichever way?"""
        return self.info()["state"] not in GOING_ON

    def wait(self, timeout: Optional[float] = None, progress: ProgressTo = None) -> Dict[str, Any]:
        """Until it has ended: its `info`. While the group does not answer it is asked again. `Timeout`: not yet."""
        listener = listener_of(progress)
        until = None if timeout is None else time.monotonic() + timeout
        pause, seen = PAUSE_FIRST_S, False
        while True:
            try:
                info = self.info()
                seen = True
                _tell(listener, info)
                if info["state"] not in GOING_ON:
                    return info
            except PASSING:
                if not seen and until is None:
                    raise
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise errors.Timeout("job %d has not ended yet" % self.id)
            time.sleep(pause if left is None else min(pause, left))
            pause = min(2 * pause, PAUSE_LAST_S)

    def result(self, timeout: Optional[float] = None, progress: ProgressTo = None) -> Any:
        """Of a product the product; of other jobs the list of the results of all tasks. It waits for the end.

        `JobFailed`, `JobCancelled`; `PartlyFailed`: all is done but the tasks that it names; `Timeout`: it has not
        ended yet.
        """
        info = self.wait(timeout, progress)
        self._raise_unless_done(info)
        if info["type"] == "matmul":
            from . import _matrix
            return _matrix.product(self, info, self._arrays)
        return [self.task_result(number) for number in range(info["tasks"])]

    def _raise_unless_done(self, info: Dict[str, Any]) -> None:
        if info["state"] == "done-with-failures":
            raise self._partly_failed(info)
        if info["state"] != "done":
            kind = errors.JobFailed if info["state"] == "failed" else errors.JobCancelled
            raise _failure(kind, self.id, ": ".join(text for text in (info["state"], info["reason"]) if text))

    def _partly_failed(self, info: Dict[str, Any]) -> errors.JobFailed:
        failed = {shown["task"]: shown["reason"] for shown in itertools.islice(self.dead(), DEAD_NAMED)}
        first = "; task %d: %s" % next(iter(failed.items())) if failed else ""
        failure = _failure(errors.PartlyFailed, self.id, info["reason"] + first)
        cast(errors.PartlyFailed, failure).failed = failed
        return failure

    def cancel(self) -> bool:
        """Takes its tasks away from the workers. False: it has ended already."""
        try:
            update(self.client, library.kvp_job_cancel, self.id)
        except errors.JobState:
            return bool(self.info()["state"] == "cancelled")
        for task in self._tasks or ():
            task._settle_cancelled()
        return True

    def remove(self) -> None:
        """Removes a job that has ended, before its time: results that nobody has asked for are gone then."""
        update(self.client, library.kvp_job_remove, self.id)

    # ---- while it is at work ----

    def pause(self) -> None:
        """None of its tasks is handed out any more; those that are under way go on."""
        update(self.client, library.kvp_job_set, self.id, JOB_SET_PAUSED, 1)

    def resume(self) -> None:
        """They are handed out again."""
        update(self.client, library.kvp_job_set, self.id, JOB_SET_PAUSED, 0)

    def set(self, *, max_running: Optional[int] = None, priority: Optional[int] = None) -> None:
        """Changes what `submit` has said of it: so many attempts at a time (0: any number), priority."""
        for setting, value, most, what in ((JOB_SET_MAX_RUNNING, max_running, (1 << 32) - 1, "max_running"),
                                           (JOB_SET_PRIORITY, priority, 255, "priority")):
            if value is not None:
                update(self.client, library.kvp_job_set, self.id, setting, number_in(value, 0, most, what))

    # ---- what has failed ----

    def dead(self, start: int = 0) -> Iterator[Dict[str, Any]]:
        """Its tasks that have failed, as `task_info` shows them, with the reason of each."""
        return list_all(self.client, INFO_DEAD, self.id, start)

    def retry(self, task: Optional[int] = None) -> int:
        """Has this one of its failed tasks, or all of them, tried again, with nothing held against them; what is done
        is not done again. How many they are; `JobState`: none.

        A future that has an outcome keeps it: `tasks` has new ones for those that had failed.
        """
        first, count = (0, (1 << 32) - 1) if task is None else (number_in(task, 0, TASKS_MAX - 1, "task"), 1)
        retried = c_uint32()
        update(self.client, library.kvp_job_retry, self.id, first, count, byref(retried))
        if self._tasks is not None:
            self.client.watcher().begin_again(self)
        return retried.value

    # ---- its tasks ----

    def _make_tasks(self, count: int) -> List[Task]:
        self._tasks = [Task(self, number) for number in range(count)]
        self.client.watcher().add(self)
        return self._tasks

    def _renew_tasks(self) -> None:
        """A list of its own: who still looks through the one before settles none of the new ones."""
        self._tasks = [Task(self, task.number) if task.done() and not task.cancelled() and task.exception() else task
                       for task in self._tasks or ()]

    @property
    def tasks(self) -> List[Task]:
        """Its tasks, as futures."""
        return self._tasks if self._tasks is not None else self._make_tasks(self.info()["tasks"])

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __getitem__(self, number: int) -> Task:
        return self.tasks[number]


def _tell(listener: Optional[Callable[[Progress], None]], info: Dict[str, Any]) -> None:
    if listener is None:
        return
    if info["state"] == "verifying":
        listener(Progress("verifying", info["verified"], 1000))
    else:
        listener(Progress("running", info["done"], info["tasks"]))


def as_completed(handles: Union[Job, Iterable[Union[Job, Task]]], timeout: Optional[float] = None) -> Iterator[Task]:
    """The tasks of jobs, and single ones, as they end: `concurrent.futures.as_completed` for them.

    >>> job = kv.submit("count", [b"one", b"one two"])
    >>> sorted((task.number, task.result()) for task in kvpair.as_completed(job))
    [(0, b'1'), (1, b'2')]
    """
    tasks: List[Task] = []
    for handle in ([handles] if isinstance(handles, Job) else handles):
        tasks.extend(handle.tasks if isinstance(handle, Job) else [handle])
    return cast(Iterator[Task], concurrent.futures.as_completed(tasks, timeout))


# ---- watching ----

class _Watched:
    """A job whose futures wait. It is held: who only left a callback has no other hold on it."""

    def __init__(self, job: Job) -> None:
        assert job._tasks is not None
        self.job = job
        self.tasks = job._tasks
        self.low = 0  # the tasks below have an outcome
        self.settled = sum(task.done() for task in self.tasks)
        self.over = False
        self._lock = threading.Lock()

    def retire(self) -> None:
        """It settles nothing from here on, whatever it was told before."""
        with self._lock:
            self.over = True

    def look(self, info: Dict[str, Any]) -> bool:
        """Settles what has changed. True: the job has ended."""
        with self._lock:
            return self.over or self._look(info)

    def _look(self, info: Dict[str, Any]) -> bool:
        ended = info["state"] not in GOING_ON
        fresh = info["done"] + info.get("failed", 0) - self.settled
        if fresh > 0 or ended:
            self._settle(fresh, ended)
        if ended:
            for task in self.tasks[self.low:]:
                if not task.done():
                    self._settle_rest(self.job, task, info)
        return ended

    def _settle(self, fresh: int, ended: bool) -> None:
        for shown in self.job.task_info(self.low):
            task = self.tasks[shown["task"]]
            if not task.done() and shown["state"] in ("done", "failed"):
                task._settle(_task_failure(self.job, shown) if shown["state"] == "failed" else None)
                self.settled += 1
                fresh -= 1
            if fresh <= 0 and not ended:
                break
        while self.low < len(self.tasks) and self.tasks[self.low].done():
            self.low += 1

    @staticmethod
    def _settle_rest(job: Job, task: Task, info: Dict[str, Any]) -> None:
        if info["state"] == "cancelled":
            task._settle_cancelled()
        else:
            task._settle(_failure(errors.JobFailed, job.id, "%s: %s" % (info["state"], info["reason"])))

    def give_up(self, why: BaseException) -> None:
        with self._lock:
            for task in () if self.over else self.tasks:
                task._settle(why)


def _task_failure(job: Job, shown: Dict[str, Any]) -> errors.JobFailed:
    failure = _failure(errors.TaskFailed, job.id, "task %d failed: %s" % (shown["task"], shown["reason"]))
    cast(errors.TaskFailed, failure).task = shown["task"]
    return failure


class Watcher:
    """One thread for each client that has futures: it looks at their jobs, and ends with the last of them."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._lock = threading.Condition()
        self._watched: Dict[int, List[_Watched]] = {}
        self._thread: Optional[threading.Thread] = None
        self.ended = False
        services.add(self)

    def add(self, job: Job) -> None:
        with self._lock:
            self._watched.setdefault(job.id, []).append(_Watched(job))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="kvpair-watcher", daemon=True)
                self._thread.start()
            self._lock.notify_all()

    def begin_again(self, job: Job) -> None:
        """Its failed tasks are tried again: they have new futures. A look that is under way may still settle old ones."""
        with self._lock:
            before = [watched for watched in self._watched.get(job.id, ()) if watched.job is job]
        for watched in before:
            watched.retire()
            self._forget(job.id, watched)
        job._renew_tasks()
        self.add(job)

    def stop(self) -> None:
        with self._lock:
            self.ended = True
            self._lock.notify_all()

    def forked(self) -> None:
        self._lock = threading.Condition()
        self._watched = {}
        self.ended = True

    def _run(self) -> None:
        pause = PAUSE_FIRST_S
        while self._goes_on():
            begin = time.monotonic()
            moved = self._look()
            took = time.monotonic() - begin
            pause = PAUSE_FIRST_S if moved else min(2 * pause, PAUSE_LAST_S)
            with self._lock:
                if not self.ended:
                    self._lock.wait(max(pause, 2 * took))
        if self.ended:
            self._give_up_all(errors.Closed("the client was closed while futures waited: kvpair.job(id) finds "
                                            "the job from a new one"))

    def _goes_on(self) -> bool:
        with self._lock:
            if not self.ended and not self._watched:
                self._thread = None  # the next job begins a new one
                return False
            return not self.ended

    def _states(self) -> Dict[int, Optional[Dict[str, Any]]]:
        """{job: its info, None if it is not there}"""
        with self._lock:
            wanted = list(self._watched)
        if len(wanted) > LIST_FROM:
            known = {info["id"]: info for info in list_all(self._client, INFO_JOBS, 0, min(wanted))}
            return {job: known.get(job) for job in wanted}
        states: Dict[int, Optional[Dict[str, Any]]] = {}
        for job in wanted:
            try:
                states[job] = ask(self._client, INFO_JOB, job, 0)[0]
            except errors.NoSuchJob:
                states[job] = None
        return states

    def _look(self) -> bool:
        """True: something has moved."""
        moved = False
        try:
            for job, info in self._states().items():
                with self._lock:
                    several = list(self._watched.get(job, ()))
                for watched in several:
                    before = watched.settled
                    if info is None:
                        watched.give_up(errors.NoSuchJob("job %d is not there (any more)" % job))
                    ended = info is None or watched.look(info)
                    moved = moved or ended or watched.settled != before
                    if ended:
                        self._forget(job, watched)
        except PASSING + (errors.JobState, errors.NoSuchJob):
            pass  # the next look tells
        except errors.Closed:
            self.ended = True
        except Exception as error:  # whatever it is: nobody is to wait for ever
            self._give_up_all(error)
        return moved

    def _forget(self, job: int, watched: _Watched) -> None:
        with self._lock:
            several = self._watched.get(job, [])
            if watched in several:
                several.remove(watched)
            if not several:
                self._watched.pop(job, None)

    def _give_up_all(self, why: BaseException) -> None:
        with self._lock:
            several = [watched for each in self._watched.values() for watched in each]
            self._watched.clear()
        for watched in several:
            watched.give_up(why)


__all__ = ["INFO_JOBS", "INFO_WORKERS", "Job", "Options", "Progress", "Task", "TaskSpec", "as_completed", "submit"]
