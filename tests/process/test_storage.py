# SPDX-License-Identifier: Apache-2.0
"""Disks: catching up, snapshots, full disks, damaged and truncated logs, much data, locks."""

import glob
import os
import subprocess

import kvtest
from kvtest import SLOW, Group, Writer, wait_for


def load(group, count, size=1000, prefix="load", nodes=None):
    """Writes `count` values through the writer's connection."""
    done = subprocess.run([kvtest.program("load"), "--nodes", nodes or group.nodes_option(),
                           "--count", str(count), "--size", str(size), "--prefix", prefix],
                          capture_output=True, timeout=900 * SLOW)
    assert done.returncode == 0, done.stderr


def test_a_backup_away_for_ten_updates_catches_up_from_the_log():
    with Group().start() as group:
        backup = 3 - group.primary()
        group.kill(backup)
        for number in range(10):
            group.cli("put", "k%d" % number, str(number), timeout_ms=10000, check=0)
        group.start_node(backup)
        group.wait_in_sync(1, 2)
        assert "snapshot_receiving" not in group.nodes[backup].text()
        assert group.cli("get", "k9", "--stale", nodes=group.urls[backup]).stdout == b"9"


def away_past_the_log(group):
    backup = 3 - group.primary()
    group.kill(backup)
    load(group, 4000)
    return backup


def test_a_backup_away_past_the_log_is_brought_in_by_a_snapshot_killed_in_the_middle():
    with Group(options=["--log-size", "1"]).start() as group:
        backup = away_past_the_log(group)
        for _ in range(3):
            group.start_node(backup)
            wait_for(lambda: "snapshot_receiving" in group.nodes[backup].text(), "a snapshot")
            status = group.status(backup)
            assert not status or status["applied"] < 4000 or status["in_sync"] != []
            group.kill(backup)
        group.start_node(backup)
        group.wait_in_sync(1, 2, seconds=60)
        group.kill(3 - backup)
        group.wait_primary(backup)
        assert group.cli("get", "load0000003999", timeout_ms=10000).returncode == 0
        assert group.cli("get", "load0000000000", timeout_ms=10000).returncode == 0


def with_tmpfs(body):
    """Runs body(directory) with a small file system of its own, where that is possible."""
    with Group() as group:
        directory = group.path("small")
        os.mkdir(directory)
        if os.geteuid() != 0 or subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", directory]).returncode != 0:
            print("skipped: needs the right to mount")
            return
        try:
            body(group, directory)
        finally:
            for process in group.nodes.values():
                process.kill()
            subprocess.run(["umount", directory], check=True)


def fill(directory):
    with open(os.path.join(directory, "filler"), "wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 65536) > 0:
                pass
        except OSError:
            pass


def test_full_disk_of_the_primary_loses_nothing_and_the_backup_takes_over():
    def body(group, directory):
        group.data[1] = os.path.join(directory, "node1")
        group.start()
        if group.primary() != 1:
            group.cli("handover", check=0)
            group.wait_in_sync(1, 2)
        writer = Writer(group, size=2000)
        try:
            writer.wait_more()
            fill(directory)
            group.wait_primary(2, seconds=60)
            writer.wait_more()
            assert group.nodes[1].wait() == 1
            assert "storage_failed" in group.nodes[1].text()
            assert "No space" in group.nodes[1].text() or "no space" in group.nodes[1].text()
            os.unlink(os.path.join(directory, "filler"))
            group.start_node(1)
            group.wait_in_sync(1, 2, seconds=60)
            writer.wait_more()
            summary = writer.stop()
        finally:
            writer.kill()
        assert summary["twice"] == 0 and writer.verify()["lost"] == 0
        group.kill(2)
        group.wait_primary(1)
        assert writer.verify()["lost"] == 0
    with_tmpfs(body)


def test_full_disk_of_the_backup_makes_it_leave_and_the_primary_goes_on():
    def body(group, directory):
        group.data[2] = os.path.join(directory, "node2")
        group.start()
        if group.primary() != 1:
            group.cli("handover", check=0)
            group.wait_in_sync(1, 2)
        writer = Writer(group, size=2000)
        try:
            writer.wait_more()
            fill(directory)
            assert group.nodes[2].wait(60) == 1
            wait_for(lambda: group.status(1)["in_sync"] == [1], "the backup out of the view")
            writer.wait_more()
            summary = writer.stop()
        finally:
            writer.kill()
        assert summary["twice"] == 0 and writer.verify(group.urls[1])["lost"] == 0
    with_tmpfs(body)


def damage(group, node, how):
    """The end of a journal's file is zeros."""
    [path] = glob.glob(os.path.join(group.data_dir(node), "store-*", "journal-*"))
    with open(path, "rb") as file:
        size = len(file.read().rstrip(b"\0"))
    assert size > 10000
    how(path, size)


def truncate(path, size):
    os.truncate(path, size * 2 // 3)


def flip(path, size):
    with open(path, "r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff\x00\xff\x00" * 8)


def wipe_end(path, size):
    with open(path, "r+b") as file:
        file.seek(size - 1000)
        file.write(b"\0" * 1000)


def never_serves_with_a_hole(how):
    """All nodes stop; the log of one is damaged; it must not lead alone with a part of the data."""
    with Group().start() as group:
        victim = group.primary()
        for number in range(50):
            group.cli("put", "k%d" % number, "x" * 200, check=0)
        for node in (1, 2):
            group.kill(node)
        damage(group, victim, how)
        group.start_node(victim)
        alive = wait_for(lambda: not group.nodes[victim].alive() or
                         (group.status(victim) or {}).get("doubt") or
                         "event=damaged_set_aside" in group.nodes[victim].text(),
                         "a refusal, doubt or an empty store")
        assert alive
        done = group.cli("get", "k0", nodes=group.urls[victim], timeout_ms=1500)
        assert done.returncode == 3, done
        group.start_node(3 - victim)
        group.wait_primary(3 - victim)
        assert group.get("k49", nodes=group.urls[3 - victim]) == b"x" * 200
        if group.nodes[victim].alive():  # it rejoins by itself
            group.wait_in_sync(1, 2)
            assert group.cli("get", "k49", "--stale", nodes=group.urls[victim]).stdout


def test_a_truncated_log_never_leads_to_a_hole():
    never_serves_with_a_hole(truncate)


def test_a_damaged_log_never_leads_to_a_hole():
    never_serves_with_a_hole(flip)


def test_a_log_that_lost_its_end_never_leads_to_a_hole():
    never_serves_with_a_hole(wipe_end)


def test_a_second_process_on_the_same_data_is_told_so():
    with Group().start() as group:
        done = subprocess.run([kvtest.program("kvnode"), "--id", "1", "--data", group.data_dir(1),
                               "--listen", "tcp://127.0.0.1:0", "--pair", "primary-wins"],
                              capture_output=True, timeout=20 * SLOW)
        assert done.returncode == 1
        assert group.data_dir(1).encode() in done.stderr, done.stderr
        assert str(group.nodes[1].pid).encode() in done.stderr, done.stderr


def test_a_port_in_use_is_told_so():
    with Group().start() as group:
        done = subprocess.run([kvtest.program("kvnode"), "--id", "1", "--data", group.path("x"),
                               "--listen", group.urls[2], "--pair", "primary-wins"],
                              capture_output=True, timeout=20 * SLOW)
        assert done.returncode == 1 and b"another process listens there" in done.stderr, done.stderr


def test_much_data_in_little_memory_and_a_new_backup_under_load():
    mebibytes = int(os.environ.get("KVPAIR_LOAD_MIB", "32" if SLOW > 1 else "128"))
    limit_kib = 256 * 1024 * SLOW
    with Group().start() as group:
        load(group, mebibytes * 1024, 1024)
        peak = max(group.nodes[n].resident_kib() for n in (1, 2))
        backup = 3 - group.primary()
        group.kill(backup)
        subprocess.run(["rm", "-rf", group.data_dir(backup)], check=True)
        writer = Writer(group)
        try:
            writer.wait_more()
            group.start_node(backup)
            group.wait_in_sync(1, 2, seconds=600)
            writer.wait_more()
            peak = max(peak, *(group.nodes[n].resident_kib() for n in (1, 2)))
            summary = writer.stop()
        finally:
            writer.kill()
        print("%d MiB loaded, resident at most %d MiB" % (mebibytes, peak // 1024))
        assert summary["twice"] == 0 and writer.verify()["lost"] == 0
        assert peak < limit_kib


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
