#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Compiled for a machine of 32 bits, with all warnings: messages, core, jobs, the board's client. The client needs no
# library, so a program with it is linked, too; it runs on boards of 32 bits in test_mcu_firmware.py. Other libraries
# of 32 bits do not go beside those of 64. Without gcc-multilib: exit code 77. (Sums of matrices need integers of 128
# bits, which such a machine has not.)
set -eu
cd "$(dirname "$0")/../.."

CC=${CC32:-gcc}
flags='-m32 -O1 -Wall -Wextra -Wpedantic -Wshadow -Werror -Wno-missing-field-initializers -D_GNU_SOURCE
    -D_FILE_OFFSET_BITS=64 -I. -Iinclude'
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

echo 'int main(void) { return 0; }' >"$out/probe.c"
if ! $CC -m32 -o "$out/probe" "$out/probe.c" 2>/dev/null; then
    echo 'no compiler and C library for 32 bits: gcc-multilib'
    exit 77
fi

compile() { # STANDARD FILE...
    standard=$1
    shift
    for file; do
        # shellcheck disable=SC2086
        $CC -std="$standard" $flags -c -o "$out/$(echo "$file" | tr / _).o" "$file"
    done
}

compile gnu11 kvstore/base/base.c kvstore/base/utf8.c kvstore/entry.c kvstore/keyspace.c kvstore/writeset.c \
    replication/wire/*.c replication/core/*.c replication/jobs/*.c
compile c99 mcu-port/kvmcu*.c mcu-port/port_posix.c mcu-port/port_sockets.c mcu-port/port_uart.c mcu-port/port_at.c
$CC -m32 -o "$out/mcu_tool" -I. tests/mcu/mcu_tool.c "$out"/mcu-port_*.o
echo 'wire, core, jobs and the board client compile for 32 bits'
