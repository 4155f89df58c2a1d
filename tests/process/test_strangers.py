# SPDX-License-Identifier: Apache-2.0
"""What somebody without rights may do to a group that he can reach: use it, and nothing more."""

import resource
import socket
import struct
import time

import kvtest
from kvtest import Group, wait_for

REFUSED = 16
GREETING = b"\0SP\0\0\x30\0\0"


def port(url):
    return int(url.rsplit(":", 1)[1])


def dial(url):
    link = socket.create_connection(("127.0.0.1", port(url)), 5)
    link.sendall(GREETING)
    assert link.recv(8, socket.MSG_WAITALL) == b"\0SP\0\0\x31\0\0"
    return link


def ask(link, body):
    """The body of the answer."""
    link.sendall(struct.pack(">QI", 4 + len(body), 0x80000001) + body)
    size = struct.unpack(">QI", link.recv(12, socket.MSG_WAITALL))[0]
    return link.recv(size - 4, socket.MSG_WAITALL)


def code_of(answer):
    assert answer[0] == 0x95 and answer[1] == 1 and answer[2] < 0x80, answer
    return answer[2]


def state_packet(group=b"default"):
    """STATE from node 2 to node 1, which has never been in a group (docs/protocol.md, section 9)."""
    zeros = b"\x94\0\0\0\0"
    report = b"\x9b\0\1" + zeros + b"\x93\0\0\0" * 2 + b"\0\0\0\0\x07\0"
    return b"\x9a\1\x40" + bytes([0xa0 | len(group)]) + group + b"\0\2\1\0\0" + zeros + report


def cas_packet(primary, group=b"default"):
    """REGISTER_CAS that makes a group of which `primary` is the only node."""
    return (b"\x99\1\x61" + bytes([0xa0 | len(group)]) + group + b"\1" + bytes([primary]) +
            b"\0\x07\0\x94\1\1" + bytes([primary, 1 << primary]))


def try_state(options):
    with Group(count=1, pair="primary-wins", options=options) as group:
        group.start_node(1)
        wait_for(lambda: group.primary() == 1, "the node to serve")
        with dial(group.urls[1]) as link:
            answer = ask(link, state_packet())
        group.put("a", b"1")
        return answer, group.nodes[1].text()


def test_a_peer_operation_is_refused_from_where_no_peer_is():
    answer, log = try_state([])
    assert code_of(answer) == REFUSED and b"--peer-from" in answer, answer
    assert "event=peer_refused address=127.0.0.1" in log, log


def test_peer_from_names_further_addresses():
    for text in ("any", "127.0.0.0/8", "10.1.1.1,localhost"):
        answer, log = try_state(["--peer-from", text])
        assert b"--peer-from" not in answer, (text, answer)
        assert "peer_refused" not in log


def test_peers_that_are_named_by_a_host_name_are_known():
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
    except OSError:
        return  # a machine that does not know its own name
    if not address.startswith("127."):
        return
    with Group() as group:
        group.peer_urls = {(a, b): group.urls[b].replace("127.0.0.1", name)
                           for a in (1, 2) for b in (1, 2)}
        group.start()
        group.put("a", b"1")


def ask_witness(options, *packets):
    """The codes of the answers to them."""
    with Group() as group:
        group.witness = kvtest.Process(
            [kvtest.program("kvwitness"), "--data", group.path("witness"), "--listen",
             group.witness_url] + options, group.path("witness.log"))
        wait_for(lambda: "event=started" in group.witness.text(), "the witness to listen")
        with dial(group.witness_url) as link:
            return [code_of(ask(link, packet)) for packet in packets], group.witness.text()


def test_a_register_is_changed_only_from_the_addresses_of_allow():
    codes, log = ask_witness(["--allow", "10.1.2.3"], cas_packet(1))
    assert codes == [REFUSED], codes
    assert "event=stranger_refused address=127.0.0.1" in log, log
    assert ask_witness([], cas_packet(1))[0] == [0]
    assert ask_witness(["--allow", "10.1.2.3", "--allow", "127.0.0.1"], cas_packet(1))[0] == [0]
    codes, _ = ask_witness(["--allow", "mine=localhost", "--allow", "10.0.0.0/8"],
                           cas_packet(1, b"mine"), cas_packet(1, b"other"))
    assert codes == [0, REFUSED], codes


def test_a_group_works_with_a_witness_that_knows_its_nodes():
    with Group() as group:
        group.witness = kvtest.Process(
            [kvtest.program("kvwitness"), "--data", group.path("witness"), "--listen",
             group.witness_url, "--allow", "default=localhost"], group.path("witness.log"))
        for node in group.urls:
            group.start_node(node)
        primary = group.wait_in_sync(1, 2)
        group.kill(primary)
        group.wait_primary(3 - primary)
        group.put("a", b"1")


def let_open(count):
    return ["sh", "-c", 'ulimit -Sn %d && ulimit -Hn %d && exec "$@"' % (count, count), "sh"]


def idle_connections(url, count):
    found = []
    for _ in range(count):
        link = socket.create_connection(("127.0.0.1", port(url)), 5)
        link.sendall(GREETING)
        found.append(link)
    return found


def raise_own_limit(count):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def test_idle_clients_shut_out_neither_peers_nor_kvcli():
    raise_own_limit(4096)
    with Group() as group:
        group.witness = kvtest.Process(
            [kvtest.program("kvwitness"), "--data", group.path("witness"), "--listen",
             group.witness_url], group.path("witness.log"), let_open(1024))
        for node in group.urls:
            group.start_node(node, let_open(1024))
        primary = group.wait_in_sync(1, 2)
        group.put("a", b"1")
        links = []
        for url in [group.urls[primary], group.witness_url]:
            links += idle_connections(url, 900)
        backup = 3 - primary
        group.kill(backup)
        group.put("b", b"2")  # needs the witness
        group.start_node(backup, let_open(1024))
        assert group.wait_in_sync(1, 2) == primary
        for number in range(20):
            group.put("k%d" % number, b"3")
        for link in links:
            link.close()


def test_half_frames_have_a_total():
    with Group(count=1, pair="primary-wins") as group:
        group.start_node(1)
        wait_for(lambda: group.primary() == 1, "the node to serve")
        before = group.nodes[1].resident_kib()
        head = struct.pack(">QI", 16 << 20, 0x80000001)
        half = head + bytes(15 << 20)
        links = []
        for _ in range(40):
            link = dial(group.urls[1])
            try:
                link.sendall(half)
            except OSError:
                pass
            links.append(link)
        group.put("a", b"1")
        time.sleep(0.5)
        after = group.nodes[1].resident_kib()
        assert after - before < 300 * 1024, (before, after)
        for link in links:
            link.close()
        group.put("a", b"2")


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
