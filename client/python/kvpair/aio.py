# SPDX-License-Identifier: Apache-2.0
"""The same for asyncio. Operations on keys are the library's asynchronous calls: no thread waits for them. Scans,
transactions and jobs are short calls in threads, and waiting for a job is sleeping between them.

A call that is cancelled goes on in the group: an update may happen, or may not.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import threading
from typing import Any, AsyncIterator, Callable, Dict, Iterable, List, Optional, Tuple, TypeVar, Union

from . import _client, _jobs, errors
from ._abi import DONE, library
from ._handle import Bytes, Key, callback_thread, key_bytes, make_error, milliseconds, slice_of, value_bytes, \
    version_number
from ._jobs import PASSING, PAUSE_FIRST_S, PAUSE_LAST_S, Options, ProgressTo, TaskSpec, listener_of
from ._scan import Pair, Scan
from ._txn import Committed, Txn
from ._watch import Event

T = TypeVar("T")
THREADS = 8
PAGE = 256

_Answer = Tuple[int, str, int, int, int, bytes]  # status, reason, version, created, behind, value
_under_way: "Dict[int, Tuple[asyncio.AbstractEventLoop, asyncio.Future[_Answer]]]" = {}
_numbers = itertools.count(1)


def _settle(future: "asyncio.Future[_Answer]", answer: _Answer) -> None:
    if not future.done():
        future.set_result(answer)


def _tell(number: int, pointer: Any) -> None:
    """On a thread of the library: hands the answer to the loop that waits for it."""
    callback_thread.inside = True
    try:
        loop, future = _under_way.pop(number)
        result = pointer.contents
        data = result.value.bytes()
        reason = data.rstrip(b"\0").decode("utf-8", "replace") if result.status else ""
        loop.call_soon_threadsafe(_settle, future, (result.status, reason, result.version, result.create_revision,
                                                    result.behind, data))
    except (RuntimeError, KeyError):
        pass  # the loop is closed: nobody waits any more
    finally:
        callback_thread.inside = False


_on_done = DONE(_tell)


class Job:
    """A job, for asyncio: as `kvpair.Job`."""

    def __init__(self, client: "Client", job: _jobs.Job) -> None:
        self._client, self._job = client, job
        self.id = job.id

    async def info(self) -> Dict[str, Any]:
        return await self._client._in_thread(self._job.info)

    async def wait(self, progress: ProgressTo = None) -> Dict[str, Any]:
        """Until it has ended; bound it with `asyncio.timeout` or `asyncio.wait_for`."""
        listener, pause, seen = listener_of(progress), PAUSE_FIRST_S, False
        while True:
            try:
                info = await self.info()
                seen = True
                _jobs._tell(listener, info)
                if info["state"] not in _jobs.GOING_ON:
                    return info
            except PASSING:
                if not seen:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_LAST_S)

    async def result(self, progress: ProgressTo = None) -> Any:
        await self.wait(progress)
        return await self._client._in_thread(self._job.result)

    async def task_result(self, number: int) -> bytes:
        return await self._client._in_thread(self._job.task_result, number)

    async def cancel(self) -> bool:
        return await self._client._in_thread(self._job.cancel)

    async def remove(self) -> None:
        await self._client._in_thread(self._job.remove)

    async def dead(self) -> List[Dict[str, Any]]:
        return await self._client._in_thread(lambda: list(self._job.dead()))

    async def retry(self, task: Optional[int] = None) -> int:
        return await self._client._in_thread(self._job.retry, task)

    async def pause(self) -> None:
        await self._client._in_thread(self._job.pause)

    async def resume(self) -> None:
        await self._client._in_thread(self._job.resume)

    async def set(self, *, max_running: Optional[int] = None, priority: Optional[int] = None) -> None:
        await self._client._in_thread(lambda: self._job.set(max_running=max_running, priority=priority))

    async def as_completed(self) -> "AsyncIterator[Tuple[int, bytes]]":
        """(number, result) of its tasks as they end; raises what one of them has failed with."""
        ended: "asyncio.Queue[_jobs.Task]" = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(task: Any) -> None:
            try:
                loop.call_soon_threadsafe(ended.put_nowait, task)
            except RuntimeError:
                pass

        tasks = await self._client._in_thread(lambda: self._job.tasks)
        for task in tasks:
            task.add_done_callback(tell)
        for _ in range(len(tasks)):
            task = await ended.get()
            yield task.number, await self._client._in_thread(task.result)


class Client:
    """A connection to a group, for one event loop; `kvpair.aio.connect` makes it.

    >>> import asyncio, kvpair.aio
    >>> async def main():
    ...     async with kvpair.aio.connect() as kv:
    ...         await kv.put("async", b"v")
    ...         return await kv.get("async")
    >>> asyncio.run(main())
    b'v'
    """

    def __init__(self, client: _client.Client) -> None:
        self.sync = client
        self._threads = concurrent.futures.ThreadPoolExecutor(THREADS, "kvpair-aio")

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        if self.sync.closed:
            raise errors.Closed("the client is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: function(*arguments))

    async def aclose(self) -> None:
        """Ends it, and the calls under way."""
        closing = threading.Thread(target=self.sync.close, daemon=True)
        closing.start()
        while closing.is_alive():
            await asyncio.sleep(0.005)
        self._threads.shutdown(wait=False)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # ---- keys ----

    async def _call(self, function: Any, *arguments: Any, timeout: Optional[float]) -> _Answer:
        loop = asyncio.get_running_loop()
        future: "asyncio.Future[_Answer]" = loop.create_future()
        number = next(_numbers)
        handle = self.sync._handle
        pointer = handle.enter()
        try:
            _under_way[number] = (loop, future)
            status = function(pointer, *arguments, milliseconds(timeout, "timeout"), _on_done, number)
        finally:
            handle.leave()
        if status:
            del _under_way[number]
            raise make_error(status)
        answer = await future
        if answer[0] and answer[0] != errors.NotFound.status:
            raise make_error(answer[0], answer[1], answer[2])
        return answer

    async def _update(self, function: Any, *arguments: Any, timeout: Optional[float]) -> int:
        answer = await self._call(function, *arguments, timeout=timeout)
        if answer[0]:
            raise make_error(answer[0], answer[1])
        return answer[2]

    async def entry(self, key: Key, *, stale: bool = False, timeout: Optional[float] = None
                    ) -> Optional[_client.Entry]:
        answer = await self._call(library.kvp_get_async, slice_of(key_bytes(key)), stale, timeout=timeout)
        return None if answer[0] else _client.Entry(answer[5], answer[2], answer[3], answer[4])

    async def get(self, key: Key, default: Any = None, *, stale: bool = False, timeout: Optional[float] = None) -> Any:
        entry = await self.entry(key, stale=stale, timeout=timeout)
        return default if entry is None else entry.value

    async def put(self, key: Key, value: Bytes, *, timeout: Optional[float] = None) -> int:
        return await self._update(library.kvp_put_async, slice_of(key_bytes(key)), slice_of(value_bytes(value)),
                                  timeout=timeout)

    async def create(self, key: Key, value: Bytes, *, timeout: Optional[float] = None) -> int:
        return await self._update(library.kvp_create_async, slice_of(key_bytes(key)), slice_of(value_bytes(value)),
                                  timeout=timeout)

    async def cas(self, key: Key, value: Bytes, version: int, *, timeout: Optional[float] = None) -> int:
        return await self._update(library.kvp_cas_async, slice_of(key_bytes(key)), version_number(version),
                                  slice_of(value_bytes(value)), timeout=timeout)

    async def delete(self, key: Key, version: int = 0, *, timeout: Optional[float] = None) -> int:
        return await self._update(library.kvp_delete_async, slice_of(key_bytes(key)), version_number(version),
                                  timeout=timeout)

    async def incr(self, key: Key, by: int = 1) -> int:
        return await self._in_thread(self.sync.incr, key, by)

    async def get_many(self, *keys: Key) -> List[Optional[bytes]]:
        return await self._in_thread(self.sync.get_many, *keys)

    async def scan(self, start: Key = b"", end: Key = b"", *, prefix: Optional[Key] = None,
                   reverse: bool = False, keys_only: bool = False) -> AsyncIterator[Pair]:
        """As `kvpair.Client.scan`: `async for pair in kv.scan(prefix="a/")`."""
        scan = await self._in_thread(
            lambda: self.sync.scan(start, end, prefix=prefix, reverse=reverse, keys_only=keys_only))
        try:
            while True:
                page = await self._in_thread(_page, scan)
                for pair in page:
                    yield pair
                if len(page) < PAGE:
                    return
        finally:
            if not self.sync.closed:
                await self._in_thread(scan.close)

    async def watch(self, start: Key = b"", end: Key = b"", *, prefix: Optional[Key] = None, from_revision: int = 0,
                    stale: bool = False) -> AsyncIterator[Event]:
        """As `kvpair.Client.watch`: `async for event in kv.watch(prefix="a/")`. It has a thread of its own."""
        loop = asyncio.get_running_loop()
        thread = concurrent.futures.ThreadPoolExecutor(1, "kvpair-watch")
        opening = thread.submit(lambda: self.sync.watch(start, end, prefix=prefix, from_revision=from_revision,
                                                        stale=stale))
        try:
            watch = await asyncio.wrap_future(opening)
            while True:
                event = await loop.run_in_executor(thread, watch.next, 1.0)
                if event is not None:
                    yield event
        finally:
            thread.submit(lambda: opening.exception() or opening.result().close())
            thread.shutdown(wait=False)

    def txn(self) -> Txn:
        """An empty transaction: `kvpair.Txn`, to be given to `commit`."""
        return self.sync.txn()

    async def commit(self, txn: Txn) -> Committed:
        return await self._in_thread(txn.commit)

    # ---- jobs ----

    async def submit(self, kind: str, payloads: Iterable[Union[Bytes, TaskSpec]], *, mode: str = "single",
                     **options: Any) -> Job:
        made = await self._in_thread(lambda: self.sync.submit(kind, payloads, mode=mode, **options))
        return Job(self, made)

    async def submit_matmul(self, a: Any, b: Any, *, mode: str = "single", progress: ProgressTo = None,
                            **options: Any) -> Job:
        made = await self._in_thread(
            lambda: self.sync.submit_matmul(a, b, mode=mode, progress=progress, **options))
        return Job(self, made)

    async def matmul(self, a: Any, b: Any, *, mode: str = "single", progress: ProgressTo = None,
                     **options: Any) -> Any:
        job = await self.submit_matmul(a, b, mode=mode, progress=progress, **options)
        return await job.result(progress)

    def job(self, number: int) -> Job:
        return Job(self, self.sync.job(number))

    async def drain_worker(self, name: str) -> None:
        await self._in_thread(self.sync.drain_worker, name)

    async def resume_worker(self, name: str) -> None:
        await self._in_thread(self.sync.resume_worker, name)


def _page(scan: Scan) -> List[Pair]:
    return list(itertools.islice(scan, PAGE))


def connect(nodes: Optional[str] = None, **options: Any) -> Client:
    """As `kvpair.connect`, for asyncio."""
    return Client(_client.connect(nodes, **options))


__all__ = ["Client", "Job", "Options", "connect"]
