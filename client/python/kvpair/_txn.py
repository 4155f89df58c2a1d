# SPDX-License-Identifier: Apache-2.0
"""Transactions: compares, then operations if all of them hold, else other operations; atomic."""

from __future__ import annotations

import threading
from ctypes import byref, c_bool, c_uint64
from typing import Any, List, NamedTuple, Optional

from . import errors
from ._abi import View, library
from ._handle import Bytes, Handle, Key, key_bytes, make_error, slice_of, value_bytes, version_number

_RELATIONS = {"==": b"=", "=": b"=", "<": b"<", ">": b">"}


class Outcome(NamedTuple):
    """Of one operation: `found` is False for a get or a delete of a key that is not there."""
    found: bool
    value: bytes
    version: int


class Committed(NamedTuple):
    """`succeeded`: the compares held, and the operations of `then` were executed, else those of `otherwise`."""
    succeeded: bool
    revision: int
    results: List[Outcome]

    def __bool__(self) -> bool:
        return self.succeeded


class Branch:
    """The operations of one of the two branches. Every method returns the branch, so that they can be chained."""

    def __init__(self, txn: "Txn", number: int) -> None:
        self._txn, self._number = txn, number

    def get(self, key: Key) -> "Branch":
        self._txn._build(library.kvp_txn_get, self._number, slice_of(key_bytes(key)))
        return self

    def put(self, key: Key, value: Bytes) -> "Branch":
        self._txn._build(library.kvp_txn_put, self._number, slice_of(key_bytes(key)), slice_of(value_bytes(value)))
        return self

    def delete(self, key: Key) -> "Branch":
        self._txn._build(library.kvp_txn_delete, self._number, slice_of(key_bytes(key)))
        return self


    def add(self, key: Key, number: int) -> "Branch":
        """To a whole number in decimal; its result has the sum. See `Client.incr`."""
        if not -2**63 <= number < 2**63:
            raise ValueError("%d does not fit 64 bits" % number)
        self._txn._build(library.kvp_txn_add, self._number, slice_of(key_bytes(key)), number)
        return self


class Txn:
    """A transaction; `Client.txn` makes it.

    >>> txn = kv.txn()
    >>> _ = txn.if_absent("lock").then.put("lock", b"mine")
    >>> _ = txn.otherwise.get("lock")
    >>> bool(txn.commit())
    True
    >>> txn.commit().results[0].value
    b'mine'
    >>> del kv["lock"]
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._part: Optional[int] = None
        self._lock = threading.Lock()
        pointer = handle.enter()
        try:
            self._part = library.kvp_txn_new(pointer)
        finally:
            handle.leave()
        if self._part is None:
            raise make_error(errors.NoMemory.status)
        handle.adopt(self._part, library.kvp_txn_free)

    @property
    def then(self) -> Branch:
        """What is done if all compares hold."""
        return Branch(self, 0)

    @property
    def otherwise(self) -> Branch:
        """What is done if one of them does not."""
        return Branch(self, 1)

    def _build(self, function: Any, *arguments: Any) -> None:
        with self._lock:
            self._handle.enter()
            try:
                function(self._part, *arguments)
            finally:
                self._handle.leave()

    def if_absent(self, key: Key) -> "Txn":
        self._build(library.kvp_txn_if_absent, slice_of(key_bytes(key)))
        return self

    def if_present(self, key: Key) -> "Txn":
        self._build(library.kvp_txn_if_present, slice_of(key_bytes(key)))
        return self

    def if_version(self, key: Key, relation: str, version: int) -> "Txn":
        """`relation` is "==", "<" or ">"."""
        if relation not in _RELATIONS:
            raise ValueError("a relation is '==', '<' or '>', not %r" % (relation,))
        self._build(library.kvp_txn_if_version, slice_of(key_bytes(key)), _RELATIONS[relation],
                    version_number(version))
        return self

    def if_value(self, key: Key, value: Bytes, equal: bool = True) -> "Txn":
        self._build(library.kvp_txn_if_value, slice_of(key_bytes(key)), equal, slice_of(value_bytes(value)))
        return self

    def commit(self) -> Committed:
        """Executes it. It may be committed again: then it is a transaction of its own."""
        succeeded, revision = c_bool(), c_uint64()
        with self._lock:
            self._handle.enter()
            try:
                status = library.kvp_txn_commit(self._part, byref(succeeded), byref(revision))
                if status:
                    raise make_error(status, library.kvp_txn_error(self._part).decode("utf-8", "replace"))
                return Committed(succeeded.value, revision.value, self._results())
            finally:
                self._handle.leave()

    def _results(self) -> List[Outcome]:
        results = []
        value, version = View(), c_uint64()
        for index in range(library.kvp_txn_result_count(self._part)):
            value.data, value.size, version.value = None, 0, 0
            status = library.kvp_txn_result(self._part, index, byref(value), byref(version))
            if status not in (0, errors.NotFound.status):
                raise make_error(status)
            results.append(Outcome(status == 0, value.bytes(), version.value))
        return results

    def __del__(self) -> None:
        part = getattr(self, "_part", None)
        if part is not None:
            self._handle.discard(part)
