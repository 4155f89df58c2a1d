#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What runs while a lock is held: it appends to the ledger until it is refused, or ended.
#
#   writer.sh NAME FILE
set -eu

name=$1 file=$2 number=0
echo $$ >"$file.$name.pid"
while "$(dirname "$0")/ledger.sh" "$file" "$name $number"; do
    number=$((number + 1))
    sleep 0.05
done
echo "$name: refused after $number lines" >"$file.$name.refused"
