/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node tells people about the others: who cannot be reached or is not what he should be,
 * with the cause. A trouble is told when it has lasted for a moment, again at growing intervals,
 * and when it is over.
 */
#include "replication/node/exec_state.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LASTS_US         1000000u /* shorter ones are of no interest: a network that blinks */
#define REPEAT_MIN_US    10000000u
#define UNKNOWN_SHOWN_US 10000000u
#define REPEAT_MAX_US    640000000u

void exec_say(struct kvp_executor *executor, enum kvp_log_level level, const char *event,
              const char *format, ...)
{
    char fields[768];
    va_list args;
    va_start(args, format);
    vsnprintf(fields, sizeof(fields), format, args);
    va_end(args);
    executor->host.log(executor->host.arg, level, event, fields);
}

void exec_say_storage_failed(struct kvp_executor *executor, kvp_status status)
{
    char reason[256];
    const char *cause = kvp_storage_error(executor->storage);
    kvp_log_quote(reason, sizeof(reason), cause[0] ? cause : kvp_strerror(status));
    exec_say(executor, KVP_LOG_ERROR, "storage_failed", "status=\"%s\" reason=%s",
             kvp_strerror(status), reason);
}

void exec_storage_failed(struct kvp_executor *executor, kvp_status status)
{
    if (status != KVP_NO_MEMORY) {
        exec_say_storage_failed(executor, status);
        kvp_core_fail(executor->core, executor->now_us);
    }
}

/* ---- troubles ---- */

static struct exec_trouble *trouble_of(struct kvp_executor *executor, unsigned peer)
{
    for (unsigned i = 0; i < executor->config.peer_count && peer != 0; i++) {
        if (executor->config.peers[i].id == peer) {
            return &executor->peer_troubles[i];
        }
    }
    return peer == 0 ? &executor->arbiter_trouble : NULL;
}

static void set_trouble(struct kvp_executor *executor, struct exec_trouble *trouble,
                        const char *reason)
{
    if (trouble != NULL) {
        trouble->known = true;
        if (trouble->reason == NULL && reason != NULL) {
            trouble->since_us = executor->now_us;
            executor->troubled = true;
        }
        trouble->reason = reason;
    }
}

static bool is_due(const struct exec_trouble *trouble, uint64_t now_us)
{
    if (trouble->reason == NULL || now_us - trouble->since_us < LASTS_US) {
        return false;
    }
    return trouble->told == NULL || now_us >= trouble->again_us;
}

/* "peer=2 url=..." or "url=..." in `fields`, for the log. */
static void trouble_step(struct kvp_executor *executor, struct exec_trouble *trouble,
                         const char *event, const char *back, const char *fields)
{
    uint64_t now_us = executor->now_us;
    char quoted[256];
    if (is_due(trouble, now_us)) {
        bool other = trouble->told == NULL || strcmp(trouble->told, trouble->reason) != 0;
        uint64_t pause_us = other ? REPEAT_MIN_US : 2 * trouble->pause_us;
        trouble->told = trouble->reason;
        trouble->pause_us = pause_us < REPEAT_MAX_US ? pause_us : REPEAT_MAX_US;
        trouble->again_us = now_us + trouble->pause_us;
        exec_say(executor, KVP_LOG_WARN, event, "%s for_s=%" PRIu64 " reason=%s", fields,
                 (now_us - trouble->since_us) / 1000000,
                 kvp_log_quote(quoted, sizeof(quoted), trouble->reason));
    } else if (trouble->reason == NULL && trouble->told != NULL) {
        trouble->told = NULL;
        exec_say(executor, KVP_LOG_INFO, back, "%s after_s=%" PRIu64, fields,
                 (now_us - trouble->since_us) / 1000000);
    }
    executor->troubled = executor->troubled || trouble->reason != NULL;
}

void exec_notes_step(struct kvp_executor *executor)
{
    char url[300], fields[400];
    executor->troubled = false;
    for (unsigned i = 0; i < executor->config.peer_count; i++) {
        const struct kvp_executor_peer *peer = &executor->config.peers[i];
        snprintf(fields, sizeof(fields), "peer=%u url=%s", peer->id,
                 kvp_log_quote(url, sizeof(url), peer->url));
        trouble_step(executor, &executor->peer_troubles[i], "peer_trouble", "peer_back", fields);
    }
    snprintf(fields, sizeof(fields), "url=%s",
             kvp_log_quote(url, sizeof(url), executor->config.arbiter_url));
    trouble_step(executor, &executor->arbiter_trouble, "arbiter_trouble", "arbiter_back", fields);
}

/* ---- what is heard of the others ---- */

void kvp_executor_unreached(struct kvp_executor *executor, uint64_t now_us, uint8_t peer,
                            const char *reason)
{
    executor->now_us = now_us;
    set_trouble(executor, trouble_of(executor, peer), reason);
}

/* It does not listen to this machine at all. */
static const char *trouble_unheard(const struct kvp_executor *executor)
{
    return exec_members_listed(executor)
               ? "it takes nothing from this node's address: by its list no member is there"
               : "it takes nothing from this node's address (its --peer)";
}

void exec_peer_answered(struct kvp_executor *executor, uint8_t peer, kvp_status status)
{
    set_trouble(executor, trouble_of(executor, peer),
                status == KVP_OK       ? NULL
                : status == KVP_BAD_OP ? "a witness answers there, or a node of another release"
                : status == KVP_WRONG_GROUP ? "a node of another group answers there"
                : status == KVP_REFUSED     ? trouble_unheard(executor)
                                            : kvp_strerror(status));
}

void exec_peer_role(struct kvp_executor *executor, uint8_t peer, enum kvp_role role)
{
    struct exec_trouble *trouble = trouble_of(executor, peer);
    if (trouble != NULL) {
        trouble->leads = role == KVP_ROLE_PRIMARY || role == KVP_ROLE_ELECT;
    }
}

/* REFUSED is what an earlier release says to a node that it does not know; in a pair it is said to
 * a copy, too: its own status says so. */
void exec_peer_refused(struct kvp_executor *executor, uint8_t peer, bool unknown)
{
    bool copy = executor->config.core.policy != KVP_PAIR_NONE && !unknown;
    const char *reason = exec_members_listed(executor) ? exec_peer_removed : exec_peer_unknowing;
    set_trouble(executor, trouble_of(executor, peer), copy ? NULL : reason);
}

void exec_peer_mistaken(struct kvp_executor *executor, uint8_t peer, unsigned who)
{
    set_trouble(executor, trouble_of(executor, peer),
                who == executor->config.core.self
                    ? "this node itself answers there: the address is its own"
                    : "a node with another id answers there");
}

void exec_arbiter_answered(struct kvp_executor *executor, const struct kvp_arbiter_answer *answer)
{
    bool ours = kvp_core_view(executor->core)->version != 0;
    bool shows =
        answer->view.version != 0; /* a refusal that shows the register is one of its rules */
    kvp_status status = answer->status;
    set_trouble(executor, &executor->arbiter_trouble,
                status == KVP_BAD_OP               ? "a node answers there, no witness"
                : status == KVP_BAD_VERSION        ? "a witness of another release answers there"
                : status == KVP_WRONG_GROUP        ? exec_witness_foreign
                : status == KVP_NOT_SEEDED && ours ? exec_witness_unknown
                : status == KVP_REFUSED && !shows  ? "it takes nothing from this node's address"
                                                   : NULL);
    if (status == KVP_OK && executor->why_witness &&
        answer->view.version >= kvp_core_view(executor->core)->version) {
        executor->why = NULL; /* it is as it should be again */
        executor->why_witness = false;
    }
}

/* ---- the core's notes ---- */

static enum kvp_log_level note_level(enum kvp_note note)
{
    switch (note) {
    case KVP_NOTE_WRONG_GROUP:
    case KVP_NOTE_DIVERGED:
    case KVP_NOTE_BLANK_BUT_KNOWN:
    case KVP_NOTE_ARBITER_FOREIGN:
    case KVP_NOTE_ARBITER_OLDER:
    case KVP_NOTE_FENCE_FAILED:
    case KVP_NOTE_COPY:
    case KVP_NOTE_PEER_COPY:
    case KVP_NOTE_DISK_SILENT:
    case KVP_NOTE_DISK_NO_HEIR:
        return KVP_LOG_ERROR;
    case KVP_NOTE_PEER_CAUGHT_UP:
    case KVP_NOTE_PEER_LEAVES:
    case KVP_NOTE_SNAPSHOT_SENDING:
    case KVP_NOTE_SNAPSHOT_RECEIVING:
    case KVP_NOTE_SNAPSHOT_RECEIVED:
    case KVP_NOTE_LOG_CUT:
    case KVP_NOTE_DISK_ANSWERS:
        return KVP_LOG_INFO;
    default:
        return KVP_LOG_WARN;
    }
}

/* What a note's number is; NULL: it has none. */
static const char *note_field(enum kvp_note note)
{
    switch (note) {
    case KVP_NOTE_WRONG_GROUP:
    case KVP_NOTE_PEER_LOST:
    case KVP_NOTE_PEER_SLOW:
    case KVP_NOTE_PEER_REGRESSED:
    case KVP_NOTE_PEER_CAUGHT_UP:
    case KVP_NOTE_SNAPSHOT_SENDING:
    case KVP_NOTE_RESIGNED:
    case KVP_NOTE_TIMES_DIFFER:
    case KVP_NOTE_DISK_GIVEN_UP:
    case KVP_NOTE_PEER_COPY:
    case KVP_NOTE_PEER_UNKNOWN:
    case KVP_NOTE_PEER_LEAVES:
        return "peer";
    case KVP_NOTE_COPY:
        return "of_node";
    case KVP_NOTE_SNAPSHOT_RECEIVING:
        return "from";
    case KVP_NOTE_SNAPSHOT_RECEIVED:
    case KVP_NOTE_LOG_CUT:
        return "seq";
    case KVP_NOTE_VIEW_TAKEN_BACK:
        return "epoch";
    case KVP_NOTE_DIVERGED:
        return "updates";
    case KVP_NOTE_DISK_SILENT:
        return "for_ms";
    case KVP_NOTE_PRIMARY_SILENT:
    case KVP_NOTE_NOT_ELIGIBLE:
    case KVP_NOTE_WAITS_FOR_PEER:
    case KVP_NOTE_FENCE_FAILED:
        return "primary";
    case KVP_NOTE_ARBITER_UNKNOWN:
    case KVP_NOTE_ARBITER_FOREIGN:
    case KVP_NOTE_ARBITER_OLDER:
    case KVP_NOTE_BLANK_BUT_KNOWN:
    case KVP_NOTE_DISK_ANSWERS:
    case KVP_NOTE_DISK_NO_HEIR:
        return NULL;
    default:
        return "about";
    }
}

/* Nobody here knows the node that asks. */
static const char *note_stranger(const struct kvp_executor *executor, unsigned id)
{
    return kvp_set_has(executor->members.list.removed, id)
               ? "it was removed from the group and counts nowhere: stop it, or let it in again "
                 "with 'kvcli member add'"
           : exec_members_listed(executor)
               ? "it is no member of the group: 'kvcli member add' lets it in"
               : "no --peer of this node names it: it cannot join; 'kvcli member add' lets it in, "
                 "or name it in every node's --peer";
}

static const char *note_text(const struct kvp_executor *executor, enum kvp_note note,
                             uint64_t number)
{
    bool blank = kvp_core_view(executor->core)->version == 0;
    switch (note) {
    case KVP_NOTE_WRONG_GROUP:
        return "it belongs to another group of the same name";
    case KVP_NOTE_ARBITER_FOREIGN:
    case KVP_NOTE_BLANK_BUT_KNOWN:
        return blank || note == KVP_NOTE_BLANK_BUT_KNOWN ? exec_blank_text : exec_foreign_text;
    case KVP_NOTE_ARBITER_UNKNOWN:
        return exec_unknown_text;
    case KVP_NOTE_ARBITER_OLDER:
        return "the witness shows an older view than it did before: it was emptied or put back. If "
               "another node serves and is right, empty this node's data directory; if this one "
               "is, 'kvcli promote --force' here";
    case KVP_NOTE_NOT_ELIGIBLE:
        return "the primary is silent, and this node was not in sync: it may not lead";
    case KVP_NOTE_WAITS_FOR_PEER:
        return "alone after a start: waits for its peer, or for 'kvcli promote'";
    case KVP_NOTE_FENCE_FAILED:
        return "the fence command did not exit with 0: this node does not take over";
    case KVP_NOTE_COPY:
        return exec_copy_text;
    case KVP_NOTE_PEER_COPY:
        return "two stores speak for this node: one is a copy of the other, or an old one put back";
    case KVP_NOTE_DISK_SILENT:
        return "own disk has not answered";
    case KVP_NOTE_DISK_NO_HEIR:
        return "no in-sync member with a working disk could take the lead";
    case KVP_NOTE_PEER_UNKNOWN:
        return note_stranger(executor, (unsigned)number);
    case KVP_NOTE_TIMES_DIFFER:
        return "its grace is too short for this node's lease: give both the same times";
    default:
        return NULL;
    }
}

static bool note_of_witness(enum kvp_note note)
{
    return note == KVP_NOTE_ARBITER_UNKNOWN || note == KVP_NOTE_ARBITER_FOREIGN ||
           note == KVP_NOTE_ARBITER_OLDER;
}

/* Some are repeated with every heartbeat while their cause lasts. False: it was told lately. */
static bool may_repeat(struct kvp_executor *executor, enum kvp_note note, uint64_t number)
{
    struct exec_told *told = &executor->told[(note * 31u + number) % EXEC_TOLD_MAX];
    bool same = told->used && told->note == note && told->number == number;
    if (note != KVP_NOTE_WRONG_GROUP && note != KVP_NOTE_TIMES_DIFFER &&
        note != KVP_NOTE_PEER_UNKNOWN) {
        return true;
    }
    if (same && executor->now_us < told->again_us) {
        return false;
    }
    uint64_t pause_us = same ? 2 * told->pause_us : REPEAT_MIN_US;
    *told = (struct exec_told){.used = true, .note = note, .number = number};
    told->pause_us = pause_us < REPEAT_MAX_US ? pause_us : REPEAT_MAX_US;
    told->again_us = executor->now_us + told->pause_us;
    return true;
}

void exec_note(struct kvp_executor *executor, enum kvp_note note, uint64_t number)
{
    char field[40] = "", quoted[400];
    const char *text = note_text(executor, note, number);
    exec_note_cause(executor, note);
    if (note == KVP_NOTE_ARBITER_SILENT) { /* told with its cause, and when it is over */
        bool known = executor->arbiter_trouble.reason != NULL;
        set_trouble(executor, &executor->arbiter_trouble,
                    known ? executor->arbiter_trouble.reason : "it does not answer");
        return;
    }
    if (note == KVP_NOTE_GROUP_CREATED) {
        exec_say(executor, KVP_LOG_INFO, kvp_note_name(note), "group_id=%" PRIu64, number);
        return;
    }
    if (note == KVP_NOTE_PEER_UNKNOWN) {
        executor->unknown_peer = (unsigned)number;
        executor->unknown_us = executor->now_us;
    } else if (text != NULL) {
        executor->why = text;
        executor->why_witness = note_of_witness(note);
    } else if (note == KVP_NOTE_DISK_ANSWERS) {
        executor->why = NULL;
    }
    if (!may_repeat(executor, note, number)) {
        return;
    }
    if (note_field(note) != NULL) {
        snprintf(field, sizeof(field), "%s=%" PRIu64, note_field(note), number);
    }
    exec_say(executor, note_level(note), kvp_note_name(note), "%s%s%s%s", field,
             field[0] != '\0' && text != NULL ? " " : "", text == NULL ? "" : "reason=",
             text == NULL ? "" : kvp_log_quote(quoted, sizeof(quoted), text));
}

unsigned exec_unknown_peer(const struct kvp_executor *executor)
{
    bool lately = executor->now_us - executor->unknown_us < UNKNOWN_SHOWN_US;
    return lately ? executor->unknown_peer : 0;
}

const char *exec_arbiter_state(const struct kvp_executor *executor)
{
    const struct exec_trouble *trouble = &executor->arbiter_trouble;
    return trouble->reason != NULL                                     ? trouble->reason
           : trouble->known || executor->config.arbiter_url[0] == '\0' ? "ok"
                                                                       : "not heard of yet";
}
