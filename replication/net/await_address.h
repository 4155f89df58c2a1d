/* SPDX-License-Identifier: Apache-2.0 */
/* For programs that are started before the network is there, as at boot. */
#ifndef KVP_AWAIT_ADDRESS_H
#define KVP_AWAIT_ADDRESS_H

/* Returns when the URL's host has an address of this machine, or when waiting does not help. Tells
 * on standard error, in `program`'s name and at growing intervals, what is waited for. */
void kvp_await_address(const char *program, const char *url);

#endif
