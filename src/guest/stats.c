/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/stats.h"

#include "util/cleanup.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    TEXT_MAX = 32 << 10, /* /proc/vmstat has about 5 KiB */
    KTHREADD = 2,        /* the parent of every kernel thread */
};

/* The whole file as a string; empty when it cannot be read. */
static void read_file(int directory, const char *name, char *text, size_t size)
{
    _cleanup_fd_ int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    ssize_t n;

    while (fd >= 0 && length < size - 1 && (n = read(fd, text + length, size - 1 - length)) > 0)
        length += (size_t)n;
    text[length] = '\0';
}

/* The number behind key, which stands at the beginning of a line. */
static uint64_t number_after(const char *text, const char *key)
{
    size_t length = strlen(key);

    while (text && *text) {
        if (strncmp(text, key, length) == 0)
            return strtoull(text + length, NULL, 10);
        text = strchr(text, '\n');
        if (text)
            text++;
    }
    return 0;
}

static void read_memory(int proc_fd, struct guest_stats *stats)
{
    char text[TEXT_MAX];

    read_file(proc_fd, "meminfo", text, sizeof(text));
    stats->memory_total = number_after(text, "MemTotal:") << 10;
    stats->memory_free = number_after(text, "MemFree:") << 10;
    stats->memory_available = number_after(text, "MemAvailable:") << 10;
    stats->memory_cached = number_after(text, "Cached:") << 10;
}

/* proc(5): the times are in ticks of 1/sysconf(_SC_CLK_TCK) s. */
static void read_cpu(int proc_fd, struct guest_stats *stats)
{
    char text[512];
    uint64_t user, nice, system, idle, iowait, irq, softirq;
    uint64_t tick = 1000000000U / (uint64_t)sysconf(_SC_CLK_TCK);

    read_file(proc_fd, "stat", text, sizeof(text));
    if (sscanf(text, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &user, &nice,
               &system, &idle, &iowait, &irq, &softirq) != 7)
        return;
    stats->cpu_user = (user + nice) * tick;
    stats->cpu_system = (system + irq + softirq) * tick;
    stats->cpu_idle = (idle + iowait) * tick;
}

/* The name in /proc/PID/stat may contain anything, also ')': the last one ends it. */
static bool is_kernel_thread(int proc_fd, const char *pid)
{
    char path[64], text[1024];
    const char *name_end;
    int parent;

    snprintf(path, sizeof(path), "%.32s/stat", pid);
    read_file(proc_fd, path, text, sizeof(text));
    name_end = strrchr(text, ')');
    return !name_end || sscanf(name_end, ") %*c %d", &parent) != 1 || parent == KTHREADD;
}

static void count_processes(int proc_fd, struct guest_stats *stats)
{
    int fd = openat(proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (!directory) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((entry = readdir(directory))) {
        if (isdigit((unsigned char)entry->d_name[0]) && strcmp(entry->d_name, "2") != 0 &&
            !is_kernel_thread(proc_fd, entry->d_name))
            stats->num_processes++;
    }
    closedir(directory);
}

/* /proc/net/dev has two lines of headings, and for each card its name, eight numbers about what it received and eight about what it
   sent, of which the first is bytes. */
static void read_network(int proc_fd, struct guest_stats *stats)
{
    char text[TEXT_MAX], name[32];
    uint64_t received, sent;

    read_file(proc_fd, "net/dev", text, sizeof(text));
    for (const char *line = strchr(text, '\n'); line; line = strchr(line + 1, '\n')) {
        if (sscanf(line + 1, " %31[^:]: %" SCNu64 " %*u %*u %*u %*u %*u %*u %*u %" SCNu64, name, &received, &sent) != 3 ||
            !strcmp(name, "lo"))
            continue;
        stats->network_received += received;
        stats->network_sent += sent;
    }
}

uint64_t stats_oom_kills(int proc_fd)
{
    char text[TEXT_MAX];

    read_file(proc_fd, "vmstat", text, sizeof(text));
    return number_after(text, "oom_kill ");
}

void stats_read(int proc_fd, struct guest_stats *stats)
{
    *stats = (struct guest_stats){ 0 };
    read_memory(proc_fd, stats);
    read_cpu(proc_fd, stats);
    count_processes(proc_fd, stats);
    read_network(proc_fd, stats);
    stats->oom_kills = stats_oom_kills(proc_fd);
}
