/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contracts of replication, looked at after every event, in every mode. A seed that breaks one
 * fails there and then, long before a client could notice:
 *
 *   applied <= commit <= durable <= tail at every node; commit and applied never fall while the
 * store stays the same. What a leading node calls committed is on the disk of every member that may
 * be promoted. Equal seq and epoch: equal hash. Applied entries of equal seq: equal epoch, too. A
 * node that begins to serve has everything in its log that was ever committed. Equal applied point:
 * equal digest of the state, with sessions and jobs; also after a crash, when the digest is
 * computed anew from what the disk has kept. While a node serves, no backup of its view is past its
 * grace. A read is answered by a node that serves at that moment. What a node committed while it
 * was alone in its view is not cut off its log, and not destroyed with its store, until it has been
 * compared; a store is only destroyed for one that was at that place.
 *
 * Under `available` two nodes may serve, and commit what the other never sees: there the second
 * half of the third contract, and the second, the fourth and the last two, are not promised.
 */
#include "sim.h"

#include "kvstore/writeset.h"
#include "replication/core/core_state.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* What has been seen of one seq. Rivals (entries that were never committed) have other epochs. */
struct contract_place {
    struct contract_place *next;
    uint64_t seq, epoch, hash;
    bool applied;
    bool has_digest;
    uint64_t digest; /* of the state with this entry applied */
};

struct contract_node {
    uint64_t life, store_life; /* of the process, of its store */
    uint64_t commit, applied;
    uint64_t alone; /* the last that it committed alone in its view; 0: others have it */
    uint64_t owed;  /* up to there it has what was acknowledged and is served no more; 0: none */
    bool put_back;  /* it was, while the register was emptied, and has not caught up since */
    bool known;     /* the digest is that of the node's state */
    uint64_t digest;
};

struct sim_contract {
    struct contract_place **places; /* by seq */
    size_t capacity;
    struct contract_node nodes[SIM_COPY + 1];
    uint64_t committed; /* the highest that any leading node called so */
    bool twice;         /* views, and so entries, of one epoch were made twice */
};

kvp_status sim_contract_start(struct sim *sim)
{
    sim->contract = calloc(1, sizeof(*sim->contract));
    return sim->contract != NULL ? KVP_OK : KVP_NO_MEMORY;
}

static void contract_forget(struct sim_contract *contract)
{
    for (size_t i = 0; i < contract->capacity; i++) {
        while (contract->places[i] != NULL) {
            struct contract_place *place = contract->places[i];
            contract->places[i] = place->next;
            free(place);
        }
    }
}

void sim_contract_free(struct sim *sim)
{
    if (sim->contract != NULL) {
        contract_forget(sim->contract);
        free(sim->contract->places);
        free(sim->contract);
        sim->contract = NULL;
    }
}

static bool contract_one_history(const struct sim *sim)
{
    return sim->plan.policy != KVP_PAIR_AVAILABLE;
}

/* ---- entries ---- */

static struct contract_place *contract_place(struct sim *sim, struct kvp_point point)
{
    struct sim_contract *contract = sim->contract;
    if (point.seq >= contract->capacity) {
        size_t capacity = contract->capacity ? contract->capacity : 1024;
        while (capacity <= point.seq) {
            capacity *= 2;
        }
        contract->places = realloc(contract->places, capacity * sizeof(struct contract_place *));
        if (contract->places == NULL) {
            abort();
        }
        memset(contract->places + contract->capacity, 0,
               (capacity - contract->capacity) * sizeof(struct contract_place *));
        contract->capacity = capacity;
    }
    struct contract_place *place = contract->places[point.seq];
    while (place != NULL && (place->epoch != point.epoch || place->hash != point.hash)) {
        if (place->epoch == point.epoch && !sim->contract->twice) {
            sim_fail(sim, "two entries %llu of epoch %llu", (unsigned long long)point.seq,
                     (unsigned long long)point.epoch);
        }
        place = place->next;
    }
    if (place == NULL) {
        place = calloc(1, sizeof(*place));
        if (place == NULL) {
            abort();
        }
        *place = (struct contract_place){contract->places[point.seq], point.seq, point.epoch,
                                         point.hash, .digest = 0};
        contract->places[point.seq] = place;
    }
    return place;
}

static void contract_applied(struct sim *sim, const struct sim_node *node, struct kvp_point point)
{
    struct contract_place *place = contract_place(sim, point);
    place->applied = true;
    const struct contract_place *other = sim->contract->places[point.seq];
    for (; contract_one_history(sim) && !sim->contract->twice && other != NULL;
         other = other->next) {
        if (other != place && other->applied) {
            sim_fail(sim, "%u applies entry %llu of epoch %llu, another node that of %llu",
                     node->id, (unsigned long long)point.seq, (unsigned long long)point.epoch,
                     (unsigned long long)other->epoch);
        }
    }
}

/* ---- the digest of the state: a sum over its pairs, so that their order does not matter ---- */

static uint64_t contract_pair(kvp_slice key, kvp_slice value)
{
    uint64_t hash = XXH3_64bits(key.data, key.size);
    return XXH3_64bits_withSeed(value.data, value.size, hash) | 1;
}

static uint64_t contract_stored(const struct sim_node *node, kvp_slice key)
{
    kvp_buf value = {0};
    kvp_status status = kvp_storage_get(node->storage, key, &value);
    uint64_t pair = status == KVP_OK ? contract_pair(key, kvp_buf_slice(&value)) : 0;
    kvp_buf_free(&value);
    return pair;
}

/* Adds the pairs of all keys that the entries write, each once. */
static uint64_t contract_touched(const struct sim_node *node, const struct kvp_storage_write *write)
{
    uint64_t sum = 0, *seen = NULL;
    size_t count = 0, capacity = 0;
    for (size_t i = 0; i < write->apply_count; i++) {
        struct kvp_writeset_iter iter;
        struct kvp_batch_op op;
        kvp_writeset_begin(&iter, kvp_slice_of(write->apply[i]->payload, write->apply[i]->size));
        while (kvp_writeset_next(&iter, &op) == KVP_OK) {
            uint64_t hash = XXH3_64bits(op.key.data, op.key.size);
            size_t at = 0;
            while (at < count && seen[at] != hash) {
                at++;
            }
            if (at < count) {
                continue;
            }
            if (count == capacity) {
                capacity = capacity ? capacity * 2 : 64;
                seen = realloc(seen, capacity * sizeof(*seen));
                if (seen == NULL) {
                    abort();
                }
            }
            seen[count++] = hash;
            sum += contract_stored(node, op.key);
        }
    }
    free(seen);
    return sum;
}

static uint64_t contract_whole(struct sim_node *node, struct kvp_point *point)
{
    struct kvp_state_view *view = kvp_storage_snapshot(node->storage);
    kvp_slice all = {0}, key, value;
    uint64_t sum = 0;
    *point = kvp_state_view_point(view);
    kvp_state_view_seek(view, all, all);
    while (kvp_state_view_read(view, &key, &value) == KVP_OK) {
        sum += contract_pair(key, value);
        kvp_state_view_next(view);
    }
    kvp_state_view_close(view);
    return sum;
}

static void contract_digest(struct sim *sim, const struct sim_node *node, struct kvp_point point)
{
    const struct contract_node *known = &sim->contract->nodes[node->id];
    struct contract_place *place = contract_place(sim, point);
    if (place->has_digest && place->digest != known->digest) {
        sim_fail(sim, "the state of %u at %llu differs from another node's", node->id,
                 (unsigned long long)point.seq);
    }
    place->has_digest = true;
    place->digest = known->digest;
}

/* The state is read anew: a store that was opened, received, or emptied. */
void sim_contract_opened(struct sim *sim, struct sim_node *node)
{
    struct contract_node *known = &sim->contract->nodes[node->id];
    struct kvp_point point;
    known->digest = contract_whole(node, &point);
    known->known = true;
    contract_digest(sim, node, point);
}

static const struct kvp_core *contract_core(const struct sim_node *node)
{
    return node->alive && node->executor != NULL ? kvp_executor_core(node->executor) : NULL;
}

/* Rule R6: nothing goes unseen that only this node may have. */
static void contract_replaced(struct sim *sim, const struct sim_node *node,
                              const struct kvp_disk_job *job)
{
    struct contract_node *known = &sim->contract->nodes[node->id];
    const struct kvp_core *core = contract_core(node);
    bool destroys = job->op == KVP_DISK_INCOMING_FINISH && job->keep == KVP_KEEP_NOT;
    if (destroys && known->alone != 0) {
        sim_fail(sim, "%u destroys its store, where it had committed %llu alone", node->id,
                 (unsigned long long)known->alone);
    }
    if (job->keep != KVP_KEEP && known->owed != 0) {
        sim_fail(sim, "%u destroys its store, where %llu was acknowledged", node->id,
                 (unsigned long long)known->owed);
    }
    known->owed = 0;
    if (destroys && core != NULL && core->log.tail.seq > 0) {
        const struct contract_place *place = contract_place(sim, job->point);
        if (!place->has_digest && !place->applied) {
            sim_fail(sim, "%u destroys its store for one at %llu, where nobody was", node->id,
                     (unsigned long long)job->point.seq);
        }
    }
    known->alone = 0;
}

static void contract_exchange(struct sim *sim, struct sim_node *node, struct kvp_disk_job *job)
{
    bool other = job->op == KVP_DISK_INCOMING_FINISH || job->op == KVP_DISK_QUARANTINE;
    kvp_disk_run(&node->disk, job);
    if (other && job->status == KVP_OK) {
        contract_replaced(sim, node, job);
        sim_contract_opened(sim, node);
    }
}

static bool contract_changes_store(enum kvp_disk_op op)
{
    return op == KVP_DISK_WRITE || op == KVP_DISK_INCOMING_FINISH || op == KVP_DISK_QUARANTINE;
}

/* Whatever changes the store is in one queue, and waits for what was asked before: nothing of that
 * kind may be left in the other one. */
static void contract_overtakes(struct sim *sim, const struct sim_node *node,
                               const struct kvp_disk_job *job)
{
    const struct sim_disk_queue *other = job == node->writer.first ? &node->sender : &node->writer;
    const struct kvp_disk_job *waiting = other->ran ? other->first->next : other->first;
    while (waiting != NULL && !contract_changes_store(waiting->op)) {
        waiting = waiting->next;
    }
    if (waiting != NULL && contract_changes_store(job->op)) {
        sim_fail(sim, "%u: what changes its store overtakes what was asked before", node->id);
    }
}

void sim_contract_run(struct sim *sim, struct sim_node *node, struct kvp_disk_job *job)
{
    struct contract_node *known = &sim->contract->nodes[node->id];
    const struct kvp_storage_write *write = &job->write;
    contract_overtakes(sim, node, job);
    if (job->op != KVP_DISK_WRITE) {
        contract_exchange(sim, node, job);
        return;
    }
    if (write->truncate && write->truncate_after < known->alone) {
        sim_fail(sim, "%u cuts its log after %llu, and had committed %llu alone", node->id,
                 (unsigned long long)write->truncate_after, (unsigned long long)known->alone);
    }
    if (write->truncate && write->truncate_after < known->owed) {
        sim_fail(sim, "%u cuts its log after %llu, where %llu was acknowledged", node->id,
                 (unsigned long long)write->truncate_after, (unsigned long long)known->owed);
    }
    for (size_t i = 0; i < write->append_count; i++) {
        contract_place(sim, write->append[i]->point);
    }
    for (size_t i = 0; i < write->apply_count; i++) {
        contract_applied(sim, node, write->apply[i]->point);
    }
    bool applies = write->apply_count > 0 && known->known;
    uint64_t before = applies ? contract_touched(node, write) : 0;
    kvp_disk_run(&node->disk, job);
    known->known = known->known && job->status == KVP_OK;
    if (applies && known->known) {
        known->digest += contract_touched(node, write) - before;
        contract_digest(sim, node, write->apply[write->apply_count - 1]->point);
    }
}

/* ---- after every event ---- */

static void contract_order(struct sim *sim, const struct sim_node *node,
                           const struct kvp_core *core)
{
    struct contract_node *known = &sim->contract->nodes[node->id];
    if (core->applied > core->commit || core->commit > core->durable.seq ||
        (core->durable.seq > core->log.tail.seq && !core->loading)) {
        sim_fail(sim, "%u: applied %llu, commit %llu, durable %llu, tail %llu", node->id,
                 (unsigned long long)core->applied, (unsigned long long)core->commit,
                 (unsigned long long)core->durable.seq, (unsigned long long)core->log.tail.seq);
    }
    bool same = known->life == node->life && known->store_life == core->incarnation;
    if (same && (core->commit < known->commit || core->applied < known->applied)) {
        sim_fail(sim, "%u: commit fell from %llu to %llu, or applied from %llu to %llu", node->id,
                 (unsigned long long)known->commit, (unsigned long long)core->commit,
                 (unsigned long long)known->applied, (unsigned long long)core->applied);
    }
    known->life = node->life;
    known->store_life = core->incarnation;
    known->commit = core->commit;
    known->applied = core->applied;
}

/* What was made alone is so until others are members, or have been found to have it. */
static void contract_alone(struct sim *sim, const struct sim_node *node,
                           const struct kvp_core *core)
{
    struct contract_node *known = &sim->contract->nodes[node->id];
    bool alone = core->view.in_sync == kvp_set_of((uint8_t)node->self);
    if (!core_leading(core)) {
        known->alone = core->meta.unreplicated_from != 0 ? known->alone : 0;
    } else if (alone && core->role == KVP_ROLE_PRIMARY) {
        known->alone = core->commit;
    } else if (!alone) {
        known->alone = 0;
    }
}

/* A store that does not speak for its node is none. */
static const struct kvp_core *contract_member(const struct sim *sim, unsigned place)
{
    const struct sim_node *node = &sim->nodes[place];
    return sim_copies_stranger(sim, node) ? NULL : contract_core(node);
}

/* A member that has not promised to count (it was emptied, or lost part of its log) is not meant;
 * nor is one that was put back when the register was emptied, too, so that nobody could know:
 * whoever leads finds out when it hears of its log. */
static void contract_committed(struct sim *sim, const struct sim_node *node,
                               const struct kvp_core *core)
{
    for (unsigned i = 1; i <= SIM_COPY; i++) {
        const struct kvp_core *member = contract_member(sim, i);
        bool *put_back = &sim->contract->nodes[i].put_back;
        *put_back = *put_back && (member == NULL || member->durable.seq < core->commit);
        if (member != NULL && !*put_back && kvp_set_has(core->view.in_sync, sim->nodes[i].self) &&
            member->meta.member_epoch != 0 && !member->meta.log_regressed && !member->replacing &&
            member->durable.seq < core->commit) {
            sim_fail(sim, "%u calls %llu committed, %u has %llu on its disk", node->id,
                     (unsigned long long)core->commit, i, (unsigned long long)member->durable.seq);
        }
    }
    if (core->commit > sim->contract->committed) {
        sim->contract->committed = core->commit;
    }
}

static void contract_serves(struct sim *sim, const struct sim_node *node,
                            const struct kvp_core *core)
{
    if (core->log.tail.seq < sim->contract->committed) {
        sim_fail(sim, "%u serves with a log up to %llu, %llu was committed", node->id,
                 (unsigned long long)core->log.tail.seq,
                 (unsigned long long)sim->contract->committed);
    }
    for (unsigned i = 1; i <= SIM_COPY; i++) {
        const struct kvp_core *member = contract_member(sim, i);
        if (i == node->id || member == NULL || sim->nodes[i].paused ||
            member->role != KVP_ROLE_BACKUP || member->view.epoch != core->view.epoch ||
            !kvp_set_has(core->view.in_sync, sim->nodes[i].self)) {
            continue;
        }
        uint64_t silence = sim_node_clock(sim, &sim->nodes[i]) - member->heard_primary_us;
        if (silence > member->config.grace_us) {
            sim_fail(sim, "%u serves while %u has not heard it for %llu us", node->id, i,
                     (unsigned long long)silence);
        }
    }
}

/* Before the nodes die. What they have applied since is another history's. */
void sim_contract_accident(struct sim *sim, uint64_t old_end)
{
    struct sim_contract *contract = sim->contract;
    for (unsigned i = 1; i <= sim->plan.nodes; i++) {
        const struct kvp_core *core = contract_core(&sim->nodes[i]);
        uint64_t end = core != NULL ? core->durable.seq : 0;
        end = end < contract->committed ? end : contract->committed;
        memset(&contract->nodes[i], 0, sizeof(contract->nodes[i]));
        contract->nodes[i].put_back = i == sim->accident.who;
        contract->nodes[i].owed = i != sim->accident.who && end > old_end ? end : 0;
    }
    contract_forget(contract);
    contract->committed = 0;
    contract->twice = true;
}

void sim_contract_put_aside(struct sim *sim, unsigned id)
{
    sim->contract->nodes[id].owed = 0;
}

void sim_contract_copied(struct sim *sim, unsigned from, unsigned to)
{
    sim->contract->nodes[to] = sim->contract->nodes[from];
}

void sim_contract_exchanged(struct sim *sim, unsigned a, unsigned b)
{
    struct contract_node known = sim->contract->nodes[a];
    sim->contract->nodes[a] = sim->contract->nodes[b];
    sim->contract->nodes[b] = known;
}

void sim_contract_step(struct sim *sim)
{
    for (unsigned i = 1; i <= SIM_COPY; i++) {
        const struct sim_node *node = &sim->nodes[i];
        const struct kvp_core *core = contract_core(node);
        if (core == NULL || core->role == KVP_ROLE_FAILED) {
            continue;
        }
        contract_order(sim, node, core);
        contract_alone(sim, node, core);
        if (core_leading(core) && contract_one_history(sim)) {
            contract_committed(sim, node, core);
        }
        if (node->serving && contract_one_history(sim)) {
            contract_serves(sim, node, core);
        }
    }
}

void sim_contract_read(struct sim *sim, const struct sim_node *node)
{
    const struct kvp_core *core = contract_core(node);
    if (contract_one_history(sim) && core != NULL &&
        !kvp_core_serving(core, sim_node_clock(sim, node))) {
        sim_fail(sim, "%u answers a read without the leases to serve", node->id);
    }
}
