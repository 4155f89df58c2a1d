# shellcheck shell=sh disable=SC2154
# SPDX-License-Identifier: Apache-2.0
#
# What the examples share that have one job: its id is in $job, the number of its tasks in $tasks. To be sourced
# after group.sh.

check_number() { # VALUE MAX
    case $1 in
    '' | 0* | *[!0-9]* | ???????*) usage ;;
    esac
    [ "$1" -le "$2" ] || usage
}

half_way() {
    $kvcli --timeout 1000 job list 2>/dev/null >"$work/list" || return 1
    done=$(awk -v job="$job" '$1 == job { print $5 }' "$work/list")
    [ $((done * 2)) -ge "$tasks" ]
}

kill_primary_half_way() {
    wait_for half_way
    kill_node "$leader"
    say "node $leader, the primary, is killed when $done of $tasks tasks are done"
    wait_for is_primary $((3 - leader))
    say "node $((3 - leader)) is primary"
}

# What kvcli says of its end is in end.log.
finish_job() {
    if ! $kvcli job wait "$job" --timeout 600 2>"$work/end.log"; then
        $kvcli job show "$job" >&2
        fail "the job did not come to a good end"
    fi
}
