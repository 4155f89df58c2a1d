/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private CA in a folder: ca.crt and ca.key, and a pair of files for whoever got a certificate.
 * Keys are elliptic (P-256), their files the owner's alone; a file is there whole or not at all.
 */
#ifndef KVCLI_CERTIFICATES_H
#define KVCLI_CERTIFICATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CERTIFICATE_NAMES_MAX 16u
#define CERTIFICATE_NAME_SIZE 320u

struct certificate_wish {
    const char *file;         /* its name in the folder, without .crt and .key */
    const char *subject;      /* for people */
    bool server;              /* may listen, too; else only dial */
    int64_t begins_s, ends_s; /* from now */
    /* kvpair:GROUP/KIND/NAME, host names and addresses. */
    unsigned name_count;
    char names[CERTIFICATE_NAMES_MAX][CERTIFICATE_NAME_SIZE];
};

struct certificate {
    bool ca;
    bool server;
    int64_t not_after; /* Unix time, in seconds */
    unsigned name_count;
    char names[CERTIFICATE_NAMES_MAX][CERTIFICATE_NAME_SIZE];
};

/* False: `reason` says why. By OpenSSL; in a build without it each of them fails. */
struct certificates_functions {
    /* The folder is made if it is not there; a CA that is there stays. */
    bool (*found)(const char *folder, const char *subject, int64_t ends_s, char *reason,
                  size_t reason_size);
    /* Signed by the folder's CA. What was there under the name is replaced only if `replace`. */
    bool (*issue)(const char *folder, const struct certificate_wish *wish, bool replace,
                  char *reason, size_t reason_size);
    /* Reads one of the folder's; `file` is a name without .crt. */
    bool (*read)(const char *folder, const char *file, struct certificate *certificate,
                 char *reason, size_t reason_size);
};

extern const struct certificates_functions certificates;

#endif
