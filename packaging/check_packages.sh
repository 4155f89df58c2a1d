#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the Debian packages and tries them, as root on Debian 12: lintian; then in a new Debian 12 made by
# debootstrap: installed, debian/tests run, removed, purged, and nothing may be left. That Debian is booted by
# systemd-nspawn, with no network but its own loopback; where that does not work it is a chroot, and debian/tests do
# what the units say.
#
#   packaging/check_packages.sh [DIRECTORY]   where packages and chroot are made, and kept; else a temporary one
#
# Needs debhelper, dh-python, lintian, debootstrap, systemd-container, and what debian/control builds with. Packages
# come from where this machine's apt has them from.
set -eu
source=$(cd "$(dirname "$0")/.." && pwd)
PATH=/usr/bin:/bin:/usr/sbin:/sbin
export PATH LC_ALL=C DEBIAN_FRONTEND=noninteractive
# What is mounted in the chroot is mounted for this process only, and gone with it.
[ -n "${KVPAIR_OWN_MOUNTS:-}" ] ||
    exec env KVPAIR_OWN_MOUNTS=1 unshare --mount --propagation private "$0" "$@"

if [ -n "${1:-}" ]; then
    mkdir -p "$1"
    work=$(cd "$1" && pwd) keep=1
else
    work=$(mktemp -d /var/tmp/kvpair-packages.XXXXXX) keep=''
fi
root=$work/root
container='' leader=''

leave() {
    if [ -n "$container" ]; then
        kill "$container" 2>/dev/null || true
        wait "$container" || true
    fi
    for folder in dev proc; do
        ! mountpoint -q "$root/$folder" || umount "$root/$folder"
    done
    [ -n "$keep" ] || rm -rf --one-file-system "$work"
}
trap leave EXIT

say() {
    echo "== $*"
}

build() {
    rm -rf "$work/kvpair" "$work"/*.deb "$work"/*.buildinfo "$work"/*.changes
    mkdir "$work/kvpair"
    git -C "$source" ls-files -z | (cd "$source" && tar --null -c -T - -f -) | tar -x -C "$work/kvpair"
    (cd "$work/kvpair" && DEB_BUILD_OPTIONS=noautodbgsym dpkg-buildpackage -us -uc -b) >"$work/build.log" 2>&1 || {
        tail -n 40 "$work/build.log"
        return 1
    }
    ls "$work"/*.deb
}

judge() {
    lintian --allow-root --fail-on error,warning --info --tag-display-limit 0 "$work"/*.changes
}

inside() {
    set -- /usr/bin/env -i PATH="$PATH" LC_ALL=C.UTF-8 HOME=/root DEBIAN_FRONTEND=noninteractive "$@"
    if [ -n "$leader" ]; then
        nsenter -t "$leader" -m -u -i -n -p --root --wd=/ "$@"
    else
        chroot "$root" "$@"
    fi
}

mount_root() {
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for device in null zero full random urandom tty; do
        cp -a "/dev/$device" "$root/dev/"
    done
}

make_root() {
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
    [ -d "$root" ] || debootstrap --variant=minbase bookworm "$root" "$mirror" >"$work/debootstrap.log"
    mount_root
    rm -rf "$root/packages"
    mkdir "$root/packages"
    cp "$work"/*.deb "$root/packages/"
    cp -r "$source/debian/tests" "$root/packages/"
    inside apt-get update -qq
}

ours() {
    sed -n 's/^Package: //p' "$source/debian/control"
}

# What they need comes first, so that what is left afterwards is theirs.
install_needs() {
    inside sh -c 'apt-get -s install --no-install-recommends curl gcc libc6-dev pkg-config /packages/*.deb' |
        sed -n 's/^Inst \([^ ]*\).*/\1/p' | sort -u >"$work/needs"
    ours >"$work/ours"
    # shellcheck disable=SC2046
    inside apt-get install -qq -y --no-install-recommends $(grep -vxF -f "$work/ours" "$work/needs") \
        systemd systemd-sysv dbus >"$work/needs.log" 2>&1
}

find_leader() {
    for _ in $(seq 100); do
        sleep 0.2
        pid=$(pgrep -P "$container" | head -n 1) || continue
        state=$(nsenter -t "$pid" -m -p --root --wd=/ systemctl is-system-running 2>/dev/null) || true
        case $state in
        running | degraded)
            leader=$pid
            return 0
            ;;
        esac
    done
    return 1
}

boot() {
    umount "$root/dev" "$root/proc"
    systemd-nspawn --quiet --keep-unit --register=no --private-network -D "$root" --boot --console=pipe \
        </dev/null >"$work/boot.log" 2>&1 &
    container=$!
    find_leader && return 0
    kill "$container" 2>/dev/null || true
    wait "$container" || true
    container=''
    mount_root
    say 'no systemd boots here: the units are not tried, only what they say'
}

# Every path, but for what package management writes about itself.
list() {
    (cd "$root" && find . -xdev -path ./packages -prune -o -path ./var/log -prune -o -path ./var/cache -prune \
        -o -path ./var/lib/apt -prune -o -path ./var/lib/dpkg -prune -o -path ./tmp -prune \
        -o -path ./var/tmp -prune -o -path ./run -prune \
        -o -path '*/__pycache__' -prune -o -print) | grep -v -e '^\./etc/[a-z]*-$' -e '^\./var/lib/systemd/[ac-z]' | sort
}

try_packages() {
    # shellcheck disable=SC2046
    inside dpkg --purge $(ours) >"$work/purge.log" 2>&1 # of a run before
    list >"$work/before"
    inside sh -c 'apt-get install -qq -y --no-install-recommends /packages/*.deb' >"$work/install.log" 2>&1
    sed -n 's/^Tests: //p' "$source/debian/tests/control" >"$work/tests"
    while read -r test; do
        say "debian/tests/$test"
        inside "/packages/tests/$test" </dev/null || [ $? -eq 77 ]
    done <"$work/tests"
    # shellcheck disable=SC2046
    inside dpkg --remove $(ours) >"$work/remove.log"
    [ -d "$root/var/lib/kvpair/node1" ] # a removal takes no data
    # shellcheck disable=SC2046
    inside dpkg --purge $(ours) >"$work/purge.log" 2>&1
    list >"$work/after"
    diff "$work/before" "$work/after"
}

say 'build'
build
say 'lintian'
judge
say 'a new Debian'
make_root
install_needs
boot
say 'install, use, remove, purge'
try_packages
say 'nothing is left'
