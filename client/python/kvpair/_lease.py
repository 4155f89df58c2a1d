# SPDX-License-Identifier: Apache-2.0
"""Keys that end by themselves, and leases."""

from __future__ import annotations

import threading
import time
from ctypes import byref, c_uint64
from typing import Optional, Tuple

from ._abi import library
from ._handle import Handle, Key, key_bytes, raise_for, slice_of
from .errors import Error, NotFound, Timeout, Unavailable

_NEVER = (1 << 64) - 1


def _milliseconds(ttl: float) -> int:
    if not 0.1 <= ttl <= 315360000:
        raise ValueError("a time to live is 0.1 seconds to 10 years")
    return int(ttl * 1000)


def hold_of(ttl: "Optional[float]", lease: "Optional[Lease]") -> Tuple[int, int]:
    if ttl is not None and lease is not None:
        raise ValueError("ttl, or lease: a key ends by one of them")
    return (_milliseconds(ttl) if ttl is not None else 0, lease.id if lease is not None else 0)


def key_left(handle: Handle, key: Key) -> Optional[float]:
    left = c_uint64()
    result = handle.call(library.kvp_key_left, slice_of(key_bytes(key)), byref(left), None)
    raise_for(result)
    library.kvp_result_free(byref(result))
    return None if left.value == _NEVER else left.value / 1000


def _now() -> float:
    """On a clock that does not stop when the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """What keys end with. `with` it is kept by a thread, every third of its time; that is over, and `lost` is set, when
    the group says that it has ended, or has said nothing for its time: then it may have. Whoever acts on it should look
    at a fencing token, too: see docs/guarantees.md."""

    def __init__(self, handle: Handle, ttl: float) -> None:
        number = c_uint64()
        self._kept = _now()  # before the call: it may have been executed at once
        result = handle.call(library.kvp_lease_grant, _milliseconds(ttl), byref(number))
        raise_for(result)
        library.kvp_result_free(byref(result))
        self.id, self.ttl = number.value, ttl
        self.lost = threading.Event()
        self._handle = handle
        self._over = threading.Event()
        self._thread: Optional[threading.Thread] = None

    def keep(self) -> None:
        """Gives it its full time again. `NotFound`: it has ended."""
        begun = _now()
        result = self._handle.call(library.kvp_lease_keep, self.id, None)
        raise_for(result)
        library.kvp_result_free(byref(result))
        self._kept = begun

    def left(self) -> float:
        """For how many seconds it is sure to go on; 0: it may have ended."""
        return 0.0 if self.lost.is_set() else max(0.0, self._kept + self.ttl - _now())

    def revoke(self) -> None:
        """Ends it, and its keys. `NotFound`: it has ended."""
        result = self._handle.call(library.kvp_lease_revoke, self.id)
        raise_for(result)
        library.kvp_result_free(byref(result))

    def _go_on(self) -> None:
        pause = self.ttl / 3
        while not self._over.wait(min(pause, self.left())):
            pause = self.ttl / 3
            try:
                self.keep()
            except (Timeout, Unavailable):
                pause = self.ttl / 20
            except Error:
                break
            if not self.left():
                break
        else:
            return
        self.lost.set()

    def __enter__(self) -> "Lease":
        self._thread = threading.Thread(target=self._go_on, name="kvpair-lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self.revoke()
        except NotFound:
            pass
