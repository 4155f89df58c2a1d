/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backup: the state of a group as of one point in time, in a file (kvstore/backup.h), taken from a
 * node that is in sync and, if there is one, is not the primary; and what such a file is worth.
 *
 * The file gets its name only when all of it is on the disk. Until then it is called FILE.partial,
 * and an interrupt, or a failure, leaves none. What comes is judged as it comes: a file that this
 * command has made is one that verify accepts.
 */
#include "client/kvcli/kvcli.h"
#include "kvstore/backup.h"
#include "kvstore/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE_SIZE     (256u * 1024u)
#define PAGE_SIZE_MIN (16u * 1024u)
#define RATE_MIN      PAGE_SIZE_MIN
#define RATE_DEFAULT  (64u << 20) /* that leaves most of a machine to others */
#define PATIENCE_US   120000000u  /* without a page, before it is given up */
#define AGAIN_US      200000u
#define LOOK_US       100000u /* a nap is no longer, since nobody could end it */
#define READ_SIZE     (64u * 1024u)

/* ---- where from ---- */

struct backup_source {
    char url[KVP_URL_SIZE_MAX + 1]; /* "": not known yet */
    double better;                  /* what it is: a backup is better than the primary */
    uint64_t commit;                /* of the primary: what is acknowledged */
    double size;                    /* of the store, about */
    unsigned wanted;                /* only this node; 0: any */
};

static void backup_offer(struct backup_source *source, const char *url, double better)
{
    if (better > source->better && url[0] != '\0' && strlen(url) < sizeof(source->url)) {
        source->better = better;
        (void)snprintf(source->url, sizeof(source->url), "%s", url);
    }
}

static bool backup_is_wanted(const struct backup_source *source, const cJSON *node,
                             const char *name)
{
    return source->wanted == 0 || kvcli_json_count(node, name) == source->wanted;
}

static void backup_look(struct backup_source *source, const char *url, const cJSON *status)
{
    const char *role = kvcli_json_text(status, "role");
    const cJSON *peer;
    bool primary = strcmp(role, "primary") == 0;
    if (primary && kvcli_json_true(status, "serving")) {
        source->commit = kvcli_json_integer(status, "commit", (uint64_t)1 << 53);
        source->size = kvcli_json_count(status, "store_bytes");
    }
    if (backup_is_wanted(source, status, "node")) {
        backup_offer(source, url, strcmp(role, "backup") == 0 ? 4 : primary ? 2 : 1);
    }
    cJSON_ArrayForEach(peer, cJSON_GetObjectItemCaseSensitive(status, "peers"))
    {
        const char *told = kvcli_json_text(peer, "url");
        if (kvcli_same_scheme(url, told) && backup_is_wanted(source, peer, "id")) {
            bool good =
                primary && kvcli_json_true(peer, "in_sync") && kvcli_json_true(peer, "connected");
            backup_offer(source, told, good ? 3 : source->wanted != 0 ? 1 : 0);
        }
    }
}

static int backup_ask(const struct kvcli *cli, struct backup_source *source)
{
    struct kvcli_query queries[KVCLI_NODES_MAX];
    char *nodes = strdup(cli->nodes);
    int count = nodes == NULL ? 0 : kvcli_ask_nodes(cli, nodes, queries);
    for (int i = 0; i < count; i++) {
        cJSON *status = kvcli_query_parse(&queries[i]);
        if (status != NULL) {
            backup_look(source, queries[i].url, status);
        }
        cJSON_Delete(status);
        kvp_result_free(&queries[i].result);
    }
    free(nodes);
    return source->url[0] != '\0' ? EXIT_DONE : EXIT_NOTHING;
}

/* The exit status. */
static int backup_choose(const struct kvcli *cli, struct backup_source *source)
{
    const char *from = kvcli_option(cli, "--from");
    uint64_t id = 0;
    bool is_url = from != NULL && strstr(from, "://") != NULL;
    if (from != NULL && !is_url && (!kvcli_parse_number(from, 63, &id) || id == 0)) {
        return kvcli_complain("backup: --from: '%s' is neither a node's number nor its address",
                              from);
    }
    source->wanted = (unsigned)id;
    int code = backup_ask(cli, source);
    if (is_url) {
        if (strlen(from) >= sizeof(source->url)) {
            return kvcli_complain("backup: --from: the address is too long");
        }
        (void)snprintf(source->url, sizeof(source->url), "%s", from);
        return EXIT_DONE;
    }
    if (code != EXIT_DONE) {
        (void)kvcli_complain("backup: %s", id == 0 ? "no node of --nodes answers"
                                                   : "no node that answers knows one of that "
                                                     "number: name its address with --from");
    }
    return code;
}

/* ---- where to ---- */

struct backup_file {
    const char *name; /* "-": standard output */
    char partial[PATH_MAX];
    int fd; /* -1: standard output */
    struct kvp_backup_reader *reader;
    uint64_t size;
};

static int backup_create(struct backup_file *file)
{
    struct stat about;
    file->fd = -1;
    if (strcmp(file->name, "-") == 0) {
        return isatty(STDOUT_FILENO)
                   ? kvcli_complain("backup: its bytes are nothing for a terminal; name a file")
                   : EXIT_DONE;
    }
    bool special = stat(file->name, &about) == 0 && !S_ISREG(about.st_mode);
    int size = snprintf(file->partial, sizeof(file->partial), "%s.partial", file->name);
    if (special || size < 0 || (size_t)size >= sizeof(file->partial)) {
        return kvcli_complain("backup: %s: %s", file->name,
                              special ? "not a regular file; '-' is the standard output"
                                      : strerror(ENAMETOOLONG));
    }
    file->fd = open(file->partial, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file->fd < 0) {
        return kvcli_complain("backup: %s: %s", file->partial, strerror(errno));
    }
    if (flock(file->fd, LOCK_EX | LOCK_NB) != 0) {
        close(file->fd);
        file->fd = -1;
        return kvcli_complain("backup: %s: another backup is being written there", file->partial);
    }
    if (ftruncate(file->fd, 0) != 0) {
        return kvcli_complain("backup: %s: %s", file->partial, strerror(errno));
    }
    return EXIT_DONE;
}

static int backup_complain_write(const struct backup_file *file)
{
    (void)kvcli_complain("backup: %s: %s", file->partial, strerror(errno));
    return EXIT_NOTHING;
}

static int backup_write(struct backup_file *file, kvp_slice bytes)
{
    const char *next = bytes.data;
    if (kvp_backup_reader_feed(file->reader, bytes) != KVP_OK) {
        (void)kvcli_complain("backup: what the node gives is damaged: %s",
                             kvp_backup_reader_error(file->reader));
        return EXIT_NOTHING;
    }
    file->size += bytes.size;
    if (file->fd < 0) {
        return fwrite(bytes.data, 1, bytes.size, stdout) == bytes.size
                   ? EXIT_DONE
                   : kvcli_check_output(EXIT_NOTHING, false);
    }
    for (size_t left = bytes.size; left > 0;) {
        ssize_t written = write(file->fd, next, left);
        if (written < 0 && errno != EINTR) {
            return backup_complain_write(file);
        }
        next += written > 0 ? written : 0;
        left -= written > 0 ? (size_t)written : 0;
    }
    return EXIT_DONE;
}

/* The name is durable, too, when it is told that the backup is kept. */
static bool backup_sync_directory(const char *name)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s", name);
    int fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return synced;
}

static int backup_keep(struct backup_file *file)
{
    if (file->fd < 0) {
        return kvcli_check_output(EXIT_DONE, false);
    }
    if (fsync(file->fd) != 0 || rename(file->partial, file->name) != 0) {
        return backup_complain_write(file);
    }
    file->partial[0] = '\0';
    if (!backup_sync_directory(file->name)) {
        (void)kvcli_complain("backup: %s: its directory: %s", file->name, strerror(errno));
        return EXIT_NOTHING;
    }
    return EXIT_DONE;
}

static void backup_close(struct backup_file *file)
{
    if (file->fd >= 0) {
        if (file->partial[0] != '\0') {
            (void)unlink(file->partial);
        }
        close(file->fd);
    }
    kvp_backup_reader_free(file->reader);
}

/* ---- what is said ---- */

static bool backup_print_json(const struct kvp_backup_reader *reader, const char *name,
                              uint64_t size)
{
    const struct kvp_backup_header *header = kvp_backup_reader_header(reader);
    const struct kvp_backup_totals *totals = kvp_backup_reader_totals(reader);
    char digest[20];
    cJSON *object = cJSON_CreateObject();
    (void)snprintf(digest, sizeof(digest), "%016" PRIx64, totals->digest);
    kvcli_json_add(&object, "file", kvcli_json_readable(name));
    kvcli_json_add(&object, "group", kvcli_json_readable(header->group));
    kvcli_json_add(&object, "group_id", kvcli_json_number(header->group_id));
    kvcli_json_add(&object, "node", kvcli_json_number(header->node));
    kvcli_json_add(&object, "revision", kvcli_json_number(header->point.seq));
    kvcli_json_add(&object, "epoch", kvcli_json_number(header->point.epoch));
    kvcli_json_add(&object, "at_ms", kvcli_json_number(header->wall_ms));
    kvcli_json_add(&object, "keys", kvcli_json_number(totals->keys));
    kvcli_json_add(&object, "jobs", kvcli_json_number(totals->jobs));
    kvcli_json_add(&object, "records", kvcli_json_number(totals->pairs));
    kvcli_json_add(&object, "bytes", kvcli_json_number(size));
    kvcli_json_add(&object, "digest", cJSON_CreateString(digest));
    return kvcli_print_json(object);
}

static int backup_say(const struct kvcli *cli, const struct kvp_backup_reader *reader,
                      const char *name, uint64_t size)
{
    const struct kvp_backup_header *header = kvp_backup_reader_header(reader);
    const struct kvp_backup_totals *totals = kvp_backup_reader_totals(reader);
    bool taken = strcmp(name, "-") == 0 && size == 0; /* the file itself is on standard output */
    FILE *out = taken ? stderr : stdout;
    char when[40] = "at a time that is not known";
    time_t seconds = (time_t)(header->wall_ms / 1000);
    struct tm parts;
    if (header->wall_ms != 0 && gmtime_r(&seconds, &parts) != NULL) {
        (void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &parts);
    }
    if (cli->json && !taken) {
        return backup_print_json(reader, name, size) ? EXIT_DONE : kvcli_failed_to_print(false);
    }
    fprintf(out,
            "revision %" PRIu64 " of group %s, taken %s from node %u: %" PRIu64 " keys, %" PRIu64
            " jobs, digest %016" PRIx64 "\n",
            header->point.seq, header->group, when, header->node, totals->keys, totals->jobs,
            totals->digest);
    return EXIT_DONE;
}

/* ---- taking one ---- */

struct backup_pace {
    uint64_t rate; /* bytes a second; 0: as fast as they come */
    uint64_t begun_us, heard_us;
    double all;
    bool waits;
};

/* False: somebody has ended it. */
static bool backup_nap(uint64_t time_us)
{
    uint64_t until_us = kvp_clock_now_us() + time_us;
    while (kvcli_interrupt_number() == 0) {
        uint64_t now_us = kvp_clock_now_us();
        if (now_us >= until_us) {
            return true;
        }
        uint64_t left_us = until_us - now_us;
        usleep((useconds_t)(left_us < LOOK_US ? left_us : LOOK_US));
    }
    return false;
}

static bool backup_keep_pace(const struct backup_pace *pace, uint64_t size)
{
    uint64_t due_us =
        pace->rate == 0 ? 0 : pace->begun_us + (uint64_t)((double)size * 1e6 / (double)pace->rate);
    uint64_t now_us = kvp_clock_now_us();
    return backup_nap(due_us > now_us ? due_us - now_us : 0);
}

static void backup_draw(const struct backup_pace *pace, const struct backup_file *file,
                        const kvp_backup *backup)
{
    char text[80];
    (void)snprintf(text, sizeof(text), "%.1f MiB, revision %" PRIu64 "%s",
                   (double)file->size / 1048576.0, kvp_backup_revision(backup),
                   pace->waits ? ", waits for the node" : "");
    kvcli_draw_bar("backup", (double)file->size, pace->all, text);
}

static int backup_interrupted(void)
{
    kvcli_clear_bar();
    (void)kvcli_complain("backup: interrupted; nothing is left of it");
    return 128 + kvcli_interrupt_number();
}

/* It may be that the node is back soon, and has the snapshot still. EXIT_DONE: try again. */
static int backup_missed(struct backup_pace *pace, const struct backup_file *file,
                         const kvp_backup *backup, kvp_status status)
{
    bool passing = status == KVP_TIMEOUT || status == KVP_UNAVAILABLE || status == KVP_BUSY;
    bool patient = kvp_clock_now_us() - pace->heard_us < PATIENCE_US;
    if (file->size > 0 && passing && patient) {
        pace->waits = true;
        backup_draw(pace, file, backup);
        return backup_nap(AGAIN_US) ? EXIT_DONE : backup_interrupted();
    }
    kvcli_clear_bar();
    if (status == KVP_CURSOR_EXPIRED) {
        (void)kvcli_complain("backup: the node does not hold its point in time any more (it was "
                             "started anew, or not asked for too long): begin again");
        return EXIT_NOTHING;
    }
    return kvcli_failed_because(status, kvp_backup_error(backup));
}

static int backup_copy(struct backup_file *file, kvp_backup *backup, struct backup_pace *pace)
{
    int code = EXIT_DONE;
    pace->begun_us = pace->heard_us = kvp_clock_now_us();
    while (code == EXIT_DONE) {
        kvp_slice bytes = {0};
        kvp_status status = kvp_backup_next(backup, &bytes);
        if (status == KVP_NOT_FOUND) {
            break;
        }
        if (status != KVP_OK) {
            code = backup_missed(pace, file, backup, status);
            continue;
        }
        pace->heard_us = kvp_clock_now_us();
        pace->waits = false;
        code = backup_write(file, bytes);
        backup_draw(pace, file, backup);
        if (code == EXIT_DONE && !backup_keep_pace(pace, file->size)) {
            code = backup_interrupted();
        }
    }
    kvcli_clear_bar();
    if (code == EXIT_DONE && kvp_backup_reader_end(file->reader) != KVP_OK) {
        (void)kvcli_complain("backup: %s", kvp_backup_reader_error(file->reader));
        code = EXIT_NOTHING;
    }
    return code;
}

static int backup_take(const struct kvcli *cli, const struct backup_source *source,
                       struct backup_file *file, struct backup_pace *pace)
{
    kvp_backup *backup = NULL;
    kvp_result result;
    uint32_t page =
        pace->rate != 0 && pace->rate / 4 < PAGE_SIZE ? (uint32_t)(pace->rate / 4) : PAGE_SIZE;
    file->reader = kvp_backup_reader_new(NULL, NULL);
    kvp_status status =
        file->reader == NULL
            ? KVP_NO_MEMORY
            : kvp_backup_open(cli->client, source->url, source->commit,
                              page < PAGE_SIZE_MIN ? PAGE_SIZE_MIN : page, &backup, &result);
    if (status != KVP_OK) {
        return kvcli_failed(status, file->reader == NULL ? NULL : &result);
    }
    int code = backup_copy(file, backup, pace);
    code = code == EXIT_DONE ? backup_keep(file) : code;
    if (code == EXIT_DONE) {
        code = backup_say(cli, file->reader, file->name, file->fd < 0 ? 0 : file->size);
    }
    status = kvp_backup_close(backup, code == EXIT_DONE);
    if (code == EXIT_DONE && status != KVP_OK) { /* the backup is good all the same */
        fprintf(stderr, "kvcli: backup: the node could not be told that it is kept\n");
    }
    return code;
}

static int backup_make(struct kvcli *cli, const char *name)
{
    struct backup_source source = {0};
    struct backup_file file = {.name = name, .fd = -1};
    struct backup_pace pace = {.rate = RATE_DEFAULT};
    const char *rate = kvcli_option(cli, "--rate");
    if (rate != NULL && (!kvcli_parse_number(rate, (uint64_t)1 << 40, &pace.rate) ||
                         (pace.rate != 0 && pace.rate < RATE_MIN))) {
        return kvcli_complain(
            "backup: --rate: at least %u bytes a second, or 0: as fast as it goes", RATE_MIN);
    }
    int code = backup_choose(cli, &source);
    code = code == EXIT_DONE ? backup_create(&file) : code;
    pace.all = source.size;
    if (code == EXIT_DONE) {
        if (!cli->prompt) {
            kvcli_ends_note();
        }
        code = backup_take(cli, &source, &file, &pace);
        if (!cli->prompt) {
            kvcli_interrupts_end();
        }
    }
    backup_close(&file);
    return code;
}

/* ---- what one is worth ---- */

static int backup_judge(const struct kvcli *cli, const char *name, int fd,
                        struct kvp_backup_reader *reader)
{
    static uint8_t bytes[READ_SIZE];
    kvp_status status = KVP_OK;
    uint64_t size = 0;
    ssize_t got = 0;
    while (status == KVP_OK &&
           ((got = read(fd, bytes, sizeof(bytes))) > 0 || (got < 0 && errno == EINTR))) {
        status =
            got < 0 ? KVP_OK : kvp_backup_reader_feed(reader, kvp_slice_of(bytes, (size_t)got));
        size += got > 0 ? (uint64_t)got : 0;
    }
    if (got < 0) {
        (void)kvcli_complain("backup verify: %s: %s", name, strerror(errno));
        return EXIT_NOTHING;
    }
    if (kvp_backup_reader_end(reader) != KVP_OK) {
        (void)kvcli_complain("backup verify: %s: %s", name, kvp_backup_reader_error(reader));
        return EXIT_NO;
    }
    return backup_say(cli, reader, name, size);
}

static int backup_verify(const struct kvcli *cli, const char *name)
{
    bool standard = strcmp(name, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return kvcli_complain("backup verify: %s: %s", name, strerror(errno));
    }
    struct kvp_backup_reader *reader = kvp_backup_reader_new(NULL, NULL);
    int code =
        reader == NULL ? kvcli_failed(KVP_NO_MEMORY, NULL) : backup_judge(cli, name, fd, reader);
    kvp_backup_reader_free(reader);
    if (!standard) {
        close(fd);
    }
    return code;
}

int kvcli_backup(struct kvcli *cli, int argc, char **argv)
{
    bool verify = argc == 2 && strcmp(argv[0], "verify") == 0;
    if (argc == 2 && !verify) {
        return kvcli_complain("backup: FILE, or verify FILE; see kvcli help backup");
    }
    return verify ? backup_verify(cli, argv[1]) : backup_make(cli, argv[0]);
}
