/* SPDX-License-Identifier: Apache-2.0 */
/* What both sides of the transport need: threads, wake-ups and descriptors. */
#ifndef KVP_NET_PARTS_H
#define KVP_NET_PARTS_H

#include "replication/net/net.h"
#include "replication/net/sp_stream.h"

#include <pthread.h>

/* Signals are the application's: none of them is handled on a thread made here. Returns an errno.
 */
int net_start_thread(pthread_t *thread, void *(*run)(void *arg), void *arg);
void net_wake(int wake_fd);
void net_take_wake(int wake_fd);
void net_close_fd(int fd); /* -1 is fine */
/* Lets the thread find the connection broken; only it closes. */
void net_break_off(const struct sp_stream *stream);
size_t net_or_default(size_t value, size_t otherwise);

#endif
