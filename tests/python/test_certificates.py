# SPDX-License-Identifier: Apache-2.0
"""A group over TLS from Python: certificates as arguments, from the environment, of a worker; wrong ones are said."""

import asyncio
import os

import kvpython
from kvpython import run_python

import kvtest
from test_tls import TlsGroup

import kvpair
import kvpair.aio


class TlsFarm(kvpython.Farm, TlsGroup):
    """The group of tests/process/test_tls.py, with workers."""


def arguments(files):
    return dict(zip(("tls_cert", "tls_key", "tls_ca"), files))


def environment(files):
    return dict(zip(("KVPAIR_TLS_CERT", "KVPAIR_TLS_KEY", "KVPAIR_TLS_CA"), files))


def refused(kind, nodes, **options):
    try:
        with kvpair.connect(nodes, timeout=1.0, **options) as kv:
            return "no error: %r" % (kv.get("k"),)
    except kind as error:
        return str(error)


async def get_later(nodes, files):
    async with kvpair.aio.connect(nodes, **arguments(files)) as kv:
        return await kv.get("k")


def test_a_client_shows_its_certificate():
    with TlsFarm(count=1, pair="primary-wins").start() as group:
        nodes = group.nodes_option()
        with kvpair.connect(nodes, **arguments(group.user)) as kv:
            kv["k"] = b"v"
        assert asyncio.run(get_later(nodes, group.user)) == b"v"
        text = "import sys, kvpair\nwith kvpair.connect(sys.argv[1]) as kv: print(kv['k'].decode())"
        assert run_python(text, nodes, **environment(group.user)) == "v\n"
        stranger = group.authority.issue("user/bob")
        assert "read" in refused(kvpair.Refused, nodes, **arguments(stranger))
        assert "tls_cert" in refused(kvpair.BadArgument, nodes) or "certificate" in refused(kvpair.BadArgument, nodes)
        assert "no-such" in refused(kvpair.BadArgument, nodes, **dict(arguments(group.user), tls_cert="no-such.crt"))
        assert "NUL" in refused(kvpair.BadArgument, nodes, tls_ca="a\0b")
        os.chmod(group.user[1], 0o644)
        assert "others" in refused(kvpair.BadArgument, nodes, **arguments(group.user))


def test_a_worker_works_under_the_name_of_its_certificate():
    with TlsFarm(count=1, pair="primary-wins").start() as group:
        files = group.authority.issue("worker/w1")
        group.cli("access", "grant", "worker/w1", "work", "*", check=0)
        options = [word for pair in zip(("--tls-cert", "--tls-key", "--tls-ca"), files) for word in pair]
        group.start_worker("w1", "tasks_for_tests", *options)
        with kvpair.connect(group.nodes_option(), **arguments(group.user)) as kv:
            assert kv.submit("count", [b"to be or", b"not to be"]).result() == [b"3", b"3"]


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
