#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pages for operators: --http of kvnode and kvwitness."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import http_torture
import test_tls
from http_torture import fetch
from kvtest import Group, Process, free_ports, main, program, wait_for
from stopped_thread import StoppedThread
from test_silent_disk import Held


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


PASSING = {"uptime_ms", "commit_age_ms", "disk_silent_ms", "clock_ms", "fsync_us", "connections", "sessions",
           "connections_refused", "store_bytes", "log_bytes", "disk_free_bytes", "failures_tolerated"}  # they differ from one moment to the next


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


def promtool(arguments, text=None):
    """What it has to say, or None where there is none."""
    if shutil.which("promtool") is None:
        return None
    done = subprocess.run(["promtool"] + arguments, input=text, capture_output=True, timeout=60)
    return done.returncode, (done.stdout + done.stderr).decode()


def metrics(port):
    """{name with labels: value}, after promtool has had nothing to say."""
    code, head, body = fetch(port, "/metrics")
    assert code == 200 and "version=0.0.4" in head, (code, head)
    assert promtool(["check", "metrics"], body) in (None, (0, "")), promtool(["check", "metrics"], body)
    lines = [line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#")]
    assert len({name for name, _ in lines}) == len(lines)
    return {name: float(value) for name, value in lines}


NUMBERS = {"kvpair_serving": "serving", "kvpair_epoch": "epoch", "kvpair_view_version": "version",
           "kvpair_view_primary": "primary", "kvpair_log_tail_seq": "tail", "kvpair_log_commit_seq": "commit",
           "kvpair_log_applied_seq": "applied", "kvpair_store_doubt": "doubt", "kvpair_store_copy": "copy",
           "kvpair_stores_set_aside": "stores_set_aside", "kvpair_diverged_updates": "diverged",
           "kvpair_failures_tolerated": "failures_tolerated"}


def same_metrics(group, node):
    def condition():
        status, shown = group.status(node), metrics(group.pages[node])
        return (status and all(shown[name] == status[of] for name, of in NUMBERS.items()) and
                shown["kvpair_in_sync_nodes"] == len(status["in_sync"]) and
                shown['kvpair_role{role="%s"}' % status["role"]] == 1 and
                shown["kvpair_arbiter_reachable"] == (status["arbiter"]["state"] in ("ok", "not heard of yet")) and
                all(shown['kvpair_peer_connected{peer="%d"}' % peer["id"]] == peer["connected"] and
                    shown.get('kvpair_peer_lag_entries{peer="%d"}' % peer["id"]) == peer.get("lag")
                    for peer in status["peers"]))
    wait_for(condition, "the metrics of node %d to be those of kvcli" % node, 5)


def test_metrics_are_those_of_the_status_before_and_after_a_failover():
    with Pages().start() as group:
        old = group.primary()
        for i in range(10):
            group.put("k%d" % i, b"v")
        group.get("k1")
        group.cli("get", "none")
        shown = metrics(group.pages[old])
        assert shown['kvpair_requests_total{op="put",code="0"}'] == 10, shown
        assert shown['kvpair_requests_total{op="get",code="0"}'] == 1
        assert shown['kvpair_requests_total{op="get",code="1"}'] == 1
        assert shown["kvpair_commit_duration_seconds_count"] == 10
        assert shown['kvpair_commit_duration_seconds_bucket{le="+Inf"}'] == 10
        assert 0 < shown["kvpair_commit_duration_seconds_sum"] < 60
        assert shown["kvpair_log_write_duration_seconds_count"] >= 10
        assert abs(shown["process_start_time_seconds"] - time.time()) < 120 and shown["process_open_fds"] > 5
        for node in (1, 2):
            same_metrics(group, node)
        witness = metrics(group.witness_page)
        assert witness["kvpair_witness_groups"] == 1 and witness["kvpair_witness_serving"] == 1, witness
        group.kill(old)
        new = group.wait_primary()
        same_metrics(group, new)
        assert metrics(group.pages[new])["kvpair_serving"] == 1


def test_each_stage_of_a_request_is_timed():
    with Pages().start() as group:
        leads = group.primary()
        for i in range(10):
            group.put("k%d" % i, b"v")
        group.get("k1")
        group.cli("get", "none")
        shown = metrics(group.pages[leads])
        for op, count in (("put", 10), ("get", 2)):
            label = '{op="%s"}' % op
            assert shown["kvpair_request_duration_seconds_count" + label] == count, (op, shown)
            assert 0 < shown["kvpair_request_duration_seconds_sum" + label] < 60
            assert shown['kvpair_request_duration_seconds_bucket{op="%s",le="+Inf"}' % op] == count
        assert shown['kvpair_request_duration_seconds_sum{op="put"}'] >= shown["kvpair_commit_duration_seconds_sum"]
        assert 10 <= shown["kvpair_log_fsync_duration_seconds_count"] <= shown["kvpair_log_write_duration_seconds_count"]
        assert 0 < shown["kvpair_log_fsync_duration_seconds_sum"] < shown["kvpair_log_write_duration_seconds_sum"]
        assert shown['kvpair_peer_round_trip_seconds_count{peer="%d"}' % (3 - leads)] > 1
        assert shown["kvpair_sessions"] >= 10 and shown["kvpair_connections_refused_total"] == 0
        assert shown['kvpair_jobs{state="running"}'] == 0 and shown['kvpair_workers{state="active"}'] == 0
        assert 0 < shown["kvpair_log_bytes"] < 1 << 26 and shown["kvpair_store_bytes"] > 0
        assert 0 < shown["kvpair_disk_free_bytes"] < shown["kvpair_disk_bytes"]
        assert shown["kvpair_failures_tolerated"] == 1
        follows = metrics(group.pages[3 - leads])
        assert follows["kvpair_failures_tolerated"] == 1 and "kvpair_sessions" not in follows
        group.kill(3 - leads)
        wait_for(lambda: metrics(group.pages[leads])["kvpair_failures_tolerated"] == 0, "no more to be tolerated")


def seen(before, after):
    """Which reasons have been counted in between."""
    name = 'kvpair_view_changes_total{reason="%s"}'
    reasons = ("first", "handover", "failover", "member_lost", "member_joined", "other")
    return {reason: after[name % reason] - before[name % reason] for reason in reasons if after[name % reason] != before[name % reason]}


def test_changes_of_view_are_counted_by_what_they_were_for():
    with Pages().start() as group:
        group.put("k", b"v")
        leads = group.primary()
        page = group.pages[3 - leads]
        start = metrics(page)
        group.cli("handover", check=0)
        wait_for(lambda: seen(start, metrics(page)) == {"handover": 1}, "the handover to be counted")
        assert group.primary() == 3 - leads
        group.kill(leads)
        wait_for(lambda: seen(start, metrics(page)) == {"handover": 1, "member_lost": 1}, "the loss of a member to be counted")
        group.start_node(leads)
        group.wait_in_sync(1, 2)
        wait_for(lambda: seen(start, metrics(page)) == {"handover": 1, "member_lost": 1, "member_joined": 1}, "its return")
        page, start = group.pages[leads], metrics(group.pages[leads])
        assert start['kvpair_view_changes_total{reason="first"}'] == 0, "what it had on its disk is no change"
        group.kill(3 - leads)
        group.wait_primary()
        wait_for(lambda: seen(start, metrics(page)) == {"failover": 1}, "the failover to be counted")


def test_the_lag_of_a_peer_is_told_in_bytes():
    with Pages().start() as group:
        leads = group.primary()
        page, lags = group.pages[leads], "kvpair_peer_lag_%s{peer=\"" + str(3 - leads) + "\"}"
        wait_for(lambda: metrics(page)[lags % "bytes"] == 0, "no lag")
        group.kill(3 - leads)
        wait_for(lambda: group.status(leads)["in_sync"] == [leads], "the primary to go on alone")
        for i in range(4):
            group.put("k%d" % i, b"v" * 50000)
        shown = metrics(page)
        assert shown[lags % "entries"] >= 4 and 200000 < shown[lags % "bytes"] < 300000, shown


ONLY_WITH_TLS = {"kvpair_certificate_not_after_timestamp_seconds"}


def test_the_end_of_the_certificate_is_a_metric():
    with test_tls.TlsGroup(count=1) as group:
        page, = free_ports(1)
        group.options += ["--http", "http://127.0.0.1:%d" % page]
        group.start()
        shown = metrics(page)
        assert ONLY_WITH_TLS <= set(shown)
        for name in ONLY_WITH_TLS:
            assert 395 < (shown[name] - time.time()) / 86400 < 398, shown[name]


def test_every_metric_is_in_the_manual():
    with open(os.path.join(os.path.dirname(__file__), "..", "..", "docs", "metrics.md")) as file:
        rows = set(re.findall(r"^\| `(\w+)", file.read(), re.MULTILINE))
    with Pages().start() as group:
        group.put("k", b"v")
        leads = group.primary()
        before = int(time.time())
        group.cli("backup", "--from", str(leads), group.path("backup"), check=0)
        assert metrics(group.pages[leads])["kvpair_backup_last_success_timestamp_seconds"] >= before
        shown = set(metrics(group.pages[group.primary()])) | set(metrics(group.witness_page))
    names = {re.sub(r"_(bucket|sum|count)$", "", name.split("{")[0]) for name in shown}
    assert names == rows - ONLY_WITH_TLS, (names - rows, rows - names)


def dashboard():
    """[(expression, legend)]."""
    with open(os.path.join(os.path.dirname(__file__), "..", "..", "packaging", "kvpair.dashboard.json")) as file:
        board = json.load(file)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    return [(target["expr"], target["legendFormat"]) for panel in board["panels"] for target in panel.get("targets", [])]


def test_the_dashboard_asks_for_what_is_served():
    with Pages().start() as group:
        group.put("k", b"v")
        shown = [*metrics(group.pages[group.primary()]), *metrics(group.witness_page)]
    labels = {name: {"group", "instance"} for name in ONLY_WITH_TLS}
    for line in shown:
        labels.setdefault(line.split("{")[0], {"group", "instance"}).update(re.findall(r'(\w+)="', line))
    asked = dashboard()
    assert len(asked) > 20
    for expression, legend in asked:
        names = re.findall(r"\b(?:kvpair|process)_\w+", expression)
        assert names and all(name in labels for name in names), expression
        used = re.findall(r'(\w+)(?:=~|!=|=)"', expression) + re.findall(r"{{(\w+)}}", legend)
        used += [label for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(", ")]
        assert set(used) <= labels[names[0]], (expression, set(used) - labels[names[0]])
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        rules = [{"record": "a:b%d" % i, "expr": expression.replace("$__rate_interval", "5m").replace("$group", "g")}
                 for i, (expression, _) in enumerate(asked)]
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)  # JSON is YAML
        file.flush()
        done = promtool(["check", "rules", file.name])
    assert done is None or done[0] == 0, done


def test_the_alerts_fire_when_they_should():
    folder = os.path.join(os.path.dirname(__file__), "..", "..", "packaging")
    assert promtool(["check", "rules", os.path.join(folder, "kvpair.rules.yml")]) is None or \
        promtool(["check", "rules", os.path.join(folder, "kvpair.rules.yml")])[0] == 0
    done = promtool(["test", "rules", os.path.join(os.path.dirname(__file__), "kvpair.rules.test.yml")])
    assert done is None or done[0] == 0, done


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


def test_a_disk_is_judged_by_sync_timeout():
    with Pages(1, options=["--sync-timeout-ms", "600"]) as group:
        stuck = Held(group, group.data_dir(1), "fsync,fdatasync")
        group.start_witness()
        group.start_node(1, stuck.prefix)
        group.wait_primary(1)
        assert group.page(1, "/readyz")[0] == 200
        stuck.hold()
        try:
            group.cli("put", "k", "v", timeout_ms=500)

            def judged():
                text = group.page(1, "/readyz?verbose")[2].decode()
                found = re.search(r"\[-\]disk: it has not answered for ([\d.]+) s", text)
                return found and float(found.group(1))
            assert 0.6 <= wait_for(judged, "a word about the disk", 5) < 1.9
            assert group.page(1, "/livez")[0] == 200
        finally:
            stuck.let_go()


def test_a_loop_that_stands_still_is_not_alive():
    with Pages(1).start() as group:
        with StoppedThread(group.nodes[1].pid, "kvpair-loop") as stopped:
            if stopped is None:
                print("skipped: no thread can be stopped here")
                return
            code, text = wait_for(lambda: (lambda a: (a[0], a[2]) if a[0] != 200 else None)(
                group.page(1, "/livez")), "the loop to be found dead", 8)
            assert code == 503 and text.startswith(b"loop: "), text
            assert group.page(1, "/readyz")[0] == 503
        wait_for(lambda: group.page(1, "/livez")[0] == 200, "the loop to be found alive")


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
        for others in ("x", "http://", "https://127.0.0.1:1", "http://127.0.0.1:1,http://a\"b:1"):
            code, text = held(node + ["http://127.0.0.1:0", "--http-others", others])
            assert code == 2 and "--http-others" in text, (others, text)
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


def test_a_page_of_another_node_here_may_read_and_no_stranger():
    with Pages().start() as group:
        leads = group.primary()
        code, head, body = group.page(leads, "/")
        policy = re.search(r"Content-Security-Policy: (.*)\r", head).group(1)
        assert code == 200 and "text/html" in head and body.startswith(b"<!DOCTYPE html>"), head
        assert "default-src 'none'" in policy and "unsafe" not in policy and policy.count("'sha256-") == 2, policy
        assert b"http://" not in re.sub(rb"http://(www.w3.org/2000/svg|127.0.0.1)", b"", body), "another host"
        for origin, allowed in (("http://127.0.0.1:9102", True), ("http://localhost:1", True), ("http://evil.example", False),
                                ("http://127.0.0.1.evil.example", False), ("https://127.0.0.1:1", False), ("null", False)):
            answer = raw(group.pages[leads], b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nOrigin: %s\r\n\r\n" % origin.encode())
            assert (b"Access-Control-Allow-Origin: %s\r\n" % origin.encode() in answer) == allowed, answer[:600]
            assert allowed or b"Access-Control" not in answer, answer[:600]
        assert json.loads(group.page(leads, "/api/v1/jobs")[2]) == [0, []]
        assert json.loads(group.page(leads, "/api/v1/workers")[2]) == [0, []]
        assert group.page(3 - leads, "/api/v1/jobs")[0] == 503
        assert json.loads(group.page(leads, "/api/v1/pages")[2]) == []


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


def torture_parts():
    """Half a request is waited for twelve seconds: with KVPAIR_LONG=1."""
    long = os.environ.get("KVPAIR_LONG") == "1"
    return [part for part in http_torture.PARTS if long or part is not http_torture.half_a_request_is_not_waited_for]


def test_torture_of_the_pages_costs_no_view():
    with Pages().start() as group:
        load = subprocess.Popen([program("kvbench"), "put", "--nodes", group.nodes_option(), "--outstanding", "64",
                                 "--seconds", "30"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                stdin=subprocess.DEVNULL)
        before = group.status(1)["version"]
        wrong = {}
        primary = group.primary()

        def run(name, port, pid):
            wrong[name] = http_torture.torture(port, pid, torture_parts())

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
      test_metrics_are_those_of_the_status_before_and_after_a_failover,
      test_each_stage_of_a_request_is_timed,
      test_changes_of_view_are_counted_by_what_they_were_for,
      test_the_lag_of_a_peer_is_told_in_bytes,
      test_the_end_of_the_certificate_is_a_metric,
      test_every_metric_is_in_the_manual,
      test_the_dashboard_asks_for_what_is_served,
      test_the_alerts_fire_when_they_should,
      test_ready_says_why_not,
      test_a_disk_is_judged_by_sync_timeout,
      test_a_loop_that_stands_still_is_not_alive,
      test_wrong_addresses_for_pages_are_named,
      test_only_own_names_and_reading_are_answered,
      test_a_page_of_another_node_here_may_read_and_no_stranger,
      test_a_node_with_pages_ends_on_sigterm_while_they_are_held,
      test_torture_of_the_pages_costs_no_view])
