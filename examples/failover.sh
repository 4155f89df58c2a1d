#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Two nodes and a witness on this machine, a writer that never stops; the primary is killed with
# SIGKILL three times and started again as backup. Ends with what the writer saw, and how much of what
# was acknowledged is lost: nothing.
#
#   examples/failover.sh [BUILD-DIR] [ROUNDS]
set -eu

case "${1:-}" in
-*) # also --help
    sed -n '4,/^set/s/^# \{0,1\}//p' "$0"
    exit
    ;;
esac

build=$(cd "${1:-build}" && pwd)
rounds=${2:-3}

# shellcheck source=examples/group.sh
. "$(dirname "$0")/group.sh"

start_group
say "two nodes and a witness run; node $leader is primary, both are in sync"

run writer "$build/examples/writer" write --nodes "$nodes" --journal "$work/journal"
writer=$pid
wait_for test -s "$work/journal"
say "the writer writes"

round=1
while [ "$round" -le "$rounds" ]; do
    sleep 2
    victim=$leader
    kill_node "$victim"
    say "round $round: node $victim, the primary, is killed"
    leader=$((3 - victim))
    wait_for is_primary $leader
    say "         node $leader is primary"
    start_node "$victim"
    wait_for both_in_sync
    say "         node $victim is back as a backup, in sync"
    round=$((round + 1))
done

sleep 1
end TERM "$writer"
echo
echo "What the writer saw:"
grep -v '^{' "$work/writer.log" || true
summary=$(grep '^{' "$work/writer.log")
verified=$("$build/examples/writer" verify --nodes "$nodes" --journal "$work/journal") || true
field() {
    echo "$1" | grep -o "\"$2\":[0-9]*" | cut -d : -f 2
}
echo
echo "acknowledged: $(field "$summary" acknowledged)"
echo "unknown: $(field "$summary" unknown)"
echo "executed twice: $(field "$summary" twice)"
echo "longest gap: $(field "$summary" longest_gap_ms) ms"
echo "lost: $(field "$verified" lost)"
[ "$(field "$verified" lost)" = 0 ] && [ "$(field "$summary" twice)" = 0 ]
