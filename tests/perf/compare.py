#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kvpair beside what people use today, on this machine, in one run: docs/performance.md has the results.

    KVPAIR_BUILD=build python3 tests/perf/compare.py [--seconds N] [--rounds N] [--outstanding N,N,...]

All systems keep what they acknowledge on disk, with fsync, and copies of it where they can:

  kvpair      two nodes and a witness; a put is durable on both
  redis       a primary and a replica, appendfsync always on both; SET, then WAIT 1 (which does not
              wait for the replica's fsync)
  etcd        three members; a put is durable on two
  beanstalkd  alone, with an fsync each (-f 0); put, reserve, delete of one job, beside which stands
              fetch and post of kvpair's jobs

The systems take turns in each round; what is printed is the median of the rounds. Those that are not
installed (packages redis-server, etcd-server, beanstalkd) are left out.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "process"))
from kvtest import free_ports, program, wait_for  # noqa: E402


class Servers:
    """Processes of one system, in a directory of their own; ended with it."""

    def __init__(self):
        self.work = tempfile.mkdtemp(prefix="kvpair-compare-")
        self.processes = []

    def start(self, *command):
        log = open(os.path.join(self.work, "log-%d" % len(self.processes)), "wb")
        self.processes.append(subprocess.Popen(command, cwd=self.work, stdout=log, stderr=log))

    def path(self, name):
        path = os.path.join(self.work, name)
        os.mkdir(path)
        return path

    def __enter__(self):
        return self

    def __exit__(self, *about):
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.work, ignore_errors=True)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def load(system, port, outstanding, seconds):
    done = subprocess.run([program("load_others"), system, str(port), str(outstanding),
                           str(seconds)], capture_output=True, text=True, timeout=seconds + 60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def redis(outstanding, seconds):
    with Servers() as servers:
        ports = free_ports(2)
        for index, port in enumerate(ports):
            replica = ["--replicaof", "127.0.0.1 %d" % ports[0]] if index else []
            servers.start("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir",
                          servers.path("redis-%d" % index), "--appendonly", "yes",
                          "--appendfsync", "always", "--save", "", *replica)

        def in_sync():
            done = subprocess.run(["redis-cli", "-p", str(ports[0]), "wait", "1", "1000"],
                                  capture_output=True, text=True)
            return done.stdout.strip() == "1"
        wait_for(in_sync, "Redis's replica")
        return load("redis", ports[0], outstanding, seconds)


def etcd(outstanding, seconds):
    with Servers() as servers:
        clients, peers = free_ports(3), free_ports(3)
        cluster = ",".join("m%d=http://127.0.0.1:%d" % item for item in enumerate(peers))
        for index in range(3):
            client, peer = ("http://127.0.0.1:%d" % p for p in (clients[index], peers[index]))
            servers.start("etcd", "--name", "m%d" % index, "--data-dir",
                          servers.path("etcd-%d" % index), "--listen-client-urls", client,
                          "--advertise-client-urls", client, "--listen-peer-urls", peer,
                          "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster,
                          "--initial-cluster-state", "new", "--logger", "zap", "--log-level",
                          "error")

        def ready():
            done = subprocess.run(["curl", "-s", "http://127.0.0.1:%d/health" % clients[0]],
                                  capture_output=True, text=True)
            return '"true"' in done.stdout
        wait_for(ready, "etcd")
        return load("etcd", clients[0], outstanding, seconds)


def beanstalkd(outstanding, seconds):
    with Servers() as servers:
        port, = free_ports(1)
        servers.start("beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-f", "0", "-b",
                      servers.path("binlog"))
        wait_for(lambda: listens(port), "beanstalkd")
        return load("beanstalkd", port, outstanding, seconds)


def kvbench(mode, *options):
    done = subprocess.run([program("kvbench"), mode, "--spawn", *options], capture_output=True,
                          text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def kvpair(outstanding, seconds):
    return kvbench("put", "--outstanding", str(outstanding), "--seconds", str(seconds), "--keys",
                   "100000")


def kvpair_txn(outstanding, seconds):
    line = kvbench("txn", "--outstanding", str(outstanding), "--seconds", str(seconds), "--keys",
                   "100000", "--txn-keys", "100")
    return dict(line, ops_per_s=line["keys_per_s"])


def kvpair_jobs(outstanding, seconds):
    return kvbench("jobs", "--outstanding", str(outstanding), "--count", str(int(5000 * seconds)))


SYSTEMS = [("kvpair", kvpair, None), ("redis", redis, "redis-server"), ("etcd", etcd, "etcd"),
           ("kvpair, transactions of 100 (keys)", kvpair_txn, None),
           ("kvpair jobs", kvpair_jobs, None), ("beanstalkd", beanstalkd, "beanstalkd")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--outstanding", default="1,64,256")
    parser.add_argument("--only", help="names of systems begin with this")
    options = parser.parse_args()
    found = {}
    systems = [system for system in SYSTEMS if system[2] is None or shutil.which(system[2])]
    systems = [s for s in systems if options.only is None or s[0].startswith(options.only)]
    for number in range(options.rounds):
        for outstanding in map(int, options.outstanding.split(",")):
            for name, measure, _ in systems:
                line = measure(outstanding, options.seconds)
                found.setdefault((outstanding, name), []).append(line)
                print("round %d: %-36s %4d outstanding: %8.0f/s" %
                      (number + 1, name, outstanding, line["ops_per_s"]), file=sys.stderr)
    print("| outstanding | system | per second | p50 us | p99 us |\n|---|---|---|---|---|")
    for (outstanding, name), lines in found.items():
        print("| %d | %s | %s |" % (outstanding, name, " | ".join(
            "%.0f" % statistics.median(line.get(key, float("nan")) for line in lines)
            for key in ("ops_per_s", "p50_us", "p99_us"))))


if __name__ == "__main__":
    main()
