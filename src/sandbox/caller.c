/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library's process may have threads, signal handlers, children of its own and much memory. So the monitor is started like
 * posix_spawn(3) does it, by a clone that shares the memory and stops only the calling thread until the execution, so that its cost
 * does not depend on the caller's size. Between the clone and the execution all signals are blocked, only system calls are made, and
 * the child is invisible to the caller (exit signal 0). From the execution on it is a child like any other: execve(2) sets the exit
 * signal to SIGCHLD. So a caller that reaps all of its children may reap a monitor too; nothing here depends on its exit status.
 */
#include "sandbox/caller.h"
#include "util/cleanup.h"
#include "wire/message.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK_SIZE = 64 << 10, STATUS_FAILED = 125 };

/* ---- Where the monitor is ----------------------------------------------------------------------------------------------------- */

/* The file that this code is in: the library, or the program that it was linked into. */
static int own_file(char path[PATH_MAX], msb_error **err)
{
    struct link_map *map = NULL;
    Dl_info info;
    ssize_t length;

    if (dladdr1((void *)own_file, &info, (void **)&map, RTLD_DL_LINKMAP) && map && *map->l_name) {
        if (!realpath(map->l_name, path))
            return fail_errno(err, "find `%s`", map->l_name);
        return 0;
    }
    length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (length < 0)
        return fail_errno(err, "read `/proc/self/exe`");
    path[length] = '\0';
    return 0;
}

/* Cuts "/suffix" off; false when path does not end so. */
static bool cut_suffix(char *path, const char *suffix)
{
    size_t length = strlen(path), suffix_length = strlen(suffix);

    if (length <= suffix_length || strcmp(path + length - suffix_length, suffix) != 0 || path[length - suffix_length - 1] != '/')
        return false;
    path[length - suffix_length - 1] = '\0';
    return true;
}

/* "directory/name" when it can be executed, else NULL. */
static char *executable(const char *directory, const char *name)
{
    char *path = NULL;

    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return NULL;
    if (access(path, X_OK) == 0)
        return path;
    free(path);
    return NULL;
}

char *monitor_find(msb_error **err)
{
    static const char installed[] = INSTALL_LIBEXEC "/msb-monitor";
    char directory[PATH_MAX], *path;

    if (own_file(directory, err) < 0)
        return NULL;
    *strrchr(directory, '/') = '\0';
    path = executable(directory, "src/sandbox/msb-monitor");
    if (!path && (cut_suffix(directory, INSTALL_LIB) || cut_suffix(directory, INSTALL_BIN)))
        path = executable(directory, installed);
    if (!path)
        path = executable(INSTALL_PREFIX, installed);
    return path ? path : FAIL_NULL(fail_errno(err, "find the program `%s/%s`", INSTALL_PREFIX, installed));
}

/* ---- Starting it ---------------------------------------------------------------------------------------------------------------- */

struct start {
    const char *path;
    int fds[MONITOR_NUM_FDS];
    int error; /* errno of what failed in the child */
};

static int child_place_fds(struct start *start)
{
    /* First out of the way of the numbers to come. */
    for (int i = 0; i < MONITOR_NUM_FDS; i++) {
        start->fds[i] = fcntl(start->fds[i], F_DUPFD_CLOEXEC, MONITOR_NUM_FDS);
        if (start->fds[i] < 0)
            return -1;
    }
    for (int i = 0; i < MONITOR_NUM_FDS; i++)
        if (dup2(start->fds[i], i) < 0)
            return -1;
    return close_range(MONITOR_NUM_FDS, UINT_MAX, 0);
}

/* Shares the caller's memory. Signals stay blocked; the monitor unblocks them when it is prepared. */
static int child_main(void *data)
{
    struct start *start = data;
    char *const argv[] = { (char *)"msb-monitor", NULL };
    const struct sigaction standard = { .sa_handler = SIG_DFL };

    /* What the caller ignores, the monitor need not. */
    for (int signal = 1; signal < NSIG; signal++)
        sigaction(signal, &standard, NULL);
    if (child_place_fds(start) == 0)
        execve(start->path, argv, environ);
    start->error = errno;
    _exit(STATUS_FAILED);
}

static int clone_monitor(struct start *start, int *pidfd, msb_error **err)
{
    sigset_t all, before;
    pid_t pid;
    int saved;
    char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

    if (stack == MAP_FAILED)
        return fail_errno(err, "map a stack");
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid = clone(child_main, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | CLONE_PIDFD, start, pidfd);
    saved = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    munmap(stack, STACK_SIZE);
    if (pid < 0) {
        errno = saved;
        return fail_errno(err, "start the monitor");
    }
    if (start->error == 0)
        return 0;
    waitid((idtype_t)P_PIDFD, (id_t)*pidfd, &(siginfo_t){ 0 }, WEXITED | __WALL);
    close(*pidfd);
    errno = start->error;
    return fail_errno(err, "execute `%s`", start->path);
}

static int make_spec_file(const struct spec *spec, unsigned options, msb_error **err)
{
    _cleanup_fd_ int fd = memfd_create("spec", MFD_CLOEXEC);
    struct writer w = { 0 };
    ssize_t written;

    if (fd < 0)
        return fail_errno(err, "make a memfd");
    put_u8(&w, (uint8_t)options);
    spec_encode(&w, spec);
    if (w.failed) {
        free(w.data);
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    }
    written = write(fd, w.data, w.size);
    free(w.data);
    if (written < 0 || (size_t)written < w.size)
        return fail_errno(err, "write the specification");
    return steal_fd(&fd);
}

static int check_stream(const char *name, int fd, msb_error **err)
{
    if (fd < 0 || fcntl(fd, F_GETFD) >= 0)
        return 0;
    return fail(err, MSB_ERR_INVALID, "stdio: the descriptor %d for %s is not open", fd, name);
}

/* The first message, which waits in the socket for the monitor. */
static int greet(int socket, msb_error **err)
{
    struct client client = { .socket = socket };
    struct patience forever = patience_of(-1, -1);
    struct request request = { 0 };

    request_begin(&request, CONTROL_HELLO, 0);
    put_u32(&request.writer, CONTROL_VERSION);
    return client_send(&client, &request, NULL, 0, &forever, err);
}

int monitor_start(const struct spec *spec, const struct vm_stdio *stdio, unsigned options, struct monitor_handle *monitor,
                  msb_error **err)
{
    _cleanup_fd_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    _cleanup_fd_ int spec_file = make_spec_file(spec, options, err), ours = -1, theirs = -1;
    _cleanup_free_ char *path = NULL;
    int sockets[2];

    if (null < 0)
        return fail_errno(err, "open `/dev/null`");
    if (spec_file < 0 || check_stream("standard input", stdio->in, err) < 0 ||
        check_stream("standard output", stdio->out, err) < 0 || check_stream("standard error", stdio->err, err) < 0)
        return -1;
    path = monitor_find(err);
    if (!path)
        return -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
        return fail_errno(err, "make a socket pair");
    ours = sockets[0];
    theirs = sockets[1];
    struct start start = {
        .path = path,
        .fds = {
            null,
            null,
            [MONITOR_FD_LOG] = fcntl(STDERR_FILENO, F_GETFD) < 0 ? null : STDERR_FILENO,
            [MONITOR_FD_CALLER] = theirs,
            [MONITOR_FD_SPEC] = spec_file,
            [MONITOR_FD_STDIN] = stdio->in < 0 ? null : stdio->in,
            [MONITOR_FD_STDOUT] = stdio->out < 0 ? null : stdio->out,
            [MONITOR_FD_STDERR] = stdio->err < 0 ? null : stdio->err,
        },
    };
    if (greet(ours, err) < 0 || clone_monitor(&start, &monitor->pidfd, err) < 0)
        return -1;
    monitor->socket = steal_fd(&ours);
    /* The process that was started makes another one, which is the monitor, and ends. */
    if (options & LAUNCH_DETACH) {
        waitid((idtype_t)P_PIDFD, (id_t)monitor->pidfd, &(siginfo_t){ 0 }, WEXITED | __WALL);
        close(steal_fd(&monitor->pidfd));
    }
    return 0;
}

/* ---- Talking to it ---------------------------------------------------------------------------------------------------------------- */

int monitor_send(const struct monitor_handle *monitor, struct request *request, msb_error **err)
{
    struct client client = { .socket = monitor->socket };
    struct patience forever = patience_of(-1, -1);

    return client_send(&client, request, NULL, 0, &forever, err);
}

/* The monitor's last message; false when it ended without one. */
static bool receive_result(int socket, struct result *result)
{
    struct patience forever = patience_of(-1, -1);
    struct client client;
    struct reader body;
    uint16_t type;
    bool received = false;

    client_init(&client, socket);
    while (!received && client_receive(&client, &type, &body, &forever, NULL) == 0)
        received = type == CONTROL_RESULT && result_decode(&body, result);
    client_close(&client);
    return received;
}

static int fail_monitor(const siginfo_t *info, msb_error **err)
{
    switch (info->si_code) {
    case CLD_EXITED:
        return fail(err, MSB_ERR_VM, "the VM's monitor ended unexpectedly, with status %d", info->si_status);
    case CLD_KILLED:
    case CLD_DUMPED:
        return fail(err, MSB_ERR_VM, "the VM's monitor was killed by signal %d (%s)", info->si_status,
                    strsignal(info->si_status));
    default: /* the caller reaped it before us */
        return fail(err, MSB_ERR_VM, "the VM's monitor ended unexpectedly");
    }
}

int monitor_await(const struct monitor_handle *monitor, msb_error **err)
{
    struct pollfd ended = { .fd = monitor->pidfd, .events = POLLIN };

    while (poll(&ended, 1, -1) < 0)
        if (errno != EINTR)
            return fail_errno(err, "wait for the VM");
    return 0;
}

int monitor_collect(struct monitor_handle *monitor, struct result *result, msb_error **err)
{
    siginfo_t info = { 0 };
    bool received;

    *result = (struct result){ .status = STATUS_FAILED };
    waitid((idtype_t)P_PIDFD, (id_t)monitor->pidfd, &info, WEXITED | __WALL);
    received = receive_result(monitor->socket, result);
    close(monitor->pidfd);
    *monitor = (struct monitor_handle){ -1, -1 };
    if (!received)
        return fail_monitor(&info, err);
    return result->code == MSB_OK ? 0 : fail(err, result->code, "%s", result->message);
}
