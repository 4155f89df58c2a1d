# SPDX-License-Identifier: Apache-2.0
"""What docs/protocol.md says in words, tried on running nodes by a client that was written from it."""

import socket
import struct
import sys
import time
import zlib

import kvtest
from kvtest import Group, wait_for

OK, NOT_FOUND, NOT_PRIMARY, UNAVAILABLE, BUSY = 0, 1, 4, 6, 7
SESSION_EXPIRED, STALE_REQUEST, BAD_REQUEST, TOO_LARGE, WRONG_GROUP = 8, 9, 10, 11, 12
BAD_VERSION, BAD_OP, CURSOR_EXPIRED, CORRUPT, NO_TASK, NOT_HELD = 13, 14, 15, 22, 33, 37
HELLO, GET, PUT, SCAN, TXN, STATUS, HANDOVER, CLOSE_SCAN = 1, 2, 3, 7, 8, 9, 10, 12
JOB_NEW, JOB_DATA, JOB_TASKS, JOB_START, JOB_INFO, JOB_BLOCK = 16, 17, 18, 19, 21, 23
WORKER_JOIN, TASK_FETCH, TASK_BEAT, TASK_POST = 24, 26, 27, 28
MIB = 1 << 20
SPEC = ["job", 0, 1, 1, 1, 0, 0, 1, 100, 5, 0.0, 2000, 0, 0, 86400, 0, 0, 0, 0, 0, 0, 0]
PRODUCT = SPEC[:1] + [1] + SPEC[2:16] + [2] * 6  # two matrices of 2 x 2 int32, in one task


# ---- msgpack, as much as is needed ----

class Text(bytes):
    """A str of any bytes."""


def pack(value):
    if isinstance(value, Text):
        return b"\xdb" + struct.pack(">I", len(value)) + value
    if value is None:
        return b"\xc0"
    if value is True or value is False:
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return bytes([value]) if value < 128 else b"\xcf" + struct.pack(">Q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"\xdb" + struct.pack(">I", len(value.encode())) + value.encode()
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    return b"\xdd" + struct.pack(">I", len(value)) + b"".join(pack(each) for each in value)


SIZES = {0xc4: ">B", 0xc5: ">H", 0xc6: ">I", 0xd9: ">B", 0xda: ">H", 0xdb: ">I", 0xdc: ">H", 0xdd: ">I",
         0xde: ">H", 0xdf: ">I", 0xcc: ">B", 0xcd: ">H", 0xce: ">I", 0xcf: ">Q", 0xcb: ">d"}


def unpack(data, at=0):
    """(value, place behind it)"""
    first = data[at]
    at += 1
    if first < 0x80:
        return first, at
    if first in (0xc0, 0xc2, 0xc3):
        return {0xc0: None, 0xc2: False, 0xc3: True}[first], at
    if first in SIZES:
        size = struct.calcsize(SIZES[first])
        number = struct.unpack(SIZES[first], data[at:at + size])[0]
        at += size
    else:
        number = first & (0x1f if 0xa0 <= first < 0xc0 else 0x0f)
    if 0xcb <= first <= 0xcf:
        return number, at
    if 0xc4 <= first <= 0xc6:
        return bytes(data[at:at + number]), at + number
    if 0xa0 <= first < 0xc0 or 0xd9 <= first <= 0xdb:
        return bytes(data[at:at + number]).decode(), at + number
    entries = []
    for _ in range(number * (2 if 0x80 <= first < 0x90 or first in (0xde, 0xdf) else 1)):
        value, at = unpack(data, at)
        entries.append(value)
    if 0x80 <= first < 0x90 or first in (0xde, 0xdf):
        return dict(zip(entries[::2], entries[1::2])), at
    return entries, at


# ---- the client ----

class Client:
    def __init__(self, url):
        self.link = socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), 20)
        self.link.sendall(b"\0SP\0\0\x30\0\0")
        assert self.take(8) == b"\0SP\0\0\x31\0\0"
        self.last = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.link.close()

    def take(self, size):
        data = bytearray()
        while len(data) < size:
            part = self.link.recv(min(size - len(data), MIB))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    def frame(self, body, hops=()):
        self.last += 1
        words = list(hops) + [0x80000000 | self.last]
        head = struct.pack(">%dI" % len(words), *words)
        return struct.pack(">Q", len(head) + len(body)) + head + body

    def send_body(self, body, hops=()):
        self.link.sendall(self.frame(body, hops))
        return self.last

    def send(self, op, *arguments, session=(0, 0, 0, 0), seen=0, group="default"):
        return self.send_body(pack([1, op, group, seen, *session, *arguments]))

    def answer(self, words=1):
        """(id, code, result)"""
        size = struct.unpack(">Q", self.take(8))[0]
        data = self.take(size)
        number = struct.unpack(">I", data[4 * words - 4:4 * words])[0] & 0x7fffffff
        fields, end = unpack(data, 4 * words)
        assert end == len(data) and len(fields) == 5 and fields[0] == 1, fields
        return number, fields[1], fields[4]

    def ask(self, *arguments, **options):
        number = self.send(*arguments, **options)
        answered, code, result = self.answer()
        assert answered == number
        return code, result

    def ask_body(self, body):
        self.send_body(body)
        return self.answer()[1:]


def is_closed(link):
    try:
        link.settimeout(5)
        while link.recv(65536):
            pass
        return True
    except ConnectionError:
        return True
    except socket.timeout:
        return False


GROUP, MUTE = None, None


def client():
    return Client(GROUP.urls[1])


def scan_arguments(start=b"", end=b"", count=0, size=0, cursor=0, keys_only=False, stale=False):
    return SCAN, start, end, count, size, cursor, keys_only, stale


# ---- 1 Transport ----

def test_every_whole_body_is_answered():
    with client() as c:
        for body in (b"", b"\x98", b"\x98\1", b"\xc1\xc1\xc1"):
            assert c.ask_body(body)[0] == BAD_REQUEST, body
        assert c.ask_body(bytes.fromhex("98ccffc1c1c1"))[0] == BAD_VERSION
        assert c.ask_body(bytes.fromhex("980201"))[0] == BAD_VERSION
        assert c.ask_body(bytes.fromhex("98013f"))[0] == BAD_OP
        assert c.ask(HELLO)[0] == OK


def test_a_frame_with_an_impossible_length_closes():
    for length in (0, 3, 16 * MIB + 1, 1 << 63):
        with client() as c:
            c.link.sendall(struct.pack(">QI", length, 0x80000001))
            assert is_closed(c.link), length


def test_a_frame_of_16_mib_is_answered():
    with client() as c:
        assert c.ask_body(bytes(16 * MIB - 4))[0] == BAD_REQUEST


def test_up_to_seven_words_before_the_id_come_back():
    with client() as c:
        hops = (1, 2, 3, 4, 5, 6, 7)
        c.send_body(pack([1, HELLO, "default", 0, 0, 0, 0, 0]), hops)
        size = struct.unpack(">Q", c.take(8))[0]
        data = c.take(size)
        assert struct.unpack(">8I", data[:32]) == hops + (0x80000001,)
    with client() as c:
        c.send_body(b"", hops + (8,))
        assert is_closed(c.link)


def test_requests_are_executed_in_the_order_in_which_they_came():
    with client() as c:
        for number in range(100):
            c.send(PUT, b"order", b"%d" % number)
        revisions = dict((number, result) for number, _, result in
                         (c.answer() for _ in range(100)))
        assert [revisions[n] for n in sorted(revisions)] == sorted(revisions.values())
        assert c.ask(GET, b"order", False)[1][2] == b"99"


def test_a_read_shows_what_is_committed():
    """It is answered before the update that it was sent together with, or shows it."""
    with client() as c:
        before = 0
        for number in range(50):
            put = c.last + 1
            c.link.sendall(
                c.frame(pack([1, PUT, "default", 0, 0, 0, 0, 0, b"behind", b"%d" % number])) +
                c.frame(pack([1, GET, "default", 0, 0, 0, 0, 0, b"behind", False])))
            first, second = c.answer(), c.answer()
            get = second if first[0] == put else first
            if get[1] == NOT_FOUND or get[2][2] != b"%d" % number:
                assert first[0] != put
                before += 1
        assert before > 0


def test_who_reads_slowly_gets_all_of_192_large_answers():
    with client() as c:
        assert c.ask(PUT, b"large", bytes(MIB))[0] == OK
        for _ in range(192):
            c.send(GET, b"large", False)
        time.sleep(2)  # much more than the kernel takes is ready by then
        for number in range(192):
            _, code, result = c.answer()
            assert code == OK and len(result[2]) == MIB
            if number % 16 == 0:
                time.sleep(0.05)
        assert GROUP.nodes[1].resident_kib() < 300 * 1024


# ---- 4 Sessions, 5 Finding the primary ----

def test_sessions_as_told():
    with client() as c:
        session_start = c.ask(HELLO)[1][5]
        assert c.ask(PUT, b"s", b"1", session=(7, 0, 0, session_start))[0] == BAD_REQUEST  # number 0
        assert c.ask(GET, b"s", False, session=(0, 65536, 0, 0))[0] == BAD_REQUEST
        assert c.ask(GET, b"s", False, session=(9, 65535, 0, 0))[0] == NOT_FOUND
        for session in (("", 0, 0, 0), (0, b"", 0, 0), (0, 0, None, 0), (0, 0, 0, False)):
            assert c.ask(GET, b"s", False, session=session)[0] == BAD_REQUEST, session
        assert c.ask(PUT, b"s", b"1", session=(7, 4096, 1, session_start))[0] == TOO_LARGE
        # Nothing has been dropped yet: any start will do.
        assert c.ask(PUT, b"s", b"1", session=(7, 4095, 1, 0))[0] == OK
        assert c.ask(PUT, b"s", b"1", session=(8, 0, 1, 1 << 60))[0] == OK
        # What was refused uses no number up.
        assert c.ask(PUT, b"", b"1", session=(7, 0, 1, session_start))[0] == BAD_REQUEST
        assert c.ask(PUT, b"s", bytes(MIB + 1), session=(7, 0, 1, session_start))[0] == TOO_LARGE
        first = c.ask(PUT, b"s", b"1", session=(7, 0, 1, session_start))
        assert first[0] == OK
        assert c.ask(PUT, b"s", b"1", session=(7, 0, 1, session_start)) == first
        assert c.ask(PUT, b"s", b"3", session=(7, 0, 3, session_start))[0] == OK
        assert c.ask(PUT, b"s", b"2", session=(7, 0, 2, session_start))[0] == STALE_REQUEST
        assert c.ask(GET, b"s", False)[1][2] == b"3"


def test_who_has_seen_a_newer_view_is_told_so():
    with client() as c:
        code, reason = c.ask(GET, b"x", False, seen=1000)
        assert code == UNAVAILABLE and "view" in reason, (code, reason)
        assert c.ask(PUT, b"x", b"", seen=1000)[0] == UNAVAILABLE
        assert c.ask(GET, b"x", True, seen=1000)[0] == NOT_FOUND
        for request in ((HELLO,), (STATUS,), (CLOSE_SCAN, 5)):
            assert c.ask(*request, seen=1000)[0] == OK, request
        assert c.ask(HANDOVER, 0, seen=1000)[0] != UNAVAILABLE
        code, result = c.ask(HELLO, group="other")
        assert code == WRONG_GROUP and result == "default"


# ---- 6 Operations ----

def test_a_stale_read_tells_an_age_only_of_what_it_finds():
    with client() as c:
        assert c.ask(GET, b"nothing", True) == (NOT_FOUND, None)
        for number in range(5):
            assert c.ask(PUT, b"aged", b"%d" % number)[0] == OK
            code, result = c.ask(GET, b"aged", True)  # what is committed last may not be in its state yet
            assert code == NOT_FOUND or result[3] >= number - int(result[2]), (number, result)
        assert c.ask(STATUS)[1]["commit_age_ms"] == 0  # it serves


def test_a_scan_goes_on_behind_the_longest_key():
    with client() as c:
        longest, after = b"long" + b"k" * 1020, b"lonh"
        for key in (longest, after):
            assert c.ask(PUT, key, b"")[0] == OK
        assert c.ask(*scan_arguments(longest + b"\0"))[0] == TOO_LARGE
        found = c.ask(*scan_arguments(longest[:-1] + b"l", b"lonz"))
        assert [pair[0] for pair in found[1][2]] == [after], found


def test_scans_as_told():
    with client() as c:
        for first in range(0, 1100, 100):
            for number in range(first, first + 100):
                c.send(PUT, b"scan/%04d" % number, b"")
            assert all(c.answer()[1] == OK for _ in range(100))
        code, result = c.ask(*scan_arguments(b"scan/", b"scan0"))
        assert code == OK and len(result[2]) == 1000 and result[0] != 0
        assert c.ask(*scan_arguments(count=1 << 32))[0] == BAD_REQUEST
        assert c.ask(*scan_arguments(size=1 << 32))[0] == BAD_REQUEST
        assert c.ask(*scan_arguments(count=(1 << 32) - 1, end=b"scan/0001"))[0] == OK
        assert c.ask(*scan_arguments(b"k" * 1025))[0] == TOO_LARGE
        assert c.ask(*scan_arguments(b"k" * 1024, b"l" * 1024))[0] == OK
        # Cursors: the page for the last one may be asked for again, older ones not.
        first = c.ask(*scan_arguments(b"scan/", b"scan0", 2))[1]
        second = c.ask(*scan_arguments(b"scan/", b"scan0", 2, cursor=first[0]))
        assert c.ask(*scan_arguments(b"scan/", b"scan0", 2, cursor=first[0])) == second
        other = c.ask(*scan_arguments(b"zzz", b"", 3, cursor=second[1][0]))[1]
        assert [pair[0] for pair in other[2]] == [b"scan/0004", b"scan/0005", b"scan/0006"]
        assert c.ask(*scan_arguments(cursor=first[0]))[0] == CURSOR_EXPIRED
        assert c.ask(CLOSE_SCAN, other[0])[0] == OK
        assert c.ask(*scan_arguments(cursor=other[0]))[0] == CURSOR_EXPIRED
        assert c.ask(CLOSE_SCAN, other[0])[0] == OK


def test_a_node_keeps_64_cursors():
    time.sleep(1.2)  # others may have left cursors
    with client() as c:
        found = [c.ask(*scan_arguments(b"scan/", b"scan0", 1)) for _ in range(65)]
        cursors = [result[0] for code, result in found if code == OK]
        assert len(cursors) == 64 and found[-1][0] == BUSY, [code for code, _ in found]
        time.sleep(1.2)
        assert c.ask(*scan_arguments(b"scan/", b"scan0", 1))[0] == OK
        assert c.ask(*scan_arguments(cursor=cursors[0]))[0] == CURSOR_EXPIRED
        for cursor in cursors:
            c.ask(CLOSE_SCAN, cursor)


def test_the_operand_of_a_compare_has_the_limit_of_a_value():
    with client() as c:
        assert c.ask(TXN, [[5, b"k", bytes(MIB)]], [], [])[0] == OK
        assert c.ask(TXN, [[5, b"k", bytes(MIB + 1)]], [], [])[0] == TOO_LARGE
        assert c.ask(TXN, [[0, b"k", None]] * 1025, [], [])[0] == TOO_LARGE


# ---- 11 Jobs, 12 Workers ----

def join(c, name, kinds=("k",)):
    return c.ask(WORKER_JOIN, name, list(kinds), 4096, False)


def started(c, kinds):
    """A job of tasks of these kinds, without payload."""
    job = c.ask(JOB_NEW, SPEC)[1]
    assert c.ask(JOB_TASKS, job, 0, [[kind, [], False, b""] for kind in kinds])[0] == OK
    assert c.ask(JOB_START, job)[0] == OK
    return job


def test_workers_as_told():
    with client() as c:
        assert join(c, "w" * 65)[0] == TOO_LARGE
        assert join(c, "")[0] == BAD_REQUEST
        assert join(c, "w", ["k%d" % n for n in range(17)])[0] == BAD_REQUEST
        assert join(c, "w", [])[0] == BAD_REQUEST
        code, instance = join(c, "w")
        assert code == OK
        assert c.ask(TASK_FETCH, "w", instance, (1 << 32) - 1, 1, 0)[0] == BAD_REQUEST
        assert c.ask(TASK_FETCH, "w", instance, (1 << 32) - 2, 1, 0)[0] == NO_TASK
        # A second fetch for a slot: the one that waits is answered.
        waiting = c.send(TASK_FETCH, "w", instance, 0, 1, 20000)
        c.send(TASK_FETCH, "w", instance, 0, 2, 0)
        found = dict((number, code) for number, code, _ in (c.answer(), c.answer()))
        assert found[waiting] == NO_TASK, found


def test_what_is_no_utf8_is_refused_as_a_name_and_shown_with_marks():
    bad = Text(b"\xc3(")
    with client() as c:
        assert join(c, bad)[0] == BAD_REQUEST
        assert join(c, "u", [bad])[0] == BAD_REQUEST
        assert c.ask(JOB_NEW, [bad] + SPEC[1:])[0] == BAD_REQUEST
        job = c.ask(JOB_NEW, SPEC)[1]
        assert c.ask(JOB_TASKS, job, 0, [[bad, [], False, b""]])[0] == BAD_REQUEST
        job = started(c, ["u"] * 2)
        instance = join(c, "u", ["u"])[1]
        for number, reason in ((1, ("\u00f6" * 150 + "end").encode()), (2, bytes(bad))):
            grant = c.ask(TASK_FETCH, "u", instance, 0, number, 5000)[1]
            assert c.ask(TASK_POST, "u", instance, *grant[:3], 1, zlib.crc32(reason), reason) == (OK, True)
        more, tasks = c.ask(JOB_INFO, 2, job, 0)[1]  # it would not be read if it were not UTF-8
        reasons = sorted(task["reason"] for task in tasks)
        assert any(reason.endswith("\u00f6end") for reason in reasons), reasons
        assert any("?(" in reason for reason in reasons), reasons


def test_lists_of_jobs_have_the_limits_of_section_7():
    with client() as c:
        assert c.ask(HELLO, group="g" * 65)[0] == TOO_LARGE
        assert c.ask(HELLO, group="")[0] == BAD_REQUEST
        assert c.ask(JOB_NEW, ["n" * 65] + SPEC[1:])[0] == BAD_REQUEST
        job = c.ask(JOB_NEW, SPEC)[1]
        def add(*kinds):
            return c.ask(JOB_TASKS, job, 0, [[kind, [], False, b""] for kind in kinds])[0]
        for kind in ("", "k" * 65, "matmul", "matmul-blocks"):
            assert add(kind) == BAD_REQUEST, kind
        assert add(*["k%d" % number for number in range(17)]) == TOO_LARGE
        assert add(*["k"] * 1025) == TOO_LARGE
        assert add(*["k%d" % number for number in range(16)]) == OK


def test_fetches_beats_and_posts_as_told():
    with client() as c:
        job = started(c, ["f"] * 2)
        instance = join(c, "f", ["f"])[1]
        def fetch(number):
            return c.ask(TASK_FETCH, "f", instance, 0, number, 0)
        code, grant = fetch(5)
        again = fetch(5)
        del grant[5], again[1][5]  # so long the task may still take
        assert code == OK and again == (OK, grant), (grant, again)
        assert fetch(4)[0] == NO_TASK
        held = ("f", instance) + tuple(grant[:3])
        assert c.ask(TASK_BEAT, *held, 2000, None) == (OK, True)
        tasks = c.ask(JOB_INFO, 2, job, 0)[1][1]
        assert [each["progress"] for task in tasks for each in task["running"]] == [1000], tasks
        assert c.ask(TASK_POST, *held, 0, 1, b"r")[0] == CORRUPT
        assert c.ask(TASK_POST, "f", instance, job, grant[1], grant[2] + 1, 0, zlib.crc32(b"r"), b"r")[0] == NOT_HELD
        assert c.ask(TASK_POST, *held, 0, zlib.crc32(b"r"), b"r") == (OK, True)
        assert c.ask(TASK_POST, *held, 0, zlib.crc32(b"r"), b"r") == (OK, False)
        code, other = fetch(6)
        assert code == OK and other[1] != grant[1]
        assert fetch(7)[0] in (OK, NO_TASK)  # it does not want the one that it has: that is open again
        assert c.ask(JOB_INFO, 1, job, 0)[1]["done"] == 1


def test_blocks_of_products_as_told():
    a, b = struct.pack("<4i", 1, 2, 3, 4), struct.pack("<4i", 5, 6, 7, 8)
    with client() as c:
        job = c.ask(JOB_NEW, PRODUCT)[1]
        assert c.ask(JOB_DATA, job, 0, a)[0] == OK and c.ask(JOB_DATA, job, 1, b)[0] == OK
        assert c.ask(JOB_START, job)[0] == OK
        size = 16 + 3 * len(a)
        for room, code in ((size - 1, NO_TASK), (size, OK)):
            instance = c.ask(WORKER_JOIN, "m%d" % room, ["matmul-blocks"], room, False)[1]
            got = c.ask(TASK_FETCH, "m%d" % room, instance, 0, 1, 0)
            assert got[0] == code, (room, got)
        assert got[1][3] == "matmul-blocks" and got[1][7] == struct.pack("<6I", 0, 2, 2, 2, 0, 1), got
        assert [c.ask(JOB_BLOCK, job, number) for number in (0, 1)] == [(OK, a), (OK, b)]


# ---- 1 Transport, in the end ----

def test_who_does_not_greet_is_hung_up_on():
    """Connected before all tests: it has had its 5 seconds."""
    connected, link = MUTE
    time.sleep(max(0, connected + 6 - time.monotonic()))
    link.settimeout(0.1)
    assert link.recv(8) in (b"", b"\0SP\0\0\x31\0\0") and is_closed(link)


def main():
    global GROUP, MUTE
    code = 0
    with Group(count=1, pair="primary-wins") as group:
        GROUP = group
        group.start_node(1)
        wait_for(lambda: group.primary() == 1, "the node to serve")
        MUTE = time.monotonic(), socket.create_connection(("127.0.0.1", int(group.urls[1].rsplit(":", 1)[1])), 20)
        try:
            kvtest.main([value for name, value in list(globals().items())
                         if name.startswith("test_")])
        except SystemExit as end:
            code = end.code
    sys.exit(code)


if __name__ == "__main__":
    main()
