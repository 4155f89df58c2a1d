#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Peer messages of a running group, changed at random and sent again: copies of what the nodes say to each other are
altered, cut, joined and given to every node, while clients write. No node may crash or fail, no acknowledged
update may be lost or executed twice, and when it is over the group is in sync again.

    KVPAIR_BUILD=build tests/torture/peers.py [--seconds 60] [--seed N] [--nodes 3]
"""

import argparse
import os
import random
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "process"))

import kvtest  # noqa: E402
from kvtest import Group, Relay, Writer  # noqa: E402

GREETING = b"\0SP\0\0\x30\0\0"
KEPT_MAX = 400
BODY_MAX = 1 << 20


def is_of_peers(body):
    """Clients that are told of the primary come through the relays, too: what they ask for is done when it is asked
    for again by somebody else, and has to be."""
    return len(body) > 2 and 64 <= body[2] <= 70


class Recorder(Relay):
    """A relay that keeps bodies of the frames that go to its target."""

    def __init__(self, url, kept):
        self.kept = kept
        super().__init__(url)

    def _pump(self, source, sink):
        try:
            comes_in = source.getsockname() == self.listener.getsockname()
        except OSError:  # closed before its first byte
            comes_in = False
        if comes_in:
            source = Tap(source, self.kept)
        super()._pump(source, sink)


class Tap:
    """A socket whose frames are looked at on the way."""

    def __init__(self, link, kept):
        self.link, self.kept, self.data = link, kept, b""

    def recv(self, size):
        data = self.link.recv(size)
        self.data += data
        if self.data.startswith(GREETING):
            self.data = self.data[len(GREETING):]
        while len(self.data) >= 8:
            length = struct.unpack(">Q", self.data[:8])[0]
            if len(self.data) < 8 + length:
                break
            body = self.data[12:8 + length]
            if is_of_peers(body):
                self.kept.append(body)
            self.data = self.data[8 + length:]
            del self.kept[:-KEPT_MAX]
        return data

    def shutdown(self, how):
        self.link.shutdown(how)


def change(body, others, chance):
    """The body with some of it altered."""
    body = bytearray(body)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        way, at = chance.randrange(8), chance.randrange(len(body)) if body else 0
        if not body:
            break
        if way < 3:
            body[at] = chance.choice((0, 1, 0x7f, 0x80, 0xc0, 0xff, chance.randrange(256)))
        elif way == 3:
            body[at] ^= 1 << chance.randrange(8)
        elif way == 4:
            del body[at:at + chance.randrange(1, 9)]
        elif way == 5:
            body[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9)))
        elif way == 6:
            other = chance.choice(others)
            body[at:] = other[min(at, len(other)):]
        else:
            body[at:at + 9] = b"\xcf" + struct.pack(">Q", chance.choice((1 << 62, 2**64 - 1, 2**63, 1 << 40)))
    return bytes(body[:BODY_MAX])


class Forger:
    """Sends changed messages to one node until it is told to stop."""

    def __init__(self, url, kept, seed):
        self.port, self.kept, self.chance = int(url.rsplit(":", 1)[1]), kept, random.Random(seed)
        self.sent = 0
        self.stopped = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopped:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as link:
                    link.sendall(GREETING)
                    link.settimeout(0.02)
                    self._send(link)
            except OSError:
                time.sleep(0.05)

    def _send(self, link):
        for number in range(200):
            if self.stopped or not self.kept:
                return
            others = list(self.kept)
            body = change(self.chance.choice(others), others, self.chance)
            link.sendall(struct.pack(">QI", 4 + len(body), 0x80000000 | number) + body)
            self.sent += 1
            try:
                link.recv(65536)
            except socket.timeout:
                pass

    def stop(self):
        self.stopped = True
        self.thread.join(10)


def start(group, kept):
    """Nodes that talk to each other through recorders."""
    recorders = {node: Recorder(group.urls[node], kept) for node in group.urls}
    group.peer_urls = {(a, b): recorders[b].url for a in group.urls for b in group.urls}
    group.start()
    return recorders


def run(options):
    kept = []
    with Group(count=options.nodes) as group:
        recorders = start(group, kept)
        writer = Writer(group)
        writer.wait_more(20)
        forgers = [Forger(url, kept, options.seed * 100 + node)
                   for node, url in group.urls.items()]
        until = time.monotonic() + options.seconds
        while time.monotonic() < until:
            time.sleep(0.5)
            for node, process in group.nodes.items():
                assert process.alive(), "node %d has ended" % node
        for forger in forgers:
            forger.stop()
        group.wait_in_sync(*group.urls, seconds=60)
        writer.wait_more(20, seconds=60)
        summary = writer.stop()
        lost = writer.verify()["lost"]
        print("seed %d: %d messages, acknowledged %d, lost %d, twice %d" %
              (options.seed, sum(f.sent for f in forgers), summary["acknowledged"], lost,
               summary["twice"]), flush=True)
        for relay in recorders.values():
            relay.close()
        assert lost == 0 and summary["twice"] == 0
        for process in group.nodes.values():
            assert "role=failed" not in process.text()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--nodes", type=int, default=3)
    options = parser.parse_args()
    print("seed", options.seed, flush=True)
    run(options)


if __name__ == "__main__":
    main()
