# SPDX-License-Identifier: Apache-2.0
"""Real processes for tests: nodes, a witness, kvcli, a writer. Everything on loopback, in a temporary
directory, and ended by pid. Waiting is always for a condition, with a deadline."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

BUILD = os.environ.get("KVPAIR_BUILD", "build")


def sanitizers():
    """What the build was set up with: "none", "address,undefined", "thread"."""
    try:
        with open(os.path.join(BUILD, "meson-info", "intro-buildoptions.json")) as file:
            values = [each["value"] for each in json.load(file) if each["name"] == "b_sanitize"]
    except FileNotFoundError:
        return "none"
    return values[0] if values else "none"


SANITIZERS = sanitizers()
SLOW = 4 if SANITIZERS != "none" else 1
if SLOW > 1:  # memory that waits in the sanitizer's quarantine is not memory that a node uses
    os.environ["ASAN_OPTIONS"] = "quarantine_size_mb=4"


def program(name):
    for folder in ("", "examples", "tests/jobs", "tests/perf", "tests/process",
                   "tests/torture"):
        path = os.path.join(BUILD, folder, name)
        if os.path.exists(path):
            return path
    raise FileNotFoundError(name)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def process_ended(pid):
    """True if the process is no more, or has ended and nobody has asked how. A process that goes between the opening of its file and the
    reading of it is one that has ended."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_for(condition, what, seconds=20):
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("waited too long for: " + what)
        time.sleep(0.02)


class Process:
    """A child process with its log file."""

    def __init__(self, arguments, log, prefix=()):
        self.arguments = list(arguments)
        self.log = log
        with open(log, "ab") as out:
            self.child = subprocess.Popen(list(prefix) + self.arguments, stdin=subprocess.DEVNULL,
                                          stdout=out, stderr=out)

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child.poll() is None

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        if self.alive():
            self.child.kill()
        self.child.wait()

    def wait(self, seconds=20):
        return self.child.wait(seconds * SLOW)

    def text(self):
        with open(self.log, "rb") as file:
            return file.read().decode("utf-8", "replace")

    def resident_kib(self):
        with open("/proc/%d/status" % self.pid) as file:
            return int(re.search(r"VmRSS:\s*(\d+)", file.read()).group(1))


class Group:
    """A witness (unless `pair` names a policy) and nodes 1..count."""

    complaint = r"(ERROR|WARNING): \w+Sanitizer|runtime error:"

    def __init__(self, count=2, pair=None, options=(), data=None):
        self.work = tempfile.mkdtemp(prefix="kvpair-test-")
        self.count = count
        self.pair = pair
        self.options = list(options)
        self.data = data or {}
        ports = free_ports(count + 1)
        self.urls = {i + 1: "tcp://127.0.0.1:%d" % ports[i] for i in range(count)}
        self.peer_urls = dict(self.urls)  # a test may put relays in between: {(from, to): url}
        self.witness_url = "tcp://127.0.0.1:%d" % ports[count]
        self.nodes = {}
        self.witness = None

    # ---- life ----

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for process in list(self.nodes.values()) + [self.witness]:
            if process and process.alive():
                process.signal(signal.SIGCONT)
                process.kill()
        if kind is not None:
            for name in sorted(os.listdir(self.work)):
                if name.endswith(".log"):
                    with open(os.path.join(self.work, name), "rb") as file:
                        tail = file.read().decode("utf-8", "replace").splitlines()[-25:]
                    print("---- " + name, *tail, sep="\n")
        complaints = self.sanitizer_complaints() if kind is None else []
        shutil.rmtree(self.work, ignore_errors=True)
        assert not complaints, complaints

    def sanitizer_complaints(self):
        """What a build with sanitizers found in the nodes and the witness."""
        found = []
        for name in os.listdir(self.work):
            if name.endswith(".log"):
                with open(os.path.join(self.work, name), "rb") as file:
                    text = file.read().decode("utf-8", "replace")
                at = re.search(self.complaint, text)
                found += [text[at.start():at.start() + 3000]] if at else []
        return found

    def path(self, name):
        return os.path.join(self.work, name)

    def data_dir(self, node):
        return self.data.get(node, self.path("node%d" % node))

    def start_witness(self):
        self.witness = Process([program("kvwitness"), "--data", self.path("witness"), "--listen",
                                self.witness_url], self.path("witness.log"))

    def arguments(self, node):
        arguments = [program("kvnode"), "--id", str(node), "--data", self.data_dir(node),
                     "--listen", self.urls[node]]
        for other in self.urls:
            if other != node:
                url = self.peer_urls.get((node, other), self.urls[other])
                arguments += ["--peer", "%d=%s" % (other, url)]
        if self.pair:
            arguments += ["--pair", self.pair]
        else:
            arguments += ["--witness", self.witness_url]
        return arguments + self.options

    def start_node(self, node, prefix=(), options=()):
        self.nodes[node] = Process(self.arguments(node) + list(options),
                                   self.path("node%d.log" % node), prefix)

    def start(self):
        try:
            if not self.pair:
                self.start_witness()
            for node in self.urls:
                self.start_node(node)
            self.wait_in_sync(*self.urls)
        except BaseException:
            self.__exit__(*sys.exc_info())  # there is no "with" yet that would end them
            raise
        return self

    # ---- kvcli ----

    def command_prefix(self):
        return []  # where clients run, if not here

    def nodes_option(self, *nodes):
        return ",".join(self.urls[n] for n in (nodes or self.urls))

    def cli(self, *arguments, stdin=None, timeout_ms=5000, nodes=None, check=None):
        command = self.command_prefix() + [program("kvcli"), "--nodes",
                                           nodes or self.nodes_option(), "--timeout",
                                           str(timeout_ms * SLOW)]
        command += [os.fsencode(a) if isinstance(a, str) else a for a in arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=60 * SLOW)
        if check is not None:
            assert done.returncode == check, (arguments, done.returncode, done.stderr)
        return done

    def put(self, key, value):
        self.cli("put", key, "-", stdin=value, check=0)

    def get(self, key, **options):
        return self.cli("get", key, check=0, **options).stdout

    def status(self, node):
        """The status map of one node, or None when it does not answer."""
        done = self.cli("--json", "status", nodes=self.urls[node], timeout_ms=500)
        if not done.stdout:  # it fails also when the node answers that it does not serve
            return None
        answer = json.loads(done.stdout)
        answer = answer[0] if isinstance(answer, list) else answer
        return answer if "role" in answer else None

    # ---- conditions ----

    def primary(self):
        for node, process in self.nodes.items():
            if process.alive():
                status = self.status(node)
                if status and status["role"] == "primary" and status["serving"]:
                    return node
        return None

    def wait_primary(self, *among, seconds=20):
        among = among or tuple(self.urls)
        return wait_for(lambda: (lambda p: p if p in among else None)(self.primary()),
                        "a primary among %s" % (among,), seconds)

    def wait_in_sync(self, *nodes, seconds=20):
        """Waits until exactly these nodes are in sync, by the word of all of them; the primary's id."""
        def condition():
            found = [self.status(n) for n in nodes]
            ok = all(s and sorted(s["in_sync"]) == sorted(nodes) for s in found)
            serving = [s["node"] for s in found if s and s["serving"]]
            return serving[0] if ok and len(serving) == 1 else None
        return wait_for(condition, "nodes %s in sync" % (nodes,), seconds)

    def kill(self, node):
        self.nodes[node].kill()


class Writer:
    """examples/writer in the background."""

    def __init__(self, group, name="writer", size=0, nodes=None):
        self.group = group
        self.name = name
        self.journal = group.path(name + ".journal")
        self.out = group.path(name + ".out")
        self.nodes = nodes or group.nodes_option()
        with open(self.out, "wb") as out:
            self.child = subprocess.Popen(
                self.command("write", "--nodes", self.nodes, "--journal", self.journal,
                             "--prefix", name + "/", "--size", str(size)), stdout=out, stderr=out,
                stdin=subprocess.DEVNULL)

    def command(self, *arguments):
        return [program("writer")] + list(arguments)

    def acknowledged(self):
        try:
            with open(self.journal, "rb") as file:
                return file.read().count(b"\n")
        except FileNotFoundError:
            return 0

    def wait_more(self, count=20, seconds=20):
        goal = self.acknowledged() + count
        wait_for(lambda: self.acknowledged() >= goal, "%d more acknowledged writes" % count,
                 seconds)

    def gaps_ms(self):
        """Times between acknowledgements, as the writer noted them."""
        with open(self.journal) as file:
            times = [float(line.split()[1]) for line in file if line.endswith("\n")]
        return [(b - a) * 1000 for a, b in zip(times, times[1:])]

    def stop(self):
        self.child.terminate()
        self.child.wait(60)
        with open(self.out) as file:
            return json.loads(file.read().splitlines()[-1])

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def verify(self, nodes=None):
        done = subprocess.run([program("writer"), "verify", "--nodes", nodes or self.nodes,
                               "--journal", self.journal, "--prefix", self.name + "/"],
                              capture_output=True, timeout=300)
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout.splitlines()[-1])


class Relay:
    """A TCP relay that can be cut: what is under way stays there, connections stay open and silent,
    as behind a broken switch."""

    def __init__(self, target_url):
        self.target = int(target_url.rsplit(":", 1)[1])
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.url = "tcp://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.open = threading.Event()
        self.open.set()
        self.closed = False
        self.pairs = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while not self.closed:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target), 2)
            except OSError:
                near.close()
                continue
            self.pairs.append((near, far))
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    def _pump(self, source, sink):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                self.open.wait()
                sink.sendall(data)
        except OSError:
            pass
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        self.open.clear()

    def heal(self):
        self.open.set()

    def close(self):
        self.closed = True
        self.open.set()
        self.listener.close()
        for near, far in self.pairs:
            near.close()
            far.close()


def main(tests):
    """Runs the given functions (or those named on the command line) and prints the outcome of each."""
    import sys
    import traceback
    wanted = sys.argv[1:]
    failed = 0
    for test in tests:
        if wanted and test.__name__ not in wanted:
            continue
        begin = time.monotonic()
        try:
            test()
            outcome = "ok"
        except Exception:  # noqa: BLE001 - every failure is reported
            traceback.print_exc()
            outcome = "FAILED"
            failed += 1
        print("%-8s %s (%.1f s)" % (outcome, test.__name__, time.monotonic() - begin), flush=True)
    sys.exit(1 if failed else 0)


def main_with_group(group, tests):
    """As main(), of tests that all use one group, which is their argument and is started before them."""
    import functools
    import sys

    def on(test):
        @functools.wraps(test)
        def run():
            test(group)
        return run

    code = 1
    with group.start():
        try:
            main([on(test) for test in tests])
        except SystemExit as end:  # the group is ended first
            code = end.code
    sys.exit(code)
