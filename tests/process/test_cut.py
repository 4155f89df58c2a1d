# SPDX-License-Identifier: Apache-2.0
"""Cuts of a network that swallows packets, each node in a namespace of its own. Needs root, ip and
iptables; exit code 77 (skipped) without them."""

import os
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torture"))

import kvtest  # noqa: E402
from kvtest import Group, Process, Writer, program, wait_for  # noqa: E402
from torture import Network, run  # noqa: E402

ROUNDS = int(os.environ.get("KVPAIR_ROUNDS", "3"))
CUT_S = 6


class CutGroup(Group):
    """Two nodes and a witness (in the hub, with the clients)."""

    def __init__(self, network):
        super().__init__(2)
        self.network = network
        self.urls = {i: "tcp://%s:7000" % network.address(i) for i in (1, 2)}
        self.peer_urls = dict(self.urls)
        self.witness_url = "tcp://%s:7000" % network.address(0)

    def command_prefix(self):
        return self.network.inside(0)

    def start_witness(self):
        self.witness = Process([program("kvwitness"), "--data", self.path("witness"), "--listen",
                                self.witness_url, "--insecure"], self.path("witness.log"), self.network.inside(0))

    def start_node(self, node, prefix=(), options=()):
        super().start_node(node, list(prefix) + self.network.inside(node), ["--insecure", *options])

    def isolate(self, node):
        for other in (0, 1, 2):
            if other != node:
                self.network.cut(node, other)
                self.network.cut(other, node)

    def heal(self):
        self.network.heal()
        self.network.heal_hub()


class HubNetwork(Network):
    def heal_hub(self):
        run(*self.inside(0), "iptables", "-w", "-F", "INPUT")


class InsideWriter(Writer):
    """Where the clients are."""

    count = 0

    def __init__(self, group):
        InsideWriter.count += 1
        self.prefix = group.network.inside(0)
        super().__init__(group, "writer%d" % InsideWriter.count)

    def command(self, *arguments):
        return self.prefix + super().command(*arguments)


def with_group(test):
    network = HubNetwork(2)
    try:
        group = CutGroup(network)
        with group.start():
            test(group)
    finally:
        network.close()


def test_a_node_that_was_cut_off_is_in_sync_within_two_seconds_of_the_heal():
    def rounds(group):
        for _ in range(ROUNDS):
            primary = group.primary()
            backup = 3 - primary
            group.isolate(backup)
            wait_for(lambda: (group.status(primary) or {}).get("in_sync") == [primary], "alone")
            for i in range(20):
                group.put("key", b"%d" % i)
            time.sleep(CUT_S)
            group.heal()
            begin = time.monotonic()
            wait_for(lambda: sorted((group.status(primary) or {}).get("in_sync", [])) == [1, 2],
                     "both in sync")
            took = time.monotonic() - begin
            print("in sync %.2f s after the heal" % took, flush=True)
            assert took < 2 * kvtest.SLOW, took
    with_group(rounds)


def test_a_client_goes_on_when_the_new_primary_serves():
    def rounds(group):
        for _ in range(ROUNDS):
            primary = group.wait_in_sync(1, 2)
            group.put("key", b"before")
            writer = InsideWriter(group)
            try:
                writer.wait_more(20)
                group.isolate(primary)
                time.sleep(3)
                writer.wait_more(20)
            finally:
                writer.kill()
            gap = max(writer.gaps_ms())
            print("longest gap between acknowledgements: %d ms" % gap, flush=True)
            group.heal()
            assert gap < 1000 * kvtest.SLOW, gap
    with_group(rounds)


if __name__ == "__main__":
    if os.geteuid() != 0 or not all(shutil.which(t) for t in ("ip", "iptables", "nsenter")):
        sys.exit(77)
    kvtest.main([test_a_node_that_was_cut_off_is_in_sync_within_two_seconds_of_the_heal,
                 test_a_client_goes_on_when_the_new_primary_serves])
