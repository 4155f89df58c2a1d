# SPDX-License-Identifier: Apache-2.0
"""The examples do what they say."""

import os
import random
import re
import socket
import subprocess

import kvtest
from kvtest import Group, wait_for

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Counters:
    """Two applications that embed a node each, and a witness."""

    def __init__(self, group):
        self.group = group
        self.processes = {}
        group.start_witness()
        for node in (1, 2):
            self.start(node)

    def start(self, node):
        other = 3 - node
        self.processes[node] = kvtest.Process(
            [kvtest.program("embed"), str(node), self.group.path("embed%d" % node),
             self.group.urls[node], "%d=%s" % (other, self.group.urls[other]),
             self.group.witness_url], self.group.path("embed%d.log" % node))

    def counts(self, node):
        return [int(n) for n in re.findall(r"counts (\d+)", self.processes[node].text())]

    def last(self):
        return max(self.counts(1) + self.counts(2), default=0)

    def wait_past(self, count):
        wait_for(lambda: self.last() > count, "the count to go past %d" % count)

    def stop(self):
        for process in self.processes.values():
            process.kill()


def test_an_application_with_an_embedded_node_survives_the_death_of_the_other():
    with Group() as group:
        counters = Counters(group)
        try:
            for _ in range(2):
                counters.wait_past(counters.last() + 3)
                counting = max((1, 2), key=lambda n: max(counters.counts(n), default=0))
                dead = counters.counts(counting)
                counters.processes[counting].kill()
                counters.wait_past(dead[-1] + 3)
                other = [n for n in counters.counts(3 - counting) if n > dead[-1]]
                # One step may have been made without its maker knowing; none is made twice or lost.
                assert other[0] <= dead[-1] + 2 and sorted(set(other)) == other, (dead, other)
                assert not set(dead) & set(other)
                counters.start(counting)
                wait_for(lambda: "backup" in counters.processes[counting].text()[-400:],
                         "the application to be back as backup")
        finally:
            counters.stop()


def three_ports_in_a_row():
    """Below those that the kernel gives to outgoing connections."""
    for base in random.sample(range(20000, 30000), 100):
        try:
            for sock in [socket.create_server(("127.0.0.1", base + i)) for i in range(3)]:
                sock.close()
            return base
        except OSError:
            pass
    raise AssertionError("no free ports")


def test_the_failover_demo_loses_nothing():
    environment = dict(os.environ, KVPAIR_DEMO_PORT=str(three_ports_in_a_row()))
    demo = subprocess.Popen([os.path.join(SOURCE, "examples", "failover.sh"), kvtest.BUILD, "1"],
                            env=environment, stdout=subprocess.PIPE, text=True)
    try:
        out = demo.communicate(timeout=120)[0]
    finally:
        demo.terminate()  # it ends what it has started
        demo.wait()
    assert demo.returncode == 0, out
    assert "lost: 0" in out and "executed twice: 0" in out, out
    assert int(re.search(r"acknowledged: (\d+)", out).group(1)) > 100, out


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
