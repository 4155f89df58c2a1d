/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/access/access.h"
#include "kvstore/base/mutant.h"
#include "replication/wire/mp_reader.h"
#include "replication/wire/wire_schema.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *text;
} access_lacks[KVP_LACKS_END] = {
    [KVP_ACCESS_GRANTED] = {"nothing", "granted"},
    [KVP_LACKS_OPERATION] = {"operation", "there is no such operation"},
    [KVP_LACKS_IDENTITY] = {"identity", "your certificate names nobody of this group"},
    [KVP_LACKS_NODE] = {"node", "what a node says is taken from that node: your certificate is "
                                "another one's"},
    [KVP_LACKS_NAME] = {"name", "a worker works under the name of its certificate, worker/NAME, "
                                "and no other (kvworker --id NAME)"},
    [KVP_LACKS_JOB] = {"job", "you have submitted no such job, and with the right \"submit\" one "
                              "sees and changes one's own"},
    [KVP_LACKS_LEASE] = {"lease",
                         "you have been granted no such lease, and another one's is for those "
                         "with the right \"operate\""},
    [KVP_LACKS_READ] = {"read", "you lack the right \"read\" for a key, or for the whole range "
                                "(kvcli access grant KIND/NAME read PREFIX)"},
    [KVP_LACKS_WRITE] = {"write", "you lack the right \"write\" for a key (kvcli access grant "
                                  "KIND/NAME write PREFIX)"},
    [KVP_LACKS_SUBMIT] = {"submit", "you lack the right \"submit\" (kvcli access grant KIND/NAME "
                                    "submit)"},
    [KVP_LACKS_WORK] = {"work", "you lack the right \"work\" for a kind of tasks (kvcli access "
                                "grant worker/NAME work KIND)"},
    [KVP_LACKS_OBSERVE] = {"observe", "you lack the right \"observe\" (kvcli access grant "
                                      "KIND/NAME observe)"},
    [KVP_LACKS_OPERATE] = {"operate", "you lack the right \"operate\" (kvcli access grant "
                                      "KIND/NAME operate)"},
    [KVP_LACKS_ADMIN] = {"admin", "you lack the right \"admin\" (kvcli access grant KIND/NAME "
                                  "admin, or kvnode --admin KIND/NAME)"},
};

const char *kvp_access_text(enum kvp_access_lack lack)
{
    return access_lacks[lack].text;
}

const char *kvp_access_name(enum kvp_access_lack lack)
{
    return access_lacks[lack].name;
}

/* ---- keys ---- */

static bool access_holds(kvp_slice rights, enum kvp_right_kind kind)
{
    return kvp_rights_has(rights, &(struct kvp_right){.kind = kind});
}

static bool access_to_key(kvp_slice rights, enum kvp_right_kind kind, kvp_slice key)
{
    struct kvp_right right;
    while (kvp_rights_next(&rights, &right)) {
        if (right.kind == kind && kvp_right_covers_key(right.of, key)) {
            return true;
        }
    }
    return false;
}

static bool access_to_range(kvp_slice rights, kvp_slice start, kvp_slice end)
{
    struct kvp_right right;
    if (KVP_MUTANT(ACCESS_SCAN_START)) {
        return access_to_key(rights, KVP_RIGHT_READ, start);
    }
    while (kvp_rights_next(&rights, &right)) {
        if (right.kind == KVP_RIGHT_READ && kvp_right_covers_range(right.of, start, end)) {
            return true;
        }
    }
    return false;
}

/* To know whether it is there one has to be able to read it. */
static enum kvp_access_lack access_lacks_change(kvp_slice rights, kvp_slice key)
{
    return !access_to_key(rights, KVP_RIGHT_WRITE, key)  ? KVP_LACKS_WRITE
           : !access_to_key(rights, KVP_RIGHT_READ, key) ? KVP_LACKS_READ
                                                         : KVP_ACCESS_GRANTED;
}

static enum kvp_access_lack access_lacks_key(kvp_slice rights, enum kvp_right_kind kind,
                                             kvp_slice key)
{
    enum kvp_access_lack lack = kind == KVP_RIGHT_READ ? KVP_LACKS_READ : KVP_LACKS_WRITE;
    return access_to_key(rights, kind, key) ? KVP_ACCESS_GRANTED : lack;
}

static enum kvp_access_lack access_lacks_ops(kvp_slice rights, const struct kvp_txn_op *ops,
                                             uint32_t count)
{
    enum kvp_access_lack lack = KVP_ACCESS_GRANTED;
    for (uint32_t i = 0; i < count && lack == KVP_ACCESS_GRANTED; i++) {
        lack = ops[i].kind == KVP_TXN_GET   ? access_lacks_key(rights, KVP_RIGHT_READ, ops[i].key)
               : ops[i].kind == KVP_TXN_PUT ? access_lacks_key(rights, KVP_RIGHT_WRITE, ops[i].key)
                                            : access_lacks_change(rights, ops[i].key);
    }
    return lack;
}

/* Both branches: which one is taken tells what the compares found. */
static enum kvp_access_lack access_lacks_txn(kvp_slice rights, const struct kvp_request *request)
{
    enum kvp_access_lack lack = KVP_ACCESS_GRANTED;
    uint32_t compares = KVP_MUTANT(ACCESS_COMPARES) ? 0 : request->compare_count;
    for (uint32_t i = 0; i < compares && lack == KVP_ACCESS_GRANTED; i++) {
        lack = access_lacks_key(rights, KVP_RIGHT_READ, request->compares[i].key);
    }
    if (lack == KVP_ACCESS_GRANTED) {
        lack = access_lacks_ops(rights, request->then_ops, request->then_count);
    }
    if (lack == KVP_ACCESS_GRANTED && !KVP_MUTANT(ACCESS_ELSE)) {
        lack = access_lacks_ops(rights, request->else_ops, request->else_count);
    }
    return lack;
}

/* ---- jobs ---- */

static enum kvp_access_lack access_lacks_job(kvp_slice rights,
                                             const struct kvp_access_question *question)
{
    if (!access_holds(rights, KVP_RIGHT_SUBMIT)) {
        return KVP_LACKS_SUBMIT;
    }
    return question->owns_job || KVP_MUTANT(ACCESS_ANY_JOB) ? KVP_ACCESS_GRANTED : KVP_LACKS_JOB;
}

static enum kvp_access_lack access_lacks_look(kvp_slice rights,
                                              const struct kvp_access_question *question)
{
    uint32_t what = question->request->job.what;
    bool of_a_job = what == KVP_INFO_JOB || what == KVP_INFO_TASKS || what == KVP_INFO_DEAD;
    if (access_holds(rights, KVP_RIGHT_OBSERVE)) {
        return KVP_ACCESS_GRANTED;
    }
    return of_a_job && access_holds(rights, KVP_RIGHT_SUBMIT) ? access_lacks_job(rights, question)
                                                              : KVP_LACKS_OBSERVE;
}

/* ---- leases ---- */

static enum kvp_access_lack access_lacks_lease(kvp_slice rights,
                                               const struct kvp_access_question *question)
{
    if (question->op == KVP_OP_LEASE_SHOW && question->request->lease == 0) {
        return access_lacks_key(rights, KVP_RIGHT_READ, question->request->key);
    }
    return question->owns_lease || access_holds(rights, KVP_RIGHT_OPERATE) ||
                   KVP_MUTANT(ACCESS_ANY_LEASE)
               ? KVP_ACCESS_GRANTED
               : KVP_LACKS_LEASE;
}

/* ---- workers ---- */

static bool access_to_kind(const struct kvp_access_asker *asker, kvp_slice kind)
{
    kvp_slice rights = asker->rights;
    struct kvp_right right;
    while (kvp_rights_next(&rights, &right)) {
        if (right.kind == KVP_RIGHT_WORK && kvp_right_covers_kind(right.of, kind)) {
            return true;
        }
    }
    return false;
}

static bool access_to_any_kind(const struct kvp_access_asker *asker)
{
    kvp_slice rights = asker->rights;
    struct kvp_right right;
    bool found = false;
    while (!found && kvp_rights_next(&rights, &right)) {
        found = right.kind == KVP_RIGHT_WORK;
    }
    return found;
}

/* Those that a worker joins with. */
static bool access_to_named_kinds(const struct kvp_access_asker *asker, kvp_slice array)
{
    struct kvp_mp_reader reader;
    kvp_mp_begin(&reader, array);
    uint32_t count = kvp_mp_array(&reader);
    for (uint32_t i = 0; i < count && !reader.failed; i++) {
        kvp_slice kind = kvp_mp_str(&reader);
        if (reader.failed || !access_to_kind(asker, kind)) {
            return false;
        }
    }
    return !reader.failed;
}

static bool access_to_kinds(const struct kvp_access_asker *asker,
                            const struct kvp_access_question *question)
{
    bool granted = access_to_any_kind(asker);
    for (unsigned i = 0; i < question->kind_count && granted; i++) {
        granted = access_to_kind(asker, question->kinds[i]);
    }
    return granted && (question->op != KVP_OP_WORKER_JOIN ||
                       access_to_named_kinds(asker, question->request->value));
}

static enum kvp_access_lack access_lacks_work(const struct kvp_access_asker *asker,
                                              const struct kvp_access_question *question,
                                              bool is_admin)
{
    const struct kvp_identity *identity = asker->identity;
    kvp_slice name = kvp_slice_of(identity->name, strlen(identity->name));
    if ((identity->kind != KVP_IDENTITY_WORKER ||
         kvp_slice_compare(question->request->key, name) != 0) &&
        !KVP_MUTANT(ACCESS_WORKER_NAME)) {
        return KVP_LACKS_NAME;
    }
    return is_admin || access_to_kinds(asker, question) ? KVP_ACCESS_GRANTED : KVP_LACKS_WORK;
}

/* ---- the decision ---- */

static enum kvp_access_lack access_lacks_right(enum kvp_operation_needs needs, kvp_slice rights,
                                               const struct kvp_access_question *question)
{
    const struct kvp_request *request = question->request;
    switch (needs) {
    case KVP_NEEDS_IDENTITY:
        return KVP_ACCESS_GRANTED;
    case KVP_NEEDS_READ:
        return question->op != KVP_OP_SCAN && question->op != KVP_OP_WATCH
                   ? access_lacks_key(rights, KVP_RIGHT_READ, request->key)
               : access_to_range(rights, request->key, request->value) ? KVP_ACCESS_GRANTED
                                                                       : KVP_LACKS_READ;
    case KVP_NEEDS_WRITE:
        return access_lacks_key(rights, KVP_RIGHT_WRITE, request->key);
    case KVP_NEEDS_CHANGE:
        return access_lacks_change(rights, request->key);
    case KVP_NEEDS_KEYS:
        return access_lacks_txn(rights, request);
    case KVP_NEEDS_SUBMIT:
        return access_holds(rights, KVP_RIGHT_SUBMIT) ? KVP_ACCESS_GRANTED : KVP_LACKS_SUBMIT;
    case KVP_NEEDS_JOB:
        return access_lacks_job(rights, question);
    case KVP_NEEDS_LOOK:
        return access_lacks_look(rights, question);
    case KVP_NEEDS_LEASE:
        return access_lacks_lease(rights, question);
    case KVP_NEEDS_OBSERVE:
        return access_holds(rights, KVP_RIGHT_OBSERVE) ? KVP_ACCESS_GRANTED : KVP_LACKS_OBSERVE;
    case KVP_NEEDS_OPERATE:
        return access_holds(rights, KVP_RIGHT_OPERATE) ? KVP_ACCESS_GRANTED : KVP_LACKS_OPERATE;
    default:
        return KVP_LACKS_ADMIN;
    }
}

enum kvp_access_lack kvp_access_lacks(const struct kvp_access_asker *asker,
                                      const struct kvp_access_question *question)
{
    const struct kvp_operation *operation = kvp_operation_of(question->op);
    const struct kvp_identity *identity = asker->identity;
    if (identity == NULL) {
        return KVP_LACKS_IDENTITY;
    }
    if (operation->name == NULL) {
        return KVP_LACKS_OPERATION;
    }
    if (operation->needs == KVP_NEEDS_NODE) {
        bool speaks_for_itself = identity->node == question->from || KVP_MUTANT(ACCESS_ANY_NODE);
        return identity->kind == KVP_IDENTITY_NODE && speaks_for_itself ? KVP_ACCESS_GRANTED
                                                                        : KVP_LACKS_NODE;
    }
    bool is_admin = asker->is_admin || access_holds(asker->rights, KVP_RIGHT_ADMIN);
    if (operation->needs == KVP_NEEDS_WORK) {
        return access_lacks_work(asker, question, is_admin);
    }
    return is_admin ? KVP_ACCESS_GRANTED
                    : access_lacks_right((enum kvp_operation_needs)operation->needs, asker->rights,
                                         question);
}

/* ---- names ---- */

static const char *const access_kinds[] = {
    [KVP_IDENTITY_NODE] = "node",
    [KVP_IDENTITY_WITNESS] = "witness",
    [KVP_IDENTITY_USER] = "user",
    [KVP_IDENTITY_WORKER] = "worker",
};

const char *kvp_access_print(const struct kvp_identity *identity, char out[KVP_ACCESS_NAME_SIZE])
{
    (void)snprintf(out, KVP_ACCESS_NAME_SIZE, "%s/%s", access_kinds[identity->kind],
                   identity->name);
    return out;
}

bool kvp_access_is_name(kvp_slice text)
{
    for (unsigned i = KVP_IDENTITY_NODE; i <= KVP_IDENTITY_WORKER; i++) {
        size_t size = strlen(access_kinds[i]);
        const char *bytes = text.data;
        if (text.size > size + 1 && memcmp(bytes, access_kinds[i], size) == 0 &&
            bytes[size] == '/') {
            const char *name = bytes + size + 1;
            size_t name_size = text.size - size - 1;
            bool printable = name_size <= KVP_NAME_SIZE_MAX;
            for (size_t at = 0; at < name_size && printable; at++) {
                printable = (uint8_t)name[at] >= ' ' && name[at] != 0x7f;
            }
            return printable;
        }
    }
    return false;
}

/* ---- sessions ---- */

#define ACCESS_ROTATE(word, bits) ((word) << (bits) | (word) >> (64 - (bits)))

/* SipHash's round. */
static void access_stir(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = ACCESS_ROTATE(v[1], 13) ^ v[0];
    v[0] = ACCESS_ROTATE(v[0], 32);
    v[2] += v[3];
    v[3] = ACCESS_ROTATE(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = ACCESS_ROTATE(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = ACCESS_ROTATE(v[1], 17) ^ v[2];
    v[2] = ACCESS_ROTATE(v[2], 32);
}

static void access_mix(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    access_stir(v);
    access_stir(v);
    v[0] ^= word;
}

uint64_t kvp_access_session(uint64_t client, const struct kvp_identity *identity)
{
    uint64_t v[4] = {UINT64_C(0x736f6d6570736575), UINT64_C(0x646f72616e646f6d),
                     UINT64_C(0x6c7967656e657261), UINT64_C(0x7465646279746573)};
    size_t size = strlen(identity->name);
    if (client == 0) {
        return 0;
    }
    access_mix(v, client);
    access_mix(v, (uint64_t)identity->kind << 32 | size);
    for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, identity->name + at, size - at < sizeof(word) ? size - at : sizeof(word));
        access_mix(v, htole64(word));
    }
    v[2] ^= 0xff;
    for (unsigned i = 0; i < 4; i++) {
        access_stir(v);
    }
    uint64_t mixed = v[0] ^ v[1] ^ v[2] ^ v[3];
    return mixed != 0 ? mixed : 1;
}
