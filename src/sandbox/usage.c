/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The children are in user namespaces that this process made, so that it has every capability over them (user_namespaces(7)): it may
 * read what /proc keeps from other users, though they are not dumpable.
 */
#include "sandbox/usage.h"

#include <fcntl.h>
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
static uint64_t find_value(const char *text, const char *key)
{
    size_t length = strlen(key);

    for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL)
        if (!strncmp(line, key, length) && line[length] == ':')
            return strtoull(line + length + 1, NULL, 10);
    return 0;
}

/* Proportional set size: proc_pid_smaps(5). */
static uint64_t memory_of(pid_t pid)
{
    char text[4096];
    FILE *file = open_proc(pid, "smaps_rollup");
    size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

    text[n] = '\0';
    if (file)
        fclose(file);
    return find_value(text, "Pss") << 10;
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
    walk->usage->memory += memory_of(pid);
    add_children(walk, pid, depth);
}

void usage_begin(struct children *children)
{
    for (size_t i = 0; i < children->num; i++) {
        struct one_child *child = &children->list[i];
        char path[48];

        if (!strstr(child->name, "fs device"))
            continue;
        snprintf(path, sizeof(path), "/proc/%d/io", child->process.pid);
        child->io = open(path, O_RDONLY | O_CLOEXEC);
    }
}

/* Whether the reader has the right to know is asked with each read (proc_pid_io(5)). */
static void add_files(const struct one_child *child, struct usage *usage)
{
    char text[1024];
    ssize_t n = child->io >= 0 && !child->ended ? pread(child->io, text, sizeof(text) - 1, 0) : 0;

    if (n <= 0)
        return;
    text[n] = '\0';
    usage->disk_read += find_value(text, "rchar");
    usage->disk_written += find_value(text, "wchar");
}

void usage_read(const struct children *children, struct usage *usage)
{
    struct walk walk = { .usage = usage };

    *usage = (struct usage){ 0 };
    /* This process's children are theirs. */
    add_process(&walk, getpid(), 0);
    for (size_t i = 0; i < children->num; i++)
        add_files(&children->list[i], usage);
}
