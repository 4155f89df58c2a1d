#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A neural network on workers with little memory, on this machine: two nodes, a witness, three workers
# with 2 KiB each. The primary is killed after the first layer. Ends with the outputs compared with
# those that are computed here.
#
#   examples/network/network.sh [BUILD-DIR]
set -eu

case "${1:-}" in
-*) # also --help
    sed -n '4,/^set/s/^# \{0,1\}//p' "$0"
    exit
    ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:-build}" && pwd)

# shellcheck source=examples/group.sh
. "$here/../group.sh"

start_group
say "two nodes and a witness run; node $leader is primary"
for worker in 1 2 3; do
    run "worker$worker" "$build/kvworker" --nodes "$nodes" --id "worker-$worker" --no-matmul --buffer 2048 \
        --handler layer="python3 '$here/layer.py'" --slow-ms 50
done
KVPAIR_NODES=$nodes KVPAIR_LIBRARY=$build/libkvpair.so.1 PYTHONDONTWRITEBYTECODE=1
PYTHONPATH=$here/../../client/python
export KVPAIR_NODES KVPAIR_LIBRARY PYTHONPATH PYTHONDONTWRITEBYTECODE
run network python3 "$here/network.py"
network=$pid
wait_for grep -qs '^layer 1' "$work/network.log"
kill_node "$leader"
say "the first layer is done; node $leader, the primary, is killed"
wait "$network" || fail "the network did not come to a good end"
forget "$network"
say "the log of network.py:"
cat "$work/network.log"
