/* SPDX-License-Identifier: Apache-2.0 */
/* What kvnode was told: settings from its command line and its configuration file. */
#ifndef KVNODE_SETTINGS_H
#define KVNODE_SETTINGS_H

#include "kvpair/kvp_node.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>

enum { KVNODE_TEXT_MAX = 1024, KVNODE_PEERS_MAX = 4096 };

enum kvnode_setting {
    SET_ID = 1,
    SET_DATA,
    SET_LISTEN,
    SET_INSECURE,
    SET_ADVERTISE,
    SET_PEER,
    SET_PEER_FROM,
    SET_JOIN,
    SET_GROUP,
    SET_WITNESS,
    SET_ETCD,
    SET_PAIR,
    SET_FENCE,
    SET_PROFILE,
    SET_HEARTBEAT,
    SET_LEASE,
    SET_GRACE,
    SET_SYNC_TIMEOUT,
    SET_SYNC_REPLICAS,
    SET_LOG_SIZE,
    SET_QUARANTINE_STORES,
    SET_QUARANTINE_SIZE,
    SET_VERIFY_MEMORY,
    SET_TLS_CERT,
    SET_TLS_KEY,
    SET_TLS_CA,
    SET_TLS_MIN,
    SET_ADMIN,
    SET_HTTP,
    SET_HTTP_OTHERS,
    SET_LOG_LEVEL,
    SET_LOG_FILE,
    SET_CONFIG,
    SET_RESTORE,
    SET_HELP,
    SET_VERSION,
    SETTINGS,
};

/* For getopt_long(); the last one has no name. */
extern const struct option kvnode_options[];

/* Starts zeroed. */
struct kvnode_settings {
    bool given[SETTINGS]; /* on the command line: the file does not count */
    bool in_file[SETTINGS];
    char text[SETTINGS][KVNODE_TEXT_MAX];
    char peers[KVNODE_PEERS_MAX]; /* all SET_PEER, separated by commas */
    char admins[KVNODE_TEXT_MAX]; /* all SET_ADMIN, likewise */
};

/* From the command line. False: the value is too long. */
bool kvnode_settings_give(struct kvnode_settings *settings, int which, const char *value);

/* The file, when all of the command line has been given. False: `message` says what is wrong, with
 * the `name` of the file and the line. */
bool kvnode_settings_read(struct kvnode_settings *settings, const char *name, FILE *file,
                          char *message, size_t size);

/* What the settings come to; the options point into them. False: `message` says what is wrong. */
bool kvnode_settings_fill(const struct kvnode_settings *settings, kvp_node_options *options,
                          char *message, size_t size);

#endif
