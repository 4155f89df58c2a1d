/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may do what: one function decides, about every operation of the table (operations.h) and
 * everybody who has come over TLS. Pure: it reads what it is given, allocates nothing, and looks at
 * no key's value, version or existence. What is not granted is refused.
 */
#ifndef KVP_ACCESS_H
#define KVP_ACCESS_H

#include "replication/access/rights.h"
#include "replication/net/identity.h"
#include "replication/wire/request.h"

struct kvp_access_asker {
    const struct kvp_identity
        *identity;    /* whom his certificate names in this group; NULL: nobody */
    kvp_slice rights; /* his, as a list; empty: none */
    bool is_admin;    /* whatever his rights are */
};

struct kvp_access_question {
    unsigned op;
    /* What clients ask; a scan that goes on has the range that is left of it. */
    const struct kvp_request *request;
    /* What peers say, or ask the witness: the node in whose name. */
    unsigned from;
    bool owns_job;   /* has he submitted the request's job? */
    bool owns_lease; /* has he been granted the request's lease? */
    /* The kinds with which the request's worker has joined, all but WORKER_JOIN itself. */
    const kvp_slice *kinds;
    unsigned kind_count;
};

enum kvp_access_lack {
    KVP_ACCESS_GRANTED,
    KVP_LACKS_OPERATION, /* there is none of that number */
    KVP_LACKS_IDENTITY,
    KVP_LACKS_NODE,
    KVP_LACKS_NAME,  /* a worker with another one */
    KVP_LACKS_JOB,   /* it is not his own */
    KVP_LACKS_LEASE, /* the same */
    KVP_LACKS_READ,
    KVP_LACKS_WRITE,
    KVP_LACKS_SUBMIT,
    KVP_LACKS_WORK,
    KVP_LACKS_OBSERVE,
    KVP_LACKS_OPERATE,
    KVP_LACKS_ADMIN,
    KVP_LACKS_END,
};

enum kvp_access_lack kvp_access_lacks(const struct kvp_access_asker *asker,
                                      const struct kvp_access_question *question);
/* For who is refused: what he lacks, and the next step. Static; says nothing of any key. */
const char *kvp_access_text(enum kvp_access_lack lack);
/* For the log: "read". Static. */
const char *kvp_access_name(enum kvp_access_lack lack);

/* The number of a session that only this identity has: what a client says its number is, another
 * identity may say, too. */
uint64_t kvp_access_session(uint64_t client, const struct kvp_identity *identity);

/* "user/ann" for an identity. Returns `out`. */
#define KVP_ACCESS_NAME_SIZE (KVP_NAME_SIZE_MAX + 16u)
const char *kvp_access_print(const struct kvp_identity *identity, char out[KVP_ACCESS_NAME_SIZE]);
/* Could somebody have this name? KIND/NAME: user, worker, node or witness. */
bool kvp_access_is_name(kvp_slice text);

#endif
