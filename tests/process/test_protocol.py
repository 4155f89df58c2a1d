# SPDX-License-Identifier: Apache-2.0
"""What docs/protocol.md says in words, tried on running nodes by a client that was written from it."""

import socket
import struct
import sys
import time

import kvtest
from kvtest import Group, wait_for

OK, NOT_FOUND, NOT_PRIMARY, UNAVAILABLE, BUSY = 0, 1, 4, 6, 7
SESSION_EXPIRED, STALE_REQUEST, BAD_REQUEST, TOO_LARGE, WRONG_GROUP = 8, 9, 10, 11, 12
BAD_VERSION, BAD_OP, CURSOR_EXPIRED, NO_TASK = 13, 14, 15, 33
HELLO, GET, PUT, SCAN, TXN, STATUS, CLOSE_SCAN = 1, 2, 3, 7, 8, 9, 12
JOB_NEW, JOB_TASKS, WORKER_JOIN, TASK_FETCH, TASK_BEAT = 16, 18, 24, 26, 27
MIB = 1 << 20


# ---- msgpack, as much as is needed ----

def pack(value):
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


GROUP = None


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
        assert c.ask_body(bytes.fromhex("98010d"))[0] == BAD_OP
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
        code, result = c.ask(HELLO, group="other")
        assert code == WRONG_GROUP and result == "default"


# ---- 6 Operations ----

def test_scans_as_told():
    with client() as c:
        for number in range(1100):
            c.send(PUT, b"scan/%04d" % number, b"")
            c.answer()
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


def main():
    global GROUP
    code = 0
    with Group(count=1, pair="primary-wins") as group:
        GROUP = group
        group.start_node(1)
        wait_for(lambda: group.primary() == 1, "the node to serve")
        try:
            kvtest.main([value for name, value in list(globals().items())
                         if name.startswith("test_")])
        except SystemExit as end:
            code = end.code
    sys.exit(code)


if __name__ == "__main__":
    main()
