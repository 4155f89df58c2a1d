# SPDX-License-Identifier: Apache-2.0
"""What an installation holds, and that the README's program builds against it."""

import glob
import json
import os
import re
import subprocess
import tempfile

import kvtest

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


JOBS_PROGRAM = """
#include <kvpair/kvp_jobs.h>
#include <kvpair/job_spec.h>
#include <kvpair/matrix.h>
int main(void)
{
    struct kvp_job_spec spec;
    struct kvp_matrix matrix = {0};
    kvp_job_spec_init(&spec, KVP_JOB_MATMUL);
    kvp_matrix_free(&matrix);
    return KVP_OUTCOME_RESULT + KVP_INFO_JOBS + (int)spec.type - KVP_JOB_MATMUL;
}
"""


def readme_program():
    with open(os.path.join(SOURCE, "README.md")) as file:
        return re.search(r"```c\n(.*?)```", file.read(), re.S).group(1)


def install(work):
    """Into that directory; the prefix there."""
    subprocess.run(["meson", "install", "-C", kvtest.BUILD, "--no-rebuild", "--quiet"],
                   env=dict(os.environ, DESTDIR=work), check=True, timeout=60)
    return os.path.join(work, "usr", "local")


def test_an_installation_is_complete_and_the_readme_program_builds():
    with tempfile.TemporaryDirectory() as work:
        prefix = install(work)
        for name in ("bin/kvnode", "bin/kvwitness", "bin/kvcli", "bin/kvworker", "bin/kvbench",
                     "share/man/man1/kvbench.1", "include/kvpair/kvp_base.h",
                     "include/kvpair/kvp_node.h", "include/kvpair/kvp_client.h",
                     "include/kvpair/kvpair.hpp",
                     "share/bash-completion/completions/kvcli", "share/zsh/site-functions/_kvcli",
                     "share/fish/vendor_completions.d/kvcli.fish", "share/man/man1/kvcli.1", "share/man/man1/kvworker.1", "share/man/man8/kvnode.8",
                     "share/man/man8/kvwitness.8"):
            assert os.path.exists(os.path.join(prefix, name)), name
        pkgconfig = os.path.dirname(glob.glob(prefix + "/lib/**/kvpair.pc", recursive=True)[0])
        environment = dict(os.environ, PKG_CONFIG_PATH=pkgconfig, PKG_CONFIG_SYSROOT_DIR=work)
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "kvpair"], env=environment,
                               check=True, capture_output=True, text=True).stdout.split()
        # A library with sanitizers needs a program with them.
        extra = [] if kvtest.SANITIZERS == "none" else ["-fsanitize=" + kvtest.SANITIZERS]
        for text in readme_program(), JOBS_PROGRAM:
            source = os.path.join(work, "app.c")
            with open(source, "w") as file:
                file.write(text)
            subprocess.run(["cc", "-Wall", "-Werror", source, "-o", source + ".out"] + extra + flags,
                           check=True, timeout=60)


def read_elf(path, *options):
    return subprocess.run(["readelf", "--wide", *options, path], check=True, capture_output=True,
                          text=True).stdout


def installed_elf_files(prefix):
    found = glob.glob(prefix + "/bin/*") + glob.glob(prefix + "/lib/**/*.so", recursive=True)
    return sorted(path for path in found if not os.path.islink(path) or path.endswith(".so"))


def is_optimized():
    with open(os.path.join(kvtest.BUILD, "meson-info", "intro-buildoptions.json")) as file:
        values = {each["name"]: each["value"] for each in json.load(file)}
    return values["optimization"] not in ("0", "plain")


def test_installed_files_are_hardened():
    """Position independent, no writable table of functions, no executable stack, canaries, checked copies."""
    with tempfile.TemporaryDirectory() as work:
        files = installed_elf_files(install(work))
        assert len(files) >= 6, files
        for path in files:
            headers, dynamic = read_elf(path, "--file-header", "--segments"), read_elf(path, "--dynamic")
            assert re.search(r"Type:\s+DYN", headers), path
            assert "GNU_RELRO" in headers, path
            assert "BIND_NOW" in dynamic or re.search(r"FLAGS_1.*NOW", dynamic), path
            assert re.search(r"GNU_STACK.*RW ", headers), path
            symbols = read_elf(path, "--dyn-syms")
            assert "__stack_chk_fail" in symbols, path
            if kvtest.SANITIZERS == "none" and is_optimized():
                assert re.search(r"__(mem|str|snprintf|vsnprintf|fprintf|read|recv)\w*_chk", symbols), path


def test_the_shared_library_shows_only_its_own_names():
    library = os.path.join(kvtest.BUILD, "libkvpair.so")
    names = subprocess.run(["nm", "-D", "--defined-only", library], check=True,
                           capture_output=True, text=True).stdout.split("\n")
    names = [line.split()[-1] for line in names if line]
    assert "kvp_node_open" in names and "kvp_put" in names
    ours = [name for name in names if not name.startswith("__")]  # sanitizers' own
    assert all(name.startswith("kvp_") for name in ours), ours


if __name__ == "__main__":
    kvtest.main([value for name, value in list(globals().items()) if name.startswith("test_")])
