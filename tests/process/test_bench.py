# SPDX-License-Identifier: Apache-2.0
"""kvbench: every mode for a moment; what it prints is plausible, and nothing is left behind."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

import kvtest
from kvtest import SLOW, Group, process_ended, program, wait_for

LIMITS = ["tcp_1", "tcp_64", "fdatasync_append", "fdatasync_settled", "leveldb_synced"]
OURS = ["put_1", "put_64", "get_1", "get_64"]


def bench(*arguments, check=0, temporary=None):
    """The line of JSON, or what was said on standard error when that is not 0."""
    with tempfile.TemporaryDirectory(prefix="kvbench-test-") as folder:
        done = subprocess.run([program("kvbench"), *arguments], capture_output=True, text=True,
                              timeout=60 * SLOW, env=dict(os.environ, TMPDIR=temporary or folder))
        assert done.returncode == check, (arguments, done)
        assert os.listdir(folder) == [], os.listdir(folder)
    if check != 0:
        assert done.stdout == "", done
        return done.stderr
    assert done.stderr == "" and done.stdout.count("\n") == 1, done
    return json.loads(done.stdout)


def check_quantiles(part):
    assert part["ops"] > 0 and part["seconds"] > 0, part
    assert 0 < part["p50_us"] <= part["p99_us"] <= part["p999_us"] <= part["max_us"], part
    assert abs(part["ops_per_s"] - part["ops"] / part["seconds"]) < 0.02 * part["ops_per_s"], part


def check(line, mode, **parameters):
    assert line["mode"] == mode and line["errors"] == {}, line
    check_quantiles(line)
    for name, value in parameters.items():
        assert line["parameters"][name] == value, (name, line)


def test_puts_of_a_group_of_its_own():
    line = bench("put", "--spawn", "--count", "200", "--clients", "2", "--outstanding", "8",
                 "--value-size", "1000", "--seed", "7")
    check(line, "put", clients=2, outstanding=8, value_size=1000, seed=7, spawn=True)
    assert line["ops"] == line["puts"] == 200 and line["gets"] == 0, line
    line = bench("put", "--spawn", "--seconds", "0.3", "--keys", "1", "--value-size", "0")
    check(line, "put", clients=1, outstanding=1)
    assert 0.3 <= line["seconds"] < 5, line
    assert line["p50_us"] * line["ops"] / 2 < line["seconds"] * 1e6, line  # one at a time


def test_jobs_are_worked_off():
    line = bench("jobs", "--spawn", "--count", "2000", "--clients", "2", "--outstanding", "8")
    check(line, "jobs", clients=2, outstanding=8)
    assert line["tasks"] == line["done"] == line["ops"] == 2000 and line["redone"] == 0, line


def test_jobs_survive_the_death_of_the_primary():
    line = bench("jobs", "--spawn", "--count", "6000", "--outstanding", "16", "--kills", "1")
    assert line["mode"] == "jobs" and line["kills"] == 1, line
    assert line["tasks"] == line["done"] == 6000, line
    assert 300 < line["gap_max_ms"] < 3000 * SLOW, line


def test_gets_find_what_was_written_before():
    for more in ([], ["--outstanding", "16"], ["--distribution", "zipf"]):
        line = bench("get", "--spawn", "--count", "300", "--keys", "50", *more)
        check(line, "get")
        assert line["ops"] == line["gets"] == 300 and line["puts"] == 0, line


def test_mixed():
    line = bench("mixed", "--spawn", "--count", "400", "--keys", "50", "--outstanding", "4",
                 "--reads", "75", "--distribution", "zipf")
    check(line, "mixed", reads=75, distribution="zipf")
    assert line["gets"] + line["puts"] == line["ops"] == 400, line
    assert 250 < line["gets"] < 350, line


def test_transactions():
    line = bench("txn", "--spawn", "--count", "50", "--txn-keys", "5", "--outstanding", "2")
    check(line, "txn", txn_keys=5)
    assert line["txns"] == 50, line
    assert abs(line["keys_per_s"] - 5 * line["ops_per_s"]) < 0.02 * line["keys_per_s"], line


def test_failover_loses_nothing():
    line = bench("failover", "--spawn", "--kills", "1", "--clients", "2")
    assert line["kills"] == 1 and line["lost"] == 0 and line["twice"] == 0, line
    assert line["verified"] == line["acknowledged"] == line["ops"] > 0, line
    assert 100 < line["gap_min_ms"] == line["gap_median_ms"] == line["gap_max_ms"] < 20000, line
    check_quantiles(line)


def test_limits_and_how_a_group_relates_to_them():
    line = bench("limits", "--seconds", "0.1")
    names = LIMITS + [name for name in ("nng_1", "nng_64") if name in line]
    assert sorted(line) == sorted(names + ["mode", "parameters"]), line
    line = bench("limits", "--spawn", "--seconds", "0.1", "--keys", "100")
    for name in names + OURS:
        check_quantiles(line[name])
    ratio = line["put_1"]["p50_us"] / (2 * line["tcp_1"]["p50_us"] +
                                       line["fdatasync_append"]["p50_us"])
    assert abs(line["ratios"]["put_1_to_2_tcp_and_fdatasync"] / ratio - 1) < 0.02, line


def test_running_nodes_are_measured_and_stay():
    with Group().start() as group:
        line = bench("put", "--nodes", group.nodes_option(), "--count", "20", "--keys", "1")
        check(line, "put", spawn=False)
        assert len(group.get("kvbench/000000000000")) == 100
        assert group.nodes[1].alive() and group.nodes[2].alive()


def test_data_is_kept_where_it_is_wanted():
    with tempfile.TemporaryDirectory(prefix="kvbench-test-") as folder:
        data = os.path.join(folder, "data")
        for _ in range(2):
            check(bench("put", "--spawn", "--count", "20", "--data", data), "put")
        assert sorted(os.listdir(data)) == ["node1", "node1.log", "node2", "node2.log", "witness",
                                            "witness.log"]


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return [int(word) for word in file.read().split()]


def test_signals_leave_nothing_behind():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        folder = tempfile.mkdtemp(prefix="kvbench-test-")
        child = subprocess.Popen([program("kvbench"), "put", "--spawn", "--seconds", "60"],
                                 stdout=subprocess.PIPE, env=dict(os.environ, TMPDIR=folder))
        try:
            wait_for(lambda: len(children(child.pid)) == 3, "three processes")
            mine = children(child.pid)
            time.sleep(0.3)
            child.send_signal(number)
            out, _ = child.communicate(timeout=20 * SLOW)
        finally:
            child.kill()
        assert child.returncode == -number and out == b"", (child.returncode, out)
        wait_for(lambda: all(process_ended(pid) for pid in mine), "the processes to be gone")
        if number != signal.SIGKILL:
            assert os.listdir(folder) == [], os.listdir(folder)
        shutil.rmtree(folder)


def test_errors_are_clean():
    for arguments, status, text in (
            ([], 2, "mode"), (["put"], 2, "--nodes or --spawn"), (["fly", "--spawn"], 2, "fly"),
            (["put", "--spawn", "--clients", "0"], 2, "--clients"),
            (["put", "--spawn", "--seconds", "nan"], 2, "--seconds"),
            (["put", "--spawn", "--distribution", "even"], 2, "even"),
            (["put", "--spawn", "--nodes", "tcp://127.0.0.1:1"], 2, "exclude"),
            (["failover", "--nodes", "tcp://127.0.0.1:1"], 2, "--spawn"),
            (["put", "--nodes", "nonsense"], 3, "nonsense"),
            (["put", "--spawn", "--bin", "/nonexistent"], 3, "/nonexistent"),
            (["put", "--spawn", "--data", "/nonexistent/x"], 3, "/nonexistent/x"),
            (["put", "--nodes", "tcp://127.0.0.1:1", "--timeout", "100"], 3, "127.0.0.1:1")):
        assert text in bench(*arguments, check=status), arguments
    with open("/dev/full", "w") as full:
        done = subprocess.run([program("kvbench"), "--help"], stdout=full, stderr=subprocess.PIPE,
                              timeout=20)
    assert done.returncode == 3 and b"standard output" in done.stderr, done


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
