# SPDX-License-Identifier: Apache-2.0
# Completion of kvcli for fish.
set -l commands get put create delete incr rename cas ttl scan watch txn export import backup status doctor top events drill handover promote member job worker lease lock elect access cert help
set -l verbs submit list show wait result cancel remove rm pause resume set dead retry workers
complete -c kvcli -n "not __fish_seen_subcommand_from $commands" -f -a "$commands"
complete -c kvcli -l nodes -x -d 'nodes of the group'
complete -c kvcli -l group -x -d "the group's name"
complete -c kvcli -l timeout -x -d 'how long to try, in milliseconds'
complete -c kvcli -l json -d 'output for programs'
complete -c kvcli -l bail -d 'the first line that fails is the last'
complete -c kvcli -n '__fish_seen_subcommand_from get' -l stale -d 'any node answers'
complete -c kvcli -n '__fish_seen_subcommand_from get' -l revision -x -d 'as it was then'
complete -c kvcli -n '__fish_seen_subcommand_from put create' -l ttl -x -d 'it ends after so many seconds'
complete -c kvcli -n '__fish_seen_subcommand_from put create' -l lease -x -d 'it ends with that lease'
complete -c kvcli -n '__fish_seen_subcommand_from delete' -l prefix -x -d 'all keys that begin so'
complete -c kvcli -n '__fish_seen_subcommand_from delete' -l all -d 'every key'
complete -c kvcli -n '__fish_seen_subcommand_from delete scan' -l from -x -d 'from this key on'
complete -c kvcli -n '__fish_seen_subcommand_from delete scan' -l to -x -d 'before this key'
complete -c kvcli -n '__fish_seen_subcommand_from incr' -l by -x -d 'so much'
complete -c kvcli -n '__fish_seen_subcommand_from rename' -l replace -d 'also if the new key is there'
complete -c kvcli -n '__fish_seen_subcommand_from scan' -l reverse -d 'the last ones first'
complete -c kvcli -n '__fish_seen_subcommand_from scan' -l keys -d 'the keys alone'
complete -c kvcli -n '__fish_seen_subcommand_from scan' -l limit -x -d 'at most so many'
complete -c kvcli -n '__fish_seen_subcommand_from watch' -l from -x -d 'from that revision on'
complete -c kvcli -n '__fish_seen_subcommand_from watch' -l once -d 'the next event alone'
complete -c kvcli -n '__fish_seen_subcommand_from watch' -l stale -d 'from any node'
complete -c kvcli -n '__fish_seen_subcommand_from import' -l keep -d 'keys that are there stay'
complete -c kvcli -n '__fish_seen_subcommand_from top' -l once -d 'one look'
complete -c kvcli -n '__fish_seen_subcommand_from top' -l every -x -d 'seconds between looks'
complete -c kvcli -n '__fish_seen_subcommand_from backup' -a verify -d 'what a file is worth'
complete -c kvcli -n '__fish_seen_subcommand_from backup' -l from -x -d 'from this node'
complete -c kvcli -n '__fish_seen_subcommand_from backup' -l rate -x -d 'at most so many bytes a second'
complete -c kvcli -n '__fish_seen_subcommand_from events' -l follow -d 'go on'
complete -c kvcli -n '__fish_seen_subcommand_from drill' -l yes -d 'do not ask'
set -l access_verbs grant revoke list show
complete -c kvcli -n "__fish_seen_subcommand_from access; and not __fish_seen_subcommand_from $access_verbs" -f -a "$access_verbs"
complete -c kvcli -n "__fish_seen_subcommand_from access; and __fish_seen_subcommand_from grant revoke" -f -a "read write submit work observe operate admin"
set -l member_verbs list add remove replace move
complete -c kvcli -n "__fish_seen_subcommand_from member; and not __fish_seen_subcommand_from $member_verbs" -f -a "$member_verbs"
set -l worker_verbs list drain resume
complete -c kvcli -n "__fish_seen_subcommand_from worker; and not __fish_seen_subcommand_from $worker_verbs" -f -a "$worker_verbs"
complete -c kvcli -n '__fish_seen_subcommand_from lock elect' -l ttl -x -d 'free so long after its holder is gone'
complete -c kvcli -n '__fish_seen_subcommand_from lock elect' -l timeout -x -d 'wait so long'
set -l lease_verbs grant keep revoke list show
complete -c kvcli -n "__fish_seen_subcommand_from lease; and not __fish_seen_subcommand_from $lease_verbs" -f -a "$lease_verbs"
complete -c kvcli -n '__fish_seen_subcommand_from lease' -l once -d 'keep it once'
set -l cert_verbs init issue renew list
complete -c kvcli -n "__fish_seen_subcommand_from cert; and not __fish_seen_subcommand_from $cert_verbs" -f -a "$cert_verbs"
complete -c kvcli -n '__fish_seen_subcommand_from promote' -l node -x -d 'which node'
complete -c kvcli -n '__fish_seen_subcommand_from promote' -l force -d 'also if its data may be incomplete'
complete -c kvcli -n "__fish_seen_subcommand_from job; and not __fish_seen_subcommand_from $verbs" -f -a "$verbs"
