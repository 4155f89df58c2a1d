/* SPDX-License-Identifier: Apache-2.0 */
/* Backups: page after page from the node that gave the first one, which holds the snapshot. */
#include "client/client_priv.h"
#include "replication/wire/asker.h"
#include "replication/wire/wire.h"

#include <stdlib.h>

struct kvp_backup {
    kvp_client *client;
    bool any; /* whoever is primary gives the first page */
    unsigned endpoint;
    uint32_t page_size;
    uint64_t at_least; /* this revision has to be in it */
    uint64_t cursor;   /* of the page that came last; 0: none has */
    uint64_t revision;
    bool ended;
    kvp_buf answer; /* the page's bytes are in it */
    kvp_buf reason;
};

kvp_status kvp_backup_open(kvp_client *client, const char *node, uint64_t at_least,
                           uint32_t page_size, kvp_backup **backup, kvp_result *result)
{
    const char *reason = "";
    kvp_status status = client_require(client != NULL && backup != NULL, result);
    if (status != KVP_OK) {
        return status;
    }
    kvp_backup *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        return client_refuse(result, KVP_NO_MEMORY, "");
    }
    opened->client = client;
    opened->any = node == NULL;
    opened->at_least = at_least;
    opened->page_size = page_size;
    if (node != NULL) {
        status = client_endpoint(client, node, &opened->endpoint, &reason);
    }
    if (status != KVP_OK) {
        free(opened);
        return client_refuse(result, status, reason);
    }
    *backup = opened;
    return client_refuse(result, KVP_OK, "");
}

static struct call backup_call(const kvp_backup *backup, uint64_t cursor, unsigned end)
{
    bool any = backup->any && backup->cursor == 0;
    return (struct call){.core = {.request = {.op = KVP_OP_BACKUP,
                                              .cursor = cursor,
                                              .size_max = backup->page_size,
                                              .version = backup->at_least,
                                              .target = end},
                                  .route = any ? CLIENT_TO_PRIMARY : CLIENT_TO_ONE,
                                  .endpoint = any ? 0 : backup->endpoint}};
}

static kvp_status backup_take_page(kvp_backup *backup, const struct call *call, kvp_slice *bytes)
{
    struct kvp_backup_page page;
    kvp_status status = kvp_wire_read_backup(kvp_buf_slice(&backup->answer), &page);
    if (status != KVP_OK) {
        return status;
    }
    backup->endpoint = call->core.answered_by;
    backup->cursor = page.cursor;
    backup->ended = !page.more;
    backup->revision = page.revision;
    *bytes = page.bytes;
    return KVP_OK;
}

kvp_status kvp_backup_next(kvp_backup *backup, kvp_slice *bytes)
{
    if (backup == NULL || bytes == NULL) {
        return KVP_BAD_ARGUMENT;
    }
    if (backup->ended) {
        return KVP_NOT_FOUND;
    }
    uint64_t wanted = backup->cursor == 0 ? 0 : backup->cursor + 1;
    struct call call = backup_call(backup, wanted, KVP_BACKUP_GOES_ON);
    kvp_status status =
        client_perform(backup->client, &call, client_timeout_ms(backup->client, backup->page_size));
    kvp_buf_free(&backup->answer);
    kvp_buf_free(&backup->reason);
    if (status != KVP_OK) {
        backup->reason = call.result.value;
        return status;
    }
    backup->answer = call.result.value;
    return backup_take_page(backup, &call, bytes);
}

uint64_t kvp_backup_revision(const kvp_backup *backup)
{
    return backup != NULL ? backup->revision : 0;
}

const char *kvp_backup_error(const kvp_backup *backup)
{
    return backup != NULL ? kvp_reason_text(&backup->reason) : "";
}

kvp_status kvp_backup_close(kvp_backup *backup, bool kept)
{
    kvp_status status = KVP_OK;
    if (backup == NULL) {
        return KVP_OK;
    }
    if (kept && !backup->ended) {
        status = KVP_BAD_ARGUMENT;
    } else if (backup->cursor != 0) {
        struct call call =
            backup_call(backup, backup->cursor, kept ? KVP_BACKUP_KEPT : KVP_BACKUP_GIVEN_UP);
        status = client_perform(backup->client, &call, 0);
        client_gather(&call, NULL);
    }
    kvp_buf_free(&backup->answer);
    kvp_buf_free(&backup->reason);
    free(backup);
    return kept ? status : KVP_OK;
}
