# SPDX-License-Identifier: Apache-2.0
"""kvcli's prompt, on a pseudo terminal, as a person types."""

import errno
import os
import pty
import re
import select
import signal
import sys
import tempfile
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "process"))
import kvtest  # noqa: E402
from kvtest import SLOW, Group, program, wait_for  # noqa: E402

UP = b"\x1b[A"
PROMPT = "kvpair> "
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x07")


class Terminal:
    """kvcli behind a terminal: what is typed goes in, what a person would read is waited for."""

    def __init__(self, group, home, locale="C.UTF-8", options=(), variables=()):
        arguments = [program("kvcli"), "--nodes", group.nodes_option()] + list(options)
        environment = dict(os.environ, HOME=home, TERM="xterm", LC_ALL=locale, COLUMNS="200",
                           **dict(variables))
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(arguments[0], arguments, environment)
        self.text = ""  # not waited for yet
        self.all = ""
        self.ended = False
        self.read_until(re.escape(PROMPT))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            print("---- terminal", self.all, sep="\n")
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def read_some(self, seconds):
        if not select.select([self.fd], [], [], seconds)[0]:
            return
        try:
            data = os.read(self.fd, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # the other side of the terminal is closed
                raise
            data = b""
        self.ended = not data
        text = data.decode("utf-8", "replace").replace("\r", "")
        self.all += text
        self.text = CONTROLS.sub("", self.text + text)

    def read_until(self, pattern, seconds=20):
        """Waits until the pattern has come; returns what was before it and forgets it all."""
        deadline = time.monotonic() + seconds * SLOW
        while True:
            found = re.search(pattern, self.text)
            if found:
                before, self.text = self.text[:found.start()], self.text[found.end():]
                return before
            if self.ended or time.monotonic() > deadline:
                raise AssertionError("no %r in %r" % (pattern, self.text))
            self.read_some(0.2)

    def edits(self):
        """Is a line being edited? The prompt shows a little earlier."""
        return not termios.tcgetattr(self.fd)[3] & termios.ICANON

    def type(self, what, edited=True):
        wait_for(lambda: self.edits() == edited, "the terminal's mode")
        os.write(self.fd, what.encode() if isinstance(what, str) else what)

    def run(self, line):
        """Types a line; returns what it printed."""
        self.type(line + "\n")
        self.read_until(re.escape(line) + "\n")
        return self.read_until(re.escape(PROMPT))

    def wait_end(self):
        while not self.ended:
            self.read_some(20 * SLOW)
        status = os.waitpid(self.pid, 0)[1]
        self.pid = 0
        return os.waitstatus_to_exitcode(status)


def terminal_test(test):
    def run():
        with Group(1, pair="primary-wins") as group, tempfile.TemporaryDirectory() as home:
            group.start_node(1)
            group.wait_primary()
            test(group, home)
    run.__name__ = test.__name__
    return run


@terminal_test
def test_commands_run_and_exit_ends(group, home):
    with Terminal(group, home) as terminal:
        assert re.fullmatch(r"done, version \d+\n", terminal.run("put a 1"))
        assert terminal.run("get a") == "1\n"
        assert terminal.run("put 'two words' \"x y\"").startswith("done")
        assert terminal.run("get 'two words'") == "x y\n"
        assert "not found" in terminal.run("get nothing")
        assert terminal.run("   ") == ""
        assert "unknown command 'gte'" in terminal.run("gte a")
        assert "usage: get" in terminal.run("get")
        assert terminal.run("scan") == "a\t1\ntwo words\tx y\n"
        listing = terminal.run("help")
        for word in ("get", "put", "create", "delete", "cas", "scan", "txn", "status", "handover",
                     "promote", "help", "exit"):
            assert re.search(r"^  %s " % word, listing, re.M), word
        terminal.type("exit\n")
        assert terminal.wait_end() == 0


@terminal_test
def test_tab_completes_commands(group, home):
    with Terminal(group, home) as terminal:
        terminal.type("pu\t")
        terminal.read_until("put $")
        terminal.type("a 1\n")
        terminal.read_until(r"done, version \d+\n" + PROMPT)
        terminal.type("p\t")  # put or promote: both are shown, and the line again
        terminal.read_until("p\nput promote \n" + PROMPT + "p$")
        terminal.type("r\t")
        terminal.read_until("romote $")
        terminal.type(b"\x15")  # the line is taken back
        assert terminal.run("get a").endswith("1\n")


@terminal_test
def test_tab_completes_keys(group, home):
    for key in ("lamp/kitchen", "lamp/kiosk", "lock", "with space"):
        group.put(key, key.encode())
    with Terminal(group, home) as terminal:
        terminal.type("get la\t")  # as far as both agree
        terminal.read_until("get lamp/ki$")
        terminal.type("t\t")
        terminal.read_until("tchen$")
        terminal.type("\n")
        assert terminal.read_until(PROMPT) == "\nlamp/kitchen\n"
        terminal.type("get nothing-like-it\t\n")
        assert "not found" in terminal.read_until(PROMPT)
        terminal.type("get wi\t")  # would have to be quoted: is left alone
        terminal.type("th\n")
        assert "not found" in terminal.read_until(PROMPT)


@terminal_test
def test_tab_completes_the_verbs_of_jobs(group, home):
    group.cli("put", "list/of/keys", "1", check=0)
    with Terminal(group, home) as terminal:
        terminal.type("jo\tli\t\n")
        terminal.read_until("job list ?\n")
        assert terminal.read_until(re.escape(PROMPT)).startswith("      ID STATE")
        terminal.type("job sh\t1\n")
        assert "no such job" in terminal.read_until(re.escape(PROMPT))
        terminal.type("job w\t")  # wait or workers: both are shown, and the line again
        terminal.read_until("wait workers")
        terminal.type("a\t")
        terminal.type("list/\t7\n")  # what follows is no key
        terminal.read_until("list/7\n")
        assert "'list/7' is not the id of a job" in terminal.read_until(re.escape(PROMPT))


@terminal_test
def test_waiting_for_a_job_shows_a_bar_and_can_be_given_up(group, home):
    lines = b'{"kind": "of nobody"}\n' * 3
    job = group.cli("job", "submit", "tasks", "-", stdin=lines, check=0).stdout.decode().strip()
    with Terminal(group, home) as terminal:
        terminal.type("job wait %s\n" % job)
        terminal.read_until(r"job %s running \[\.+\] +0 %% 0/3 tasks" % job)
        os.kill(terminal.pid, signal.SIGINT)
        terminal.read_until("job %s has not ended yet" % job)
        terminal.read_until(re.escape(PROMPT))
        assert terminal.run("job cancel %s" % job) == "done\n"
        assert "cancelled" in terminal.run("job wait %s" % job)


@terminal_test
def test_history_is_kept_between_runs(group, home):
    with Terminal(group, home) as terminal:
        terminal.run("put a 1")
        terminal.run("put b 2")
        terminal.type(UP + UP + b"23\n")  # "put a 1" and that
        terminal.read_until(r"done, version \d+\n" + PROMPT)
        assert terminal.run("get a") == "123\n"
        terminal.type(b"\x04")  # Ctrl-D
        assert terminal.wait_end() == 0
    with Terminal(group, home) as terminal:
        terminal.type(UP + UP + b"4\n")
        terminal.read_until(r"done, version \d+\n" + PROMPT)
        assert terminal.run("get a") == "1234\n"
    names = os.listdir(home)
    assert names == [".kvcli_history"], names
    mode = os.stat(os.path.join(home, names[0])).st_mode & 0o777
    assert mode == 0o600, oct(mode)  # values may be secrets


@terminal_test
def test_interrupt_gives_a_new_line(group, home):
    with Terminal(group, home) as terminal:
        terminal.type("put a never")
        terminal.read_until("never$")
        terminal.type(b"\x03")
        terminal.read_until(PROMPT)
        assert "not found" in terminal.run("get a")
        assert terminal.run("put a 'open") .startswith("kvcli: a quote is not closed")
        assert terminal.run("put a 1").startswith("done")


@terminal_test
def test_text_of_other_languages_can_be_typed(group, home):
    for locale in ("C.UTF-8", "C"):  # the second one says nothing about characters
        with Terminal(group, home, locale) as terminal:
            assert terminal.run("put grüße 日本").startswith("done")
            assert terminal.run("get grüße") == "日本\n"
            terminal.type("get grü\t\n")
            assert terminal.read_until(PROMPT).endswith("日本\n")
            assert group.get("grüße") == "日本".encode()
            group.cli("delete", "grüße", check=0)


@terminal_test
def test_bytes_that_are_no_text_show(group, home):
    """They must not just be missing: a command for another key would come of it."""
    with Terminal(group, home) as terminal:
        terminal.type(b"get a\xffb\n")
        terminal.read_until(r"get a\?b\n")
        assert "not found" in terminal.read_until(PROMPT)


@terminal_test
def test_a_value_from_the_terminal_can_be_given_again_and_again(group, home):
    """The end of input that closes the first must not be taken for that of the second."""
    with Terminal(group, home) as terminal:
        for value in ("first", "second"):
            terminal.type("put a -\n")
            terminal.read_until("put a -\n")
            terminal.type(value + "\n", edited=False)
            terminal.read_until(value + "\n")
            terminal.type(b"\x04", edited=False)
            terminal.read_until(r"done, version \d+\n" + PROMPT)
            assert group.get("a") == value.encode() + b"\n"


@terminal_test
def test_a_value_can_be_given_or_given_up_after_an_interrupt(group, home):
    with Terminal(group, home) as terminal:
        terminal.type("put a never")
        terminal.read_until("never$")
        terminal.type(b"\x03")
        terminal.read_until(PROMPT)
        for value in ("first", "second"):
            terminal.type("put a -\n")
            terminal.read_until("put a -\n")
            terminal.type(value + "\n", edited=False)
            terminal.read_until(value + "\n")
            terminal.type(b"\x04", edited=False)
            terminal.read_until(r"done, version \d+\n" + PROMPT)
            assert group.get("a") == value.encode() + b"\n"
            terminal.type("put a -\n")
            terminal.read_until("put a -\n")
            terminal.type("not this\n", edited=False)
            terminal.read_until("not this\n")
            terminal.type(b"\x03", edited=False)
            terminal.read_until("kvcli: standard input: Interrupted")
            terminal.read_until(PROMPT)
            assert terminal.run("get a").endswith(value + "\n\n")


@terminal_test
def test_an_interrupt_between_two_reads_is_not_lost(group, home):
    """It comes when kvcli is about to wait for the next line of a value, of tasks, or of a command."""
    if kvtest.SANITIZERS != "none":
        return  # what is preloaded comes before the sanitizer
    held = os.path.join(home, "held")
    library = os.path.join(kvtest.BUILD, "tests", "process", "libheld_calls.so")
    variables = {"LD_PRELOAD": os.path.realpath(library), "HELD_CALLS": "read", "HELD_WHILE": held,
                 "HELD_UNDER": "/dev/pts/"}
    with Terminal(group, home, variables=variables) as terminal:
        for command, line in (("put a -", "a line"), ("import -", ""),
                              ("job submit tasks -", '{"kind": "k", "payload": "x"}')):
            terminal.type(command + "\n")
            terminal.read_until(re.escape(command) + "\n")
            wait_for(lambda: not terminal.edits(), "the terminal's mode")
            with open(held, "w"):
                pass
            os.write(terminal.fd, line.encode() + b"\n")
            time.sleep(0.3)  # it has taken the line, or is about to
            os.write(terminal.fd, b"\x03")
            time.sleep(0.1)
            os.remove(held)
            terminal.read_until("standard input: Interrupted")
            terminal.read_until(PROMPT)
            assert "not found" in terminal.run("get a"), command
        assert terminal.run("job list").count("\n") <= 2  # no job was started
        with open(held, "w"):
            pass
        terminal.type("get nothing")
        time.sleep(0.3)
        os.write(terminal.fd, b"\x03")
        time.sleep(0.1)
        os.remove(held)
        terminal.read_until(PROMPT)
        assert terminal.run("put a 1").startswith("done")


@terminal_test
def test_errors_leave_the_prompt_alive(group, home):
    with Terminal(group, home) as terminal:
        for line, word in (("cas a x y", "not a version"), ("cas a 7 y", "version differs|absent"),
                           ("scan --no-such-flag", "unknown option"),
                           ("promote --node nowhere", "address"), ("handover 99", "not the id"),
                           ("handover 2", "kvcli: "), ("txn /nonexistent", "No such file"),
                           ("get " + "k" * 100, "not found"), ("put '' x", "key is empty"),
                           ("delete nothing", "not found")):
            answer = terminal.run(line)
            assert answer.startswith("kvcli: ") and re.search(word, answer), (line, answer)
        terminal.type("txn -\n")
        terminal.read_until("txn -\n")
        terminal.type('{"then": [\n', edited=False)
        terminal.read_until(re.escape('{"then": [\n'))
        terminal.type(b"\x04", edited=False)
        terminal.read_until("kvcli: txn: .*malformed JSON")
        terminal.read_until(PROMPT)
        assert terminal.run("put a 1").startswith("done")
        terminal.type("exit\n")
        assert terminal.wait_end() == 0


@terminal_test
def test_a_group_that_is_gone_leaves_the_prompt_alive(group, home):
    with Terminal(group, home, options=("--timeout", "300")) as terminal:
        terminal.run("put a 1")
        group.kill(1)
        assert terminal.run("get a").startswith("kvcli: ")
        terminal.type("get a\t")  # completion needs the group
        terminal.type("\n")
        terminal.read_until("kvcli: ")
        terminal.read_until(PROMPT)
        group.start_node(1)
        wait_for(lambda: terminal.run("get a") == "1\n", "the node to serve again")
        terminal.type("quit\n")
        assert terminal.wait_end() == 0


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
