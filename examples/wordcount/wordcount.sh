#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Counts the words of text files with map and reduce tasks: a group of two nodes and a witness, and
# some workers, all on this machine. The counts go to standard output, a line "COUNT WORD" each; what
# happens goes to standard error. Ends with exit status 0 if `sort | uniq -c` counts the same.
#
#   examples/wordcount/wordcount.sh [OPTION]... FILE...
#     -b BUILD-DIR   where the programs are (build)
#     -k             kills the primary half-way; the workers take their time then
#     -p PARTS       reduce tasks to end with, 1 to 256 (4)
#     -s SIZE        bytes of text in a map task, at most 262144, which is the default
#     -w WORKERS     1 to 64 (3)
set -eu
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
build=build parts=4 size=262144 workers=3 slow_ms=0 kill=no
fan_in=7 # a task is fed so many results of at most 1 MiB: less than 8 MiB with its payload

usage() {
    sed -n '8,13s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

while getopts b:kp:s:w: option; do
    case $option in
    b) build=$OPTARG ;;
    k) kill=yes slow_ms=300 ;;
    p) parts=$OPTARG ;;
    s) size=$OPTARG ;;
    w) workers=$OPTARG ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || usage
build=$(cd "$build" && pwd)

# shellcheck source=examples/group.sh
. "$here/../group.sh"
# shellcheck source=examples/job.sh
. "$here/../job.sh"

check_number "$parts" 256
check_number "$size" 262144
check_number "$workers" 64

# The words of all files, one a line. A file need not end with a newline.
words() {
    for file; do
        tr -cs 'A-Za-z0-9' '\n' <"$file"
        echo
    done
}

# Puts the texts of the map tasks into files; cut between words, so that none is in two of them.
cut_up() {
    words "$@" >"$work/words"
    [ "$(wc -L <"$work/words")" -lt "$size" ] || fail "there is a word of more than $size bytes"
    mkdir "$work/text"
    split -a 6 -C "$size" "$work/words" "$work/text/"
}

# The tasks of the job, a line each. Map tasks come first, then a tree of reduce tasks for each
# part: the lowest level takes what belongs to the part from the results of map tasks, the others
# merge. The numbers of the trees' roots go to a file.
describe() {
    tasks=0 part=0
    for file in "$work"/text/*; do
        echo "{\"kind\": \"map\", \"file\": \"$file\"}"
        tasks=$((tasks + 1))
    done
    maps=$tasks
    while [ $part -lt "$parts" ]; do
        from=0 to=$((maps - 1)) width=0
        while [ $width -ne 1 ]; do
            width=0
            while [ $from -le $to ]; do
                last=$((from + fan_in - 1 < to ? from + fan_in - 1 : to))
                printf '{"kind": "reduce", "payload": "%d %d\\n", "after": ["%d-%d"], "feed": true}\n' \
                    $part "$parts" $from $last
                from=$((last + 1)) width=$((width + 1))
            done
            from=$tasks tasks=$((tasks + width)) to=$((tasks - 1))
        done
        echo $to >>"$work/roots"
        part=$((part + 1))
    done
}

cut_up "$@"
describe >"$work/tasks"
start_group
say "two nodes and a witness run; node $leader is primary" >&2

worker=1
while [ $worker -le "$workers" ]; do
    run "worker$worker" "$build/kvworker" --nodes "$nodes" --id "worker-$worker" --no-matmul \
        --handler map="'$here/map.sh'" --handler reduce="'$here/reduce.sh'" --slow-ms $slow_ms
    worker=$((worker + 1))
done

# How long a map task takes says nothing about a reduce task: the deadline is given, not learned.
job=$($kvcli job submit tasks "$work/tasks" --name wordcount --deadline 120000)
say "job $job: $maps map and $((tasks - maps)) reduce tasks for $workers workers" >&2

[ $kill = no ] || kill_primary_half_way >&2
finish_job
say "$(tail -n 1 "$work/end.log")" >&2

while read -r root; do
    $kvcli job result "$job" --task "$root"
done <"$work/roots" >"$work/results"
cut -d ' ' -f 2- "$work/results" | sort -k 2 | tee "$work/counts"

for file; do
    cat "$file"
    echo
done | tr -cs 'A-Za-z0-9' '\n' | tr '[:upper:]' '[:lower:]' | grep . | sort | uniq -c |
    awk '{ print $1, $2 }' >"$work/expected"
cmp "$work/counts" "$work/expected" >&2 || fail "sort | uniq -c counts otherwise"
say "$(wc -l <"$work/counts") words; the counts match" >&2
