#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The host's end of a serial line to a microcontroller (port_uart.h has the framing): makes TCP connections
for it, one at a time.

  uart_bridge.py DEVICE[:BAUD] URL...       a serial device; 115200 baud unless said
  uart_bridge.py tcp:[HOST:]PORT URL...     waits there for the line itself (QEMU, a serial server)

The URLs are those of the board's configuration, in the same order: tcp://HOST:PORT."""

import os
import selectors
import socket
import struct
import sys
import termios
import tty
import zlib

END, ESCAPE = 0xC0, 0xDB
OPEN, OPENED, DATA, CLOSE = 1, 2, 3, 4
DATA_MAX, FRAME_MAX = 64, 71
AHEAD = 4096  # bytes that may wait for the line: more is left with TCP


def encode(kind, link, count, data=b""):
    frame = bytes((kind, link, count & 255)) + data
    frame += struct.pack("<I", zlib.crc32(frame))
    frame = frame.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
    return b"\xc0" + frame + b"\xc0"


def decode(raw):
    """(kind, connection, count, data), or None if it is damaged."""
    frame = raw.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
    if not 7 <= len(frame) <= FRAME_MAX or struct.unpack("<I", frame[-4:])[0] != zlib.crc32(frame[:-4]):
        return None
    return frame[0], frame[1], frame[2], frame[3:-4]


class Tcp:
    """A connection of the board's."""

    def __init__(self, link, url):
        host, port = url.rpartition("/")[2].rsplit(":", 1)
        self.link, self.sent, self.received = link, 0, 0
        self.opened, self.waiting = False, bytearray()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.failed = self.socket.connect_ex((host.strip("[]"), int(port))) not in (0, 115, 11)
        except OSError:
            self.failed = True


class Bridge:
    """The line is given by its descriptor; run() returns when it is closed."""

    def __init__(self, line, urls):
        self.line, self.urls = line, urls
        self.raw, self.out = bytearray(), bytearray()
        self.tcp = None
        os.set_blocking(line, False)

    def send(self, kind, link, count=0, data=b""):
        self.out += encode(kind, link, count, data)

    def drop(self, tell):
        if self.tcp is not None:
            self.tcp.socket.close()
            if tell:
                self.send(CLOSE, self.tcp.link)
            self.tcp = None

    def take(self, raw):
        found = decode(raw)
        if found is None:
            return  # what is missing now shows by the next one's count
        kind, link, count, data = found
        if kind == OPEN and len(data) == 1 and data[0] < len(self.urls):
            self.drop(False)
            self.tcp = Tcp(link, self.urls[data[0]])
        elif self.tcp is None or link != self.tcp.link:
            if kind == DATA:
                self.send(CLOSE, link)  # of before the bridge was started
        elif kind == CLOSE:
            self.drop(False)
        elif kind == DATA and count == self.tcp.received & 255:
            self.tcp.received += 1
            self.tcp.waiting += data
        elif kind == DATA:
            self.drop(True)

    def read_line(self):
        try:
            got = os.read(self.line, 4096)
        except BlockingIOError:
            return True
        except OSError:
            return False
        for byte in got:
            if byte == END:
                if self.raw:
                    self.take(bytes(self.raw))
                self.raw.clear()
            elif len(self.raw) <= 2 * FRAME_MAX:
                self.raw.append(byte)
        return len(got) > 0

    def write_line(self):
        try:
            del self.out[:os.write(self.line, self.out)]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def serve_tcp(self, events):
        tcp = self.tcp
        try:
            if not tcp.opened and events & selectors.EVENT_WRITE:
                error = tcp.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                tcp.failed = error != 0
                tcp.opened = not tcp.failed
                if tcp.opened:
                    self.send(OPENED, tcp.link)
            if tcp.opened and tcp.waiting and events & selectors.EVENT_WRITE:
                del tcp.waiting[:tcp.socket.send(tcp.waiting)]
            if tcp.opened and events & selectors.EVENT_READ:
                data = tcp.socket.recv(DATA_MAX)
                tcp.failed = not data
                if data:
                    self.send(DATA, tcp.link, tcp.sent, data)
                    tcp.sent += 1
        except BlockingIOError:
            pass
        except OSError:
            tcp.failed = True
        if tcp.failed:
            self.drop(True)

    def wait(self):
        """What is ready: events of the line, and of the connection."""
        with selectors.DefaultSelector() as selector:
            write = selectors.EVENT_WRITE if self.out else 0
            selector.register(self.line, selectors.EVENT_READ | write)
            tcp = self.tcp
            if tcp is not None:
                wanted = selectors.EVENT_WRITE if tcp.waiting or not tcp.opened else 0
                wanted |= selectors.EVENT_READ if len(self.out) < AHEAD else 0
                if wanted:
                    selector.register(tcp.socket, wanted)
            ready = {key.fd: events for key, events in selector.select(1)}
            return (ready.get(self.line, 0),
                    ready.get(tcp.socket.fileno(), 0) if tcp is not None else 0)

    def run(self):
        alive = True
        while alive:
            if self.tcp is not None and self.tcp.failed:
                self.drop(True)
            line, tcp = self.wait()
            if tcp:
                self.serve_tcp(tcp)
            if line & selectors.EVENT_WRITE:
                alive = self.write_line()
            if alive and line & selectors.EVENT_READ:
                alive = self.read_line()
        self.drop(False)


def open_device(path):
    name, _, baud = path.partition(":")
    line = os.open(name, os.O_RDWR | os.O_NOCTTY)
    if os.isatty(line):
        tty.setraw(line)
        settings = termios.tcgetattr(line)
        settings[4] = settings[5] = getattr(termios, "B" + (baud or "115200"))
        termios.tcsetattr(line, termios.TCSANOW, settings)
    return line


def main(arguments):
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    where, urls = arguments[0], arguments[1:]
    if not where.startswith("tcp:"):
        Bridge(open_device(where), urls).run()
        return 0
    host, _, port = where[4:].rpartition(":")
    with socket.create_server((host or "127.0.0.1", int(port))) as server:
        while True:
            line, _ = server.accept()
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with line:
                Bridge(line.fileno(), urls).run()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
