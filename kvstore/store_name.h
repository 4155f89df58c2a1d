/* SPDX-License-Identifier: Apache-2.0 */
/* The names of stores and files in a data directory: lower case, so that LOCK is never one. */
#ifndef KVP_STORE_NAME_H
#define KVP_STORE_NAME_H

#include <stdbool.h>
#include <string.h>

#define KVP_STORE_NAME_SIZE 64u /* with the final zero */
#define KVP_FILE_SIZE_MAX   4096u

static inline bool kvp_store_name_valid(const char *name)
{
    size_t size = strlen(name);

    return size > 0 && size < KVP_STORE_NAME_SIZE && name[0] != '.' && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == size;
}

#endif
