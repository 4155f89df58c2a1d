#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# archive.sh OUTPUT OBJECT OBJCOPY AR CC... -- ARCHIVE...
#
# Makes one archive of several. Only what the library exports is seen from outside: an application may have
# functions of its own with any name that the library uses inside.
set -eu
output=$1 object=$2 objcopy=$3 ar=$4
shift 4
compiler=''
while [ "$1" != -- ]; do
    compiler="$compiler $1"
    shift
done
shift
# shellcheck disable=SC2086
$compiler -r -nostdlib -Wl,--whole-archive "$@" -Wl,--no-whole-archive -o "$object"
"$objcopy" --localize-hidden "$object"
rm -f "$output"
"$ar" rcs "$output" "$object"
rm -f "$object"
