# SPDX-License-Identifier: Apache-2.0
"""What somebody can do to a running group who speaks as one of its nodes, from an address where a node is: he
forges peer messages, but does not answer at the nodes' addresses. No second primary, no group that stops for
good, no store that is gone, however the group decides about its views."""

import concurrent.futures
import json
import os
import sys
import time
import types

import kvtest
from kvtest import Group, wait_for
from test_protocol import BUSY, OK, PUT, Client, pack

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "torture"))
import peers  # noqa: E402

STATE, HEARTBEAT, SNAPSHOT, ASK_VIEW, LEAVE, RESIGN = 64, 65, 67, 68, 69, 70
REGISTER_CLAIM = 99
REFUSED = 16
NO_VIEW = [0, 0, 0, 0]
NO_POINT = [0, 0, 0]
PRIMARY_ROLE = 4
END_OF_NUMBERS = 1 << 62
ALL_NUMBERS = (1 << 20, 1 << 40, (1 << 61) - 1, END_OF_NUMBERS - 2, END_OF_NUMBERS - 1)
QUARANTINE_MAX = 8  # kvnode's --quarantine-stores, unless told otherwise
ATTACK_S = 2  # also with a sanitizer: it is what is sent that counts, not how often
KEYS = 60
GROUPS_AT_ONCE = 3


# ---- speaking as a node ----

def report(view, tail=None, role=PRIMARY_ROLE):
    tail = tail or NO_POINT
    return [role, 0, view, tail, tail, tail[0], view[1], 0, 0, 7, 0]


class Forger:
    """Says to `victim` what `speaker` would say."""

    def __init__(self, group, victim, speaker):
        self.client = Client(group.urls[victim])
        self.victim, self.speaker = victim, speaker
        self.group_id = 0
        told = self.say(STATE, NO_VIEW, report(NO_VIEW))
        self.group_id, self.known = told[2], told[4]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.link.close()

    def message(self, op, view, arguments):
        sent = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
        head = [1, op, "default", view[1], self.speaker, self.victim, self.group_id, sent, view]
        return pack(head + list(arguments))

    def say(self, op, view, *arguments):
        """[op, from, group id, echo, report of the victim], or what it says instead."""
        return self.client.ask_body(self.message(op, view, arguments))[1]

    def leave(self, view):
        """Is answered when the speaker is out, if it ever is: the last word on this connection."""
        self.client.send_body(self.message(LEAVE, view, []))

    def look(self):
        self.known = self.say(STATE, NO_VIEW, report(NO_VIEW))[4]
        return self.known

    def view(self, primary, ahead=1, members=None):
        """One that follows the victim's by `ahead`, with `members` in sync (else the primary only)."""
        number = max(self.known[2][0], self.known[2][1]) + ahead
        mask = sum(1 << node for node in (members or (primary,)))
        return [number, number, primary, mask]

    def tell_view(self, view):
        self.say(STATE, view, report(view, self.known[3]))
        self.say(HEARTBEAT, view, self.known[3], 0, 0, 0)
        self.say(HEARTBEAT, view, self.known[3], 1, self.known[9], view[1])  # promise, and: it was forced

    def replace_store(self, view, seq):
        """The view leaves the victim out, and a snapshot without a key is all that there is."""
        self.say(HEARTBEAT, view, [seq, view[1], 5], 0, 0, 0)
        self.say(SNAPSHOT, view, 77, 0, True, [seq, view[1], 5], b"", 0)


# ---- the group, before and behind ----

def other(node):
    return 2 if node == 1 else 1


def fill(group):
    kept = {"k%d" % number: "v%d" % number for number in range(KEYS)}
    with Client(group.urls[group.primary()]) as client:
        for key, value in kept.items():
            assert client.ask(PUT, key.encode(), value.encode())[0] == OK
    return kept


def check_kept(group, kept, **options):
    done = group.cli("--json", "scan", "k", timeout_ms=15000, check=0, **options)
    found = {each["key"]: each["value"] for each in map(json.loads, done.stdout.splitlines())}
    assert found == kept, set(kept.items()) ^ set(found.items())


def takes_puts(group, node):
    """Does it acknowledge a put itself?"""
    if not group.nodes[node].alive():
        return False
    with Client(group.urls[node]) as client:
        return client.ask(PUT, b"asked", b"%d" % node)[0] == OK


def serving(group):
    """The nodes that acknowledge, each within a moment that the others' lie in, too."""
    found = [{node for node in group.nodes if takes_puts(group, node)} for _ in range(4)]
    return set.intersection(*found) if found else set()


def check_one_serves(group, seconds=30):
    def condition():
        found = serving(group)
        assert len(found) <= 1, "two nodes acknowledge: %s" % found
        return found
    return wait_for(condition, "one node to serve", seconds).pop()


def check_quarantine(group):
    for node in group.nodes:
        data = group.data_dir(node)
        kept = [name for name in os.listdir(data) if name.startswith(("diverged-", "replaced-"))]
        assert len(kept) <= QUARANTINE_MAX, (node, kept)


def check_all(group, kept):
    """Behind the attack: one serves, all is there, the nodes come together, and so it is when the
    primary has died."""
    for process in group.nodes.values():
        assert process.alive(), "a node has ended"
        assert "role=failed" not in process.text()
    check_one_serves(group)
    check_kept(group, kept)
    primary = group.wait_in_sync(*group.nodes, seconds=60)
    check_kept(group, kept)
    check_quarantine(group)
    check_fails_over(group, kept, primary)


def check_fails_over(group, kept, primary):
    if group.pair == "primary-wins":
        group.cli("handover", check=0, timeout_ms=15000)
        group.wait_primary(other(primary))
    group.kill(primary)
    survivor = check_one_serves(group)
    assert survivor != primary
    check_kept(group, kept)


def groups():
    """(what it is, a group of that kind)"""
    yield "witness", lambda: Group()
    yield "witness, three nodes", lambda: Group(count=3)
    for policy in ("backup-wins", "primary-wins", "available"):
        yield policy, lambda policy=policy: Group(pair=policy)


def attack(group, forge):
    """forge(forger) again and again for some time, at each node in turn, as another one."""
    until = time.monotonic() + ATTACK_S
    while time.monotonic() < until:
        for victim in group.nodes:
            for speaker in group.nodes:
                if speaker != victim and group.nodes[victim].alive():
                    with Forger(group, victim, speaker) as forger:
                        forge(forger)
        time.sleep(0.02)


def in_groups(test):
    """test(group, what is kept in it) in a group of each kind, some of them at a time: mostly they wait."""
    def run(what, make):
        try:
            with make().start() as group:
                test(group, fill(group))
        except Exception as error:
            raise AssertionError("in the group '%s'" % what) from error
    with concurrent.futures.ThreadPoolExecutor(GROUPS_AT_ONCE) as pool:
        running = [pool.submit(run, what, make) for what, make in groups()]
    for each in running:
        each.result()


def in_every_group(forge):
    def test(group, kept):
        attack(group, forge)
        check_all(group, kept)
    in_groups(test)


# ---- views that nobody granted ----

def test_a_newer_view_that_makes_each_node_the_primary_makes_no_two():
    def forge(forger):
        forger.tell_view(forger.view(forger.victim))
        forger.say(STATE, forger.view(forger.victim, 3), report(forger.view(forger.victim, 3)))
    in_every_group(forge)


def test_a_newer_view_that_makes_another_node_the_primary_makes_no_two():
    def forge(forger):
        forger.tell_view(forger.view(forger.speaker))
        forger.tell_view(forger.view(forger.speaker, 2, (1, 2)))
    in_every_group(forge)


def test_a_number_near_its_end_bricks_no_group():
    def forge(forger):
        for number in ALL_NUMBERS:
            for primary in (forger.victim, forger.speaker):
                for version in (number, forger.known[2][0] + 1):
                    view = [version, number, primary, 1 << primary]
                    forger.tell_view(view)
    in_every_group(forge)


def force_alone(group, node):
    group.cli("promote", "--force", nodes=group.urls[node], timeout_ms=20000, check=0)
    assert check_one_serves(group) == node


def test_promote_force_works_after_a_number_near_its_end():
    """Also where the others are gone, and the witness's memory with them."""
    def test(group, kept):
        primary = group.primary()
        node = other(primary)
        for each in group.urls:
            if each != node:
                group.kill(each)
        if group.witness:
            group.witness.kill()
            os.rename(group.path("witness"), group.path("witness-gone"))
            group.start_witness()
        for speaker in group.urls:
            if speaker != node:
                with Forger(group, node, speaker) as forger:
                    for number in ALL_NUMBERS:
                        forger.tell_view([number, number, speaker, 1 << speaker])
                        forger.tell_view([number, number, node, 1 << node])
        time.sleep(1)
        if group.pair != "available":  # there it serves by itself
            force_alone(group, node)
        check_kept(group, kept, nodes=group.urls[node])
    in_groups(test)


# ---- stores that are to be replaced ----

def test_a_snapshot_of_whoever_says_so_leaves_what_was_acknowledged():
    def forge(forger):
        for seq in (0, 1, 1000):
            forger.replace_store(forger.view(forger.speaker, 3), seq)
    in_every_group(forge)


def alone(group):
    """The group with one node in sync, the other one gone. Its id."""
    primary = group.primary()
    if group.pair == "backup-wins":  # the primary alone stops; the backup goes on
        group.kill(primary)
        primary = other(primary)
    else:
        for each in group.urls:
            if each != primary:
                group.kill(each)
    group.wait_primary(primary)
    return primary


def test_a_snapshot_does_not_destroy_the_only_copy():
    def test(group, kept):
        victim = alone(group)
        kept["k-later"] = "only here"
        group.put("k-later", b"only here")
        for each in list(group.nodes):
            if each != victim:
                del group.nodes[each]
        group.nodes[victim].kill()  # an attacker who comes when it has just started, too
        group.start_node(victim)
        wait_for(lambda: group.status(victim), "the node to answer")
        attack_alone(group, victim)
        assert check_one_serves(group) == victim
        check_kept(group, kept, nodes=group.urls[victim])
        check_quarantine(group)
    in_groups(test)


def attack_alone(group, victim):
    until = time.monotonic() + ATTACK_S
    while time.monotonic() < until:
        with Forger(group, victim, other(victim)) as forger:
            for seq in (0, 1000):
                forger.replace_store(forger.view(forger.speaker, 3), seq)
        time.sleep(0.02)


# ---- a node's place ----

STORE_IS_NEW = (1 << 64) - 1
A_STORE = 0x7000000000000001


def claim(client, group_id, node, numbers):
    """For a store of the node: (code, [what the register says that it knows the node by])."""
    code, register = client.ask_body(pack([1, REGISTER_CLAIM, "default", 0, node, 0, group_id, numbers]))
    return code, register[2:]


def claim_by_all_that_is_told(group, node, client):
    told = []
    for victim in group.nodes:
        if victim != node:
            with Forger(group, victim, node) as forger:
                group_id = forger.group_id
                told.append(forger.known[9])
    with Forger(group, node, other(node)) as forger:
        told.append(forger.known[9])
    for replaces, earlier in ((0, []), (0, told)):
        code, known = claim(client, group_id, node, [A_STORE, replaces, earlier])
        assert code == REFUSED, code
        told += known
    for number in told:
        assert claim(client, group_id, node, [A_STORE, 0, [number]])[0] == REFUSED
        assert claim(client, group_id, node, [number, 0, [A_STORE]])[0] == REFUSED
        assert claim(client, group_id, node, [A_STORE, number, [STORE_IS_NEW]])[0] == BUSY


def say_that_it_is_another_store(forger):
    """STATE of a store with other numbers, as a copy of the speaker's tells that it is there."""
    for number in (A_STORE, A_STORE ^ (1 << 50), forger.known[9] ^ (1 << 50)):
        forger.say(STATE, NO_VIEW, report(NO_VIEW)[:9] + [number, 500000])
        forger.say(STATE, NO_VIEW, report(NO_VIEW)[:9] + [number, 500000],
                   [number, 0, [forger.known[9], STORE_IS_NEW]])


def test_a_claim_in_its_name_takes_no_nodes_place():
    """At the register, where only a store's number counts, and of a node that others hear of."""
    def test(group, kept):
        group.wait_in_sync(*group.nodes, seconds=60)
        if group.witness:
            for node in group.nodes:
                with Client(group.witness_url) as client:
                    claim_by_all_that_is_told(group, node, client)
        attack(group, say_that_it_is_another_store)
        check_all(group, kept)
        for node, process in group.nodes.items():
            assert "copy_of_a_store" not in process.text(), node
    in_groups(test)


# ---- what a node of a pair asks the other ----

def test_a_forged_question_for_a_view_makes_no_two_primaries():
    """ASK_VIEW, RESIGN and LEAVE in the name of the other node: a node may stop for it, not both go on."""
    def forge(forger):
        view = forger.known[2]
        for primary in (forger.victim, forger.speaker):
            forger.say(ASK_VIEW, view, view[0], forger.view(primary, 64))
        forger.say(RESIGN, view)
        forger.leave(view)
    in_every_group(forge)


# ---- real messages, changed ----

def test_changed_messages_of_the_group_itself_lose_nothing():
    for nodes, seed in ((2, 1), (3, 2)):
        peers.run(types.SimpleNamespace(nodes=nodes, seed=seed, seconds=6))


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
