# SPDX-License-Identifier: Apache-2.0
"""Rights over real TLS: who was given what gets that and no more, at the primary, a backup and the witness, and from the
moment on at which it changes."""

import subprocess
import time

import kvtest
from kvtest import program, wait_for
from test_tls import REFUSED, TlsGroup, cas_packet, code_of, logged, options_of, state_packet

GROUP = b"\xa7default"
DONE, NOT_FOUND, NOT_PRIMARY, CURSOR_EXPIRED = 0, 1, 4, 15

# name of the identity: its rights, and which of the operations below it may
PEOPLE = {
    "user/reader": (["read", "app/"], {"get", "scan"}),
    "user/writer": (["write", "app/"], {"put"}),
    "user/submitter": (["submit"], {"jobs"}),
    "worker/w1": (["work", "sort"], {"join"}),
    "user/operator": (["operate"], set()),
    "user/watcher": (["observe"], {"status", "jobs list"}),
    "user/boss": (["admin"], {"get", "scan", "put", "jobs", "status", "jobs list", "access"}),
    "user/nobody": ([], set()),
}


def request(op, arguments, client=0):
    head = bytes([0x90 + 8 + arguments[0]]) + b"\1" + bytes([op]) + GROUP + b"\0"
    session = b"\0\0\0\0" if client == 0 else bytes([client]) + b"\0\1\0"
    return head + session + arguments[1]


def bin_of(data):
    return b"\xc4" + bytes([len(data)]) + data


JOIN_KINDS = b"\x91\xa4sort"
OPERATIONS = {
    "get": request(2, (2, bin_of(b"app/a") + b"\xc2")),
    "scan": request(7, (7, bin_of(b"app/") + bin_of(b"app0") + b"\0\0\0\xc2\xc2")),
    "put": request(3, (2, bin_of(b"app/b") + bin_of(b"1"))),
    "jobs": request(16, (1, b"\x90")),  # no specification, which is not looked at before
    "jobs list": request(21, (3, b"\0\0\0")),
    "status": request(9, (0, b"")),
    "join": request(24, (4, b"\xa2w1" + JOIN_KINDS + b"\x64\xc2")),
    "access": request(14, (0, b"")),
}


class AccessGroup(TlsGroup):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.people = {name: self.authority.issue(name) for name in PEOPLE}

    def by(self, name, *arguments, nodes=None):
        done = subprocess.run([program("kvcli"), "--nodes", nodes or self.nodes_option(), "--timeout", "5000",
                               *options_of(self.people[name]), *arguments], capture_output=True, timeout=60)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def code(self, node, name, body):
        return code_of(self.ask(self.urls[node], self.people.get(name) or self.files[1], body))


def grant_all(group):
    for name, (rights, _) in PEOPLE.items():
        if rights:
            group.cli("access", "grant", name, *rights, check=0)


def test_each_gets_what_he_was_given_and_no_more():
    with AccessGroup().start() as group:
        group.put("app/a", b"1")
        grant_all(group)
        primary = group.primary()
        backup = 3 - primary
        for name, (_, may) in PEOPLE.items():
            for operation, body in OPERATIONS.items():
                code = group.code(primary, name, body)
                assert (code != REFUSED) == (operation in may), (name, operation, code)
                code = group.code(backup, name, body)
                expected = [DONE] if operation == "status" and operation in may else \
                    [REFUSED] if operation == "status" else [NOT_PRIMARY]
                assert code in expected, (name, operation, "at the backup", code)
        stale = request(2, (2, bin_of(b"app/a") + b"\xc3"))
        wait_for(lambda: group.code(backup, "user/reader", stale) == DONE, "the backup to know it")
        assert group.code(backup, "user/writer", stale) == REFUSED
        node = group.ask(group.urls[primary], group.files[backup], OPERATIONS["get"])
        assert code_of(node) == REFUSED, node
        for name in ("user/boss", "worker/w1"):
            assert code_of(group.ask(group.witness_url, group.people[name], cas_packet(1))) == REFUSED
            assert code_of(group.ask(group.urls[backup], group.people[name], state_packet(primary))) == REFUSED
        logged(group.nodes[primary], "event=request_denied")
        logged(group.nodes[primary], "event=audit")


def test_a_boundary_is_not_passed_and_what_is_said_names_the_right():
    with AccessGroup(count=1).start() as group:
        group.put("app/a", b"1")
        group.put("b", b"2")
        group.cli("access", "grant", "user/reader", "read", "app/", check=0)
        assert group.by("user/reader", "scan", "app/")[0] == 0
        for arguments in (["scan"], ["scan", "ap"], ["get", "b"], ["get", "c"], ["put", "app/a", "2"], ["cas", "app/a", "0", "x"],
                          ["delete", "app/a"], ["access", "list"], ["handover"], ["job", "list"]):
            code, out, error = group.by("user/reader", *arguments)
            assert code == 5 and "you lack the right" in error, (arguments, code, out, error)
        assert group.by("user/reader", "get", "b")[2] == group.by("user/reader", "get", "c")[2]
        for right in ("reads", "read"):
            assert group.cli("access", "grant", "user/reader", right).returncode == 2
        listed = group.cli("access", "list", check=0).stdout.decode().split()
        assert listed == ["user/reader", "read", "app/"], listed
        group.cli("access", "show", "user/reader", check=0)
        assert group.cli("access", "show", "user/writer").returncode == 1


def test_the_log_tells_who_has_done_what_with_which_job():
    with AccessGroup(count=1).start() as group:
        grant_all(group)
        path = group.path("tasks")
        with open(path, "w") as file:
            file.write('{"kind":"sort","payload":"x"}\n')
        for key in ([], ["--key", "nightly"]):
            code, out, error = group.by("user/submitter", "job", "submit", "tasks", path, *key)
            job = out.strip()
            assert code == 0 and int(job) > 0, (out, error)
            for op in ("JOB_NEW", "JOB_START"):
                logged(group.nodes[1], "event=audit who=user/submitter op=%s job=%s outcome=success" % (op, job))
        assert group.by("user/submitter", "job", "set", job, "--priority", "7")[0] == 0
        logged(group.nodes[1], "op=JOB_SET job=%s" % job)
        lease = group.by("user/submitter", "lease", "grant", "60")[1].strip()
        assert group.by("user/submitter", "lease", "revoke", lease)[0] == 0
        logged(group.nodes[1], "op=LEASE_REVOKE lease=%s outcome=success" % lease)
        group.cli("member", "add", "9", "tls+tcp://127.0.0.1:9", check=0)
        logged(group.nodes[1], "op=MEMBER_CHANGE member=9 outcome=success")


def test_a_revoked_right_ends_within_a_second_on_open_connections():
    with AccessGroup().start() as group:
        primary = group.primary()
        backup = 3 - primary
        group.put("app/a", b"1")
        group.cli("access", "grant", "user/reader", "read", "", check=0)
        stale = request(2, (2, bin_of(b"app/a") + b"\xc3"))
        fresh = OPERATIONS["get"]
        reader = group.people["user/reader"]
        with group.link(group.urls[primary], reader) as at_primary, group.link(group.urls[backup], reader) as at_backup:
            assert code_of(at_primary(fresh)) == DONE
            wait_for(lambda: code_of(at_backup(stale)) == DONE, "the backup to know it")
            group.cli("access", "revoke", "user/reader", check=0)
            since = time.monotonic()
            assert code_of(at_primary(fresh)) == REFUSED
            wait_for(lambda: code_of(at_backup(stale)) == REFUSED, "the backup to know it")
            assert time.monotonic() - since < 1 * kvtest.SLOW, time.monotonic() - since
        group.kill(primary)
        group.wait_primary(backup)
        assert group.by("user/reader", "get", "app/a")[0] == 5


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
