# SPDX-License-Identifier: Apache-2.0
"""Scans: pairs in the order of their keys, from one point in time, read page by page."""

from __future__ import annotations

from ctypes import byref, c_uint64
from typing import Iterator, NamedTuple

from . import errors
from ._abi import View, library
from ._handle import Handle, make_error, slice_of
from ._part import Part


class Pair(NamedTuple):
    """What a scan finds: `value` is empty where only keys were asked for."""
    key: bytes
    value: bytes
    version: int


def prefix_end(prefix: bytes) -> bytes:
    """Where the keys with a prefix end: b"" if nothing is behind them.

    >>> prefix_end(b"a\\xff"), prefix_end(b"")
    (b'b', b'')
    """
    prefix = prefix.rstrip(b"\xff")
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else b""


class Scan(Part, Iterator[Pair]):
    """An iterator over `Pair`; `Client.scan` makes it. One page at a time is in memory.

    `CursorExpired` ends it when the primary changes in the middle: what comes after would be from another point in
    time. It may be used in `with`, and is closed at its end.
    """

    def __init__(self, handle: Handle, start: bytes, end: bytes, reverse: bool, keys_only: bool) -> None:
        opener = library.kvp_scan_open_backwards if reverse else library.kvp_scan_open
        super().__init__(handle, opener, library.kvp_scan_close, slice_of(start), slice_of(end), keys_only)
        self._key, self._value, self._version = View(), View(), c_uint64()

    def __iter__(self) -> "Scan":
        return self

    def __next__(self) -> Pair:
        with self._lock:
            if self._part is None:
                raise StopIteration
            self._handle.enter()
            try:
                status = library.kvp_scan_next(self._part, byref(self._key), byref(self._value),
                                               byref(self._version))
                if status == 0:
                    return Pair(self._key.bytes(), self._value.bytes(), self._version.value)
                reason = library.kvp_scan_error(self._part).decode("utf-8", "replace")
            finally:
                self._handle.leave()
            self._end()
        if status == errors.NotFound.status:
            raise StopIteration
        raise make_error(status, reason)
