#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Sorts the lines of a file by merge sort, with a group of two nodes and a witness and many workers, all on this
# machine. The lines go to standard output; what happens goes to standard error. Ends with exit
# status 0 if `sort` sorts the same.
#
#   examples/mergesort/mergesort.sh [OPTION]... FILE
#     -b BUILD-DIR   where the programs are (build)
#     -k             kills the primary half-way, and a worker; the workers take their time then
#     -s SIZE        bytes of text in a sort task, at most 262144 (65536)
#     -w WORKERS     1 to 64 (8)
set -eu
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
build=build size=65536 workers=8 slow_ms=0 kill=no
fan_in=4 # a merge task takes so many results

usage() {
    sed -n '8,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

while getopts b:ks:w: option; do
    case $option in
    b) build=$OPTARG ;;
    k) kill=yes slow_ms=200 ;;
    s) size=$OPTARG ;;
    w) workers=$OPTARG ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || usage
file=$1
build=$(cd "$build" && pwd)

# shellcheck source=examples/group.sh
. "$here/../group.sh"
# shellcheck source=examples/job.sh
. "$here/../job.sh"

check_number "$size" 262144
check_number "$workers" 64
# The last task's result is all of it.
[ "$(wc -c <"$file")" -le 1048576 ] || fail "$file has more than 1 MiB"
[ -s "$file" ] || exit 0

# The tasks of the job, a line each: the texts are sorted; then the results of each four are merged, until one
# is left.
describe() {
    mkdir "$work/text"
    split -a 6 -C "$size" "$file" "$work/text/"
    tasks=0 from=0
    for text in "$work"/text/*; do
        echo "{\"kind\": \"sort\", \"file\": \"$text\"}"
        tasks=$((tasks + 1))
    done
    while [ $((tasks - from)) -gt 1 ]; do
        to=$((tasks - 1))
        while [ $from -le $to ]; do
            last=$((from + fan_in - 1 < to ? from + fan_in - 1 : to))
            echo "{\"kind\": \"merge\", \"payload\": \"\", \"after\": [\"$from-$last\"], \"feed\": true}"
            from=$((last + 1)) tasks=$((tasks + 1))
        done
    done
}

describe >"$work/tasks"
start_group
say "two nodes and a witness run; node $leader is primary" >&2
worker=1
while [ $worker -le "$workers" ]; do
    run "worker$worker" "$build/kvworker" --nodes "$nodes" --id "worker-$worker" --no-matmul \
        --handler sort=sort --handler merge="'$here/merge.sh'" --slow-ms $slow_ms
    worker=$((worker + 1))
done
job=$($kvcli job submit tasks "$work/tasks" --name mergesort --silence 1000)
say "job $job: $tasks tasks for $workers workers" >&2

is_busy() { # WORKER
    $kvcli job show "$job" --tasks 2>/dev/null | grep -Eq "^ +$1 +running"
}

if [ $kill = yes ]; then
    wait_for is_busy "worker-$workers"
    end KILL "$pid"
    say "worker-$workers is killed with a task" >&2
    kill_primary_half_way >&2
fi
finish_job
say "$(tail -n 1 "$work/end.log")" >&2
$kvcli job result "$job" --task $((tasks - 1)) | tee "$work/sorted"
sort "$file" | cmp - "$work/sorted" >&2 || fail "sort sorts otherwise"
say "$(wc -l <"$work/sorted") lines, sorted and complete" >&2
