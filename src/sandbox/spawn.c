/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child makes its namespaces, and waits for one byte from the parent, which meanwhile writes the child's id maps
 * (user_namespaces(7)): before that it has no identity in its namespace and must do nothing with files. A change of user clears the
 * parent-death signal (prctl(2)), so that it is set after that; a parent that ended even earlier shows by its end of the report
 * descriptor, which is then closed.
 */
#include "sandbox/spawn.h"
#include "util/cell.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534 };

/* A process is born into the first two. The others it makes itself: a network namespace alone takes most of a millisecond, and so those
   of several processes are made side by side. */
enum {
    BORN_INTO = CLONE_NEWUSER | CLONE_NEWPID,
    MADE_BY_ITSELF = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP,
};

static int fail_namespaces(msb_error **err)
{
    int number = errno;

    fail_errno(err, "start a process in namespaces of its own");
    if (number == EPERM || number == ENOSPC || number == EUSERS)
        fail_prefix(err, "this host does not let its users make user namespaces "
                         "(see sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces and "
                         "kernel.apparmor_restrict_unprivileged_userns)");
    return -1;
}

/* ---- The child ----------------------------------------------------------------------------------------------------------- */

static _Noreturn void child_fail(int report, msb_error *error)
{
    const char *message = msb_error_message(error);

    /* When even this fails the parent still sees the process end. */
    if (write(report, message, strlen(message)) < 0)
        _exit(1);
    _exit(1);
}

/* Signals as a new process expects them: nothing blocked, nothing ignored, no handlers. */
static void reset_signals(void)
{
    struct sigaction standard = { .sa_handler = SIG_DFL };
    sigset_t none;

    for (int signal = 1; signal < NSIG; signal++)
        sigaction(signal, &standard, NULL); /* refused for SIGKILL, SIGSTOP and glibc's own */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Devices and engines send descriptors to each other. The kernel lets nobody send one while more than this limit are on their way in
   all sockets of the user's together, other virtual machines' and other programs' included (unix(7), ETOOMANYREFS). The usual 1024 is
   what select(2) can take, which nothing here calls. */
static int raise_file_limit(msb_error **err)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return fail_errno(err, "look at the limit of open files");
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? fail_errno(err, "raise the limit of open files") : 0;
}

/* Moves the descriptors listed to 0, 1, 2, ..., and `program` behind them, and closes all others. */
static int place_fds(const struct spawn *spawn, int *program, msb_error **err)
{
    int moved[SPAWN_FDS_MAX + 1];
    int num = (int)spawn->num_fds, total = num;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0)
        return fail_errno(err, "open `/dev/null`");
    /* First out of the way of the numbers to come. */
    for (int i = 0; i < num; i++)
        moved[i] = fcntl(spawn->fds[i] < 0 ? null : spawn->fds[i], F_DUPFD_CLOEXEC, SPAWN_FDS_MAX + 1);
    if (!spawn->run)
        moved[total++] = fcntl(*program, F_DUPFD_CLOEXEC, SPAWN_FDS_MAX + 1);
    for (int i = 0; i < total; i++)
        if (moved[i] < 0 || dup3(moved[i], i, i < num ? 0 : O_CLOEXEC) < 0)
            return fail_errno(err, "place descriptor %d", i);
    *program = num;
    return close_range((unsigned)total, UINT_MAX, 0) < 0 ? fail_errno(err, "close other descriptors") : 0;
}

static int child_exec(const struct spawn *spawn, int program, msb_error **err)
{
    char *const environment[] = { NULL };

    if (cell_become_root(err) < 0)
        return -1;
    syscall(SYS_execveat, program, "", spawn->argv, environment, AT_EMPTY_PATH);
    return fail_errno(err, "execute `%s`", spawn->argv[0]);
}

static _Noreturn void child_main(const struct spawn *spawn, int alive)
{
    int report = spawn->fds[spawn->report];
    int program = spawn->program;
    msb_error *error = NULL;
    char byte;

    /* The host's name is not for it to know. */
    if (unshare(spawn->host_network ? MADE_BY_ITSELF & ~CLONE_NEWNET : MADE_BY_ITSELF) < 0 ||
        sethostname("microsandbox", strlen("microsandbox")) < 0) {
        fail_namespaces(&error);
        child_fail(report, error);
    }
    if (read(alive, &byte, 1) != 1)
        _exit(1);
    reset_signals();
    setsid(); /* the terminal's signals are for its users */
    if (raise_file_limit(&error) < 0 || place_fds(spawn, &program, &error) < 0)
        child_fail(report, error);
    if (spawn->run && cell_die_with(spawn->report, &error) == 0)
        _exit(spawn->run(spawn->data));
    child_exec(spawn, program, &error);
    child_fail(spawn->report, error);
}

/* ---- The parent ---------------------------------------------------------------------------------------------------------- */

static int write_proc(pid_t pid, const char *name, const char *text, msb_error **err)
{
    char path[64];
    _cleanup_fd_ int fd = -1;

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return fail_errno(err, "write `%s`", path);
    return 0;
}

/* Every id that is mapped for us, to itself: /proc/self/uid_map has lines "INSIDE OUTSIDE COUNT". */
static int identity_map(const char *path, char *map, size_t size, msb_error **err)
{
    unsigned inside, outside, count;
    size_t used = 0;
    FILE *own = fopen(path, "re");

    if (!own)
        return fail_errno(err, "open `%s`", path);
    while (used + 40 < size && fscanf(own, "%u %u %u", &inside, &outside, &count) == 3)
        used += (size_t)snprintf(map + used, size - used, "%u %u %u\n", inside, inside, count);
    fclose(own);
    return used ? 0 : fail(err, MSB_ERR_SYSTEM, "`%s` is empty", path);
}

/* Whether we have an id: root of a user namespace may have but its own. */
static bool is_mapped(const char *path, unsigned id)
{
    unsigned inside, outside, count;
    bool found = false;
    FILE *own = fopen(path, "re");

    while (own && !found && fscanf(own, "%u %u %u", &inside, &outside, &count) == 3)
        found = id >= inside && id - inside < count;
    if (own)
        fclose(own);
    return found;
}

static int write_map(pid_t pid, enum spawn_user user, const char *name, unsigned id, msb_error **err)
{
    char map[4096], own[32];

    snprintf(own, sizeof(own), "/proc/self/%s", name);
    if (geteuid() != 0)
        snprintf(map, sizeof(map), "0 %u 1\n", id);
    else if (user == SPAWN_NOBODY)
        snprintf(map, sizeof(map), "0 %u 1\n", is_mapped(own, NOBODY) ? (unsigned)NOBODY : id);
    else if (identity_map(own, map, sizeof(map), err) < 0)
        return -1;
    return write_proc(pid, name, map, err);
}

static int write_maps(pid_t pid, enum spawn_user user, msb_error **err)
{
    /* Without privilege, groups can be mapped only where they cannot be dropped any more (CVE-2014-8989). */
    if (geteuid() != 0 && write_proc(pid, "setgroups", "deny", err) < 0)
        return -1;
    return write_map(pid, user, "uid_map", geteuid(), err) < 0 ? -1 : write_map(pid, user, "gid_map", getegid(), err);
}

static int clone_child(struct child *child, msb_error **err)
{
    struct clone_args args = {
        .flags = BORN_INTO | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)&child->pidfd,
        .exit_signal = SIGCHLD,
    };

    child->pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    return child->pid < 0 ? fail_namespaces(err) : 0;
}

int process_spawn(const struct spawn *spawn, struct child *child, msb_error **err)
{
    _cleanup_fd_ int ours = -1, theirs = -1;
    int pair[2];

    if (spawn->num_fds > SPAWN_FDS_MAX)
        return fail(err, MSB_ERR_INVALID, "%zu descriptors for a process are too many", spawn->num_fds);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return fail_errno(err, "make a socket pair");
    ours = pair[0];
    theirs = pair[1];
    if (clone_child(child, err) < 0)
        return -1;
    if (child->pid == 0) {
        close(ours);
        child_main(spawn, theirs);
    }
    if (write_maps(child->pid, spawn->user, err) == 0 && send(ours, "", 1, MSG_NOSIGNAL) == 1)
        return 0;
    if (err && !*err)
        fail_errno(err, "start a process");
    syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
    waitid((idtype_t)P_PIDFD, (id_t)child->pidfd, &(siginfo_t){ 0 }, WEXITED);
    close(child->pidfd);
    return -1;
}
