#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One style where C allows two: a pointer is compared with NULL, and never tested as if it were a truth; no blank line
follows the declarations at the beginning of a function. What is a pointer is told by the declarations in the same
function, and for members by those of structures in the whole tree."""

import os
import re
import sys

import lint_common

FOLDERS = ("mcu-port", "tests", "include") + lint_common.LIBRARY
POINTER = re.compile(r"[\w)*] ?\*+(?:const |restrict )?(\w+)(?=\s*(?:[;,=)]|:))")
OTHER = re.compile(r"\b(?:bool|int|char|u?int\d+_t|size_t|double|float|unsigned|long) (\w+)(?=\s*[;,=)\[])")
MEMBER = re.compile(r"^    (?:const |struct |enum |unsigned )*\w+ (\**)(\w+)(?:\[[^\]]*\])?;", re.MULTILINE)
TESTED = re.compile(r"(?:(?P<no>!)|(?:\bif \(|\bwhile \(|&& |\|\| |\bassert\())"
                    r"(?P<path>(?:\w+(?:\[\w+\])?(?:->|\.))*)(?P<name>\w+)"
                    r"(?=\)* (?:&&|\|\||\?)|\)+ ?[{;]|\)+$|,|$)")
DECLARATION = re.compile(r"^    (?:const |static |unsigned |struct |enum )*[a-z_0-9]+(?: \*| )\**[a-z_0-9]+"
                         r"(\[[^\]]*\])?( = [^;]*)?(, .*)?;$")
STATEMENT = re.compile(r"^    (?:return|goto|else|case|break)\b")


def members(texts):
    """Names of members that are pointers in every structure that has them."""
    pointers, others = set(), set()
    for text in texts:
        for stars, name in MEMBER.findall(text):
            (pointers if stars else others).add(name)
    return pointers - others


def tested_as_truth(head_and_body, pointer_members):
    """(line within the text, expression) of pointers that are tested without NULL."""
    names = set(POINTER.findall(head_and_body)) - set(OTHER.findall(head_and_body))
    for number, line in enumerate(head_and_body.split("\n")):
        for test in TESTED.finditer(line):
            known = pointer_members if test["path"] else names
            if test["name"] in known:
                yield number, (test["no"] or "") + test["path"] + test["name"]


def blank_after_declarations(lines, begin):
    """The line number of a blank line between declarations and the first statement; None without one."""
    number = begin
    while number < len(lines) and DECLARATION.match(lines[number]) and not STATEMENT.match(lines[number]):
        number += 1
    return number if number > begin and number < len(lines) and lines[number] == "" else None


def check(options):
    paths = lint_common.sources(options.root, FOLDERS)
    texts = {path: lint_common.without_comments(lint_common.read(os.path.join(options.root, path))) for path in paths}
    pointer_members = members(texts.values())
    for path, text in texts.items():
        if not path.endswith(".c"):
            continue
        lines = text.split("\n")
        for _, _, first, last, body in lint_common.functions(text):
            whole = "\n".join(lines[first - 1:last])
            for number, expression in tested_as_truth(whole, pointer_members):
                order = "==" if expression[0] == "!" else "!="
                yield f"{path}:{first + number}: {expression}: compare the pointer: {expression.lstrip('!')} {order} NULL"
            begin = last - body.count("\n")
            blank = blank_after_declarations(lines, begin)
            if blank is not None:
                yield f"{path}:{blank + 1}: no blank line follows a function's declarations"


if __name__ == "__main__":
    sys.exit(lint_common.run(__doc__, check))
