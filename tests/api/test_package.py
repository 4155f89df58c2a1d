# SPDX-License-Identifier: Apache-2.0
"""The library as other projects get it: headers, exported names, static linking, Meson subproject."""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(SOURCE, "tests", "process"))
import kvtest  # noqa: E402

HEADERS = sorted(glob.glob(os.path.join(SOURCE, "include", "kvpair", "*.h")))
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
STANDARDS = [("cc", "c", "c99"), ("cc", "c", "c11"), ("c++", "c++", "c++11"), ("c++", "c++", "c++20")]
# A library with sanitizers needs a program with them.
EXTRA = [] if kvtest.SANITIZERS == "none" else ["-fsanitize=" + kvtest.SANITIZERS]

# Its own functions have names that the library uses inside, too.
OWN_NAMES = r"""
#include <kvpair/kvp_client.h>
#include <kvpair/kvp_node.h>
#include <stdio.h>

%s

int main(void)
{
    kvp_node_options options;
    kvp_node *node = NULL;
    char message[200];
    kvp_node_options_init(&options);
    options.id = 1;
    options.data_dir = "/nonexistent/kvpair";
    options.listen = "tcp://127.0.0.1:0";
    options.policy = KVP_PAIR_AVAILABLE;
    return kvp_node_open(&options, &node, message, sizeof(message)) == KVP_IO ? 0 : 1;
}
"""

SUBPROJECT_MESON = """
project('application', 'c')
kvpair = dependency('kvpair', default_options: ['default_library=static', 'tests=false'])
executable('application', 'application.c', dependencies: kvpair)
"""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, **options)
    assert done.returncode == 0, (command, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


def names_in(path, *options):
    out = run("nm", "--defined-only", *options, path)
    names = {line.split()[-1] for line in out.splitlines() if len(line.split()) == 3}
    return {name for name in names if not name.startswith(("__", "DW."))}  # a compiler's, a sanitizer's


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def test_every_installed_header_compiles_alone():
    assert len(HEADERS) >= 9, HEADERS
    with tempfile.TemporaryDirectory() as work:
        for compiler, language, standard in STANDARDS:
            for header in HEADERS:
                text = "#include <kvpair/%s>\n" % os.path.basename(header)
                source = write(os.path.join(work, "alone." + language), text)
                run(compiler, "-std=" + standard, *STRICT, "-I", os.path.join(SOURCE, "include"), "-x", language,
                    "-fsyntax-only", source)


def test_the_header_for_c_plus_plus_compiles_alone_with_each_standard_from_17_on():
    with tempfile.TemporaryDirectory() as work:
        source = write(os.path.join(work, "alone.cpp"), "#include <kvpair/kvpair.hpp>\n")
        for standard in ("c++17", "c++20"):
            run("c++", "-std=" + standard, *STRICT, "-I", os.path.join(SOURCE, "include"), "-fsyntax-only", source)


def test_every_installed_header_is_for_c_plus_plus_too():
    for header in HEADERS:
        with open(header, encoding="utf-8") as file:
            text = file.read()
        assert 'extern "C"' in text or "(" not in re.sub(r"/\*.*?\*/", "", text, flags=re.S), header


def test_archive_and_shared_library_export_the_same_names():
    archive = names_in(os.path.join(kvtest.BUILD, "libkvpair.a"), "-g")
    shared = names_in(os.path.join(kvtest.BUILD, "libkvpair.so"), "-D")
    assert archive == shared, archive ^ shared
    assert {"kvp_node_open", "kvp_put", "kvp_version_number"} <= archive
    assert all(name.startswith("kvp_") for name in archive), archive


def test_every_exported_function_is_called_with_null():
    with open(os.path.join(SOURCE, "tests", "api", "test_null.c"), encoding="utf-8") as file:
        called = set(re.findall(r"\bkvp_\w+", file.read()))
    exported = names_in(os.path.join(kvtest.BUILD, "libkvpair.so"), "-D")
    assert exported <= called, exported - called


def test_every_exported_function_is_in_a_header():
    text = ""
    for header in HEADERS:
        with open(header, encoding="utf-8") as file:
            text += file.read()
    exported = names_in(os.path.join(kvtest.BUILD, "libkvpair.so"), "-D")
    assert all(re.search(r"\b%s\b" % name, text) for name in exported)


def own_functions():
    """Definitions of functions with the names that the library has inside."""
    inside = set()
    for room in glob.glob(os.path.join(kvtest.BUILD, "*", "**", "lib*.a"), recursive=True):
        if re.search(r"/(replication|client|kvstore)/", room):
            inside |= names_in(room, "-g")
    ours = sorted(name for name in inside if not name.startswith("kvp_"))
    assert len(ours) > 100, ours
    return "\n".join("int %s(void);\nint %s(void) { return 7; }" % (name, name) for name in ours)


def test_an_application_is_linked_statically_and_may_use_any_name():
    """With what pkg-config says, and the archive only."""
    with tempfile.TemporaryDirectory() as work:
        run("meson", "install", "-C", kvtest.BUILD, "--no-rebuild", "--quiet", env=dict(os.environ, DESTDIR=work))
        pkgconfig = os.path.dirname(glob.glob(work + "/usr/local/lib/**/kvpair.pc", recursive=True)[0])
        for library in glob.glob(os.path.join(os.path.dirname(pkgconfig), "libkvpair.so*")):
            os.remove(library)
        environment = dict(os.environ, PKG_CONFIG_PATH=pkgconfig, PKG_CONFIG_SYSROOT_DIR=work)
        flags = run("pkg-config", "--static", "--cflags", "--libs", "kvpair", env=environment).split()
        source = write(os.path.join(work, "app.c"), OWN_NAMES % own_functions())
        run("cc", "-fno-builtin", "-Wno-builtin-declaration-mismatch", source, "-o", source + ".out", *EXTRA, *flags)
        run(source + ".out")
        assert "libkvpair" not in run("ldd", source + ".out")


def test_a_project_has_it_as_a_subproject():
    """Without cmocka, NNG, libedit, Python, and with nothing built but the library."""
    with tempfile.TemporaryDirectory() as work:
        os.mkdir(os.path.join(work, "subprojects"))
        os.symlink(SOURCE, os.path.join(work, "subprojects", "kvpair"))
        write(os.path.join(work, "application.c"), OWN_NAMES % "")
        write(os.path.join(work, "meson.build"), SUBPROJECT_MESON)
        build = os.path.join(work, "build")
        said = run("meson", "setup", build, work)
        assert "Program python" not in said, said
        wanted = {each["name"] for each in json.loads(run("meson", "introspect", "--dependencies", build))}
        assert not wanted & {"cmocka", "libedit", "nng", "cblas"}, wanted
        run("meson", "compile", "-C", build)
        run(os.path.join(build, "application"))
        assert "libkvpair" not in run("ldd", os.path.join(build, "application"))


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
