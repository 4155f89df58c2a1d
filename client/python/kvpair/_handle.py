# SPDX-License-Identifier: Apache-2.0
"""The C handle: who may use it when. A thread enters before a call and leaves after it; it is closed when nobody is
inside, never on a thread of the library, and not at all in a child after fork()."""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time
import weakref
from ctypes import byref, c_void_p
from typing import Any, Callable, Dict, NamedTuple, Optional, Protocol, Tuple, Union

from . import errors
from ._abi import ClientOptions, Result, Slice, library

EXIT_WAIT_S = 1.0

Bytes = Union[bytes, bytearray, memoryview]
Key = Union[str, bytes, bytearray, memoryview]

callback_thread = threading.local()  # has `inside` while the library calls us


def key_bytes(key: Key) -> bytes:
    """The bytes of a key: text is UTF-8."""
    if type(key) is bytes:
        return key
    if isinstance(key, str):
        return key.encode("utf-8")
    if isinstance(key, (bytes, bytearray, memoryview)):
        return bytes(key)
    raise TypeError("a key is str or bytes, not %s" % type(key).__name__)


def value_bytes(value: Bytes, what: str = "a value") -> bytes:
    if type(value) is bytes:
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        raise TypeError("%s is bytes, not str: encode it first, as in text.encode()" % what)
    raise TypeError("%s is bytes, not %s" % (what, type(value).__name__))


def slice_of(data: bytes) -> Slice:
    return Slice(data, len(data))


def milliseconds(seconds: Optional[float], what: str) -> int:
    """None: 0, which means the default."""
    if seconds is None:
        return 0
    if not 0 < seconds < 4294967:
        raise ValueError("%s is a number of seconds above 0, not %r" % (what, seconds))
    return max(1, int(seconds * 1000))


def version_number(version: int) -> int:
    if not 0 <= version < 1 << 64:
        raise ValueError("a version is 0 to 2**64 - 1, not %r" % version)
    return version


def make_error(status: int, reason: str = "", version: int = 0) -> errors.Error:
    text: str = library.kvp_strerror(status).decode("utf-8", "replace")
    return errors.class_of(status)(text + (": " + reason if reason else ""), status=status, reason=reason,
                                   version=version)


def reason_of(result: Result) -> str:
    data: bytes = result.value.bytes() if result.status else b""
    return data.rstrip(b"\0").decode("utf-8", "replace")


def raise_for(result: Result) -> None:
    """Raises what the result says, and frees it. Returns only if it says "done"."""
    if result.status:
        error = make_error(result.status, reason_of(result), result.version)
        library.kvp_result_free(byref(result))
        raise error


def take_value(result: Result) -> bytes:
    """The value of a good result, which is freed."""
    raise_for(result)
    value: bytes = result.value.bytes()
    library.kvp_result_free(byref(result))
    return value


class Handle:
    """One kvp_client."""

    def __init__(self, options: ClientOptions) -> None:
        pointer = c_void_p()
        message = ctypes.create_string_buffer(512)
        status = library.kvp_client_open(byref(options), byref(pointer), message, len(message))
        if status:
            raise make_error(status, message.value.decode("utf-8", "replace"))
        self._pointer: Optional[int] = pointer.value
        self._why_closed = "the client is closed"
        self._calls = 0
        self._gate = threading.Condition()
        self._parts: Dict[int, Callable[[int], None]] = {}
        _handles.add(self)

    def enter(self) -> int:
        with self._gate:
            if self._pointer is None:
                raise errors.Closed(self._why_closed)
            self._calls += 1
            return self._pointer

    def leave(self) -> None:
        with self._gate:
            self._calls -= 1
            if self._calls == 0:
                self._gate.notify_all()

    def call(self, function: Any, *arguments: Any) -> Result:
        """A call that ends with a kvp_result."""
        result = Result()
        pointer = self.enter()
        try:
            result.status = function(pointer, *arguments, byref(result))
        finally:
            self.leave()
        return result

    # ---- scans and transactions: they go before the client does ----

    def adopt(self, part: int, free: Callable[[int], None]) -> None:
        with self._gate:
            self._parts[part] = free

    def discard(self, part: int) -> None:
        """Frees a part, unless that has been done. May be called by the collector, on any thread."""
        try:
            self.enter()
        except errors.Closed:
            return  # it went with the client, or belongs to the parent
        try:
            with self._gate:
                free = self._parts.pop(part, None)
            if free is not None:
                free(part)
        finally:
            self.leave()

    # ---- the end ----

    @property
    def closed(self) -> bool:
        return self._pointer is None

    def close(self, wait_s: Optional[float] = None) -> bool:
        """Waits for the calls of other threads, which have their deadlines. False: they took longer than that."""
        with self._gate:
            pointer, self._pointer = self._pointer, None
            if pointer is None:
                return True
            if not self._gate.wait_for(lambda: self._calls == 0, wait_s):
                return False  # who is inside goes on; the process is about to end
            parts, self._parts = self._parts, {}
        if getattr(callback_thread, "inside", False):
            threading.Thread(target=_release, args=(pointer, parts), daemon=True).start()
        else:
            _release(pointer, parts)
        return True

    def forked(self) -> None:
        """In a child: the threads of the library are not here, and its locks may be held for ever."""
        self._gate = threading.Condition()
        self._calls = 0
        self._parts = {}
        self._pointer = None
        self._why_closed = "the client was opened before fork(), in another process: connect again in this one"

    def __del__(self) -> None:
        if getattr(self, "_pointer", None) is not None:
            self.close()


def _release(pointer: int, parts: Dict[int, Callable[[int], None]]) -> None:
    for part, free in parts.items():
        free(part)
    library.kvp_client_close(pointer)


_handles: "weakref.WeakSet[Handle]" = weakref.WeakSet()


class Service(Protocol):
    """Something with a thread: it stops before the handles are closed at the interpreter's exit."""

    def stop(self) -> None: ...

    def forked(self) -> None:
        """In a child, where its thread is not, and a lock may be held by nobody."""


services: "weakref.WeakSet[Service]" = weakref.WeakSet()


def _end() -> None:
    for service in list(services):
        service.stop()
    until = time.monotonic() + EXIT_WAIT_S
    for handle in list(_handles):
        handle.close(max(0.0, until - time.monotonic()))


def _forked() -> None:
    for service in list(services):
        service.forked()
    for handle in list(_handles):
        handle.forked()


atexit.register(_end)
os.register_at_fork(after_in_child=_forked)


class Certificate(NamedTuple):
    """Names of files in PEM: who the client is at nodes with TLS, its key, and who issued theirs."""
    cert: Optional[str]
    key: Optional[str]
    ca: Optional[str]

    def names(self) -> "list[Optional[bytes]]":
        """As the library takes them; what is None is in the environment, or not there."""
        found = [given if given is not None else os.environ.get(variable) or None
                 for given, variable in zip(self, ("KVPAIR_TLS_CERT", "KVPAIR_TLS_KEY", "KVPAIR_TLS_CA"))]
        if any("\0" in name for name in found if name is not None):
            raise errors.BadArgument("there is a NUL in the name of a file")
        return [None if name is None else os.fsencode(name) for name in found]


def open_handle(nodes: str, group: Optional[str], timeout: Optional[float], try_after: Optional[float],
                outstanding: int, certificate: Certificate) -> Tuple[Handle, int]:
    """The handle, and the timeout of a call in milliseconds."""
    if not isinstance(nodes, str):
        raise TypeError("nodes is text like 'tcp://127.0.0.1:7001,tcp://127.0.0.1:7002', not %s"
                        % type(nodes).__name__)
    for text in (nodes, group or ""):
        if "\0" in text:
            raise errors.BadArgument("there is a NUL in %r" % text)
    options = ClientOptions()
    library.kvp_client_options_init_sized(byref(options), ctypes.sizeof(options))
    options.nodes = nodes.encode("utf-8")
    options.group = group.encode("utf-8") if group is not None else None
    options.timeout_ms = milliseconds(timeout, "timeout")
    options.try_ms = milliseconds(try_after, "try_after")
    options.outstanding_max = outstanding
    options.tls_cert, options.tls_key, options.tls_ca = certificate.names()
    return Handle(options), options.timeout_ms or 5000
