# SPDX-License-Identifier: Apache-2.0
"""Lines on which a large value takes many times the time of a try."""

import os
import socket
import time

import kvtest
from kvtest import Group, Relay, wait_for

BYTES_PER_SECOND = 200 * 1000
SLICE = 4000
SIZE = 1024 * 1024
TIMEOUT_MS = 30000


class SlowRelay(Relay):
    """Lets so many bytes a second through, each way; what it holds itself is little if `tight`."""

    def __init__(self, target_url, tight):
        super().__init__(target_url)
        self.tight = tight
        self.forwarded = 0
        if tight:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)

    def _pump(self, source, sink):
        source.settimeout(None)
        if self.tight:
            source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            sink.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        try:
            due = time.monotonic()
            while True:
                data = source.recv(SLICE)
                if not data:
                    break
                due = max(due, time.monotonic() - 0.1) + len(data) / BYTES_PER_SECOND
                time.sleep(max(0, due - time.monotonic()))
                sink.sendall(data)
                self.forwarded += len(data)
        except OSError:
            pass
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def check_large_value(tight):
    """Puts and gets 1 MiB through a slow relay, and returns how many bytes took which way."""
    with Group(count=1, pair="primary-wins") as group:
        relay = SlowRelay(group.urls[1], tight)
        group.start_node(1, options=["--advertise", relay.url])  # or clients find the direct way
        wait_for(lambda: group.primary() == 1, "the node to serve")
        value = os.urandom(SIZE)
        begin = time.monotonic()
        group.cli("put", "large", "-", stdin=value, nodes=relay.url, timeout_ms=TIMEOUT_MS,
                  check=0)
        put_s, put_bytes = time.monotonic() - begin, relay.forwarded
        assert group.get("large") == value
        relay.forwarded = 0
        begin = time.monotonic()
        assert group.get("large", nodes=relay.url, timeout_ms=TIMEOUT_MS) == value
        get_s, get_bytes = time.monotonic() - begin, relay.forwarded
        print("put: %.1f s, %d bytes; get: %.1f s, %d bytes" % (put_s, put_bytes, get_s,
                                                                get_bytes))
        relay.close()
        return put_bytes, get_bytes


def test_a_large_value_gets_through_a_slow_line_in_one_piece():
    put_bytes, get_bytes = check_large_value(True)
    assert put_bytes < 1.5 * SIZE and get_bytes < 1.5 * SIZE, (put_bytes, get_bytes)


def test_a_large_value_gets_through_a_relay_that_hides_how_slow_it_is():
    check_large_value(False)


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
