/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of matrices that are kept: the tasks of a product share them, and each travels once. Those
 * not used for the longest time make room. A block that two tasks want at once is fetched once.
 */
#include "client/kvworker/kvworker.h"

#include <stdlib.h>
#include <string.h>

#define KEPT_MAX (256u * 1024u * 1024u) /* bytes; more only while tasks use them */

void kvworker_blocks_init(struct kvworker_blocks *blocks)
{
    memset(blocks, 0, sizeof(*blocks));
    pthread_mutex_init(&blocks->lock, NULL);
    pthread_cond_init(&blocks->changed, NULL);
}

static void block_free(struct kvworker_block *block)
{
    kvp_buf_free(&block->elements);
    free(block);
}

void kvworker_blocks_free(struct kvworker_blocks *blocks)
{
    while (blocks->first != NULL) {
        struct kvworker_block *block = blocks->first;
        blocks->first = block->next;
        block_free(block);
    }
    pthread_cond_destroy(&blocks->changed);
    pthread_mutex_destroy(&blocks->lock);
}

static void put_first(struct kvworker_blocks *blocks, struct kvworker_block *block)
{
    block->next = blocks->first;
    blocks->first = block;
}

/* Takes it out of the list; NULL: it is not there. */
static struct kvworker_block *take_out(struct kvworker_blocks *blocks, uint64_t job,
                                       uint32_t number)
{
    for (struct kvworker_block **link = &blocks->first; *link != NULL; link = &(*link)->next) {
        struct kvworker_block *block = *link;
        if (block->job == job && block->number == number) {
            *link = block->next;
            return block;
        }
    }
    return NULL;
}

/* What could not be fetched goes at once. */
static bool blocks_may_go(const struct kvworker_blocks *blocks, const struct kvworker_block *block)
{
    return block->users == 0 && (blocks->size > KEPT_MAX || block->status != KVP_OK);
}

static void blocks_make_room(struct kvworker_blocks *blocks)
{
    struct kvworker_block **last;
    do {
        last = NULL;
        for (struct kvworker_block **link = &blocks->first; *link != NULL; link = &(*link)->next) {
            last = blocks_may_go(blocks, *link) ? link : last;
        }
        if (last != NULL) {
            struct kvworker_block *block = *last;
            *last = block->next;
            blocks->size -= block->elements.size;
            block_free(block);
        }
    } while (last != NULL);
}

static void blocks_load(struct kvworker *worker, struct kvworker_block *block)
{
    struct kvworker_blocks *blocks = &worker->blocks;
    kvp_result result;
    pthread_mutex_unlock(&blocks->lock);
    kvp_status status = kvp_job_block(worker->client, block->job, block->number, &result);
    pthread_mutex_lock(&blocks->lock);
    block->status = status;
    block->loading = false;
    if (status == KVP_OK) {
        block->elements = result.value;
        result.value = (kvp_buf){0};
        blocks->size += block->elements.size;
    }
    kvp_result_free(&result);
    blocks_make_room(blocks);
    pthread_cond_broadcast(&blocks->changed);
}

struct kvworker_block *kvworker_block_take(struct kvworker *worker, uint64_t job, uint32_t number)
{
    struct kvworker_blocks *blocks = &worker->blocks;
    pthread_mutex_lock(&blocks->lock);
    struct kvworker_block *block = take_out(blocks, job, number);
    bool fresh = block == NULL;
    if (fresh) {
        block = calloc(1, sizeof(*block));
    }
    if (block == NULL) {
        pthread_mutex_unlock(&blocks->lock);
        return NULL;
    }
    put_first(blocks, block);
    block->users++;
    if (fresh) {
        block->job = job;
        block->number = number;
        block->loading = true;
        blocks_load(worker, block);
    }
    while (block->loading) {
        pthread_cond_wait(&blocks->changed, &blocks->lock);
    }
    pthread_mutex_unlock(&blocks->lock);
    return block;
}

void kvworker_block_give_back(struct kvworker *worker, struct kvworker_block *block)
{
    struct kvworker_blocks *blocks = &worker->blocks;
    pthread_mutex_lock(&blocks->lock);
    block->users--;
    blocks_make_room(blocks);
    pthread_mutex_unlock(&blocks->lock);
}
