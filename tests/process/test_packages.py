# SPDX-License-Identifier: Apache-2.0
"""debian/ holds what meson installs, and says what meson.build says. packaging/check_packages.sh builds and tries it."""

import fnmatch
import glob
import os
import re
import subprocess
import tempfile

import kvtest
from test_install import SOURCE, install

DEBIAN = os.path.join(SOURCE, "debian")


def read(*path):
    with open(os.path.join(*path)) as file:
        return file.read()


def package_lists():
    """{package: patterns of what it takes}."""
    return {os.path.basename(path)[:-len(".install")]: [line.split()[0] for line in read(path).splitlines()]
            for path in glob.glob(os.path.join(DEBIAN, "*.install"))}


def installed_paths(work):
    """As below /usr: Python's packages of /usr/local lie elsewhere."""
    prefix = install(work)
    paths = [os.path.relpath(os.path.join(folder, name), prefix) for folder, _, names in os.walk(prefix) for name in names]
    return ["usr/" + re.sub(r"^lib/python3[.\d]*/", "lib/python3/", path) for path in paths]


def takes(pattern, path):
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, pattern + "/*")


def test_every_installed_file_is_in_one_package_and_no_package_wants_what_is_not_there():
    with tempfile.TemporaryDirectory() as work:
        paths, lists = installed_paths(work), package_lists()
    for path in paths:
        owners = [name for name, patterns in lists.items() if any(takes(pattern, path) for pattern in patterns)]
        assert len(owners) == 1, (path, owners)
    for name, patterns in lists.items():
        for pattern in patterns:
            assert any(takes(pattern, path) for path in paths), (name, pattern)


def test_every_package_is_declared_and_what_its_lists_name_is_there():
    declared = re.findall("^Package: (.*)$", read(DEBIAN, "control"), re.M)
    assert set(package_lists()) <= set(declared)
    for path in glob.glob(os.path.join(DEBIAN, "*.docs")) + glob.glob(os.path.join(DEBIAN, "*.examples")):
        assert os.path.basename(path).rsplit(".", 1)[0] in declared
        for pattern in read(path).split():
            assert glob.glob(os.path.join(SOURCE, pattern)), (path, pattern)


def test_the_symbols_file_has_what_the_library_exports():
    names = subprocess.run(["nm", "-D", "--defined-only", os.path.join(kvtest.BUILD, "libkvpair.so")], check=True,
                           capture_output=True, text=True).stdout.split("\n")
    exported = {line.split()[-1] for line in names if line and not line.split()[-1].startswith("__")}
    listed = set(re.findall(r"^ (\w+)@Base ", read(DEBIAN, "libkvpair1.symbols"), re.M))
    assert exported == listed, ("update debian/libkvpair1.symbols", exported ^ listed)


def test_versions_and_licenses_agree():
    version = re.search(r"version: '([^']+)'", read(SOURCE, "meson.build")).group(1)
    assert re.match(r"kvpair \(%s\) " % re.escape(version), read(DEBIAN, "changelog")), version
    soversion = re.search(r"soversion: '(\d+)'", read(SOURCE, "meson.build")).group(1)
    assert "\nPackage: libkvpair%s\n" % soversion in read(DEBIAN, "control")
    assert read(DEBIAN, "libkvpair%s.symbols" % soversion).startswith("libkvpair.so.%s libkvpair%s " % (soversion, soversion))
    assert "License: Apache-2.0" in read(DEBIAN, "copyright")


def test_packages_are_built_with_what_a_build_needs():
    needs = re.search(r"^packages='(.*?)'", read(SOURCE, "build.sh"), re.S | re.M).group(1).split()
    built_with = re.search(r"^Build-Depends:(.*?)^\S", read(DEBIAN, "control"), re.S | re.M).group(1)
    missing = [name for name in needs if name.endswith("-dev") and name not in built_with]
    assert not missing, missing


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
