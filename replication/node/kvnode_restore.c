/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/node/kvnode_restore.h"

#include "kvstore/backup.h"
#include "kvstore/base/clock.h"
#include "kvstore/base/process.h"
#include "kvstore/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE     (64u * 1024u)
#define MESSAGE_SIZE  1024u
#define GROUP_DEFAULT "default"

struct restoration {
    const char *name; /* of the file */
    int fd;
    const char *group;
    struct kvp_storage *storage;
    struct kvp_backup_reader *reader;
    struct kvp_point base;
    uint64_t group_id;
};

static int restore_complain(const struct restoration *restoration, const char *reason)
{
    fprintf(stderr, "kvnode: --restore: %s: %s\n", restoration->name, reason);
    return EXIT_FAILURE;
}

static kvp_status restore_take(void *arg, kvp_slice pairs)
{
    struct restoration *restoration = arg;
    return kvp_storage_incoming_write(restoration->storage, pairs);
}

/* What the disk says is told before what the reader makes of it. */
static int restore_complain_why(const struct restoration *restoration)
{
    const char *disk = kvp_storage_error(restoration->storage);
    return restore_complain(restoration,
                            disk[0] != '\0' ? disk : kvp_backup_reader_error(restoration->reader));
}

static int restore_read(struct restoration *restoration)
{
    static uint8_t bytes[READ_SIZE];
    for (;;) {
        ssize_t got = read(restoration->fd, bytes, sizeof(bytes));
        if (got < 0 && errno != EINTR) {
            return restore_complain(restoration, strerror(errno));
        }
        if (got == 0) {
            return kvp_backup_reader_end(restoration->reader) == KVP_OK
                       ? EXIT_SUCCESS
                       : restore_complain_why(restoration);
        }
        if (got > 0 && kvp_backup_reader_feed(restoration->reader,
                                              kvp_slice_of(bytes, (size_t)got)) != KVP_OK) {
            return restore_complain_why(restoration);
        }
    }
}

static int restore_finish(struct restoration *restoration)
{
    const struct kvp_backup_header *header = kvp_backup_reader_header(restoration->reader);
    do {
        restoration->group_id = kvp_random_u64();
    } while (restoration->group_id == 0 || restoration->group_id == header->group_id);
    kvp_status status = kvp_storage_restore_finish(restoration->storage, header,
                                                   restoration->group_id, &restoration->base);
    if (status != KVP_OK) {
        const char *disk = kvp_storage_error(restoration->storage);
        return restore_complain(restoration, disk[0] != '\0' ? disk : kvp_strerror(status));
    }
    return EXIT_SUCCESS;
}

static int restore_say(const struct restoration *restoration, unsigned node)
{
    const struct kvp_backup_header *header = kvp_backup_reader_header(restoration->reader);
    const struct kvp_backup_totals *totals = kvp_backup_reader_totals(restoration->reader);
    char when[40] = "at a time that is not known";
    time_t seconds = (time_t)(header->wall_ms / 1000);
    struct tm parts;
    if (header->wall_ms != 0 && gmtime_r(&seconds, &parts) != NULL) {
        (void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &parts);
    }
    printf("restored revision %" PRIu64 " of group %s, taken %s from node %u: %" PRIu64
           " keys, %" PRIu64 " jobs, digest %016" PRIx64 "\n"
           "node %u of a new group %s, id %" PRIu64 ": its revisions go on behind %" PRIu64 "\n"
           "start it as always, and the group's other nodes with empty data directories\n",
           header->point.seq, header->group, when, header->node, totals->keys, totals->jobs,
           totals->digest, node, restoration->group, restoration->group_id, restoration->base.seq);
    return kvp_process_printed("kvnode") ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int restore_into(struct restoration *restoration, struct kvp_env *env, unsigned node)
{
    char message[MESSAGE_SIZE] = "";
    kvp_status status = kvp_storage_restore_begin(env, restoration->group, node,
                                                  &restoration->storage, message, sizeof(message));
    if (status != KVP_OK) {
        fprintf(stderr, "kvnode: --restore: %s\n", message);
        return status == KVP_BAD_ARGUMENT ? 2 : EXIT_FAILURE;
    }
    restoration->reader = kvp_backup_reader_new(restore_take, restoration);
    int code = restoration->reader == NULL
                   ? restore_complain(restoration, kvp_strerror(KVP_NO_MEMORY))
                   : restore_read(restoration);
    code = code == EXIT_SUCCESS ? restore_finish(restoration) : code;
    kvp_storage_restore_end(restoration->storage);
    code = code == EXIT_SUCCESS ? restore_say(restoration, node) : code;
    kvp_backup_reader_free(restoration->reader);
    return code;
}

int kvnode_restore(const kvp_node_options *options, const char *file)
{
    bool standard = strcmp(file, "-") == 0;
    struct restoration restoration = {
        .name = standard ? "standard input" : file,
        .fd = standard ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC),
        .group = options->group != NULL ? options->group : GROUP_DEFAULT,
    };
    struct kvp_env *env = NULL;
    char message[MESSAGE_SIZE] = "";
    if (restoration.fd < 0) {
        return restore_complain(&restoration, strerror(errno));
    }
    kvp_status status = kvp_env_posix_open(options->data_dir, &env, message, sizeof(message));
    if (status != KVP_OK) {
        fprintf(stderr, "kvnode: --restore: %s\n",
                message[0] != '\0' ? message : kvp_strerror(status));
    }
    int code = status == KVP_OK ? restore_into(&restoration, env, options->id) : EXIT_FAILURE;
    if (env != NULL) {
        env->ops->close(env);
    }
    if (!standard) {
        close(restoration.fd);
    }
    return code;
}
