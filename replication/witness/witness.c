/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All registers are held in memory and written through: a change is one synced batch of the
 * register and the count of all changes. The same count goes into a small file after each batch. A
 * store that comes back with a smaller count than the file's has lost changes (a cut-off LevelDB
 * log opens without complaint): a register that went back would grant a view twice, so the witness
 * does not open then.
 */
#include "replication/witness/witness.h"
#include "kvstore/base/mutant.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STORE_NAME   "register"
#define COUNT_FILE   "register.count"
#define GROUP_PREFIX 'G'
#define COUNT_KEY    "C"
#define FORMAT_VERSION                                                                             \
    2u /* 1: without the incarnations of members, and written while there are none */
#define REGISTER_SIZE                                                                              \
    34u /* u8 format, u64 group id, version, epoch, u8 primary, u64 in-sync set                    \
         */
/* u8 id, u64 incarnation; a u8 with their count before them. Twice for a node whose store counted
 * before: a version that does not know that takes the second one for the first. */
#define KNOWN_SIZE        9u
#define REGISTER_SIZE_MAX (REGISTER_SIZE + 1u + 2u * KNOWN_SIZE * KVP_NODE_ID_MAX)
#define MARK_BIT          ((uint64_t)1 << 16)
#define FORCED_JUMP_MAX   ((uint64_t)1 << 32) /* changes of view at an operator's word */
#define COUNT_SIZE        16u                 /* u64 count, its complement */

struct group {
    char name[KVP_GROUP_NAME_MAX];
    size_t name_size;
    uint64_t id;
    struct kvp_view view;
    uint64_t
        known[KVP_NODE_ID_MAX + 1]; /* incarnation of each node's store; 0: none has claimed it */
    kvp_node_set unknown;           /* nodes whose stores counted before the register knew any */
};

/* What members of a group say that the register was. */
struct seed {
    struct group group;
    kvp_node_set said;
};

struct kvp_witness {
    struct kvp_env *env;
    struct kvp_store *store;
    struct group *groups;
    size_t group_count, group_capacity;
    struct seed *seeds;
    size_t seed_count, seed_capacity;
    uint64_t changes;
    bool failed;
    char error[256];
};

/* ---- bytes ---- */

static uint8_t *write_u64(uint8_t *out, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
    return out + 8;
}

static uint64_t register_read_u64(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

/* How often the register names the node's store. */
static unsigned times_known(const struct group *group, unsigned id)
{
    return group->known[id] == 0 ? 0 : kvp_set_has(group->unknown, (uint8_t)id) ? 2 : 1;
}

static unsigned count_known(const struct group *group)
{
    unsigned count = 0;
    for (unsigned id = 1; id <= KVP_NODE_ID_MAX; id++) {
        count += times_known(group, id);
    }
    return count;
}

/* Returns its size. */
static size_t write_register(uint8_t out[REGISTER_SIZE_MAX], const struct group *group)
{
    uint8_t *next = out;
    unsigned count = count_known(group);
    *next++ = count == 0 ? 1 : FORMAT_VERSION;
    next = write_u64(next, group->id);
    next = write_u64(next, group->view.version);
    next = write_u64(next, group->view.epoch);
    *next++ = group->view.primary;
    next = write_u64(next, group->view.in_sync);
    assert(next == out + REGISTER_SIZE);
    if (count > 0) {
        *next++ = (uint8_t)count;
    }
    for (unsigned id = 1; id <= KVP_NODE_ID_MAX; id++) {
        for (unsigned times = times_known(group, id); times > 0; times--) {
            *next++ = (uint8_t)id;
            next = write_u64(next, group->known[id]);
        }
    }
    return (size_t)(next - out);
}

static bool view_is_sound(const struct kvp_view *view)
{
    return view->version > 0 && view->epoch > 0 && view->primary > 0 &&
           view->primary <= KVP_NODE_ID_MAX && !kvp_set_has(view->in_sync, 0) &&
           kvp_set_has(view->in_sync, view->primary);
}

static bool read_known(kvp_slice rest, struct group *group)
{
    const uint8_t *bytes = rest.data;
    memset(group->known, 0, sizeof(group->known));
    group->unknown = 0;
    if (rest.size == 0) {
        return true;
    }
    if (rest.size != 1u + KNOWN_SIZE * bytes[0]) {
        return false;
    }
    for (unsigned i = 0; i < bytes[0]; i++) {
        const uint8_t *one = bytes + 1 + KNOWN_SIZE * i;
        if (one[0] == 0 || one[0] > KVP_NODE_ID_MAX) {
            return false;
        }
        uint64_t number = register_read_u64(one + 1);
        if (number == 0 || (group->known[one[0]] != 0 && group->known[one[0]] != number)) {
            return false;
        }
        bool twice = group->known[one[0]] != 0 && !KVP_MUTANT(LOST_UNSAID);
        group->unknown |= twice ? kvp_set_of(one[0]) : 0;
        group->known[one[0]] = number;
    }
    return true;
}

static kvp_status read_register(kvp_slice value, struct group *group)
{
    const uint8_t *bytes = value.data;
    if (value.size == 0) {
        return KVP_CORRUPT;
    }
    if (bytes[0] == 0 || bytes[0] > FORMAT_VERSION) {
        return KVP_BAD_VERSION;
    }
    if (value.size < REGISTER_SIZE || (bytes[0] == 1 && value.size != REGISTER_SIZE)) {
        return KVP_CORRUPT;
    }
    if (!read_known(kvp_slice_of(bytes + REGISTER_SIZE, value.size - REGISTER_SIZE), group)) {
        return KVP_CORRUPT;
    }
    group->id = register_read_u64(bytes + 1);
    group->view.version = register_read_u64(bytes + 9);
    group->view.epoch = register_read_u64(bytes + 17);
    group->view.primary = bytes[25];
    group->view.in_sync = register_read_u64(bytes + 26);
    return group->id != 0 && view_is_sound(&group->view) ? KVP_OK : KVP_CORRUPT;
}

static void write_count(uint8_t out[COUNT_SIZE], uint64_t count)
{
    (void)write_u64(write_u64(out, count), ~count);
}

static kvp_status register_read_count(kvp_slice value, uint64_t *count)
{
    const uint8_t *bytes = value.data;
    if (value.size != COUNT_SIZE || register_read_u64(bytes) != ~register_read_u64(bytes + 8)) {
        return KVP_CORRUPT;
    }
    *count = register_read_u64(bytes);
    return KVP_OK;
}

/* ---- tables ---- */

/* Room for one more element. */
static kvp_status register_grow(void **elements, size_t *capacity, size_t count,
                                size_t element_size)
{
    if (count < *capacity) {
        return KVP_OK;
    }
    size_t wanted = *capacity == 0 ? 8 : 2 * *capacity;
    void *moved = realloc(*elements, wanted * element_size);
    if (moved == NULL) {
        return KVP_NO_MEMORY;
    }
    *elements = moved;
    *capacity = wanted;
    return KVP_OK;
}

static kvp_status reserve_group(struct kvp_witness *witness)
{
    void *groups = witness->groups;
    kvp_status status = register_grow(&groups, &witness->group_capacity, witness->group_count,
                                      sizeof(struct group));
    witness->groups = groups;
    return status;
}

static bool has_name(const struct group *group, kvp_slice name)
{
    return group->name_size == name.size && memcmp(group->name, name.data, name.size) == 0;
}

static void register_set_name(struct group *group, kvp_slice name)
{
    assert(name.size > 0 && name.size <= sizeof(group->name));
    memcpy(group->name, name.data, name.size);
    group->name_size = name.size;
}

static struct group *find_group(struct kvp_witness *witness, kvp_slice name)
{
    for (size_t i = 0; i < witness->group_count; i++) {
        if (has_name(&witness->groups[i], name)) {
            return &witness->groups[i];
        }
    }
    return NULL;
}

static struct seed *find_seed(struct kvp_witness *witness, kvp_slice name)
{
    for (size_t i = 0; i < witness->seed_count; i++) {
        if (has_name(&witness->seeds[i].group, name)) {
            return &witness->seeds[i];
        }
    }
    return NULL;
}

static void forget_seed(struct kvp_witness *witness, kvp_slice name)
{
    struct seed *seed = find_seed(witness, name);
    if (seed != NULL) {
        *seed = witness->seeds[--witness->seed_count];
    }
}

/* ---- opening ---- */

static kvp_status load_group(struct kvp_witness *witness, kvp_slice key, kvp_slice value)
{
    const char *bytes = key.data;
    if (key.size < 2 || key.size > 1 + KVP_GROUP_NAME_MAX || bytes[0] != GROUP_PREFIX) {
        return KVP_CORRUPT;
    }
    kvp_status status = reserve_group(witness);
    if (status != KVP_OK) {
        return status;
    }
    struct group *group = &witness->groups[witness->group_count];
    register_set_name(group, kvp_slice_of(bytes + 1, key.size - 1));
    status = read_register(value, group);
    if (status == KVP_OK) {
        witness->group_count++;
    }
    return status;
}

static kvp_status load_pair(struct kvp_witness *witness, kvp_slice key, kvp_slice value)
{
    if (key.size == 1 && memcmp(key.data, COUNT_KEY, 1) == 0) {
        return register_read_count(value, &witness->changes);
    }
    return load_group(witness, key, value);
}

static kvp_status load_store(struct kvp_witness *witness)
{
    const struct kvp_store_ops *ops = witness->store->ops;
    struct kvp_iter *iter = ops->iter(witness->store, NULL, false);
    if (iter == NULL) {
        return KVP_NO_MEMORY;
    }
    kvp_status status = KVP_OK;
    for (ops->iter_seek(iter, kvp_slice_of("", 0)); status == KVP_OK && ops->iter_valid(iter);
         ops->iter_next(iter)) {
        status = load_pair(witness, ops->iter_key(iter), ops->iter_value(iter));
    }
    if (status == KVP_OK) {
        status = ops->iter_status(iter);
    }
    ops->iter_close(iter);
    return status;
}

/* Compares the store with the count beside it. No file: nothing was ever changed, or the first
 * change was cut short before it was answered. */
static kvp_status register_check_count(struct kvp_witness *witness)
{
    kvp_buf content = {0};
    uint64_t count = 0;
    kvp_status status = witness->env->ops->read_file(witness->env, COUNT_FILE, &content);
    if (status == KVP_OK) {
        status = register_read_count(kvp_buf_slice(&content), &count);
    } else if (status == KVP_NOT_FOUND) {
        status = KVP_OK;
    }
    kvp_buf_free(&content);
    if (status == KVP_OK && witness->changes < count) {
        status = KVP_CORRUPT;
    }
    return status;
}

static void register_explain(const struct kvp_witness *witness, const char *what, kvp_status status,
                             const char *detail, char *message, size_t message_size)
{
    if (detail[0] == '\0' && witness->store != NULL) {
        detail = witness->store->ops->error(witness->store);
    }
    if (detail[0] == '\0') {
        detail = witness->env->ops->error(witness->env);
    }
    if (message != NULL && message_size > 0) {
        (void)snprintf(message, message_size, "%s: %s%s%s", what, kvp_strerror(status),
                       detail[0] != '\0' ? ": " : "", detail);
    }
}

static kvp_status register_load(struct kvp_witness *witness, char *message, size_t message_size)
{
    struct kvp_env *env = witness->env;
    kvp_status status = env->ops->open_store(env, STORE_NAME, true, &witness->store);
    if (status != KVP_OK) {
        register_explain(witness, "cannot open the registers", status, "", message, message_size);
        return status;
    }
    status = load_store(witness);
    if (status != KVP_OK) {
        register_explain(witness, "cannot read the registers", status, "", message, message_size);
        return status;
    }
    status = register_check_count(witness);
    if (status != KVP_OK) {
        register_explain(witness, "cannot trust the registers", status,
                         status == KVP_CORRUPT
                             ? "fewer changes than file " COUNT_FILE " counts; to start "
                               "over, empty the directory and let the groups seed it"
                             : "",
                         message, message_size);
    }
    return status;
}

kvp_status kvp_witness_open(struct kvp_env *env, struct kvp_witness **witness, char *message,
                            size_t message_size)
{
    struct kvp_witness *opened = calloc(1, sizeof(*opened));
    if (opened == NULL) {
        return KVP_NO_MEMORY;
    }
    opened->env = env;
    kvp_status status = register_load(opened, message, message_size);
    if (status != KVP_OK) {
        kvp_witness_close(opened);
        return status;
    }
    *witness = opened;
    return KVP_OK;
}

void kvp_witness_close(struct kvp_witness *witness)
{
    if (witness == NULL) {
        return;
    }
    if (witness->store != NULL) {
        witness->store->ops->close(witness->store);
    }
    free(witness->groups);
    free(witness->seeds);
    free(witness);
}

uint64_t kvp_witness_changes(const struct kvp_witness *witness)
{
    return witness->changes;
}

size_t kvp_witness_groups(const struct kvp_witness *witness)
{
    return witness->group_count;
}

size_t kvp_witness_names(const struct kvp_witness *witness)
{
    return witness->group_count + witness->seed_count;
}

bool kvp_witness_is_new(struct kvp_witness *witness, kvp_slice message)
{
    struct kvp_witness_request request;
    const char *reason;
    return kvp_wire_witness_decode(message, &request, &reason) == KVP_OK &&
           request.op != KVP_OP_REGISTER_GET && find_group(witness, request.group) == NULL &&
           find_seed(witness, request.group) == NULL;
}

const char *kvp_witness_error(const struct kvp_witness *witness)
{
    return witness->error;
}

/* ---- changing ---- */

static kvp_status register_fail(struct kvp_witness *witness, kvp_status status, const char *detail)
{
    witness->failed = true;
    (void)snprintf(witness->error, sizeof(witness->error), "%s%s%s", kvp_strerror(status),
                   detail[0] != '\0' ? ": " : "", detail);
    return KVP_FAILED;
}

/* Durable in the store, then in the count file; then the change may be told. */
static kvp_status persist(struct kvp_witness *witness, const struct group *group)
{
    char key[1 + KVP_GROUP_NAME_MAX] = {GROUP_PREFIX};
    uint8_t value[REGISTER_SIZE_MAX];
    uint8_t count[COUNT_SIZE];
    memcpy(key + 1, group->name, group->name_size);
    size_t size = write_register(value, group);
    write_count(count, witness->changes + 1);
    const struct kvp_batch_op ops[] = {
        {kvp_slice_of(key, 1 + group->name_size), kvp_slice_of(value, size), false},
        {kvp_slice_of(COUNT_KEY, 1), kvp_slice_of(count, sizeof(count)), false},
    };
    kvp_status status = witness->store->ops->write(
        witness->store, ops, sizeof(ops) / sizeof(ops[0]), !KVP_MUTANT(FORGETFUL_WITNESS));
    if (status != KVP_OK) {
        return register_fail(witness, status, witness->store->ops->error(witness->store));
    }
    if (KVP_MUTANT(FORGETFUL_WITNESS)) {
        witness->changes++;
        return KVP_OK;
    }
    status = witness->env->ops->write_at(witness->env, COUNT_FILE, 0,
                                         kvp_slice_of(count, sizeof(count)), true);
    if (status != KVP_OK) {
        return register_fail(witness, status, witness->env->ops->error(witness->env));
    }
    witness->changes++;
    return KVP_OK;
}

/* Makes the group of `request`, or changes it, to `view`. */
static kvp_status set_register(struct kvp_witness *witness,
                               const struct kvp_witness_request *request,
                               const struct kvp_view *view)
{
    assert(view_is_sound(view));
    kvp_status status = reserve_group(witness);
    if (status != KVP_OK) {
        return status;
    }
    struct group *group = find_group(witness, request->group);
    assert(group == NULL || group->id == request->group_id);
    struct group changed = {.id = request->group_id, .view = *view};
    register_set_name(&changed, request->group);
    if (group != NULL) {
        memcpy(changed.known, group->known, sizeof(changed.known));
        changed.unknown = group->unknown & ~view->in_sync; /* they have been compared */
    }
    status = persist(witness, &changed);
    if (status != KVP_OK) {
        return status;
    }
    if (group != NULL) {
        *group = changed;
    } else {
        witness->groups[witness->group_count++] = changed;
    }
    forget_seed(witness, request->group);
    return KVP_OK;
}

/* Nobody has a reason to count further at once, and the numbers must never end. */
static bool in_reach(const struct kvp_view *old, const struct kvp_view *new, uint64_t jump)
{
    return new->epoch - old->epoch <= jump &&new->epoch < KVP_VIEW_NUMBER_END;
}

static kvp_status create(struct kvp_witness *witness, const struct kvp_witness_request *request)
{
    if (request->expected != 0) {
        return KVP_NOT_SEEDED;
    }
    if (request->view.version != 1 || !view_is_sound(&request->view) ||
        !kvp_set_has(request->view.in_sync, request->from) ||
        witness->group_count >= KVP_WITNESS_GROUPS_MAX) {
        return KVP_REFUSED;
    }
    return set_register(witness, request, &request->view);
}

static kvp_status compare_and_set(struct kvp_witness *witness, const struct group *group,
                                  const struct kvp_witness_request *request)
{
    if (group == NULL) {
        return create(witness, request);
    }
    const struct kvp_view *old = &group->view;
    const struct kvp_view *new = &request->view;
    if (kvp_view_equal(old, new)) {
        return KVP_OK; /* made already: the answer was lost */
    }
    if (request->expected != old->version && !KVP_MUTANT(BLIND_WITNESS)) {
        return KVP_STALE_VIEW;
    }
    if (KVP_MUTANT(BLIND_WITNESS) || KVP_MUTANT(PROMOTE_OUTSIDE)) {
        return set_register(witness, request, new);
    }
    if (old->version == UINT64_MAX || new->version != old->version + 1 ||
        new->epoch <= old->epoch || !in_reach(old, new, KVP_VIEW_JUMP_MAX) || !view_is_sound(new) ||
        !kvp_set_has(old->in_sync, new->primary) || !kvp_set_has(old->in_sync, request->from)) {
        return KVP_REFUSED;
    }
    return set_register(witness, request, new);
}

/* Of a witness that believed any number. */
static bool beyond_numbers(const struct kvp_view *view)
{
    return view->version >= KVP_VIEW_NUMBER_END - 1 || view->epoch >= KVP_VIEW_NUMBER_END - 1;
}

/* Replaces the register, or makes it. The version moves on, so that no CAS that anybody has under
 * way for the old view can succeed. */
static kvp_status seed_by_force(struct kvp_witness *witness, const struct group *group,
                                const struct kvp_witness_request *request)
{
    struct kvp_view view = request->view;
    if (!view_is_sound(&view)) {
        return KVP_REFUSED;
    }
    if (group == NULL) {
        return witness->group_count < KVP_WITNESS_GROUPS_MAX ? set_register(witness, request, &view)
                                                             : KVP_REFUSED;
    }
    if (view.epoch == group->view.epoch && view.primary == group->view.primary &&
        view.in_sync == group->view.in_sync) {
        return KVP_OK;
    }
    if (beyond_numbers(&group->view)) {
        return set_register(witness, request, &view); /* no view can follow on it, nor be read */
    }
    if (view.epoch <= group->view.epoch) {
        return KVP_STALE_VIEW; /* two views of one epoch would both be believed */
    }
    if (!in_reach(&group->view, &view, FORCED_JUMP_MAX)) {
        return KVP_REFUSED;
    }
    if (view.version <= group->view.version) {
        view.version = group->view.version + 1;
    }
    return set_register(witness, request, &view);
}

/* The place where the members' word is collected; who says otherwise than before starts it anew. */
static kvp_status take_seed(struct kvp_witness *witness, const struct kvp_witness_request *request,
                            struct seed **taken)
{
    struct seed *seed = find_seed(witness, request->group);
    if (seed == NULL) {
        if (witness->group_count + witness->seed_count >= KVP_WITNESS_GROUPS_MAX) {
            return KVP_BUSY;
        }
        void *seeds = witness->seeds;
        kvp_status status =
            register_grow(&seeds, &witness->seed_capacity, witness->seed_count, sizeof(*seed));
        witness->seeds = seeds;
        if (status != KVP_OK) {
            return status;
        }
        seed = &witness->seeds[witness->seed_count++];
        memset(seed, 0, sizeof(*seed));
        register_set_name(&seed->group, request->group);
    }
    if (seed->group.id != request->group_id || !kvp_view_equal(&seed->group.view, &request->view)) {
        seed->group.id = request->group_id;
        seed->group.view = request->view;
        seed->said = 0;
    }
    seed->said |= kvp_set_of(request->from);
    *taken = seed;
    return KVP_OK;
}

static kvp_status seed_by_members(struct kvp_witness *witness, const struct group *group,
                                  const struct kvp_witness_request *request)
{
    if (group != NULL) {
        return kvp_view_equal(&group->view, &request->view) ? KVP_OK : KVP_STALE_VIEW;
    }
    if (!view_is_sound(&request->view) || !kvp_set_has(request->view.in_sync, request->from)) {
        return KVP_REFUSED;
    }
    struct seed *seed;
    kvp_status status = take_seed(witness, request, &seed);
    if (status != KVP_OK) {
        return status;
    }
    if (seed->said != request->view.in_sync) {
        return KVP_NOT_SEEDED;
    }
    return set_register(witness, request, &request->view);
}

static bool is_among(const struct kvp_numbers *numbers, uint64_t number)
{
    for (unsigned i = 0; i < KVP_EARLIER_MAX; i++) {
        if (numbers->earlier[i] == number) {
            return true;
        }
    }
    return false;
}

/* By which the register names a number to whoever asks: a new store can say whose place it takes,
 * and nobody can pass for the store that has the number. */
static uint64_t claim_mark(uint64_t known)
{
    return known == 0 ? 0 : MARK_BIT | (known & (MARK_BIT - 1));
}

/* None to the first store that claims its node's place, and to those that follow it: one that
 * counted before learns from it that the register was lost meanwhile. */
static uint64_t told_mark(const struct group *group, const struct kvp_witness_request *request,
                          kvp_status code)
{
    bool claims = group != NULL && request->op == KVP_OP_REGISTER_CLAIM;
    bool first = claims && code == KVP_OK && kvp_set_has(group->unknown, request->from);
    return claims && !first ? claim_mark(group->known[request->from]) : 0;
}

/* May the store speak for the node from now on? A new one gets the place of a node on which nothing
 * counts. It says whose: what an earlier incarnation of it asked for may come late, when it is not
 * new any more. */
static kvp_status judge_claim(const struct group *group, const struct kvp_witness_request *request)
{
    const struct kvp_numbers *numbers = &request->numbers;
    uint64_t known = group->known[request->from];
    if (known == 0 || known == numbers->incarnation || is_among(numbers, known)) {
        return KVP_OK;
    }
    if (!is_among(numbers, KVP_STORE_IS_NEW)) {
        return KVP_MUTANT(COPY_SPEAKS) ? KVP_OK : KVP_REFUSED;
    }
    bool named = numbers->replaces == claim_mark(known);
    return named && !kvp_set_has(group->view.in_sync, request->from) ? KVP_OK : KVP_BUSY;
}

static kvp_status claim(struct kvp_witness *witness, const struct kvp_witness_request *request)
{
    struct group *group = find_group(witness, request->group);
    if (group == NULL) {
        return KVP_NOT_SEEDED;
    }
    kvp_status status = judge_claim(group, request);
    if (status != KVP_OK || group->known[request->from] == request->numbers.incarnation) {
        return status;
    }
    struct group changed = *group;
    if (is_among(&request->numbers, KVP_STORE_IS_NEW)) {
        changed.unknown &= ~kvp_set_of(request->from);
    } else if (group->known[request->from] == 0) {
        changed.unknown |= kvp_set_of(request->from);
    }
    changed.known[request->from] = request->numbers.incarnation;
    status = persist(witness, &changed);
    if (status == KVP_OK) {
        *group = changed;
    }
    return status;
}

static kvp_status register_execute(struct kvp_witness *witness,
                                   const struct kvp_witness_request *request)
{
    const struct group *group = find_group(witness, request->group);
    bool get = request->op == KVP_OP_REGISTER_GET;
    if (group != NULL && group->id != request->group_id && !(get && request->group_id == 0)) {
        return KVP_WRONG_GROUP;
    }
    if (get) {
        return group != NULL ? KVP_OK : KVP_NOT_SEEDED;
    }
    if (request->op == KVP_OP_REGISTER_CLAIM) {
        return claim(witness, request);
    }
    if (request->op == KVP_OP_REGISTER_CAS) {
        return compare_and_set(witness, group, request);
    }
    assert(request->op == KVP_OP_REGISTER_SEED);
    return request->force ? seed_by_force(witness, group, request)
                          : seed_by_members(witness, group, request);
}

/* ---- answering ---- */

static kvp_status append_answer(kvp_status code, uint64_t epoch, const kvp_buf *result,
                                kvp_buf *answer)
{
    size_t before = answer->size;
    const struct kvp_answer fields = {
        .status = code, .epoch = epoch, .result = kvp_buf_slice(result)};
    kvp_status status = kvp_wire_answer_encode(&fields, answer);
    if (status != KVP_OK) {
        answer->size = before;
    }
    return status;
}

static kvp_status answer_reason(kvp_status code, const char *reason, kvp_buf *answer)
{
    kvp_buf result = {0};
    kvp_status status = kvp_wire_result_string(&result, reason);
    if (status == KVP_OK) {
        status = append_answer(code, 0, &result, answer);
    }
    kvp_buf_free(&result);
    return status;
}

static kvp_status answer_register(const struct group *group, uint64_t known, kvp_status code,
                                  kvp_buf *answer)
{
    kvp_buf result = {0};
    kvp_status status = KVP_OK;
    if (group != NULL) {
        status = kvp_wire_result_register(&result, group->id, &group->view, known);
    }
    if (status == KVP_OK) {
        status = append_answer(code, group != NULL ? group->view.epoch : 0, &result, answer);
    }
    kvp_buf_free(&result);
    return status;
}

kvp_status kvp_witness_handle(struct kvp_witness *witness, kvp_slice message, kvp_buf *answer)
{
    if (witness->failed) {
        return KVP_FAILED;
    }
    struct kvp_witness_request request;
    const char *reason;
    kvp_status code = kvp_wire_witness_decode(message, &request, &reason);
    if (code != KVP_OK) {
        return answer_reason(code, reason, answer);
    }
    code = register_execute(witness, &request);
    if (code == KVP_FAILED || code == KVP_NO_MEMORY) {
        return code;
    }
    const struct group *group = find_group(witness, request.group);
    return answer_register(group, told_mark(group, &request, code), code, answer);
}
