# SPDX-License-Identifier: Apache-2.0
"""What scans and watches have in common: something of the library that belongs to a client, and goes before it does."""

from __future__ import annotations

import threading
from ctypes import byref, c_void_p
from typing import Any, Callable, Optional, TypeVar

from ._abi import library
from ._handle import Handle, raise_for

P = TypeVar("P", bound="Part")


class Part:
    """One thread at a time is inside; it may be used in `with`."""

    def __init__(self, handle: Handle, opener: Any, free: Callable[[int], None], *arguments: Any) -> None:
        pointer = c_void_p()
        self._handle = handle
        self._part: Optional[int] = None
        self._lock = threading.Lock()
        result = handle.call(opener, *arguments, byref(pointer))
        raise_for(result)
        library.kvp_result_free(byref(result))
        self._part = pointer.value
        assert self._part is not None
        handle.adopt(self._part, free)

    def _end(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            self._handle.discard(part)

    def close(self) -> None:
        """A second time does nothing."""
        with self._lock:
            self._end()

    def __enter__(self: P) -> P:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_part", None) is not None:
            self._end()
