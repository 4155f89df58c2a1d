# SPDX-License-Identifier: Apache-2.0
"""What a job may be told, as `kvcli job submit` takes it."""

from __future__ import annotations

from ctypes import byref
from dataclasses import dataclass
from typing import Optional, Sequence

from ._abi import AGREEMENTS, ELEMENTS, NAME_SIZE_MAX, ON_FAILURE, VERIFICATIONS, Spec, library
from ._handle import make_error, milliseconds


def name_bytes(name: str, what: str) -> bytes:
    """A name of a job, kind or worker: 1 to 64 bytes of text."""
    if not isinstance(name, str):
        raise TypeError("%s is text, not %s" % (what, type(name).__name__))
    data = name.encode("utf-8")
    if not 1 <= len(data) <= NAME_SIZE_MAX or b"\0" in data:
        raise ValueError("%s is 1 to %d bytes of text without NUL, not %r" % (what, NAME_SIZE_MAX, name))
    return data


def number_in(value: int, least: int, most: int, what: str) -> int:
    if not isinstance(value, int) or not least <= value <= most:
        raise ValueError("%s is a number from %d to %d, not %r" % (what, least, most, value))
    return value


def _index(value: str, names: Sequence[str], what: str) -> int:
    if value not in names:
        raise ValueError("%s is one of %s, not %r" % (what, ", ".join(names), value))
    return names.index(value)


@dataclass
class Options:
    """Of a job. Times are in seconds; None is the group's default (docs/jobs.md).

    `key`: of the jobs with one key at most one is started, and is the answer to whoever submits it again.
    `on_failure`: "stop" (a task that has failed is the end of the job) or "continue". `max_running`: so many attempts
    at a time. `expires`: a job that has not ended after so many whole seconds has failed.

    `mode`: single, dual-first, dual-compare, tmr, quad, or COPIES/QUORUM. Those from `element` on are for products of
    matrices: int32, int64, float32 or float64; exact, absolute, relative or checksum; freivalds, recompute or none.
    """

    mode: str = "single"
    name: str = ""
    priority: Optional[int] = None
    max_copies: Optional[int] = None
    max_attempts: Optional[int] = None
    retry_delay: Optional[float] = None
    delay: Optional[float] = None
    deadline: Optional[float] = None
    silence: Optional[float] = None
    keep: Optional[int] = None
    key: Optional[str] = None
    on_failure: Optional[str] = None
    max_running: Optional[int] = None
    expires: Optional[int] = None
    element: Optional[str] = None
    compare: Optional[str] = None
    tolerance: Optional[float] = None
    verify: Optional[str] = None
    rounds: Optional[int] = None
    buffer: int = 0

    def spec(self, job_type: int) -> Spec:
        """All but element, compare and tolerance."""
        spec = Spec()
        library.kvp_job_spec_init(byref(spec), job_type)
        if "\0" in self.mode or library.kvp_job_spec_mode(byref(spec), self.mode.encode("utf-8")):
            raise ValueError("mode is single, dual-first, dual-compare, tmr, quad or COPIES/QUORUM, not %r"
                             % self.mode)
        if self.name:
            spec.name = name_bytes(self.name, "the name of a job")
        if self.key is not None:
            spec.key = name_bytes(self.key, "the key of a job")
        if self.on_failure is not None:
            spec.on_failure = _index(self.on_failure, ON_FAILURE, "on_failure")
        self._take_numbers(spec)
        if self.verify is not None:
            spec.verify = _index(self.verify, VERIFICATIONS, "verify")
        if self.rounds is not None:
            spec.rounds = number_in(self.rounds, 1, 64, "rounds")
        number_in(self.buffer, 0, (1 << 63) - 1, "buffer")
        return spec

    def _take_numbers(self, spec: Spec) -> None:
        if self.priority is not None:
            spec.priority = number_in(self.priority, 0, 255, "priority")
        if self.max_copies is not None:
            spec.copies_max = number_in(self.max_copies, 1, 8, "max_copies")
        if self.max_attempts is not None:
            spec.attempts_max = number_in(self.max_attempts, 1, 255, "max_attempts")
        if self.keep is not None:
            spec.keep_s = number_in(self.keep, 0, (1 << 32) - 1, "keep")
        if self.max_running is not None:
            spec.max_running = number_in(self.max_running, 0, (1 << 32) - 1, "max_running")
        if self.expires is not None:
            spec.expires_s = number_in(self.expires, 0, (1 << 32) - 1, "expires")
        for field, value in (("retry_ms", self.retry_delay), ("delay_ms", self.delay), ("deadline_ms", self.deadline),
                             ("silence_ms", self.silence)):
            if value is not None:
                setattr(spec, field, 0 if value == 0 else milliseconds(value, field[:-3]))

    def refuse_matrix_options(self) -> None:
        for name in ("element", "compare", "tolerance", "verify", "rounds"):
            if getattr(self, name) is not None:
                raise TypeError("%s is for products of matrices" % name)

    def element_number(self) -> Optional[int]:
        return None if self.element is None else _index(self.element, ELEMENTS, "element")

    def compare_as(self, spec: Spec, floats: bool) -> None:
        """Two results of the same floats differ by roundings: by default as much as those can explain is borne."""
        compare = self.compare or ("relative" if floats else "exact")
        spec.compare = _index(compare, AGREEMENTS, "compare")
        if self.tolerance is not None:
            if compare == "exact":
                raise ValueError("tolerance needs compare='absolute', 'relative' or 'checksum'")
            if not 0 <= self.tolerance < float("inf"):
                raise ValueError("tolerance is a number of 0 or more, not %r" % (self.tolerance,))
            spec.tolerance = self.tolerance
        elif compare == "exact" or (compare == "checksum" and not floats):
            spec.tolerance = 0
        elif not floats or compare == "absolute":
            raise ValueError("tolerance is missing: how far may results be apart?")
        else:
            unit = 2.0 ** -24 if ELEMENTS[spec.element] == "float32" else 2.0 ** -53
            spec.tolerance = 2 * (spec.inner + 2) * unit


def check_status(status: int, reason: str = "") -> None:
    if status:
        raise make_error(status, reason)
