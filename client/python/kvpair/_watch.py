# SPDX-License-Identifier: Apache-2.0
"""Watches: what happens to keys, in order, each event once, over failovers."""

from __future__ import annotations

import time
from ctypes import byref
from typing import Iterator, NamedTuple, Optional

from . import errors
from ._abi import Change, library
from ._handle import Handle, make_error, slice_of
from ._part import Part

# So long a call into the library waits: an interrupt, close() or another thread waits no longer for it.
SLICE_MS = 500


class Event(NamedTuple):
    """What has happened to a key: `value` is None where it was deleted, and then `created` is 0."""
    key: bytes
    value: Optional[bytes]
    version: int
    created: int


class Watch(Part, Iterator[Event]):
    """An iterator over `Event` that waits for the next one; `Client.watch` makes it.

    While no node answers it waits. `Compacted`: what happened up to `revision` is not known any more; scan, and call
    it again, it goes on from there. It may be used in `with`; closed by another thread it ends within half a second.
    """

    def __init__(self, handle: Handle, start: bytes, end: bytes, from_: int, stale: bool) -> None:
        super().__init__(handle, library.kvp_watch_open, library.kvp_watch_close, slice_of(start), slice_of(end), from_,
                         stale)
        self._closing = False
        self._change = Change()

    def __iter__(self) -> "Watch":
        return self

    def __next__(self) -> Event:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def next(self, timeout: Optional[float] = None) -> Optional[Event]:
        """The next event, waited for as long as that (None: for ever). None: there was none, or it is closed."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._closing:
            left_ms = SLICE_MS if until is None else max(0, int((until - time.monotonic()) * 1000))
            event = self._wait(min(left_ms, SLICE_MS))
            if event is not None or left_ms == 0:
                return event
        return None

    def _wait(self, wait_ms: int) -> Optional[Event]:
        with self._lock:
            if self._part is None:
                return None
            self._handle.enter()
            try:
                status = library.kvp_watch_next(self._part, wait_ms, byref(self._change))
                if status == 0:
                    change = self._change
                    return Event(change.key.bytes(), change.value.bytes() if change.create_revision else None,
                                 change.revision, change.create_revision)
                reason = library.kvp_watch_error(self._part).decode("utf-8", "replace")
            finally:
                self._handle.leave()
        if status == errors.Timeout.status:
            return None
        raise make_error(status, reason)

    def _ask(self, function: str) -> int:
        with self._lock:
            if self._part is None:
                raise errors.Closed("the watch is closed")
            self._handle.enter()
            try:
                number: int = getattr(library, function)(self._part)
                return number
            finally:
                self._handle.leave()

    @property
    def revision(self) -> int:
        """From where a later watch goes on: `kv.watch(..., from_revision=this)`."""
        return self._ask("kvp_watch_revision")

    @property
    def behind(self) -> int:
        """Of a stale watch: committed updates that the node that answered last had not applied yet."""
        return self._ask("kvp_watch_behind")

    def close(self) -> None:
        """A second time does nothing."""
        self._closing = True
        super().close()
