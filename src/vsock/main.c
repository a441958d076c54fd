/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb-vsock: the virtio-vsock device as a process. It holds no file and opens none: its sockets come from the monitor.
 */
#include "util/cell.h"
#include "util/device.h"
#include "vsock/device.h"
#include "vsock/vsock.h"

#include <fcntl.h>
#include <sys/socket.h>

static const struct cell_syscall allowed[] = {
    CELL_ALLOW(epoll_wait), /* the event loop */
    CELL_ALLOW(epoll_ctl),  /* what it watches */
    CELL_ALLOW(recvmsg),    /* vhost-user messages; data of the host's, into guest memory */
    CELL_ALLOW(sendmsg),    /* answers; data of the guest's, to the host; a connection's socket, to the monitor */
    CELL_ALLOW(recvfrom),   /* the line "CONNECT PORT" */
    CELL_ALLOW(sendto),     /* "OK PORT"; that the device is ready */
    CELL_ALLOW(accept4),    /* connections of the host's */
    CELL_ALLOW(shutdown),   /* half-closes of the guest's */
    CELL_ALLOW(write),      /* interrupts (an eventfd); the log */
    CELL_ALLOW(close),      /* connections; descriptors of vhost-user messages */
    CELL_ALLOW(newfstatat), /* how large the file behind guest memory is; fstat(2) in glibc */
    CELL_ALLOW(mmap),       /* guest memory; malloc */
    CELL_ALLOW(munmap),     /* the same */
    CELL_ALLOW(brk),        /* malloc */
    CELL_ALLOW(exit_group), /* the end */
    { SCMP_SYS(fcntl), 1, ~0UL, F_SETFL, 0 },      /* interrupts do not block */
    { SCMP_SYS(socketpair), 0, ~0UL, AF_UNIX, 0 }, /* a connection of the guest's */
};

static int run(msb_error **err)
{
    struct loop *loop;
    struct vsock *vsock;

    loop = loop_new(err);
    if (!loop || device_receive_log_level("vsock", err) < 0 || cell_mounts(NULL, 0, err) < 0 ||
        cell_die_with(DEVICE_FD_MONITOR, err) < 0 || cell_confine(allowed, sizeof(allowed) / sizeof(allowed[0]), err) < 0)
        return -1;
    vsock = vsock_new(loop, DEVICE_FD_FRONTEND, VSOCK_FD_INCOMING, VSOCK_FD_LISTEN, err);
    if (!vsock || device_ready(loop, NULL, NULL, err) < 0 || loop_run(loop, err) < 0)
        return -1;
    vsock_free(vsock);
    loop_free(loop);
    return 0;
}

int main(void)
{
    return device_main(run);
}
