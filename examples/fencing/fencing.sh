#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Why a lock needs a fencing token. Ann holds a lock and is stopped, with her next write in hand, for longer than her lease
# lasts; Bob gets the lock and writes; Ann goes on as if nothing had happened. The ledger refuses her.
#
#   examples/fencing/fencing.sh [BUILD-DIR]
set -eu

case "${1:-}" in
-*) # also --help
    sed -n '4,/^set/s/^# \{0,1\}//p' "$0"
    exit
    ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:-build}" && pwd)

# shellcheck source=examples/group.sh
. "$here/../group.sh"

start_group
ledger=$work/ledger

hold() { # NAME
    # shellcheck disable=SC2086
    run "$1" $kvcli lock --ttl 1 ledger -- "$here/writer.sh" "$1" "$ledger"
}

wrote() { # NAME
    grep -q " $1 " "$ledger" 2>/dev/null
}

hold ann
ann=$pid
wait_for wrote ann
writer=$(cat "$ledger.ann.pid")
say "ann has the lock, token $(cat "$ledger.fence"), and writes"
hold bob
bob=$pid
kill -s STOP "$ann" "$writer"
say "ann is stopped"
wait_for wrote bob
say "bob has the lock, token $(cat "$ledger.fence"), and writes"
kill -s CONT "$writer"
wait_for test -e "$ledger.ann.refused"
say "ann goes on: $(cat "$ledger.ann.refused")"
kill -s CONT "$ann"
end TERM "$bob"
wait "$ann" || true
forget "$ann"
awk '$1 < last { bad = 1 } { last = $1 } END { exit bad }' "$ledger" || fail "an older token came behind a newer one"
echo "tokens in the order of the ledger: $(cut -d ' ' -f 1 "$ledger" | uniq | tr '\n' ' ')"
