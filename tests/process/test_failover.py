# SPDX-License-Identifier: Apache-2.0
"""Failover with a witness: kill, pause, witness away, handover, under write load."""

import os
import signal
import statistics
import time

import kvtest
from kvtest import SLOW, Group, Writer, wait_for

ROUNDS = int(os.environ.get("KVPAIR_ROUNDS", "3" if SLOW > 1 else "20"))


def test_value_survives_the_death_of_the_primary_and_the_old_one_rejoins():
    with Group().start() as group:
        first = group.primary()
        group.cli("put", "a", "1", check=0)
        assert group.get("a") == b"1"
        group.kill(first)
        assert group.get("a", timeout_ms=10000) == b"1"
        group.start_node(first)
        second = group.wait_in_sync(1, 2)
        assert second != first
        group.kill(second)  # and it can take over in turn
        assert group.get("a", timeout_ms=10000) == b"1"
        assert group.wait_primary(first) == first


def test_rounds_of_kills_under_load_lose_nothing_and_execute_nothing_twice():
    with Group().start() as group:
        writer = Writer(group)
        gaps = []
        try:
            for _ in range(ROUNDS):
                writer.wait_more()
                before = writer.acknowledged()
                victim = group.wait_primary()
                group.kill(victim)
                writer.wait_more()
                gaps.append(max(writer.gaps_ms()[max(before - 2, 0):]))
                group.start_node(victim)
                group.wait_in_sync(1, 2)
            summary = writer.stop()
        finally:
            writer.kill()
        verified = writer.verify()
        print("rounds %d, acknowledged %d, lost %d, twice %d, longest gap min/median/max "
              "%.0f/%.0f/%.0f ms" % (ROUNDS, summary["acknowledged"], verified["lost"],
                                     summary["twice"], min(gaps), statistics.median(gaps),
                                     max(gaps)))
        assert verified["lost"] == 0 and summary["twice"] == 0 and summary["unknown"] == 0
        assert verified["checked"] == summary["acknowledged"]
        assert max(gaps) < 1500 * SLOW


def test_paused_primary_never_serves_after_waking():
    with Group().start() as group:
        old = group.primary()
        new = 3 - old
        group.cli("put", "x", "before", check=0)
        group.nodes[old].signal(signal.SIGSTOP)
        group.wait_primary(new)
        group.cli("put", "x", "after", nodes=group.urls[new], check=0)
        time.sleep(2)  # the length of the pause is the point of this test
        # These wait in the sleeping node's socket and are the first that it sees.
        readers = [kvtest.subprocess.Popen(
            [kvtest.program("kvcli"), "--nodes", group.urls[old], "--timeout", "2500", "get", "x"],
            stdout=kvtest.subprocess.PIPE, stderr=kvtest.subprocess.PIPE) for _ in range(20)]
        time.sleep(0.3)
        group.nodes[old].signal(signal.SIGCONT)
        for reader in readers:
            out, _ = reader.communicate(timeout=60)
            assert out in (b"", b"after"), out
        assert group.wait_in_sync(1, 2) == new
        assert group.get("x") == b"after"
        assert group.nodes[old].alive()


def test_service_goes_on_without_the_witness_and_a_change_waits_for_it():
    with Group().start() as group:
        group.cli("put", "a", "1", check=0)
        group.witness.kill()
        group.cli("put", "a", "2", check=0)
        primary = group.primary()
        group.kill(primary)
        done = group.cli("put", "a", "3", timeout_ms=3000)
        assert done.returncode in (3, 4), done
        assert group.status(3 - primary)["serving"] is False
        group.start_witness()  # from its disk
        group.wait_primary(3 - primary)
        assert group.get("a", timeout_ms=10000) in (b"2", b"3")
        group.start_node(primary)
        group.wait_in_sync(1, 2)


def test_witness_register_survives_its_restart():
    with Group().start() as group:
        epoch = group.status(1)["epoch"]
        group.witness.signal(signal.SIGTERM)
        assert group.witness.wait() == 0
        group.start_witness()
        victim = group.primary()
        group.kill(victim)
        group.wait_primary(3 - victim)
        assert group.status(3 - victim)["epoch"] == epoch + 1


def test_handover_and_sigterm_move_the_role_without_an_error():
    with Group().start() as group:
        writer = Writer(group)
        try:
            writer.wait_more()
            first = group.primary()
            group.cli("handover", check=0)
            assert group.wait_primary(3 - first) == 3 - first
            group.wait_in_sync(1, 2)
            group.nodes[3 - first].signal(signal.SIGTERM)
            assert group.nodes[3 - first].wait() == 0
            group.wait_primary(first)
            writer.wait_more()
            summary = writer.stop()
        finally:
            writer.kill()
        assert summary["refused"] == 0 and summary["unknown"] == 0 and summary["twice"] == 0
        assert summary["longest_gap_ms"] < 1000 * SLOW
        assert writer.verify(group.urls[first])["lost"] == 0


def test_all_nodes_killed_and_restarted_serve_what_was_acknowledged():
    with Group().start() as group:
        group.cli("put", "a", "1", check=0)
        for node in (1, 2):
            group.kill(node)
        group.witness.kill()
        group.start_witness()
        for node in (1, 2):
            group.start_node(node)
        group.wait_in_sync(1, 2)
        assert group.get("a") == b"1"


def test_three_nodes_survive_two_deaths_one_after_the_other():
    with Group(count=3).start() as group:
        group.cli("put", "a", "1", check=0)
        first = group.primary()
        group.kill(first)
        second = group.wait_primary()
        rest = [n for n in (1, 2, 3) if n != first]
        wait_for(lambda: sorted(group.status(second)["in_sync"]) == rest, "two in sync")
        group.cli("put", "a", "2", check=0)
        group.kill(second)
        third = group.wait_primary()
        assert group.get("a", timeout_ms=10000) == b"2"
        group.start_node(first)
        group.start_node(second)
        assert group.wait_in_sync(1, 2, 3) == third


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
