/* SPDX-License-Identifier: Apache-2.0 */
#include "device_process.h"

#include "util/cleanup.h"
#include "util/device.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { MAX_OWN_FDS = 100, READY_TIMEOUT_MS = 30000, END_TIMEOUT_MS = 10000 };

/* The one packet that comes back: ready, or why not. */
static int wait_until_ready(int monitor, msb_error **err)
{
    struct pollfd poll_monitor = { .fd = monitor, .events = POLLIN };
    char text[1024] = { 0 };
    ssize_t n;

    if (poll(&poll_monitor, 1, READY_TIMEOUT_MS) != 1)
        return fail(err, MSB_ERR_TIMEOUT, "the device is not ready after %d ms", READY_TIMEOUT_MS);
    n = recv(monitor, text, sizeof(text) - 1, 0);
    if (n < 0)
        return fail_errno(err, "receive from the device");
    if (n == 0)
        return fail(err, MSB_ERR_VM, "the device ended before it was ready");
    return n == 1 && text[0] == 0 ? 0 : fail(err, MSB_ERR_VM, "the device said: %s", text);
}

static int spawn(struct device_process *process, const struct device_start *start, int monitor, int socket, msb_error **err)
{
    char *const argv[] = { (char *)start->executable, NULL };
    int fds[DEVICE_FD_FIRST_OWN + MAX_OWN_FDS] = { -1, -1, STDERR_FILENO, monitor, socket };
    _cleanup_fd_ int program = open(start->executable, O_PATH | O_CLOEXEC);
    struct spawn spawn = {
        .user = start->user,
        .host_network = start->host_network,
        .fds = fds,
        .num_fds = DEVICE_FD_FIRST_OWN + start->num_fds,
        .report = DEVICE_FD_MONITOR,
        .program = program,
        .argv = argv,
    };

    if (program < 0)
        return fail_errno(err, "open `%s`", start->executable);
    if (start->num_fds > MAX_OWN_FDS)
        return fail(err, MSB_ERR_INVALID, "too many descriptors");
    if (start->num_fds)
        memcpy(fds + DEVICE_FD_FIRST_OWN, start->fds, start->num_fds * sizeof(int));
    return process_spawn(&spawn, &process->child, err);
}

int device_process_start(struct device_process *process, const struct device_start *start, msb_error **err)
{
    const int send_buffer = DEVICE_SETUP_MAX;
    int monitor[2], socket[2], spawned;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, monitor) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socket) < 0)
        return fail_errno(err, "make a socket pair");
    process->monitor = monitor[0];
    process->socket = socket[0];
    spawned = spawn(process, start, monitor[1], socket[1], err);
    close(monitor[1]);
    close(socket[1]);
    if (spawned < 0) {
        close(monitor[0]);
        close(socket[0]);
        return -1;
    }
    setsockopt(process->monitor, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
    if (send(process->monitor, start->setup, start->setup_size, MSG_NOSIGNAL) < 0)
        fail_errno(err, "send the set-up");
    else if (wait_until_ready(process->monitor, err) == 0)
        return 0;
    device_process_stop(process);
    return -1;
}

int device_process_wait(struct device_process *process, int timeout_ms)
{
    struct pollfd poll_child = { .fd = process->child.pidfd, .events = POLLIN };
    siginfo_t info = { 0 };

    if (poll(&poll_child, 1, timeout_ms) != 1 || waitid(P_PIDFD, (id_t)process->child.pidfd, &info, WEXITED) < 0)
        return -1;
    cleanup_fd(&process->child.pidfd);
    cleanup_fd(&process->monitor);
    cleanup_fd(&process->socket);
    process->child.pidfd = process->monitor = process->socket = -1;
    return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

int device_process_stop(struct device_process *process)
{
    close(process->monitor);
    process->monitor = -1;
    return device_process_wait(process, END_TIMEOUT_MS);
}
