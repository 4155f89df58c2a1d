# SPDX-License-Identifier: Apache-2.0
"""Counts the words of files on whatever workers there are.

    python3 -m kvpair.worker count_words &        # in this folder, on as many machines as you like
    python3 count_words.py FILE...                # both find the group by $KVPAIR_NODES

The counts are made in pieces of about 64 KiB; how many words were counted so far is kept in the group, too.
"""

import sys

import kvpair


@kvpair.task("count-words")
def count_words(ctx, payload):
    words = payload.split()
    ctx.progress(1)
    return b"%d" % len(words)


def pieces_of(paths):
    for path in paths:
        with open(path, "rb") as file:
            while lines := file.readlines(1 << 16):
                yield b"".join(lines)


def main(paths):
    with kvpair.connect() as kv:
        job = kv.submit("count-words", pieces_of(paths), name="count words")
        total = 0
        for task in kvpair.as_completed(job):
            total += int(task.result())
            kv["examples/words"] = b"%d" % total
        print(total, "words")


if __name__ == "__main__":
    main(sys.argv[1:])
