/* SPDX-License-Identifier: Apache-2.0 */
/* kvnode --restore: the store of a new group's first node, made of a backup. */
#ifndef KVNODE_RESTORE_H
#define KVNODE_RESTORE_H

#include "kvpair/kvp_node.h"

/* Makes it in options->data_dir, for that node and group, of the file ("-": standard input), and
 * says what was made, or why not. Returns the exit status. */
int kvnode_restore(const kvp_node_options *options, const char *file);

#endif
