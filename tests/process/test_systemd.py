#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Type=notify without systemd: a socket that stands in for it. And the units, as far as they can be judged here."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import kvtest
from kvtest import Group, Process, main, program, wait_for
from stopped_thread import StoppedThread

SERVICES = ("kvnode@.service", "kvwitness.service", "kvworker@.service")
ONCE = ("kvpair-backup@.service",)
UNITS = SERVICES + ONCE + ("kvpair-backup@.timer",)


class Supervisor:
    """What a program told, in order, and when."""

    def __init__(self, path, abstract=False):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + path if abstract else path)
        self.sock.setblocking(False)
        self.name = "@" + path if abstract else path
        self.told = []

    def prefix(self, watchdog_ms=1000):
        return ["env", "NOTIFY_SOCKET=" + self.name, "WATCHDOG_USEC=%d" % (watchdog_ms * 1000)]

    def read(self):
        while True:
            try:
                data = self.sock.recv(4096).decode()
            except BlockingIOError:
                return [text for _, text in self.told]
            self.told += [(time.monotonic(), line) for line in data.splitlines()]

    def wait(self, pattern, what, seconds=10):
        return wait_for(lambda: [line for line in self.read() if re.fullmatch(pattern, line)], what, seconds)

    def fed(self, seconds):
        """How often the watchdog was fed in that time from now on."""
        self.read()
        begin = len(self.told)
        time.sleep(seconds)
        self.read()
        return sum(text == "WATCHDOG=1" for _, text in self.told[begin:])

    def close(self):
        self.sock.close()


def test_nodes_and_witness_tell_that_they_are_ready_what_they_are_and_that_they_stop():
    with Group(2) as group:
        told = {name: Supervisor(group.path(name + ".socket")) for name in ("1", "2", "witness")}
        group.start_witness()  # not supervised, to be started again below
        for node in group.urls:
            group.start_node(node, told[str(node)].prefix())
        group.wait_in_sync(1, 2)
        leads = group.primary()
        told[str(leads)].wait(r"STATUS=primary, serving, epoch \d+, primary %d" % leads, "the primary's status")
        told[str(3 - leads)].wait(r"STATUS=backup, epoch \d+, primary %d" % leads, "the backup's status")
        for node in ("1", "2"):
            assert told[node].read().count("READY=1") == 1, told[node].read()
            assert told[node].fed(1.2) >= 2
        group.nodes[leads].signal(signal.SIGTERM)
        assert group.nodes[leads].wait(15) == 0
        lines = told[str(leads)].read()
        assert lines.index("READY=1") < lines.index("STOPPING=1") and "STATUS=stopping" in lines, lines
        told[str(3 - leads)].wait(r"STATUS=primary, serving, epoch \d+, primary %d" % (3 - leads), "the new primary's status")
        group.witness.signal(signal.SIGTERM)
        group.witness.wait()
        group.witness = Process(told["witness"].prefix() + [program("kvwitness"), "--data", group.path("witness"), "--listen",
                                                            group.witness_url], group.path("witness.log"))
        told["witness"].wait(r"STATUS=serving, 1 groups", "the witness's status")
        assert told["witness"].fed(1.2) >= 2
        group.witness.signal(signal.SIGTERM)
        assert group.witness.wait() == 0 and "STOPPING=1" in told["witness"].read()
        for each in told.values():
            each.close()


def test_the_watchdog_starves_while_the_loop_stands_still():
    with Group(1, pair="backup-wins") as group:
        told = Supervisor("kvpair-test-%d" % os.getpid(), abstract=True)
        group.start_node(1, told.prefix(2000))
        told.wait("READY=1", "the node")
        assert told.fed(1.5) >= 2
        with StoppedThread(group.nodes[1].pid, "kvpair-loop") as stopped:
            if stopped is None:
                print("skipped: no thread can be stopped here")
                return
            time.sleep(1.5)
            assert told.fed(1.5) == 0
        assert told.fed(1.5) >= 2
        told.close()


def test_a_worker_is_ready_before_it_has_joined_and_is_fed_meanwhile():
    with Group(1) as group:
        told = Supervisor(group.path("worker.socket"))
        worker = Process(told.prefix() + [program("kvworker"), "--nodes", group.urls[1], "--id", "w"], group.path("worker.log"))
        try:
            told.wait("READY=1", "the worker")
            told.wait("WATCHDOG=1", "its first sign of life")
            assert "STATUS=joining" in told.read()
            group.start()
            told.wait("STATUS=joined, active", "the worker to join")
            assert told.fed(1.7) >= 2
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0 and "STOPPING=1" in told.read()
        finally:
            worker.kill()
            told.close()


def test_a_supervisor_that_is_gone_or_misnamed_is_no_reason_to_fail():
    with Group(1, pair="backup-wins") as group:
        full = Supervisor(group.path("full.socket"))  # nobody reads it
        names = ("relative", "/nobody/listens", "/" + "x" * 300, "", "@", full.name)
        for count, name in enumerate(names, 1):
            prefix = ["env", "NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=2000", "WATCHDOG_PID="]
            group.start_node(1, prefix)
            wait_for(lambda: group.nodes[1].text().count("event=started") == count, "the node")
            group.nodes[1].signal(signal.SIGTERM)
            assert group.nodes[1].wait() == 0, (name, group.nodes[1].text())
        full.close()


def installed(work):
    subprocess.run(["meson", "install", "-C", kvtest.BUILD, "--no-rebuild", "--quiet"], env=dict(os.environ, DESTDIR=work),
                   check=True, timeout=60)
    for folder, _, names in os.walk(work):
        if folder.endswith("systemd/system"):
            assert sorted(names) == sorted(UNITS), names
            return folder
    raise AssertionError("no units are installed")


def test_the_units_are_sound_and_sandboxed():
    with tempfile.TemporaryDirectory() as work:
        folder = installed(work)
        copies = os.path.join(work, "units")
        os.mkdir(copies)
        for unit in UNITS:
            with open(os.path.join(folder, unit)) as file:
                text = file.read()
            runs = re.search(r"^ExecStart=(?:/bin/sh -c 'exec )?(\S+)", text, re.M)
            binary = runs.group(1) if runs else "/"
            assert os.path.exists(work + binary) and os.access(work + binary, os.X_OK), binary
            lines = ["NoNewPrivileges=yes", "ProtectSystem=strict"] if runs else ["Persistent=true"]
            lines += ["Type=notify", "Restart=on-failure"] if unit in SERVICES else []
            for line in lines:
                assert line in text.splitlines(), (unit, line)
            assert unit not in SERVICES or re.search(r"^WatchdogSec=\d+$", text, re.M), unit
            # systemd-analyze looks for the programs, and the instance of a template has a name.
            with open(os.path.join(copies, unit.replace("@", "@a")), "w") as file:
                file.write(text.replace(binary, work + binary) if runs else text)
        if shutil.which("systemd-analyze") is None:
            print("skipped: no systemd-analyze")
            return
        for unit in UNITS:
            path = os.path.join(copies, unit.replace("@", "@a"))
            verified = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, timeout=60)
            ours = [line for line in verified.stderr.splitlines() if "kv" in line]
            assert verified.returncode == 0 and not ours, verified
            if unit.endswith(".timer"):
                continue
            judged = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", path],
                                    capture_output=True, text=True, timeout=60)
            level = re.search(r"Overall exposure level for \S+: ([\d.]+)", judged.stdout)
            assert level and float(level.group(1)) <= 2.0 and judged.returncode == 0, judged.stdout[-800:] + judged.stderr
            print("%s: exposure %s" % (unit, level.group(1)))


if __name__ == "__main__":
    main([test_nodes_and_witness_tell_that_they_are_ready_what_they_are_and_that_they_stop,
          test_the_watchdog_starves_while_the_loop_stands_still,
          test_a_worker_is_ready_before_it_has_joined_and_is_fed_meanwhile,
          test_a_supervisor_that_is_gone_or_misnamed_is_no_reason_to_fail,
          test_the_units_are_sound_and_sandboxed])
