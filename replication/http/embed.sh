#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# embed.sh PAGE.HTML OUTPUT.H
#
# The page as bytes for C, and the policy that lets a browser run its own script and style, by their digests, and no
# others. In shell, since what users build needs no Python.
set -eu
export LC_ALL=C
page=$1

inside() { # TAG
    awk -v tag="$1" '{ text = text $0 "\n" }
        END {
            begin = index(text, "<" tag ">")
            end = index(text, "</" tag ">")
            if (begin == 0 || end < begin) exit 1
            begin += length(tag) + 2
            ORS = ""
            print substr(text, begin, end - begin)
        }' "$page"
}

# SHA-256 in base64.
digest() { # TAG
    sum=$(inside "$1" | sha256sum)
    octal=$(echo "$sum" | awk '{
        for (i = 1; i < 64; i += 2)
            printf "\\%03o", 16 * (index("0123456789abcdef", substr($1, i, 1)) - 1) + \
                index("0123456789abcdef", substr($1, i + 1, 1)) - 1
    }')
    # shellcheck disable=SC2059
    printf "$octal" | base64
}

script=$(digest script)
style=$(digest style)
{
    echo 'static const unsigned char browser_page[] = {'
    od -An -v -tu1 "$page" | sed 's/^ */    /; s/  *\([0-9]\)/ \1/g; s/\([0-9]\) /\1, /g; s/$/,/; s/^ /    /'
    echo '};'
    echo 'static const char browser_policy[] ='
    echo "    \"default-src 'none'; script-src 'sha256-$script'; style-src 'sha256-$style'; img-src data:; \""
    echo "    \"connect-src 'self' http://127.0.0.1:* http://localhost:*; base-uri 'none'; form-action 'none'; \""
    echo "    \"frame-ancestors 'none'\";"
} >"$2"
