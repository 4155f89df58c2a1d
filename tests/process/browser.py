# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, asked through its DevTools: what a page shows, as JavaScript sees it."""

import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import urllib.request

from kvtest import wait_for


def program_of_browser():
    return shutil.which("chromium") or shutil.which("chromium-headless-shell")


class Socket:
    """A WebSocket of a client, for text alone."""

    def __init__(self, url):
        host, path = url[len("ws://"):].split("/", 1)
        name, port = host.rsplit(":", 1)
        self.sock = socket.create_connection((name, int(port)), 20)
        key = base64.b64encode(os.urandom(16)).decode()
        self.sock.sendall(("GET /%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n" % (path, host, key)).encode())
        self.file = self.sock.makefile("rb")
        while self.file.readline() not in (b"\r\n", b""):
            pass

    def send(self, text):
        data = text.encode()
        size = len(data)
        head = bytes([0x81, 0x80 | size]) if size < 126 else bytes([0x81, 0xfe]) + struct.pack(">H", size)
        assert size < 65536
        self.sock.sendall(head + b"\0\0\0\0" + data)  # masked with zeros

    def receive(self):
        text = b""
        while True:
            first, second = self.file.read(2)
            size = second & 0x7f
            if size >= 126:
                size = struct.unpack(">H" if size == 126 else ">Q", self.file.read(2 if size == 126 else 8))[0]
            data = self.file.read(size)
            if first & 0x0f in (0, 1):
                text += data
                if first & 0x80:
                    return text.decode()

    def close(self):
        self.file.close()
        self.sock.close()


class Browser:
    def __init__(self, work, url, width=1200, height=1400):
        profile = os.path.join(work, "browser")
        self.log = open(os.path.join(work, "browser.out"), "wb")
        self.child = subprocess.Popen(
            [program_of_browser(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--remote-debugging-port=0", "--user-data-dir=" + profile,
             "--window-size=%d,%d" % (width, height), url], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        port_file = os.path.join(profile, "DevToolsActivePort")
        try:
            wait_for(lambda: os.path.exists(port_file) and os.path.getsize(port_file) > 0, "the browser", 60)
            with open(port_file) as file:
                self.port = int(file.readline())
            self.socket = Socket(wait_for(self.target, "its page", 30))
        except BaseException:
            self.close()
            raise
        self.number = 0

    def target(self):
        with urllib.request.urlopen("http://127.0.0.1:%d/json" % self.port, timeout=10) as answer:
            pages = [each for each in json.load(answer) if each["type"] == "page"]
        return pages[0]["webSocketDebuggerUrl"] if pages else None

    def call(self, method, **parameters):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.receive())
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, expression):
        """The value of an expression in the page, waited for if it is a promise."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def text(self, selector):
        return self.run("document.querySelector(%s)?.innerText" % json.dumps(selector)) or ""

    def picture(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        if hasattr(self, "socket"):
            self.socket.close()
        self.child.terminate()
        self.child.wait(20)
        self.log.close()
