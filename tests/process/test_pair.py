# SPDX-License-Identifier: Apache-2.0
"""Pair mode: each policy, with the nodes cut from each other by a relay, and with each node killed."""

import signal

import kvtest
from kvtest import Group, Relay, Writer, wait_for


class CutGroup(Group):
    """Two nodes that reach each other through relays only."""

    def __init__(self, policy):
        super().__init__(pair=policy)
        self.relays = []
        for node in (1, 2):
            relay = Relay(self.urls[3 - node])
            self.relays.append(relay)
            self.peer_urls[(node, 3 - node)] = relay.url

    def cut(self):
        for relay in self.relays:
            relay.cut()

    def heal(self):
        for relay in self.relays:
            relay.heal()

    def __exit__(self, *exception):
        super().__exit__(*exception)
        for relay in self.relays:
            relay.close()

    def serving(self, node):
        status = self.status(node)
        return bool(status and status["serving"])


def test_without_a_policy_or_a_witness_kvnode_refuses_and_says_why():
    with Group() as group:
        done = kvtest.subprocess.run(
            [kvtest.program("kvnode"), "--id", "1", "--data", group.path("d"), "--listen",
             group.urls[1], "--peer", "2=" + group.urls[2]], capture_output=True, timeout=20)
        assert done.returncode == 2
        for word in (b"witness", b"backup-wins", b"primary-wins", b"available"):
            assert word in done.stderr, done.stderr


def test_backup_wins_under_a_cut():
    with CutGroup("backup-wins").start() as group:
        old = group.primary()
        new = 3 - old
        writer = Writer(group)
        try:
            writer.wait_more()
            group.cut()
            # At no time do both serve: as soon as the backup does, the old primary has stopped.
            wait_for(lambda: group.serving(new), "the backup to serve")
            assert not group.serving(old)
            writer.wait_more()
            group.heal()
            assert group.wait_in_sync(1, 2) == new
            writer.wait_more()
            summary = writer.stop()
        finally:
            writer.kill()
        assert summary["twice"] == 0 and writer.verify()["lost"] == 0
        assert group.status(old)["stores_set_aside"] == 0


def test_backup_wins_with_the_primary_killed():
    with CutGroup("backup-wins").start() as group:
        old = group.primary()
        group.cli("put", "a", "1", check=0)
        group.kill(old)
        assert group.get("a", timeout_ms=10000) == b"1"
        group.cli("put", "a", "2", check=0)
        group.start_node(old)
        assert group.wait_in_sync(1, 2) == 3 - old
        assert group.get("a") == b"2"


def test_backup_wins_with_the_backup_killed_stops_until_it_is_back():
    with CutGroup("backup-wins").start() as group:
        primary = group.primary()
        group.cli("put", "a", "1", check=0)
        group.kill(3 - primary)
        wait_for(lambda: not group.serving(primary), "the primary to stop serving")
        assert group.cli("put", "a", "2", timeout_ms=1500).returncode in (3, 4)
        done = group.cli("promote", "--node", group.urls[primary], check=5)
        assert b"leads already, but may not serve" in done.stderr, done
        group.start_node(3 - primary)
        group.wait_in_sync(1, 2)
        assert group.get("a") in (b"1", b"2")


def test_backup_wins_a_clean_stop_of_the_backup_leaves_the_primary_serving():
    with CutGroup("backup-wins").start() as group:
        primary = group.primary()
        group.nodes[3 - primary].signal(signal.SIGTERM)
        assert group.nodes[3 - primary].wait() == 0
        group.cli("put", "a", "1", nodes=group.urls[primary], check=0)
        group.kill(primary)  # alone in its last view: it serves alone after a restart
        group.start_node(primary)
        group.wait_primary(primary)
        assert group.get("a", nodes=group.urls[primary]) == b"1"
        group.start_node(3 - primary)
        group.wait_in_sync(1, 2)


def test_primary_wins_under_a_cut():
    with CutGroup("primary-wins").start() as group:
        primary = group.primary()
        writer = Writer(group)
        try:
            writer.wait_more()
            group.cut()
            writer.wait_more()
            assert group.serving(primary) and not group.serving(3 - primary)
            group.heal()
            assert group.wait_in_sync(1, 2) == primary
            summary = writer.stop()
        finally:
            writer.kill()
        assert summary["twice"] == 0 and writer.verify()["lost"] == 0


def test_primary_wins_nobody_promotes_without_an_operator():
    with CutGroup("primary-wins").start() as group:
        primary = group.primary()
        backup = 3 - primary
        group.cli("put", "a", "1", check=0)
        group.kill(primary)
        wait_for(lambda: "primary_silent" in group.nodes[backup].text() or
                 "waits_for_peer" in group.nodes[backup].text(), "the backup to notice")
        assert group.cli("get", "a", timeout_ms=1500).returncode == 3
        group.cli("promote", "--node", group.urls[backup], check=0)
        assert group.get("a", timeout_ms=10000) == b"1"
        group.start_node(primary)
        assert group.wait_in_sync(1, 2) == backup


def test_available_both_serve_and_on_reunion_one_store_is_set_aside():
    with CutGroup("available").start() as group:
        old = group.primary()
        new = 3 - old
        group.cli("put", "shared", "1", check=0)
        group.cut()
        wait_for(lambda: group.serving(old) and group.serving(new), "both to serve")
        for number in range(3):
            group.cli("put", "old%d" % number, "x", nodes=group.urls[old], check=0)
        group.cli("put", "shared", "2", nodes=group.urls[new], check=0)
        group.heal()
        winner = group.wait_in_sync(1, 2)
        loser = 3 - winner
        status = wait_for(lambda: (lambda s: s if s and s["stores_set_aside"] == 1 else None)(
            group.status(loser)), "a store set aside")
        assert status["diverged"] >= (3 if loser == old else 1), status
        if winner == new:
            assert group.get("shared") == b"2"
            assert group.cli("get", "old0").returncode == 1
        aside = [n for n in __import__("os").listdir(group.data_dir(loser))
                 if n.startswith("diverged-")]
        assert len(aside) == 1, aside


def test_available_each_node_killed():
    with CutGroup("available").start() as group:
        for _ in range(2):
            primary = group.primary()
            group.cli("put", "a", str(primary), check=0)
            group.kill(primary)
            assert group.get("a", timeout_ms=10000) == str(primary).encode()
            group.start_node(primary)
            group.wait_in_sync(1, 2)
        group.kill(3 - group.primary())
        wait_for(lambda: group.cli("put", "a", "z").returncode == 0, "writes without the backup")


def test_a_stale_node_that_boots_alone_does_not_serve():
    with CutGroup("backup-wins").start() as group:
        old = group.primary()
        group.kill(old)
        group.wait_primary(3 - old)
        group.cli("put", "a", "new", check=0)
        group.kill(3 - old)
        group.start_node(old)
        wait_for(lambda: group.status(old), "the node to answer")
        assert group.cli("get", "a", nodes=group.urls[old], timeout_ms=2000).returncode == 3
        group.start_node(3 - old)
        group.wait_in_sync(1, 2)
        assert group.get("a") == b"new"


def test_a_pair_gets_a_witness():
    with Group(pair="backup-wins").start() as group:
        group.put("a", b"1")
        for with_witness in (True, False):
            for node in group.urls:
                group.nodes[node].signal(signal.SIGTERM)
            for node in group.urls:
                group.nodes[node].wait()
            group.pair = None if with_witness else "backup-wins"
            if with_witness:
                group.start_witness()
            for node in group.urls:
                group.start_node(node)
            group.wait_in_sync(1, 2)
            assert group.get("a") == b"1"


def test_fence_command_must_succeed_before_a_promotion():
    with CutGroup("backup-wins") as group:
        flag = group.path("fence-works")
        group.options = ["--fence-command", "test -e " + flag]
        group.start()
        primary = group.primary()
        group.kill(primary)
        wait_for(lambda: "fence_failed" in group.nodes[3 - primary].text(), "the fence to fail")
        assert not group.serving(3 - primary)
        open(flag, "w").close()
        group.wait_primary(3 - primary)


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
