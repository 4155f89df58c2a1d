#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A group whose members change while it serves: nodes are added, removed, replaced and moved under the load of eight writers,
whose every acknowledged write is looked for afterwards. With KVPAIR_LONG a node is killed at a random moment of each change."""

import json
import os
import random
import shutil
import time

from kvtest import SLOW, Group, Process, Writer, free_ports, main, program, wait_for

WRITERS = 8
STOP_MS = 1000 * SLOW


class Changing(Group):
    """Its nodes are those of the list of members; one that comes later is let in with --join."""

    def listed(self, **options):
        done = self.cli("--json", "member", "list", check=0, **options)
        return json.loads(done.stdout)

    def new_url(self):
        return "tcp://127.0.0.1:%d" % free_ports(1)[0]

    def join(self, node, url, via):
        """Starts a node that knows nothing but where the group is."""
        self.urls[node] = url
        arguments = [program("kvnode"), "--id", str(node), "--data", self.data_dir(node), "--listen", url, "--join", via]
        arguments += ["--pair", self.pair] if self.pair else ["--witness", self.witness_url]
        self.nodes[node] = Process(arguments + self.options, self.path("node%d.log" % node))

    def forget(self, node):
        """Its process and its data are gone."""
        if node in self.nodes:
            self.kill(node)
            del self.nodes[node]
        self.urls.pop(node, None)
        shutil.rmtree(self.data_dir(node), ignore_errors=True)


class Load:
    """Eight writers, which know the nodes that there were when they began, and no others."""

    def __init__(self, group):
        self.writers = [Writer(group, "writer%d" % i) for i in range(WRITERS)]
        for each in self.writers:
            each.wait_more(5)

    def wait_more(self, count=5):
        for each in self.writers:
            each.wait_more(count)

    def end(self, group):
        """No acknowledged write is lost; the longest time that a writer had to wait, in ms."""
        for each in self.writers:
            each.stop()
        for each in self.writers:
            verdict = each.verify(nodes=group.nodes_option())
            assert verdict["lost"] == 0, verdict
        count = sum(each.acknowledged() for each in self.writers)
        longest = max(max(each.gaps_ms(), default=0) for each in self.writers)
        print("  %d acknowledged writes, none lost; the longest stop took %.0f ms" % (count, longest))
        return longest

    def kill(self):
        for each in self.writers:
            each.kill()


def test_members_come_and_go_under_load():
    with Changing(2).start() as group:
        load = Load(group)
        try:
            assert group.listed()["version"] == 0
            # 2 -> 3
            url = group.new_url()
            group.cli("member", "add", "3", url, check=0)
            group.join(3, url, group.urls[1])
            group.wait_in_sync(1, 2, 3)
            load.wait_more()
            # the primary goes: 3 -> 2, the lead is handed over first
            primary = group.primary()
            group.cli("member", "remove", str(primary), check=0)
            rest = sorted({1, 2, 3} - {primary})
            assert [m["id"] for m in group.listed()["members"]] == rest
            wait_for(lambda: "removed" in group.nodes[primary].text(), "the removed node to say so")
            group.forget(primary)
            group.wait_in_sync(*rest)
            load.wait_more()
            # the other one of the first two is killed, and an empty machine takes its place in one command
            dead = min(rest)
            group.forget(dead)
            url = group.new_url()
            group.cli("member", "replace", str(dead), "4", url, check=0)
            group.join(4, url, group.urls[3])
            group.wait_in_sync(3, 4)
            load.wait_more()  # none of the nodes that the writers were told of is there any more
            # a node moves: it leaves, is started somewhere else, and comes back
            url = group.new_url()
            group.nodes[4].signal(15)
            group.nodes[4].wait()
            group.cli("member", "move", "4", url, check=0)
            group.urls[4] = url
            group.join(4, url, group.urls[3])
            group.wait_in_sync(3, 4)
            load.wait_more()
            longest = load.end(group)
        finally:
            load.kill()
        assert longest < STOP_MS, longest
        assert [m["url"] for m in group.listed()["members"]] == [group.urls[3], url]


def test_who_is_no_member_says_so_on_both_sides():
    with Changing(2).start() as group:
        url = group.new_url()
        group.join(3, url, group.urls[1] + "," + group.urls[2])
        assert group.nodes[3].wait() != 0
        text = group.nodes[3].text()
        assert "node 3 is no member of the group" in text and "member add 3 " + url in text, text
        group.cli("member", "add", "3", url, check=0)
        group.cli("member", "add", "3", group.new_url(), check=1)
        group.cli("member", "add", "5", url, check=1)
        group.cli("member", "remove", "9", check=1)
        group.cli("member", "add", "4", "tcp://nowhere", check=5)
        group.join(3, url, group.urls[2])
        group.wait_in_sync(1, 2, 3)
        # A removed node that was away comes back, and is told.
        group.nodes[3].kill()
        group.wait_in_sync(1, 2)
        group.cli("member", "remove", "3", check=0)
        group.join(3, url, group.urls[2])
        status = wait_for(lambda: (lambda s: s if s and "removed" in s["why"] else None)(group.status(3)),
                          "the removed node to know")
        assert status["role"] == "outside" and not status["serving"], status
        group.cli("promote", "--node", url, "--force", check=5)
        wait_for(lambda: any("removed from the group" in group.nodes[n].text() for n in (1, 2)),
                 "a member to tell that a removed node asks")
        # The list rules after a restart, whatever the flags say.
        group.urls.pop(3)
        for node in (1, 2):
            group.nodes[node].kill()
        for node in (1, 2):
            group.start_node(node, options=["--peer", "7=" + url])
        group.wait_in_sync(1, 2)
        assert [m["id"] for m in group.listed()["members"]] == [1, 2]


def test_a_pair_changes_what_it_safely_can():
    with Changing(2, pair="primary-wins").start() as group:
        assert b"--witness" in group.cli("member", "add", "3", group.new_url(), check=5).stderr
        group.cli("put", "key", "value", check=0)
        primary = group.primary()
        other = 3 - primary
        url = group.new_url()
        group.forget(other)
        refused = group.cli("member", "replace", str(other), "9", url, check=5)
        assert b"takes the old one's id" in refused.stderr, refused
        group.cli("member", "replace", str(other), str(other), url, check=0, timeout_ms=8000)
        group.join(other, url, group.urls[primary])
        group.wait_in_sync(1, 2)
        assert group.get("key") == b"value"


def change(group, load, dice, ids):
    """One change of members, with a kill -9 at a random moment of it; returns the ids of the members then."""
    kind = dice.choice(["add", "remove", "replace", "move"] if len(ids) > 2 else ["add", "replace", "move"])
    kind = kind if len(ids) < 4 or kind != "add" else "remove"
    victim, subject = dice.choice(ids), dice.choice(ids)
    free = min(i for i in range(1, 60) if i not in ids)
    url = group.new_url()
    arguments = {"add": ["add", str(free), url], "remove": ["remove", str(subject)],
                 "replace": ["replace", str(subject), str(free), url], "move": ["move", str(subject), url]}[kind]
    if kind == "replace" and dice.random() < 0.5:
        group.kill(subject)
        victim = subject
    command = Process([program("kvcli"), "--nodes", group.nodes_option(), "--timeout", "20000", "member"] + arguments,
                      group.path("change.log"))
    time.sleep(dice.random() * 0.4)
    group.kill(victim)
    wanted = {"add": ids + [free], "remove": [i for i in ids if i != subject],
              "replace": [i for i in ids if i != subject] + [free], "move": ids}[kind]
    if not (kind in ("remove", "replace") and victim == subject):
        if kind == "move" and victim == subject:
            pass  # it is started at its new address below
        else:
            restart(group, victim)
    if command.wait(60) != 0:  # it was killed with the node that it talked to, or has to wait for it
        wait_for(lambda: group.cli("member", *arguments, timeout_ms=2000).returncode in (0, 1),
                 "the change " + str(arguments), 60)
    via = next(i for i in wanted if i != free and i != subject)
    if kind in ("add", "replace"):
        shutil.rmtree(group.data_dir(free), ignore_errors=True)
        group.join(free, url, group.urls[via])
    if kind in ("remove", "replace"):
        group.forget(subject)
    if kind == "move":
        group.kill(subject)
        group.urls[subject] = url
        restart(group, subject)
    group.wait_in_sync(*wanted, seconds=60)
    load.wait_more(2)
    return sorted(wanted)


def restart(group, node):
    group.join(node, group.urls[node], ",".join(group.urls.values()))


def test_members_change_while_nodes_are_killed():
    """Long: 100 changes."""
    seed = int(os.environ.get("KVPAIR_SEED", "0")) or random.randrange(1 << 30)
    dice = random.Random(seed)
    print("  KVPAIR_SEED=%d" % seed)
    with Changing(2).start() as group:
        load = Load(group)
        ids = [1, 2]
        try:
            for i in range(int(os.environ.get("KVPAIR_ROUNDS", "100"))):
                ids = change(group, load, dice, ids)
            load.end(group)
        finally:
            load.kill()


if __name__ == "__main__":
    tests = [test_members_come_and_go_under_load, test_who_is_no_member_says_so_on_both_sides,
             test_a_pair_changes_what_it_safely_can]
    main([test_members_change_while_nodes_are_killed] if os.environ.get("KVPAIR_LONG") else tests)
