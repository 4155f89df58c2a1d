#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each rule of this folder sees its violation: a small tree keeps the rule, one line is planted, and the rule fails
with the words that say what is wrong. Arguments: names of cases."""

import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "..", ".."))
FUNCTION = "static void {name}(void)\n{{\n{body}}}\n"


class Tree:
    """A small tree of sources, and objects made of them."""

    def __init__(self, folder):
        self.root = folder
        self.build = os.path.join(folder, "build")
        os.mkdir(self.build)
        for room in ("include/kvpair", "mcu-port", "examples", "tests/lint", "docs", "kvstore", "replication/core",
                     "replication/net", "client"):
            os.makedirs(os.path.join(folder, room))
        self.write("docs/architecture.md", "# Architecture\n")

    def write(self, path, text):
        with open(os.path.join(self.root, path), "w", encoding="utf-8") as file:
            file.write(text)

    def append(self, path, text):
        with open(os.path.join(self.root, path), "a", encoding="utf-8") as file:
            file.write(text)

    def copy(self, *paths):
        for path in paths:
            source, target = os.path.join(ROOT, path), os.path.join(self.root, path)
            if os.path.isdir(source):
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copy(source, target)

    def compile(self, **targets):
        """Makes the objects of {target: its sources} as meson does, with the list of commands."""
        entries = []
        for target, files in targets.items():
            os.makedirs(os.path.join(self.build, target + ".p"), exist_ok=True)
            for file in files:
                output = os.path.join(target + ".p", file.replace("/", "_") + ".o")
                subprocess.run(["gcc", "-c", "-o", os.path.join(self.build, output), os.path.join(self.root, file)],
                               check=True, timeout=60)
                entries.append({"directory": self.build, "file": "../" + file, "output": output, "command": ""})
        self.write("build/compile_commands.json", json.dumps(entries))

    def run(self, rule, *arguments):
        command = [sys.executable, os.path.join(HERE, rule + ".py"), "--root", self.root, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    def keeps(self, rule, *arguments):
        code, text = self.run(rule, *arguments)
        assert code == 0, (rule, text)

    def breaks(self, rule, words, *arguments):
        code, text = self.run(rule, *arguments)
        assert code == 1 and words in text, (rule, words, code, text)
        print(f"  {rule}: {next(line for line in text.splitlines() if words in line)}")


def test_an_arrow_upwards_is_seen(tree):
    tree.copy("include", "kvstore", "replication", "client", "docs/architecture.md")
    tree.keeps("rooms")
    tree.append("kvstore/entry.c", '#include "replication/node/executor.h"\n')
    tree.breaks("rooms", "kvstore/entry.c: includes replication/node/executor.h, which kvstore/ may not")


def test_an_arrow_upwards_cannot_be_granted(tree):
    tree.copy("include", "kvstore", "replication", "client", "docs/architecture.md")
    with open(os.path.join(tree.root, "docs/architecture.md"), encoding="utf-8") as file:
        text = file.read()
    row = "| `include/kvpair/`, `kvstore/base/` |\n"
    tree.write("docs/architecture.md", text.replace(row, row.replace("`kvstore/base/`", "`replication/node/`"), 1))
    tree.breaks("rooms", "stands below replication/node/ or beside it, and may not include it")


def test_a_file_outside_of_the_rooms_is_seen(tree):
    tree.copy("include", "kvstore", "replication", "client", "docs/architecture.md")
    os.mkdir(os.path.join(tree.root, "kvstore/attic"))
    tree.write("kvstore/attic/old.c", "")
    tree.breaks("rooms", "kvstore/attic/old.c: lies in no room of the table")


def test_headers_in_a_ring_are_seen(tree):
    tree.copy("include", "kvstore", "replication", "client", "docs/architecture.md")
    tree.append("kvstore/store.h", '#include "kvstore/storage.h"\n')
    tree.breaks("rooms", "files include each other in a ring")


def test_calls_in_a_ring_are_seen(tree):
    tree.write("kvstore/one.c", "void one(void);\nvoid two(void);\nvoid one(void)\n{\n}\n")
    tree.write("kvstore/two.c", "void one(void);\nvoid two(void);\nvoid two(void)\n{\n    one();\n}\n")
    tree.compile(**{"libkvp.a": ["kvstore/one.c", "kvstore/two.c"]})
    tree.keeps("rings", tree.build)
    tree.write("kvstore/one.c", "void one(void);\nvoid two(void);\nvoid one(void)\n{\n    two();\n}\n")
    tree.compile(**{"libkvp.a": ["kvstore/one.c", "kvstore/two.c"]})
    tree.breaks("rings", "files call each other in a ring: kvstore/one.c, kvstore/two.c", tree.build)
    tree.write("docs/architecture.md", "## Circles\n\n| `kvstore/` | because |\n")
    tree.keeps("rings", tree.build)
    tree.write("kvstore/one.c", "void one(void);\nvoid one(void)\n{\n}\n")
    tree.compile(**{"libkvp.a": ["kvstore/one.c", "kvstore/two.c"]})
    tree.breaks("rings", "there is no circle in kvstore/ any more", tree.build)


def test_more_circles_than_two_are_seen(tree):
    rows = "".join(f"| `{room}/` | because |\n" for room in ("kvstore", "client", "replication/core"))
    tree.write("docs/architecture.md", "## Circles\n\n" + rows)
    tree.write("kvstore/one.c", "int one;\n")
    tree.compile(**{"libkvp.a": ["kvstore/one.c"]})
    tree.breaks("rings", "3 circles, at most 2 are allowed", tree.build)


def test_a_header_that_leans_on_another_is_seen(tree):
    tree.write("include/kvpair/kvp_one.h", "#include <stddef.h>\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n"
               "size_t kvp_one(void);\n#ifdef __cplusplus\n}\n#endif\n")
    tree.keeps("headers")
    tree.write("mcu-port/port_two.h", "size_t port_two(void);\n")
    tree.breaks("headers", "mcu-port/port_two.h: does not compile alone as c99")


def test_a_header_that_is_no_cplusplus_is_seen(tree):
    tree.write("include/kvpair/kvp_one.h", "struct one {\n    int class;\n};\n")
    if shutil.which("g++"):
        tree.breaks("headers", "include/kvpair/kvp_one.h: does not compile alone as c++11")


def test_a_header_that_hides_that_it_is_c_is_seen(tree):
    tree.write("include/kvpair/kvp_one.h", "int kvp_one(void);\n")
    tree.breaks("headers", "kvp_one.h: declares functions, and does not say that they are C")


def test_exported_names_of_others_are_seen(tree):
    def make():
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", "libkvpair.so", "one.c"], check=True, cwd=tree.root)
        subprocess.run("gcc -c -o one.o one.c && rm -f libkvpair.a && ar rc libkvpair.a one.o", check=True, shell=True,
                       cwd=tree.root)
        return [os.path.join(tree.root, name) for name in ("libkvpair.so", "libkvpair.a")]
    tree.write("one.c", "void kvp_one(void)\n{\n}\n")
    for library in make():
        tree.keeps("symbols", library)
    tree.append("one.c", "void session_new(void)\n{\n}\n")
    for library in make():
        tree.breaks("symbols", f"{library}: exports 1 names of others: session_new", library)


def test_an_event_that_no_page_tells_of_is_seen(tree):
    tree.copy("replication", "client", "docs/man")
    tree.keeps("events")
    tree.append("replication/node/exec_notes.c", 'void one(void)\n{\n    kvp_log(log, level, "moon_eclipsed", "");\n}\n')
    tree.breaks("events", "docs/man/kvnode.8: the event moon_eclipsed of replication/node/exec_notes.c is missing")


def test_what_is_not_formatted_is_seen(tree):
    if shutil.which("clang-format") is None:
        return
    tree.copy(".clang-format")
    tree.write("kvstore/one.c", "int one;\n")
    tree.keeps("format")
    tree.write("kvstore/one.c", "int   one ;\n")
    tree.breaks("format", "kvstore/one.c: is not formatted")


def test_a_long_file_is_seen(tree):
    tree.write("kvstore/one.c", "\n" * 800)
    tree.keeps("lengths")
    tree.append("kvstore/one.c", "\n")
    tree.breaks("lengths", "kvstore/one.c: 801 lines, at most 800 are allowed")


def test_a_long_function_is_seen(tree):
    tree.write("client/one.c", FUNCTION.format(name="one", body="\n" * 67))
    tree.keeps("lengths")
    tree.write("client/one.c", FUNCTION.format(name="one", body="\n" * 68))
    tree.breaks("lengths", "client/one.c:one: 71 lines, at most 70 are allowed")


def test_a_wide_line_is_seen(tree):
    tree.write("examples/one.c", "/*" + "x" * 96 + "*/\n")
    tree.keeps("columns")
    tree.append("examples/one.c", "/*" + "x" * 97 + "*/\n")
    tree.breaks("columns", "examples/one.c:2: 101 columns, at most 100 are allowed")


def test_a_pointer_that_is_tested_as_a_truth_is_seen(tree):
    head = "struct one {\n    char *name;\n    bool known;\n};\n\nstatic int one_of(struct one *one, bool known)\n{\n"
    for kept, broken, words in (
            ("if (one == NULL)", "if (!one)", "!one: compare the pointer: one == NULL"),
            ("if (known && one->known)", "if (known && one->name)", "one->name: compare the pointer: one->name != NULL")):
        tree.write("client/one.c", f"{head}    {kept} {{\n        return 1;\n    }}\n    return 0;\n}}\n")
        tree.keeps("habits")
        tree.write("client/one.c", f"{head}    {broken} {{\n        return 1;\n    }}\n    return 0;\n}}\n")
        tree.breaks("habits", "client/one.c:8: " + words)


def test_a_blank_line_after_declarations_is_seen(tree):
    tree.write("client/one.c", FUNCTION.format(name="one", body="    int count = 1;\n    call(count);\n"))
    tree.keeps("habits")
    tree.write("client/one.c", FUNCTION.format(name="one", body="    int count = 1;\n\n    call(count);\n"))
    tree.breaks("habits", "client/one.c:4: no blank line follows a function's declarations")


def test_an_exception_only_gets_smaller(tree):
    tree.write("kvstore/one.c", "\n" * 900)
    tree.write("tests/lint/exceptions.txt", "file kvstore/one.c 900\n")
    tree.keeps("lengths")
    tree.write("kvstore/one.c", "\n" * 901)
    tree.breaks("lengths", "kvstore/one.c: 901 lines, at most 900 are allowed")
    tree.run("lengths", "--lower")
    tree.breaks("lengths", "kvstore/one.c: 901 lines, at most 900 are allowed")
    tree.write("kvstore/one.c", "\n" * 899)
    tree.breaks("lengths", "kvstore/one.c: 899 lines: lower the number 900")
    tree.run("lengths", "--lower")
    tree.keeps("lengths")
    tree.write("kvstore/one.c", "\n" * 700)
    tree.breaks("lengths", "it keeps the rule now, take \"file kvstore/one.c\" out of")
    os.remove(os.path.join(tree.root, "kvstore/one.c"))
    tree.breaks("lengths", "kvstore/one.c: is gone")


def test_an_exception_is_listed_once(tree):
    tree.write("kvstore/one.c", "\n" * 900)
    tree.write("tests/lint/exceptions.txt", "file kvstore/one.c 900\nfile kvstore/one.c 900\n")
    tree.breaks("lengths", "kvstore/one.c: \"file kvstore/one.c\" is in tests/lint/exceptions.txt twice")


def test_a_name_twice_is_seen(tree):
    tree.write("kvstore/one.c", FUNCTION.format(name="look", body=""))
    tree.write("client/two.c", FUNCTION.format(name="main", body=""))
    tree.keeps("names")
    tree.append("client/two.c", FUNCTION.format(name="look", body=""))
    tree.breaks("names", "look: 2 definitions, at most 1 are allowed (client/two.c, kvstore/one.c)")


def test_calls_of_the_system_are_seen(tree):
    tree.write("replication/core/core.c", "#include <stdlib.h>\nvoid *one(void);\nvoid *one(void)\n{\n"
               "    return calloc(1, 1);\n}\n")
    tree.compile(**{"libkvp.a": ["replication/core/core.c"]})
    tree.keeps("needs", tree.build)
    tree.write("replication/core/core_time.c", "#include <stdlib.h>\n#include <time.h>\nvoid *kvp_net_send(void);\n"
               "void *two(void);\nvoid *two(void)\n{\n    return time(NULL) ? malloc(1) : kvp_net_send();\n}\n")
    tree.write("replication/net/net.c", "void *kvp_net_send(void);\nvoid *kvp_net_send(void)\n{\n    return 0;\n}\n")
    tree.compile(**{"libkvp.a": ["replication/core/core.c", "replication/core/core_time.c", "replication/net/net.c"]})
    tree.breaks("needs", "replication/core/core_time.c: calls time", tree.build)
    tree.breaks("needs", "replication/core/core_time.c: asks for memory: malloc", tree.build)
    tree.breaks("needs", "replication/core/core_time.c: calls kvp_net_send of replication/net/net.c", tree.build)


def test_a_core_without_assertions_is_seen(tree):
    tree.write("replication/core/one.c", "/* why */\nassert(1);\n" + "int a;\n" * 4)
    tree.keeps("density")
    tree.write("replication/core/one.c", "/* why\n * why */\n" + "int a;\n" * 8 + '/* assert(1); */ "assert(1)";\n')
    tree.breaks("density", "replication/core: 0 assertions for 1000 lines, at least 25 are allowed")
    tree.write("tests/lint/exceptions.txt", "asserts replication/core 10\n")
    tree.write("replication/core/one.c", "/* why */\nassert(1);\n" + "int a;\n" * 80)
    tree.breaks("density", "replication/core: 12 assertions for 1000 lines: raise the number 10")
    tree.breaks("density", "replication/core: 1 of 100 lines have a comment, at least 15 are allowed")
    tree.write("replication/core/one.c", "/* why */\nassert(1);\n" + "int a;\n" * 200)
    tree.breaks("density", "replication/core: 4 assertions for 1000 lines, at least 10 are allowed")


def test_functions_that_call_each_other_are_seen(tree):
    tree.write("replication/core/one.c", FUNCTION.format(name="one", body="    two();\n") +
               "void three(void)\n{\n    three(); /* one() */\n}\n")
    tree.write("replication/core/two.c", "void two(void)\n{\n    three();\n}\n" + FUNCTION.format(name="one", body=""))
    tree.keeps("recursion")
    tree.append("replication/core/one.c", FUNCTION.format(name="four", body="    five();\n"))
    tree.append("replication/core/two.c", "void five(void)\n{\n    six();\n}\n")
    tree.append("replication/core/one.c", "void six(void)\n{\n    four();\n}\n")
    tree.breaks("recursion", "ring: ")
    tree.breaks("recursion", "replication/core: 3 functions that call each other in rings, at most 0")


def rules_of(folder):
    return {name[:-3] for name in os.listdir(folder) if name.endswith(".py")} - {"lint_common", "test_lint"}


def test_no_rule_is_left_out(tree):
    """Each program of the folder is a rule that the build runs, that a case here breaks, and that the documents have."""
    with open(os.path.join(HERE, "meson.build"), encoding="utf-8") as file:
        run = file.read()
    with open(os.path.abspath(__file__), encoding="utf-8") as file:
        cases = file.read()
    with open(os.path.join(ROOT, "docs", "testing.md"), encoding="utf-8") as file:
        told = file.read()
    for rule in rules_of(HERE):
        assert f"'{rule}'" in run or f"'{rule}.py'" in run, rule + " is not run"
        assert f'tree.breaks("{rule}"' in cases, rule + " is not seen broken"
        assert f"| `{rule}` |" in told, rule + " is not in docs/testing.md"


def main():
    cases = {name: case for name, case in globals().items() if name.startswith("test_")}
    for name in sys.argv[1:] or cases:
        with tempfile.TemporaryDirectory() as folder:
            cases[name](Tree(os.path.realpath(folder)))
        print("ok", name, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
