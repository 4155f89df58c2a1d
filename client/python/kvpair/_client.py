# SPDX-License-Identifier: Apache-2.0
"""A group of nodes as a mapping from keys to bytes."""

from __future__ import annotations

import json
import os
from ctypes import byref
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, TypeVar, Union, cast, \
    overload

from . import _jobs, errors
from ._abi import WORKER_SET_DRAINED, Result, library
from ._handle import Bytes, Certificate, Key, key_bytes, open_handle, raise_for, slice_of, take_value, value_bytes, \
    version_number
from ._jobs import Job, Options, ProgressTo, TaskSpec
from ._lease import Lease, hold_of, key_left
from ._options import name_bytes
from ._scan import Pair, Scan, prefix_end
from ._txn import Txn
from ._watch import Watch

if TYPE_CHECKING:
    from ._matrix import Matrix

NODES_DEFAULT = "tcp://127.0.0.1:7001,tcp://127.0.0.1:7002"

T = TypeVar("T")


def range_of(what: str, start: Key, end: Key, prefix: Optional[Key]) -> "tuple[bytes, bytes]":
    if prefix is None:
        return key_bytes(start), key_bytes(end)
    if start or end:
        raise ValueError("%s has either a prefix, or a start and an end" % what)
    first = key_bytes(prefix)
    return first, prefix_end(first)


class Entry(NamedTuple):
    """A value with what is known of it. `behind`: of stale reads, entries that the node knew and did not show."""
    value: bytes
    version: int
    created: int
    behind: int


class Client:
    """A connection to a group; `kvpair.connect` makes it. Any number of threads may use it at once.

    >>> kv["k"] = b"v"
    >>> kv["k"]
    b'v'
    >>> "k" in kv
    True
    >>> del kv["k"]
    >>> kv["k"]
    Traceback (most recent call last):
        ...
    kvpair.errors.NotFound: not found
    """

    def __init__(self, nodes: Optional[str] = None, *, group: Optional[str] = None, timeout: Optional[float] = None,
                 try_after: Optional[float] = None, outstanding: int = 0, tls_cert: Optional[str] = None,
                 tls_key: Optional[str] = None, tls_ca: Optional[str] = None) -> None:
        if not 0 <= outstanding < 1 << 32:
            raise ValueError("outstanding is a number of requests, not %r" % (outstanding,))
        self.nodes = nodes if nodes is not None else os.environ.get("KVPAIR_NODES") or NODES_DEFAULT
        self.group = group
        self._handle, self._timeout_ms = open_handle(self.nodes, group, timeout, try_after, outstanding,
                                                     Certificate(tls_cert, tls_key, tls_ca))
        self._watcher: Optional[_jobs.Watcher] = None

    # ---- life ----

    def close(self) -> None:
        """Ends it: waits for calls of other threads, which have their deadlines. A second time does nothing."""
        if self._watcher is not None:
            self._watcher.stop()
        self._handle.close()

    @property
    def closed(self) -> bool:
        return self._handle.closed

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "<kvpair.Client %s%s>" % (self.nodes, " (closed)" if self.closed else "")

    # ---- a mapping ----

    def __getitem__(self, key: Key) -> bytes:
        return take_value(self._handle.call(library.kvp_get, slice_of(key_bytes(key))))

    def __setitem__(self, key: Key, value: Bytes) -> None:
        self.put(key, value)

    def __delitem__(self, key: Key) -> None:
        self.delete(key)

    def __contains__(self, key: object) -> bool:
        return self._read(cast(Key, key), False) is not None

    def __iter__(self) -> Iterator[bytes]:
        """All keys, in order, from one point in time."""
        return (pair.key for pair in self.scan(keys_only=True))

    # ---- one key ----

    def _read(self, key: Key, stale: bool) -> Optional[Entry]:
        function = library.kvp_get_stale if stale else library.kvp_get
        result = self._handle.call(function, slice_of(key_bytes(key)))
        if result.status == errors.NotFound.status:
            library.kvp_result_free(byref(result))
            return None
        entry = (result.version, result.create_revision, result.behind)
        return Entry(take_value(result), *entry)

    @overload
    def get(self, key: Key, default: None = None, *, stale: bool = False) -> Optional[bytes]: ...

    @overload
    def get(self, key: Key, default: T, *, stale: bool = False) -> Union[bytes, T]: ...

    def get(self, key: Key, default: Any = None, *, stale: bool = False) -> Any:
        """The value, or `default`. `stale`: from any node, which may be behind.

        >>> kv.get("nothing", b"default")
        b'default'
        """
        entry = self._read(key, stale)
        return default if entry is None else entry.value

    def entry(self, key: Key, *, stale: bool = False) -> Optional[Entry]:
        """The value with its version, for `cas`; None if the key is not there."""
        return self._read(key, stale)

    def _update(self, function: Any, *arguments: Any) -> int:
        result: Result = self._handle.call(function, *arguments)
        raise_for(result)
        version = int(result.version)
        library.kvp_result_free(byref(result))
        return version

    def put(self, key: Key, value: Bytes, *, ttl: Optional[float] = None, lease: Optional[Lease] = None) -> int:
        """Stores it, whatever was there. Returns the new version. With `ttl` the key ends by itself after so many seconds,
        with `lease` when that does; without, it does not, also if it did before.

        >>> version = kv.put("flash", b"1", ttl=60)
        >>> 59 < kv.ttl("flash") <= 60
        True
        """
        return self._update(library.kvp_put_held, slice_of(key_bytes(key)), slice_of(value_bytes(value)),
                            *hold_of(ttl, lease))

    def create(self, key: Key, value: Bytes, *, ttl: Optional[float] = None, lease: Optional[Lease] = None) -> int:
        """Stores it if the key is not there, else `Exists`. Returns the new version. `ttl`, `lease`: as for `put`.

        >>> version = kv.create("once", b"1")
        >>> try:
        ...     kv.create("once", b"2")
        ... except kvpair.Exists as error:
        ...     print(error.version == version)
        True
        """
        return self._update(library.kvp_create_held, slice_of(key_bytes(key)), slice_of(value_bytes(value)),
                            *hold_of(ttl, lease))

    def cas(self, key: Key, value: Bytes, version: int, *, ttl: Optional[float] = None,
            lease: Optional[Lease] = None) -> int:
        """Stores it if the key has this version (0: is not there), else `VersionDiffers`. Returns the new version. `ttl`,
        `lease`: as for `put`.

        >>> version = kv.put("counter", b"1")
        >>> version = kv.cas("counter", b"2", version)
        >>> kv["counter"]
        b'2'
        """
        return self._update(library.kvp_cas_held, slice_of(key_bytes(key)), version_number(version),
                            slice_of(value_bytes(value)), *hold_of(ttl, lease))

    def delete(self, key: Key, version: int = 0) -> int:
        """Removes it, if it has this version (0: whatever it has). `NotFound`, `VersionDiffers`."""
        return self._update(library.kvp_delete, slice_of(key_bytes(key)), version_number(version))

    def ttl(self, key: Key) -> Optional[float]:
        """How many seconds the key has left; None: it does not end by itself. `NotFound`."""
        return key_left(self._handle, key)

    def lease(self, ttl: float) -> Lease:
        """A new lease, of so many seconds: a context in which it is kept, and at whose end it is revoked.

        >>> with kv.lease(10) as lease:
        ...     version = kv.put("here", b"1", lease=lease)
        >>> "here" in kv
        False
        """
        return Lease(self._handle, ttl)

    def incr(self, key: Key, by: int = 1) -> int:
        """Adds to a whole number of 64 bits in decimal, 0 if the key is not there. Returns the sum. `BadRequest` if what
        is there is no number, `Overflow` if the sum does not fit; nothing is changed then.

        >>> kv.incr("visits"), kv.incr("visits", by=-3)
        (1, -2)
        """
        txn = self.txn()
        txn.then.add(key, by)
        return int(txn.commit().results[0].value)

    # ---- many keys ----

    def get_many(self, *keys: Key) -> List[Optional[bytes]]:
        """Their values as of one moment, None for those that are not there; at most 1024.

        >>> kv["left"], kv["right"] = b"1", b"2"
        >>> kv.get_many("left", "middle", "right")
        [b'1', None, b'2']
        """
        txn = self.txn()
        for key in keys:
            txn.then.get(key)
        return [outcome.value if outcome.found else None for outcome in txn.commit().results]

    def scan(self, start: Key = b"", end: Key = b"", *, prefix: Optional[Key] = None,
             reverse: bool = False, keys_only: bool = False) -> Scan:
        """An iterator over the pairs of [start, end), or of the keys with a prefix: `Pair(key, value, version)`.
        `reverse`: the last ones first.

        >>> for name in ("b", "a"):
        ...     kv["fruit/" + name] = name.encode()
        >>> [(pair.key, pair.value) for pair in kv.scan(prefix="fruit/")]
        [(b'fruit/a', b'a'), (b'fruit/b', b'b')]
        >>> next(kv.scan(prefix="fruit/", reverse=True)).key
        b'fruit/b'
        """
        first, last = range_of("a scan", start, end, prefix)
        return Scan(self._handle, first, last, reverse, keys_only)

    def watch(self, start: Key = b"", end: Key = b"", *, prefix: Optional[Key] = None, from_revision: int = 0,
              stale: bool = False) -> Watch:
        """An iterator over what happens to the keys of [start, end), or to those with a prefix, from a revision on (0:
        from now on), in order, each event once, over failovers: `Event(key, value, version, created)`; it waits for
        the next one. `stale`: any node may tell, as far as it has come.

        >>> with kv.watch(prefix="door/") as watch:
        ...     kv["door/front"] = b"open"
        ...     del kv["door/front"]
        ...     [(event.key, event.value) for event in (next(watch), next(watch))]
        [(b'door/front', b'open'), (b'door/front', None)]
        """
        first, last = range_of("a watch", start, end, prefix)
        return Watch(self._handle, first, last, version_number(from_revision), stale)

    def txn(self) -> Txn:
        """An empty transaction."""
        return Txn(self._handle)

    # ---- the group ----

    def status(self, node: Optional[str] = None) -> Dict[str, Any]:
        """What a node (its URL; None: the first that answers) says about itself and the group.

        >>> kv.status()["group"]
        'default'
        """
        url = None if node is None else node.encode("utf-8")
        return cast(Dict[str, Any], json.loads(take_value(self._handle.call(library.kvp_node_status, url))))

    # ---- jobs ----

    def watcher(self) -> "_jobs.Watcher":
        if self._watcher is None or self._watcher.ended:
            self._watcher = _jobs.Watcher(self)
        return self._watcher

    def submit(self, kind: str, payloads: Iterable[Union[Bytes, TaskSpec]], *, mode: str = "single",
               **options: Any) -> Job:
        """A job of one task for each payload, for workers that know the kind. It has begun when this returns.

        `options` are those of `kvpair.Options`: name, priority, max_attempts, retry_delay, deadline and others. With
        a `key` it is the job that has been started under it, if there is one: its tasks are those, and no others.

        >>> job = kv.submit("count", [b"to be or", b"not to be"])
        >>> job.result()
        [b'3', b'3']
        """
        return _jobs.submit(self, kind, payloads, Options(mode=mode, **options))

    def matmul(self, a: "Matrix", b: "Matrix", *, mode: str = "single", progress: ProgressTo = None,
               timeout: Optional[float] = None, **options: Any) -> Any:
        """The product of two matrices, computed by the workers: NumPy arrays, or lists of rows, in and out.

        `mode="tmr"`: every part by three workers of which two have to agree. `progress=True` draws a line on
        standard error. Other `options` are those of `kvpair.Options`, with element, compare, tolerance, verify,
        rounds and buffer.

        >>> kv.matmul([[1, 2], [3, 4]], [[5, 6], [7, 8]])
        [[19, 22], [43, 50]]
        """
        from . import _matrix
        job = _matrix.submit(self, a, b, Options(mode=mode, **options), progress)
        return job.result(timeout, progress=progress)

    def submit_matmul(self, a: "Matrix", b: "Matrix", *, mode: str = "single", progress: ProgressTo = None,
                      **options: Any) -> Job:
        """As `matmul`, and returns when the matrices are uploaded: `Job.result` is the product."""
        from . import _matrix
        return _matrix.submit(self, a, b, Options(mode=mode, **options), progress)

    def job(self, number: int) -> Job:
        """The job of that number, whoever has submitted it. Nothing is asked yet."""
        return Job(self, number)

    def jobs(self) -> "list[Dict[str, Any]]":
        """All jobs that the group keeps, as `kvcli job list` shows them."""
        return list(_jobs.list_all(self, _jobs.INFO_JOBS, 0, 1))

    def workers(self) -> "list[Dict[str, Any]]":
        """All workers that the group knows."""
        return list(_jobs.list_all(self, _jobs.INFO_WORKERS, 0, 0))

    def drain_worker(self, name: str) -> None:
        """It is given no task any more, also when it is started anew. `NotFound`: there is none of this name."""
        self._set_worker(name, 1)

    def resume_worker(self, name: str) -> None:
        """It is given tasks again."""
        self._set_worker(name, 0)

    def _set_worker(self, name: str, drained: int) -> None:
        _jobs.update(self, library.kvp_worker_set, name_bytes(name, "the name of a worker"), WORKER_SET_DRAINED,
                     drained)


def connect(nodes: Optional[str] = None, *, group: Optional[str] = None, timeout: Optional[float] = None,
            try_after: Optional[float] = None, outstanding: int = 0, tls_cert: Optional[str] = None,
            tls_key: Optional[str] = None, tls_ca: Optional[str] = None) -> Client:
    """A client for the group whose nodes these are: "tcp://127.0.0.1:7001,tcp://127.0.0.1:7002", any of them.

    None: $KVPAIR_NODES, else the two addresses above. It does not wait for a connection. `timeout` is the deadline of
    each call in seconds (5), `try_after` when an unanswered attempt is repeated (0.3), `outstanding` how many requests
    are under way at once (256). Nodes at tls+tcp:// want a certificate, its key and that of their CA, in files (PEM):
    `tls_cert`, `tls_key` and `tls_ca`, else $KVPAIR_TLS_CERT, _KEY and _CA.
    """
    return Client(nodes, group=group, timeout=timeout, try_after=try_after, outstanding=outstanding, tls_cert=tls_cert,
                  tls_key=tls_key, tls_ca=tls_ca)


__all__ = ["Client", "Entry", "Pair", "connect"]
