#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A task of the kind "layer": some neurons of a layer of a neural network, on all inputs.

On standard input its first line has the neurons, {"weights": [[...], ...], "bias": [...]}; each other line the outputs
of some neurons of the layer before, a list for each input. Writes a line of that kind."""

import json
import sys


def layer(neurons, inputs):
    """A neuron says 1 when the weighted sum of its inputs is above -bias, else 0."""
    return [[int(sum(w * x for w, x in zip(weights, each)) + bias > 0)
             for weights, bias in zip(neurons["weights"], neurons["bias"])] for each in inputs]


def beside(parts):
    """The outputs of all neurons of a layer, from those of its parts."""
    return [sum(outputs, []) for outputs in zip(*parts)]


if __name__ == "__main__":
    first, *parts = map(json.loads, sys.stdin)
    print(json.dumps(layer(first, beside(parts))))
