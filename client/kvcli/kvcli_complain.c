/* SPDX-License-Identifier: Apache-2.0 */
/* What errors look like, for people and for programs, and the exit status that each has. */
#include "client/kvcli/kvcli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COMPLAINT_SIZE 4096

static bool complaints_in_json;
static unsigned long complaint_line; /* 0: none */

void kvcli_complain_at(unsigned long line)
{
    complaint_line = line;
}

void kvcli_complain_in_json(void)
{
    complaints_in_json = true;
}

/* {"error": ..., "reason": ..., "status": ..., "line": ...} on a line of standard error; status
 * 0: there is none. */
static void complain_json(const char *error, const char *reason, int status)
{
    cJSON *object = cJSON_CreateObject();

    kvcli_json_add(&object, "error", kvcli_json_readable(error));
    if (reason[0] != '\0') {
        kvcli_json_add(&object, "reason", kvcli_json_readable(reason));
    }
    if (status > 0) {
        kvcli_json_add(&object, "status", cJSON_CreateNumber(status));
    }
    if (complaint_line > 0) {
        kvcli_json_add(&object, "line", kvcli_json_number(complaint_line));
    }
    char *text = object == NULL ? NULL : cJSON_PrintUnformatted(object);
    fprintf(stderr, "%s\n", text == NULL ? "{\"error\":\"out of memory\"}" : text);
    cJSON_free(text);
    cJSON_Delete(object);
}

/* What nodes and files say may be part of it, and terminals take some characters for commands. */
int kvcli_complain(const char *format, ...)
{
    char text[COMPLAINT_SIZE];
    va_list arguments;
    fflush(stdout);
    va_start(arguments, format);
    int printed = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (complaints_in_json) {
        complain_json(text, "", 0);
        return EXIT_USAGE;
    }
    fputs("kvcli: ", stderr);
    if (complaint_line > 0) {
        fprintf(stderr, "line %lu: ", complaint_line);
    }
    kvcli_complain_escaped(kvp_slice_of(text, strlen(text)));
    fputs(printed >= (int)sizeof(text) ? "...\n" : "\n", stderr);
    return EXIT_USAGE;
}

int kvcli_exit_status(kvp_status status)
{
    switch (status) {
    case KVP_OK:
        return EXIT_DONE;
    case KVP_NOT_FOUND:
    case KVP_EXISTS:
    case KVP_VERSION_DIFFERS:
    case KVP_NO_SUCH_JOB:
    case KVP_JOB_STATE:
        return EXIT_NO;
    case KVP_BAD_ARGUMENT:
    case KVP_BAD_REQUEST:
    case KVP_TOO_LARGE:
        return EXIT_USAGE;
    case KVP_TIMEOUT_UNKNOWN:
        return EXIT_UNKNOWN;
    case KVP_REFUSED:
    case KVP_WRONG_GROUP:
        return EXIT_REFUSED;
    default:
        return EXIT_NOTHING;
    }
}

static int complain_status(kvp_status status, const char *reason)
{
    if (complaints_in_json) {
        fflush(stdout);
        complain_json(kvp_strerror(status), reason, -(int)status); /* as on the wire */
    } else {
        (void)kvcli_complain("%s%s%s", kvp_strerror(status), reason[0] == '\0' ? "" : ": ", reason);
    }
    return kvcli_exit_status(status);
}

int kvcli_failed(kvp_status status, const kvp_result *detail)
{
    char reason[COMPLAINT_SIZE] = "";
    if (status == KVP_VERSION_DIFFERS && detail != NULL && detail->version == 0) {
        (void)snprintf(reason, sizeof(reason), "the key is absent");
    } else if (status == KVP_VERSION_DIFFERS && detail != NULL) {
        (void)snprintf(reason, sizeof(reason), "it is %llu", (unsigned long long)detail->version);
    } else if (detail != NULL && detail->value.size > 0) {
        (void)snprintf(reason, sizeof(reason), "%.*s", (int)detail->value.size,
                       (const char *)detail->value.data);
    }
    return complain_status(status, reason);
}

int kvcli_failed_to_print(bool update)
{
    (void)kvcli_complain("%s%s", kvp_strerror(KVP_NO_MEMORY),
                         update ? "; the command was executed" : "");
    return update ? EXIT_UNKNOWN : EXIT_NOTHING;
}

int kvcli_failed_because(kvp_status status, const char *reason)
{
    return complain_status(status, reason);
}
