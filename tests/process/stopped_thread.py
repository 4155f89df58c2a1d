# SPDX-License-Identifier: Apache-2.0
"""One thread of a process, stopped as a debugger does it, while all others go on."""

import ctypes
import os


def thread_named(pid, name):
    for each in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/comm" % (pid, each)) as file:
            if file.read().strip() == name:
                return int(each)
    raise AssertionError("no thread %s" % name)


class StoppedThread:
    """None where nothing can be stopped so."""

    SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17

    def __init__(self, pid, name):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self.thread = thread_named(pid, name)

    def __enter__(self):
        if self.libc.ptrace(self.SEIZE, self.thread, None, None) != 0:
            return None
        self.libc.ptrace(self.INTERRUPT, self.thread, None, None)
        os.waitpid(self.thread, 0x40000000)  # __WALL
        return self

    def __exit__(self, kind, value, trace):
        self.libc.ptrace(self.DETACH, self.thread, None, None)
