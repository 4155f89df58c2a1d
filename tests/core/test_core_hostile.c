/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages that are well-formed and absurd, as the decoder lets them through: from strangers, from
 * known nodes that have gone mad, with numbers at the limits. No assertion may fail, nothing may
 * pile up, and a core that was told nothing but nonsense works with its real peers afterwards.
 */
#include "core_support.h"

#include "replication/core/core_state.h"
#include "replication/wire/wire_parts.h"

#include <string.h>

#define LAST (KVP_WIRE_NUMBER_END - 1)

/* What the liar knows and dares. */
struct liar {
    struct world *world;
    unsigned target;
    bool newer_views; /* else none is newer than the target's */
};

static uint64_t below(const struct liar *liar, uint64_t end)
{
    return world_random(liar->world, end);
}

static bool chance(const struct liar *liar, unsigned percent)
{
    return below(liar, 100) < percent;
}

static const struct node *target(const struct liar *liar)
{
    return &liar->world->nodes[liar->target];
}

/* ---- values ---- */

static uint64_t number(const struct liar *liar, uint64_t around)
{
    switch (below(liar, 10)) {
    case 0:
        return 0;
    case 1:
        return LAST - below(liar, 3);
    case 2:
        return below(liar, LAST);
    case 3:
        return below(liar, 20);
    case 4:
    case 5:
        return around < LAST ? around + 1 : around;
    case 6:
        return around ? around - 1 : 0;
    default:
        return around;
    }
}

/* The decoder bounds only what is counted with. */
static uint64_t any_number(const struct liar *liar, uint64_t around)
{
    return chance(liar, 10) ? UINT64_MAX - below(liar, 2) : number(liar, around);
}

static struct kvp_point point(const struct liar *liar)
{
    const struct disk *disk = &target(liar)->disk;
    struct kvp_point some = disk->tail;
    switch (below(liar, 4)) {
    case 0:
        some = disk->applied;
        break;
    case 1:
        (void)disk_point(disk, disk->first + below(liar, disk->tail.seq + 2 - disk->first), &some);
        break;
    case 2:
        some.seq = number(liar, disk->tail.seq);
        some.epoch = number(liar, disk->tail.epoch);
        some.hash = chance(liar, 50) ? some.hash : below(liar, 0);
        break;
    default:
        break;
    }
    return some;
}

static struct kvp_view view(const struct liar *liar)
{
    struct kvp_view real = *kvp_core_view(target(liar)->core), some = real;
    if (chance(liar, 60)) {
        return real;
    }
    some.version = number(liar, real.version);
    some.epoch = number(liar, real.epoch);
    if (!liar->newer_views && some.epoch > real.epoch) {
        some.epoch = real.epoch;
    }
    some.primary = (uint8_t)(1 + below(liar, chance(liar, 80) ? 3 : KVP_NODE_ID_MAX));
    some.in_sync = chance(liar, 80) ? below(liar, 16) : below(liar, 0);
    some.in_sync = (some.in_sync | kvp_set_of(some.primary)) & ~(kvp_node_set)1;
    return kvp_wire_view_is_sound(&some) ? some : (struct kvp_view){0};
}

static uint64_t group_id(const struct liar *liar)
{
    return chance(liar, 95) ? kvp_core_group_id(target(liar)->core) : below(liar, 3);
}

static struct kvp_peer_report report(const struct liar *liar)
{
    const struct kvp_core *core = target(liar)->core;
    uint64_t tail = target(liar)->disk.tail.seq;
    return (struct kvp_peer_report){
        .role = (uint8_t)below(liar, KVP_ROLE_STOPPED + 1),
        .blank = chance(liar, 10),
        .log_regressed = chance(liar, 10),
        .unsettled = chance(liar, 10),
        .view = view(liar),
        .tail = point(liar),
        .commit = point(liar),
        .received = any_number(liar, tail),
        .member_epoch = any_number(liar, kvp_core_view(core)->epoch),
        .snapshot = any_number(liar, core->peers[0].snapshot.id),
        .wanted = any_number(liar, core->peers[0].snapshot.index + 1),
    };
}

/* ---- messages ---- */

static void fill_entries(const struct liar *liar, struct kvp_peer_request *request)
{
    struct kvp_point previous = request->prev;
    size_t count = chance(liar, 60) ? below(liar, 6) : 0;
    for (size_t i = 0; i < count && previous.seq < LAST; i++) {
        struct kvp_entry *entry = kvp_entry_new(sizeof(uint64_t));
        uint64_t epoch = number(liar, request->view.epoch);
        assert_non_null(entry);
        memcpy(entry->payload, &epoch, sizeof(epoch));
        kvp_entry_chain(entry, previous, epoch);
        previous = entry->point;
        request->entries[request->entry_count++] = entry;
    }
    request->end = number(liar, previous.seq);
    request->end = request->end < previous.seq ? previous.seq : request->end;
}

static void fill(const struct liar *liar, struct kvp_peer_request *request, unsigned from)
{
    static uint64_t chunk[2];
    const struct kvp_core *core = target(liar)->core;
    request->op = KVP_OP_STATE + (unsigned)below(liar, KVP_OP_RESIGN - KVP_OP_STATE + 1);
    request->from = (uint8_t)from;
    request->to = (uint8_t)(chance(liar, 98) ? liar->target : below(liar, 63) + 1);
    request->group_id = group_id(liar);
    request->sent_us = any_number(liar, liar->world->now_us);
    request->view = view(liar);
    request->report = report(liar);
    request->commit = point(liar);
    request->prepare = chance(liar, 20);
    request->incarnation = any_number(liar, core->incarnation);
    request->diverged = chance(liar, 5);
    request->forced = liar->newer_views ? number(liar, request->view.epoch) : 0;
    request->prev = point(liar);
    request->lead_epoch = number(liar, request->view.epoch);
    request->entry_count = 0;
    request->snapshot = any_number(liar, core->incoming.id);
    request->index = any_number(liar, core->incoming.next);
    request->last = chance(liar, 30);
    request->point = point(liar);
    request->chunk = kvp_slice_of(chunk, chance(liar, 90) ? sizeof(chunk) : below(liar, 8));
    request->expected = any_number(liar, core->meta.view.version);
    request->proposed = view(liar);
    if (request->proposed.primary == 0) {
        request->proposed = *kvp_core_view(core);
    }
    if (request->op == KVP_OP_APPEND) {
        fill_entries(liar, request);
    }
}

static void tell(const struct liar *liar, unsigned from)
{
    static struct kvp_peer_request request;
    fill(liar, &request, from);
    world_request(liar->world, liar->target, &request);
    for (size_t i = 0; i < request.entry_count; i++) {
        kvp_entry_unref(request.entries[i]);
    }
}

static void answer(const struct liar *liar, unsigned from)
{
    struct world *world = liar->world;
    struct kvp_peer_reply reply = {
        .code = chance(liar, 70) ? KVP_OK : -(int)below(liar, 31),
        .op = KVP_OP_STATE + (unsigned)below(liar, KVP_OP_RESIGN - KVP_OP_STATE + 1),
        .from = (uint8_t)from,
        .group_id = group_id(liar),
        .echo_us = any_number(liar, world->now_us - below(liar, 200 * MS)),
        .report = report(liar),
    };
    kvp_core_reply(target(liar)->core, world->now_us, &reply);
    kvp_core_flush(target(liar)->core, world->now_us);
}

/* ---- what must not pile up ---- */

static void check_bounded(const struct world *world)
{
    for (unsigned i = 1; i <= world->count; i++) {
        const struct node *node = &world->nodes[i];
        if (!node->alive) {
            continue;
        }
        const struct kvp_core_log *log = &node->core->log;
        size_t jobs = 0;
        assert_true(node->tokens <= KVP_CORE_WAITERS + 2 + node->core->peer_count);
        assert_true(log->tail.seq + 1 - log->first <= log->capacity);
        for (const struct kvp_core *core = node->core; jobs < core->peer_count; jobs++) {
            assert_true(core->peers[jobs].snapshot.chunk.size <= KVP_CHUNK_SIZE);
            assert_true(core->peers[jobs].flight_count <= KVP_CORE_FLIGHTS);
        }
        assert_true(world_jobs(node) < 64);
    }
}

static void setup(struct world *world, unsigned count, enum kvp_pair_policy policy, uint64_t seed)
{
    world_open(world, count);
    world->config.policy = policy;
    world->config.sync_replicas = count == 3 ? 2 : 0;
    world->config.log_size_max = world->config.cache_size_max = 256;
    world_form(world);
    world_put(world, 1, 20);
    world_run(world, SECONDS);
    world->random = seed;
    world->hostile = true;
}

static void put_anywhere(struct world *world)
{
    for (unsigned id = 1; id <= world->count; id++) {
        if (world->nodes[id].alive && kvp_core_accepting(world->nodes[id].core, world->now_us)) {
            world_put(world, id, 1);
        }
    }
}

static unsigned server(struct world *world)
{
    unsigned found = 0;
    for (unsigned id = 1; id <= world->count; id++) {
        if (world_serves(world, id)) {
            assert_int_equal(found, 0);
            found = id;
        }
    }
    return found;
}

/* ---- strangers: nodes of other groups, and of none ---- */

static void test_strangers_change_nothing(void **state)
{
    (void)state;
    struct world world;
    setup(&world, 3, KVP_PAIR_NONE, 1);
    struct kvp_view before = *kvp_core_view(world.nodes[1].core);
    for (unsigned i = 0; i < 20000; i++) {
        struct liar liar = {&world, 1 + i % 3, true};
        unsigned from = 4 + (unsigned)world_random(&world, 60);
        if (world_random(&world, 2)) {
            tell(&liar, from);
        } else {
            answer(&liar, from);
        }
        if (i % 50 == 0) {
            assert_true(world_serves(&world, 1));
            world_put(&world, 1, 1);
            world_run(&world, 2 * MS);
        }
    }
    world_run(&world, SECONDS);
    assert_true(kvp_view_equal(&before, kvp_core_view(world.nodes[1].core)));
    assert_same(&world, set_to(3));
    world_close(&world);
}

/* ---- nonsense that claims no newer view: it passes ---- */

static void nonsense(uint64_t seed)
{
    struct world world;
    setup(&world, 3, KVP_PAIR_NONE, seed);
    for (unsigned i = 0; i < 4000; i++) {
        struct liar liar = {&world, 1 + i % 3, false};
        unsigned from = 1 + (unsigned)world_random(&world, 3);
        if (from == liar.target) {
            continue;
        }
        if (world_random(&world, 2)) {
            tell(&liar, from);
        } else {
            answer(&liar, from);
        }
        check_bounded(&world);
        if (i % 8 == 0) {
            put_anywhere(&world);
            world_run(&world, world_random(&world, 20 * MS));
        }
    }
    world_run(&world, 60 * SECONDS);
    unsigned primary = server(&world);
    assert_true(primary != 0);
    assert_int_equal(kvp_set_count(kvp_core_view(world.nodes[primary].core)->in_sync), 2);
    world_put(&world, primary, 3);
    world_run(&world, 5 * SECONDS);
    assert_same(&world, set_to(3));
    world_close(&world);
}

static void test_nonsense_passes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        nonsense(seed);
    }
}

/* ---- anything at all: no order is kept, but nothing breaks ---- */

static struct world *lied_to; /* whose arbiter lies */

static bool lying_arbiter(struct node *node, const struct kvp_arbiter_request *request,
                          struct kvp_arbiter_answer *answer)
{
    static const kvp_status codes[] = {KVP_OK,      KVP_STALE_VIEW,  KVP_NOT_SEEDED,
                                       KVP_REFUSED, KVP_WRONG_GROUP, KVP_TIMEOUT};
    struct liar liar = {lied_to, node->id, true};
    answer->status = codes[below(&liar, 6)];
    answer->group_id = chance(&liar, 90) ? request->group_id : below(&liar, 0);
    answer->view = chance(&liar, 30) ? request->view : view(&liar);
    return chance(&liar, 80);
}

static void operators(const struct liar *liar)
{
    struct world *world = liar->world;
    switch (below(liar, 200)) {
    case 0:
        world_promote(world, liar->target, chance(liar, 50));
        break;
    case 1:
        world_handover(world, liar->target, (unsigned)below(liar, 5));
        break;
    case 2:
    case 3:
        world_link(world, liar->target, 1 + (unsigned)below(liar, 4), chance(liar, 70));
        break;
    case 4:
        world_kill(world, liar->target);
        if (chance(liar, 20)) {
            disk_blank(&world->nodes[liar->target]);
        }
        world_start(world, liar->target);
        break;
    default:
        break;
    }
}

static void madness(unsigned count, enum kvp_pair_policy policy, uint64_t seed)
{
    struct world world;
    setup(&world, count, policy, seed);
    lied_to = &world;
    world.arbiter = seed % 2 ? lying_arbiter : NULL;
    for (unsigned i = 0; i < 4000; i++) {
        struct liar liar = {&world, 1 + (unsigned)world_random(&world, count), true};
        unsigned from = 1 + (unsigned)world_random(&world, count);
        if (from != liar.target && world_random(&world, 2)) {
            tell(&liar, from);
        } else if (from != liar.target) {
            answer(&liar, from);
        }
        operators(&liar);
        check_bounded(&world);
        if (i % 4 == 0) {
            put_anywhere(&world);
            world_run(&world, world_random(&world, 30 * MS));
        }
    }
    for (unsigned id = 1; id <= count; id++) {
        assert_int_not_equal(kvp_core_role(world.nodes[id].core), KVP_ROLE_FAILED);
    }
    world_close(&world);
}

static void test_madness(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        madness(3, KVP_PAIR_NONE, seed);
        for (int policy = KVP_PAIR_BACKUP_WINS; policy <= KVP_PAIR_AVAILABLE; policy++) {
            madness(2, (enum kvp_pair_policy)policy, seed);
        }
    }
}

/* Nodes that are blank, or broken, are told things, too. */
static void test_blank_and_broken(void **state)
{
    (void)state;
    for (unsigned broken = 0; broken < 2; broken++) {
        struct world world;
        world_open(&world, 2);
        world.hostile = true;
        world.random = 5;
        world_start(&world, 2);
        world_run(&world, SECONDS);
        if (broken) {
            kvp_core_fail(world.nodes[2].core, world.now_us);
        }
        for (unsigned i = 0; i < 5000; i++) {
            struct liar liar = {&world, 2, true};
            world_random(&world, 2) ? tell(&liar, 1) : answer(&liar, 1);
            check_bounded(&world);
            if (i % 10 == 0) {
                world_run(&world, world_random(&world, 10 * MS));
            }
        }
        world_close(&world);
    }
}

/* ---- a forger who knows the group: views that the arbiter never made ---- */

static struct kvp_peer_request *forged(const struct world *world, unsigned op)
{
    static struct kvp_peer_request request;
    static struct kvp_view lie; /* the victim may learn better, and is told of another one then */
    const struct node *victim = &world->nodes[2];
    struct kvp_view view = *kvp_core_view(victim->core);
    memset(&request, 0, offsetof(struct kvp_peer_request, entry_count));
    request.entry_count = 0;
    request.op = op;
    request.from = 1;
    request.to = 2;
    request.group_id = kvp_core_group_id(victim->core);
    request.sent_us = world->now_us;
    if (!kvp_view_equal(&view, &lie)) {
        view.version += 3; /* not what the arbiter makes meanwhile */
        view.epoch += 3;
        view.primary = 1;
        view.in_sync = set2(1, 3);
        lie = view;
    }
    request.view = view;
    request.commit = victim->disk.tail;
    return &request;
}

static void forged_append(struct world *world, struct kvp_point *tail)
{
    struct kvp_peer_request *request = forged(world, KVP_OP_APPEND);
    struct kvp_entry *entry = kvp_entry_new(sizeof(uint64_t));
    assert_non_null(entry);
    request->prev = *tail;
    memcpy(entry->payload, &request->view.epoch, sizeof(uint64_t));
    kvp_entry_chain(entry, *tail, request->view.epoch);
    *tail = entry->point;
    request->lead_epoch = request->view.epoch;
    request->end = tail->seq;
    request->entries[request->entry_count++] = entry;
    world_request(world, 2, request);
    kvp_entry_unref(entry);
}

static void forged_chunk(struct world *world, size_t size)
{
    static const uint64_t chunk[2];
    struct kvp_peer_request *request = forged(world, KVP_OP_SNAPSHOT);
    request->snapshot = 77;
    request->last = true;
    request->point = (struct kvp_point){1000, request->view.epoch, 5};
    request->chunk = kvp_slice_of(chunk, size);
    world_request(world, 2, request);
}

/* A chunk that the disk refuses, for whatever reason, while the store is about to be quarantined:
 * until it is, nothing more is written. */
static void refused_chunk(kvp_status status)
{
    struct world world;
    setup(&world, 3, KVP_PAIR_NONE, 1);
    world_isolate(&world, 2);
    world_witness(&world, 2, false);
    world_request(&world, 2, forged(&world, KVP_OP_HEARTBEAT));
    world_run(&world, 31 * SECONDS); /* it waits for the register no longer */
    struct kvp_point tail = world.nodes[2].disk.tail;
    world.nodes[2].disk_us = 5 * MS;
    forged_append(&world, &tail);
    world_run(&world, MS);
    forged_append(&world, &tail);
    world.nodes[2].chunk_status = status;
    forged_chunk(&world, status == KVP_BAD_REQUEST ? 3 : 2 * sizeof(uint64_t));
    struct kvp_peer_request *request = forged(&world, KVP_OP_HEARTBEAT);
    request->diverged = true;
    world_request(&world, 2, request);
    world_run(&world, SECONDS);
    assert_int_equal(world_count(&world, 2, DID_QUARANTINE, ANY), 1);
    assert_int_not_equal(kvp_core_role(world.nodes[2].core), KVP_ROLE_FAILED);
    assert_int_equal(world.nodes[2].disk.tail.seq, 0);
    world_close(&world);
}

static void test_a_bad_chunk_does_not_end_a_set_aside(void **state)
{
    (void)state;
    refused_chunk(KVP_BAD_REQUEST);
}

static void test_a_chunk_that_finds_no_memory_or_room_does_not_end_a_set_aside(void **state)
{
    (void)state;
    refused_chunk(KVP_NO_MEMORY);
    refused_chunk(KVP_BUSY);
}

/* HEARTBEAT with a view that excludes the victim, and an empty SNAPSHOT marked last: the store is
 * still there, in its place or beside it. */
static void forged_snapshot(enum kvp_pair_policy policy, bool arbiter_answers, bool restarted)
{
    struct world world;
    bool pair = policy != KVP_PAIR_NONE;
    setup(&world, pair ? 2 : 3, policy, 1);
    world_isolate(&world, 2); /* only the forger reaches it */
    if (restarted) {
        world_kill(&world, 2);
        world_start(&world, 2);
    }
    world_witness(&world, 2, arbiter_answers);
    uint64_t tail = world.nodes[2].disk.tail.seq;
    assert_true(tail >= 20);
    for (unsigned i = 0; i < 40; i++) {
        struct kvp_peer_request *request = forged(&world, KVP_OP_HEARTBEAT);
        world_request(&world, 2, request);
        forged_chunk(&world, 2 * sizeof(uint64_t));
        world_run(&world, 50 * MS);
    }
    for (unsigned i = 0; i < world.happened_count; i++) {
        const struct happened *did = &world.happened[i];
        if (did->node == 2 && did->did == DID_REPLACE && did->number >= tail) {
            assert_int_equal(did->what, KVP_KEEP);
        }
    }
    bool intact = world.nodes[2].disk.tail.seq >= tail;
    assert_true(intact || world_count(&world, 2, DID_REPLACE, KVP_KEEP) == 1);
    world_witness(&world, 2, true); /* and the group comes together again */
    world_rejoin(&world, 2);
    world_run(&world, 40 * SECONDS);
    unsigned primary = server(&world);
    assert_true(primary != 0);
    world_put(&world, primary, 2);
    world_run(&world, 5 * SECONDS);
    assert_true(world_status(&world, primary).tail.seq >= tail + 2);
    assert_same(&world, set_to(pair ? 2 : 3));
    world_close(&world);
}

static void test_a_forged_snapshot_leaves_the_store(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        for (int policy = KVP_PAIR_NONE; policy <= KVP_PAIR_AVAILABLE; policy++) {
            forged_snapshot((enum kvp_pair_policy)policy, i & 1, i & 2);
        }
    }
}

/* While the register is out of reach a forger says that this node has parted, and sends it another
 * store: what counts stays, so that the node can take the lead as soon as the register gives it. */
static void test_a_store_that_counts_waits_for_the_register(void **state)
{
    (void)state;
    for (unsigned says_parted = 0; says_parted < 2; says_parted++) {
        struct world world;
        setup(&world, 3, KVP_PAIR_NONE, 1);
        world_isolate(&world, 2);
        world_witness(&world, 2, false);
        uint64_t tail = world.nodes[2].disk.tail.seq;
        for (unsigned i = 0; i < 100; i++) {
            struct kvp_peer_request *request = forged(&world, KVP_OP_HEARTBEAT);
            request->diverged = says_parted;
            world_request(&world, 2, request);
            forged_chunk(&world, 2 * sizeof(uint64_t));
            world_run(&world, 50 * MS);
        }
        assert_int_equal(world_count(&world, 2, DID_REPLACE, ANY), 0);
        assert_int_equal(world_count(&world, 2, DID_QUARANTINE, ANY), 0);
        assert_true(world.nodes[2].disk.tail.seq >= tail);
        world_witness(&world, 2, true);
        world_rejoin(&world, 2);
        world_run(&world, 10 * SECONDS);
        assert_same(&world, set_to(3));
        assert_int_equal(world_count(&world, 2, DID_REPLACE, ANY), 0);
        assert_int_equal(world_count(&world, 2, DID_QUARANTINE, ANY), 0);
        world_close(&world);
    }
}

/* ASK_VIEW, RESIGN and LEAVE in the name of the other node, which itself goes on: nothing breaks,
 * and there are never two primaries, with an arbiter or without. */
static void forged_question(struct world *world, unsigned victim)
{
    static const unsigned ops[] = {KVP_OP_ASK_VIEW, KVP_OP_RESIGN, KVP_OP_LEAVE};
    static struct kvp_peer_request request;
    const struct kvp_core *core = world->nodes[victim].core;
    memset(&request, 0, offsetof(struct kvp_peer_request, entry_count));
    request.entry_count = 0;
    request.op = ops[world_random(world, 3)];
    request.from = (uint8_t)(3 - victim);
    request.to = (uint8_t)victim;
    request.group_id = kvp_core_group_id(core);
    request.sent_us = world->now_us;
    request.view = *kvp_core_view(core);
    request.expected = request.view.version;
    request.proposed = request.view;
    request.proposed.version += 64;
    request.proposed.epoch += 64;
    request.proposed.primary = (uint8_t)(1 + world_random(world, 2));
    request.proposed.in_sync = kvp_set_of(request.proposed.primary);
    world_request(world, victim, &request);
}

static void forged_questions(enum kvp_pair_policy policy, uint64_t seed)
{
    struct world world;
    setup(&world, 2, policy, seed);
    for (unsigned i = 0; i < 400; i++) {
        forged_question(&world, 1 + (unsigned)world_random(&world, 2));
        if (policy !=
            KVP_PAIR_AVAILABLE) { /* there each goes on by itself, when the other one is away */
            (void)server(&world);
        }
        if (world_random(&world, 3) == 0) {
            put_anywhere(&world);
            world_run(&world, world_random(&world, 100 * MS));
        }
    }
    world_run(&world, 20 * SECONDS);
    unsigned primary = server(&world);
    assert_true(primary != 0);
    world_put(&world, primary, 2);
    world_run(&world, 5 * SECONDS);
    assert_same(&world, set_to(2));
    world_close(&world);
}

static void test_forged_questions_break_nothing(void **state)
{
    (void)state;
    for (int policy = KVP_PAIR_NONE; policy <= KVP_PAIR_AVAILABLE; policy++) {
        for (uint64_t seed = 1; seed <= 40; seed++) {
            forged_questions((enum kvp_pair_policy)policy, seed);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strangers_change_nothing),
        cmocka_unit_test(test_nonsense_passes),
        cmocka_unit_test(test_madness),
        cmocka_unit_test(test_blank_and_broken),
        cmocka_unit_test(test_a_bad_chunk_does_not_end_a_set_aside),
        cmocka_unit_test(test_a_chunk_that_finds_no_memory_or_room_does_not_end_a_set_aside),
        cmocka_unit_test(test_a_forged_snapshot_leaves_the_store),
        cmocka_unit_test(test_a_store_that_counts_waits_for_the_register),
        cmocka_unit_test(test_forged_questions_break_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
