/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts a process in namespaces of its own: user, mount, pid, net, ipc, uts and cgroup. It is killed by the kernel when the thread
 * that started it ends, however that ends.
 */
#ifndef MSB_SANDBOX_SPAWN_H
#define MSB_SANDBOX_SPAWN_H

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Who uid 0 of the new user namespace is on the host. An ordinary user can only map itself: then all are the same. */
enum spawn_user {
    SPAWN_CALLER, /* whoever calls; for root: every id is itself, so that files keep their owners */
    SPAWN_NOBODY, /* for root: nobody (65534), to whom the host's kernel refuses what is not everybody's; where root has no such id (in a
                     user namespace), root */
};

enum { SPAWN_FDS_MAX = 128 };

struct spawn {
    enum spawn_user user;
    bool host_network; /* stays in the caller's network namespace: for the net process, and only where its scope needs it */
    const int *fds;    /* become 0, 1, 2, ... of the process; -1: /dev/null. Nothing else stays open */
    size_t num_fds;
    int report; /* index in fds of a socket or pipe to the caller, which alone holds its other end: where the text of an error
                   goes, as one write, when the process cannot be set up. When it hangs up first, the process ends */

    /* Either a program, as a descriptor (O_PATH does) with its arguments: it begins as uid 0 of its user namespace, with an empty
       environment. */
    int program;
    char *const *argv;
    /* Or a function, whose result is the exit status. It begins as the caller's user, and calls cell_mounts() or
       cell_become_root(). */
    int (*run)(void *data);
    void *data;
};

struct child {
    pid_t pid;
    int pidfd; /* the caller's, to watch, signal and reap (waitid(P_PIDFD)) */
};

/* Returns once the process is on its way; what fails later is told on the report descriptor. */
int process_spawn(const struct spawn *spawn, struct child *child, msb_error **err);

#endif
