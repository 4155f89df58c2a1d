# SPDX-License-Identifier: Apache-2.0
"""kvcli export and import: what goes out comes in again, whatever bytes it has, and what was cut is told."""

import base64
import json
import os
import random

import kvtest
from kvtest import Group, wait_for

KEYS = int(os.environ.get("KVPAIR_EXPORT_KEYS", "20000"))


def json_bytes(raw):
    try:
        text = raw.decode()
        if "\0" not in text:
            return text
    except UnicodeDecodeError:
        pass
    return {"base64": base64.b64encode(raw).decode()}


def line(key, value):
    return json.dumps({"key": json_bytes(key), "value": json_bytes(value)}).encode() + b"\n"


def pairs_of(text):
    """{key: value} of an export's lines, without its first and last one."""
    def raw(item):
        return item.encode() if isinstance(item, str) else base64.b64decode(item["base64"])
    rows = [json.loads(row) for row in text.splitlines()]
    return {raw(row["key"]): raw(row["value"]) for row in rows if "key" in row}


def test_what_is_exported_comes_in_again_byte_for_byte():
    chance = random.Random(5)
    wanted = {b"k%06d" % i + (chance.randbytes(3) if i % 3 == 0 else b""): chance.randbytes(i % 60)
              for i in range(KEYS)}
    wanted[b"large"] = chance.randbytes(1 << 20)
    wanted[b"\0" * 1024] = b"the longest key"
    wanted["ä\n\"\\".encode()] = "text: ö \x7f\x01".encode()
    with Group().start() as group:
        done = group.cli("import", "-", stdin=b"".join(line(*pair) for pair in wanted.items()),
                         timeout_ms=60000, check=0)
        assert b"%d keys put" % len(wanted) in done.stderr, done.stderr
        export = group.cli("export", timeout_ms=60000, check=0).stdout
        assert pairs_of(export) == wanted
        first, last = export.splitlines()[0], export.splitlines()[-1]
        assert json.loads(first) == {"kvpair_export": 1, "prefix": ""}
        assert json.loads(last) == {"end": True, "keys": len(wanted)}
    with Group().start() as other:
        with open(other.path("export"), "wb") as file:
            file.write(export)
        other.cli("import", other.path("export"), timeout_ms=60000, check=0)
        assert other.cli("export", timeout_ms=60000, check=0).stdout == export
        some = other.cli("export", "k00000", check=0).stdout
        assert set(pairs_of(some)) == {key for key in wanted if key.startswith(b"k00000")}


def test_a_cut_export_and_wrong_lines_are_told_and_what_came_before_is_there():
    with Group().start() as group:
        whole = b'{"kvpair_export":1,"prefix":""}\n' + line(b"a", b"1") + line(b"b", b"2") + \
            b'{"end":true,"keys":2}\n'
        rows = whole.splitlines(keepends=True)
        for text, word in ((b"".join(rows[:-1]), b"cut off"),
                           (whole[:-30], b"line 3"),
                           (rows[0] + rows[1] + rows[3], b"some are missing"),
                           (whole + line(b"c", b"3"), b"follows the end"),
                           (b'{"kvpair_export":2}\n', b"another version"),
                           (line(b"a", b"1") + rows[0], b"in the middle"),
                           (line(b"a", b"1") + b"[1]\n", b"line 2"),
                           (line(b"a", b"1") + b'{"key": "b"}\n', b"line 2"),
                           (line(b"a", b"1") + line(b"", b"1"), b"1 to 1024"),
                           (line(b"a", b"1") + line(b"k" * 1025, b"1"), b"1 to 1024"),
                           (line(b"a", b"1") + line(b"b", b"v" * ((1 << 20) + 1)), b"1 MiB"),
                           (line(b"a", b"1") + b"x" * 7000000, b"longer")):
            group.cli("delete", "a")
            done = group.cli("import", "-", stdin=text)
            assert done.returncode == 2 and word in done.stderr, (text[:80], done)
            if b'"a"' in text:
                assert group.get("a") == b"1"
        done = group.cli("import", "/no/such/file")
        assert done.returncode == 2 and b"No such file" in done.stderr, done
        assert b"0 keys put" in group.cli("import", "-", stdin=b"\n \n", check=0).stderr


def test_import_keeps_what_is_there_if_told_to():
    with Group().start() as group:
        group.put("a", b"old")
        text = line(b"a", b"new") + line(b"b", b"new")
        done = group.cli("--json", "import", "--keep", "-", stdin=text, check=0)
        assert json.loads(done.stdout) == {"put": 1, "kept": 1, "lines": 2}
        assert group.get("a") == b"old" and group.get("b") == b"new"
        group.cli("import", "-", stdin=text, check=0)
        assert group.get("a") == b"new"


def test_an_import_goes_on_over_a_failover():
    text = b"".join(line(b"k%05d" % i, b"v" * 1000) for i in range(30000))
    with Group().start() as group:
        source = group.path("source")
        with open(source, "wb") as file:
            file.write(text)
        victim = group.primary()
        process = kvtest.Process([kvtest.program("kvcli"), "--nodes", group.nodes_option(), "--timeout",
                                  "20000", "import", source], group.path("import.log"))
        wait_for(lambda: group.cli("get", "k00100").returncode == 0, "the import's first keys")
        group.kill(victim)
        process.wait(60)
        assert "30000 keys put" in process.text(), process.text()
        assert len(pairs_of(group.cli("export", timeout_ms=60000, check=0).stdout)) == 30000


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
