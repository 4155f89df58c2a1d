#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# MPI with kvpair on this machine: two nodes, a witness, and the ranks of an mpirun as workers on the rows of
# a product. mpirun is killed with SIGKILL and started again; the product is compared with
# one that awk computes. Then a key-value server over MPI is killed between two clients of its menu.
#
#   examples/mpi/mpi.sh [BUILD-DIR]
set -eu

case "${1:-}" in
-*) # also --help
    sed -n '4,/^set/s/^# \{0,1\}//p' "$0"
    exit
    ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:-build}" && pwd)
ranks=3 rows=48 inner=30 columns=20 task_rows=4 row_ms=80
tasks=$((rows / task_rows))

if ! command -v mpirun >/dev/null || [ ! -x "$build/examples/mpi_ranks" ]; then
    echo "mpi.sh: install openmpi-bin and libopenmpi-dev, then build again" >&2
    exit 77
fi
# Nothing but this machine; more ranks than cores.
export OMPI_MCA_oob_tcp_if_include=lo OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_plm=isolated
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
[ "$(id -u)" -ne 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# shellcheck source=examples/group.sh
. "$here/../group.sh"
# shellcheck source=examples/matrices.sh
. "$here/../matrices.sh"
export TMPDIR="$work"

start_ranks() {
    run ranks mpirun -n $ranks "$build/examples/mpi_ranks" "$nodes" "$job" $tasks $row_ms
    mpirun=$pid
}

done_tasks() {
    $kvcli --json job list | grep -o '"done":[0-9]*' | head -n 1 | cut -d : -f 2
}

some_done() {
    done=$(done_tasks) && [ "$done" -ge 2 ]
}

start_group
say "two nodes and a witness run"
make_matrix 1 $rows $inner >"$work/A.csv"
make_matrix 2 $inner $columns >"$work/B.csv"
$kvcli put mpi/A - <"$work/A.csv" >/dev/null
$kvcli put mpi/B - <"$work/B.csv" >/dev/null
first=0
while [ $first -lt $rows ]; do
    echo "{\"kind\": \"rows\", \"payload\": \"$first $task_rows\"}"
    first=$((first + task_rows))
done >"$work/tasks"
job=$($kvcli job submit tasks "$work/tasks")
say "A ($rows x $inner) and B ($inner x $columns) are in the store; $tasks tasks are in job $job"

start_ranks
say "mpirun runs with $ranks ranks"
wait_for some_done
end KILL "$mpirun"
say "mpirun is killed when $done of $tasks tasks are done"
start_ranks
say "mpirun runs again"
wait "$mpirun" || fail "the ranks did not come to a good end"
forget "$mpirun"
sed 's/^/            /' "$work/ranks.log"
$kvcli job wait "$job" 2>/dev/null || fail "the job did not come to a good end"
task=0
while [ $task -lt $tasks ]; do
    $kvcli job result "$job" --task $task
    task=$((task + 1))
done >"$work/C.csv"
multiply "$work/A.csv" "$work/B.csv" >"$work/expected.csv"
cmp "$work/C.csv" "$work/expected.csv" || fail "results differ"
say "the product is the one that awk computes"

# Programs that were started by different mpiruns find each other by this server of OpenMPI's.
run ompi-server ompi-server --no-daemonize -r "$work/uri"
wait_for test -s "$work/uri"

start_server() {
    : >"$work/server.log"
    run server mpirun --ompi-server "file:$work/uri" -n 1 "$build/examples/mpi_menu" "$nodes" serve
    server=$pid
    wait_for grep -q serves "$work/server.log"
}

menu() { # the lines of the menu on standard input
    mpirun --ompi-server "file:$work/uri" -n 1 "$build/examples/mpi_menu" "$nodes" |
        sed 's/^/            /'
}

start_server
say "a server over MPI has put down its port in mpi/port; a client's menu:"
printf 'create lamp on\nget lamp\n' | menu
end KILL "$server"
say "the server is killed"
start_server
say "another one has put down its port; another client's menu:"
printf 'get lamp\ndelete lamp\nget lamp\n' | menu
say "results match"
