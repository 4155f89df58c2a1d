# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, one class for each status of kvp_base.h.

`Unknown` stands apart: an update may or may not have been executed. Every other `Error` says that it was not.
"""

from __future__ import annotations

from typing import Dict, Type


class Error(Exception):
    """Any failure that the library reports.

    `status` is the number of kvp_base.h, `reason` what the group says beside it (often empty), and `version` the
    present version of the key for `Exists` and `VersionDiffers` (0: absent).
    """

    status: int = 0

    def __init__(self, message: str = "", *, status: int = 0, reason: str = "", version: int = 0) -> None:
        super().__init__(message)
        self.status = status or type(self).status
        self.reason = reason
        self.version = version

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> "tuple[object, ...]":
        return (_again, (type(self), str(self), self.status, self.reason, self.version))


def _again(kind: Type[Error], message: str, status: int, reason: str, version: int) -> Error:
    return kind(message, status=status, reason=reason, version=version)


class Unknown(Error):
    """The update may have been executed, or may still be. No other class means that.

    It is neither a `Timeout` nor a `TimeoutError`, so that who repeats those does not repeat this one. Read what is
    there before you repeat an update that must not happen twice, or make it a `cas`.
    """

    status = -19


class NotFound(Error, KeyError):
    """No such key."""

    status = -1


class Exists(Error):
    """`create`: the key is there already, in `version`."""

    status = -2


class VersionDiffers(Error):
    """`cas`, `delete`: the key's version is another one, `version`."""

    status = -3


class NotPrimary(Error):
    """The wrong node was asked; nothing was executed."""

    status = -4


class Uncertain(Unknown):
    """The node lost its role before it knew."""

    status = -5


class Unavailable(Error):
    """Nothing was executed; try again later."""

    status = -6


class Busy(Error):
    """The queue is full, or all places are taken; nothing was executed; try again later."""

    status = -7


class SessionExpired(Error):
    """The session is not known any more; this request was not executed."""

    status = -8


class StaleRequest(Unknown):
    """A newer request of the session was executed; the answer to this one is gone."""

    status = -9


class BadRequest(Error, ValueError):
    """Malformed: wrong type, count, length or range."""

    status = -10


class TooLarge(Error, ValueError):
    """Over a limit of kvp_base.h."""

    status = -11


class WrongGroup(Error):
    """The node belongs to another group."""

    status = -12


class BadVersion(Error):
    """An unknown wire or storage version."""

    status = -13


class BadOp(Error):
    """The node does not know this operation: it is older."""

    status = -14


class CursorExpired(Error):
    """The primary has changed in the middle of a scan; start again."""

    status = -15


class Refused(Error):
    """Not allowed by role, policy or permission."""

    status = -16


class StaleView(Error):
    """The sender's view is not the newest."""

    status = -17


class Timeout(Error, TimeoutError):
    """The deadline has passed; nothing was executed, and nothing will be."""

    status = -18


class NoMemory(Error, MemoryError):
    """The library has no memory."""

    status = -20


class InputOutput(Error):
    """Disk or network failed."""

    status = -21


class Corrupt(Error):
    """Stored or received data is damaged."""

    status = -22


class DiskFull(Error):
    """No space is left for the store."""

    status = -23


class Locked(Error):
    """Another process holds the data directory."""

    status = -24


class BadArgument(Error, ValueError):
    """An argument is not what the function takes."""

    status = -25


class Closed(Error):
    """The client is closed, or was opened in another process, before fork()."""

    status = -26


class AddressInUse(Error):
    """The address is in use."""

    status = -27


class NotSeeded(Error):
    """The arbiter does not know the group."""

    status = -28


class Failed(Error):
    """The node has stopped after a failure of its storage."""

    status = -29


class Diverged(Error):
    """The store holds updates that the group never agreed on."""

    status = -30


class NoSuchJob(Error, LookupError):
    """The job, or the task in it, is not there (any more)."""

    status = -31


class JobState(Error):
    """The job is not in a state that allows it."""

    status = -32


class NoTask(Error):
    """Nothing to do for this worker now."""

    status = -33


class WorkerUnknown(Error):
    """The worker is not registered (any more)."""

    status = -34


class WorkerReplaced(Error):
    """Another worker has joined under the name."""

    status = -35


class WorkerBarred(Error):
    """The worker has lost too many votes, or failed what others did."""

    status = -36


class NotHeld(Error):
    """The worker was not given this task."""

    status = -37


class Overflow(Error, OverflowError):
    """A number does not fit its type."""

    status = -38


class Compacted(Error):
    """A watch asks for more of the past than the log still has."""

    status = -39


class JobFailed(Error):
    """The job has failed; the reason is in the message, `job` is its id."""

    job: int = 0


class JobCancelled(JobFailed):
    """The job was cancelled."""


class PartlyFailed(JobFailed):
    """The job is done, but for some tasks: `failed` has their numbers, at most 256, and why each one has failed."""

    failed: Dict[int, str] = {}


class TaskFailed(JobFailed):
    """This task has failed; `task` is its number."""

    task: int = 0


class Unwanted(Error):
    """In a worker: nobody wants the result of this task any more. A task lets it pass."""


_CLASSES: Dict[int, Type[Error]] = {
    kind.status: kind for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, Error) and kind.status
}


def class_of(status: int) -> Type[Error]:
    """The class for a status of kvp_base.h; `Error` for one that this version does not know.

    >>> class_of(-1).__name__, class_of(-19).__name__, class_of(-999).__name__
    ('NotFound', 'Unknown', 'Error')
    """
    return _CLASSES.get(status, Error)


__all__ = [kind.__name__ for kind in list(globals().values()) if isinstance(kind, type) and issubclass(kind, Error)]
