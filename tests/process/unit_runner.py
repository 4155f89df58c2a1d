#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for systemctl: runs what a unit says, as far as the documents need it, with the paths and ports of a test.
The test's folder is in $UNITS_WORK: units/ with the units, run/ for pids, log/ for logs."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

WORK = os.environ.get("UNITS_WORK", "")


def path(*names):
    return os.path.join(WORK, *names)


def pid_of(unit):
    try:
        with open(path("run", unit)) as file:
            return int(file.read())
    except FileNotFoundError:
        return None


def has_ended(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def unit_text(unit):
    instance = re.search("@(.*)[.](?:service|timer)", unit)
    with open(path("units", re.sub("@.*[.]", "@.", unit))) as file:
        return file.read().replace("%i", instance.group(1) if instance else "").replace("%H", "here")


def environment_of(text):
    environment = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.M))
    for optional, name in re.findall(r"^EnvironmentFile=(-?)(.*)$", text, re.M):
        if not optional or os.path.exists(name):
            with open(name) as file:
                environment.update(re.findall(r"^(\w+)=(.*)$", file.read(), re.M))
    return environment


def run_once(text, environment):
    """To its end, as Type=oneshot."""
    state = os.path.join(WORK, "var/lib", re.search("^StateDirectory=(.*)$", text, re.M).group(1))
    os.makedirs(state, exist_ok=True)
    command = re.search("^ExecStart=(.*)$", text, re.M).group(1).replace("$$", "$").replace("%%", "%")
    subprocess.run(shlex.split(command), env=dict(os.environ, STATE_DIRECTORY=state, **environment), check=True,
                   stdin=subprocess.DEVNULL, timeout=60)


def start(unit):
    text = unit_text(unit)
    environment = environment_of(text)
    if unit.endswith(".timer"):
        assert re.search("^OnCalendar=", text, re.M) and os.path.exists(path("units", "kvpair-backup@.service"))
        return
    if "Type=oneshot" in text:
        run_once(text, environment)
        return
    command = re.search("^ExecStart=(.*)$", text, re.M).group(1)
    command = re.sub(r"\$\{?(\w+)\}?", lambda found: environment.get(found.group(1), ""), command)
    name = path("run", unit + ".socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, open(path("log", unit), "ab") as log:
        sock.bind(name)
        sock.settimeout(30)
        process = subprocess.Popen(shlex.split(command), env=dict(os.environ, NOTIFY_SOCKET=name, **environment), stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log, start_new_session=True)
        with open(path("run", unit), "w") as file:
            file.write(str(process.pid))
        while "READY=1" not in sock.recv(4096).decode():
            pass
    os.unlink(name)


def stop(unit):
    pid = pid_of(unit)
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 30
    while not has_ended(pid):
        assert time.monotonic() < end, unit + " does not stop"
        time.sleep(0.02)
    os.unlink(path("run", unit))


def main(verb, *units):
    units = [unit for unit in units if unit != "--now"]
    for unit in units:
        if verb in ("stop", "restart"):
            stop(unit)
        if verb in ("enable", "start", "restart"):
            start(unit)
        if verb == "reload":
            assert re.search("^ExecReload=.*kill -HUP ", unit_text(unit), re.M), unit
            os.kill(pid_of(unit), signal.SIGHUP)
    assert verb in ("enable", "start", "stop", "restart", "reload", "status"), verb


if __name__ == "__main__":
    main(*sys.argv[1:])
