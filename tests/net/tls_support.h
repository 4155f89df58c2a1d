/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates for tests: a CA in a folder that is gone at the end of the process. */
#ifndef TLS_SUPPORT_H
#define TLS_SUPPORT_H

#include "replication/net/tls.h"

#define DAY_S 86400

struct authority {
    char folder[64];
};

void authority_make(struct authority *authority);
void authority_remove(struct authority *authority);
/* Makes `file`.crt and .key; `names` with commas between. */
void authority_issue(const struct authority *authority, const char *file, const char *names,
                     bool server, int64_t ends_s);
/* "FOLDER/FILE"; good until eight more have been asked for. */
const char *authority_path(const struct authority *authority, const char *file);
/* What was issued so, believing those of `trusted`. */
struct kvp_tls *authority_open(const struct authority *authority, const char *file,
                               const struct authority *trusted);
/* All of it for a node of the group "default", with its number. */
struct kvp_tls *authority_node(const struct authority *authority, unsigned id);

#endif
