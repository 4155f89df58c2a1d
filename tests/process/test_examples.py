# SPDX-License-Identifier: Apache-2.0
"""The examples do what they say."""

import collections
import os
import random
import re
import socket
import subprocess
import tempfile

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
                group.wait_in_sync(1, 2)
        finally:
            counters.stop()


ports_given = set()


def three_ports_in_a_row():
    """Below those that the kernel gives to outgoing connections, and to nobody twice."""
    for base in random.sample(range(20000, 30000, 3), 100):
        try:
            if base in ports_given:
                continue
            ports_given.add(base)
            for sock in [socket.create_server(("127.0.0.1", base + i)) for i in range(3)]:
                sock.close()
            return base
        except OSError:
            pass
    raise AssertionError("no free ports")


def run_example(script, *arguments):
    """Its exit status, its output and what it said on standard error."""
    environment = dict(os.environ, KVPAIR_DEMO_PORT=str(three_ports_in_a_row()))
    example = subprocess.Popen([os.path.join(SOURCE, "examples", script), *arguments],
                               env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    try:
        out, errors = example.communicate(timeout=120)
    finally:
        example.terminate()  # it ends what it has started
        example.wait()
    return example.returncode, out, errors


def test_the_demos_say_what_they_do():
    for name in ("failover.sh", "matrix_farm.sh"):
        status, out, errors = run_example(name, "--help")
        assert status == 0 and name + " [BUILD-DIR]" in out and not errors, out + errors


def test_the_failover_demo_loses_nothing():
    status, out, errors = run_example("failover.sh", kvtest.BUILD, "1")
    assert status == 0, out + errors
    assert "lost: 0" in out and "executed twice: 0" in out, out
    assert int(re.search(r"acknowledged: (\d+)", out).group(1)) > 100, out


def test_the_matrix_farm_survives_the_deaths_of_a_worker_and_of_the_primary():
    status, out, errors = run_example("matrix_farm.sh", kvtest.BUILD)
    assert status == 0, out + errors
    assert out.endswith("results match\n"), out
    sent = [set(re.findall("sends task (.) to " + worker, out)) for worker in ("worker-a", "worker-b")]
    assert len(sent[0] & sent[1]) == 1, out  # the one that worker-a had when it was killed
    assert re.search(r"node \d    is killed; worker-b has task \d", out), out
    for task in range(5):
        assert len(re.findall("has the result of task %d," % task, out)) == 1, out


def count_words(*arguments):
    status, out, errors = run_example("wordcount/wordcount.sh", "-b", kvtest.BUILD, *arguments)
    assert status == 0 and "the counts match" in errors, errors
    pairs = [line.split(" ") for line in out.splitlines()]
    return {word: int(count) for count, word in pairs}, errors


def test_wordcount_with_the_primary_killed_half_way_counts_every_word_once():
    words = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number in range(4):
            # No newline at the end, and long lines: words are cut off nowhere.
            text = " ".join(random.choices(["One", "two,", "three", "x%d" % number], k=2000))
            files.append(os.path.join(folder, "text %d" % number))
            with open(files[-1], "w") as file:
                file.write(text)
            words.update(re.findall("[a-z0-9]+", text.lower()))
        counted, log = count_words("-k", "-s", "4000", "-p", "2", *files)
    assert counted == words, log
    assert "is killed" in log, log


def test_wordcount_of_one_file_and_of_an_empty_one():
    with tempfile.TemporaryDirectory() as folder:
        one, empty = os.path.join(folder, "one"), os.path.join(folder, "empty")
        with open(one, "w") as file:
            file.write("Am I I?\n")
        with open(empty, "w") as file:
            pass
        assert count_words("-w", "1", one)[0] == {"am": 1, "i": 2}
        assert count_words("-w", "1", empty)[0] == {}


def test_the_commands_of_the_guide_to_jobs():
    with open(os.path.join(SOURCE, "docs", "jobs.md")) as file:
        blocks = re.findall(r"^```sh\n(.*?)^```", file.read(), re.S | re.M)
    script = "set -e\ntrap 'kill $(jobs -p); wait' EXIT\n" + "".join(blocks)
    script = re.sub("^export KVPAIR_NODES=.*\n", "", script, flags=re.M)
    with Group().start() as group:
        environment = dict(os.environ, KVPAIR_NODES=group.nodes_option(),
                           PATH=os.path.abspath(kvtest.BUILD) + ":" + os.environ["PATH"])
        done = subprocess.run(["bash", "-c", script], cwd=group.work, env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "19,22\n43,50\n" in done.stdout and "\n8\n" in done.stdout, done.stdout
        assert re.search(r"cid +disagreed", done.stdout), done.stdout


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
