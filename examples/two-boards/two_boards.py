#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The lab with two microcontrollers: five products, a board that works and one that stands by, both emulated and
behind a modem each. The first board has a hard fault in its fourth task; its watchdog resets it.

  two_boards.py [BUILD-DIR]

Prints the server's log, then those of the boards' UARTs. Exit status 0: results match."""

import os
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(SOURCE, "tests", "process"), os.path.join(SOURCE, "tests", "mcu")]

import kvtest  # noqa: E402
import matrices  # noqa: E402
from test_mcu_firmware import Farm  # noqa: E402

PRODUCTS, ROWS, FAULT_TASK = 5, 12, 4
ROW_MS = 50  # so much longer takes a row, to be seen at work
SILENCE_MS, WATCHDOG_S = 2000, 4  # the backup has the task before the board is back
FAULTY = ["-DBOARD_FAULT_TASK=%d" % FAULT_TASK, "-DBOARD_FAULT_WAITS"]


class Lab(Farm):
    """A primary and its backup, a witness, and boards with a log on their first UART. No debugger."""
    semihosting = []

    def __init__(self):
        super().__init__()
        self.begin = time.monotonic()
        self.seen = set()
        self.done = []

    def say(self, who, what, once=None):
        """`once`: what has been said is not said again."""
        if once is not None and once in self.seen:
            return
        self.seen.add(once)
        print("%6.2f s  %-8s %s" % (time.monotonic() - self.begin, who, what), flush=True)

    def build_options(self, name, slow_ms, standby):
        options = super().build_options(name, slow_ms, standby) + ["-DBOARD_WATCHDOG_S=%du" % WATCHDOG_S]
        return options if standby else options + FAULTY

    def run(self, board, name, image, devices):
        """Of its two serial lines the first is the log."""
        uart = "file:" + self.path(name + ".uart")
        return super().run(board, name, image, [uart if each == "null" else each for each in devices])

    def uart(self, name):
        with open(self.path(name + ".uart"), errors="replace") as file:
            return file.read()

    def look(self, jobs):
        """Says what is new; True: all is done."""
        # The later ones first: whatever is seen of one, what came before it is seen, too.
        shows = [self.show(job) for job in reversed(jobs)][::-1]
        states = {name: worker["state"] for name, worker in self.worker_list().items()}
        if states.get("board-2") == "active":
            self.say("server", "does not hear of board-1: calls for the backup, board-2 is active", "activated")
        if states.get("board-1") == "lost":
            self.say("server", "disconnects board-1", "lost")
        for number, show in enumerate(shows, 1):
            self.look_at(number, show["tasks"][0])
        if self.uart("board-1").count("starts") > 1:
            self.say("board-1", "is back: its watchdog has reset it", "back")
        return all(show["job"]["state"] == "done" for show in shows)

    def look_at(self, number, task):
        for attempt in task["running"]:
            who = attempt["worker"]
            self.say("server", "sends task %d to %s" % (number, who), (number, who))
            if attempt["progress"]:
                self.say(who, "beats: task %d, %d %%" % (number, attempt["progress"] / 10), (number, who, "beats"))
        for result in task["results"]:
            who = result["worker"]
            self.say("server", "sends task %d to %s" % (number, who), (number, who))
            if number not in self.done:
                self.done.append(number)
                self.say(who, "has finished task %d; size of done queue: %d" % (number, len(self.done)))
        if "fault" in self.uart("board-1"):
            self.say("board-1", "has a hard fault in task %d, and is silent" % FAULT_TASK, "fault")


def main():
    with Lab().start() as lab:
        lab.say("server", "two nodes and a witness run")
        lab.boot("mps2_an385", "board-1", ROW_MS, modem=0)
        lab.boot("mps2_an385", "board-2", ROW_MS, standby=True, modem=0)
        lab.wait_workers(1)
        lab.say("board-1", "connects by its modem, is ready")
        lab.wait_workers(1, "standby")
        lab.say("board-2", "connects by its modem, stands by")

        inputs, jobs = [], []
        for number in range(PRODUCTS):
            a, b, names = lab.write_matrices(ROWS, ROWS, ROWS, "int32", seed=number)
            inputs.append((a, b))
            # Between jobs time is shared; here they are a queue, the first ones first.
            jobs.append(lab.submit("matmul", *names, "--buffer", "4096", "--silence", str(SILENCE_MS),
                                   "--priority", str(200 - number)))
        lab.say("server", "%d products are queued" % PRODUCTS)
        kvtest.wait_for(lambda: lab.look(jobs), "the products")
        lab.say("server", "has no tasks any more")
        kvtest.wait_for(lambda: lab.look(jobs) and "back" in lab.seen and
                        lab.worker_list()["board-1"]["state"] == "active", "board-1 to come back")
        lab.say("board-1", "requests; there are no tasks")

        results = [lab.result(job) for job in jobs]
        for name in "board-1", "board-2":
            print("\nUART of %s:" % name)
            print(re.sub("^", "    ", lab.uart(name).rstrip(), flags=re.M))
        if results != [("int32", matrices.product(a, b)) for a, b in inputs]:
            print("\nresults differ")
            return 1
        print("\nresults match, in content and order")
        return 0


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]):
        sys.exit(__doc__)
    kvtest.BUILD = (sys.argv[1:] or [kvtest.BUILD])[0]
    sys.exit(main())
