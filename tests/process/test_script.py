# SPDX-License-Identifier: Apache-2.0
"""kvcli with commands from standard input: many lines under way at once, as if they were run one after the other."""

import json
import os
import signal
import subprocess
import time

import kvtest
from kvtest import SLOW, Group, wait_for


def put_lines(count, prefix="k"):
    return b"".join(b"put %s%d value%d\n" % (prefix.encode(), i, i) for i in range(count))


def start_script(group, *options, timeout_ms=5000):
    return subprocess.Popen([kvtest.program("kvcli"), "--nodes", group.nodes_option(), "--timeout",
                             str(timeout_ms * SLOW), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def end_of(child, seconds=30):
    """Its exit status, standard output, and standard error."""
    out, err = child.communicate(timeout=seconds * SLOW)
    return child.returncode, out, err


def summary_of(err):
    return json.loads(err.splitlines()[-1])


def check_many_lines_are_under_way_at_once(group):
    begin = time.monotonic()
    done = group.cli("--json", stdin=put_lines(3000), check=0)
    seconds = time.monotonic() - begin
    print("3000 puts: %.2f s" % seconds)
    assert seconds < 3 * SLOW, seconds  # one by one they take the time of 3000 commits
    summary = summary_of(done.stderr)
    assert summary["done"] == 3000 and summary["failed"] == 0 and summary["unknown"] == 0, summary
    assert summary["seconds"] > 0 and summary["lines_per_second"] > 0, summary
    done = group.cli(stdin=b"put a 1\nput b 2\n", check=0)
    assert b"lines: 2 done, 0 failed; " in done.stderr and b"lines a second" in done.stderr, done


def check_answers_come_in_the_order_of_the_lines(group):
    lines, wanted = [], []
    for i in range(150):
        lines += ["put same %d" % i, "get same", "get none%d" % i, "create once %d" % i, "get k%d" % i]
        wanted += [str(i), "value%d" % i]
    done = group.cli("--json", stdin="\n".join(lines).encode(), check=1)
    assert [each["value"] for each in map(json.loads, done.stdout.splitlines()) if "value" in each] == wanted
    complaints = [json.loads(line) for line in done.stderr.splitlines()]
    failed = [each["line"] for each in complaints if each.get("status") in (1, 2)]
    assert failed == sorted(5 * i + n for i in range(150) for n in ((3, 4) if i else (3,))), failed
    assert complaints[-1]["failed"] == len(failed) and complaints[-1]["first_failed_line"] == 3


def check_errors_in_the_middle(group):
    text = b"put e 1\nget none\nfrob\nput e 'x\nput  \"\" x\nget e\ndelete e x\nput e 2"
    done = group.cli(stdin=text, check=1)
    assert done.stdout == b"1" and group.get("e") == b"2", done
    said = done.stderr.splitlines()
    for number, line, word in ((0, 2, b"not found"), (1, 3, b"unknown command"), (2, 4, b"quote"), (3, 5, b"key"),
                               (4, 7, b"version")):
        assert b"line %d: " % line in said[number] and word in said[number], said
    assert b"3 done, 5 failed, the first in line 2" in said[-1], said
    done = group.cli("--bail", stdin=b"put e 3\nget none\nput e 4\nput f 4\n", check=1)
    assert group.get("e") == b"3" and b"line 2" in done.stderr and b"1 done, 1 failed" in done.stderr, done
    group.cli("get", "f", check=1)
    assert b"standard input" in group.cli("--bail", "get", "e", check=2).stderr


def check_quoting(group):
    group.cli(stdin=b"put 'a b' \"c 'd'\"\r\nput x\\ y ''\n  put  -5  -7 \n", check=0)
    assert group.get("a b") == b"c 'd'" and group.get("x y") == b"" and group.get("-5") == b"-7"


def check_what_is_no_single_key_waits_for_what_is_before_it(group):
    text = put_lines(200, "w/") + b"scan --keys w/\nput w/x 1\ntxn /dev/null\nget --stale w/x\nget w/x\n"
    done = group.cli(stdin=text)
    assert done.stdout.count(b"w/") == 200 and done.stdout.endswith(b"1"), done.stdout[-100:]
    assert b"line 203" in done.stderr


def check_lines_that_are_too_long_and_those_without_an_end(group):
    done = group.cli(stdin=b"put l 1\nput m " + b"x" * (8 << 20) + b"\nput l 2\n", check=2)
    assert b"line 2" in done.stderr and b"longer than" in done.stderr and group.get("l") == b"1", done
    if SLOW == 1:  # with a sanitizer each of the twenty bytes by which libedit's words grow is a copy of all
        done = group.cli(stdin=b"put l " + b"x" * ((1 << 20) + 1) + b"\nput n 1", check=2)
        assert b"line 1: " in done.stderr and group.get("n") == b"1", done.stderr[-300:]


def check_who_waits_for_an_answer_gets_it(group):
    child = start_script(group)
    for i in range(3):
        child.stdin.write(b"put talk %d\nget talk\n" % i)
        child.stdin.flush()
        assert child.stdout.read(1) == b"%d" % i
    child.stdin.close()
    assert child.wait(20 * SLOW) == 0
    child.stdout.close()
    child.stderr.close()


def check_large_answers_are_not_all_kept(group):
    group.put("big", b"x" * (1 << 20))
    child = start_script(group)
    with child.stdin as file:
        file.write(b"get big\n" * 200)
    got = 0
    while chunk := child.stdout.read(1 << 20):
        got += len(chunk)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stdout.close()
    child.stderr.close()
    print("200 MiB of answers: %d KiB" % used.ru_maxrss)
    assert status == 0 and got == 200 << 20
    assert used.ru_maxrss < 96 * 1024 * SLOW, used.ru_maxrss


def check_an_interrupt_ends_it(group):
    child = start_script(group)
    child.stdin.write(b"put i 1\nget i\n")
    child.stdin.flush()
    assert child.stdout.read(1) == b"1"
    child.send_signal(signal.SIGINT)
    code, _, err = end_of(child)
    assert code == 130 and b"2 done" in err and b"interrupted" in err, err


def check_lines_of_unknown_result_are_named(group):
    child = start_script(group)
    child.stdin.write(b"put u 0\nget u\n")
    child.stdin.flush()
    assert child.stdout.read(1) == b"0"
    for node in group.nodes.values():
        node.signal(signal.SIGSTOP)
    try:
        child.stdin.write(b"put u 1\nput v 1\n")
        child.stdin.flush()
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        code, _, err = end_of(child)
    finally:
        for node in group.nodes.values():
            node.signal(signal.SIGCONT)
    said = err.splitlines()
    assert code == 130 and b"line 3: " in said[0] and b"line 4: " in said[1], err
    assert b"not known" in said[0] and b"not known" in said[1] and b"2 unknown" in said[-1], err
    group.wait_in_sync(*group.urls)


def test_scripts():
    with Group().start() as group:
        for check in (check_many_lines_are_under_way_at_once, check_answers_come_in_the_order_of_the_lines,
                      check_errors_in_the_middle, check_quoting,
                      check_what_is_no_single_key_waits_for_what_is_before_it,
                      check_lines_that_are_too_long_and_those_without_an_end,
                      check_who_waits_for_an_answer_gets_it, check_large_answers_are_not_all_kept,
                      check_an_interrupt_ends_it, check_lines_of_unknown_result_are_named):
            begin = time.monotonic()
            check(group)
            print("  %s (%.1f s)" % (check.__name__, time.monotonic() - begin), flush=True)


def test_a_primary_that_is_killed_in_the_middle_costs_a_script_no_line():
    with Group().start() as group:
        child = start_script(group)
        child.stdin.write(put_lines(2000))
        child.stdin.flush()
        wait_for(lambda: group.cli("get", "k1500").returncode == 0, "some lines")
        group.kill(group.primary())
        child.stdin.write(put_lines(2000, "after"))
        code, _, err = end_of(child)
        assert code == 0 and b"4000 done, 0 failed" in err, (code, err)
        done = group.cli("scan", "--keys", check=0)
        assert done.stdout.count(b"\n") == 4000


def test_a_group_that_is_gone_ends_a_script():
    with Group(count=1, pair="primary-wins").start() as group:
        child = start_script(group, timeout_ms=1000)
        child.stdin.write(b"put a 1\n")
        child.stdin.flush()
        wait_for(lambda: group.cli("get", "a").returncode == 0, "the first line")
        group.nodes[1].signal(signal.SIGSTOP)
        try:
            child.stdin.write(put_lines(5000))
            child.stdin.close()
        except BrokenPipeError:
            pass  # it has ended
        code = child.wait(30 * SLOW)
        err = child.stderr.read()
        group.nodes[1].signal(signal.SIGCONT)
        child.stderr.close()
        child.stdout.close()
        assert code == 4 and b"line 2: " in err, (code, err[-500:])
        assert b"what follows line" in err and err.count(b"\n") < 400, err[-500:]


if __name__ == "__main__":
    kvtest.main([value for name, value in sorted(globals().items()) if name.startswith("test_")])
