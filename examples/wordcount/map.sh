#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A map task: words on standard input, one a line; lines "BUCKET COUNT WORD" on standard output. The
# bucket, 0 to 255, is a hash of the word. In order, so that the same input always gives the same
# bytes: that is how results of several workers can be compared (--mode tmr).
LC_ALL=C exec awk '
NF == 1 { count[tolower($1)]++ }
END {
    sort = "sort -k 3"
    printf "" | sort
    for (i = 33; i < 127; i++) {
        code[sprintf("%c", i)] = i
    }
    for (word in count) {
        hash = 0
        for (i = 1; i <= length(word); i++) {
            hash = (hash * 31 + code[substr(word, i, 1)]) % 65521
        }
        print hash % 256, count[word], word | sort
    }
    exit close(sort) != 0
}'
