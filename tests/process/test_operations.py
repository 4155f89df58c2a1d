# SPDX-License-Identifier: Apache-2.0
"""docs/operations.md: every command in it is run, and it speaks of every event and every alert."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import kvtest
from kvtest import process_ended

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
PORTS = ("7001", "7002", "7003", "7004", "7005", "7400", "9100", "9101", "9102")
PATHS = ("/etc/kvpair", "/var/lib/kvpair", "/var/backups")


def read(*path):
    with open(os.path.join(SOURCE, *path)) as file:
        return file.read()


def commands():
    blocks = re.findall(r"^```sh\n(.*?)^```", read("docs", "operations.md"), re.S | re.M)
    assert len(blocks) > 8
    return "".join(blocks)


class Machine:
    """A folder that stands for the machine of the document, with ports that are free."""

    def __init__(self, work):
        self.work = work
        self.ports = dict(zip(PORTS, kvtest.free_ports(len(PORTS))))
        for folder in ("bin", "run", "log", "units", "examples", *(path[1:] for path in PATHS[:2]), PATHS[2][1:]):
            os.makedirs(os.path.join(work, folder), exist_ok=True)
        for name in os.listdir(os.path.join(SOURCE, "packaging", "examples")):
            self.write(os.path.join("examples", name), read("packaging", "examples", name))
        for name in os.listdir(os.path.join(SOURCE, "packaging", "systemd")):
            if name.endswith(".timer"):
                self.write(os.path.join("units", name), read("packaging", "systemd", name))
            if name.endswith(".service.in"):
                self.write(os.path.join("units", name[:-3]), read("packaging", "systemd", name).replace("@bindir@", kvtest.BUILD))
        self.write("bin/apt-get", "#!/bin/sh\n[ $# -gt 2 ]\n")  # packaging/check_packages.sh installs them
        self.write("bin/systemctl", "#!/bin/sh\nexec '%s' '%s' \"$@\"\n" % (sys.executable, os.path.join(HERE, "unit_runner.py")))
        for name in ("apt-get", "systemctl"):
            os.chmod(os.path.join(work, "bin", name), 0o755)

    def here(self, text):
        """The same with this machine's paths and ports."""
        text = re.sub(r"/usr/share/doc/kvpair-\w+/examples", self.work + "/examples", text)
        for path in PATHS:
            text = re.sub(r"(?<![\w.])" + path, self.work + path, text)
        text = text.replace("sleep 1;", "sleep 0.1;")
        return re.sub(r"(127\.0\.0\.1:)(\d{4})\b", lambda found: found.group(1) + str(self.ports[found.group(2)]), text)

    def write(self, name, text):
        with open(os.path.join(self.work, name), "w") as file:
            file.write(self.here(text) if not name.startswith("bin") else text)

    def run(self, script):
        environment = dict(os.environ, UNITS_WORK=self.work, PATH=":".join(
            (os.path.join(self.work, "bin"), os.path.abspath(kvtest.BUILD), os.environ["PATH"])))
        return subprocess.run(["bash", "-exc", self.here(script)], cwd=self.work, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)

    def end(self):
        for name in os.listdir(os.path.join(self.work, "run")):
            with open(os.path.join(self.work, "run", name)) as file:
                pid = int(file.read())
            os.kill(pid, signal.SIGKILL)
            kvtest.wait_for(lambda: process_ended(pid), "the end of " + name)


def test_every_command_of_the_document_works():
    if shutil.which("curl") is None:
        print("skipped: no curl")
        return
    with tempfile.TemporaryDirectory() as work:
        machine = Machine(work)
        try:
            done = machine.run(commands())
            assert done.returncode == 0, done.stdout[-6000:]
            assert len(re.findall(r"\+ kvcli get greeting\nhello", done.stdout)) == 4, done.stdout[-6000:]
            with open(os.path.join(work, "log", "kvnode@node1.service")) as file:
                assert "event=config_loaded log_level=debug" in file.read()
        finally:
            machine.end()


def test_every_event_of_nodes_and_witness_is_explained():
    sys.path.insert(0, os.path.join(SOURCE, "tests", "lint"))
    import events
    explained = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*?\|", read("docs", "operations.md"), re.M))))
    for page, folders in events.PAGES[:2]:
        missing = sorted(set(events.events_below(SOURCE, folders)) - explained)
        assert not missing, (page, missing)


def test_every_alert_is_explained_with_its_level():
    alerts = re.findall(r"alert: (\w+).*?severity: (\w+)", read("packaging", "kvpair.rules.yml"), re.S)
    explained = re.findall(r"^\| `(Kvpair\w+)` \| (\w+) \|", read("docs", "operations.md"), re.M)
    assert len(alerts) > 8 and set(alerts) == set(explained), set(alerts) ^ set(explained)


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
