#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What kvcli tells an operator: status and its sentence, doctor, drill, top."""

import json
import os
import pty
import re
import signal
import subprocess
import time

from kvtest import Group, Process, main, program, wait_for


COMPLETIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "packaging", "completions")


def lines_of(done):
    return done.stdout.decode().splitlines()


def fits(done):
    wide = [line for line in lines_of(done) if len(line) > 80]
    assert not wide, wide


def last_sentence(group):
    done = group.cli("status")
    fits(done)
    text = " ".join(lines_of(done))
    return done.returncode, text[text.rindex("serving; "):] if "serving; " in text else text


def findings(group, **options):
    done = group.cli("--json", "doctor", **options)
    return done.returncode, json.loads(done.stdout)


def wrong(group, **options):
    """What doctor finds wrong, as text."""
    code, found = findings(group, **options)
    bad = [each for each in found if each["level"] != "ok"]
    assert code == (1 if bad else 0), (code, found)
    assert all(each["next"] for each in bad), bad
    return " | ".join("%s: %s -> %s" % (each["level"], each["cause"], each["next"]) for each in bad)


def test_status_ends_with_what_may_still_fail_and_fits_a_terminal():
    with Group(2).start() as group:
        assert last_sentence(group) == (0, "serving; one more failure is survived, two stop service, none loses data")
        group.witness.signal(signal.SIGSTOP)
        try:
            wait_for(lambda: "the arbiter does not answer" in last_sentence(group)[1], "a word about the witness", 30)
        finally:
            group.witness.signal(signal.SIGCONT)
        wait_for(lambda: "one more failure is survived" in last_sentence(group)[1], "the witness to be back")
        leads = group.primary()
        group.kill(3 - leads)
        code, text = wait_for(lambda: (lambda s: s if "the next failure" in s[1] else None)(last_sentence(group)), "one node alone")
        assert code == 0, text
        done = group.cli("status")
        assert b"no answer" in done.stdout, done.stdout
        group.kill(leads)
        done = group.cli("status")
        assert done.returncode == 3 and b"serving" not in done.stdout, done
        fits(done)


def test_status_of_a_pair_says_whose_failure_is_survived():
    with Group(2, pair="backup-wins").start() as group:
        assert last_sentence(group) == (
            0, "serving; the primary's failure is survived, the backup's stops service, none loses data")


def test_tables_of_jobs_and_workers_fit_a_terminal_whatever_the_names_are():
    name, kind = "a-worker-with-a-long-name-on-host.example.org-17", "a-kind-of-task-whose-name-is-long"
    with Group(1, pair="backup-wins") as group:
        group.start_node(1)
        group.wait_primary()
        worker = Process([program("kvworker"), "--nodes", group.urls[1], "--id", name, "--handler", kind + "=wc -w",
                                 "--handler", kind + "-too=wc -w"], group.path("worker.log"))
        try:
            with open(group.path("tasks"), "w") as file:
                file.write('{"kind": "%s", "payload": "to be"}\n{"kind": "nobody-%s", "payload": "to be"}\n' % (kind, kind))
            job = group.cli("job", "submit", "--name", "what the night shift left over", "tasks", group.path("tasks"), check=0).stdout.decode().strip()
            wait_for(lambda: b"agreed" in group.cli("job", "show", "--tasks", job).stdout, "the first task")
            for command in (["list"], ["workers"], ["show", "--tasks", job]):
                lines = lines_of(group.cli("job", *command, check=0))
                assert [line for line in lines if len(line) > 80] == [], lines
            assert name in lines_of(group.cli("job", "workers"))[1].split()
            assert re.search(name + r"\s+agreed", group.cli("job", "show", "--tasks", job).stdout.decode())
        finally:
            worker.kill()


def test_wrong_options_before_the_command_are_named_for_people_and_for_programs():
    def refused(*arguments):
        done = subprocess.run([program("kvcli"), *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and done.stdout == "", done
        return done.stderr
    assert "unknown option '--jsn'; did you mean --json?" in refused("--jsn", "status")
    assert "unknown option '--bogus'" in refused("--bogus") and "unknown option '-x'" in refused("-xy", "get", "k")
    assert "--nodes: a value is missing" in refused("--nodes") and "--json takes no value" in refused("--json=x")
    for arguments in (("--bogus",), ("--nodes",), ("--timeout", "x")):
        assert json.loads(refused("--json", *arguments))["error"], arguments


def test_doctor_finds_nothing_where_nothing_is_wrong_and_names_each_cause_else():
    with Group(2).start() as group:
        wait_for(lambda: wrong(group) == "", "a group without findings")
        done = group.cli("doctor", check=0)
        fits(done)
        assert lines_of(done)[0] == "ok: all of 2 nodes answer", done.stdout
        # One address is enough to hear of the others.
        assert findings(group, nodes=group.urls[1])[1][0]["cause"] == "all of 2 nodes answer"
        # The same node twice, under two names.
        twice = group.urls[1] + "," + group.urls[1].replace("127.0.0.1", "localhost")
        assert "are both node 1" in wrong(group, nodes=twice)
        group.witness.kill()
        wait_for(lambda: "has no witness at %s" % group.witness_url in wrong(group), "a word about the witness")
        group.kill(2)
        text = wait_for(lambda: (lambda t: t if "connection refused" in t else None)(wrong(group)), "a word about node 2")
        assert "systemctl status" in text, text
        assert "host name is not known" in wrong(group, nodes=group.urls[1] + ",tcp://no.such.host.invalid:7001")


def test_doctor_finds_times_that_differ_and_nodes_of_another_group():
    with Group(2) as group, Group(1, pair="backup-wins") as other:
        group.start_witness()
        group.start_node(1)
        group.start_node(2, options=["--sync-timeout-ms", "3000"])
        group.wait_in_sync(1, 2)
        assert "sync_timeout_ms is 2000 on node 1 and 3000 on node 2" in wrong(group)
        other.start_node(1)
        wait_for(lambda: (other.status(1) or {}).get("group_id", "0") != "0", "another group")
        text = wrong(group, nodes=group.nodes_option() + "," + other.urls[1])
        assert "belong to different groups" in text and "another arbiter" in text, text


def test_drill_measures_a_handover_and_asks_before():
    with Group(2).start() as group:
        old = group.primary()
        refused = group.cli("drill", stdin=b"")
        assert refused.returncode == 2 and b"--yes" in refused.stderr and group.primary() == old, refused
        done = group.cli("--json", "drill", "--yes", check=0)
        told = json.loads(done.stdout)
        assert told["from"] == old and told["to"] == 3 - old and told["to"] == group.primary(), told
        assert told["usual_ms"] < told["gap_ms"] < 5000 and told["updates"] > 50, told
        assert told["failed"] == 0 and told["lost"] is False, told
        assert group.cli("scan").stdout == b"", "the key of the drill is gone"
        wait_for(lambda: group.wait_in_sync(1, 2), "both in sync")
        done = group.cli("drill", "--yes", check=0)
        assert b"none lost" in done.stdout and b"lead: node %d -> node %d" % (3 - old, old) in done.stdout, done.stdout
        group.kill(old)
        group.wait_primary(3 - old)
        alone = group.cli("drill", "--yes")
        assert alone.returncode == 5 and b"no other node is in sync" in alone.stderr, alone


def on_terminal(arguments, seconds):
    """What a program writes to a terminal in that time; then it is interrupted."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(arguments[0], arguments)
    text = b""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and text.count(b"\x1b[H") < 2:
        text += os.read(fd, 4096)
    os.kill(pid, signal.SIGINT)
    status = os.waitpid(pid, 0)[1]
    os.close(fd)
    return os.waitstatus_to_exitcode(status), text


def test_top_draws_on_a_terminal_and_prints_lines_elsewhere():
    with Group(2).start() as group:
        once = group.cli("top", "--once", check=0)
        fits(once)
        assert lines_of(once)[0].split()[:2] == ["NODE", "ROLE"] and b"\x1b" not in once.stdout, once.stdout
        assert "primary" in once.stdout.decode() and "one more failure is survived" in " ".join(lines_of(once))
        child = subprocess.Popen([program("kvcli"), "--nodes", group.nodes_option(), "top"], stdout=subprocess.PIPE,
                                 stdin=subprocess.DEVNULL)
        try:
            seen = [child.stdout.readline() for _ in range(9)]
            assert sum(line.startswith(b"NODE") for line in seen) >= 2 and b"\x1b" not in b"".join(seen), seen
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(10)
            child.stdout.close()
        code, text = on_terminal([program("kvcli"), "--nodes", group.nodes_option(), "top"], 10)
        assert code == 130 and text.count(b"\x1b[H\x1b[J") >= 2, (code, text)
        told = json.loads(group.cli("--json", "top", "--once", check=0).stdout)
        assert [each["node"] for each in told] == [1, 2]


def test_events_tell_who_led_when_and_how_long_nobody_served():
    with Group(2).start() as group:
        def events():
            return [json.loads(line) for line in group.cli("--json", "events", check=0).stdout.splitlines()]
        old = group.primary()
        new = 3 - old
        before = time.time()
        child = subprocess.Popen([program("kvcli"), "--nodes", group.nodes_option(), "events", "--follow"],
                                 stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        try:
            group.cli("handover", str(new), check=0)
            wait_for(lambda: group.wait_in_sync(1, 2), "both in sync")
            given = wait_for(lambda: [e for e in events() if e["reason"] == "handover" and "unserved_ms" in e], "the handover")[0]
            assert given["primary"] == new and given["cause"] == "handover" and given["unserved_ms"] < 3000, given
            group.kill(new)
            group.wait_primary(old)
            told = wait_for(lambda: [e for e in events() if e["reason"] == "failover" and "unserved_ms" in e], "the failover")[0]
            assert told["primary"] == old and told["in_sync"] == [old] and told["cause"] == "primary_silent", told
            assert 200 < told["unserved_ms"] < 10000 and before * 1000 - 1000 < told["at_ms"] < time.time() * 1000 + 1000, told
            log = [line for line in group.nodes[old].text().splitlines() if "event=serving" in line][-1]
            assert "after_ms=%d" % told["unserved_ms"] in log, log
            seen = []
            while not seen or b"failover" not in seen[-1]:
                seen.append(child.stdout.readline())
                assert seen[-1], seen
            assert seen[0].startswith(b"TIME") and sum(b"handover" in line for line in seen) == 1, seen
            assert re.search(rb"\d +%d +%d +%d +failover \(primary_silent\), stop [\d.]+ s$"
                             % (told["epoch"], old, old), seen[-1].strip()), seen
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(10)
            child.stdout.close()
        # A node that was away knows only what it has seen since: what the other knows is told.
        group.start_node(new)
        wait_for(lambda: group.wait_in_sync(1, 2), "both in sync")
        told = events()
        assert [e["version"] for e in told] == sorted({e["version"] for e in told}), told
        assert [e["reason"] for e in told][-3:] == ["handover", "failover", "member_joined"], told
        assert told[-1]["cause"] == "peer_caught_up", told
        fits(group.cli("events", check=0))
        group.kill(1)
        group.kill(2)
        assert b"no node tells" in group.cli("events", check=3).stderr


def test_a_promotion_of_who_leads_says_that_nothing_was_changed():
    with Group(2).start() as group:
        leads, before = group.primary(), group.status(1)["version"]
        done = group.cli("promote", "--node", group.urls[leads], check=0)
        assert b"it is primary already: nothing was changed" in done.stderr, done
        assert group.status(1)["version"] == before and group.primary() == leads


def completed(*words):
    """What bash offers for the last word."""
    script = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _kvcli; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script, os.path.join(COMPLETIONS, "kvcli.bash"), "kvcli"] + list(words),
                          capture_output=True, check=True, text=True, timeout=20)
    return done.stdout.split()


def test_completions_know_all_commands_and_their_options():
    listing = subprocess.run([program("kvcli"), "help"], capture_output=True, check=True, text=True).stdout
    commands = re.findall(r"^  ([a-z]+) ", listing, re.M)
    verbs = re.findall(r"^    job ([a-z]+) ", listing, re.M)
    assert len(commands) > 12 and len(verbs) > 7, listing
    for name in ("kvcli.bash", "_kvcli", "kvcli.fish"):
        with open(os.path.join(COMPLETIONS, name)) as file:
            text = file.read()
        missing = [word for word in commands + verbs if not re.search(r"\b%s\b" % word, text)]
        assert not missing, (name, missing)
    assert set(commands) <= set(completed("")) and completed("do") == ["doctor"]
    assert completed("--nodes", "tcp://h:1", "job", "") == verbs
    for command in commands:
        shown = subprocess.run([program("kvcli"), "help", command], capture_output=True, check=True, text=True).stdout
        options = [] if command == "job" else re.findall(r"^  (--?[a-z]+)", shown, re.M)
        assert sorted(completed(command, "-")) == sorted(options), command


if __name__ == "__main__":
    main([test_completions_know_all_commands_and_their_options,
          test_status_ends_with_what_may_still_fail_and_fits_a_terminal,
          test_status_of_a_pair_says_whose_failure_is_survived,
          test_doctor_finds_nothing_where_nothing_is_wrong_and_names_each_cause_else,
          test_doctor_finds_times_that_differ_and_nodes_of_another_group,
          test_tables_of_jobs_and_workers_fit_a_terminal_whatever_the_names_are,
          test_wrong_options_before_the_command_are_named_for_people_and_for_programs,
          test_drill_measures_a_handover_and_asks_before,
          test_top_draws_on_a_terminal_and_prints_lines_elsewhere,
          test_events_tell_who_led_when_and_how_long_nobody_served,
          test_a_promotion_of_who_leads_says_that_nothing_was_changed])
