# SPDX-License-Identifier: Apache-2.0
"""Keys that end by themselves, and leases: with kvcli, over the death of the primary, in order, and none early."""

import json
import os
import socket
import struct
import subprocess
import threading
import time

import kvtest
import test_protocol as wire
from kvtest import Group, program


def out(group, *words, check=0):
    return group.cli(*words, check=check).stdout.decode()


def is_there(group, key):
    return group.cli("get", key, check=None).returncode == 0


def gone_after(group, key, start, limit):
    """How long after the start the key was gone."""
    kvtest.wait_for(lambda: not is_there(group, key), "the end of %s" % key, seconds=limit)
    return time.monotonic() - start


def test_a_key_ends_after_its_time_and_is_a_deletion_for_watchers(group):
    start = time.monotonic()
    group.cli("put", "--ttl", "1.5", "short", "v", check=0)
    group.cli("put", "--ttl", "100", "kept", "v", check=0)
    group.cli("put", "kept", "w", check=0)
    assert 0 < float(out(group, "ttl", "short")) <= 1.5
    assert "does not end" in out(group, "ttl", "kept")
    group.cli("ttl", "nothing", check=1)
    assert 1.5 <= gone_after(group, "short", start, 10) < 4
    assert is_there(group, "kept")


def test_a_lease_ends_with_its_keys_unless_it_is_kept(group):
    lease = out(group, "lease", "grant", "1.2").strip()
    group.cli("put", "--lease", lease, "l/a", "v", check=0)
    group.cli("create", "--lease", lease, "l/b", "v", check=0)
    shown = json.loads(out(group, "--json", "lease", "show", lease))
    assert shown["keys"] == 2 and shown["names"] == ["l/a", "l/b"] and 0 < shown["left_ms"] <= 1200, shown
    listed = json.loads(out(group, "--json", "lease", "list"))
    assert [str(item["lease"]) for item in listed] == [lease], listed
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        group.cli("lease", "keep", "--once", lease, check=0)
    start = time.monotonic()
    assert is_there(group, "l/a")
    assert 1.0 < gone_after(group, "l/b", start, 10) < 4
    assert not is_there(group, "l/a")
    assert b"no such lease" in group.cli("put", "--lease", lease, "l/c", "v", check=1).stderr
    group.cli("lease", "keep", "--once", lease, check=1)


def test_a_revoked_lease_takes_its_keys(group):
    lease = out(group, "lease", "grant", "60").strip()
    for i in range(5):
        group.cli("put", "--lease", lease, "r/%d" % i, "v", check=0)
    group.cli("lease", "revoke", lease, check=0)
    assert out(group, "scan", "--keys", "r/") == ""
    group.cli("lease", "revoke", lease, check=1)
    for words in (["put", "--ttl", "0.01", "x", "y"], ["put", "--ttl", "1", "--lease", "1", "x", "y"],
                  ["lease", "grant", "much"], ["lease", "keep", "0"]):
        group.cli(*words, check=2)


def test_the_death_of_the_primary_ends_nothing_early(group):
    lease = out(group, "lease", "grant", "2").strip()
    start = time.monotonic()
    group.cli("put", "--lease", lease, "f/leased", "v", check=0)
    group.cli("put", "--ttl", "4", "f/timed", "v", check=0)
    time_of_death = time.monotonic()
    group.kill(group.primary())
    group.wait_primary(1, 2)
    group.cli("lease", "keep", "--once", lease, check=0)
    served = time.monotonic()
    assert served - time_of_death < 2 or is_there(group, "f/leased")
    assert gone_after(group, "f/leased", served, 10) >= 1.8
    assert gone_after(group, "f/timed", start, 15) >= 4


def test_a_lock_is_held_by_one_and_its_token_grows(group):
    done = out(group, "lock", "--ttl", "2", "lock/a", "--", "sh", "-c", "echo $KVPAIR_FENCE")
    again = out(group, "lock", "--ttl", "2", "lock/a", "--", "sh", "-c", "echo $KVPAIR_FENCE")
    assert 0 < int(done) < int(again), (done, again)
    group.cli("lock", "lock/a", "--", "sh", "-c", "exit 7", check=7)
    inner = [kvtest.program("kvcli"), "--nodes", group.nodes_option(), "lock", "--timeout", "0", "lock/a", "--", "true"]
    group.cli("lock", "lock/a", "--", *inner, check=1)
    assert not is_there(group, "lock/a")
    said = [kvtest.program("kvcli"), "--nodes", group.nodes_option(), "get", "lead"]
    assert out(group, "elect", "lead", "me", "--", *said) == "me"


def test_a_command_ends_with_its_lock(group):
    start = time.monotonic()
    steal = [kvtest.program("kvcli"), "--nodes", group.nodes_option()]
    command = " ".join(steal) + " lease revoke $KVPAIR_LEASE; sleep 30"
    group.cli("lock", "--ttl", "1", "lock/b", "--", "sh", "-c", command, check=4)
    assert time.monotonic() - start < 10


class Script:
    """A node that says what a test wants: one function for each operation, which gives code and result."""

    def __init__(self, says):
        self.says, self.listener = says, socket.create_server(("127.0.0.1", 0))
        self.url = "tcp://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def accept(self):
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(link,), daemon=True).start()

    def serve(self, link):
        file = link.makefile("rb")
        file.read(8)
        link.sendall(b"\0SP\0\0\x31\0\0")
        while True:
            size = file.read(8)
            if len(size) < 8:
                return
            data = file.read(struct.unpack(">Q", size)[0])
            request = wire.unpack(data, 4)[0]
            code, result = self.says(request[1], request[8:])
            body = data[:4] + b"\x95" + wire.pack(1) + wire.pack(code) + wire.pack(1) + wire.pack(self.url) + result
            link.sendall(struct.pack(">Q", len(body)) + body)


def test_another_ones_version_is_never_taken_for_the_own_token(_):
    """The lease ends, and another one gets the lock, between two questions of who wants to know whether it has it."""
    grant, show, create, watch, mine, version = 48, 52, 4, 15, 7, [10]

    def says(op, arguments):
        if op == wire.HELLO:
            return wire.OK, wire.pack([1, 4, 99, 1, [[1, script.url]], 5, 1024, 1 << 20, 1024, 4 << 20, 16 << 20])
        if op == grant:
            return wire.OK, wire.pack(mine)
        if op == create:
            return 2, wire.pack(version[0])  # EXISTS
        if op == wire.GET:
            return wire.OK, wire.pack([version[0], version[0], b"ann", 0])
        if op == show:
            whose = mine if version[0] == 10 else 8
            version[0] = 20  # from here on it is another one's
            return wire.OK, b"\x84" + b"".join(map(wire.pack, ("lease", whose, "ttl_ms", 9000, "left_ms", 9, "keys", 1)))
        if op == watch:
            time.sleep(0.2)
            return wire.OK, wire.pack([arguments[2], arguments[2], [], 0])
        return wire.OK, wire.pack(9000)

    with Script(says) as script:
        done = subprocess.run([program("kvcli"), "--nodes", script.url, "lock", "--timeout", "1", "door", "--",
                               "printenv", "KVPAIR_FENCE"], capture_output=True, timeout=60)
    assert version[0] == 20 and done.returncode == 1 and b"another one has it" in done.stderr, done


def test_the_longest_of_names_is_waited_for_and_watched(group):
    name = "n" * 1024
    group.cli("put", name, "somebody", check=0)
    assert b"another one has it" in group.cli("lock", "--timeout", "1", name, "--", "true", check=1).stderr
    version = json.loads(out(group, "--json", "get", name))["version"]
    group.cli("put", name, "another", check=0)
    assert out(group, "get", "--revision", str(version), name).strip() == "somebody"


def test_a_paused_holder_is_refused_by_what_checks_the_token(_):
    script = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
                          "examples/fencing/fencing.sh")
    done = subprocess.run([script, os.environ["KVPAIR_BUILD"]], capture_output=True, timeout=100, text=True)
    assert done.returncode == 0 and "ann: refused after" in done.stdout, done


if __name__ == "__main__":
    kvtest.main_with_group(Group(), [test for name, test in list(globals().items()) if name.startswith("test_")])
