/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of addresses that something is allowed from. Host names in it are looked up by a thread of
 * the list: at the start, every half minute, and soon after an address was asked for that is not in
 * the list, so that a host that has moved is known again. A name that cannot be looked up keeps the
 * addresses that it had. All addresses of this machine's loopback, and Unix sockets, count as one.
 */
#ifndef KVP_ADDRESS_LIST_H
#define KVP_ADDRESS_LIST_H

#include "kvpair/kvp_base.h"

#define KVP_ADDRESS_LIST_MAX  64u /* entries */
#define KVP_ADDRESS_TEXT_SIZE 64u

struct kvp_address_list;
struct sockaddr;

/* NULL when memory is short. */
struct kvp_address_list *kvp_address_list_new(void);
/* Takes one entry: a host name, an address, a network such as 10.1.0.0/16, a URL (its host), or
 * `any`. Before it is started. KVP_BAD_ARGUMENT, KVP_TOO_LARGE (entries). */
kvp_status kvp_address_list_add(struct kvp_address_list *list, kvp_slice text);
/* The same for a list with commas between. */
kvp_status kvp_address_list_add_all(struct kvp_address_list *list, const char *text);
/* Makes `list`, which may be in use, what `from` is: takes over its entries, and frees it. A name
 * that both have keeps the addresses that were found. KVP_NO_MEMORY, KVP_IO: names will not be
 * looked up. */
kvp_status kvp_address_list_become(struct kvp_address_list *list, struct kvp_address_list *from);
/* KVP_NO_MEMORY, KVP_IO. Without names in the list no thread is needed, and none is made. */
kvp_status kvp_address_list_start(struct kvp_address_list *list);
/* Waits for a name that is being looked up. NULL is fine. */
void kvp_address_list_free(struct kvp_address_list *list);

/* Thread-safe, does not wait for a look-up. */
bool kvp_address_list_has(struct kvp_address_list *list, const struct sockaddr *address);

/* One of those that only this machine reaches? False for what is no address of the Internet. */
bool kvp_address_is_loopback(const struct sockaddr *address);

/* For people: without the port. */
const char *kvp_address_print(char out[KVP_ADDRESS_TEXT_SIZE], const struct sockaddr *address);

#endif
