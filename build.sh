#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Sets up, builds, shows and tests kvpair on Debian 12.
#
#   ./build.sh demo      packages, build, then examples/failover.sh
#   ./build.sh test      packages, then the tests in a normal and in an ASan+UBSan build, those with
#                        threads under TSan, and the fuzzers for a moment, which clang builds
#   ./build.sh packages  only the packages
#   ./build.sh build     only the build, tests included (in ./build)
set -eu
cd "$(dirname "$0")"

packages='gcc meson ninja-build pkg-config libmsgpack-dev libleveldb-dev libedit-dev libxxhash-dev
    zlib1g-dev libcjson-dev libmicrohttpd-dev libssl-dev procps'
# What the tests are linked with and run.
test_packages='libnng-dev libcmocka-dev openmpi-bin libopenmpi-dev python3 python3-numpy python3-hypothesis iproute2 iptables strace e2fsprogs util-linux mount spin'
# For the microcontroller's client: without these its tests on boards, for RISC-V and of its rules are skipped, and
# the port to lwIP is not compiled. valgrind counts instructions.
board_packages='gcc-arm-none-eabi qemu-system-arm liblwip-dev clang clang-tidy clang-format cppcheck valgrind
    g++ gcc-multilib'

install_packages() { # PACKAGE...
    missing=''
    for package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    root=''
    [ "$(id -u)" -eq 0 ] || root=sudo
    $root apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends $missing
}

# Firmware with Ethernet is tested with lwIP's sources, which are in no package that can be installed.
fetch_lwip() {
    mcu-port/firmware/lwip.sh build-lwip ||
        echo 'lwIP could not be fetched: firmware with Ethernet is not tested' >&2
}

configure() { # DIRECTORY OPTION...
    directory=$1
    shift
    if [ -f "$directory/build.ninja" ]; then
        meson configure "$directory" "$@"
    else
        meson setup "$directory" "$@"
    fi
}

build_normal() {
    configure build -Dbuildtype=debugoptimized "$@"
    ninja -C build
}

count() { # LOG WORD
    number=$(sed -n "s/^$2: *\([0-9]*\).*/\1/p" "$1" | tail -n 1)
    echo "${number:-0}"
}

# How many passed and failed in the runs of which these are the logs.
sum_up() { # LOG...
    for log; do
        [ -f "$log" ] || continue
        passed=$((passed + $(count "$log" Ok)))
        failed=$((failed + $(count "$log" Fail) + $(count "$log" Timeout)))
    done
}

meson_test() { # DIRECTORY LOGBASE OPTION...
    directory=$1 logbase=$2
    shift 2
    $nicely meson test -C "$directory" --print-errorlogs --no-rebuild --logbase "$logbase" "$@"
}

# The tests with threads under the thread sanitizer. LevelDB and the C++ library are not built for it, so what they
# do cannot be judged. The rest of it, with real programs: tests/soak.sh tsan.
thread_programs='engine/test_executor engine/test_node engine/test_node_group engine/test_node_jobs
    engine/test_node_reads net/test_net net/test_net_files net/test_net_hostile net/test_net_limits client/test_client client/test_client_async'
thread_tests='test_executor test_node test_node_group test_node_jobs test_node_reads test_net test_net_files
    test_net_hostile test_net_limits client client_async'

run_threads() {
    # shellcheck disable=SC2086
    TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp halt_on_error=1" \
        meson_test build-tsan unit --num-processes 1 --timeout-multiplier 10 $thread_tests
}

# Warnings are errors in the normal build only: what the sanitizers add to the code makes gcc warn of null pointers
# and sizes that cannot be. The fuzzers' build is clang's, with its warnings as errors.
build_others() {
    # shellcheck disable=SC2046,SC2086
    configure build-sanitize -Db_sanitize=address,undefined -Db_lundef=false &&
        $nicely ninja -C build-sanitize &&
        configure build-tsan -Db_sanitize=thread -Db_lundef=false &&
        $nicely ninja -C build-tsan $(printf 'tests/%s ' $thread_programs) &&
        $nicely tests/soak.sh fuzz_build
}

# What takes nothing but computing, beside tests that mostly wait. Says when the other builds are there.
run_beside() { # FIFO
    beside=0 nicely='nice -n 10'
    build_others >build/others.txt 2>&1 || beside=1
    echo $beside >"$1" &
    if [ $beside -ne 0 ]; then
        cat build/others.txt
        return 1
    fi
    meson_test build builds --num-processes 1 --suite builds --suite lint || beside=1
    meson_test build sim --num-processes 1 --suite sim --suite model || beside=1
    meson_test build-sanitize sim --num-processes 1 --suite sim || beside=1
    run_threads || beside=1
    KVPAIR_JOBS=1 $nicely tests/soak.sh fuzz 20 || beside=1
    return $beside
}

# Programs that are killed and timed run one after the other.
run_timed() { # DIRECTORY NAME
    echo "== $2"
    meson_test "$1" unit --suite unit || result=1
    meson_test "$1" process --suite process --suite perf --suite torture || result=1
}

case "${1:-}" in
packages)
    # shellcheck disable=SC2086
    install_packages $packages $test_packages $board_packages
    fetch_lwip
    ;;
build)
    # shellcheck disable=SC2086
    install_packages $packages $test_packages
    build_normal -Dtests=true
    ;;
demo)
    # shellcheck disable=SC2086
    install_packages $packages
    build_normal -Dtests=false
    examples/failover.sh build
    ;;
test)
    # shellcheck disable=SC2086
    install_packages $packages $test_packages $board_packages
    fetch_lwip
    passed=0 failed=0 result=0 nicely=''
    build_normal -Dtests=true -Dwerror=true
    rm -f build/others.fifo
    mkfifo build/others.fifo
    run_beside build/others.fifo >build/beside.txt 2>&1 &
    beside=$!
    run_timed build 'normal build'
    read -r others <build/others.fifo
    if [ "$others" -eq 0 ]; then
        run_timed build-sanitize 'address and undefined behaviour sanitizers'
    fi
    echo '== rules, other builds, simulator, model, thread sanitizer, fuzzers'
    wait $beside || result=1
    cat build/beside.txt
    for part in unit process builds sim; do
        sum_up "build/meson-logs/$part.txt" "build-sanitize/meson-logs/$part.txt"
    done
    sum_up build-tsan/meson-logs/unit.txt
    echo "$passed passed, $failed failed"
    exit $result
    ;;
*)
    sed -n '5,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
