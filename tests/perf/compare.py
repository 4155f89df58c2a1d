#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kvpair beside what people use today, on this machine, in one run: docs/performance.md has the results.

    KVPAIR_BUILD=build python3 tests/perf/compare.py [--seconds N] [--rounds N] [--shapes CxR,CxR,...]
                                                     [--loads put,get,mixed] [--only NAME,NAME...]

The load is one thread for every system (load_systems.c): C connections with R requests under way on each. All
systems keep what they acknowledge on disk, with fsync, and copies of it where they can:

  kvpair      two nodes and a witness; a put is durable on both
  redis       a primary and a replica, appendfsync always on both; SET, then WAIT 1 (which does not
              wait for the replica's fsync); with several requests on a connection one WAIT stands behind
              all that go out together
  etcd        three members; a put is durable on two; one request on a connection
  beanstalkd  alone, with an fsync each (-f 0); put, reserve, delete of one job, beside which stands
              fetch and post of kvpair's jobs (kvbench, in as many threads' callbacks)

Each system's servers are started anew for each measurement, and get the keys that gets will find. The systems take
turns in each round; what is printed is the median of the rounds, and for Redis's loads the median of kvpair's rate to
Redis's in the same round. Those that are not installed (packages redis-server, etcd-server, beanstalkd) are left out.
`--with DIRECTORY` measures the kvpair of another build, too: "kvpair before".
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
import kvtest  # noqa: E402
from kvtest import Group, free_ports, program, wait_for  # noqa: E402


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


def load(system, port, shape, seconds, keys, reads):
    def run(connections, requests, reads):
        done = subprocess.run([program("load_systems"), system, str(port), str(connections), str(requests),
                               str(seconds), str(keys), str(reads)],
                              capture_output=True, text=True, timeout=seconds + 120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    if reads:
        run(1, 64, "fill")
    return run(*shape, reads)


def redis(*what):
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
        return load("redis", ports[0], *what)


def etcd(*what):
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
        return load("etcd", clients[0], *what)


def beanstalkd(*what):
    with Servers() as servers:
        port, = free_ports(1)
        servers.start("beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-f", "0", "-b",
                      servers.path("binlog"))
        wait_for(lambda: listens(port), "beanstalkd")
        return load("beanstalkd", port, *what)


def kvpair(*what):
    with Group().start() as group:
        port = group.urls[group.wait_primary()].rsplit(":", 1)[1]
        return load("kvpair", int(port), *what)


class Before:
    """kvpair as another build has it, under the same load."""

    def __init__(self, build):
        self.build = build

    def __call__(self, *what):
        own = kvtest.BUILD
        with Group() as group:
            kvtest.BUILD = self.build
            try:
                group.start()
                port = group.urls[group.wait_primary()].rsplit(":", 1)[1]
            finally:
                kvtest.BUILD = own
            return load("kvpair", int(port), *what)


def kvbench(shape, mode, *options):
    done = subprocess.run([program("kvbench"), mode, "--spawn", "--outstanding", str(shape[0] * shape[1]), *options],
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def kvpair_txn(shape, seconds, keys, reads):
    line = kvbench(shape, "txn", "--seconds", str(seconds), "--keys", str(keys), "--txn-keys", "100")
    return dict(line, ops_per_s=line["keys_per_s"])


def kvpair_jobs(shape, seconds, keys, reads):
    return kvbench(shape, "jobs", "--count", str(int(5000 * seconds)))


READS = {"put": 0, "get": 100, "mixed": 50, "job": 0, "txn": 0}

# name, how it is measured, the program that it needs, the loads that it knows, requests on a connection at most
SYSTEMS = [("kvpair", kvpair, None, ("put", "get", "mixed"), 128),
           ("redis", redis, "redis-server", ("put", "get", "mixed"), 128),
           ("etcd", etcd, "etcd", ("put",), 1),
           ("kvpair, transactions of 100: keys", kvpair_txn, None, ("txn",), 128),
           ("kvpair jobs", kvpair_jobs, None, ("job",), 1),
           ("beanstalkd", beanstalkd, "beanstalkd", ("job",), 1)]


def systems_of(options):
    found = [system for system in SYSTEMS if system[2] is None or shutil.which(system[2])]
    if options.build_before:
        found.insert(1, ("kvpair before", Before(options.build_before), None, ("put", "get", "mixed"), 128))
    return [s for s in found if options.only is None or s[0] in options.only.split(",")]


def measure(options, systems):
    """{(load, shape, name): one line a round}"""
    found = {}
    for number in range(options.rounds):
        for kind in options.loads.split(","):
            for text in options.shapes.split(","):
                shape = tuple(map(int, text.split("x")))
                for name, run, _, loads, width in systems:
                    if kind not in loads or shape[1] > width:
                        continue
                    line = run(shape, options.seconds, options.keys, READS[kind])
                    found.setdefault((kind, text, name), []).append(line)
                    print("round %d: %-6s %-8s %-36s %8.0f/s" % (number + 1, kind, text, name, line["ops_per_s"]),
                          file=sys.stderr)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keys", type=int, default=10000)
    parser.add_argument("--shapes", default="1x1,16x1,64x1,256x1,1x64,4x64", help="connections x requests on each")
    parser.add_argument("--loads", default="put,get", help="put, get, mixed, txn, job")
    parser.add_argument("--only", help="names of systems")
    parser.add_argument("--with", dest="build_before", help="another build's directory")
    options = parser.parse_args()
    found = measure(options, systems_of(options))
    print("| load | connections x requests | system | per second | p50 us | p99 us | kvpair to this |\n"
          "|---|---|---|---|---|---|---|")
    for (kind, shape, name), lines in found.items():
        own = found.get((kind, shape, "kvpair"), [])
        ratios = [mine["ops_per_s"] / line["ops_per_s"] for mine, line in zip(own, lines)]
        print("| %s | %s | %s | %s | %s |" % (kind, shape, name, " | ".join(
            "%.0f" % statistics.median(line.get(key, float("nan")) for line in lines)
            for key in ("ops_per_s", "p50_us", "p99_us")),
            "%.2f" % statistics.median(ratios) if ratios and name != "kvpair" else ""))


if __name__ == "__main__":
    main()
