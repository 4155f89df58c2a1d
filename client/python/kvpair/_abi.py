# SPDX-License-Identifier: Apache-2.0
"""libkvpair as ctypes sees it: structs, prototypes, and whether they are those of the library that was found.

A call through `ctypes.CDLL` lets go of the interpreter's lock until it returns.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, byref, c_bool, c_char, c_char_p, c_double, c_int, c_int64, c_size_t, c_uint, c_uint8, c_uint32, \
    c_uint64, c_void_p
from functools import partial
from typing import Any, Callable

# The release that the structs below are those of, and the first one that is another library.
VERSION_FIRST, VERSION_END = 200, 10000

KEY_SIZE_MAX, VALUE_SIZE_MAX, NAME_SIZE_MAX = 1024, 1 << 20, 64
TASKS_MAX, BATCH_MAX, DEPS_MAX = 1 << 20, 1024, 4096
INFO_JOBS, INFO_JOB, INFO_TASKS, INFO_WORKERS, INFO_DEAD = range(5)
OUTCOME_RESULT, OUTCOME_FAILED, OUTCOME_OVERFLOW, OUTCOME_GIVEN_BACK = range(4)
JOB_TASKS, JOB_MATMUL = range(2)
ON_FAILURE = ("stop", "continue")
JOB_SET_PAUSED, JOB_SET_MAX_RUNNING, JOB_SET_PRIORITY = range(3)
WORKER_SET_DRAINED = 0
ELEMENTS = ("int32", "int64", "float32", "float64")
AGREEMENTS = ("exact", "absolute", "relative", "checksum")
VERIFICATIONS = ("none", "freivalds", "recompute")


class Slice(ctypes.Structure):
    """kvp_slice, to be given: it keeps the bytes that it points to."""
    _fields_ = [("data", c_char_p), ("size", c_size_t)]


class View(ctypes.Structure):
    """kvp_slice, as the library gives it."""
    _fields_ = [("data", c_void_p), ("size", c_size_t)]

    def bytes(self) -> bytes:
        return ctypes.string_at(self.data or 0, self.size) if self.size else b""


class Buffer(ctypes.Structure):
    """kvp_buf"""
    _fields_ = [("data", c_void_p), ("size", c_size_t), ("capacity", c_size_t)]

    def bytes(self) -> bytes:
        return ctypes.string_at(self.data or 0, self.size) if self.size else b""


class ClientOptions(ctypes.Structure):
    """kvp_client_options"""
    _fields_ = [("size", c_size_t), ("nodes", c_char_p), ("group", c_char_p), ("timeout_ms", c_uint32),
                ("try_ms", c_uint32), ("outstanding_max", c_uint32), ("tls_cert", c_char_p), ("tls_key", c_char_p),
                ("tls_ca", c_char_p)]


class Result(ctypes.Structure):
    """kvp_result"""
    _fields_ = [("status", c_int), ("counted", c_bool), ("version", c_uint64), ("create_revision", c_uint64),
                ("behind", c_uint64), ("value", Buffer), ("reserved", c_uint64 * 4)]


class Spec(ctypes.Structure):
    """struct kvp_job_spec"""
    _fields_ = [("name", c_char * (NAME_SIZE_MAX + 1)), ("type", c_uint8), ("copies", c_uint8), ("quorum", c_uint8),
                ("copies_max", c_uint8), ("compare", c_uint8), ("verify", c_uint8), ("rounds", c_uint8),
                ("priority", c_uint8), ("attempts_max", c_uint8), ("tolerance", c_double), ("silence_ms", c_uint32),
                ("deadline_ms", c_uint32), ("delay_ms", c_uint32), ("keep_s", c_uint32), ("retry_ms", c_uint32),
                ("element", c_uint8), ("rows", c_uint64), ("inner", c_uint64), ("columns", c_uint64),
                ("tile_rows", c_uint32), ("tile_inner", c_uint32), ("tile_columns", c_uint32),
                ("max_running", c_uint32), ("expires_s", c_uint32), ("key", c_char_p), ("on_failure", c_uint8),
                ("reserved_bytes", c_uint8 * 7), ("reserved", c_uint64 * 3)]


class Matrix(ctypes.Structure):
    """struct kvp_matrix"""
    _fields_ = [("type", c_int), ("rows", c_uint64), ("columns", c_uint64), ("data", Buffer)]


class Worker(ctypes.Structure):
    """kvp_worker"""
    _fields_ = [("name", c_char * (NAME_SIZE_MAX + 1)), ("instance", c_uint64), ("reserved", c_uint64 * 4)]


class Task(ctypes.Structure):
    """kvp_task"""
    _fields_ = [("job", c_uint64), ("attempt", c_uint64), ("number", c_uint32), ("beat_ms", c_uint32),
                ("deadline_ms", c_uint32), ("kind", View), ("payload", View), ("checkpoint", View),
                ("owner", Buffer), ("reserved", c_uint64 * 4)]


class Change(ctypes.Structure):
    """kvp_event"""
    _fields_ = [("revision", c_uint64), ("create_revision", c_uint64), ("key", View), ("value", View),
                ("reserved", c_uint64 * 2)]


STRUCTS = {"kvp_slice": Slice, "kvp_buf": Buffer, "kvp_client_options": ClientOptions, "kvp_result": Result, "kvp_event": Change,
           "struct kvp_job_spec": Spec, "struct kvp_matrix": Matrix, "kvp_worker": Worker, "kvp_task": Task}

DONE = ctypes.CFUNCTYPE(None, c_void_p, POINTER(Result))
PROGRESS = ctypes.CFUNCTYPE(None, c_void_p, c_uint64, c_uint64)

_H, _R = c_void_p, POINTER(Result)
_STATUS = {
    "kvp_client_open": [POINTER(ClientOptions), POINTER(_H), c_char_p, c_size_t],
    "kvp_get": [_H, Slice, _R], "kvp_get_stale": [_H, Slice, _R], "kvp_put": [_H, Slice, Slice, _R],
    "kvp_create": [_H, Slice, Slice, _R], "kvp_delete": [_H, Slice, c_uint64, _R],
    "kvp_cas": [_H, Slice, c_uint64, Slice, _R],
    "kvp_put_held": [_H, Slice, Slice, c_uint64, c_uint64, _R],
    "kvp_create_held": [_H, Slice, Slice, c_uint64, c_uint64, _R],
    "kvp_cas_held": [_H, Slice, c_uint64, Slice, c_uint64, c_uint64, _R],
    "kvp_lease_grant": [_H, c_uint64, POINTER(c_uint64), _R], "kvp_lease_keep": [_H, c_uint64, POINTER(c_uint64), _R],
    "kvp_lease_revoke": [_H, c_uint64, _R],
    "kvp_key_left": [_H, Slice, POINTER(c_uint64), POINTER(c_uint64), _R],
    "kvp_get_async": [_H, Slice, c_bool, c_uint32, DONE, c_void_p],
    "kvp_put_async": [_H, Slice, Slice, c_uint32, DONE, c_void_p],
    "kvp_create_async": [_H, Slice, Slice, c_uint32, DONE, c_void_p],
    "kvp_delete_async": [_H, Slice, c_uint64, c_uint32, DONE, c_void_p],
    "kvp_cas_async": [_H, Slice, c_uint64, Slice, c_uint32, DONE, c_void_p],
    "kvp_scan_open": [_H, Slice, Slice, c_bool, POINTER(_H), _R],
    "kvp_scan_open_backwards": [_H, Slice, Slice, c_bool, POINTER(_H), _R],
    "kvp_scan_open_prefix": [_H, Slice, c_bool, POINTER(_H), _R],
    "kvp_scan_next": [_H, POINTER(View), POINTER(View), POINTER(c_uint64)],
    "kvp_watch_open": [_H, Slice, Slice, c_uint64, c_bool, POINTER(_H), _R],
    "kvp_watch_next": [_H, c_uint32, POINTER(Change)],
    "kvp_txn_commit": [_H, POINTER(c_bool), POINTER(c_uint64)],
    "kvp_txn_result": [_H, c_size_t, POINTER(View), POINTER(c_uint64)],
    "kvp_node_status": [_H, c_char_p, _R],
    "kvp_job_new": [_H, POINTER(Spec), POINTER(c_uint64), _R],
    "kvp_job_add_tasks": [_H, c_uint64, c_uint32, View, _R],
    "kvp_job_start": [_H, c_uint64, _R], "kvp_job_cancel": [_H, c_uint64, _R], "kvp_job_remove": [_H, c_uint64, _R],
    "kvp_job_submit_matmul": [_H, POINTER(Spec), POINTER(Matrix), POINTER(Matrix), c_size_t, POINTER(c_uint64),
                              PROGRESS, c_void_p, _R],
    "kvp_job_info": [_H, c_uint, c_uint64, c_uint64, POINTER(c_uint64), _R],
    "kvp_job_result": [_H, c_uint64, c_uint32, _R],
    "kvp_job_retry": [_H, c_uint64, c_uint32, c_uint32, POINTER(c_uint32), _R],
    "kvp_job_set": [_H, c_uint64, c_uint, c_uint64, _R],
    "kvp_worker_set": [_H, c_char_p, c_uint, c_uint64, _R],
    "kvp_job_product": [_H, c_uint64, POINTER(Spec), POINTER(Matrix), _R],
    "kvp_worker_join": [_H, POINTER(Worker), POINTER(c_char_p), c_uint, c_uint64, c_bool, _R],
    "kvp_worker_leave": [_H, POINTER(Worker), _R],
    "kvp_task_fetch": [_H, POINTER(Worker), c_uint32, c_uint32, POINTER(Task), _R],
    "kvp_task_beat": [_H, POINTER(Worker), POINTER(Task), c_uint32, POINTER(Slice), POINTER(c_bool), _R],
    "kvp_task_post": [_H, POINTER(Worker), POINTER(Task), c_uint, Slice, _R],
    "kvp_job_spec_mode": [POINTER(Spec), c_char_p],
    "kvp_job_spec_check": [POINTER(Spec), POINTER(c_char_p)],
    "kvp_job_tasks_open": [POINTER(Buffer), c_uint32],
    "kvp_job_tasks_put": [POINTER(Buffer), Slice, POINTER(c_uint32), c_uint32, c_bool, Slice],
    "kvp_matrix_new": [c_int, c_uint64, c_uint64, POINTER(Matrix)],
    "kvp_matrix_convert": [POINTER(Matrix), c_int, POINTER(Matrix), c_char_p, c_size_t],
}
_NOTHING = {
    "kvp_client_options_init_sized": [c_void_p, c_size_t], "kvp_client_close": [_H], "kvp_result_free": [c_void_p],
    "kvp_scan_close": [_H], "kvp_watch_close": [_H], "kvp_txn_free": [_H], "kvp_buf_free": [c_void_p], "kvp_task_free": [c_void_p],
    "kvp_matrix_free": [c_void_p], "kvp_job_spec_init": [c_void_p, c_int],
    "kvp_txn_if_absent": [_H, Slice], "kvp_txn_if_present": [_H, Slice],
    "kvp_txn_if_version": [_H, Slice, c_char, c_uint64], "kvp_txn_if_value": [_H, Slice, c_bool, Slice],
    "kvp_txn_get": [_H, c_int, Slice], "kvp_txn_put": [_H, c_int, Slice, Slice],
    "kvp_txn_put_held": [_H, c_int, Slice, Slice, c_uint64, c_uint64],
    "kvp_txn_delete": [_H, c_int, Slice],
    "kvp_txn_add": [_H, c_int, Slice, c_int64],
}
_OTHER: "dict[str, tuple[Any, list[Any]]]" = {
    "kvp_strerror": (c_char_p, [c_int]), "kvp_version": (c_char_p, []), "kvp_version_number": (c_uint, []),
    "kvp_txn_new": (c_void_p, [_H]), "kvp_txn_error": (c_char_p, [_H]), "kvp_scan_error": (c_char_p, [_H]),
    "kvp_watch_error": (c_char_p, [_H]), "kvp_watch_revision": (c_uint64, [_H]), "kvp_watch_behind": (c_uint64, [_H]),
    "kvp_txn_result_count": (c_size_t, [_H]),
}


def _find() -> ctypes.CDLL:
    name = os.environ.get("KVPAIR_LIBRARY") or "libkvpair.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise ImportError("kvpair: %s cannot be loaded (%s): install libkvpair, or set KVPAIR_LIBRARY to its path"
                          % (name, error)) from None


def _declare(found: ctypes.CDLL) -> None:
    try:
        for name, arguments in _STATUS.items():
            function = getattr(found, name)
            function.restype, function.argtypes = c_int, arguments
        for name, arguments in _NOTHING.items():
            function = getattr(found, name)
            function.restype, function.argtypes = None, arguments
        for name, (result, arguments) in _OTHER.items():
            function = getattr(found, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise ImportError("kvpair: the library lacks a function (%s): it is older than this package; "
                          "install both from one release" % error) from None


def _written(fill: Callable[[Any], None], size: int, zeros: int) -> int:
    """How many bytes the library writes of a struct that is `size` bytes here, of which the first are to be 0."""
    marked = size + 256
    memory = ctypes.create_string_buffer(b"\0" * zeros + b"\xa5" * (marked - zeros), marked)
    fill(memory)
    return len(memory.raw.rstrip(b"\xa5"))


def _init_spec(found: ctypes.CDLL, memory: Any) -> None:
    found.kvp_job_spec_init(memory, JOB_TASKS)


def _sizes(found: ctypes.CDLL) -> "list[tuple[str, int, int]]":
    """(struct, size here, size in the library) of those that the library fills or wipes."""
    options = ClientOptions()
    found.kvp_client_options_init_sized(byref(options), ctypes.sizeof(options))
    return [
        ("kvp_client_options", ctypes.sizeof(ClientOptions), options.size),
        ("kvp_job_spec", ctypes.sizeof(Spec),
         _written(partial(_init_spec, found), ctypes.sizeof(Spec), 0)),
        ("kvp_result", ctypes.sizeof(Result),
         _written(found.kvp_result_free, ctypes.sizeof(Result), Result.reserved.offset)),
        ("kvp_task", ctypes.sizeof(Task), _written(found.kvp_task_free, ctypes.sizeof(Task), Task.reserved.offset)),
    ]


def _check(found: ctypes.CDLL) -> None:
    try:
        number = ctypes.CFUNCTYPE(c_uint)(("kvp_version_number", found))()
    except AttributeError:
        raise ImportError("kvpair: the library that was found has no kvp_version_number(): it is older than 0.2.0, "
                          "or not kvpair; see KVPAIR_LIBRARY") from None
    if not VERSION_FIRST <= number < VERSION_END:
        raise ImportError("kvpair: the library is of release %d.%d.%d, this package is for 0.2.0 and later ones "
                          "before 1.0.0: install both from one release"
                          % (number // 10000, number // 100 % 100, number % 100))


def _load() -> ctypes.CDLL:
    found = _find()
    _check(found)
    _declare(found)
    for name, here, there in _sizes(found):
        if here != there:
            raise ImportError("kvpair: struct %s has %d bytes in the library and %d in this package: install both "
                              "from one release" % (name, there, here))
    return found


library = _load()
