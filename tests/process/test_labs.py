# SPDX-License-Identifier: Apache-2.0
"""The examples in which things are broken on purpose do what they say."""

import concurrent.futures
import functools
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

import kvtest
from kvtest import Group
from test_examples import SOURCE, run_example


def run_well(script, *arguments):
    """Its output; it has to end well."""
    status, out, errors = run_example(script, *arguments)
    print(out)
    assert status == 0, out + errors
    return out


def test_every_failure_of_the_campaign_is_recovered_from_faster_than_chameleon_did():
    sys.path.insert(0, os.path.join(SOURCE, "examples", "campaign"))
    import campaign
    out = run_well("campaign/campaign.py", "-b", kvtest.BUILD, "-n", "1", "-j", "8")
    assert out.endswith("every failure was recovered from\n"), out
    for name, how, _, figure in campaign.ROWS:
        row = re.search(r"^%s +%s +1 +1 +1 +(\d+) *%s$" % tuple(map(re.escape, (name, how, figure))), out, re.M)
        assert row and (not figure or float(row.group(1)) < float(figure.rstrip("*"))), (name, out)


def test_two_boards_one_has_a_hard_fault_and_the_results_match():
    if None in map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm")):
        print("skipped: no arm-none-eabi-gcc, or no qemu-system-arm")
        return
    out = run_well("two-boards/two_boards.py", kvtest.BUILD)
    assert out.endswith("results match, in content and order\n"), out
    # What happens in the lab, in this order.
    at = 0
    for words in (["5 products are queued"] + ["board-1 +has finished task %d; size of done queue: %d" % (n, n) for n in (1, 2, 3)] +
                  ["sends task 4 to board-1", "board-1 +has a hard fault in task 4", "calls for the backup",
                   "sends task 4 to board-2", "board-2 +has finished task 4; size of done queue: 4",
                   "sends task 5 to board-2", "board-2 +has finished task 5; size of done queue: 5", "no tasks",
                   "board-1 +requests; there are no tasks", "fault, waits for the watchdog\n +reset by the watchdog\n +board-1 starts"]):
        found = re.compile(words).search(out, at)
        assert found, (words, out)
        at = found.end()


def test_mpirun_is_killed_and_started_again_and_the_product_is_exact():
    if shutil.which("mpirun") is None or not os.path.exists(os.path.join(kvtest.BUILD, "examples", "mpi_ranks")):
        print("skipped: no openmpi-bin, or no libopenmpi-dev")
        return
    out = run_well("mpi/mpi.sh", kvtest.BUILD)
    assert out.endswith("results match\n") and "the product is the one" in out, out
    # What a rank had put down by cas is gone on with, unless those of before, whom nobody has killed, were faster than
    # the start of mpirun. What a client's menu has created outlives the server.
    assert re.search(r"rank \d goes on with task \d+ after [123] of 4 rows|this run have done 0 tasks", out), out
    after = out[out.index("the server is killed"):]
    assert re.search("get lamp: on\n *delete lamp: done\n *get lamp: not found\n", after), out


def test_a_merge_sort_with_many_workers_and_the_primary_killed_half_way_is_complete():
    with tempfile.NamedTemporaryFile("w") as file:
        lines = ["%d" % random.randrange(10 ** 6) for _ in range(20000)] + ["10 and 9", "\u00e4"]
        file.write("\n".join(lines))  # no newline at its end
        file.flush()
        status, out, log = run_example("mergesort/mergesort.sh", "-b", kvtest.BUILD, "-k", "-s", "12000", file.name)
    print(log)
    assert status == 0 and out.splitlines() == sorted(lines, key=str.encode), log
    assert re.search("worker-8 is killed with a task\n.*the primary, is killed when", log), log


def test_a_program_with_nng_alone_gets_and_puts_also_when_the_primary_dies():
    with Group().start() as group:
        def nng(*arguments, check=0):
            done = subprocess.run([kvtest.program("nng_client"), group.nodes_option(), *arguments],
                                  capture_output=True, timeout=30)
            assert done.returncode == check, done.stderr
            return done.stdout
        long = "x" * 5000
        for key, value in ("lamp", "on"), ("long", long), ("empty", ""), ("k" * 300, "\u00e4"):
            assert int(nng("put", key, value)) > 0
            assert group.get(key) == value.encode() == nng("get", key)
        group.put("other", b"y" * 70000)
        assert nng("get", "other") == b"y" * 70000
        nng("get", "nothing", check=1)
        group.kill(group.wait_primary())
        nng("put", "lamp", "off")  # it asks until there is a new one
        assert group.get("lamp") == b"off" == nng("get", "lamp") and nng("get", "long") == long.encode()


def test_a_neural_network_whose_layers_are_jobs_reads_digits_though_the_primary_dies():
    out = run_well("network/network.sh", kvtest.BUILD)
    assert out.endswith("results match\n") and out.count("it reads: 0 1 2 3 4 5 6 7 8 9\n") == 2, out
    assert re.search("the primary, is killed", out), out


def test_of_five_nodes_four_are_killed_hot_and_warm_and_all_data_is_there():
    out = run_well("nodes/nodes.py", "-b", kvtest.BUILD, "5")
    assert out.endswith("nothing is lost\n"), out
    keys = [int(number) for number in re.findall(r"all (\d+) keys are there", out)]
    assert keys == list(range(40, 121, 20)), out


def in_lanes(tests, lanes):
    """The first one alone, since it compares times; then so many at once: most of the time they wait. Each function waits
    for one of the tests."""
    first, *others = tests
    yield first
    wanted = [test for test in others if test.__name__ in sys.argv[1:] or not sys.argv[1:]]
    with concurrent.futures.ThreadPoolExecutor(lanes) as pool:
        started = [(test, pool.submit(test)) for test in wanted]
        for test, running in started:
            yield functools.wraps(test)(lambda running=running: running.result())


if __name__ == "__main__":
    kvtest.main(in_lanes([value for name, value in list(globals().items()) if name.startswith("test_")], 3))
