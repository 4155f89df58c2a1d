# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: what of the configuration changes while a node runs, what does not, and the digest that tells nodes apart."""

import os
import re
import signal
import time

from kvtest import Group, main, wait_for


class Configured(Group):
    """Node 1 has a configuration file beside its options."""

    def __init__(self, count=1, **others):
        super().__init__(count, pair="backup-wins" if count < 3 else None, **others)
        self.options += ["--config", self.path("kvnode.conf")]
        self.configure()

    def configure(self, *lines):
        with open(self.path("kvnode.conf"), "w") as file:
            file.write("".join(line + "\n" for line in lines))

    def hangup(self, event, node=1):
        """The line of the log that says what came of it."""
        count = self.nodes[node].text().count("event=" + event)
        self.nodes[node].signal(signal.SIGHUP)

        def told():
            lines = [line for line in self.nodes[node].text().splitlines() if "event=" + event in line]
            return len(lines) > count and lines[-1]
        return wait_for(told, event)


def test_a_changed_log_level_is_in_force_without_a_restart():
    with Configured() as group:
        group.start_node(1)
        group.wait_primary()
        group.configure("log-level = debug")
        assert "log_level=debug" in group.hangup("config_loaded")
        group.configure("log-level = error")
        group.nodes[1].signal(signal.SIGHUP)
        time.sleep(0.3)
        size = len(group.nodes[1].text())
        group.nodes[1].signal(signal.SIGTERM)
        assert group.nodes[1].wait() == 0
        assert "role=stopped" not in group.nodes[1].text()[size:]


def test_what_cannot_change_is_named_and_stays():
    with Configured() as group:
        group.start_node(1)
        group.wait_primary()
        before = group.status(1)["times"]
        group.configure("lease-ms = 300", "log-level = warn", "http-others = http://127.0.0.1:1")
        line = group.hangup("config_loaded")
        assert "level=warn" in line and "needs_restart=lease-ms,http-others" in line, line
        assert group.status(1)["times"] == before and group.status(1)["serving"]
        assert "needs_restart" in group.hangup("config_loaded")  # until it was restarted
        group.configure("peer = 2=tcp://127.0.0.1:1")
        assert re.search(r"needs_restart=peer\b", group.hangup("config_loaded"))


def test_a_file_that_cannot_be_used_changes_nothing():
    with Configured() as group:
        group.start_node(1)
        group.wait_primary()
        for lines, reason in ((["log-level = loud"], "loud"), (["nonsense"], "kvnode.conf:1"), (["lease-ms = x"], "lease-ms")):
            group.configure(*lines)
            line = group.hangup("config_kept")
            assert "level=error" in line and reason in line, line
        os.unlink(group.path("kvnode.conf"))
        assert "No such file" in group.hangup("config_kept")
        group.put("k", b"v")


def test_options_win_over_a_file_that_is_read_again():
    with Configured(options=["--log-level", "warn"]) as group:
        group.start_node(1)
        group.wait_primary()
        group.configure("log-level = debug", "lease-ms = 300")
        assert "log_level=warn needs_restart=lease-ms" in group.hangup("config_loaded")


def test_a_log_file_that_was_moved_away_is_made_anew():
    with Configured() as group:
        group.options += ["--log-file", group.path("kv.log")]
        group.start_node(1)
        group.wait_primary()
        with open(group.path("kv.log")) as file:
            assert "event=started" in file.read()
        assert group.nodes[1].text() == ""
        os.rename(group.path("kv.log"), group.path("kv.log.1"))
        group.nodes[1].signal(signal.SIGHUP)
        wait_for(lambda: os.path.exists(group.path("kv.log")), "a new log")
        group.nodes[1].signal(signal.SIGTERM)
        assert group.nodes[1].wait() == 0
        with open(group.path("kv.log")) as file:
            assert "role=stopped" in file.read()
        group.options[-1] = group.path("none/kv.log")
        group.start_node(1)
        assert group.nodes[1].wait() == 1 and "none/kv.log" in group.nodes[1].text()


def test_nodes_that_were_told_alike_have_one_digest_and_others_have_not():
    with Group(2).start() as group:
        digests = [group.status(node)["config_digest"] for node in (1, 2)]
        assert digests[0] == digests[1] and re.fullmatch("[0-9a-f]{16}", digests[0]), digests
        assert "configuration %s" % digests[0] in group.cli("status").stdout.decode()
        group.nodes[2].signal(signal.SIGTERM)
        group.nodes[2].wait()
        group.start_node(2, options=["--log-size", "65"])
        group.wait_in_sync(1, 2)
        assert group.status(1)["config_digest"] == digests[0] != group.status(2)["config_digest"]
        text = " ".join(group.cli("status").stdout.decode().split())
        assert "configurations differ" in text and digests[0] in text, text


if __name__ == "__main__":
    main([value for name, value in list(globals().items()) if name.startswith("test_")])
