/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nodes say to each other: one request struct, one reply struct, used by the replication core
 * and by the codec (peer_wire.h) alike. Every request shows the sender's view, every reply shows
 * the replier's whole position, so that one lost message never matters for long.
 */
#ifndef KVP_PEER_H
#define KVP_PEER_H

#include "kvstore/storage.h"
#include "replication/wire/wire_schema.h"

#define KVP_APPEND_COUNT_MAX 1024u /* entries in one APPEND */
#define KVP_APPEND_SIZE_MAX                                                                        \
    (1024u * 1024u)                   /* payload bytes in one APPEND, but at least one entry */
#define KVP_CHUNK_SIZE (512u * 1024u) /* bytes of a snapshot chunk, about */

/* Where a node stands. */
struct kvp_peer_report {
    uint8_t role;         /* enum kvp_role */
    bool blank;           /* has never been in a group */
    bool log_regressed;   /* its log is shorter than it was */
    bool unsettled;       /* pair mode: its disk may hold a newer view than the one that it shows */
    bool known;           /* pair mode: its store speaks for its node, as the other one has said */
    struct kvp_view view; /* the newest view that it knows */
    struct kvp_point tail;   /* end of its log that is durable */
    struct kvp_point commit; /* what it knows to be committed */
    uint64_t received;       /* end of its log, durable or on its way there */
    uint64_t member_epoch;   /* epoch of its promise to count as in-sync; 0: none */
    uint64_t snapshot;       /* id of the snapshot being received; 0: none */
    uint64_t wanted;         /* index of the snapshot chunk that it waits for */
    uint64_t incarnation;    /* of this store in this process: another after every start */
    uint64_t grace_us;       /* its grace: a lease from it has to end before; 0: not known */
};

struct kvp_peer_request {
    unsigned op; /* KVP_OP_STATE ... KVP_OP_RESIGN */
    uint8_t from, to;
    uint64_t group_id; /* 0: the sender is blank */
    uint64_t sent_us;  /* sender's clock; comes back as `echo_us` */
    struct kvp_view view;
    struct kvp_numbers numbers;    /* pair mode: of the sender's store */
    struct kvp_peer_report report; /* STATE */

    struct kvp_point commit; /* HEARTBEAT, APPEND: the primary's commit point */
    bool prepare;            /* HEARTBEAT: promise to count as in-sync in this epoch */
    uint64_t incarnation;    /* HEARTBEAT: who is asked to promise: of the receiver's last report */
    bool diverged;           /* HEARTBEAT: your commit point is not in my log */
    uint64_t forced; /* HEARTBEAT: epoch of the last view that an operator forced; 0: none */

    struct kvp_point prev; /* APPEND: predecessor of the first entry */
    uint64_t lead_epoch;   /* APPEND: the sender leads since this epoch: what is older and differs
                              from its log may be cut */
    uint64_t end;          /* APPEND: end of the sender's log */

    uint64_t snapshot;      /* SNAPSHOT: id, chosen by the sender */
    uint64_t index;         /* of the chunk, from 0 */
    bool last;              /* no chunk after this one */
    struct kvp_point point; /* of the snapshot */
    kvp_slice chunk;        /* checksummed on the wire (CRC-32) */

    uint64_t expected;        /* ASK_VIEW: version of the register that is compared */
    struct kvp_view proposed; /* ASK_VIEW: the view wanted */

    size_t entry_count; /* APPEND: borrowed by the receiver of the event, owned by who decoded */
    struct kvp_entry *entries[KVP_APPEND_COUNT_MAX]; /* last: it is large, and not cleared */
};

struct kvp_peer_reply {
    int code;    /* kvp_status */
    unsigned op; /* of the request */
    uint8_t from;
    uint64_t group_id;
    uint64_t echo_us;
    struct kvp_peer_report report;
    uint64_t
        knows; /* pair mode: the number of the asker's node, as the replier knows it; 0: none */
    struct kvp_numbers numbers; /* pair mode, to STATE and HEARTBEAT: of the replier's store. Last:
                                   it is large, and not cleared */
};

#endif
