# shellcheck shell=sh disable=SC2034,SC2154
# SPDX-License-Identifier: Apache-2.0
#
# What the examples share: a group of two nodes and a witness on this machine, in a directory that
# goes away at the end with everything that was started. To be sourced, with the programs in $build.

work=$(mktemp -d)
base=${KVPAIR_DEMO_PORT:-7401}
url1=tcp://127.0.0.1:$base
url2=tcp://127.0.0.1:$((base + 1))
witness=tcp://127.0.0.1:$((base + 2))
nodes=$url1,$url2
kvcli="$build/kvcli --nodes $nodes"
pids='' # of what runs, the newest first

# Asks all of them to end, then waits for that.
stop() { # PID...
    for pid; do
        kill "$pid" 2>/dev/null || true
    done
    for pid; do
        wait "$pid" 2>/dev/null || true
    done
}

stop_all() {
    clients='' servers=''
    for pid in $pids; do
        case $pid in
        "${node1:-}" | "${node2:-}" | "${arbiter:-}") servers="$servers $pid" ;;
        *) clients="$clients $pid" ;;
        esac
    done
    # shellcheck disable=SC2086
    stop $clients # workers leave while there is a group
    for pid in $servers; do # one after the other: the last one has nobody to hand over to
        stop "$pid"
    done
    rm -rf "$work"
}
trap stop_all EXIT
trap 'exit 1' INT TERM

start=$(date +%s%3N)
say() {
    now=$(($(date +%s%3N) - start))
    printf '%4d.%03d s  %s\n' $((now / 1000)) $((now % 1000)) "$*"
}

fail() {
    echo "${0##*/}: $*" >&2
    tail -n 5 "$work"/*.log >&2 2>/dev/null || true
    exit 1
}

# Waits until the condition holds, 30 s at most.
wait_for() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ $tries -le 600 ] || fail "waited too long for: $*"
        sleep 0.05
    done
}

# A program in the background, with a log of its own; its number is in $pid.
run() { # NAME COMMAND...
    log=$work/$1.log
    shift
    "$@" >>"$log" 2>&1 &
    pid=$!
    pids="$pid $pids"
}

# It has ended: its number may be another one's now.
forget() { # PID
    left=''
    for pid in $pids; do
        [ "$pid" = "$1" ] || left="$left $pid"
    done
    pids=$left
}

# Ends one of them with the signal and waits for its end.
end() { # SIGNAL PID
    kill -s "$1" "$2"
    wait "$2" 2>/dev/null || true
    forget "$2"
}

start_node() { # ID
    eval "own=\$url$1"
    other=$((3 - $1))
    eval "peer=\$url$other"
    run "node$1" "$build/kvnode" --id "$1" --data "$work/node$1" --listen "$own" \
        --peer "$other=$peer" --witness "$witness"
    eval "node$1=$pid"
}

kill_node() { # ID
    eval "end KILL \$node$1"
}

both_in_sync() { # both nodes answer, one leads ($leader), and both are in sync
    $kvcli --timeout 1000 --json status 2>/dev/null >"$work/status" || return 1
    # Views of the past have members, too: those of now stand before the name of the group.
    [ "$(grep -o '"in_sync":\[1,2\],"group"' "$work/status" | wc -l)" -eq 2 ] || return 1
    leader=$(grep -o '"primary":[0-9]*' "$work/status" | head -n 1 | cut -d : -f 2)
}

# Does this node say that it is primary? Only it is asked: a dead one would take its time.
is_primary() { # ID
    eval "own=\$url$1"
    "$build/kvcli" --nodes "$own" --timeout 1000 --json status 2>/dev/null |
        grep -q '"role":"primary"'
}

start_group() {
    run witness "$build/kvwitness" --data "$work/witness" --listen "$witness"
    arbiter=$pid
    start_node 1
    start_node 2
    wait_for both_in_sync
}
