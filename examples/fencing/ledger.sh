#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What a lock guards: a file that lines are appended to. It looks at the fencing token of whoever comes, and refuses
# one that is smaller than the largest it has seen.
#
#   KVPAIR_FENCE=TOKEN ledger.sh FILE LINE
set -eu

file=$1 line=$2
exec 9>>"$file.lock"
flock 9
newest=$(cat "$file.fence" 2>/dev/null || echo 0)
if [ "$KVPAIR_FENCE" -lt "$newest" ]; then
    echo "refused: token $KVPAIR_FENCE, but $newest was here" >&2
    exit 1
fi
echo "$KVPAIR_FENCE" >"$file.fence"
echo "$KVPAIR_FENCE $line" >>"$file"
