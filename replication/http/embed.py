#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed.py PAGE.HTML OUTPUT.H: the page as bytes for C, and the policy that lets a browser run its own script and
style, by their digests, and no others."""

import base64
import hashlib
import re
import sys


def digest(text, tag):
    inside = re.search(r"<%s>(.*?)</%s>" % (tag, tag), text, re.S).group(1)
    return base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    policy = ("default-src 'none'; script-src 'sha256-%s'; style-src 'sha256-%s'; img-src data:; "
              "connect-src 'self' http://127.0.0.1:* http://localhost:*; base-uri 'none'; form-action 'none'; "
              "frame-ancestors 'none'" % (digest(text, "script"), digest(text, "style")))
    data = text.encode()
    rows = (", ".join("%d" % byte for byte in data[at:at + 20]) for at in range(0, len(data), 20))
    with open(sys.argv[2], "w") as out:
        out.write("static const unsigned char browser_page[] = {\n    %s};\n" % ",\n    ".join(rows))
        out.write("static const char browser_policy[] =\n    \"%s\";\n" % policy)


main()
