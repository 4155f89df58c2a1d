# SPDX-License-Identifier: Apache-2.0
"""Matrices in and out: NumPy arrays where the caller has them, else lists of rows."""

from __future__ import annotations

import array
import ctypes
import sys
from ctypes import byref, c_uint64
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

from . import errors
from ._abi import ELEMENTS, JOB_MATMUL, PROGRESS, Matrix as Struct, Spec, library
from ._handle import raise_for
from ._jobs import Job, Progress, ProgressTo, listener_of
from ._options import Options, check_status

if TYPE_CHECKING:
    from ._client import Client

Matrix = Union[Sequence[Sequence[Union[int, float]]], Any]  # Any: an array of NumPy, or what becomes one

INT32, INT64, FLOAT32, FLOAT64 = range(4)
LETTERS = ("i", "q", "f", "d")
CODES = ("<i4", "<i8", "<f4", "<f8")


class Held:
    """A kvp_matrix over bytes that Python owns, or one that the library owns."""

    def __init__(self, struct: Struct, owner: Any, ours: bool) -> None:
        self.struct, self.owner, self.ours = struct, owner, ours

    def converted(self, element: int, name: str) -> "Held":
        """The same numbers in another type, or `BadRequest` which names the first that does not fit."""
        if self.struct.type == element:
            return self
        struct, message = Struct(), ctypes.create_string_buffer(200)
        status = library.kvp_matrix_convert(byref(self.struct), element, byref(struct), message, len(message))
        check_status(status, "%s: %s" % (name, message.value.decode("utf-8", "replace")))
        return Held(struct, None, True)

    def __del__(self) -> None:
        if self.ours:
            library.kvp_matrix_free(byref(self.struct))


def _numpy(matrix: Any) -> Any:
    """NumPy, if this is one of its arrays or can become one; else None."""
    if isinstance(matrix, (list, tuple)) or not hasattr(matrix, "__array__"):
        return None
    import numpy
    return numpy


def _over(memory: Any, address: int, size: int, element: int, rows: int, columns: int) -> Held:
    struct = Struct(element, rows, columns)
    struct.data.data, struct.data.size, struct.data.capacity = address, size, size
    return Held(struct, memory, False)


def _check_shape(shape: Sequence[int], name: str) -> None:
    if len(shape) != 2 or 0 in shape:
        raise ValueError("%s has the shape %r: a matrix has two dimensions of at least 1" % (name, tuple(shape)))


def _from_array(numpy: Any, matrix: Any, name: str) -> Held:
    found = numpy.asarray(matrix)
    _check_shape(found.shape, name)
    if found.dtype.kind not in "biuf" or found.dtype.itemsize > 8:
        raise TypeError("%s is of %s: a matrix is of int32, int64, float32 or float64" % (name, found.dtype))
    if found.dtype.kind == "f":
        element = FLOAT32 if found.dtype.itemsize <= 4 else FLOAT64
    else:
        element = INT32 if numpy.can_cast(found.dtype, numpy.int32) else INT64
    if found.dtype == numpy.uint64 and int(found.max()) >= 1 << 63:
        raise errors.Overflow("%s has a number above 2**63 - 1: int64 does not hold it" % name)
    found = numpy.ascontiguousarray(found, dtype=CODES[element])
    return _over(found, found.ctypes.data, found.nbytes, element, found.shape[0], found.shape[1])


def _from_rows(matrix: Any, name: str) -> Held:
    try:
        rows = [list(row) for row in matrix]
    except TypeError:
        raise TypeError("%s is a list of rows of numbers, or an array of NumPy, not %s"
                        % (name, type(matrix).__name__)) from None
    _check_shape((len(rows), len(rows[0]) if rows else 0), name)
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError("%s: row %d has %d numbers, row 0 has %d" % (name, number, len(row), len(rows[0])))
    numbers = [number for row in rows for number in row]
    floats = any(isinstance(number, float) for number in numbers)
    try:
        flat = array.array("d" if floats else "q", numbers)
    except OverflowError:
        raise errors.Overflow("%s has a number that int64 does not hold" % name) from None
    except TypeError as error:
        raise TypeError("%s: %s" % (name, error)) from None
    if sys.byteorder != "little":
        flat.byteswap()
    address, _ = flat.buffer_info()
    return _over(flat, address, len(flat) * 8, FLOAT64 if floats else INT64, len(rows), len(rows[0]))


def take(matrix: Matrix, name: str) -> Held:
    numpy = _numpy(matrix)
    return _from_rows(matrix, name) if numpy is None else _from_array(numpy, matrix, name)


def _same_type(a: Held, b: Held, wanted: Optional[int]) -> Tuple[Held, Held]:
    """Both of the type that was asked for, else of one that both fit in."""
    types = (a.struct.type, b.struct.type)
    if wanted is None:
        wanted = types[0] if types[0] == types[1] else FLOAT64 if max(types) >= FLOAT32 else INT64
    return a.converted(wanted, "A"), b.converted(wanted, "B")


class _Upload:
    """Tells of the bytes that have arrived; what the listener raises is raised when the library is back."""

    def __init__(self, listener: Optional[Callable[[Progress], None]]) -> None:
        self._listener = listener
        self.failure: Optional[BaseException] = None
        self.function = PROGRESS(self._tell)

    def _tell(self, _: Any, sent: int, total: int) -> None:
        try:
            if self.failure is None and self._listener is not None:
                self._listener(Progress("uploading", sent, total))
        except BaseException as failure:
            self.failure = failure


def submit(client: "Client", a: Matrix, b: Matrix, options: Options, progress: ProgressTo) -> Job:
    arrays = _numpy(a) is not None or _numpy(b) is not None
    spec = options.spec(JOB_MATMUL)
    held_a, held_b = _same_type(take(a, "A"), take(b, "B"), options.element_number())
    spec.element, spec.inner = held_a.struct.type, held_a.struct.columns
    options.compare_as(spec, held_a.struct.type >= FLOAT32)
    upload, number = _Upload(listener_of(progress)), c_uint64()
    raise_for(client._handle.call(library.kvp_job_submit_matmul, byref(spec), byref(held_a.struct),
                                  byref(held_b.struct), options.buffer, byref(number), upload.function, None))
    job = Job(client, number.value)
    job._arrays = arrays
    if upload.failure is not None:
        job.cancel()
        raise upload.failure
    return job


def _spec_of(info: Dict[str, Any]) -> Spec:
    spec = Spec()
    library.kvp_job_spec_init(byref(spec), JOB_MATMUL)
    spec.element = ELEMENTS.index(info["element"])
    for name in ("rows", "inner", "columns", "tile_rows", "tile_inner", "tile_columns"):
        setattr(spec, name, info[name])
    return spec


def _to_array(numpy: Any, struct: Struct) -> Any:
    product = numpy.empty((struct.rows, struct.columns), dtype=CODES[struct.type])
    ctypes.memmove(product.ctypes.data, struct.data.data, struct.data.size)
    return product


def _to_rows(struct: Struct) -> List[List[Any]]:
    flat = array.array(LETTERS[struct.type])
    flat.frombytes(struct.data.bytes())
    if sys.byteorder != "little":
        flat.byteswap()
    return [flat[row * struct.columns:(row + 1) * struct.columns].tolist() for row in range(struct.rows)]


def product(job: Job, info: Dict[str, Any], arrays: Optional[bool]) -> Any:
    """The product of a job that is done. `arrays` None: NumPy's if it can be had."""
    numpy: Any = None
    if arrays is not False:
        try:
            import numpy
        except ImportError:
            pass
    struct = Struct()
    raise_for(job.client._handle.call(library.kvp_job_product, job.id, byref(_spec_of(info)), byref(struct)))
    try:
        return _to_rows(struct) if numpy is None else _to_array(numpy, struct)
    finally:
        library.kvp_matrix_free(byref(struct))
