/* SPDX-License-Identifier: Apache-2.0 */
/* The text format 0.0.4 of Prometheus, and what it is told of every process. */
#include "replication/http/http_page.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

const char kvp_http_metrics_type[] = "text/plain; version=0.0.4; charset=utf-8";

void kvp_http_metric(kvp_buf *out, const char *name, const char *type, const char *help)
{
    kvp_http_print(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void metric_single(kvp_buf *out, const char *name, const char *type, const char *help,
                          double value)
{
    kvp_http_metric(out, name, type, help);
    kvp_http_print(out, "%s %.17g\n", name, value);
}

void kvp_http_gauge(kvp_buf *out, const char *name, const char *help, double value)
{
    metric_single(out, name, "gauge", help, value);
}

void kvp_http_counter(kvp_buf *out, const char *name, const char *help, double value)
{
    metric_single(out, name, "counter", help, value);
}

static double metric_seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static unsigned metric_open_descriptors(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (directory != NULL && readdir(directory) != NULL) {
        count++;
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
    return count > 3 ? count - 3 : 0; /* without ., .. and the directory's own */
}

static void metric_memory(kvp_buf *out)
{
    unsigned long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) {
        return;
    }
    double page = (double)sysconf(_SC_PAGESIZE);
    if (fscanf(file, "%lu %lu", &size, &resident) == 2) {
        kvp_http_gauge(out, "process_virtual_memory_bytes", "Virtual memory size in bytes.",
                       (double)size * page);
        kvp_http_gauge(out, "process_resident_memory_bytes", "Resident memory size in bytes.",
                       (double)resident * page);
    }
    (void)fclose(file);
}

/* In seconds since 1970: what the clock shows less what the process has lived. */
static double metric_start_time(void)
{
    unsigned long long ticks = 0;
    struct timespec wall;
    struct timespec up;
    FILE *file = fopen("/proc/self/stat", "re");
    /* The name, in parentheses, is this program's own and has no blank. */
    int found = file != NULL
                    ? fscanf(file,
                             "%*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                             "%*s %*s %*s %*s %*s %llu",
                             &ticks)
                    : 0;
    if (file != NULL) {
        (void)fclose(file);
    }
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    (void)clock_gettime(CLOCK_BOOTTIME, &up);
    double booted = (double)(wall.tv_sec - up.tv_sec) + (double)(wall.tv_nsec - up.tv_nsec) / 1e9;
    return found == 1 ? booted + (double)ticks / (double)sysconf(_SC_CLK_TCK) : 0;
}

void kvp_http_process_metrics(kvp_buf *out)
{
    struct rusage usage;
    struct rlimit limit;
    kvp_http_metric(out, "kvpair_build_info", "gauge", "The release, as a label of the number 1.");
    kvp_http_print(out, "kvpair_build_info{version=\"%s\"} 1\n", kvp_version());
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        kvp_http_counter(out, "process_cpu_seconds_total",
                         "Total user and system CPU time spent in seconds.",
                         metric_seconds(usage.ru_utime) + metric_seconds(usage.ru_stime));
    }
    kvp_http_gauge(out, "process_open_fds", "Number of open file descriptors.",
                   metric_open_descriptors());
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        kvp_http_gauge(out, "process_max_fds", "Maximum number of open file descriptors.",
                       (double)limit.rlim_cur);
    }
    metric_memory(out);
    kvp_http_gauge(out, "process_start_time_seconds",
                   "Start time of the process since unix epoch in seconds.", metric_start_time());
}
