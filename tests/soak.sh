#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The long tests, after ./build.sh build. Each part can be run alone.
#
#   tests/soak.sh sim [SEEDS [FROM]]  seeds for each mode of the simulator (50000, from 1000000)
#   tests/soak.sh torture [MINUTES]   real processes (30)
#   tests/soak.sh peers [SECONDS]     changed peer messages against a running group (300)
#   tests/soak.sh damage [ROUNDS]     bits and sectors of every file: 10000 and 2000 in a store, ROUNDS
#                                     (300) in the files of running groups
#   tests/soak.sh backup [MIB]        a backup of 1 GiB under load, which keeps three quarters of its rate;
#                                     restored; 100,000 keys exported and imported
#   tests/soak.sh promotion [ROUNDS]  changes of primary of full groups beside empty ones (10)
#   tests/soak.sh poison              10,000 tasks, some bad, workers bad, primaries killed
#   tests/soak.sh members [ROUNDS]    members change under load, a node killed in the middle of each (100)
#   tests/soak.sh fuzz [SECONDS]      every fuzz target, under ASan and UBSan (60); needs clang
#   tests/soak.sh asan                process tests under ASan and UBSan, those that CI leaves out, too
#   tests/soak.sh tsan                unit and process tests under the thread sanitizer
#   tests/soak.sh packages            Debian packages: built, judged, tried in a new Debian; root
#   tests/soak.sh coverage            lines and branches that unit tests and simulator reach; gcovr
#   tests/soak.sh all
set -eu
cd "$(dirname "$0")/.."

sim() {
    ninja -C build tests/sim/sim tests/sim/sim_mutants
    # Two at a time, for two cores. With jobs a seed takes four times as long.
    for pair in 'witness backup-wins' 'primary-wins available' 'witness-jobs backup-wins-jobs'; do
        pids=''
        for run in $pair; do
            seeds=${1:-50000} jobs=''
            [ "$run" = "${run%-jobs}" ] || { seeds=$((seeds / 4)) jobs=--jobs; }
            # shellcheck disable=SC2086
            build/tests/sim/sim --mode "${run%-jobs}" $jobs --seeds "$seeds" \
                --from "${2:-1000000}" >"build/soak-$run.log" &
            pids="$pids $!"
        done
        for pid in $pids; do
            wait "$pid" || failed=1
        done
    done
    tail -n 3 build/soak-*.log
    [ -z "${failed:-}" ]
    build/tests/sim/sim_mutants --table
}

torture() {
    KVPAIR_BUILD=build tests/torture/torture.py --minutes "${1:-30}"
}

peers() {
    KVPAIR_BUILD=build tests/torture/peers.py --seconds "${1:-300}"
}

members() {
    KVPAIR_BUILD=build KVPAIR_LONG=1 KVPAIR_ROUNDS="${1:-100}" python3 tests/process/test_members.py
}

damage() {
    KVPAIR_FLIPS=10000 KVPAIR_SECTORS=2000 build/tests/kvstore/test_storage_flips
    KVPAIR_BUILD=build python3 tests/process/damage.py --rounds "${1:-300}" --seed "$(date +%s)"
}

backup() {
    KVPAIR_BACKUP_MIB="${1:-1024}" KVPAIR_BUILD=build python3 tests/process/backup_load.py
    KVPAIR_EXPORT_KEYS=100000 KVPAIR_BUILD=build python3 tests/process/test_export.py \
        test_what_is_exported_comes_in_again_byte_for_byte
}

promotion() {
    for profile in default lan; do
        KVPAIR_BUILD=build python3 tests/perf/measure_promotion.py --check --rounds "${1:-10}" \
            --profile "$profile"
    done
    KVPAIR_BUILD=build python3 tests/perf/measure_promotion.py --check --rounds 3 --keys 10000000 \
        --settle 60
}

poison() {
    KVPAIR_LONG=1 KVPAIR_BUILD=build python3 tests/process/test_jobs.py \
        test_a_poisoned_hundredth_ends_in_the_dead_list_and_the_rest_is_done
}

fuzz_one() { # SECONDS TARGET
    mkdir -p "build-fuzz/found/$2"
    "build-fuzz/tests/fuzz/fuzz_$2" -max_total_time="$1" -max_len=8192 \
        -artifact_prefix="build-fuzz/found/$2-" -print_final_stats=1 \
        "build-fuzz/found/$2" "tests/fuzz/corpus/$2" >"build-fuzz/found/$2.log" 2>&1 && return 0
    echo "fuzz_$2 found something: build-fuzz/found/$2.log" >&2
    tail -n 30 "build-fuzz/found/$2.log"
    return 1
}

fuzz_build() {
    [ -f build-fuzz/build.ninja ] || CC=clang meson setup build-fuzz -Dfuzz=true -Dwerror=true \
        -Db_sanitize=address,undefined -Db_lundef=false
    ninja -C build-fuzz
}

fuzz() {
    fuzz_build
    # As many at a time as there are cores.
    printf '%s\n' request answer peer witness record storage mcu line matrix config job journal \
        command json | xargs -n 1 -P "${KVPAIR_JOBS:-$(nproc)}" tests/soak.sh fuzz_one "${1:-60}"
    grep -H 'stat::number_of_executed_units' build-fuzz/found/*.log
}

asan() {
    [ -f build-sanitize/build.ninja ] ||
        meson setup build-sanitize -Db_sanitize=address,undefined -Db_lundef=false
    ninja -C build-sanitize
    meson test -C build-sanitize --no-rebuild --print-errorlogs --suite process \
        --suite process-soak
}

tsan() {
    [ -f build-tsan/build.ninja ] || meson setup build-tsan -Db_sanitize=thread -Db_lundef=false
    ninja -C build-tsan
    # LevelDB and the C++ library are not built for it, so what they do cannot be judged. Some children
    # of tests are killed anyway: whoever has something to report ends there and then.
    TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp halt_on_error=1" \
        meson test -C build-tsan --no-rebuild --print-errorlogs --timeout-multiplier 10 \
        --suite unit --suite process
}

packages() {
    packaging/check_packages.sh
}

coverage() {
    # Threads count at the same time: else some counters come out negative, and gcovr gives up.
    [ -f build-coverage/build.ninja ] || meson setup build-coverage -Db_coverage=true \
        -Dc_args=-fprofile-update=atomic
    ninja -C build-coverage
    meson test -C build-coverage --no-rebuild --suite unit >/dev/null
    for mode in witness backup-wins primary-wins available; do
        build-coverage/tests/sim/sim --mode "$mode" --seeds 300
    done
    # What the simulator's build with deliberate bugs compiled in reaches is not counted.
    for what in line branch; do
        option=''
        [ $what = line ] || option=--branches
        gcovr -r . build-coverage --exclude '.*sim_mutants.*' --filter replication/ \
            --filter kvstore/ --exclude '.*/kvnode.c' --exclude '.*/kvwitness.c' $option
    done
}

case "${1:-}" in
sim | torture | peers | damage | backup | members | promotion | poison | fuzz | fuzz_build | fuzz_one | asan | tsan | packages | coverage) "$@" ;;
all)
    sim
    torture
    peers
    damage
    backup
    promotion
    members
    poison
    fuzz
    asan
    tsan
    packages
    coverage
    ;;
*)
    sed -n '6,22s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
