#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads digits of 5 x 7 pixels with a neural network whose layers are jobs: the results of one job are the input of the
next. Each layer is cut into parts that a worker with little memory can hold. Then the same in one job, where results
become inputs without leaving the store.

  network.py        the group is found by $KVPAIR_NODES; workers: kvworker --handler layer='python3 layer.py'"""

import json
import sys

import kvpair
from layer import beside, layer

ROWS, COLUMNS = 7, 5
# The pixels of the seven segments of a digit, and which of them each digit has.
SEGMENTS = {"a": [(0, 1), (0, 2), (0, 3)], "b": [(1, 4), (2, 4)], "c": [(4, 4), (5, 4)], "d": [(6, 1), (6, 2), (6, 3)],
            "e": [(4, 0), (5, 0)], "f": [(1, 0), (2, 0)], "g": [(3, 1), (3, 2), (3, 3)]}
DIGITS = ["abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgecd", "abc", "abcdefg", "abcdfg"]
NEURONS_MAX = 4  # in a part


def picture(digit):
    """Its pixels by rows, with noise: one is missing, one is too much."""
    lit = {pixel for segment in DIGITS[digit] for pixel in SEGMENTS[segment]} - {(0, 2), (6, 2)} | {(1, 2)}
    return [int((row, column) in lit) for row in range(ROWS) for column in range(COLUMNS)]


def network():
    """Pixels to segments (most of its pixels), segments to digits (just these segments), digits to four bits."""
    pixels = [[2 * ((row, column) in own) for row in range(ROWS) for column in range(COLUMNS)]
              for own in SEGMENTS.values()]
    segments = [[1 if segment in own else -1 for segment in SEGMENTS] for own in DIGITS]
    bits = [[digit >> bit & 1 for digit in range(10)] for bit in range(4)]
    return [{"weights": pixels, "bias": [1 - len(own) for own in SEGMENTS.values()]},
            {"weights": segments, "bias": [1 - len(own) for own in DIGITS]},
            {"weights": bits, "bias": [0] * 4}]


def parts_of(neurons):
    for first in range(0, len(neurons["bias"]), NEURONS_MAX):
        yield json.dumps({name: all_of[first:first + NEURONS_MAX] for name, all_of in neurons.items()}) + "\n"


def job_for_each_layer(kv, layers, pictures):
    lines = [json.dumps(pictures) + "\n"]
    for number, neurons in enumerate(layers, 1):
        job = kv.submit("layer", [(part + "".join(lines)).encode() for part in parts_of(neurons)],
                        name="layer %d" % number)
        lines = [result.decode() for result in job.result()]
        print("layer %d: job %d, %d parts" % (number, job.id, len(lines)), flush=True)
    return beside(map(json.loads, lines))


def one_job(kv, layers, pictures):
    tasks, before = [], []
    for neurons in layers:
        own = "" if before else json.dumps(pictures) + "\n"
        parts = [kvpair.TaskSpec((part + own).encode(), after=before, feed=True) for part in parts_of(neurons)]
        before = list(range(len(tasks), len(tasks) + len(parts)))
        tasks += parts
    job = kv.submit("layer", tasks, name="network")
    outputs = beside(json.loads(job[number].result()) for number in before)
    print("all layers: job %d, %d tasks" % (job.id, len(tasks)), flush=True)
    return outputs


def main():
    layers, pictures = network(), [picture(digit) for digit in range(10)]
    expected = pictures
    for neurons in layers:
        expected = layer(neurons, expected)
    with kvpair.connect() as kv:
        for outputs in job_for_each_layer(kv, layers, pictures), one_job(kv, layers, pictures):
            print("it reads:", *(sum(bit << place for place, bit in enumerate(bits)) for bits in outputs), flush=True)
            if outputs != expected:
                return "results differ"
    print("results match", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
