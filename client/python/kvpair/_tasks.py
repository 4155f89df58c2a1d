# SPDX-License-Identifier: Apache-2.0
"""Tasks as Python functions: `@kvpair.task("count")`, and what such a function is told and may tell."""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, Optional

from . import errors
from ._handle import Bytes, value_bytes
from ._options import name_bytes

Function = Callable[["Context", bytes], bytes]

# What a worker does by default: the tasks of the modules that it has imported.
registered: Dict[str, Function] = {}


class Context:
    """What a task knows of itself, and may tell while it works.

    `job`, `task`, `attempt` and `kind` say which one it is; `checkpoint_before` is what the last worker that had it
    left with `checkpoint`, or None.
    """

    def __init__(self, job: int, task: int, attempt: int, kind: str, checkpoint_before: Optional[bytes]) -> None:
        self.job, self.task, self.attempt, self.kind = job, task, attempt, kind
        self.checkpoint_before = checkpoint_before
        self.permille = 0
        self._unwanted = threading.Event()
        self._why = ""
        self._leave: Optional[Callable[[bytes], None]] = None  # the worker's

    @property
    def wanted(self) -> bool:
        """False: nobody wants the result any more, or the deadline is over."""
        return not self._unwanted.is_set()

    def drop(self, why: str) -> None:
        """The worker's: the task is to stop."""
        self._why = why
        self._unwanted.set()

    def progress(self, part: float) -> None:
        """Says how much is done, 0 to 1; it is told with the next beat. Raises `Unwanted` when the task is to stop."""
        if not 0 <= part <= 1:
            raise ValueError("progress is a number from 0 to 1, not %r" % (part,))
        self.permille = int(part * 1000)
        if not self.wanted:
            raise errors.Unwanted(self._why)

    def checkpoint(self, state: Bytes) -> None:
        """Leaves what another worker can go on from, should this one be lost: it is in the store when this returns.

        Raises `Unwanted` when the task is to stop. Not for jobs in which results are compared.
        """
        data = value_bytes(state, "a checkpoint")
        if self._leave is not None:
            self._leave(data)
        if not self.wanted:
            raise errors.Unwanted(self._why)


def task(kind: str) -> Callable[[Function], Function]:
    """Makes a function of a context and a payload the one that does tasks of this kind.

    >>> @kvpair.task("shout")
    ... def shout(ctx, payload):
    ...     ctx.progress(0.5)
    ...     return payload.upper()
    >>> shout.kind
    'shout'
    """
    name_bytes(kind, "the kind of a task")

    def mark(function: Function) -> Function:
        if not callable(function):
            raise TypeError("@kvpair.task(%r) stands before a function" % kind)
        if registered.get(kind, function) is not function and _place(registered[kind]) != _place(function):
            raise ValueError("two functions do tasks of the kind %r: %s and %s"
                             % (kind, _place(registered[kind]), _place(function)))
        registered[kind] = function
        setattr(function, "kind", kind)
        return function

    return mark


def _place(function: Any) -> str:
    return "%s.%s" % (getattr(function, "__module__", "?"), getattr(function, "__qualname__", repr(function)))
