# SPDX-License-Identifier: Apache-2.0
"""The package and the library fit together, or it says what does not; no group is needed."""

import ctypes
import os
import pickle
import re
import site
import subprocess
import sys
import tempfile

import kvpython
from kvpython import SOURCE, run_python

import kvtest

HEADERS = os.path.join(SOURCE, "include", "kvpair")


def compile_and_run(text):
    with tempfile.TemporaryDirectory() as work:
        source, program = os.path.join(work, "a.c"), os.path.join(work, "a")
        with open(source, "w") as file:
            file.write(text)
        subprocess.run(["cc", "-I", os.path.join(SOURCE, "include"), source, "-o", program], check=True, timeout=60)
        return subprocess.run([program], check=True, capture_output=True, text=True, timeout=10).stdout


def test_every_struct_has_the_size_and_the_offsets_of_the_headers():
    from kvpair import _abi
    lines, expected = [], []
    for name, struct in _abi.STRUCTS.items():
        lines.append('printf("%%s %%zu\\n", "%s", sizeof(%s));' % (name, name))
        expected.append("%s %d" % (name, ctypes.sizeof(struct)))
        for field, _ in struct._fields_:
            lines.append('printf("%%s.%%s %%zu\\n", "%s", "%s", offsetof(%s, %s));' % (name, field, name, field))
            expected.append("%s.%s %d" % (name, field, getattr(struct, field).offset))
    text = "#include <stdio.h>\n#include <kvpair/kvp_jobs.h>\n#include <kvpair/kvp_watch.h>\n#include <kvpair/job_spec.h>\n" \
           "#include <kvpair/matrix.h>\nint main(void)\n{\n%s\nreturn 0;\n}\n" % "\n".join(lines)
    assert compile_and_run(text).splitlines() == expected


def test_every_status_has_a_class_and_only_unknown_means_unknown():
    from kvpair import errors
    with open(os.path.join(HEADERS, "kvp_base.h")) as file:
        statuses = re.findall(r"\bKVP_([A-Z_]+) = (-\d+)", file.read())
    assert len(statuses) >= 38, statuses
    unknown = set()
    for name, number in statuses:
        kind = errors.class_of(int(number))
        assert kind is not errors.Error and kind.status == int(number), name
        if issubclass(kind, errors.Unknown):
            unknown.add(name)
            assert not issubclass(kind, (errors.Timeout, TimeoutError)), name
    assert unknown == {"UNCERTAIN", "STALE_REQUEST", "TIMEOUT_UNKNOWN"}, unknown
    assert issubclass(errors.NotFound, KeyError) and issubclass(errors.Timeout, TimeoutError)


def test_an_error_can_be_sent_to_another_process():
    from kvpair import errors
    sent = pickle.loads(pickle.dumps(errors.VersionDiffers("text", version=7, reason="why")))
    assert (type(sent), str(sent), sent.version, sent.status, sent.reason) == (
        errors.VersionDiffers, "text", 7, -3, "why")


def refuses(text, library, *words):
    """Importing the package with a library made of this C text is refused, with a message that has these words."""
    with tempfile.TemporaryDirectory() as work:
        path = library
        if text is not None:
            source, path = os.path.join(work, "fake.c"), os.path.join(work, "libfake.so")
            with open(source, "w") as file:
                file.write(text)
            subprocess.run(["cc", "-shared", "-fPIC", "-w", source, "-o", path] + (
                ["-Wl,--no-as-needed", kvpython.LIBRARY, "-Wl,-rpath," + os.path.dirname(kvpython.LIBRARY)] if library else []),
                check=True, timeout=60)
        out = run_python("try:\n    import kvpair\nexcept ImportError as error:\n    print(error)\n",
                         KVPAIR_LIBRARY=path)
    assert all(word in out for word in words), out


def test_a_library_that_does_not_fit_is_refused_with_a_clear_message():
    refuses(None, "/nowhere/libkvpair.so.1", "/nowhere/libkvpair.so.1 cannot be loaded", "KVPAIR_LIBRARY")
    refuses("int nothing;", None, "has no kvp_version_number()")
    refuses("unsigned kvp_version_number(void) { return 10000; }", None, "release 1.0.0", "0.2.0")
    refuses("unsigned kvp_version_number(void) { return 100; }", None, "release 0.1.0")
    refuses("unsigned kvp_version_number(void) { return 200; }", None, "lacks a function")


def test_a_library_with_structs_of_another_size_is_refused():
    # The real library behind it, but one function is of a release in which the struct has grown or was smaller.
    for size, word in ((400, "has 400 bytes"), (80, "has 80 bytes")):
        refuses("#include <string.h>\nvoid kvp_job_spec_init(void *spec, int type) { memset(spec, 0, %d); }" % size,
                kvpython.LIBRARY, "struct kvp_job_spec " + word)
    refuses("void kvp_client_options_init_sized(void *options, unsigned long size) { }", kvpython.LIBRARY,
            "struct kvp_client_options")


def test_the_package_works_without_numpy():
    out = run_python("import sys\nsys.modules['numpy'] = None\nimport kvpair, kvpair.aio, kvpair.worker\n"
                     "from kvpair import _matrix\nprint(_matrix.take([[1, 2]], 'A').struct.columns)")
    assert out == "2\n"


def test_the_package_is_installed_where_python_looks():
    with tempfile.TemporaryDirectory() as work:
        subprocess.run(["meson", "install", "-C", kvtest.BUILD, "--no-rebuild", "--quiet"], check=True, timeout=60,
                       env=dict(os.environ, DESTDIR=work), stdout=subprocess.DEVNULL)
        folders = [work + folder for folder in site.getsitepackages() + sys.path if
                   os.path.exists(os.path.join(work + folder, "kvpair", "py.typed"))]
        assert folders, site.getsitepackages()
        out = run_python("import kvpair.aio, kvpair.worker\nprint(kvpair.__file__)", PYTHONPATH=folders[0])
        assert out.startswith(work), out


def test_annotations_match():
    if not kvpython.has("mypy"):
        return
    done = subprocess.run([sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", os.devnull, "kvpair"],
                          cwd=kvpython.PACKAGE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
