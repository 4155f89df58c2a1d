/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_support.h"
#include "client/kvcli/certificates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

void authority_make(struct authority *authority)
{
    char reason[256] = "";
    (void)snprintf(authority->folder, sizeof(authority->folder), "/tmp/kvpair-certs-XXXXXX");
    assert_non_null(mkdtemp(authority->folder));
    if (!certificates.found(authority->folder, "a CA of a test", DAY_S, reason, sizeof(reason))) {
        fail_msg("%s", reason);
    }
}

void authority_remove(struct authority *authority)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", authority->folder);
    assert_int_equal(system(command), 0);
}

void authority_issue(const struct authority *authority, const char *file, const char *names,
                     bool server, int64_t ends_s)
{
    struct certificate_wish wish = {
        .file = file, .subject = file, .server = server, .ends_s = ends_s};
    char reason[256] = "";
    while (*names != '\0') {
        size_t size = strcspn(names, ",");
        (void)snprintf(wish.names[wish.name_count++], CERTIFICATE_NAME_SIZE, "%.*s", (int)size,
                       names);
        names += size + (names[size] == ',');
    }
    wish.begins_s = ends_s < 0 ? ends_s - DAY_S : 0;
    if (!certificates.issue(authority->folder, &wish, true, reason, sizeof(reason))) {
        fail_msg("%s", reason);
    }
}

const char *authority_path(const struct authority *authority, const char *file)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof(paths[0]), "%s/%s", authority->folder, file);
    return path;
}

struct kvp_tls *authority_open(const struct authority *authority, const char *file,
                               const struct authority *trusted)
{
    char cert[64], key[64], reason[256] = "";
    struct kvp_tls *tls = NULL;
    (void)snprintf(cert, sizeof(cert), "%s.crt", file);
    (void)snprintf(key, sizeof(key), "%s.key", file);
    const struct kvp_tls_files files = {.cert = authority_path(authority, cert),
                                        .key = authority_path(authority, key),
                                        .ca = authority_path(trusted, "ca.crt")};
    if (kvp_tls.open(&files, &tls, reason, sizeof(reason)) != KVP_OK) {
        fail_msg("%s", reason);
    }
    return tls;
}

struct kvp_tls *authority_node(const struct authority *authority, unsigned id)
{
    char file[16], name[32];
    (void)snprintf(file, sizeof(file), "node-%u", id);
    (void)snprintf(name, sizeof(name), "kvpair:default/node/%u", id);
    authority_issue(authority, file, name, true, DAY_S);
    return authority_open(authority, file, authority);
}
