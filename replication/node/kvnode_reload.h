/* SPDX-License-Identifier: Apache-2.0 */
/* What SIGHUP does to a kvnode: the configuration file read again, the log and the certificate
 * opened anew. */
#ifndef KVNODE_RELOAD_H
#define KVNODE_RELOAD_H

#include "replication/node/kvnode_settings.h"

/* Of the thread that takes the signals. */
struct kvnode_reload {
    struct kvnode_settings command_line; /* before the file was read */
    struct kvnode_settings running;
    struct kvnode_settings file; /* room for what is read anew */
};

/* Standard error goes to the end of that file from here on; it is made if it is not there. False:
 * it cannot be opened, errno says why, and nothing has changed. */
bool kvnode_log_to(const char *path);

/* What can change while the node runs does, what cannot is named in the log. A file that cannot be
 * used changes nothing. `node`: NULL while its data is being opened. */
void kvnode_reload(struct kvnode_reload *reload, kvp_node *node);

#endif
