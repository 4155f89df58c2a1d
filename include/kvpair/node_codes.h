/* SPDX-License-Identifier: Apache-2.0 */
/* What a node can be, who decides about it, how much it tells: numbers, and their names in
 * commands, logs and messages. The functions return static strings, "unknown" for other numbers. */
#ifndef KVP_NODE_CODES_H
#define KVP_NODE_CODES_H

#include "kvp_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* On the wire they are numbers, for ever. */
enum kvp_role {
    KVP_ROLE_OUTSIDE = 0,   /* "outside": not in the view: new, joining, or a standby */
    KVP_ROLE_BACKUP = 1,    /* "backup": in the in-sync set, follows the primary */
    KVP_ROLE_CANDIDATE = 2, /* "candidate": in the in-sync set, asks the arbiter for the lead */
    KVP_ROLE_ELECT = 3,     /* "elect": primary of the view, brings the others to its log's end */
    KVP_ROLE_PRIMARY = 4,   /* "primary": executes requests, while its leases hold */
    KVP_ROLE_FAILED = 5,    /* "failed": its storage failed: member of nothing */
    KVP_ROLE_STOPPED = 6,   /* "stopped": shut down */
};
KVP_API const char *kvp_role_name(enum kvp_role role);

/* What two nodes without a witness do when they lose each other. */
enum kvp_pair_policy {
    KVP_PAIR_NONE = 0,         /* "none": an outside arbiter decides */
    KVP_PAIR_BACKUP_WINS = 1,  /* "backup-wins": the backup takes over, the primary stops. Safe */
    KVP_PAIR_PRIMARY_WINS = 2, /* "primary-wins": the primary goes on, nobody takes over. Safe */
    KVP_PAIR_AVAILABLE = 3, /* "available": both go on; what only one of them has is quarantined */
};
KVP_API const char *kvp_pair_policy_name(enum kvp_pair_policy policy);

enum kvp_log_level {
    KVP_LOG_ERROR = 0, /* "error" */
    KVP_LOG_WARN = 1,  /* "warn" */
    KVP_LOG_INFO = 2,  /* "info" */
    KVP_LOG_DEBUG = 3, /* "debug" */
};
KVP_API const char *kvp_log_level_name(enum kvp_log_level level);

#ifdef __cplusplus
}
#endif

#endif
