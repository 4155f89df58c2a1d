/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process's certificate, its key, and the CA whose certificates it believes: what every server
 * and link at a tls+tcp:// address is given. Both sides show a certificate. New connections use
 * what was loaded last; those that are open stay as they are.
 */
#ifndef KVP_TLS_H
#define KVP_TLS_H

#include "replication/net/identity.h"

struct kvp_tls;

struct kvp_tls_files {
    const char *cert, *key, *ca; /* PEM; the certificate perhaps with those between it and the CA */
    const char *min;             /* "1.3" (also NULL and "") or "1.2" */
};

/* Is this an address that needs a certificate? */
bool kvp_tls_is_url(const char *url);

/* True: files are named, all that are needed or a part of them. */
bool kvp_tls_is_named(const struct kvp_tls_files *files);

/* By OpenSSL; a build without it can open nothing. */
struct kvp_tls_functions {
    /* Reads the files. `reason` says what is wrong, with the next step. KVP_BAD_ARGUMENT (also
     * where the build has no TLS), KVP_NO_MEMORY. */
    kvp_status (*open)(const struct kvp_tls_files *files, struct kvp_tls **tls, char *reason,
                       size_t reason_size);
    /* Reads them again, and takes them when they are good: else everything stays as it was.
     * Thread-safe. */
    kvp_status (*reload)(struct kvp_tls *tls, char *reason, size_t reason_size);
    /* When the certificate ends, in seconds of Unix time. Thread-safe. */
    int64_t (*not_after)(struct kvp_tls *tls);
    /* After all servers and links that were given it. */
    void (*close)(struct kvp_tls *tls);
};

extern const struct kvp_tls_functions kvp_tls;

#endif
