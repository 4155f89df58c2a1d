# SPDX-License-Identifier: Apache-2.0
"""What strangers may do to an HTTP listener: slow clients, a thousand connections, cut requests, storms of closing,
garbage. Each part ends with a request that has to be answered. Everything is bounded: a few seconds in all, or
KVPAIR_TORTURE_S seconds of storms and garbage.

    http_torture.py PORT PID    judges any server that answers /livez; says what does not hold"""

import os
import random
import re
import select
import socket
import struct
import sys
import time

SECONDS = float(os.environ.get("KVPAIR_TORTURE_S", "2"))
REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
CONNECTIONS = 1000
HEAD_MAX = 64 << 10  # a head of so many bytes is not waited for
HALF_MAX_S = 12      # nor half a request for so long
GROWTH_MAX_KIB = 16 << 10


def connect(port, timeout=3):
    return socket.create_connection(("127.0.0.1", port), timeout)


def fetch(port, path="/livez", timeout=3):
    """(status, head, body) of one request."""
    with connect(port, timeout) as sock:
        sock.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode())
        answer = b""
        while True:
            part = sock.recv(65536)
            if not part:
                break
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode("latin-1"), body


def answers(port, seconds=3):
    """A request is answered, perhaps not the first: when all places are taken one may be turned away."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if fetch(port, timeout=1)[0] in (200, 503):
                return True
        except (OSError, ValueError, IndexError):
            time.sleep(0.05)
    return False


def resident_kib(pid):
    with open("/proc/%d/status" % pid) as file:
        return int(re.search(r"VmRSS:\s*(\d+)", file.read()).group(1))


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def connections(port):
    """Those that the server's side has open or half closed."""
    with open("/proc/net/tcp") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return sum(row[1].endswith(":%04X" % port) and row[3] in ("01", "08") for row in rows)


def reset(sock):
    """Closes with an RST."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        sock.close()


def closed_by_other(sock, seconds):
    sock.settimeout(seconds)
    try:
        while sock.recv(65536):
            pass
        return True
    except socket.timeout:
        return False
    except OSError:
        return True


def many_silent_connections_are_bounded(port, pid):
    before, held = descriptors(pid), []
    try:
        for _ in range(CONNECTIONS):
            try:
                held.append(connect(port, 1))
            except OSError:
                break
        time.sleep(0.3)
        most = descriptors(pid) - before
    finally:
        for sock in held:
            sock.close()
    return most <= 200, "%d connections are held" % most


def half_a_request_is_not_waited_for(port, pid):
    """A byte now and then, as if there were always more to come."""
    del pid
    with connect(port) as sock:
        begin = time.monotonic()
        try:
            sock.sendall(b"GET /livez HTTP/1.1\r\nX: ")
            while time.monotonic() - begin < HALF_MAX_S:
                sock.sendall(b"y")
                if select.select([sock], [], [], 0.4)[0] and not sock.recv(4096):
                    break
        except OSError:
            pass
        took = time.monotonic() - begin
    return took < HALF_MAX_S, "half a request has been waited for %.1f s" % took


def a_head_without_end_is_cut_off(port, pid):
    before, sent = resident_kib(pid), 0
    with connect(port) as sock:
        try:
            sock.sendall(b"GET /livez HTTP/1.1\r\n")
            while sent < 64 << 20:
                block = b"".join(b"X-%d: %s\r\n" % (sent + i, b"z" * 900) for i in range(64))
                sock.sendall(block)
                sent += len(block)
        except OSError:
            pass
        grown = resident_kib(pid) - before
    return grown < GROWTH_MAX_KIB, "a head of %d KiB has been taken, memory has grown by %d KiB" % (sent >> 10, grown)


def a_long_line_is_refused(port, pid):
    del pid
    with connect(port) as sock:
        try:
            sock.sendall(b"GET /" + b"a" * HEAD_MAX + b" HTTP/1.1\r\n\r\n")
            sock.sendall(b"X: " + b"y" * HEAD_MAX)
        except OSError:
            return True, ""
        return closed_by_other(sock, 3), "a line of %d KiB is still being read" % (HEAD_MAX >> 10)


def a_body_without_end_is_cut_off(port, pid):
    before, sent = resident_kib(pid), 0
    with connect(port) as sock:
        try:
            sock.sendall(b"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n")
            while sent < 16 << 20:
                sock.sendall(b"b" * 65536)
                sent += 65536
        except OSError:
            pass
        grown = resident_kib(pid) - before
    return grown < GROWTH_MAX_KIB, "memory has grown by %d KiB" % grown


def who_does_not_read_costs_nothing(port, pid):
    before = resident_kib(pid)
    socks = []
    try:
        for _ in range(20):
            sock = connect(port)
            socks.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            try:
                for _ in range(200):
                    sock.send(REQUEST * 20)
            except OSError:
                pass
        time.sleep(0.3)
        grown = resident_kib(pid) - before
    finally:
        for sock in socks:
            reset(sock)
    return grown < GROWTH_MAX_KIB, "memory has grown by %d KiB" % grown


def storm(port, seconds, chance):
    """Connections in all states, closed in all ways, many at once."""
    deadline, count = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        socks = []
        for _ in range(chance.randrange(1, 64)):
            try:
                sock = connect(port, 1)
                socks.append(sock)
                if chance.random() < 0.7:
                    sock.send(REQUEST[:chance.randrange(len(REQUEST) + 1)])
                if chance.random() < 0.2:
                    sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        for sock in socks:
            (reset if chance.random() < 0.5 else socket.socket.close)(sock)
        count += len(socks)
    return count


def storms_of_closing_leave_it_answering(port, pid):
    del pid
    count = storm(port, SECONDS, random.Random(1))
    return count > 0, "no connection was made"


def garbage_leaves_it_answering(port, pid):
    del pid
    chance, deadline = random.Random(2), time.monotonic() + SECONDS
    words = [b"GET", b" ", b"/", b"HTTP/1.1", b"\r\n", b"Host:", b"Content-Length: -1", b"Transfer-Encoding: chunked",
             b"\0", b"%00", b"?verbose", b"../..", b"\xff\xfe", b"Upgrade: websocket", b"Expect: 100-continue",
             b"ffffffffffffffff\r\n", b"Connection: upgrade", b"POST", b"Range: bytes=0-", b"HTTP/9.9"]
    while time.monotonic() < deadline:
        try:
            with connect(port, 1) as sock:
                sock.sendall(chance.randbytes(chance.randrange(2000)) if chance.random() < 0.3 else
                             b"".join(chance.choice(words) for _ in range(chance.randrange(60))))
                if chance.random() < 0.3:
                    closed_by_other(sock, 0.02)
        except OSError:
            pass
    return True, ""


PARTS = [many_silent_connections_are_bounded, half_a_request_is_not_waited_for, a_head_without_end_is_cut_off,
         a_long_line_is_refused, a_body_without_end_is_cut_off, who_does_not_read_costs_nothing,
         storms_of_closing_leave_it_answering, garbage_leaves_it_answering]


def torture(port, pid, parts=None):
    """What does not hold, as text."""
    wrong = []
    for part in parts or PARTS:
        good, what = part(port, pid)
        if not good:
            wrong.append("%s: %s" % (part.__name__, what))
        if not answers(port):
            wrong.append("%s: no answer afterwards" % part.__name__)
            break
    deadline = time.monotonic() + HALF_MAX_S
    while connections(port) > 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    if connections(port) > 0:
        wrong.append("%d connections are open that nobody has any more" % connections(port))
    return wrong


def main():
    wrong = torture(int(sys.argv[1]), int(sys.argv[2]))
    print("\n".join(wrong) if wrong else "it holds")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
