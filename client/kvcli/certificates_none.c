/* SPDX-License-Identifier: Apache-2.0 */
/* In place of certificates.c in a build without OpenSSL. */
#include "client/kvcli/certificates.h"

#include <stdio.h>

static bool none_refuse(char *reason, size_t size)
{
    (void)snprintf(reason, size,
                   "this build makes no certificates: build it with OpenSSL (-Dtls=enabled)");
    return false;
}

static bool none_found(const char *folder, const char *subject, int64_t ends_s, char *reason,
                       size_t reason_size)
{
    (void)folder;
    (void)subject;
    (void)ends_s;
    return none_refuse(reason, reason_size);
}

static bool none_issue(const char *folder, const struct certificate_wish *wish, bool replace,
                       char *reason, size_t reason_size)
{
    (void)folder;
    (void)wish;
    (void)replace;
    return none_refuse(reason, reason_size);
}

static bool none_read(const char *folder, const char *file, struct certificate *certificate,
                      char *reason, size_t reason_size)
{
    (void)folder;
    (void)file;
    (void)certificate;
    return none_refuse(reason, reason_size);
}

const struct certificates_functions certificates = {none_found, none_issue, none_read};
