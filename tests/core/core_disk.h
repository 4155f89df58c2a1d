/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk of a node in the tests' world: a model of kvp_storage that does one job at a time, in
 * order, each in the time that the test wants, and asserts what the core owes it. And what the
 * world does for it.
 */
#ifndef CORE_DISK_H
#define CORE_DISK_H

#include "core_support.h"

void disk_port(struct kvp_core_port *port); /* sets its functions of the disk */
void disk_run(struct node *node);           /* the job that is first */
void disk_drop_jobs(struct node *node);
void disk_clear(struct disk *disk, struct kvp_point point);
struct kvp_loaded disk_load(const struct disk *disk);

void world_log(struct node *node, unsigned peer, enum happening did, int what, uint64_t number);
void world_disk_event(struct node *node); /* disk_run() is to be called when the job is done */
void *world_must(void *memory);           /* not NULL */

#endif
