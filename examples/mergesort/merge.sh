#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A merge task: what the tasks before it have written, sorted each, is on standard input one behind the
# other. Where a line is smaller than the one before, the next one begins.
set -eu
export LC_ALL=C
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
awk -v folder="$folder" '
NR == 1 || $0 "" < last "" { close(run); run = sprintf("%s/%06d", folder, ++runs) }
{ print >run; last = $0 }'
sort -m "$folder"/*
