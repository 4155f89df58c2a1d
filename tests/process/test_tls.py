# SPDX-License-Identifier: Apache-2.0
"""A group over TLS: it works as without, knows who speaks, and tells both sides why somebody may not."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import time

import kvtest
from kvtest import Group, program, wait_for

REFUSED = 16
STRANGERS = 1000


class Authority:
    """A CA in a folder, by kvcli."""

    def __init__(self, folder):
        self.folder = folder
        self.run("init")

    def run(self, *arguments, group="default"):
        return subprocess.run([program("kvcli"), "--group", group, "cert", *arguments, "--dir", self.folder], check=True,
                              capture_output=True, timeout=60)

    def issue(self, identity, *options, group="default"):
        self.run("issue", identity, *options, group=group)
        return self.files(identity)

    def files(self, identity):
        return [os.path.join(self.folder, identity.replace("/", "-") + end) for end in (".crt", ".key")] + \
            [os.path.join(self.folder, "ca.crt")]


def options_of(files):
    return [word for pair in zip(("--tls-cert", "--tls-key", "--tls-ca"), files) for word in pair]


class TlsGroup(Group):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.urls = {node: "tls+" + url for node, url in self.urls.items()}
        self.witness_url = "tls+" + self.witness_url
        self.authority = Authority(self.path("ca"))
        self.files = {node: self.authority.issue("node/%d" % node, "--host", "127.0.0.1") for node in self.urls}
        self.witness_files = self.authority.issue("witness/w")
        self.user = self.authority.issue("user/ann")

    def command_prefix(self):
        names = ("KVPAIR_TLS_CERT", "KVPAIR_TLS_KEY", "KVPAIR_TLS_CA")
        return ["env"] + ["%s=%s" % pair for pair in zip(names, self.user)]

    def arguments(self, node):
        return super().arguments(node) + options_of(self.files[node]) + ["--admin", "user/ann"]

    def start_witness(self):
        self.witness = kvtest.Process([program("kvwitness"), "--data", self.path("witness"), "--listen", self.witness_url,
                                       *options_of(self.witness_files)], self.path("witness.log"))

    @contextlib.contextmanager
    def link(self, url, files):
        """A connection that Python's own TLS carries (docs/protocol.md): gives the body of the answer to that of a request."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.authority.files("ca")[2])
        context.load_cert_chain(files[0], files[1])
        with socket.create_connection(("127.0.0.1", port(url)), 5) as plain, context.wrap_socket(plain) as link:
            def take(size):
                got = b""
                while len(got) < size:
                    more = link.recv(size - len(got))
                    assert more, got
                    got += more
                return got

            def ask(body):
                link.sendall(struct.pack(">QI", 4 + len(body), 0x80000001) + body)
                return take(struct.unpack(">Q", take(8))[0])[4:]
            link.sendall(b"\0SP\0\0\x30\0\0")
            assert take(8) == b"\0SP\0\0\x31\0\0"
            yield ask

    def ask(self, url, files, body):
        with self.link(url, files) as ask:
            return ask(body)


def port(url):
    return int(url.rsplit(":", 1)[1])


def code_of(answer):
    assert answer[0] == 0x95 and answer[1] == 1 and answer[2] < 0x80, answer
    return answer[2]


def state_packet(sender):
    """STATE from a node to node 1, which has never been in a group (docs/protocol.md, section 9)."""
    zeros = b"\x94\0\0\0\0"
    report = b"\x9b\0\1" + zeros + b"\x93\0\0\0" * 2 + b"\0\0\0\0\x07\0"
    return b"\x9a\1\x40\xa7default\0" + bytes([sender]) + b"\1\0\0" + zeros + report


def cas_packet(primary):
    """REGISTER_CAS that makes a group of which `primary` is the only node."""
    return b"\x99\1\x61\xa7default\1" + bytes([primary]) + b"\0\x07\0\x94\1\1" + bytes([primary, 1 << primary])


def test_a_group_over_tls_serves_and_fails_over():
    with TlsGroup().start() as group:
        group.put("a", b"1")
        first = group.primary()
        ends = group.status(first)["certificate_ends"]
        assert 395 < (ends - time.time()) / 86400 < 398, ends
        group.kill(first)
        assert group.get("a") == b"1"
        group.put("a", b"2")
        group.start_node(first)
        group.wait_in_sync(*group.urls)
        assert group.get("a") == b"2"
        hello = group.ask(group.urls[first], group.user, b"\x98\1\1\xa7default" + bytes(5))
        assert code_of(hello) == 0, hello


def cli_fails(group, files, words, code=3, url=None):
    names = ("--tls-cert", "--tls-key", "--tls-ca")
    url = url or group.urls[1]
    options = [word for name, file in zip(names, files) for word in (name, file)]
    done = subprocess.run([program("kvcli"), "--nodes", url, "--timeout", str(600 * kvtest.SLOW), *options, "get", "a"],
                          capture_output=True, timeout=60)
    assert done.returncode == code and words in done.stderr.decode(), done


def logged(process, words):
    wait_for(lambda: words in process.text(), "the log to say: " + words)


def test_who_has_no_right_certificate_is_refused_and_both_sides_say_why():
    with TlsGroup(count=1).start() as group:
        node = group.nodes[1]
        others = Authority(group.path("other-ca"))
        cli_fails(group, others.issue("user/eve"), "--tls-ca")
        logged(node, "event=connection_refused")
        cli_fails(group, group.authority.issue("user/bob", group="another"), "names nobody of this group", code=5)
        logged(node, "event=client_refused")
        cli_fails(group, [], "tls+tcp://", url="tcp://127.0.0.1:%d" % port(group.urls[1]))
        with Group(count=1, pair="primary-wins") as plain:
            plain.start_node(1)
            wait_for(lambda: plain.primary() == 1, "the plain node to serve")
            cli_fails(group, group.user, "plain tcp://", url="tls+" + plain.urls[1])
            logged(plain.nodes[1], "event=connection_refused")
        group.put("a", b"1")


def test_a_client_without_a_certificate_gets_no_connection():
    if not shutil.which("openssl"):
        return
    with TlsGroup(count=1).start() as group:
        command = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % port(group.urls[1]), "-CAfile", group.user[2],
                   "-verify_return_error", "-ign_eof"]
        def refused():
            done = subprocess.run(command, input=b"", capture_output=True, timeout=60)
            assert b"certificate required" in done.stderr, done
            return "it shows no certificate" in group.nodes[1].text()
        wait_for(refused, "the log to say so: now and then it does")
        done = subprocess.run(command + ["-cert", group.user[0], "-key", group.user[1]], input=b"\0SP\0\0\x30\0\0" + b"\xff" * 8,
                              capture_output=True, timeout=60)
        assert b"Verify return code: 0 (ok)" in done.stdout and b"TLSv1.3" in done.stdout, done
        done = subprocess.run(command + ["-tls1_2"], input=b"", capture_output=True, timeout=60)
        assert b"alert protocol version" in done.stderr, done


def test_a_node_speaks_for_itself_alone():
    with TlsGroup().start() as group:
        foreign = group.authority.issue("node/3", group="another")
        for files, sender in ((group.user, 1), (group.user, 2), (group.files[2], 1), (group.witness_files, 2), (foreign, 3)):
            answer = group.ask(group.urls[1], files, state_packet(sender))
            assert code_of(answer) == REFUSED and b"certificate" in answer, (files, sender, answer)
        logged(group.nodes[1], "event=peer_refused")
        for files, sender in ((group.user, 1), (group.files[2], 1), (foreign, 3)):
            answer = group.ask(group.witness_url, files, cas_packet(sender))
            assert code_of(answer) == REFUSED and b"certificate" in answer, (files, sender, answer)
        logged(group.witness, "event=stranger_refused")
        answer = group.ask(group.urls[1], group.files[2], state_packet(2))
        assert b"certificate" not in answer, answer
        assert group.status(1)["epoch"] == group.status(2)["epoch"] == 2


def test_certificates_are_changed_while_it_serves():
    with TlsGroup() as group:
        group.authority.run("renew", "node/2", "--days", "5")
        group.start()
        logged(group.nodes[2], "event=certificate_expires days=")
        assert "certificate" in group.cli("status", check=0).stdout.decode()
        before = [process.text().count("event=view") for process in group.nodes.values()]
        group.authority.run("renew", "node/2")
        os.rename(group.files[1][1], group.files[1][1] + ".away")
        for process in [*group.nodes.values(), group.witness]:
            process.signal(signal.SIGHUP)
        logged(group.nodes[2], "event=certificate_loaded")
        logged(group.witness, "event=certificate_loaded")
        logged(group.nodes[1], "event=certificate_kept")
        group.put("a", b"1")
        assert "certificate" not in group.cli("status", check=0).stdout.decode()
        assert before == [process.text().count("event=view") for process in group.nodes.values()]


def test_a_key_that_others_can_read_is_refused():
    with TlsGroup(count=1) as group:
        os.chmod(group.files[1][1], 0o640)
        done = subprocess.run(group.arguments(1), capture_output=True, timeout=60)
        assert done.returncode == 2 and b"chmod 600" in done.stderr, done
        os.chmod(group.files[1][1], 0o600)
        group.files[1] = []
        done = subprocess.run(group.arguments(1), capture_output=True, timeout=60)
        assert done.returncode == 2 and b"--tls-cert" in done.stderr, done


def test_strangers_at_the_door_cost_no_view():
    with TlsGroup().start() as group:
        strangers = []
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            for node in group.urls:
                link = socket.create_connection(("127.0.0.1", port(group.urls[node])), 5)
                if len(strangers) % 3 > 0:
                    link.sendall(b"\x16\3\1\2\0\1\0" if len(strangers) % 3 == 1 else os.urandom(100))
                strangers.append(link)
            while len(strangers) > STRANGERS:
                strangers.pop(0).close()
        group.put("a", b"1")
        assert [group.status(node)["epoch"] for node in group.urls] == [2, 2]
        for link in strangers:
            link.close()


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
