# SPDX-License-Identifier: Apache-2.0
"""kvpair: a replicated key-value store and task queue, from Python.

>>> import kvpair
>>> with kvpair.connect() as kv:              # $KVPAIR_NODES
...     kv["greeting"] = b"hello"
...     print(kv["greeting"])
b'hello'

A failure is an exception of `kvpair.errors`, one class for each status of the library. `kvpair.Unknown` stands apart:
an update that may or may not have been executed.
"""

from . import errors
from ._client import Client, Entry, connect
from ._jobs import Job, Options, Progress, Task, TaskSpec, as_completed
from ._lease import Lease
from ._scan import Pair, Scan
from ._tasks import Context, task
from ._txn import Committed, Outcome, Txn
from ._watch import Event, Watch
from .errors import *  # noqa: F401,F403
from .errors import Error, Unknown
from .executor import Executor

_default: "Client | None" = None


def job(number: int, client: "Client | None" = None) -> Job:
    """A job by its number, from whichever process: `kvpair.job(17).result()`.

    Without a client it is looked for in the group of $KVPAIR_NODES (see `connect`).

    >>> number = kv.submit("count", [b"a b c"]).id
    >>> kvpair.job(number).result()
    [b'3']
    """
    global _default
    if client is None:
        if _default is None or _default.closed:
            _default = connect()
        client = _default
    return client.job(number)


__all__ = ["Client", "Committed", "Context", "Entry", "Error", "Event", "Executor", "Job", "Lease", "Options", "Outcome",
           "Pair", "Progress", "Scan", "Task", "TaskSpec", "Txn", "Unknown", "Watch", "as_completed", "connect", "errors", "job",
           "task"]
