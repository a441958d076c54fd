/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The children are in user namespaces that this process made, so that it has every capability over them (user_namespaces(7)): it may
 * read what /proc keeps from other users, though they are not dumpable.
 */
#include "sandbox/usage.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROCESSES_MAX = 4096, DEPTH_MAX = 16 };

struct walk {
    struct usage *usage;
    unsigned processes;
};

static FILE *open_proc(pid_t pid, const char *name)
{
    char path[96];

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    return fopen(path, "re");
}

/* Its own time, and that of children that it reaped: proc_pid_stat(5), fields 14 to 17. */
static void add_cpu(pid_t pid, struct usage *usage)
{
    unsigned long long user = 0, system = 0, child_user = 0, child_system = 0;
    uint64_t tick = 1000000000U / (uint64_t)sysconf(_SC_CLK_TCK);
    char line[1024], *after = NULL;
    FILE *file = open_proc(pid, "stat");

    /* The name in parentheses can hold anything. */
    if (file && fgets(line, sizeof(line), file))
        after = strrchr(line, ')');
    if (after && sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &user, &system,
                        &child_user, &child_system) == 4)
        usage->cpu_ns += (user + system + child_user + child_system) * tick;
    if (file)
        fclose(file);
}

/* The value of a line "KEY: VALUE". */
static uint64_t value_of(pid_t pid, const char *name, const char *key)
{
    char line[256];
    unsigned long long value = 0;
    size_t length = strlen(key);
    FILE *file = open_proc(pid, name);

    while (file && fgets(line, sizeof(line), file))
        if (!strncmp(line, key, length) && line[length] == ':') {
            value = strtoull(line + length + 1, NULL, 10);
            break;
        }
    if (file)
        fclose(file);
    return value;
}

static void add_process(struct walk *walk, pid_t pid, unsigned depth);

static void add_children(struct walk *walk, pid_t pid, unsigned depth)
{
    char name[48];
    FILE *file;
    int child;

    snprintf(name, sizeof(name), "task/%d/children", pid);
    file = open_proc(pid, name);
    while (file && fscanf(file, "%d", &child) == 1)
        add_process(walk, child, depth + 1);
    if (file)
        fclose(file);
}

static void add_process(struct walk *walk, pid_t pid, unsigned depth)
{
    if (++walk->processes > PROCESSES_MAX || depth > DEPTH_MAX)
        return;
    add_cpu(pid, walk->usage);
    walk->usage->memory += value_of(pid, "smaps_rollup", "Pss") << 10;
    add_children(walk, pid, depth);
}

void usage_read(const struct children *children, struct usage *usage)
{
    struct walk walk = { .usage = usage };

    *usage = (struct usage){ 0 };
    /* This process's children are theirs. */
    add_process(&walk, getpid(), 0);
    for (size_t i = 0; i < children->num; i++) {
        const struct one_child *child = &children->list[i];

        if (child->ended || !strstr(child->name, "fs device"))
            continue;
        usage->disk_read += value_of(child->process.pid, "io", "rchar");
        usage->disk_written += value_of(child->process.pid, "io", "wchar");
    }
}
