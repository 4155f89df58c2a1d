# SPDX-License-Identifier: Apache-2.0
"""kvcli beyond one key: several at one moment, ranges and backwards, the past, sums, other names, many deleted."""

import json
import threading

import kvtest
from kvtest import Group


def out(group, *words, check=0):
    return group.cli(*words, check=check).stdout.decode()


def keys(group, *words):
    return out(group, "scan", "--keys", *words).split()


def test_several_keys_are_told_as_of_one_moment(group):
    group.cli("put", "pair/a", "0", check=0)
    group.cli("put", "pair/b", "0", check=0)
    stop = threading.Event()

    def move():
        number = 0
        while not stop.is_set() and number < 2000:
            number += 1
            both = [["put", "pair/a", str(number)], ["put", "pair/b", str(number)]]
            group.cli("txn", "-", stdin=json.dumps({"then": both}).encode(), check=0)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(20):
            rows = [row.split("\t") for row in out(group, "get", "pair/a", "pair/b").splitlines()]
            assert rows[0][0] == "pair/a" and rows[0][1] == rows[1][1], rows
    finally:
        stop.set()
        mover.join()
    done = group.cli("get", "pair/a", "pair/none", "pair/b", check=1)
    assert done.stdout.count(b"\n") == 2 and b"pair/none: no such key" in done.stderr, done
    assert b"is for one key" in group.cli("get", "--stale", "pair/a", "pair/b", check=2).stderr


def test_a_range_is_listed_from_either_end(group):
    for name in "abcde":
        group.cli("put", "r/" + name, name, check=0)
    assert keys(group, "r/") == ["r/a", "r/b", "r/c", "r/d", "r/e"]
    assert keys(group, "--reverse", "--limit", "2", "r/") == ["r/e", "r/d"]
    assert keys(group, "--from", "r/b", "--to", "r/d") == ["r/b", "r/c"]
    assert keys(group, "--reverse", "--from", "r/b", "--to", "r/d") == ["r/c", "r/b"]
    assert keys(group, "--from", "r/d", "r/") == ["r/d", "r/e"]
    assert keys(group, "--from", "x", "--to", "r") == []
    assert keys(group, "--to", "r/c", "r/d") == []


def test_a_number_counts_each_increment_once(group):
    assert out(group, "incr", "n").strip() == "1"
    assert out(group, "incr", "--by", "41", "n").strip() == "42"
    assert json.loads(out(group, "--json", "incr", "--by=-50", "n"))["value"] == "-8"
    adders = [threading.Thread(target=lambda: [group.cli("incr", "many", check=0) for _ in range(10)]) for _ in range(4)]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join()
    assert out(group, "get", "many") == "40"
    group.cli("put", "text", "x", check=0)
    assert b"no whole number" in group.cli("incr", "text", check=1).stderr
    group.cli("put", "n", str(2**63 - 1), check=0)
    assert b"does not fit" in group.cli("incr", "n", check=1).stderr
    assert out(group, "get", "n") == str(2**63 - 1)
    assert b"whole number" in group.cli("incr", "--by", "1.5", "n", check=2).stderr


def test_a_key_gets_another_name_in_one_step(group):
    group.cli("put", "old", "value", check=0)
    group.cli("rename", "old", "new", check=0)
    assert out(group, "get", "new") == "value"
    group.cli("get", "old", check=1)
    group.cli("put", "other", "taken", check=0)
    assert b"exists" in group.cli("rename", "new", "other", check=1).stderr
    assert out(group, "get", "other") == "taken" and out(group, "get", "new") == "value"
    group.cli("rename", "--replace", "new", "other", check=0)
    assert out(group, "get", "other") == "value"
    group.cli("rename", "new", "x", check=1)
    group.cli("rename", "other", "other", check=2)


def test_many_keys_are_deleted_and_no_other(group):
    lines = "".join("put many/%04d x\n" % i for i in range(1100))
    group.cli(stdin=lines.encode(), check=0)
    group.cli("put", "manz", "stays", check=0)
    assert out(group, "delete", "--from", "many/0000", "--to", "many/0010").strip() == "10"
    assert json.loads(out(group, "--json", "delete", "--prefix", "many/")) == {"deleted": 1090}
    assert keys(group, "many/") == [] and out(group, "get", "manz") == "stays"
    assert b"--all" in group.cli("delete", "--prefix", "", check=2).stderr
    group.cli("delete", check=2)
    group.cli("delete", "--prefix", "a", "b", check=2)
    assert out(group, "delete", "--prefix", "nothing/").strip() == "0"


def test_a_key_is_told_as_it_was_while_the_log_has_it(group):
    versions = [json.loads(out(group, "--json", "put", "past", value))["version"] for value in ("one", "two")]
    group.cli("delete", "past", check=0)
    last = json.loads(out(group, "--json", "put", "past", "three"))["version"]
    assert out(group, "get", "--revision", str(versions[0]), "past") == "one"
    assert out(group, "get", "--revision", str(versions[1]), "past") == "two"
    assert b"not found" in group.cli("get", "--revision", str(last - 1), "past", check=1).stderr
    assert out(group, "get", "--revision", str(last), "past") == "three"
    group.cli("get", "--revision", str(versions[0] - 1), "past", check=1)
    assert b"newest revision" in group.cli("get", "--revision", str(last + 1000000), "past", check=1).stderr
    assert b"not a revision" in group.cli("get", "--revision", "0", "past", check=2).stderr


if __name__ == "__main__":
    kvtest.main_with_group(Group(), [test for name, test in list(globals().items()) if name.startswith("test_")])
