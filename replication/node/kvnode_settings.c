/* SPDX-License-Identifier: Apache-2.0 */
#include "replication/node/kvnode_settings.h"

#include "kvstore/storage.h"
#include "kvstore/base/logger.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Of a configuration file: a path that names something else may have no end. */
#define LINE_SIZE_MAX   65536u
#define LINE_NUMBER_MAX 10000u

const struct option kvnode_options[] = {
    {"id", required_argument, NULL, SET_ID},
    {"data", required_argument, NULL, SET_DATA},
    {"listen", required_argument, NULL, SET_LISTEN},
    {"insecure", optional_argument, NULL, SET_INSECURE},
    {"advertise", required_argument, NULL, SET_ADVERTISE},
    {"peer", required_argument, NULL, SET_PEER},
    {"join", required_argument, NULL, SET_JOIN},
    {"peer-from", required_argument, NULL, SET_PEER_FROM},
    {"group", required_argument, NULL, SET_GROUP},
    {"witness", required_argument, NULL, SET_WITNESS},
    {"etcd", required_argument, NULL, SET_ETCD},
    {"pair", required_argument, NULL, SET_PAIR},
    {"fence-command", required_argument, NULL, SET_FENCE},
    {"profile", required_argument, NULL, SET_PROFILE},
    {"heartbeat-ms", required_argument, NULL, SET_HEARTBEAT},
    {"lease-ms", required_argument, NULL, SET_LEASE},
    {"grace-ms", required_argument, NULL, SET_GRACE},
    {"sync-timeout-ms", required_argument, NULL, SET_SYNC_TIMEOUT},
    {"sync-timeout", required_argument, NULL, SET_SYNC_TIMEOUT},
    {"sync-replicas", required_argument, NULL, SET_SYNC_REPLICAS},
    {"log-size", required_argument, NULL, SET_LOG_SIZE},
    {"quarantine-stores", required_argument, NULL, SET_QUARANTINE_STORES},
    {"quarantine-size", required_argument, NULL, SET_QUARANTINE_SIZE},
    {"verify-memory", required_argument, NULL, SET_VERIFY_MEMORY},
    {"tls-cert", required_argument, NULL, SET_TLS_CERT},
    {"tls-key", required_argument, NULL, SET_TLS_KEY},
    {"tls-ca", required_argument, NULL, SET_TLS_CA},
    {"tls-min", required_argument, NULL, SET_TLS_MIN},
    {"admin", required_argument, NULL, SET_ADMIN},
    {"http", required_argument, NULL, SET_HTTP},
    {"http-others", required_argument, NULL, SET_HTTP_OTHERS},
    {"log-level", required_argument, NULL, SET_LOG_LEVEL},
    {"log-file", required_argument, NULL, SET_LOG_FILE},
    {"config", required_argument, NULL, SET_CONFIG},
    {"restore", required_argument, NULL, SET_RESTORE},
    {"help", no_argument, NULL, SET_HELP},
    {"version", no_argument, NULL, SET_VERSION},
    {NULL, 0, NULL, 0},
};

/* To a list with commas between. */
static bool settings_append(char *list, size_t size, const char *value)
{
    size_t used = strlen(list);
    int more = snprintf(list + used, size - used, "%s%s", used ? "," : "", value);
    return (size_t)more < size - used;
}

static bool set(struct kvnode_settings *settings, int which, const char *value)
{
    if (which == SET_PEER) {
        return settings_append(settings->peers, sizeof(settings->peers), value);
    }
    if (which == SET_ADMIN) {
        return settings_append(settings->admins, sizeof(settings->admins), value);
    }
    int size = snprintf(settings->text[which], KVNODE_TEXT_MAX, "%s", value ? value : "yes");
    return size < KVNODE_TEXT_MAX;
}

bool kvnode_settings_give(struct kvnode_settings *settings, int which, const char *value)
{
    settings->given[which] = true;
    return set(settings, which, value);
}

/* ---- the configuration file ---- */

static const struct option *find_setting(const char *name)
{
    for (const struct option *option = kvnode_options; option->name != NULL; option++) {
        bool once = option->val == SET_CONFIG || option->val == SET_RESTORE; /* no settings */
        if (strcmp(option->name, name) == 0 && option->has_arg && !once) {
            return option;
        }
    }
    return NULL;
}

static void cut_blanks(char *text, size_t size)
{
    while (size > 0 && strchr(" \t\r\n", text[size - 1]) != NULL) {
        size--;
    }
    text[size] = '\0';
}

/* Takes a line apart, in place. Returns what is wrong with it, NULL: nothing. */
static const char *settings_take_line(struct kvnode_settings *settings, char *line, size_t size)
{
    if (strlen(line) != size) {
        return "a zero byte in line";
    }
    cut_blanks(line, size);
    if (line[0] == '\0' || line[0] == '#' || line[0] == ';') {
        return NULL;
    }
    if (line[0] == ' ' || line[0] == '\t') {
        return "indented line"; /* elsewhere such a line continues the one above: not here */
    }
    char *value = strchr(line, '=');
    if (value == NULL) {
        return "not of the form NAME = VALUE:";
    }
    *value++ = '\0';
    value += strspn(value, " \t");
    cut_blanks(line, strlen(line));
    const struct option *option = find_setting(line);
    if (option == NULL) {
        return "unknown setting";
    }
    if (*value == '\0') {
        return "no value for";
    }
    if (option->val != SET_PEER && option->val != SET_ADMIN && settings->in_file[option->val]) {
        return "there twice:";
    }
    settings->in_file[option->val] = true;
    if (settings->given[option->val] || set(settings, option->val, value)) {
        return NULL;
    }
    return "value too long for";
}

/* Reads up to the end of the line, and no more of it than fits behind its first byte. */
static size_t settings_read_line(FILE *file, int first, char line[LINE_SIZE_MAX + 1])
{
    size_t length = 0;
    for (int byte = first; byte != EOF && length < LINE_SIZE_MAX; byte = getc(file)) {
        line[length++] = (char)byte;
        if (byte == '\n') {
            break;
        }
    }
    line[length] = '\0';
    return length;
}

bool kvnode_settings_read(struct kvnode_settings *settings, const char *name, FILE *file,
                          char *message, size_t size)
{
    char line[LINE_SIZE_MAX + 1];
    unsigned long number = 0;
    const char *wrong = NULL;
    int first = EOF;
    while (wrong == NULL && (first = getc(file)) != EOF) {
        number++;
        size_t length = settings_read_line(file, first, line);
        wrong = length == LINE_SIZE_MAX    ? "too long a line"
                : number > LINE_NUMBER_MAX ? "too many lines, from here:"
                                           : settings_take_line(settings, line, length);
    }
    bool whole = wrong == NULL && feof(file);
    if (wrong != NULL) {
        (void)snprintf(message, size, "%s:%lu: %s \"%.60s\"", name, number, wrong, line);
    } else if (!whole) { /* a directory, or a disk that fails */
        (void)snprintf(message, size, "cannot read the configuration file %s", name);
    }
    return whole;
}

/* ---- what the settings come to ---- */

static bool setting_number(const struct kvnode_settings *settings, int which, uint64_t max,
                           uint64_t *value)
{
    const char *text = settings->text[which];
    if (*text == '\0') {
        return true; /* the default */
    }
    if (!isdigit((unsigned char)*text)) {
        return false; /* strtoull() would skip blanks, and take a minus behind them */
    }
    char *end;
    errno = 0;
    unsigned long long read = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || read == 0 || read > max) {
        return false;
    }
    *value = read;
    return true;
}

static const char *text_or_null(const struct kvnode_settings *settings, int which)
{
    return settings->text[which][0] ? settings->text[which] : NULL;
}

/* Times that go together. Zero stands for the library's own default. */
static const struct profile {
    const char *name;
    uint32_t heartbeat_ms, lease_ms, grace_ms;
} profiles[] = {
    {"default", 0, 0, 0},
    {"lan", 20, 100, 120},
};

static const struct profile *find_profile(const char *name)
{
    for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++) {
        if (strcmp(profiles[i].name, name) == 0) {
            return &profiles[i];
        }
    }
    return name[0] == '\0' ? &profiles[0] : NULL;
}

static bool fill_numbers(const struct kvnode_settings *settings, kvp_node_options *options,
                         char *message, size_t size)
{
    const struct profile *profile = find_profile(settings->text[SET_PROFILE]);
    if (profile == NULL) {
        (void)snprintf(message, size, "--profile: \"%s\" is neither default nor lan",
                       settings->text[SET_PROFILE]);
        return false;
    }
    struct {
        int which;
        uint64_t max;
        const char *name;
        uint64_t value;
    } numbers[] = {
        {SET_ID, KVP_NODE_ID_MAX, "--id", 0},
        {SET_HEARTBEAT, 3600000, "--heartbeat-ms", profile->heartbeat_ms},
        {SET_LEASE, 3600000, "--lease-ms", profile->lease_ms},
        {SET_GRACE, 3600000, "--grace-ms", profile->grace_ms},
        {SET_SYNC_TIMEOUT, 3600000, "--sync-timeout-ms", 0},
        {SET_SYNC_REPLICAS, KVP_NODES_MAX, "--sync-replicas", 0},
        {SET_LOG_SIZE, 1u << 20, "--log-size", 0},
        {SET_QUARANTINE_STORES, KVP_QUARANTINE_COUNT_MAX, "--quarantine-stores", 0},
        {SET_QUARANTINE_SIZE, 1u << 30, "--quarantine-size", 0},
        {SET_VERIFY_MEMORY, 1u << 20, "--verify-memory", 0},
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (!setting_number(settings, numbers[i].which, numbers[i].max, &numbers[i].value)) {
            (void)snprintf(message, size, "%s: \"%.40s\" is not a number from 1 to %llu",
                           numbers[i].name, settings->text[numbers[i].which],
                           (unsigned long long)numbers[i].max);
            return false;
        }
    }
    options->id = (unsigned)numbers[0].value;
    options->heartbeat_ms = (uint32_t)numbers[1].value;
    options->lease_ms = (uint32_t)numbers[2].value;
    options->grace_ms = (uint32_t)numbers[3].value;
    options->sync_timeout_ms = (uint32_t)numbers[4].value;
    options->sync_replicas = (uint32_t)numbers[5].value;
    options->log_size_max = numbers[6].value << 20;
    options->quarantine_stores = (uint32_t)numbers[7].value;
    options->quarantine_size_max = numbers[8].value << 20;
    options->verify_size_max = numbers[9].value << 20;
    return true;
}

bool kvnode_settings_fill(const struct kvnode_settings *settings, kvp_node_options *options,
                          char *message, size_t size)
{
    static const int required[] = {SET_ID, SET_DATA, SET_LISTEN};
    static const char *const names[] = {"--id", "--data", "--listen"};
    for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++) {
        bool idle = required[i] == SET_LISTEN && settings->text[SET_RESTORE][0] != '\0';
        if (settings->text[required[i]][0] == '\0' && !idle) {
            (void)snprintf(message, size, "%s is required", names[i]);
            return false;
        }
    }
    if (settings->text[SET_ETCD][0]) {
        (void)snprintf(message, size,
                       "--etcd is not supported by this release; use --witness or --pair");
        return false;
    }
    const char *insecure = settings->text[SET_INSECURE];
    if (insecure[0] && strcmp(insecure, "yes") != 0 && strcmp(insecure, "no") != 0) {
        (void)snprintf(message, size, "--insecure: \"%.40s\" is neither yes nor no", insecure);
        return false;
    }
    options->data_dir = settings->text[SET_DATA];
    options->listen = settings->text[SET_LISTEN];
    options->advertise = text_or_null(settings, SET_ADVERTISE);
    options->group = text_or_null(settings, SET_GROUP);
    options->peers = settings->peers;
    options->join = text_or_null(settings, SET_JOIN);
    options->peer_from = text_or_null(settings, SET_PEER_FROM);
    options->witness = text_or_null(settings, SET_WITNESS);
    options->pair = text_or_null(settings, SET_PAIR);
    options->fence_command = text_or_null(settings, SET_FENCE);
    options->tls_cert = text_or_null(settings, SET_TLS_CERT);
    options->tls_key = text_or_null(settings, SET_TLS_KEY);
    options->tls_ca = text_or_null(settings, SET_TLS_CA);
    options->tls_min = text_or_null(settings, SET_TLS_MIN);
    options->admins = settings->admins[0] ? settings->admins : NULL;
    enum kvp_log_level level = KVP_LOG_INFO;
    if (settings->text[SET_LOG_LEVEL][0] &&
        kvp_log_level_parse(settings->text[SET_LOG_LEVEL], &level) != KVP_OK) {
        (void)snprintf(message, size, "unknown log level \"%s\"", settings->text[SET_LOG_LEVEL]);
        return false;
    }
    options->log_level = level;
    return fill_numbers(settings, options, message, size);
}
