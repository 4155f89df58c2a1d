#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Two nodes and a witness on this machine, a writer that never stops; the primary is killed with
# SIGKILL three times and started again as backup. Ends with what the writer saw, and how much of what
# was acknowledged is lost: nothing.
#
#   examples/failover.sh [BUILD-DIR] [ROUNDS]
set -eu

build=$(cd "${1:-build}" && pwd)
rounds=${2:-3}
work=$(mktemp -d)
base=${KVPAIR_DEMO_PORT:-7401}
url1=tcp://127.0.0.1:$base
url2=tcp://127.0.0.1:$((base + 1))
witness=tcp://127.0.0.1:$((base + 2))
nodes=$url1,$url2
kvcli="$build/kvcli --nodes $nodes"
pid1='' pid2='' pidw='' pidwriter=''

stop_all() {
    for pid in $pidwriter $pid1 $pid2 $pidw; do
        kill "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap stop_all EXIT
trap 'exit 1' INT TERM

start=$(date +%s%3N)
say() {
    now=$(($(date +%s%3N) - start))
    printf '%4d.%03d s  %s\n' $((now / 1000)) $((now % 1000)) "$*"
}

start_node() {
    eval "own=\$url$1"
    other=$((3 - $1))
    eval "peer=\$url$other"
    "$build/kvnode" --id "$1" --data "$work/node$1" --listen "$own" \
        --peer "$other=$peer" --witness "$witness" 2>>"$work/node$1.log" &
    eval "pid$1=$!"
}

# Waits until the condition holds, 15 s at most.
wait_for() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        if [ $tries -gt 300 ]; then
            echo "failover.sh: waited too long for: $*" >&2
            tail -n 5 "$work"/node*.log >&2
            exit 1
        fi
        sleep 0.05
    done
}

both_in_sync() { # both nodes answer, one leads, and both are in sync
    $kvcli --timeout 1000 --json status 2>/dev/null >"$work/status" || return 1
    [ "$(grep -o '"in_sync":\[1,2\]' "$work/status" | wc -l)" -eq 2 ]
}

primary() {
    $kvcli --timeout 1000 --json status 2>/dev/null | grep -o '"primary":[0-9]*' | head -n 1 |
        cut -d : -f 2
}

"$build/kvwitness" --data "$work/witness" --listen "$witness" 2>"$work/witness.log" &
pidw=$!
start_node 1
start_node 2
wait_for both_in_sync
say "two nodes and a witness run; node $(primary) is primary, both are in sync"

"$build/examples/writer" write --nodes "$nodes" --journal "$work/journal" >"$work/writer.out" &
pidwriter=$!
wait_for test -s "$work/journal"
say "the writer writes"

round=1
while [ "$round" -le "$rounds" ]; do
    sleep 2
    victim=$(primary)
    eval "pid=\$pid$victim"
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
    say "round $round: node $victim, the primary, is killed"
    other=$((3 - victim))
    wait_for sh -c "[ \"\$($kvcli --timeout 1000 get --stale nothing >/dev/null 2>&1; \
        $kvcli --timeout 1000 --json status 2>/dev/null | grep -c '\"role\":\"primary\"')\" -ge 1 ]"
    say "         node $other is primary"
    start_node "$victim"
    wait_for both_in_sync
    say "         node $victim is back as a backup, in sync"
    round=$((round + 1))
done

sleep 1
kill "$pidwriter"
wait "$pidwriter" || true
pidwriter=''
echo
echo "What the writer saw:"
grep -v '^{' "$work/writer.out" || true
summary=$(grep '^{' "$work/writer.out")
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
