#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Checks the model with Spin: the good one must have no error, each broken one must have one.
#
#   tests/model/check.sh         about a minute on two cores, at most 2 GiB
#   tests/model/check.sh --deep  larger sizes, too: up to an hour
#
# $KVPAIR_MODEL_JOBS: how many at once (2). Exit status 77: spin is not installed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

# run NAME EXPECTED SECONDS MODEL-MACROS [COMPILER-FLAGS [PAN-FLAGS]]: one line of the report. EXPECTED: none,
# error, or part (as far as the time allows, without an error).
run() {
    name=$1 expected=$2 seconds=$3 macros=$4 flags=${5:--O2} options=${6:--w22}
    work=$(mktemp -d "$KVPAIR_MODEL_WORK/run.XXXXXX")
    cd "$work"
    cp "$here/pair.pml" .
    # shellcheck disable=SC2086
    spin -a $macros pair.pml >spin.out 2>&1 || { cat spin.out; echo "FAIL $name: spin"; return 1; }
    case $flags in *BITSTATE*) ;; *) flags="$flags -DHC4" ;; esac
    # shellcheck disable=SC2086
    gcc -w -DSAFETY -DNOREDUCE -DMEMLIM=900 $flags -o pan pan.c
    begun=$(date +%s)
    # shellcheck disable=SC2086
    timeout -s INT "$seconds" ./pan -m200000 $options >pan.out 2>&1 || true
    took=$(($(date +%s) - begun))
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.out)
    errors=$(sed -n 's/.*errors: \([0-9]*\)$/\1/p' pan.out)
    found=none
    [ "${errors:-0}" = 0 ] || found=error
    if [ -z "$errors" ] || grep -q -e '^Warning: Search not completed' -e 'max search depth' pan.out; then
        [ "$found" = error ] || found=unfinished
    fi
    [ "$expected:$found" = part:none ] && found=part
    [ "$expected:$found" = part:unfinished ] && [ -n "$errors" ] && found=part
    verdict=ok
    [ "$found" = "$expected" ] || verdict=FAIL
    echo "$verdict $name: $found, ${states:-?} states, $took s ($macros)"
    [ "$verdict" = ok ] || { sed -n '1,8p' pan.out; return 1; }
    cd /
    rm -rf "$work"
}

if [ "${1:-}" = --run ]; then
    shift
    run "$@"
    exit
fi

command -v spin >/dev/null 2>&1 || { echo 'skipped: spin is not installed'; exit 77; }
KVPAIR_MODEL_WORK=$(mktemp -d)
export KVPAIR_MODEL_WORK
trap 'rm -rf "$KVPAIR_MODEL_WORK"' EXIT

# NAME MODEL-MACROS [SIZES [COMPILER-FLAGS]]; most are found so early that compiling is what costs.
broken() {
    printf "'%s' error 120 '%s' '%s'\n" "$1" "${3:--DSEQ=1 -DEPOCHS=3} $2" "${4:--O0}"
}

jobs() {
    echo "'two nodes' none 200 '-DSEQ=1 -DEPOCHS=3 -DKILLS=1'"
    echo "'two nodes, service comes back' none 200 '-DSEQ=1 -DEPOCHS=2 -DKILLS=2 -DRESIGNS -DLIVE'"
    echo "'two nodes, a lost disk' none 200 '-DSEQ=1 -DEPOCHS=2 -DKILLS=1 -DWIPES=1'"
    echo "'three nodes' part 10 '-DN=3 -DSEQ=1 -DEPOCHS=3 -DKILLS=1' '-O1 -DBITSTATE -DT_RAND' '-w30 -k3 -RS7'"
    broken 'acknowledged before the backup has it' '-DKILLS=1 -DACK_EARLY'
    broken 'the backup reports what is not on its disk' '-DKILLS=1 -DREPORT_UNSYNCED'
    broken 'served without leases' '-DKILLS=0 -DNO_LEASE'
    broken 'the lease counts from the answer' '-DKILLS=0 -DLEASE_FROM_ANSWER'
    broken 'clocks drift by more than grace allows' '-DKILLS=0 -DCLOCK_DRIFT'
    broken 'a candidate gives leases' '-DKILLS=0 -DLEND_UNTOLD -DCANDIDATE_ANSWERS'
    broken 'leases that an earlier life gave are forgotten' '-DKILLS=1 -DLEND_UNTOLD'
    broken 'promoted from outside the in-sync set' '-DKILLS=1 -DPROMOTE_OUTSIDER'
    broken 'the witness does not compare' '-DKILLS=1 -DNO_COMPARE'
    broken 'the witness goes back' '-DKILLS=0 -DREGISTER_GOES_BACK'
    broken 'a member counts as removed before it is' '-DKILLS=0 -DREMOVE_AT_ONCE'
    broken 'a joiner is not counted while it is added' '-DKILLS=1 -DJOIN_UNCOUNTED'
    broken 'a joiner is added before it has everything' '-DKILLS=1 -DJOIN_BEHIND'
    broken 'a member needs no promise on its disk' '-DKILLS=0 -DWIPES=1 -DNO_PROMISE' '-DSEQ=1 -DEPOCHS=2'
    broken 'messages of an older epoch count' '-DKILLS=1 -DNO_EPOCH' '-DSEQ=1 -DEPOCHS=2'
    broken 'the elect serves before all is committed' '-DKILLS=1 -DSERVE_UNAPPLIED' \
        '-DSEQ=2 -DEPOCHS=2' -O1
    broken 'a late answer of a failed node counts' '-DKILLS=2 -DRESIGNS -DRESIGN_LATE' '-DSEQ=1 -DEPOCHS=3' -O1
    [ "${1:-}" = --deep ] || return 0
    echo "'two nodes, deeper' none 3600 '-DSEQ=2 -DEPOCHS=3 -DKILLS=1'"
    echo "'two nodes, two kills' none 3600 '-DSEQ=1 -DEPOCHS=3 -DKILLS=2'"
    echo "'two nodes, a failing disk' none 3600 '-DSEQ=1 -DEPOCHS=3 -DKILLS=1 -DRESIGNS'"
    echo "'two nodes, a lost disk, deeper' none 3600 '-DSEQ=1 -DEPOCHS=3 -DKILLS=1 -DWIPES=1'"
    echo "'two nodes, service comes back, deeper' none 3600 '-DSEQ=1 -DEPOCHS=3 -DKILLS=1 -DLIVE'"
    echo "'three nodes, longer' part 1200 '-DN=3 -DSEQ=1 -DEPOCHS=3 -DKILLS=1' '-O2 -DBITSTATE -DT_RAND' '-w32 -k3 -RS7'"
}

jobs "${1:-}" | xargs -P "${KVPAIR_MODEL_JOBS:-2}" -L 1 "$0" --run && status=0 || status=1
[ $status -eq 0 ] && echo 'all as expected' || echo 'NOT as expected'
exit $status
