# SPDX-License-Identifier: Apache-2.0
"""What the workers of the tests do."""

import os
import time

import kvpair


@kvpair.task("count")
def count(ctx, payload):
    return b"%d" % len(payload.split())


@kvpair.task("echo")
def echo(ctx, payload):
    return payload


@kvpair.task("fail")
def fail(ctx, payload):
    raise ValueError("cannot do " + payload.decode())


@kvpair.task("page")
def page(ctx, payload):
    """A poisoned page cannot be read until the file that the payload names is there."""
    number, _, mended = payload.partition(b" ")
    if mended and not os.path.exists(mended):
        raise OSError("cannot read page %s" % number.decode())
    return number


@kvpair.task("text")
def text(ctx, payload):
    return "not bytes"


@kvpair.task("steps")
def steps(ctx, payload):
    """Ten steps with a checkpoint each; it kills its worker after the fifth where there was none before."""
    begin = int(ctx.checkpoint_before or b"0")
    for step in range(begin, 10):
        ctx.progress(step / 10)
        ctx.checkpoint(b"%d" % (step + 1))
        if step == 4 and begin == 0:
            os._exit(9)
    return b"from %d" % begin


@kvpair.task("endless")
def endless(ctx, payload):
    step = 0
    while True:
        ctx.progress(min(1, step / 1000))
        time.sleep(0.01)
        step += 1


@kvpair.task("stuck")
def stuck(ctx, payload):
    time.sleep(60)
    return b""
