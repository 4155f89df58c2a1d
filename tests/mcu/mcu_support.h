/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group of nodes in memory for tests of kvmcu, with a transport that is as bad as a test wants:
 * it gives and takes few bytes at a time, resets, delays and twists answers. Requests are read and
 * answers written by the nodes' own code. Time passes in idle() only.
 */
#ifndef KVP_TEST_MCU_SUPPORT_H
#define KVP_TEST_MCU_SUPPORT_H

#include "mcu-port/kvmcu.h"
#include "replication/wire/wire.h"

#define PEER_NODES         3u
#define PEER_KEYS          4u
#define PEER_SESSION_SLOTS 8u
#define NEVER              UINT32_MAX

/* What happens to the next answers. */
enum twist {
    TWIST_NONE,
    TWIST_DROP,
    TWIST_LATE,      /* it comes after PEER_LATE_MS */
    TWIST_TWICE,     /* and again, when the next one comes */
    TWIST_OLD_EPOCH, /* and is not executed */
    TWIST_CODE,      /* `code`, and is not executed */
    TWIST_CODE_DONE, /* `code`, and is executed */
    TWIST_SHORT,     /* `amount` bytes are missing at its end, the frame's length is right */
    TWIST_LONG,      /* one byte too many */
    TWIST_BYTE,      /* byte `amount` is another: `code` */
    TWIST_BAD_LENGTH,
    TWIST_BAD_ID,
};
#define PEER_LATE_MS 1000u

/* A job whose tasks are bytes, and whose results are the same bytes xor WORK_XOR, twice. */
#define WORK_TASKS_MAX 24u
#define WORK_JOB       ((uint64_t)1 << 40)
#define WORK_XOR       0x5au

struct work_task {
    uint64_t attempt; /* 0: it is in nobody's hands */
    unsigned counted, posted, given;
};

struct work {
    unsigned tasks, kind;  /* how many there are; WORK_KINDS[kind] */
    uint32_t payload_size; /* of task n: so many bytes and n more */
    uint32_t bytes_max;    /* ... or so many, if that is less; 0: any number */
    bool lie;              /* about the payload's CRC */
    uint64_t instance;     /* 0: the worker is unknown */
    uint64_t attempts, buffer;
    uint64_t fetch;   /* number of the newest one that was given a task, */
    unsigned fetched; /* and the task */
    unsigned joins, beats, leaves, posts, fetches;
    uint32_t progress;
    bool unwanted;
    kvp_buf checkpoint, kinds;
    struct work_task task[WORK_TASKS_MAX];
};
extern const char *const work_kinds[3];

struct peer;
int work_execute(struct peer *peer, const struct kvp_request *request, kvp_buf *result);
bool work_is_done(const struct work *work);

struct peer_key {
    kvp_buf key, value;
    uint64_t modify, create;
};

struct peer_session_slot {
    uint64_t client, session_start;
    unsigned slot;
    uint64_t number;
    kvp_buf answer; /* its result */
    int status;
};

struct peer {
    struct work work;
    struct kvmcu_transport transport;
    uint32_t now_ms;
    /* the group */
    unsigned primary; /* index */
    uint64_t epoch, group_id, seq;
    uint64_t oldest;      /* what a watch may ask from */
    const char *hint;     /* NULL: the URL of the primary */
    uint64_t hello_epoch; /* of answers to HELLO; 0: the group's */
    bool dead[PEER_NODES];
    bool mute;           /* the first node gives no answer, */
    uint32_t mute_until; /* and the others know no other primary before; */
    unsigned muted;      /* what it did not answer */
    struct peer_key keys[PEER_KEYS];
    struct peer_session_slot session_slots[PEER_SESSION_SLOTS];
    unsigned executed, asked, hellos; /* updates; messages; HELLOs among them */
    struct kvp_session_id last;       /* session of the last update that was asked for */
    uint64_t epoch_seen;              /* of the last message */
    unsigned last_node;
    uint64_t forget; /* sessions that started before this are not known any more */
    /* the next `twists` answers to anything but HELLO */
    enum twist twist;
    unsigned twists, amount;
    unsigned spared; /* answers before those */
    int code;
    /* the transport */
    bool connected;
    unsigned node, opens, opening; /* so many open() take */
    size_t read_max, write_max;
    uint32_t cut_at, moved; /* bytes, both ways, until the connection is reset; once */
    kvp_buf in, out, again; /* to the node, to the client, what comes a second time */
    size_t out_at;
    uint32_t out_when;
};

extern const char *const peer_urls[PEER_NODES];

void peer_open(struct peer *peer);
void peer_close(struct peer *peer);
void peer_client(struct peer *peer, struct kvmcu *client, uint8_t *buffer, uint16_t size);
void peer_worker(struct peer *peer, struct kvmcu *client, uint8_t *buffer, uint16_t size,
                 const struct kvmcu_worker *worker);

#endif
