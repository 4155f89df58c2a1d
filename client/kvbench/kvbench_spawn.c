/* SPDX-License-Identifier: Apache-2.0 */
/* A group of our own: two nodes and a witness on loopback, each a process. */
#include "client/kvbench/kvbench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYNC_SECONDS 30u
#define END_MS       5000u
#define LOG_TAIL     1000

static bool find_bin(const struct bench *bench, struct group *group)
{
    if (bench->bin != NULL) {
        (void)snprintf(group->bin, sizeof(group->bin), "%s", bench->bin);
        return true;
    }
    ssize_t size = readlink("/proc/self/exe", group->bin, sizeof(group->bin) - 1);
    if (size <= 0) {
        (void)bench_complain("/proc/self/exe: %s", strerror(errno));
        return false;
    }
    group->bin[size] = '\0';
    *strrchr(group->bin, '/') = '\0';
    return true;
}

int group_make_dir(const struct bench *bench, struct group *group)
{
    const char *temporary = getenv("TMPDIR");
    if (bench->data != NULL) {
        if (strlen(bench->data) >= sizeof(group->dir)) {
            return bench_complain("--data: the name is too long");
        }
        (void)snprintf(group->dir, sizeof(group->dir), "%s", bench->data);
        group->made = mkdir(group->dir, 0700) == 0 || errno == EEXIST;
    } else {
        (void)snprintf(group->dir, sizeof(group->dir), "%s/kvbench-XXXXXX",
                       temporary == NULL || temporary[0] == '\0' ? "/tmp" : temporary);
        group->made = group->temporary = mkdtemp(group->dir) != NULL;
    }
    if (!group->made) {
        (void)bench_complain("%s: %s", group->dir, strerror(errno));
        return EXIT_NOTHING;
    }
    return EXIT_DONE;
}

/* Ports that are free now; all are held until the last is found, so that they differ. */
static bool find_ports(struct group *group)
{
    int fds[GROUP_PROCESSES];
    unsigned found = 0;
    while (found < GROUP_PROCESSES) {
        struct sockaddr_in address = {.sin_family = AF_INET};
        socklen_t size = sizeof(address);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            break;
        }
        fds[found] = fd;
        if (bind(fd, (struct sockaddr *)&address, size) != 0 ||
            getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
            (void)close(fd);
            break;
        }
        (void)snprintf(group->urls[found++], sizeof(group->urls[0]), "tcp://127.0.0.1:%u",
                       (unsigned)ntohs(address.sin_port));
    }
    for (unsigned i = 0; i < found; i++) {
        (void)close(fds[i]);
    }
    return found == GROUP_PROCESSES;
}

static const char *spawn_name_of(unsigned index)
{
    static const char *const names[] = {"witness", "node1", "node2"};

    return names[index];
}

/* In the child. */
static void become(char **arguments, const char *log, pid_t parent)
{
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* who kills us shall not have to look for these */
    if (getppid() == parent && fd >= 0 && null >= 0 && dup2(null, STDIN_FILENO) >= 0 &&
        dup2(fd, STDOUT_FILENO) >= 0 && dup2(fd, STDERR_FILENO) >= 0) {
        (void)execv(arguments[0], arguments);
    }
    _exit(127);
}

bool group_spawn(struct group *group, unsigned index)
{
    char program[PATH_MAX + 16], data[PATH_MAX + 16], log[PATH_MAX + 16], id[16], peer[64];
    unsigned other = GROUP_NODES + 1 - index; /* of a node */
    char *witness[] = {program, "--data", data, "--listen", group->urls[index], NULL};
    char *node[] = {program,
                    "--data",
                    data,
                    "--listen",
                    group->urls[index],
                    "--id",
                    id,
                    "--peer",
                    peer,
                    "--witness",
                    group->urls[GROUP_WITNESS],
                    "--profile",
                    group->profile,
                    NULL};
    bool is_node = index != GROUP_WITNESS;

    (void)snprintf(program, sizeof(program), "%s/%s", group->bin, is_node ? "kvnode" : "kvwitness");
    (void)snprintf(data, sizeof(data), "%s/%s", group->dir, spawn_name_of(index));
    (void)snprintf(log, sizeof(log), "%s/%s.log", group->dir, spawn_name_of(index));
    (void)snprintf(id, sizeof(id), "%u", index);
    if (is_node) {
        (void)snprintf(peer, sizeof(peer), "%u=%s", other, group->urls[other]);
    }
    if (access(program, X_OK) != 0) {
        (void)bench_complain("%s: %s", program, strerror(errno));
        return false;
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        become(is_node ? node : witness, log, parent);
    }
    if (pid < 0) {
        (void)bench_complain("fork: %s", strerror(errno));
        return false;
    }
    group->pids[index] = pid;
    return true;
}

static void show_log(const struct group *group, unsigned index)
{
    char name[PATH_MAX + 16], text[LOG_TAIL];
    (void)snprintf(name, sizeof(name), "%s/%s.log", group->dir, spawn_name_of(index));
    FILE *file = fopen(name, "r");
    if (file == NULL) {
        return;
    }
    if (fseek(file, -LOG_TAIL, SEEK_END) != 0) {
        rewind(file);
    }
    size_t size = fread(text, 1, sizeof(text), file);
    (void)fwrite(text, 1, size, stderr);
    (void)fclose(file);
}

static bool all_run(struct group *group)
{
    for (unsigned i = 0; i < GROUP_PROCESSES; i++) {
        if (group->pids[i] != 0 && waitpid(group->pids[i], NULL, WNOHANG) == group->pids[i]) {
            group->pids[i] = 0;
            (void)bench_complain("%s has ended:", spawn_name_of(i));
            show_log(group, i);
            return false;
        }
    }
    return true;
}

/* The node's id if both are in sync by its word and it serves; `serves` is left alone if not. */
static bool is_in_sync(kvp_client *client, struct group *group, unsigned node, unsigned *serves)
{
    kvp_result result = {.status = KVP_OK};
    kvp_status status = kvp_node_status(client, group->urls[node], &result);
    cJSON *json = NULL;

    if (status == KVP_OK) {
        json = cJSON_ParseWithLength((const char *)result.value.data, result.value.size);
    }
    const cJSON *members = cJSON_GetObjectItemCaseSensitive(json, "in_sync");
    bool in_sync = cJSON_GetArraySize(members) == GROUP_NODES;
    if (in_sync && cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "serving"))) {
        *serves = node;
    }
    cJSON_Delete(json);
    kvp_result_free(&result);
    return in_sync;
}

unsigned group_wait_in_sync(const struct bench *bench, struct group *group)
{
    uint64_t until_ns = bench_now_ns() + SYNC_SECONDS * UINT64_C(1000000000);
    kvp_client *client = bench_open(bench, 500);
    unsigned serves = 0;
    while (client != NULL && bench_signal == 0 && all_run(group)) {
        serves = 0;
        if (is_in_sync(client, group, 1, &serves) && is_in_sync(client, group, 2, &serves) &&
            serves != 0) {
            break;
        }
        serves = 0;
        if (bench_now_ns() > until_ns) {
            (void)bench_complain("the nodes did not get in sync within %u s", SYNC_SECONDS);
            break;
        }
        bench_sleep_ms(10);
    }
    kvp_client_close(client);
    return serves;
}

int group_start(const struct bench *bench, struct group *group)
{
    struct bench own = *bench;
    if (!find_bin(bench, group)) {
        return EXIT_NOTHING;
    }
    if (!find_ports(group)) {
        (void)bench_complain("no free ports on 127.0.0.1: %s", strerror(errno));
        return EXIT_NOTHING;
    }
    (void)snprintf(group->profile, sizeof(group->profile), "%s", bench->profile);
    (void)snprintf(group->nodes, sizeof(group->nodes), "%s,%s", group->urls[1], group->urls[2]);
    own.nodes = group->nodes;
    for (unsigned i = 0; i < GROUP_PROCESSES; i++) {
        if (!group_spawn(group, i)) {
            return EXIT_NOTHING;
        }
    }
    return group_wait_in_sync(&own, group) != 0 ? EXIT_DONE : EXIT_NOTHING;
}

void group_kill(struct group *group, unsigned index)
{
    if (group->pids[index] != 0) {
        (void)kill(group->pids[index], SIGKILL);
        while (waitpid(group->pids[index], NULL, 0) < 0 && errno == EINTR) {
        }
        group->pids[index] = 0;
    }
}

static int remove_one(const char *name, const struct stat *status, int type, struct FTW *at)
{
    (void)status, (void)type, (void)at;
    return remove(name);
}

/* Data that stays is left in good order: nodes first, as they still need the witness. */
static void spawn_stop(struct group *group, unsigned index)
{
    uint64_t until_ns = bench_now_ns() + END_MS * UINT64_C(1000000);
    if (group->pids[index] == 0) {
        return;
    }
    (void)kill(group->pids[index], SIGTERM);
    while (bench_now_ns() < until_ns) {
        if (waitpid(group->pids[index], NULL, WNOHANG) != 0) {
            group->pids[index] = 0;
            return;
        }
        (void)usleep(5000);
    }
}

void group_end(struct group *group)
{
    for (unsigned i = GROUP_PROCESSES; i-- > 0 && !group->temporary;) {
        spawn_stop(group, i);
    }
    for (unsigned i = 0; i < GROUP_PROCESSES; i++) {
        group_kill(group, i);
    }
    if (group->temporary) {
        (void)nftw(group->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        group->temporary = false;
    }
}
