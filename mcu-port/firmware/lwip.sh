#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Fetches lwIP's sources, as they come with Debian, for firmware with Ethernet:
#
#   mcu-port/firmware/lwip.sh DIRECTORY
#
# Debian's packages have lwIP built for a host only, so it is the source package. The lists of sources are fetched to
# a directory of their own, from where this system gets its packages: nothing of the system changes, and no root is
# needed.
set -eu
[ $# -eq 1 ] || {
    sed -n '6s/^# *//p' "$0" >&2
    exit 2
}
target=$1
[ ! -e "$target" ] || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # apt reads it as another user
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
keys=/usr/share/keyrings/debian-archive-keyring.gpg

get() {
    apt-get -qq -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o Acquire::Languages=none "$@"
}

places() { # OPTION...
    apt-get "$@" indextargets 'Identifier: Packages' 'Origin: Debian' 'Component: main' \
        --format "deb-src [signed-by=$keys] \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" | sort -u
}

places >"$work/sources.list"
if [ ! -s "$work/sources.list" ]; then # before the first update of a system nothing is known of its sources
    get update
    places -o Dir::State::Lists="$work/lists" >"$work/sources.list"
fi
set -- -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=-
get "$@" update
# Signatures and sums are checked. Debian's own changes are not wanted: they are about its library.
(cd "$work" && get "$@" -o APT::Sandbox::User="$(id -un)" source --download-only lwip)
mkdir "$work/out"
python3 -m tarfile -e "$work"/lwip_*.orig.tar.* "$work/out"
mkdir -p "$(dirname "$target")"
rm -rf "$target.part"
cp -R "$work"/out/* "$target.part"
mv "$target.part" "$target" # it is there as a whole, or not
