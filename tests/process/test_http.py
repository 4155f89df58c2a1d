#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pages for operators: --http of kvnode and kvwitness."""

import json
import signal
import socket
import subprocess
import threading
import time

import http_torture
from http_torture import fetch
from kvtest import Group, Process, free_ports, main, program, wait_for


class Pages(Group):
    """A group whose programs have pages."""

    def __init__(self, count=2, **others):
        super().__init__(count, **others)
        ports = free_ports(count + 1)
        self.pages = {i + 1: ports[i] for i in range(count)}
        self.witness_page = ports[count]

    def arguments(self, node):
        return super().arguments(node) + ["--http", "http://127.0.0.1:%d" % self.pages[node]]

    def start_witness(self):
        self.witness = Process([program("kvwitness"), "--data", self.path("witness"), "--listen", self.witness_url,
                                "--http", "http://localhost:%d" % self.witness_page], self.path("witness.log"))

    def page(self, node, path):
        return fetch(self.pages[node], path)

    def shown(self, node):
        code, head, body = self.page(node, "/api/v1/status")
        assert code == 200 and "application/json" in head, (code, head)
        return json.loads(body)


PASSING = {"uptime_ms", "commit_age_ms", "disk_silent_ms"}  # they differ from one moment to the next


def settled(status):
    return {name: value for name, value in status.items() if name not in PASSING}


def same_numbers(group, node):
    """kvcli and the page were asked at about the same time: what moves meanwhile may need a second look."""
    def condition():
        of_cli, of_page = group.status(node), group.shown(node)
        return of_cli and settled(of_cli) == dict(settled(of_page), **{
            name: value for name, value in of_cli.items() if name not in of_page})
    wait_for(condition, "the page of node %d to show what kvcli shows" % node, 5)


def test_the_page_shows_what_kvcli_shows_before_and_after_a_failover():
    with Pages().start() as group:
        group.put("k", b"v")
        for node in (1, 2):
            same_numbers(group, node)
            assert group.shown(node)["tail"] >= 1
        old = group.primary()
        group.kill(old)
        new = group.wait_primary()
        wait_for(lambda: group.page(new, "/readyz")[0] == 200, "the new primary to be ready")
        same_numbers(group, new)
        assert group.shown(new)["in_sync"] == [new]
        witness = json.loads(fetch(group.witness_page, "/api/v1/status")[2])
        assert witness["serving"] and witness["groups"] == 1 and witness["changes"] >= 2, witness


def test_ready_says_why_not():
    with Pages().start() as group:
        for node in (1, 2):
            assert group.page(node, "/livez")[0] == 200
            code, _, text = group.page(node, "/readyz?verbose")
            assert code == 200 and b"[+]role" in text and b"[+]disk" in text and b"[+]arbiter ok" in text, text
        primary = group.primary()
        backup = 3 - primary
        group.nodes[primary].signal(signal.SIGSTOP)
        group.witness.signal(signal.SIGSTOP)
        try:
            code, text = wait_for(lambda: (lambda a: (a[0], a[2]) if a[0] != 200 else None)(
                group.page(backup, "/readyz?verbose")), "the backup not to be ready")
            assert code == 503 and b"[-]role: " in text and text.endswith(b"failed\n"), text
            assert group.page(backup, "/readyz")[2].startswith(b"role: "), text
            assert group.page(backup, "/livez")[0] == 200
            wait_for(lambda: b"does not count" in group.page(backup, "/readyz?verbose")[2], "the arbiter's state")
        finally:
            group.nodes[primary].signal(signal.SIGCONT)
            group.witness.signal(signal.SIGCONT)
        wait_for(lambda: group.page(backup, "/readyz")[0] == 200, "the backup to be ready")


def held(arguments):
    done = subprocess.run(arguments, capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
    return done.returncode, done.stderr.decode()


def test_wrong_addresses_for_pages_are_named():
    with Group(1) as group:
        node = [program("kvnode"), "--id", "1", "--data", group.path("n"), "--listen", "tcp://127.0.0.1:0", "--pair",
                "backup-wins", "--http"]
        witness = [program("kvwitness"), "--data", group.path("w"), "--listen", "tcp://127.0.0.1:0", "--http"]
        for name in ("0.0.0.0", "*", "10.0.0.1", "example.com", "[::]", "127.evil.example"):
            for arguments in (node, witness):
                code, text = held(arguments + ["http://%s:1" % name])
                assert code == 2 and "no TLS" in text, (name, text)
        with open(group.path("conf"), "w") as file:
            file.write("http = http://10.0.0.1:1\n")
        code, text = held(node[:-1] + ["--config", group.path("conf")])
        assert code == 2 and "no TLS" in text, text
        for url in ("https://127.0.0.1:1", "tcp://127.0.0.1:1", "http://127.0.0.1", "http://127.0.0.1:99999", "x"):
            code, text = held(node + [url])
            assert code == 2 and "http://127.0.0.1:PORT" in text, (url, text)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen(1)
            for arguments in (node, witness):
                code, text = held(arguments + ["http://127.0.0.1:%d" % taken.getsockname()[1]])
                assert code == 1 and "another process listens there" in text, text


def raw(port, request):
    with socket.create_connection(("127.0.0.1", port), 3) as sock:
        sock.sendall(request)
        answer = b""
        while True:
            part = sock.recv(65536)
            if not part:
                return answer
            answer += part


def test_only_own_names_and_reading_are_answered():
    with Pages(1).start() as group:
        port = group.pages[1]
        for host in (b"localhost", b"127.0.0.1:%d" % port, b"[::1]:%d" % port):
            assert b" 200 " in raw(port, b"GET /livez HTTP/1.1\r\nHost: %s\r\n\r\n" % host), host
        for host in (b"evil.example", b"localhost.evil.example", b"127.0.0.1.evil.example", b"10.0.0.1"):
            assert b" 403 " in raw(port, b"GET /livez HTTP/1.1\r\nHost: %s\r\n\r\n" % host), host
        for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS"):
            answer = raw(port, b"%s /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n" % method)
            assert b" 405 " in answer, answer
        head = raw(port, b"HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in head and head.endswith(b"\r\n\r\n"), head
        code, _, text = group.page(1, "/none")
        assert code == 404 and b"/readyz" in text


def test_a_node_with_pages_ends_on_sigterm_while_they_are_held():
    with Pages(1).start() as group:
        socks = [socket.create_connection(("127.0.0.1", group.pages[1]), 3) for _ in range(20)]
        for sock in socks:
            sock.sendall(b"GET /li")
        group.nodes[1].signal(signal.SIGTERM)
        assert group.nodes[1].wait(10) == 0
        group.witness.signal(signal.SIGTERM)
        assert group.witness.wait(10) == 0
        for sock in socks:
            sock.close()


def test_torture_of_the_pages_costs_no_view():
    with Pages().start() as group:
        load = subprocess.Popen([program("kvbench"), "put", "--nodes", group.nodes_option(), "--outstanding", "64",
                                 "--seconds", "30"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                stdin=subprocess.DEVNULL)
        before = group.status(1)["version"]
        wrong = {}
        primary = group.primary()

        def run(name, port, pid):
            wrong[name] = http_torture.torture(port, pid)

        try:
            threads = [threading.Thread(target=run, args=("node", group.pages[primary], group.nodes[primary].pid)),
                       threading.Thread(target=run, args=("witness", group.witness_page, group.witness.pid))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            load.terminate()
            load.wait(30)
        assert wrong == {"node": [], "witness": []}, wrong
        assert group.status(1)["version"] == before, group.status(1)
        group.put("after", b"1")
        same_numbers(group, primary)


main([test_the_page_shows_what_kvcli_shows_before_and_after_a_failover,
      test_ready_says_why_not,
      test_wrong_addresses_for_pages_are_named,
      test_only_own_names_and_reading_are_answered,
      test_a_node_with_pages_ends_on_sigterm_while_they_are_held,
      test_torture_of_the_pages_costs_no_view])
