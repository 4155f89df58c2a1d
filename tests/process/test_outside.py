# SPDX-License-Identifier: Apache-2.0
"""Nodes that stay outside: what they and the others say of it, and what an operator's commands answer there. Data directories that are the
node's own, old ones put back, or empty; beside a witness that is the group's, empty, or another group's."""

import os
import shutil
import time

import kvtest
from kvtest import Group, Process, SLOW, free_ports, program, wait_for


class Kept:
    """The directories of a group, to begin with again and again."""

    def __init__(self, group):
        self.path = group.path("kept")
        self.group = group

    def take(self, name, source):
        shutil.copytree(source, os.path.join(self.path, name))

    def put(self, name, target):
        shutil.rmtree(target, ignore_errors=True)
        if name == "empty":
            os.makedirs(target)
        else:
            shutil.copytree(os.path.join(self.path, name), target)

    def begin(self, witness, **nodes):
        """Ends what runs, and starts the witness and the nodes (n1=..., n2=...) on copies of these directories."""
        group = self.group
        for process in [group.witness] + list(group.nodes.values()):
            if process and process.alive():
                process.kill()
        for node in (1, 2):
            if os.path.exists(group.path("node%d.log" % node)):
                os.remove(group.path("node%d.log" % node))
        self.put(witness, group.path("witness"))
        group.start_witness()
        for name, data in nodes.items():
            self.put(data, group.data_dir(int(name[1])))
            group.start_node(int(name[1]))


def stop(group, *nodes):
    for node in nodes:
        group.nodes[node].signal(15)
        group.nodes[node].wait()


def make_kept(group):
    """old: before k was new. cut: both were in sync when they died; left: node 2 had left before, so that node 1 was alone."""
    kept = Kept(group)
    group.put("k", b"old")
    stop(group, 2, 1)
    kept.take("old1", group.data_dir(1))
    kept.take("old2", group.data_dir(2))
    for node in (1, 2):
        group.start_node(node)
    group.wait_in_sync(1, 2)
    group.put("k", b"new")
    for name in ("cut", "left"):
        if name == "cut":
            group.kill(2)
            group.kill(1)
        else:
            for node in (1, 2):
                group.start_node(node)
            group.wait_in_sync(1, 2)
            stop(group, 2, 1)
        group.witness.kill()
        for node in (1, 2):
            kept.take("%s%d" % (name, node), group.data_dir(node))
        kept.take("witness-" + name, group.path("witness"))
        group.start_witness()
    group.witness.kill()
    shutil.rmtree(group.path("witness"))
    for node in (1, 2):
        shutil.rmtree(group.data_dir(node))
    group.start_witness()
    for node in (1, 2):
        group.start_node(node)
    group.wait_in_sync(1, 2)
    group.kill(2)
    group.kill(1)
    group.witness.kill()
    kept.take("witness-other", group.path("witness"))
    return kept


def words(done):
    """What it printed, however its lines are broken."""
    return b" ".join((done.stdout + done.stderr).split())


def answers(group, node, text, *command, code=5):
    """The command is answered within its deadline, with this code, and says this."""
    begin = time.monotonic()
    done = group.cli(*command, nodes=group.urls[node] if node else None)
    assert done.returncode == code, (command, done)
    assert time.monotonic() - begin < 5.5 * SLOW, command
    assert text.encode() in words(done), (command, text, done)


def says(group, node, text):
    """Until its status has it as a reason, and with a next step."""
    def said():
        status = group.status(node)
        return status and text in status["why"]
    wait_for(said, "node %d to say: %s" % (node, text))


def promote_both_ways(group, node, text):
    answers(group, node, text, "promote")
    answers(group, node, text, "promote", "--force")


def test_what_operators_are_answered_at_a_node_that_was_put_back():
    with Group().start() as group:
        kept = make_kept(group)
        # Its own data. The witness is empty: only all members together, or an operator, tell it.
        kept.begin("empty", n1="cut1")
        says(group, 1, "'kvcli promote --force'")
        answers(group, 1, "does not know this group", "status", code=3)
        answers(group, 1, "does not know this group", "promote")
        answers(group, 1, "", "promote", "--force", code=0)
        assert group.get("k", nodes=group.urls[1]) == b"new"
        # The witness is another group's: not even by force.
        kept.begin("witness-other", n1="cut1")
        says(group, 1, "another group under this name: give this node the right --witness")
        answers(group, 1, "another group", "status", code=3)
        promote_both_ways(group, 1, "another group")
        # An old directory, and the witness knows a later one.
        kept.begin("witness-cut", n1="old1", n2="cut2")
        says(group, 1, "empty this data directory")
        promote_both_ways(group, 1, "empty this data directory")
        # Nobody serves then, if that node was the last in sync; and nothing of it is unknown.
        kept.begin("witness-left", n1="old1", n2="left2")
        says(group, 1, "empty this data directory")
        says(group, 2, "waits for a node that was (1)")
        answers(group, 2, "waits for a node that was (1)", "promote")
        answers(group, None, "no node is primary", "--timeout", "1000", "handover", code=3)
        answers(group, 2, "", "promote", "--force", code=0)
        # An old directory, and an empty witness: it counts. A node that has seen more says so.
        kept.begin("empty", n1="old1")
        group.wait_primary(1)
        kept.put("left2", group.data_dir(2))
        group.start_node(2)
        says(group, 2, "the witness shows an older view than it did before")
        # Empty, and the witness knows the group.
        kept.begin("witness-left", n1="empty", n2="left2")
        says(group, 2, "one is there with an empty data directory")
        promote_both_ways(group, 1, "no data of a group")
        answers(group, 2, "'kvcli promote --force' here", "status", code=3)


def test_a_node_that_has_just_started_says_that_its_view_is_from_before():
    """Until the grace is over it takes its primary for alive: long enough here to be looked at."""
    with Group(options=["--heartbeat-ms", "500", "--lease-ms", "3000", "--grace-ms", "4000"]).start() as group:
        backup = 3 - group.primary()
        group.kill(3 - backup)
        group.kill(backup)
        group.start_node(backup)
        says(group, backup, "has just started: its role and view are those of before")
        assert group.status(backup)["role"] == "backup"
        answers(group, backup, "those of before", "status", code=3)
        group.start_node(3 - backup)
        wait_for(lambda: group.status(backup)["why"] == "", "the primary to be heard")


def start_elsewhere(group, node, log):
    """The node, at an address that the others were not told of."""
    url = "tcp://127.0.0.1:%d" % free_ports(1)[0]
    arguments = [program("kvnode"), "--id", str(node), "--data", group.path("else%d" % node),
                 "--listen", url, "--witness", group.witness_url]
    for other in group.urls:
        if other != node:
            arguments += ["--peer", "%d=%s" % (other, group.urls[other])]
    return Process(arguments, group.path(log)), url


def status_says(group, url, text):
    wait_for(lambda: text.encode() in words(group.cli("status", nodes=url, timeout_ms=500)),
             "status of %s to say: %s" % (url, text))


def test_a_node_that_its_primary_does_not_know_says_so_and_so_does_the_primary():
    with Group().start() as group:
        third, url = start_elsewhere(group, 3, "third.log")
        try:
            status_says(group, url, "does not know this node: 'kvcli member add 3 %s' lets it in" % url)
            status_says(group, group.urls[1], "node 3 asks to join, and is no member: kvcli member add")
            assert "event=peer_unknown peer=3" in group.nodes[1].text()
        finally:
            third.kill()
        stop(group, 2)
        moved, url = start_elsewhere(group, 2, "moved.log")
        try:
            status_says(group, url, "does not call this node: its --peer has to name node 2 as " + url)
            status_says(group, group.urls[1], "it asks, but does not answer at this address")
        finally:
            moved.kill()


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
