#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A reduce task: the payload "PART PARTS" is the first line on standard input, and what the tasks
# before it have written follows: lines "BUCKET COUNT WORD". Adds up the counts of the words that
# belong to this part, and writes the same kind of line.
LC_ALL=C exec awk '
NR == 1 { part = $1; parts = $2; next }
$1 % parts == part { bucket[$3] = $1; count[$3] += $2 }
END {
    sort = "sort -k 3"
    printf "" | sort
    for (word in count) {
        printf "%d %d %s\n", bucket[word], count[word], word | sort
    }
    exit close(sort) != 0
}'
