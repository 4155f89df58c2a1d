/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/node/kvnode_reload.h"

#include "kvstore/base/logger.h"
#include "replication/node/node_eyes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REASON_MAX = 2 * KVNODE_TEXT_MAX, NAMES_MAX = 512 };

#define LOG_FILE_MODE 0640

bool kvnode_log_to(const char *path)
{
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, LOG_FILE_MODE);
    if (file < 0) {
        return false;
    }
    bool good = dup2(file, STDERR_FILENO) >= 0;
    int reason = errno;
    (void)close(file);
    errno = reason;
    return good;
}

static struct kvp_logger reload_logger(const struct kvnode_reload *reload)
{
    struct kvp_logger logger = {.level = KVP_LOG_INFO,
                                .node_id =
                                    (unsigned)strtoul(reload->running.text[SET_ID], NULL, 10)};
    (void)kvp_log_level_parse(reload->running.text[SET_LOG_LEVEL], &logger.level);
    return logger;
}

static void reload_keep(const struct kvnode_reload *reload, const char *event, const char *reason)
{
    char quoted[REASON_MAX];
    const struct kvp_logger logger = reload_logger(reload);
    kvp_log(&logger, KVP_LOG_ERROR, event, "reason=%s",
            kvp_log_quote(quoted, sizeof(quoted), reason));
}

/* Also when its name is the one before: it may have been moved away to make room for a new one. */
static void reload_log(struct kvnode_reload *reload, const struct kvnode_settings *wanted)
{
    char reason[REASON_MAX];
    const char *path = wanted->text[SET_LOG_FILE];
    if (path[0] == '\0') {
        return;
    }
    if (kvnode_log_to(path)) {
        memcpy(reload->running.text[SET_LOG_FILE], path, KVNODE_TEXT_MAX);
        return;
    }
    (void)snprintf(reason, sizeof(reason), "%s: %s", path, strerror(errno));
    reload_keep(reload, "log_kept", reason);
}

/* The file as it is now, below the command line. False: it cannot be used, and the log says why. */
static bool reload_read(struct kvnode_reload *reload)
{
    char reason[REASON_MAX] = "";
    const char *name = reload->command_line.text[SET_CONFIG];
    kvp_node_options options;
    reload->file = reload->command_line;
    FILE *file = fopen(name, "re");
    bool good =
        file != NULL && kvnode_settings_read(&reload->file, name, file, reason, sizeof(reason));
    if (file == NULL) {
        (void)snprintf(reason, sizeof(reason), "%s: %s", name, strerror(errno));
    } else {
        (void)fclose(file);
    }
    kvp_node_options_init(&options);
    good = good && kvnode_settings_fill(&reload->file, &options, reason, sizeof(reason));
    if (!good) {
        reload_keep(reload, "config_kept", reason);
    }
    return good;
}

static bool reload_differs(const struct kvnode_reload *reload, int which)
{
    return which == SET_PEER ? strcmp(reload->running.peers, reload->file.peers) != 0
           : which == SET_ADMIN
               ? strcmp(reload->running.admins, reload->file.admins) != 0
               : strcmp(reload->running.text[which], reload->file.text[which]) != 0;
}

/* The names of all that differs and would have to be started with. */
static void reload_list(const struct kvnode_reload *reload, char names[NAMES_MAX])
{
    size_t used = 0;
    bool listed[SETTINGS] = {[SET_LOG_LEVEL] = true, [SET_LOG_FILE] = true};
    names[0] = '\0';
    for (const struct option *option = kvnode_options; option->name != NULL; option++) {
        size_t left = NAMES_MAX - used;
        if (option->has_arg && !listed[option->val] && reload_differs(reload, option->val)) {
            size_t more =
                (size_t)snprintf(names + used, left, "%s%s", used ? "," : "", option->name);
            used += more < left ? more : left - 1;
        }
        listed[option->val] = true; /* some have two names */
    }
}

static void reload_level(struct kvnode_reload *reload, kvp_node *node)
{
    enum kvp_log_level level = KVP_LOG_INFO;
    const char *text = reload->file.text[SET_LOG_LEVEL];
    (void)kvp_log_level_parse(text, &level); /* it was read before; "": the default */
    memcpy(reload->running.text[SET_LOG_LEVEL], text, KVNODE_TEXT_MAX);
    node_eyes_set_log_level(node, level);
}

void kvnode_reload(struct kvnode_reload *reload, kvp_node *node)
{
    char names[NAMES_MAX];
    bool has_file = reload->command_line.given[SET_CONFIG];
    bool good = has_file && node != NULL && reload_read(reload);
    reload_log(reload, good ? &reload->file : &reload->running);
    if (has_file && node == NULL) {
        reload_keep(reload, "config_kept", "the data is still being opened: send SIGHUP again");
    }
    if (good) {
        reload_list(reload, names);
        reload_level(reload, node);
        const struct kvp_logger logger = reload_logger(reload);
        kvp_log(&logger, names[0] ? KVP_LOG_WARN : KVP_LOG_INFO, "config_loaded",
                names[0] ? "log_level=%s needs_restart=%s" : "log_level=%s",
                kvp_log_level_name(logger.level), names);
    }
    if (node != NULL) {
        (void)kvp_node_reload_certificates(node, NULL, 0);
    }
}
