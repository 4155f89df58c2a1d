/* SPDX-License-Identifier: Apache-2.0 */
/* For programs that serve: on a plain address whoever reaches it may do everything. */
#ifndef KVP_PLAIN_ADDRESS_H
#define KVP_PLAIN_ADDRESS_H

#include <stdbool.h>

/* Is this URL, to listen on, one that other machines may reach, and without TLS? True also if its
 * host is not known (yet). Blocks while a host name is looked up. False for what is no URL. */
bool kvp_address_is_exposed(const char *url);

/* As that, and says so on standard error, in `program`'s name, with what can be done. */
bool kvp_address_refuse_exposed(const char *program, const char *url);

#endif
