#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The lab on one machine: a primary, a backup and a witness, a worker and one that stands by. They
# multiply two matrices in five tasks. The worker is killed with SIGKILL in the middle of one of them,
# and then the primary. Ends with the product compared with one that awk has computed.
#
#   examples/matrix_farm.sh [BUILD-DIR]
set -eu

case "${1:-}" in
-*) # also --help
    sed -n '4,/^set/s/^# \{0,1\}//p' "$0"
    exit
    ;;
esac

build=$(cd "${1:-build}" && pwd)
rows=200 inner=100 columns=20
# What a task and its result may take: here 40 rows of A, all of B, 40 rows of the product.
buffer=$((16 + 8 * (40 * inner + inner * columns + 40 * columns)))

# shellcheck source=examples/group.sh
. "$(dirname "$0")/group.sh"
# shellcheck source=examples/matrices.sh
. "$(dirname "$0")/matrices.sh"

log() { # WHO WHAT...
    who=$1
    shift
    say "$(printf '%-9s %s' "$who" "$*")"
}

start_worker() { # NAME OPTION...
    name=$1
    shift
    # Every task takes a second longer, to be seen at work.
    run "$name" "$build/kvworker" --nodes "$nodes" --id "$name" --slow-ms 1000 "$@"
    wait_for worker_is "$name"
}

worker_is() { # NAME [STATE]
    $kvcli --timeout 1000 job workers 2>/dev/null | grep -Eq "^$1 +${2:-}"
}

# Looks at the job; says what is new: which tasks were sent, which results have come. What is being
# worked on at the moment is in the file `now`: TASK WORKER PER-CENT.
look() {
    $kvcli --timeout 1000 job show "$job" --tasks >"$work/show" 2>/dev/null || return 1
    : >"$work/now"
    awk -v now="$work/now" '
        $2 ~ /^(waiting|open|done|failed)$/ { task = $1 }
        $2 == "running" && /%/ { print "sent", task, $1, "-"; print task, $1, $3 >now }
        $2 == "agreed" { print "sent", task, $1, "-"; print "done", task, $1, $3 }
    ' "$work/show" >"$work/seen"
    grep -Fxv -f "$work/known" "$work/seen" >"$work/news" || true
    while read -r what task worker bytes; do
        case $what in
        sent) log "node $leader" "sends task $task to $worker" ;;
        done) log "$worker" "has the result of task $task, $bytes bytes" ;;
        esac
    done <"$work/news"
    cat "$work/news" >>"$work/known"
}

has_result() { # WORKER
    look && grep -q "^done .* $1 " "$work/known"
}

# It has a task, and has begun with it: $task, of which $percent per cent are done.
in_mid_task() { # WORKER
    look && read -r task percent <<END
$(awk -v worker="$1" '$2 == worker && $3 > 0 { print $1, $3 }' "$work/now")
END
    [ -n "$task" ]
}

has_ended() {
    look && grep -Eq '^  state +(done|failed)' "$work/show"
}

start_group
log "node $leader" "is primary, node $((3 - leader)) its backup, in sync; the witness watches"
start_worker worker-a
worker_a=$pid
log worker-a "joins, active"
start_worker worker-b --standby
log worker-b "joins, stands by"

make_matrix 1 $rows $inner >"$work/A.csv"
make_matrix 2 $inner $columns >"$work/B.csv"
: >"$work/known"
job=$($kvcli job submit matmul "$work/A.csv" "$work/B.csv" --buffer $buffer --name lab)
log client "requests A ($rows x $inner) times B ($inner x $columns): job $job, five tasks"

wait_for has_result worker-a
wait_for in_mid_task worker-a
end KILL "$worker_a"
log worker-a "is killed with task $task, $percent % done"
wait_for worker_is worker-b active
log "node $leader" "has not heard of worker-a for 2 s; worker-b takes its place"

wait_for has_result worker-b
wait_for in_mid_task worker-b
kill_node "$leader"
log "node $leader" "is killed; worker-b has task $task, $percent % done"
leader=$((3 - leader))
wait_for is_primary $leader
log "node $leader" "is primary; worker-b goes on"

wait_for has_ended
$kvcli job wait "$job" 2>"$work/end.log" || fail "the job did not come to a good end"
log "node $leader" "ends $(sed 's/, [0-9.]* s,/,/' "$work/end.log")"
$kvcli job result "$job" -o "$work/C.csv"
log client "has the product; awk computes it, too"
multiply "$work/A.csv" "$work/B.csv" >"$work/expected.csv"
cmp "$work/C.csv" "$work/expected.csv" || fail "results differ"
say "results match"
