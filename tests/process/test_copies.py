# SPDX-License-Identifier: Apache-2.0
"""Two processes with one id: a copied data directory, and one that was put back from before."""

import os
import shutil

import kvtest
from kvtest import Group, Process, free_ports, wait_for


def stop(group, node):
    group.nodes[node].signal(15)
    group.nodes[node].wait()


def start_copy(group, node, data):
    """Another process with the node's id, at an address that nobody was told of."""
    url = "tcp://127.0.0.1:%d" % free_ports(1)[0]
    arguments = group.arguments(node)
    arguments[arguments.index("--data") + 1] = data
    arguments[arguments.index("--listen") + 1] = url
    return Process(arguments, group.path("copy.log"))


def copy_stays_out(pair, copied):
    with Group(pair=pair).start() as group:
        group.put("k", b"old")
        copy = None
        stop(group, copied)
        data = group.path("copied")
        shutil.copytree(group.data_dir(copied), data)
        group.start_node(copied)
        group.wait_in_sync(1, 2)
        group.put("k", b"new")
        try:
            copy = start_copy(group, copied, data)
            wait_for(lambda: "copy_of_a_store" in copy.text(), "the copy to say what it is")
            group.put("k", b"newer")
            group.wait_in_sync(1, 2)
            copy.kill()
            copy = start_copy(group, copied, data)  # and it stays what it is
            wait_for(lambda: "copy_of_a_store" in copy.text(), "the copy to say so again")
            if pair != "primary-wins":
                group.kill(group.primary())
                group.put("y", b"1")
            assert group.get("k", timeout_ms=10000) == b"newer"
            assert "event=serving" not in copy.text() and "role=candidate" not in copy.text()
        finally:
            if copy:
                copy.kill()


def test_copy_of_a_backup_stays_out():
    copy_stays_out(None, 2)


def test_copy_of_a_primary_stays_out():
    copy_stays_out(None, 1)


def test_copy_of_a_backup_stays_out_of_a_pair():
    for pair in ("backup-wins", "primary-wins", "available"):
        copy_stays_out(pair, 2)


def test_directory_put_back_from_before_stays_out_until_it_is_emptied():
    with Group().start() as group:
        stop(group, 2)
        data = group.path("before")
        shutil.copytree(group.data_dir(2), data)
        group.start_node(2)
        group.wait_in_sync(1, 2)
        group.put("k", b"v")
        group.kill(2)
        shutil.rmtree(group.data_dir(2))
        shutil.copytree(data, group.data_dir(2))
        group.start_node(2)
        wait_for(lambda: "copy_of_a_store" in group.nodes[2].text(), "node 2 to say what it is")
        assert group.get("k", timeout_ms=10000) == b"v"
        stop(group, 2)
        shutil.rmtree(group.data_dir(2))
        os.mkdir(group.data_dir(2))
        group.start_node(2)
        group.wait_in_sync(1, 2)
        assert group.get("k") == b"v"


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
