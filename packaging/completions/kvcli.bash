# SPDX-License-Identifier: Apache-2.0
# Completion of kvcli for bash.
_kvcli()
{
    local word=${COMP_WORDS[COMP_CWORD]} command='' verb='' i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --nodes | --group | --timeout) ((i++)) ;;
        -*) ;;
        *)
            if [ -z "$command" ]; then command=${COMP_WORDS[i]}; else verb=${verb:-${COMP_WORDS[i]}}; fi
            ;;
        esac
    done
    local words=''
    case $command in
    '') words='get put create delete incr rename cas ttl scan watch txn export import backup status doctor top events drill handover promote member job worker lease lock elect access cert help
        --nodes --group --timeout --json --bail --help --version' ;;
    get) words='--stale --revision' ;;
    put | create) words='--ttl --lease' ;;
    lease) [ "$verb" = keep ] && words='--once' || words='grant keep revoke list show' ;;
    lock | elect) words='--ttl --timeout' ;;
    delete) words='--prefix --from --to --all' ;;
    incr) words='--by' ;;
    rename) words='--replace' ;;
    scan) words='--keys --limit --from --to --reverse' ;;
    watch) words='--from --once --stale' ;;
    import) words='--keep' ;;
    backup) words='verify --from --rate' ;;
    events) words='--follow' ;;
    top) words='--once --every' ;;
    drill) words='--yes' ;;
    access) [ -n "$verb" ] && words='read write submit work observe operate admin' || words='grant revoke list show' ;;
    cert) [ -n "$verb" ] || words='init issue renew list' ;;
    promote) words='--node --force' ;;
    member) [ -n "$verb" ] || words='list add remove replace move' ;;
    help) words='get put create delete incr rename cas ttl scan watch txn export import backup status doctor top events drill handover promote member job worker lease lock elect access cert' ;;
    worker) [ -n "$verb" ] || words='list drain resume' ;;
    job)
        case $verb in
        '') words='submit list show wait result cancel remove rm pause resume set dead retry workers' ;;
        submit) words='matmul tasks' ;;
        show) words='--tasks' ;;
        wait) words='--timeout' ;;
        result) words='-o --task' ;;
        set) words='--max-running --priority' ;;
        retry) words='--task --failed' ;;
        esac
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -o default -F _kvcli kvcli
