# SPDX-License-Identifier: Apache-2.0
"""Damaged files of a node: it comes back by itself where others have what it has, and stops where nobody has."""

import glob
import os

import damage
import kvtest
from kvtest import SLOW, Group, wait_for


def spoil(group, node, pattern):
    """Half of the file's bytes, in the middle: one bit would do, but need not be read."""
    path = max(glob.glob(os.path.join(group.data_dir(node), "*", pattern)), key=os.path.getsize)
    size = damage.content_size(path)
    damage.rewrite(path, size // 4, os.urandom(size // 2))


def comes_back(group, victim):
    group.wait_in_sync(1, 2, seconds=20 * SLOW)
    log = group.nodes[victim].text()
    assert "event=store_damaged" in log and "event=damaged_set_aside name=damaged-" in log, log


def test_a_damaged_store_is_replaced_by_itself_at_the_next_start():
    with Group().start() as group:
        victim = 3 - group.primary()
        for number in range(5):
            group.put("k%d" % number, b"before")
        for pattern in ("MANIFEST-*", "journal-1"):
            group.kill(victim)
            group.put("k1", pattern.encode())
            spoil(group, victim, pattern)
            group.start_node(victim)
            comes_back(group, victim)
            assert group.get("k1", nodes=group.urls[3 - victim]) == pattern.encode()
        group.kill(3 - victim)
        group.wait_primary(victim)
        assert group.get("k4") == b"before"


def test_a_primary_that_meets_damage_hands_over_and_repairs_itself():
    with Group().start() as group:
        victim = group.primary()
        rounds = damage.Rounds(group, 1)
        rounds.load()
        group.nodes[victim].signal(damage.signal.SIGTERM)
        group.nodes[victim].wait(20)
        group.start_node(victim)  # what it has is in tables now
        group.wait_in_sync(1, 2)
        if group.primary() != victim:
            group.cli("handover", str(victim), check=0)
            group.wait_primary(victim)
        spoil(group, victim, "*.ldb")
        group.cli("scan", "load")  # who reads it meets the damage
        comes_back(group, victim)
        assert damage.everything(group, victim) == rounds.expected


def test_the_last_copy_is_not_thrown_away():
    with Group().start() as group:
        last = group.primary()
        group.put("k", b"value")
        group.kill(3 - last)
        group.put("k", b"alone")
        group.kill(last)
        kept = sorted(os.listdir(group.data_dir(last)))
        spoil(group, last, "MANIFEST-*")
        group.start_node(last)
        wait_for(lambda: not group.nodes[last].alive(), "the end of the last copy")
        assert "this node alone has what the group acknowledged" in group.nodes[last].text()
        assert sorted(os.listdir(group.data_dir(last))) == kept
        group.start_node(3 - last)  # it must not lead with what it has
        done = group.cli("get", "k", timeout_ms=1500)
        assert done.returncode == 3, done


if __name__ == "__main__":
    kvtest.main([test_a_damaged_store_is_replaced_by_itself_at_the_next_start,
                 test_a_primary_that_meets_damage_hands_over_and_repairs_itself,
                 test_the_last_copy_is_not_thrown_away])
