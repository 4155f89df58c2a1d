/* SPDX-License-Identifier: Apache-2.0 */
/* kvcli cert: a private CA for those who have none. It asks no node. */
#include "client/kvcli/kvcli.h"
#include "client/kvcli/certificates.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY_S         86400
#define CA_DAYS       3650
#define DAYS          397
#define DAYS_MAX      36500
#define REASON_SIZE   512
#define CERT_FILE_MAX 200u /* of a file, without its ending */

static const char *cert_folder(const struct kvcli *cli)
{
    const char *folder = kvcli_option(cli, "--dir");
    return folder != NULL ? folder : "kvpair-certs";
}

/* -1: go on; else the exit status. */
static int cert_read_days(const struct kvcli *cli, uint64_t otherwise, int64_t *ends_s)
{
    const char *text = kvcli_option(cli, "--days");
    uint64_t days = otherwise;
    if (text != NULL && (!kvcli_parse_number(text, DAYS_MAX, &days) || days == 0)) {
        return kvcli_complain("--days: '%s' is not a number from 1 to %d", text, DAYS_MAX);
    }
    *ends_s = (int64_t)days * DAY_S;
    return -1;
}

int kvcli_cert_init(struct kvcli *cli, int argc, char **argv)
{
    char reason[REASON_SIZE], subject[KVP_GROUP_NAME_MAX];
    int64_t ends_s;
    (void)argc;
    (void)argv;
    int code = cert_read_days(cli, CA_DAYS, &ends_s);
    if (code >= 0) {
        return code;
    }
    (void)snprintf(subject, sizeof(subject), "kvpair CA");
    if (!certificates.found(cert_folder(cli), subject, ends_s, reason, sizeof(reason))) {
        (void)kvcli_complain("cert init: %s", reason);
        return EXIT_NOTHING;
    }
    fprintf(stderr, "%s: a CA; whoever has ca.key can be anybody: keep it off the nodes\n",
            cert_folder(cli));
    return EXIT_DONE;
}

/* ---- names ---- */

static bool cert_append_escaped(char *out, size_t size, const char *text, size_t text_size)
{
    size_t used = strlen(out);
    for (size_t i = 0; i < text_size && used + 4 < size; i++) {
        unsigned char byte = (unsigned char)text[i];
        bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                     (byte >= '0' && byte <= '9') || (byte != 0 && strchr("-._~", byte) != NULL);
        used += (size_t)snprintf(out + used, size - used, plain ? "%c" : "%%%02X", byte);
    }
    return used + 4 < size;
}

static bool cert_is_node(const char *name)
{
    uint64_t number;
    return kvcli_parse_number(name, KVP_NODE_ID_MAX, &number) && number > 0 && name[0] != '0';
}

/* KIND/NAME; the file's name has a dash for the slash, and so has nobody else's. */
static bool cert_take_identity(const struct kvcli *cli, const char *text,
                               struct certificate_wish *wish, char file[CERT_FILE_MAX])
{
    static const char *const kinds[] = {"node", "witness", "user", "worker"};
    const char *slash = strchr(text, '/');
    const char *group = cli->group != NULL ? cli->group : "default";
    char *uri = wish->names[0];
    size_t kind_size = slash != NULL ? (size_t)(slash - text) : 0;
    bool known = false, node = false;
    for (unsigned i = 0; i < 4; i++) {
        bool same = strlen(kinds[i]) == kind_size && memcmp(kinds[i], text, kind_size) == 0;
        known = known || same;
        node = node || (same && i == 0);
        wish->server = wish->server || (same && i < 2);
    }
    if (!known || slash[1] == '\0' || strlen(slash + 1) > KVP_NAME_SIZE_MAX ||
        (node && !cert_is_node(slash + 1))) {
        return false;
    }
    (void)snprintf(uri, CERTIFICATE_NAME_SIZE, "kvpair:");
    bool fits = cert_append_escaped(uri, CERTIFICATE_NAME_SIZE, group, strlen(group)) &&
                strlen(group) <= KVP_GROUP_NAME_MAX;
    size_t used = strlen(uri);
    (void)snprintf(uri + used, CERTIFICATE_NAME_SIZE - used, "/%.*s/", (int)kind_size, text);
    fits = fits && cert_append_escaped(uri, CERTIFICATE_NAME_SIZE, slash + 1, strlen(slash + 1));
    (void)snprintf(file, CERT_FILE_MAX, "%.*s-", (int)kind_size, text);
    wish->name_count = 1;
    return cert_append_escaped(file, CERT_FILE_MAX, slash + 1, strlen(slash + 1)) && fits;
}

/* -1: go on; else the exit status. */
static int cert_take_hosts(const char *hosts, struct certificate_wish *wish)
{
    while (hosts != NULL && *hosts != '\0') {
        size_t size = strcspn(hosts, ",");
        if (size == 0 || size >= CERTIFICATE_NAME_SIZE ||
            wish->name_count == CERTIFICATE_NAMES_MAX || strncmp(hosts, "kvpair:", 7) == 0) {
            return kvcli_complain("--host: '%s' is no list of at most %u host names and addresses",
                                  hosts, CERTIFICATE_NAMES_MAX - 1);
        }
        memcpy(wish->names[wish->name_count], hosts, size);
        wish->names[wish->name_count++][size] = '\0';
        hosts += size + (hosts[size] == ',');
    }
    return -1;
}

static int cert_make(struct kvcli *cli, const struct certificate_wish *wish, bool replace)
{
    char reason[REASON_SIZE];
    const char *folder = cert_folder(cli);
    if (!certificates.issue(folder, wish, replace, reason, sizeof(reason))) {
        (void)kvcli_complain("cert %s: %s", replace ? "renew" : "issue", reason);
        return EXIT_NOTHING;
    }
    fprintf(stderr, "%s/%s.crt, %s/%s.key: %s\n", folder, wish->file, folder, wish->file,
            wish->names[0]);
    return EXIT_DONE;
}

static int cert_refuse_identity(const char *verb, const char *text)
{
    return kvcli_complain("cert %s: '%s' is none of node/NUMBER, witness/NAME, user/NAME and "
                          "worker/NAME",
                          verb, text);
}

int kvcli_cert_issue(struct kvcli *cli, int argc, char **argv)
{
    struct certificate_wish wish = {0};
    char file[CERT_FILE_MAX];
    (void)argc;
    if (!cert_take_identity(cli, argv[0], &wish, file)) {
        return cert_refuse_identity("issue", argv[0]);
    }
    int code = cert_take_hosts(kvcli_option(cli, "--host"), &wish);
    code = code < 0 ? cert_read_days(cli, DAYS, &wish.ends_s) : code;
    if (code >= 0) {
        return code;
    }
    wish.file = file;
    wish.subject = argv[0];
    return cert_make(cli, &wish, false);
}

/* All that it was for stays as it was: the group, too. */
int kvcli_cert_renew(struct kvcli *cli, int argc, char **argv)
{
    struct certificate_wish wish = {0};
    struct certificate before;
    char file[CERT_FILE_MAX], reason[REASON_SIZE];
    (void)argc;
    if (!cert_take_identity(cli, argv[0], &wish, file)) {
        return cert_refuse_identity("renew", argv[0]);
    }
    int code = cert_read_days(cli, DAYS, &wish.ends_s);
    if (code >= 0) {
        return code;
    }
    if (!certificates.read(cert_folder(cli), file, &before, reason, sizeof(reason))) {
        (void)kvcli_complain("cert renew: %s", reason);
        return EXIT_NOTHING;
    }
    wish.file = file;
    wish.subject = argv[0];
    wish.server = before.server;
    wish.name_count = before.name_count;
    memcpy(wish.names, before.names, sizeof(wish.names));
    return cert_make(cli, &wish, true);
}

/* ---- list ---- */

static void cert_print(const char *file, const struct certificate *certificate)
{
    time_t end = (time_t)certificate->not_after;
    char date[32] = "";
    struct tm parts;
    if (gmtime_r(&end, &parts) != NULL) {
        (void)strftime(date, sizeof(date), "%Y-%m-%d", &parts);
    }
    long long days = ((long long)end - (long long)time(NULL)) / DAY_S;
    printf("%-20s until %s (%s%lld days)", file, date, days < 0 ? "EXPIRED, " : "", days);
    for (unsigned i = 0; i < certificate->name_count; i++) {
        printf(" %s", certificate->names[i]);
    }
    printf("%s\n", certificate->ca ? " the CA" : "");
}

static int cert_compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int cert_is_certificate(const struct dirent *entry)
{
    size_t size = strlen(entry->d_name);
    return size > 4 && size < CERT_FILE_MAX && strcmp(entry->d_name + size - 4, ".crt") == 0;
}

int kvcli_cert_list(struct kvcli *cli, int argc, char **argv)
{
    struct dirent **entries = NULL;
    const char *folder = cert_folder(cli);
    int code = EXIT_DONE;
    (void)argc;
    (void)argv;
    int count = scandir(folder, &entries, cert_is_certificate, cert_compare_names);
    if (count < 0) {
        (void)kvcli_complain("cert list: the folder %s cannot be read", folder);
        return EXIT_NOTHING;
    }
    for (int i = 0; i < count; i++) {
        struct certificate certificate;
        char reason[REASON_SIZE];
        char *file = entries[i]->d_name;
        file[strlen(file) - 4] = '\0';
        if (certificates.read(folder, file, &certificate, reason, sizeof(reason))) {
            cert_print(file, &certificate);
        } else {
            (void)kvcli_complain("cert list: %s", reason);
            code = EXIT_NOTHING;
        }
        free(entries[i]);
    }
    free(entries);
    return code;
}
