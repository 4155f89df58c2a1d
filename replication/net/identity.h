/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom a certificate names, in a URI among its alternative names: kvpair:GROUP/KIND/NAME, where
 * KIND is node (NAME is its number), witness, user or worker. What is no letter, digit, '-', '.',
 * '_' or '~' in GROUP and NAME is written %XX.
 */
#ifndef KVP_IDENTITY_H
#define KVP_IDENTITY_H

#include "kvpair/kvp_base.h"

#define KVP_IDENTITIES_MAX 8u /* of one certificate: a witness has one for each group */

enum kvp_identity_kind {
    KVP_IDENTITY_NODE = 1,
    KVP_IDENTITY_WITNESS,
    KVP_IDENTITY_USER,
    KVP_IDENTITY_WORKER,
};

struct kvp_identity {
    enum kvp_identity_kind kind;
    unsigned node; /* its number; 0: it is none */
    char group[KVP_GROUP_NAME_MAX + 1];
    char name[KVP_NAME_SIZE_MAX + 1];
};

/* KVP_BAD_ARGUMENT: it names nobody. */
kvp_status kvp_identity_parse(kvp_slice uri, struct kvp_identity *identity);

#endif
