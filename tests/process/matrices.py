# SPDX-License-Identifier: Apache-2.0
"""Matrices for tests, without NumPy: lists of rows, .npy files, products, Freivalds' check."""

import ast
import operator
import random
import struct

CODES = {"int32": ("i4", "i"), "int64": ("i8", "q"), "float32": ("f4", "f"), "float64": ("f8", "d")}


def make(rows, columns, element, seed):
    """Integers up to 1000, or for floats multiples of 1/16 up to 4: sums of their products are exact."""
    drawn = struct.unpack("<%dH" % (rows * columns),
                          random.Random(seed).randbytes(2 * rows * columns))
    if element.startswith("int"):
        numbers = [each % 2001 - 1000 for each in drawn]
    else:
        numbers = [(each % 129 - 64) / 16 for each in drawn]
    return [numbers[i * columns:(i + 1) * columns] for i in range(rows)]


def write_npy(path, rows, element):
    code, letter = CODES[element]
    head = "{'descr': '<%s', 'fortran_order': False, 'shape': (%d, %d), }" % (
        code, len(rows), len(rows[0]))
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode())
        for row in rows:
            file.write(struct.pack("<%d%s" % (len(row), letter), *row))


def read_npy(path):
    """(element, rows)"""
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<H", data[8:10])[0]
    head = ast.literal_eval(data[10:10 + size].decode())
    element = next(name for name, (code, _) in CODES.items() if head["descr"] == "<" + code)
    rows, columns = head["shape"]
    numbers = struct.unpack("<%d%s" % (rows * columns, CODES[element][1]), data[10 + size:])
    return element, [list(numbers[i * columns:(i + 1) * columns]) for i in range(rows)]


def product(a, b):
    columns = list(zip(*b))
    return [[sum(map(operator.mul, row, column)) for column in columns] for row in a]


def times_vector(matrix, vector):
    return [sum(map(operator.mul, row, vector)) for row in matrix]


def is_product(c, a, b, rounds=3):
    """For numbers whose sums are exact."""
    for seed in range(rounds):
        vector = [random.Random(seed * 1000 + i).randrange(-1000, 1000) for i in range(len(b[0]))]
        if times_vector(a, times_vector(b, vector)) != times_vector(c, vector):
            return False
    return True
