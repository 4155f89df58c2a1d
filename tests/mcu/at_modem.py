# SPDX-License-Identifier: Apache-2.0
"""An ESP8266 with its AT commands, for tests: on one side the line (it waits for one on a port), on the other TCP.

  at_modem.py PORT GOOD

Once in about GOOD bytes (0: never) it does something that such modems do: drops the connection, resets, swallows a
"SEND OK", talks garbage, is busy."""

import random
import select
import socket
import sys


class Modem:
    def __init__(self, line, good):
        self.line, self.good = line, good
        self.random = random.Random(good)
        self.tcp, self.command, self.wanted, self.data = None, b"", 0, b""
        self.echo, self.joined = True, False

    def happens(self, size=1):
        if not self.good or self.random.random() >= size / self.good:
            return False
        print("fault", flush=True)
        return True

    def say(self, words):
        if self.happens(20):
            self.line.sendall(self.random.choice((b"\xf0\x9c\x1c", b"WIFI DISCONNECT\r\n", b"\r\n+")))
        self.line.sendall(words)

    def hang_up(self):
        if self.tcp is not None:
            self.tcp.close()
            self.tcp = None
            self.say(b"CLOSED\r\n")

    def restart(self):
        if self.tcp is not None:
            self.tcp.close()
        self.tcp, self.command, self.wanted, self.data = None, b"", 0, b""
        self.echo, self.joined = True, False
        self.say(b"\x8c\xfc garbage\r\nready\r\n")

    def dial(self, words):
        _, host, port = words.split(b",")
        if not self.joined:
            return self.say(b"no ip\r\n\r\nERROR\r\n")
        if self.tcp is not None:
            return self.say(b"ALREADY CONNECTED\r\n\r\nERROR\r\n")
        try:
            self.tcp = socket.create_connection((host.strip(b'"').decode(), int(port)), 5)
        except OSError:
            return self.say(b"\r\nERROR\r\nCLOSED\r\n")
        self.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.say(b"CONNECT\r\n\r\nOK\r\n")

    def obey(self, words):
        if self.echo:
            self.say(words + b"\r\r\n")
        if self.happens(20):
            self.say(b"busy p...\r\n")
        elif words.startswith(b"AT+CIPSTART="):
            self.dial(words)
        elif words.startswith(b"AT+CIPSEND="):
            if self.tcp is None:
                self.say(b"link is not valid\r\n\r\nERROR\r\n")
            else:
                self.wanted = int(words[11:])
                self.say(b"\r\nOK\r\n\r\n> ")
        elif words == b"AT+CIPCLOSE":
            answer = b"\r\nERROR\r\n" if self.tcp is None else b"\r\nOK\r\n"
            self.hang_up()
            self.say(answer)
        else:
            self.echo = self.echo and words != b"ATE0"
            self.joined = self.joined or words == b'AT+CWJAP="net","word"'
            self.say(b"\r\nOK\r\n")

    def pass_on(self):
        data, self.data, self.wanted = self.data, b"", 0
        self.say(b"\r\nRecv %d bytes\r\n" % len(data))
        try:
            self.tcp.sendall(data)
        except (OSError, AttributeError):
            self.hang_up()
            return self.say(b"\r\nSEND FAIL\r\n")
        return None if self.happens(len(data)) else self.say(b"\r\nSEND OK\r\n")

    def hear(self, byte):
        if self.wanted:
            self.data += byte
            if len(self.data) == self.wanted:
                self.pass_on()
        elif byte == b"\n":
            words, self.command = self.command.strip(b"\r"), b""
            if words:
                self.obey(words)
        else:
            self.command += byte

    def carry(self):
        try:
            data = self.tcp.recv(self.random.randrange(1, 300))
        except OSError:
            data = b""
        if not data:
            return self.hang_up()
        self.say(b"\r\n+IPD,%d:" % len(data) + data)
        if self.happens(len(data)):
            self.random.choice((self.hang_up, self.restart))()
        return None

    def run(self):
        while True:
            sources = [self.line] + ([self.tcp] if self.tcp is not None else [])
            ready = select.select(sources, [], [], 1)[0]
            if self.tcp in ready:
                self.carry()
            if self.line in ready:
                words = self.line.recv(4096)
                if not words:
                    return
                for byte in words:
                    self.hear(bytes((byte,)))


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
        connection, _ = server.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Modem(connection, int(sys.argv[2])).run()
