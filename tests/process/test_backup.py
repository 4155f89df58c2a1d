# SPDX-License-Identifier: Apache-2.0
"""kvcli backup, kvnode --restore: a point in time goes into a file and comes back as another group."""

import json
import os
import random
import shutil
import signal
import subprocess

import kvtest
from kvtest import Group, Writer, program, wait_for

JUMP = 1 << 40


def restore(group, node, file, data=None):
    """The data directory of a group's node, made of the file."""
    command = [program("kvnode"), "--id", str(node), "--data", data or group.data_dir(node), "--restore", file]
    return subprocess.run(command, capture_output=True, timeout=60)


def restored(group, node, file):
    done = restore(group, node, file)
    assert done.returncode == 0, done.stderr
    assert b"its revisions go on behind" in done.stdout
    return done.stdout


def about(group, *arguments):
    return json.loads(group.cli("--json", "backup", *arguments, timeout_ms=20000, check=0).stdout)


def load(group, count, size):
    subprocess.run([program("load"), "--nodes", group.nodes_option(), "--count", str(count), "--size", str(size),
                    "--prefix", "load/"], check=True, timeout=60)


def version(group, key):
    return json.loads(group.cli("--json", "get", key, check=0).stdout)["version"]


def submit(group):
    tasks = group.path("tasks")
    with open(tasks, "w") as file:
        file.write("".join('{"kind": "echo", "payload": "task %d"}\n' % i for i in range(20)))
    return int(group.cli("job", "submit", "tasks", tasks, check=0).stdout)


def work(group, job):
    """A worker does the job, which was submitted to another group."""
    worker = kvtest.Process([program("kvworker"), "--nodes", group.nodes_option(), "--id", "w", "--handler", "echo=cat"],
                            group.path("worker.log"))
    try:
        group.cli("job", "wait", str(job), timeout_ms=20000, check=0)
        assert group.cli("job", "result", str(job), "--task", "7", check=0).stdout == b"task 7"
    finally:
        worker.kill()


def test_what_was_backed_up_under_load_comes_back_as_another_group():
    with Group().start() as group:
        load(group, 2000, 4000)
        job = submit(group)
        group.put("old", b"1")
        writer = Writer(group)
        writer.wait_more(50)
        before, file, quiet = writer.acknowledged(), group.path("loaded"), group.path("quiet")
        loaded = about(group, file)
        assert writer.child.poll() is None
        writer.stop()
        assert os.stat(file).st_mode & 0o777 == 0o600 and not os.path.exists(file + ".partial")
        assert loaded["keys"] > 2000 + before and loaded["jobs"] == 1 and loaded["bytes"] > 8000000
        primary = group.primary()
        assert loaded["node"] == 3 - primary, "not from the backup"
        assert about(group, "verify", file) == dict(loaded, file=file)
        kept = about(group, quiet)
        assert about(group, "--from", str(primary), group.path("again"))["digest"] == kept["digest"]
        export = group.cli("export", timeout_ms=20000, check=0).stdout
        last = version(group, "old")
        with Group() as other:
            said = restored(other, 1, quiet)
            assert b"revision %d of group default" % kept["revision"] in said, said
            again = restore(other, 1, quiet)
            assert again.returncode == 1 and b"empty" in again.stderr, again.stderr
            other.start()
            assert other.cli("export", timeout_ms=20000, check=0).stdout == export
            there = about(other, other.path("third"))
            assert there["digest"] == kept["digest"] and there["group_id"] != kept["group_id"]
            assert version(other, "old") == last
            other.put("old", b"2")
            assert version(other, "old") > kept["revision"] + JUMP
            work(other, job)
            check_strangers(group, other)


def check_strangers(group, other):
    """Old members and restored nodes stay out of each other's groups, whoever turns up where."""
    for node in (1, 2):
        group.nodes[node].signal(signal.SIGTERM)
        group.nodes[node].wait()
    other.kill(2)
    shutil.rmtree(other.data_dir(2))
    shutil.copytree(group.data_dir(2), other.data_dir(2))
    other.start_node(2)
    wait_for(lambda: "wrong_group" in other.nodes[2].text(), "the old member to be told")
    status = other.status(2)
    assert not status["serving"] and status["group_id"] != other.status(1)["group_id"], status
    wait_for(lambda: other.primary() == 1 and other.status(1)["in_sync"] == [1], "the restored group to go on")
    other.put("goes on", b"1")
    assert restore(group, 2, group.path("quiet"), group.path("made")).returncode == 0
    group.data[2] = group.path("made")
    group.start_node(1)
    group.start_node(2)
    wait_for(lambda: "wrong_group" in group.nodes[1].text(), "the old group to see it")
    status = group.status(2)
    assert not status["serving"] and status["group_id"] != group.status(1)["group_id"], status


def test_a_backup_cut_or_flipped_anywhere_is_refused_with_the_offset():
    chance = random.Random(3)
    with Group(count=1, pair="primary-wins") as group:
        group.start_node(1)
        group.wait_primary()
        load(group, 300, 2000)
        file, bad, data = group.path("good"), group.path("bad"), group.path("restored")
        group.cli("backup", file, check=0)
        with open(file, "rb") as whole:
            good = whole.read()
        for i in range(12):
            at = chance.randrange(len(good))
            spoilt = bytearray(good[:at] if i % 2 == 0 else good)
            if i % 2 == 1:
                spoilt[at] ^= 1 << chance.randrange(8)
            with open(bad, "wb") as out:
                out.write(spoilt)
            done = group.cli("backup", "verify", bad)
            assert done.returncode == 1 and b"at offset" in done.stderr, (at, done.stderr)
            assert int(done.stderr.split(b"at offset ")[1].split(b":")[0]) <= at
            if i < 4:
                refused = restore(group, 1, bad, data)
                assert refused.returncode == 1 and b"at offset" in refused.stderr, refused.stderr
        assert restore(group, 1, file, data).returncode == 0
        assert restore(group, 1, file, group.data_dir(1)).returncode == 1
        piped = group.cli("backup", "-", check=0).stdout
        done = group.cli("backup", "verify", "-", stdin=piped, check=0)
        assert b"300 keys" in done.stdout, done.stdout


def backup_slowly(group, file):
    """One of 4 MiB that takes some seconds, under way."""
    process = kvtest.Process([program("kvcli"), "--nodes", group.nodes_option(), "--timeout", "500", "backup",
                              "--rate", "1500000", file], group.path("backup.log"))
    wait_for(lambda: os.path.exists(file + ".partial") and os.path.getsize(file + ".partial") > 500000,
             "some of the backup")
    return process


def test_a_backup_goes_on_when_its_node_answers_again_and_leaves_nothing_when_it_is_ended():
    with Group().start() as group:
        load(group, 1000, 4000)
        file, source = group.path("file"), 3 - group.primary()
        process = backup_slowly(group, file)
        group.nodes[source].signal(signal.SIGSTOP)
        size = os.path.getsize(file + ".partial")
        wait_for(lambda: "lost" in group.nodes[3 - source].text(), "the node to be missed")
        group.nodes[source].signal(signal.SIGCONT)
        process.wait(20)
        assert os.path.getsize(file) > size, process.text()
        group.cli("backup", "verify", file, check=0)
        group.wait_in_sync(1, 2)
        for number in (signal.SIGINT, signal.SIGTERM):
            process = backup_slowly(group, group.path("ended"))
            process.signal(number)
            process.wait(20)
            left = [name for name in os.listdir(group.work) if name.startswith("ended")]
            assert left == [] and "interrupted" in process.text(), (left, process.text())
        process = backup_slowly(group, group.path("lost"))
        source = 3 - group.primary()
        group.kill(source)
        group.start_node(source)
        process.wait(20)
        assert "begin again" in process.text(), process.text()
        assert [name for name in os.listdir(group.work) if name.startswith("lost")] == []


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
