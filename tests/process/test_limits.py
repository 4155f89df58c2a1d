# SPDX-License-Identifier: Apache-2.0
"""Descriptors: few of them, none of the standard ones, and what a child process gets; files that may not grow, and data directories
that cannot be used."""

import os
import re
import resource
import shutil
import socket
import subprocess
import time

import kvtest
from kvtest import Group, wait_for


def descriptors(process):
    """{number: flags} of what the process has open."""
    folder = "/proc/%d/fdinfo" % process.pid
    found = {}
    for name in os.listdir(folder):
        try:
            with open(os.path.join(folder, name)) as file:
                found[int(name)] = int(re.search(r"flags:\s*([0-7]+)", file.read()).group(1), 8)
        except FileNotFoundError:  # closed meanwhile
            pass
    return found


def logged(folder):
    """The files there that have log lines in them."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(place, name), "rb") as file:
                if b" level=" in file.read():
                    found.append(os.path.join(place, name))
    return found


def test_children_get_no_descriptor_but_the_standard_ones():
    with Group().start() as group:
        group.put("a", b"1")
        for process in list(group.nodes.values()) + [group.witness]:
            found = descriptors(process)
            assert len(found) > 5, found
            kept = [fd for fd, flags in found.items() if fd > 2 and not flags & os.O_CLOEXEC]
            names = [os.readlink("/proc/%d/fd/%d" % (process.pid, fd)) for fd in kept]
            assert not kept, (process.arguments[0], kept, names)


def test_standard_descriptors_that_are_closed_harm_nobody():
    """Log lines and messages must not go into whatever file gets the number."""
    closed = ["sh", "-c", 'exec 0<&- 1>&- 2>&-; exec "$@"', "sh"]
    with Group() as group:
        group.witness = kvtest.Process([kvtest.program("kvwitness"), "--data",
                                        group.path("witness"), "--listen", group.witness_url],
                                       group.path("witness.log"), closed)
        for node in group.urls:
            group.start_node(node, closed, ["--log-level", "debug"])
        group.wait_in_sync(1, 2)
        group.put("a", b"1")
        for process in list(group.nodes.values()) + [group.witness]:
            for fd in range(3):
                assert os.readlink("/proc/%d/fd/%d" % (process.pid, fd)) == "/dev/null"
        for name in ("node1", "node2", "witness"):
            assert not logged(group.path(name)), logged(group.path(name))
        for node in group.urls:  # all of it is still to be read
            group.kill(node)
        for node in group.urls:
            group.start_node(node)
        group.wait_in_sync(1, 2)
        assert group.get("a") == b"1"
        done = subprocess.run(closed + [kvtest.program("kvcli"), "--nodes", group.nodes_option(),
                                        "put", "b", "2"], timeout=60)
        assert done.returncode == 0, done
        assert group.get("b") == b"2"


def limited(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_limit_of_the_size_of_files_is_told_and_kills_nobody():
    """What ulimit -f forbids is a write that failed, not a signal that ends the process without a word."""
    with Group(count=1, pair="primary-wins") as group:
        for size in (0, 100000):
            done = subprocess.run(group.arguments(1), preexec_fn=limited(size), capture_output=True, timeout=30)
            assert done.returncode == 1 and b"File too large" in done.stderr, (size, done)
        done = subprocess.run([kvtest.program("kvwitness"), "--data", group.path("witness"), "--listen",
                               group.witness_url], preexec_fn=limited(0), capture_output=True, timeout=30)
        assert done.returncode == 1 and b"File too large" in done.stderr, done
        shutil.rmtree(group.data_dir(1))
        group.start_node(1)
        group.wait_primary()
        group.put("a", bytes(100000))
        with open(group.path("out"), "wb") as file:
            done = subprocess.run([kvtest.program("kvcli"), "--nodes", group.urls[1], "get", "a"], stdout=file,
                                  stderr=subprocess.PIPE, preexec_fn=limited(1000), timeout=30)
        assert done.returncode == 3 and b"standard output" in done.stderr, done


def test_what_is_wrong_with_a_data_directory_is_told_with_a_way_out():
    with Group(count=1, pair="primary-wins") as group:
        above, file = group.path("no/such"), group.path("file")
        with open(file, "w"):
            pass
        group.start_node(1)
        group.wait_primary()
        for data, words in ((above, b"make it first"), (file, b"a directory is wanted"),
                            (group.data_dir(1), b"take another directory")):
            for program in (["kvnode", "--id", "1", "--pair", "primary-wins"], ["kvwitness"]):
                done = subprocess.run([kvtest.program(program[0])] + program[1:] +
                                      ["--data", data, "--listen", "tcp://127.0.0.1:0"],
                                      capture_output=True, timeout=30)
                assert done.returncode == 1 and words in done.stderr, (program, data, done)
                assert done.stderr.count(data.encode()) == 1, done.stderr


def hold(url, count):
    """Connections that greet and then do nothing, as many of `count` as are served."""
    found = []
    for _ in range(count):
        link = socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), 5)
        link.sendall(b"\0SP\0\0\x30\0\0")
        found.append(link)
    until = time.monotonic() + 5
    return [link for link in found if is_served(link, until)]


def is_served(link, until):
    try:
        link.settimeout(max(0.01, until - time.monotonic()))
        return link.recv(8, socket.MSG_WAITALL) == b"\0SP\0\0\x31\0\0"
    except OSError:
        return False


def let_open(soft, hard):
    return ["sh", "-c", 'ulimit -Sn %d && ulimit -Hn %d && exec "$@"' % (soft, hard), "sh"]


def check_serves(group, node):
    for number in range(20):
        group.put("k%d" % number, os.urandom(200000))
    assert group.nodes[node].alive()
    assert group.primary() == node


def test_idle_connections_leave_a_node_the_descriptors_it_needs():
    with Group(count=1, pair="primary-wins") as group:
        group.start_node(1, let_open(300, 300))
        wait_for(lambda: group.primary() == 1, "the node to serve")
        links = hold(group.urls[1], 200)
        assert len(links) == 200
        check_serves(group, 1)
        more = hold(group.urls[1], 200)  # for them those who came first give way
        assert len(more) == 200, len(more)
        assert len(descriptors(group.nodes[1])) < 280
        for link in links:
            link.close()
        check_serves(group, 1)


def test_the_soft_limit_of_descriptors_is_raised_to_the_hard_one():
    with Group(count=1, pair="primary-wins") as group:
        group.start_witness()
        group.start_node(1, let_open(64, 1000))
        wait_for(lambda: group.primary() == 1, "the node to serve")
        assert resource.prlimit(group.nodes[1].pid, resource.RLIMIT_NOFILE) == (1000, 1000)
        soft, hard = resource.prlimit(group.witness.pid, resource.RLIMIT_NOFILE)
        assert soft == hard
        links = hold(group.urls[1], 900)
        assert len(links) > 700, len(links)
        for link in links:
            link.close()
        check_serves(group, 1)


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
