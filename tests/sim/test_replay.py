# SPDX-License-Identifier: Apache-2.0
"""The line that a failed run prints runs the same again: for every regression, and for some seeds of each kind of world.
Argument: the simulator."""

import subprocess
import sys

WORLDS = ["--mode witness", "--mode any", "--mode backup-wins --eager", "--mode any --jobs", "--mode any --sessions",
          "--mode available --copies", "--mode witness --operators", "--mode any --rough"]


def lines_of(sim, *arguments):
    """{line: what the run came to}"""
    done = subprocess.run([sim, *arguments, "--lines"], stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    return dict(line.split(": ", 1) for line in done.stdout.splitlines() if line.startswith("sim "))


def check(sim, lines):
    for line, outcome in lines.items():
        again = lines_of(sim, *line.split()[1:])
        assert again == {line: outcome}, (line, outcome, again)


def test_help_names_what_replays_a_seed(sim):
    done = subprocess.run([sim, "--help"], capture_output=True, text=True, timeout=20, check=True)
    assert "--replay SEED" in done.stdout and not done.stderr, done


def test_the_lines_of_regressions_replay_them(sim):
    lines = lines_of(sim, "--regressions")
    assert len(lines) >= 15, lines
    check(sim, lines)


def test_the_lines_of_every_world_replay_it(sim):
    for world in WORLDS:
        lines = lines_of(sim, *world.split(), "--seeds", "2", "--from", "7")
        assert len(lines) == 2, (world, lines)
        check(sim, lines)


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test(sys.argv[1])
            print("ok", name, flush=True)
