#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real nodes under torture: killed, paused, cut from each other (also one way), on lossy networks and
full disks, with power cuts and failing system calls, while clients work. Each session ends with all
faults healed: then the group must serve again by itself, all its members must hold the same, and what
the clients saw must be linearizable.

    torture.py [--seconds N | --minutes N] [--seed N]

One session takes about 30 s. Needs root for network namespaces and file systems of its own; without,
only processes are tortured. Everything it makes is removed at the end; only processes that it started
are touched."""

import argparse
import ctypes
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "process"))

import kvtest  # noqa: E402
from kvtest import SLOW, Group, Process, program, wait_for  # noqa: E402

SESSION_SECONDS = 20
EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
NOLOGFLUSH = 2  # what is not on the disk yet is lost, journal included
DISK_MIB = 64


def run(*arguments, check=True):
    return subprocess.run([str(a) for a in arguments], check=check, capture_output=True, text=True)


class Network:
    """Each node in a network namespace of its own, on one bridge; tests talk from one more."""

    def __init__(self, count):
        self.prefix = "kvt%d" % os.getpid()
        self.names = ["%s-%d" % (self.prefix, i) for i in range(count + 2)]  # 0: hub and clients
        self.made = []
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self):
        hub = self.names[0]
        for name in self.names:
            run("ip", "netns", "add", name)
            self.made.append(name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", hub, "link", "add", "bridge", "type", "bridge")
        run("ip", "-n", hub, "addr", "add", self.address(0) + "/24", "dev", "bridge")
        run("ip", "-n", hub, "link", "set", "bridge", "up")
        for i, name in enumerate(self.names[1:], 1):
            run("ip", "-n", hub, "link", "add", "v%d" % i, "type", "veth", "peer", "name", "eth0",
                "netns", name)
            run("ip", "-n", hub, "link", "set", "v%d" % i, "master", "bridge", "up")
            run("ip", "-n", name, "addr", "add", self.address(i) + "/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")

    @staticmethod
    def address(index):
        return "10.213.77.%d" % (index + 1)

    def inside(self, index):
        # Not "ip netns exec": that makes copies of all mounts, which hold on to power-cut disks.
        return ["nsenter", "--net=/run/netns/" + self.names[index]]

    def _rule(self, index, *rule):
        run(*self.inside(index), "iptables", "-w", "-A", "INPUT", *rule, "-j", "DROP")

    def cut(self, source, sink):
        """What `source` sends does not arrive at `sink`."""
        self._rule(sink, "-s", self.address(source))

    def lose(self, source, sink, probability):
        self._rule(sink, "-s", self.address(source), "-m", "statistic", "--mode", "random",
                   "--probability", probability)

    def heal(self):
        for i in range(1, len(self.names)):
            run(*self.inside(i), "iptables", "-w", "-F", "INPUT")

    def close(self):
        for name in self.made:
            run("ip", "netns", "del", name, check=False)


class Disk:
    """A small ext4 file system in a file: it can become full and lose its power."""

    def __init__(self, path):
        self.image, self.mount = path + ".img", path
        os.makedirs(self.mount)
        with open(self.image, "wb") as file:
            file.truncate(DISK_MIB << 20)
        run("mkfs.ext4", "-q", "-m", "0", self.image)
        self.attach()

    def attach(self):
        run("mount", "-o", "loop", self.image, self.mount)

    def detach(self):
        run("umount", self.mount)

    def cut_power(self):
        handle = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, EXT4_IOC_SHUTDOWN, ctypes.c_uint32(NOLOGFLUSH))
        finally:
            os.close(handle)

    def fill(self):
        size = 1 << 20
        try:
            with open(os.path.join(self.mount, "ballast"), "ab", buffering=0) as file:
                while size > 0:
                    try:
                        file.write(b"x" * size)
                    except OSError:
                        size //= 2
        except OSError:
            pass  # it is full already

    def free(self):
        try:
            os.unlink(os.path.join(self.mount, "ballast"))
        except FileNotFoundError:
            pass

    def close(self):
        run("umount", "-l", self.mount, check=False)


def can_isolate():
    """Are network namespaces and file systems of our own to be had? Root in a container may not."""
    tools = ("ip", "iptables", "nsenter", "mkfs.ext4", "mount", "strace", "pgrep")
    if os.geteuid() != 0 or not all(shutil.which(tool) for tool in tools):
        return False
    work = tempfile.mkdtemp(prefix="kvpair-test-")
    network = disk = None
    try:
        network = Network(1)
        network.cut(0, 1)
        disk = Disk(os.path.join(work, "disk"))
        return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        if disk:
            disk.close()
        if network:
            network.close()
        shutil.rmtree(work, ignore_errors=True)


class TorturedGroup(Group):
    """A group whose processes live in namespaces and on disks of their own, if that is possible."""

    # Session.failing_call() refuses memory, too; that a node under a sanitizer ends then is no finding.
    complaint = (r"ERROR: \w+Sanitizer(?!: allocator is out of memory|:? failed to allocate)"
                 r"|WARNING: \w+Sanitizer|runtime error:")

    def __init__(self, count, isolated):
        super().__init__(count, options=["--log-size", "4"])  # fits the disks, and is used up often
        self.network = self.disks = None
        if isolated:
            self.network = Network(count)
            self.disks = {i: Disk(self.path("disk%d" % i)) for i in range(1, count + 1)}
            self.data = {i: os.path.join(disk.mount, "data") for i, disk in self.disks.items()}
            self.urls = {i: "tcp://%s:7000" % Network.address(i) for i in self.urls}
            self.peer_urls = dict(self.urls)
            self.witness_url = "tcp://%s:7000" % Network.address(count + 1)

    def inside(self, index):
        return self.network.inside(index) if self.network else []

    def start_node(self, node, prefix=(), options=()):
        reached = ["--insecure"] if self.network else []  # by the other namespaces
        super().start_node(node, prefix=self.inside(node) + list(prefix), options=reached + list(options))

    def start_witness(self):
        self.witness = Process([program("kvwitness"), "--data", self.path("witness"), "--listen",
                                self.witness_url] + (["--insecure"] if self.network else []),
                               self.path("witness.log"), self.inside(self.count + 1))
        wait_for(lambda: "started" in self.witness.text(), "the witness")

    def command_prefix(self):
        return self.inside(0)

    def __exit__(self, kind, value, trace):
        super().__exit__(kind, value, trace)
        if self.network:
            for disk in self.disks.values():
                disk.close()
            self.network.close()


class Session:
    def __init__(self, group, seed):
        self.group = group
        self.random = random.Random(seed)
        self.faults = {}
        self.paused = []
        self.kinds = [self.kill, self.kill_primary, self.kill_primary, self.kill_all, self.pause,
                      self.restart_witness, self.handover, self.terminate]
        if group.network:
            self.kinds += [self.cut, self.cut, self.cut_one_way, self.cut_from_all, self.lossy,
                           self.full_disk, self.power_cut, self.failing_call]

    # ---- helpers ----

    def any_node(self):
        return self.random.randrange(1, self.group.count + 1)

    def any_alive(self):
        alive = [n for n, process in self.group.nodes.items() if process.alive()]
        return self.random.choice(alive) if alive else None

    def rest(self, least=0.2, most=2.5):
        time.sleep(self.random.uniform(least, most))  # the length of a fault, not a wait for one

    def revive(self, node):
        if not self.group.nodes[node].alive():
            self.group.start_node(node)

    def heal(self):
        for process in self.paused:
            if process.alive():
                process.signal(signal.SIGCONT)
        self.paused = []
        if self.group.network:
            self.group.network.heal()
            for disk in self.group.disks.values():
                disk.free()
        if not self.group.witness.alive():
            self.group.start_witness()
        for node in self.group.nodes:
            self.revive(node)

    # ---- faults ----

    def kill(self):
        node = self.any_alive()
        if node:
            self.group.kill(node)
            self.rest(0, 1.5)
            self.revive(node)

    def kill_primary(self):
        node = self.group.primary()
        if node:
            self.group.kill(node)
            self.rest(0, 1.5)
            self.revive(node)

    def kill_all(self):
        for node in self.group.nodes:
            if self.group.nodes[node].alive():
                self.group.kill(node)
        self.rest(0, 0.5)

    def terminate(self):
        node = self.any_alive()
        if node:
            self.group.nodes[node].signal(signal.SIGTERM)
            self.group.nodes[node].signal(signal.SIGCONT)  # one that was paused would never end
            self.group.nodes[node].wait(30)

    def pause(self):
        node = self.any_alive()
        if node:
            process = self.group.nodes[node]
            process.signal(signal.SIGSTOP)
            self.paused.append(process)
            self.rest()

    def restart_witness(self):
        self.group.witness.kill()
        self.rest(0, 1.5)
        self.group.start_witness()

    def handover(self):
        self.group.cli("handover", timeout_ms=2000)

    def others(self, node):
        return [i for i in range(1, self.group.count + 2) if i != node]

    def cut(self):
        a = self.any_node()
        b = self.random.choice(self.others(a))
        self.group.network.cut(a, b)
        self.group.network.cut(b, a)
        self.rest()

    def cut_one_way(self):
        a = self.any_node()
        self.group.network.cut(*self.random.sample([a, self.random.choice(self.others(a))], 2))
        self.rest()

    def cut_from_all(self):
        a = self.any_node()
        for b in [0] + self.others(a):
            self.group.network.cut(b, a)
        self.rest()

    def lossy(self):
        for a in range(1, self.group.count + 1):
            for b in self.others(a):
                self.group.network.lose(b, a, self.random.choice([0.02, 0.1, 0.3]))
        self.rest()

    def full_disk(self):
        node = self.any_node()
        self.group.disks[node].fill()
        self.rest(0.5)
        if self.group.nodes[node].alive():
            self.group.kill(node)
        self.group.disks[node].free()
        self.revive(node)

    def power_cut(self):
        node = self.any_node()
        disk = self.group.disks[node]
        disk.cut_power()
        self.rest(0, 0.3)
        if self.group.nodes[node].alive():
            self.group.kill(node)
        disk.detach()
        disk.attach()
        self.revive(node)

    def failing_call(self):
        """The n-th call of a kind fails; what the node makes of it is its affair, but no harm."""
        node = self.any_alive()
        call, error = self.random.choice([
            ("fsync", "EIO"), ("fdatasync", "EIO"), ("write", "ENOSPC"), ("pwrite64", "EIO"),
            ("openat", "EMFILE"), ("openat", "EIO"), ("mmap", "ENOMEM"), ("rename", "EIO"),
            ("accept4", "EMFILE"), ("sendmsg", "ECONNRESET"), ("recvfrom", "ECONNRESET"),
            ("epoll_wait", "EINTR"), ("unlink", "EIO"), ("pread64", "EIO")])
        if node:
            self.group.kill(node)
            which = self.random.randrange(1, 400)
            self.group.start_node(node, prefix=[
                "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e",
                "inject=%s:error=%s:when=%d" % (call, error, which)])
            self.rest(1.0, 3.0)
            self.end_traced(node)
            self.revive(node)

    def end_traced(self, node):
        """strace is the child here; the node goes with it."""
        process = self.group.nodes[node]
        if process.alive():
            children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True,
                                      text=True).stdout.split()
            for child in children:
                os.kill(int(child), signal.SIGKILL)
            process.wait()

    # ---- a session ----

    def clients(self, seed):
        return subprocess.Popen(
            self.group.command_prefix() +
            [program("torture_client"), "--nodes", self.group.nodes_option(), "--seconds",
             str(SESSION_SECONDS * 3), "--seed", str(seed)],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def torture(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            fault = self.random.choice(self.kinds)
            self.faults[fault.__name__] = self.faults.get(fault.__name__, 0) + 1
            fault()
            if self.random.random() < 0.7:
                self.heal()
                self.rest(0.3, 2.0)
        self.heal()

    def contents(self):
        return self.group.cli("scan", "torture/", check=0, timeout_ms=20000).stdout

    def check_members(self):
        """Every member in turn as primary shows the same."""
        everyone = list(self.group.nodes)
        self.group.wait_in_sync(*everyone, seconds=60)
        seen = self.contents()
        assert seen.count(b"\n") > 0
        for node in everyone:
            if self.group.primary() != node:
                wait_for(lambda n=node: self.group.cli("handover", str(n)).returncode == 0,
                         "the handover to node %d" % node)
                self.group.wait_primary(node)
            assert self.contents() == seen, "node %d holds something else" % node
            self.group.wait_in_sync(*everyone, seconds=60)

    def run(self, seconds, seed):
        self.group.start()
        clients = self.clients(seed)
        try:
            self.torture(seconds)
            self.group.wait_primary(seconds=60)
            self.rest(0.5, 1.0)
        finally:
            clients.send_signal(signal.SIGTERM)
            out = clients.communicate(timeout=120)[0]
        self.check_members()
        verdict = json.loads(out.decode().splitlines()[-1])
        assert verdict["linearizable"], verdict
        assert verdict["odd"] == 0 and verdict["acknowledged_updates"] > 0, verdict
        return verdict


def quantile(values, share):
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0


def summary(verdicts, faults, minutes):
    gaps = sorted(gap for verdict in verdicts for gap in verdict["gaps_ms"])
    total = {name: sum(v[name] for v in verdicts)
             for name in ("operations", "acknowledged_updates", "unknown", "refused")}
    print("%d sessions, %.1f minutes: %d operations, %d acknowledged updates, %d unknown, %d refused;"
          " all linearizable" % (len(verdicts), minutes, total["operations"],
                                 total["acknowledged_updates"], total["unknown"],
                                 total["refused"]))
    print("faults: " + ", ".join("%s %d" % item for item in sorted(faults.items())))
    print("updates stopped for 100 ms or more %d times: median %d, 90%% %d, 99%% %d, longest %d ms" %
          (len(gaps), quantile(gaps, 0.5), quantile(gaps, 0.9), quantile(gaps, 0.99),
           gaps[-1] if gaps else 0))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    isolated = can_isolate()
    if not isolated:
        print("no network namespaces or file systems of our own here: only processes are tortured")
    begin = time.monotonic()
    end = begin + (options.minutes * 60 if options.minutes else options.seconds) * 1.0
    seed, verdicts, faults = options.seed, [], {}
    while not verdicts or time.monotonic() < end - SESSION_SECONDS / 2:
        count = 2 + seed % 2
        print("session seed %d: %d nodes" % (seed, count), flush=True)
        with TorturedGroup(count, isolated) as group:
            session = Session(group, seed)
            seconds = min(SESSION_SECONDS, max(10.0, end - time.monotonic()))
            verdicts.append(session.run(seconds * (1 if SLOW == 1 else 2), seed))
            for name, times in session.faults.items():
                faults[name] = faults.get(name, 0) + times
        seed += 1
    summary(verdicts, faults, (time.monotonic() - begin) / 60)


if __name__ == "__main__":
    main()
