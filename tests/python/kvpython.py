# SPDX-License-Identifier: Apache-2.0
"""A group with workers, for the tests of the Python client; the package and the library of this build."""

import contextlib
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
PACKAGE = os.path.join(SOURCE, "client", "python")
sys.path[:0] = [os.path.join(SOURCE, "tests", "process"), PACKAGE, HERE]

import kvtest  # noqa: E402

LIBRARY = os.path.abspath(os.path.join(kvtest.BUILD, "libkvpair.so.1"))
os.environ["KVPAIR_LIBRARY"] = LIBRARY
os.environ["PYTHONPATH"] = os.pathsep.join([PACKAGE, HERE])
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
sys.dont_write_bytecode = True


def run_python(text, *arguments, seconds=30, **variables):
    """A program of its own; what it has written. It is killed when it hangs."""
    done = subprocess.run([sys.executable, "-c", text, *arguments], env=dict(os.environ, **variables),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout


def has(*modules):
    """Are these of Debian installed? What needs them is left out, and said, where they are not."""
    for module in modules:
        try:
            __import__(module)
        except ImportError:
            print("skipped: there is no " + module)
            return False
    return True


class Farm(kvtest.Group):
    """A group whose workers are Python's and kvworker."""

    def start_worker(self, name, *options):
        return self._add(name, [sys.executable, "-m", "kvpair.worker", *options])

    def start_kvworker(self, name, *options):
        return self._add(name, [kvtest.program("kvworker"), *options])

    def _add(self, name, command):
        process = kvtest.Process(command + ["--nodes", self.nodes_option(), "--id", name], self.path(name + ".log"))
        self.workers[name] = process
        kvtest.wait_for(lambda: "joined" in process.text() or not process.alive(), "worker %s to join" % name)
        assert process.alive(), process.text()
        return process

    def __enter__(self):
        self.workers = {}
        return self

    def __exit__(self, *what):
        for process in self.workers.values():
            process.kill()
        super().__exit__(*what)

    @contextlib.contextmanager
    def primary_killed_after(self, ready):
        """Kills the primary when `ready()` holds, while the body runs; puts it back afterwards."""
        import threading
        killed = []

        def kill():
            kvtest.wait_for(ready, "the moment to kill")
            killed.append(self.primary())
            self.kill(killed[0])

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            yield
        finally:
            killer.join()
        assert killed[0] is not None
        self.start_node(killed[0])
        self.wait_in_sync(*self.urls)
