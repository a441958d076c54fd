/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cell that a device or engine process lives in, built in numbered stages. The monitor starts each process with
 * process_spawn() (sandbox/spawn.h) already in namespaces of its own: user, mount, pid, ipc, net, uts and cgroup. The process then
 * calls, in this order, before the first guest byte is read:
 *
 *   1. cell_mounts()   builds its root: an empty tmpfs with only the listed binds, made the root of the mount namespace.
 *   2. cell_confine()  gives up every capability for good, sets no_new_privs, not dumpable, limits, and installs the seccomp
 *                      allow-list. Nothing can be opened or executed afterwards but what the list lets through.
 */
#ifndef MSB_UTIL_CELL_H
#define MSB_UTIL_CELL_H

#include "util/error.h"

#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>

struct cell_mount {
    const char *source; /* absolute host path; NULL: a new directory, file or link on a tmpfs of the cell */
    const char *target; /* relative to the new root, "" is the root itself; parents are made */
    bool read_only;     /* enforced by the host kernel, recursively */
    bool writable_dir;  /* for source NULL: a directory that stays writable (a small tmpfs of its own) */
    bool executable;    /* without it nothing below can be executed, or mapped executable */
    bool masked; /* for source NULL: an empty file or directory over what a mount before brought to target; nothing where that
                           brought nothing */
    const char *link; /* for source NULL: a symbolic link with this text */
    int content;      /* for source NULL, when not 0: a file with a copy of what this descriptor holds */
};

/* Becomes user and group 0 of the user namespace, without supplementary groups, if it is not already. The sources of cell_mounts()
   are opened before this, so that they need to be reachable only for whoever started the process. */
int cell_become_root(msb_error **err);

/* Has the kernel kill this process when the thread that started it ends. parent is a socket or pipe whose other end only that one
   holds: when it has hung up already, the process ends at once. A change of user undoes it, so that it comes after
   cell_become_root(). */
int cell_die_with(int parent, msb_error **err);

/* Makes a tmpfs the root, with the mounts in order (each recursive, nodev, nosuid, and noexec unless said otherwise), and detaches
   the old root. What is not writable by the list is read-only at the end. A mount at "" stands alone: that directory itself becomes
   the root. A source with mounts below it brings them along. Calls cell_become_root(). */
int cell_mounts(const struct cell_mount *mounts, size_t num_mounts, msb_error **err);

/* One allowed system call, with the reason beside it in the table. */
struct cell_syscall {
    int number;   /* SCMP_SYS(name) */
    int argument; /* -1: any arguments; otherwise the argument of this index must equal value under mask */
    unsigned long mask;
    unsigned long value;
    int refuse; /* not 0: the call fails with this errno instead; for calls that a library tries and does without */
};

#define CELL_ALLOW(name)                                                                                                         \
    {                                                                                                                            \
        SCMP_SYS(name), -1, 0, 0, 0                                                                                              \
    }

/* Everything not in the table kills the process (SCMP_ACT_KILL_PROCESS), which the monitor sees and names. */
int cell_confine(const struct cell_syscall *allowed, size_t num_allowed, msb_error **err);

/* The same, but these capabilities over the process's own user namespace are kept. For one process only, the fs device that root
   starts: where every id is mapped, they let it use root's way with permissions on the files in its cell, and there are no others. */
int cell_confine_keeping(const int *capabilities, size_t num_capabilities, const struct cell_syscall *allowed, size_t num_allowed,
                         msb_error **err);

/* After cell_confine(), for the calling thread alone (and those that it starts): from now on only what both tables allow. The first
   one has to allow seccomp and prctl. */
int cell_narrow(const struct cell_syscall *allowed, size_t num_allowed, msb_error **err);

#endif
