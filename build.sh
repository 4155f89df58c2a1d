#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Sets up, builds, shows and tests kvpair on Debian 12.
#
#   ./build.sh demo      packages, build, then examples/failover.sh
#   ./build.sh test      packages, then the tests in a normal and in an ASan+UBSan build
#   ./build.sh packages  only the packages
#   ./build.sh build     only the build, tests included (in ./build)
set -eu
cd "$(dirname "$0")"

packages='gcc meson ninja-build pkg-config libmsgpack-dev libleveldb-dev libedit-dev libxxhash-dev
    zlib1g-dev libcjson-dev procps'
# What the tests are linked with and run.
test_packages='libnng-dev libcmocka-dev python3 iproute2 iptables strace e2fsprogs util-linux mount spin'
# For the microcontroller's client: without these its tests on boards, for RISC-V and of its rules are skipped, and
# the port to lwIP is not compiled. valgrind counts instructions.
board_packages='gcc-arm-none-eabi qemu-system-arm liblwip-dev clang clang-tidy cppcheck valgrind'

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

run_tests() { # DIRECTORY NAME
    echo "== $2"
    meson test -C "$1" --print-errorlogs --no-rebuild && status=0 || status=1
    log=$1/meson-logs/testlog.txt
    passed=$((passed + $(sed -n 's/^Ok: *\([0-9]*\).*/\1/p' "$log" | tail -n 1)))
    failed=$((failed + $(sed -n 's/^Fail: *\([0-9]*\).*/\1/p' "$log" | tail -n 1)))
    timeouts=$(sed -n 's/^Timeout: *\([0-9]*\).*/\1/p' "$log" | tail -n 1)
    failed=$((failed + ${timeouts:-0}))
    [ $status -eq 0 ] || result=1
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
    passed=0 failed=0 result=0
    build_normal -Dtests=true -Dwerror=true
    # Warnings are errors in the normal build only: what the sanitizers add to the code makes gcc
    # warn of null pointers and sizes that cannot be.
    configure build-sanitize -Db_sanitize=address,undefined -Db_lundef=false
    ninja -C build-sanitize
    run_tests build 'normal build'
    run_tests build-sanitize 'address and undefined behaviour sanitizers'
    echo "$passed passed, $failed failed"
    exit $result
    ;;
*)
    sed -n '5,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
