# SPDX-License-Identifier: Apache-2.0
"""Bad input of every kind, and kvcli in scripts."""

import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time

import kvtest
from kvtest import SLOW, Group, wait_for

SECONDS = float(os.environ.get("KVPAIR_GARBAGE_SECONDS", "5"))


def test_kvcli_refuses_bad_input_with_clear_messages():
    with Group().start() as group:
        def refused(status, word, *arguments, **options):
            done = group.cli(*arguments, **options)
            assert done.returncode == status, (arguments, done)
            assert word in done.stderr, (arguments, done.stderr)
        refused(2, b"key", "put", "", "x")
        refused(2, b"1024", "put", "k" * 1025, "x")
        group.cli("put", "k" * 1024, "x", check=0)
        refused(2, b"", "put", "k", "-", stdin=b"x" * (1024 * 1024 + 1))
        group.cli("put", "big", "-", stdin=b"x" * (1024 * 1024), check=0)
        assert len(group.get("big")) == 1024 * 1024
        refused(2, b"frobnicate", "frobnicate")
        refused(2, b"", "get")
        refused(2, b"", "--no-such-flag", "get", "k")
        refused(1, b"not found", "get", "nothing")
        group.cli("create", "c", "1", check=0)
        refused(1, b"", "create", "c", "2")
        refused(1, b"", "cas", "c", "999999", "2")
        unreachable = "tcp://127.0.0.1:%d" % kvtest.free_ports(1)[0]
        refused(3, b"", "get", "k", nodes=unreachable, timeout_ms=500)
        assert group.cli("put", "k", "v", nodes=unreachable, timeout_ms=500).returncode == 3
        refused(2, b"", "get", "k", nodes="not an address")
        done = group.cli("--group", "other", "get", "k", timeout_ms=1000)
        assert done.returncode in (3, 5) and b"group" in done.stderr, done
        for command in (["scan"], ["txn", "-"]):
            refused(3, b"no node can be reached", *command, nodes=unreachable, timeout_ms=500,
                    stdin=b'{"then": [["get", "k"]]}')
        refused(2, b"1024", "scan", "k" * 1025)
        refused(2, b"1024", "txn", "-", stdin=b'{"then": [["get", "%s"]]}' % (b"k" * 1025))


def test_values_with_newlines_and_zero_bytes_round_trip_in_a_shell_script():
    with Group().start() as group:
        value = bytes(range(256)) + b"\n\n\0\0two\nlines\n"
        source, back = group.path("in"), group.path("out")
        with open(source, "wb") as file:
            file.write(value)
        script = '"$1" --nodes "$2" put bin - <"$3" && "$1" --nodes "$2" get bin >"$4"'
        subprocess.run(["sh", "-c", script, "sh", kvtest.program("kvcli"), group.nodes_option(),
                        source, back], check=True, timeout=60)
        with open(back, "rb") as file:
            assert file.read() == value
        group.put("empty", b"")
        assert group.get("empty") == b""


def test_operations_do_what_they_say():
    with Group().start() as group:
        group.cli("put", "a", "1", check=0)
        version = json.loads(group.cli("--json", "get", "a", check=0).stdout)["version"]
        group.cli("cas", "a", str(version), "2", check=0)
        assert group.get("a") == b"2"
        group.cli("delete", "a", check=0)
        group.cli("get", "a", check=1)
        for number in range(2500):
            if number % 100 == 0:
                group.cli("put", "s/%04d" % number, str(number), check=0)
        lines = group.cli("scan", "s/", check=0).stdout.splitlines()
        assert lines == [b"s/%04d\t%d" % (n, n) for n in range(0, 2500, 100)], lines
        txn = {"if": [["t", "absent"]], "then": [["put", "t", "1"], ["get", "s/0000"]],
               "else": [["get", "t"]]}
        first = json.loads(group.cli("--json", "txn", "-", stdin=json.dumps(txn).encode(),
                                     check=0).stdout)
        second = json.loads(group.cli("--json", "txn", "-", stdin=json.dumps(txn).encode(),
                                      check=0).stdout)
        assert first["succeeded"] is True and second["succeeded"] is False
        plain = group.cli("txn", "-", stdin=json.dumps(txn).encode(), check=0)
        assert plain.stdout == b"else\nget\t1\n" and plain.stderr == b"", plain
        txn = {"then": [["get", "nothing"], ["get", "t"], ["put", "t", "2"], ["delete", "t"],
                        ["delete", "t"]]}
        plain = group.cli("txn", "-", stdin=json.dumps(txn).encode(), check=0)
        assert plain.stdout == (b"then\nget\t(not found)\nget\t1\nput\t(done)\ndelete\t(done)\n"
                                b"delete\t(not found)\n"), plain
        dead = "tcp://127.0.0.1:%d" % kvtest.free_ports(1)[0]
        table = group.cli("status", nodes=group.urls[1] + "," + dead, check=0)
        assert b"ROLE" in table.stdout and b"connection refused" in table.stdout, table
        assert table.stderr == b"", table
        table = group.cli("status", nodes=dead, check=3)
        assert b"connection refused" in table.stdout and table.stderr, table


def test_a_transaction_with_a_list_twice_is_refused():
    with Group(1, pair="primary-wins") as group:
        group.start_node(1)
        group.wait_primary()
        for text in (b'{"then": [], "then": [["put", "t", "1"], ["get", "t"]]}',
                     b'{"if": [["t", "present"]], "if": [], "then": [["put", "t", "1"]]}',
                     b'{"else": [], "if": [["t", "present"]], "else": [["put", "t", "1"]]}'):
            done = group.cli("txn", "-", stdin=text)
            assert done.returncode == 2 and b"twice" in done.stderr, (text, done)
        group.cli("get", "t", check=1)


def test_a_transaction_file_holds_one_transaction():
    with Group(1, pair="primary-wins") as group:
        group.start_node(1)
        group.wait_primary()
        one = b'{"then": [["put", "t", "1"]]}'
        for text, word in ((one + one, b"follows"), (one + b"\n" + one + b"\n", b"follows"),
                           (one + b"}", b"follows"), (one[:-1], b"malformed"), (b"", b"malformed")):
            done = group.cli("txn", "-", stdin=text)
            assert done.returncode == 2 and word in done.stderr, (text, done)
        group.cli("get", "t", check=1)
        done = group.cli("txn", "-", stdin=b'{"then": [["put", "t", "1\\u0000"]]}')
        assert done.returncode == 2 and b"base64" in done.stderr, done
        group.cli("get", "t", check=1)
        group.cli("txn", "-", stdin=b" \n" + one + b"\r\n\t \n", check=0)
        assert group.get("t") == b"1"
        group.cli("txn", "-", stdin=b'{"then": [["put", "t", "\\\\u0000"]]}', check=0)
        assert group.get("t") == b"\\u0000"
        group.cli("txn", "-", stdin=b'{"then": [["put", "t", {"base64": "MQAy"}]]}', check=0)
        assert group.get("t") == b"1\0" + b"2"


def into_full_disk(group, *arguments):
    with open("/dev/full", "wb") as full:
        return subprocess.run([kvtest.program("kvcli"), "--nodes", group.nodes_option()] +
                              list(arguments), stdout=full, stderr=subprocess.PIPE, timeout=60)


def test_output_that_got_lost_shows_in_the_exit_status():
    with Group(1, pair="primary-wins") as group:
        group.start_node(1)
        group.wait_primary()
        group.put("a", b"1")
        transaction = group.path("txn")
        with open(transaction, "w") as file:
            file.write('{"then": [["put", "b", "3"]]}')
        for status, arguments in (
                (3, ["get", "a"]), (3, ["--json", "get", "a"]), (3, ["scan"]), (3, ["status"]),
                (4, ["--json", "put", "b", "1"]), (4, ["--json", "cas", "a", "1", "2"]),
                (4, ["--json", "delete", "b"]), (4, ["--json", "create", "b", "2"]),
                (4, ["txn", transaction]), (0, ["put", "c", "1"]), (1, ["get", "nothing"]),
                (3, ["--help"]), (3, ["--version"])):
            if arguments[1:2] == ["cas"]:
                arguments[3] = str(json.loads(group.cli("--json", "get", "a").stdout)["version"])
            done = into_full_disk(group, *arguments)
            assert done.returncode == status, (arguments, done)
            assert (b"No space left" in done.stderr) == (status in (3, 4)), (arguments, done)
            assert (b"was executed" in done.stderr) == (status == 4), (arguments, done)
        assert group.get("a") == b"2" and group.get("b") == b"3"


def test_what_is_wrong_with_an_address_is_told():
    with Group(1).start() as group, socket.create_server(("127.0.0.1", 0)) as mute:
        silent = "tcp://127.0.0.1:%d" % mute.getsockname()[1]
        refusing = "tcp://127.0.0.1:%d" % kvtest.free_ports(1)[0]
        for nodes, word in ((group.witness_url, b"witness"), (refusing, b"connection refused"),
                            ("tcp://no.such.host.invalid:1", b"host name"),
                            (silent, b"is it kvpair"),
                            (group.witness_url + "," + refusing, b"witness")):
            done = group.cli("get", "k", nodes=nodes, timeout_ms=2000, check=3)
            assert word in done.stderr, (nodes, done)
            done = group.cli("status", nodes=nodes, check=3)
            assert word in b" ".join(done.stdout.split()), (nodes, done)
        begin = time.monotonic()
        group.cli("get", "k", nodes=group.witness_url, timeout_ms=20000, check=3)
        assert time.monotonic() - begin < 5 * SLOW  # that is known at once
        group.cli("status", check=0)
        done = group.cli("--json", "get", "k", nodes=refusing, timeout_ms=300, check=3)
        assert b"connection refused" in json.loads(done.stderr)["reason"].encode(), done


def test_a_hangup_stops_no_program():
    with Group(1).start() as group:
        worker = kvtest.Process([kvtest.program("kvworker"), "--nodes", group.urls[1], "--id", "w"],
                                group.path("worker.log"))
        try:
            wait_for(lambda: b"w " in group.cli("job", "workers").stdout, "the worker")
            programs = [group.nodes[1], group.witness, worker]
            for each in programs:
                os.kill(each.pid, signal.SIGHUP)
            time.sleep(0.5)
            assert all(each.alive() for each in programs)
            group.cli("put", "a", "1", check=0)
        finally:
            worker.kill()


def log_has(group, node, *words):
    return any(all(word in line for word in words)
               for line in group.nodes[node].text().splitlines())


def test_an_interrupted_update_is_unknown_and_an_interrupted_read_is_quiet():
    with Group(1, pair="primary-wins") as group:
        group.start_node(1)
        group.wait_primary()
        group.nodes[1].signal(signal.SIGSTOP)
        try:
            for command, told in ((["put", "a", "1"], True), (["get", "a"], False)):
                child = subprocess.Popen([kvtest.program("kvcli"), "--nodes", group.nodes_option(),
                                          "--timeout", "60000"] + command, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE)
                time.sleep(0.5)
                child.send_signal(signal.SIGINT)
                out, errors = child.communicate(timeout=20)
                assert child.returncode == 130 and out == b"", (command, child)
                assert (b"not known" in errors) == told and (told or errors == b""), errors
        finally:
            group.nodes[1].signal(signal.SIGCONT)


def test_the_results_of_tasks_go_into_a_file():
    with Group(1, pair="primary-wins") as group:
        group.start_node(1)
        group.wait_primary()
        worker = kvtest.Process([kvtest.program("kvworker"), "--nodes", group.urls[1], "--id", "w",
                                 "--no-matmul", "--handler", "k=cat"], group.path("worker.log"))
        try:
            lines = b"".join(b'{"kind": "k", "payload": "a\\n%d"}\n' % n for n in range(3))
            job = group.cli("job", "submit", "tasks", "-", stdin=lines, check=0).stdout.decode()
            group.cli("job", "wait", job.strip(), timeout_ms=20000, check=0)
            path = group.path("results")
            group.cli("job", "result", job.strip(), "-o", path, check=0)
            with open(path, "rb") as file:
                assert file.read() == b"0\ta\\n0\n1\ta\\n1\n2\ta\\n2\n"
        finally:
            worker.kill()


def test_a_node_tells_whom_it_cannot_reach_and_when_it_is_back():
    with Group(2) as group:
        group.start_node(1)
        for words in (("arbiter_trouble", group.witness_url, "connection refused"),
                      ("peer_trouble", "peer=2", "connection refused")):
            wait_for(lambda: log_has(group, 1, *words), words)
        table = group.cli("status", nodes=group.urls[1], check=3)
        assert b"witness" in table.stdout and b"connection refused" in table.stderr, table
        group.start_witness()
        group.start_node(2)
        group.wait_in_sync(1, 2)
        wait_for(lambda: log_has(group, 1, "arbiter_back") and log_has(group, 1, "peer_back"),
                 "the end of the troubles")
        lines = group.nodes[1].text().count("_trouble")
        assert lines <= 4, group.nodes[1].text()  # at growing intervals
        group.witness.kill()
        wait_for(lambda: "refused" in group.status(1)["arbiter"]["state"], "status to show it")
        group.start_witness()
        wait_for(lambda: group.status(1)["arbiter"]["state"] == "ok", "status to show its end")


def test_a_restart_beside_a_healthy_witness_raises_no_alarm():
    with Group(2).start() as group:
        backup = 3 - group.primary()
        for nodes in ((backup,), (1, 2)):
            for node in nodes:
                group.nodes[node].signal(signal.SIGTERM)
            for node in nodes:
                group.nodes[node].wait()
                group.start_node(node)
            group.wait_in_sync(1, 2)
            time.sleep(3.5)  # two looks at the register
            for node in nodes:
                assert not log_has(group, node, "arbiter_"), group.nodes[node].text()


def test_what_is_not_what_it_should_be_is_named():
    with Group(2) as group:
        group.start_witness()
        group.start_node(1, options=["--witness", group.urls[1].replace("127.0.0.1", "localhost")])
        wait_for(lambda: log_has(group, 1, "arbiter_trouble", "a node answers there"), "the node")
        group.kill(1)
        urls = dict(group.urls)
        group.urls[2] = group.witness_url
        group.start_node(1)
        wait_for(lambda: log_has(group, 1, "peer_trouble", "a witness answers there"), "the witness")
        group.urls = urls
        done = subprocess.run(group.arguments(1) + ["--peer", "3=" + group.urls[1]],
                              capture_output=True, timeout=20)
        assert done.returncode == 2 and b"own address" in done.stderr, done


def test_emptied_data_beside_a_witness_that_knows_the_group_names_the_way_out():
    with Group(2).start() as group:
        for node in (1, 2):
            group.kill(node)
            shutil.rmtree(group.data_dir(node))
            group.start_node(node)
        wait_for(lambda: log_has(group, 1, "blank_but_group_known", "--group"), "the way out")
        done = group.cli("promote", "--force", nodes=group.urls[1], check=5)
        assert b"no node here has its data" in done.stderr, done
        group.witness.kill()
        shutil.rmtree(group.path("witness"))
        group.start_witness()  # one of the ways out
        group.wait_in_sync(1, 2)


def test_an_address_that_is_not_there_yet_is_waited_for():
    with Group(1) as group:
        for name in ("kvnode", "kvwitness"):
            arguments = [kvtest.program(name), "--data", group.path(name), "--listen",
                         "tcp://no.such.host.invalid:7001", "--insecure"]
            arguments += ["--id", "1", "--pair", "primary-wins"] if name == "kvnode" else []
            waiting = kvtest.Process(arguments, group.path(name + ".log"))
            try:
                wait_for(lambda: "waiting for it" in waiting.text(), "it to say so")
                assert waiting.alive()
            finally:
                waiting.kill()


def test_a_plain_address_that_others_reach_has_to_be_wanted():
    with Group(1) as group:
        def refused(name, url, *more):
            arguments = [kvtest.program(name), "--data", group.path(name), "--listen", url, *more]
            arguments += ["--id", "1", "--pair", "primary-wins"] if name == "kvnode" else []
            done = subprocess.run(arguments, capture_output=True, timeout=20)
            assert done.returncode == 2 and b"--insecure" in done.stderr, done
            return done.stderr
        for name in ("kvnode", "kvwitness"):
            for host in ("0.0.0.0", "*", "[::]", "192.0.2.1", "no.such.host.invalid", "127.0.0.1.invalid"):
                assert b"TLS" in refused(name, "tcp://%s:7001" % host)
        with open(group.path("conf"), "w") as file:
            file.write("insecure = perhaps\n")
        assert b"neither yes nor no" in refused("kvnode", "tcp://127.0.0.1:7001", "--config", group.path("conf"))
        with open(group.path("conf"), "w") as file:
            file.write("insecure = yes\n")
        port = kvtest.free_ports(1)[0]
        for name, more in (("kvwitness", ["--insecure"]), ("kvnode", ["--config", group.path("conf")]),
                           ("kvnode", ["--insecure"])):
            arguments = [kvtest.program(name), "--data", group.path(name), "--listen", "tcp://*:%d" % port, *more]
            arguments += ["--id", "1", "--pair", "primary-wins", "--advertise", "tcp://127.0.0.1:%d" % port] \
                if name == "kvnode" else []
            there = kvtest.Process(arguments, group.path(name + ".log"))
            try:
                wait_for(lambda: "started" in there.text(), "it to listen")
            finally:
                there.kill()


def test_status_fails_while_nobody_serves():
    with Group(2) as group:
        group.start_witness()
        group.start_node(1)
        wait_for(lambda: group.cli("status", nodes=group.urls[1]).stdout.count(b"outside") == 1,
                 "the node to answer")
        done = group.cli("status", nodes=group.urls[1], check=3)
        assert b"kvcli: " in done.stderr, done
        group.start_node(2)
        group.wait_in_sync(1, 2)
        backup = group.urls[3 - group.primary()]
        group.cli("status", nodes=backup, check=0)  # it names the primary, which does


def test_a_closed_standard_input_or_output_is_an_error():
    with Group(1, pair="primary-wins") as group:
        group.start_node(1)
        group.wait_primary()
        group.put("a", b"1")
        for status, script in ((2, '"$1" --nodes "$2" put k - <&-'),
                               (2, '"$1" --nodes "$2" txn - <&-'),
                               (2, '"$1" --nodes "$2" job submit tasks - <&-'),
                               (3, '"$1" --nodes "$2" get a >&-')):
            done = subprocess.run(["sh", "-c", script, "sh", kvtest.program("kvcli"),
                                   group.nodes_option()], capture_output=True, timeout=60)
            assert done.returncode == status and b"standard" in done.stderr, (script, done)
        group.cli("get", "k", check=1)


class Listener(kvtest.Relay):
    """A relay that notes what goes through it."""

    def __init__(self, target_url):
        self.heard = b""
        super().__init__(target_url)

    def _pump(self, source, sink):
        listener = self

        class Noting:
            def recv(self, size):
                data = source.recv(size)
                listener.heard += data
                return data

            def shutdown(self, how):
                source.shutdown(how)

        super()._pump(Noting(), sink)


def test_a_scan_whose_reader_goes_away_gives_up_its_cursor():
    with Group(1, pair="primary-wins") as group:
        group.start_node(1)
        group.wait_primary()
        for key in ("a", "b", "c", "d"):  # more than one page
            group.put(key, b"x" * 200000)
        relay = Listener(group.urls[1])
        try:
            child = subprocess.Popen([kvtest.program("kvcli"), "--nodes", relay.url, "scan"],
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert child.stdout.readline() == b"a\t" + b"x" * 200000 + b"\n"
            child.stdout.close()
            assert child.wait(60) == 141 and child.stderr.read() == b""  # that is no news to him
            child.stderr.close()
            close_scan = b"\x99\x01\x0c\xa7default"
            wait_for(lambda: close_scan in relay.heard, "the scan to be closed")
        finally:
            relay.close()


def frame(body):
    return struct.pack(">Q", len(body)) + body


def hostile(port, generator):
    kind = generator.randrange(6)
    with socket.create_connection(("127.0.0.1", port), 2) as link:
        link.settimeout(0.2)
        greeting = b"\0SP\0\0\x30\0\0"
        if kind == 0:
            link.sendall(generator.randbytes(generator.randrange(1, 4096)))
        elif kind == 1:
            link.sendall(greeting + frame(generator.randbytes(generator.randrange(0, 200))))
        elif kind == 2:
            body = b"\x80\0\0\x01" + generator.randbytes(generator.randrange(0, 500))
            link.sendall(greeting + frame(body) * generator.randrange(1, 20))
        elif kind == 3:  # declares more than it sends, up to absurd sizes
            size = generator.choice([1 << 20, 17 << 20, 1 << 40, (1 << 64) - 1])
            link.sendall(greeting + struct.pack(">Q", size) + b"x" * 100)
        elif kind == 4:  # a request with one byte changed
            body = bytearray(b"\x9a\x01\x03\xa7default\x00\x00\x00\x00\x00\xc4\x01k\xc4\x01v")
            body[generator.randrange(len(body))] = generator.randrange(256)
            link.sendall(greeting + frame(b"\x80\0\0\x02" + bytes(body)))
        else:  # half of everything
            link.sendall((greeting + frame(b"\x80\0\0\x03"))[:generator.randrange(1, 20)])
        try:
            link.recv(4096)
        except OSError:
            pass


def test_garbage_on_the_ports_changes_nothing():
    with Group().start() as group:
        group.cli("put", "untouched", "1", check=0)
        processes = list(group.nodes.values()) + [group.witness]
        generator = random.Random(7)
        ports = [int(url.rsplit(":", 1)[1]) for url in
                 list(group.urls.values()) + [group.witness_url]]
        def storm(seconds):
            end = time.monotonic() + seconds
            count = 0
            while time.monotonic() < end:
                hostile(generator.choice(ports), generator)
                count += 1
            return count
        storm(SECONDS / 4)
        before = [p.resident_kib() for p in processes]
        count = storm(SECONDS)
        after = [p.resident_kib() for p in processes]
        print("%d hostile connections; resident KiB %s -> %s" % (count, before, after))
        assert all(p.alive() for p in processes)
        assert all(b - a < 16 * 1024 * SLOW for a, b in zip(before, after)), (before, after)
        assert group.get("untouched") == b"1"
        group.cli("put", "untouched", "2", check=0)
        wait_for(lambda: sorted(group.status(group.primary())["in_sync"]) == [1, 2], "in sync")


def test_a_line_that_does_not_end_costs_no_more_than_a_line_may():
    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    with Group().start() as group:
        group.put("k", b"v")
        base = [kvtest.program("kvcli"), "--nodes", group.nodes_option()]
        for words in ([], ["import", "-"], ["job", "submit", "tasks", "-"]):
            with open("/dev/zero", "rb") as endless:
                done = subprocess.run(base + words, stdin=endless, capture_output=True, timeout=60 * SLOW,
                                      preexec_fn=limited if kvtest.SANITIZERS == "none" else None)
            assert done.returncode == 2 and b"longer than" in done.stderr, (words, done)
        done = group.cli(stdin=b"import\nput x 1\n")
        assert done.returncode == 2 and b"standard input has the commands" in done.stderr, done
        assert group.get("x") == b"1"  # not taken for what is to be imported


def test_commands_are_read_from_standard_input():
    with Group(count=1, pair="primary-wins").start() as group:
        done = group.cli(stdin=b"put a 1\n\n# a comment\n  put 'b c' \"two words\"\nget a\n", check=0)
        assert done.stdout == b"1" and b"3 done, 0 failed" in done.stderr, done
        assert group.get("b c") == b"two words"
        done = group.cli(stdin=b"get none\nput d -\nfrob\nput e 'x\nget a", check=1)
        assert done.stdout == b"1" and b"first in line 1" in done.stderr, done
        assert b"1 done, 4 failed" in done.stderr and b"standard input has the commands" in done.stderr, done
        group.cli("get", "d", check=1)
        for text in (b"", b"\n# nothing\n"):
            done = group.cli(stdin=text, check=2)
            assert b"no command" in done.stderr and done.stderr.count(b"\n") == 1, done
        done = group.cli("--json", stdin=b"get a\nget a\nexit\nget none\n", check=0)
        assert [json.loads(line)["value"] for line in done.stdout.splitlines()] == ["1", "1"], done


def test_a_witness_without_peers_is_warned_of():
    with Group(count=1).start() as group:
        assert log_has(group, 1, "alone_with_a_witness", "--peer"), group.nodes[1].text()
    with Group(count=1, pair="primary-wins").start() as group:
        assert not log_has(group, 1, "alone_with_a_witness")


def test_ids_of_groups_have_one_spelling():
    with Group(count=1).start() as group:
        number = group.status(1)["group_id"]
        assert log_has(group, 1, "group_created", "group_id=%s" % number), group.nodes[1].text()
        group.kill(1)
        group.start_node(1)
        wait_for(lambda: log_has(group, 1, "started", "group_id=%s " % number), "the start")


def test_help_version_and_usage_of_every_program():
    for name in ("kvnode", "kvwitness", "kvcli"):
        path = kvtest.program(name)
        done = subprocess.run([path, "--help"], capture_output=True, timeout=20)
        assert done.returncode == 0 and b"sage" in done.stdout and not done.stderr, name
        done = subprocess.run([path, "--version"], capture_output=True, timeout=20)
        assert done.returncode == 0 and b"0.2.0" in done.stdout, name
        done = subprocess.run([path, "--frobnicate"], capture_output=True, timeout=20)
        assert done.returncode == 2 and done.stderr, name
    for name in ("kvnode", "kvwitness", "kvcli", "kvworker", "kvbench"):
        for option in ("--help", "--version"):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([kvtest.program(name), option], stdout=full, stderr=subprocess.PIPE,
                                      timeout=20)
            assert done.returncode != 0 and b"No space left" in done.stderr, (name, done)


def test_wrong_options_of_kvnode_are_named():
    with Group() as group:
        good = ["--id", "1", "--data", group.path("d"), "--listen", "tcp://127.0.0.1:0", "--pair",
                "primary-wins"]
        for extra, word in ((["--id", "64"], b"id"), (["--pair", "both"], b"both"),
                            (["--heartbeat-ms", "500"], b"heartbeat"), (["--peer", "x"], b"x"),
                            (["--grace-ms", "abc"], b"grace"), (["--peer", "1=tcp://a:1"], b"1"),
                            (["--config", "/nonexistent"], b"/nonexistent"),
                            (["--peer", "2=tcp://a:70000"], b"1 to 65535")):
            done = subprocess.run([kvtest.program("kvnode")] + good + extra, capture_output=True,
                                  timeout=20)
            assert done.returncode == 2 and word in done.stderr, (extra, done)


def test_a_configuration_file_stands_for_options():
    with Group() as group:
        path = group.path("kvnode.ini")
        with open(path, "w") as file:
            file.write("id = 1\ndata = %s\nlisten = %s\npair = primary-wins\n" %
                       (group.path("d"), group.urls[1]))
        group.nodes[1] = kvtest.Process([kvtest.program("kvnode"), "--config", path],
                                        group.path("node1.log"))
        wait_for(lambda: group.primary() == 1, "the node to serve")
        group.cli("put", "a", "1", nodes=group.urls[1], check=0)


def test_values_of_the_configuration_file_are_taken_as_they_are():
    with Group(1) as group:
        data = group.path("d" * 240)
        with open(group.path("kvnode.conf"), "w", newline="") as file:
            file.write("# a comment\n; another\n#" + "x" * 5000 + "\n\n \t \n\r\n"
                       "id=1\r\ndata =\t%s  \npair = primary-wins\ngroup = a b;c #d \"e\" = \\\n"
                       "listen = %s" % (data, group.urls[1]))
        group.nodes[1] = kvtest.Process([kvtest.program("kvnode"), "--config",
                                         group.path("kvnode.conf")], group.path("node1.log"))
        put = ["--group", "a b;c #d \"e\" = \\", "put", "a", "1"]
        wait_for(lambda: group.cli(*put).returncode == 0, "the node to serve")
        assert os.path.isdir(data)


def test_a_fence_command_of_a_configuration_file_is_run_as_it_is():
    with Group(2, pair="backup-wins") as group:
        for node in group.urls:
            path, trace = group.path("conf%d" % node), group.path("fenced%d" % node)
            with open(path, "w") as file:
                file.write("fence-command = printf 'a b' >%s ; printf '; c # d' >>%s ; true\n" %
                           (trace, trace))
            group.start_node(node, options=["--config", path])
        primary = group.wait_in_sync(1, 2)
        group.kill(primary)
        other = group.wait_primary(3 - primary)
        with open(group.path("fenced%d" % other)) as file:
            assert file.read() == "a b; c # d"


def test_mistakes_in_a_configuration_file_are_named_with_their_line():
    with Group(1) as group:
        path = group.path("kvnode.conf")
        good = b"id = 1\ndata = %s\nlisten = %s\n" % (group.path("d").encode(),
                                                       group.urls[1].encode())
        for line, word in ((b"  lease-ms = 400", b"indented"), (b"\tid = 2", b"indented"),
                           (b" # no comment", b"indented"), (b"[kvnode]", b"NAME = VALUE"),
                           (b"pair", b"NAME = VALUE"), (b"pair: primary-wins", b"NAME = VALUE"),
                           (b"pear = primary-wins", b"pear"), (b"--id = 1", b"--id"),
                           (b"config = other", b"config"), (b"help = 1", b"help"),
                           (b"= 1", b"unknown"), (b"pair =", b"no value"),
                           (b"id = 2", b"twice"), (b"group = " + b"g" * 1024, b"long"),
                           (b"fence-command = " + b"f" * 5000, b"long"),
                           (b"peer = " + b"2=tcp://a:1," * 400, b"long"),
                           (b"pair = primary\0-wins", b"zero byte")):
            with open(path, "wb") as file:
                file.write(good + line + b"\npair = primary-wins\n")
            done = subprocess.run([kvtest.program("kvnode"), "--config", path],
                                  capture_output=True, timeout=20)
            assert done.returncode == 2, (line[:40], done)
            assert path.encode() + b":4: " in done.stderr and word in done.stderr, (line[:40], done)
            assert not os.path.exists(group.path("d")), line[:40]
        done = subprocess.run([kvtest.program("kvnode"), "--config", group.work],
                              capture_output=True, timeout=20)
        assert done.returncode == 2 and group.work.encode() in done.stderr, done


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
