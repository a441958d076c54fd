/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb-net: the virtio-net device process. net.h says what it is told; docs/network.md tells how it works.
 */
#include "net/bridge.h"
#include "util/cell.h"
#include "util/cleanup.h"
#include "util/device.h"
#include "util/log.h"

#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    LOOK_FOR_NS = 200000, /* what a guest and a peer on this host take for a step of a conversation, even an emulated one */
    FDS_MAX = 1024,       /* open at a time: so many flows to the outside, less a few that the process itself needs */
};

/* What the process does when it is confined. */
static const struct cell_syscall allowed[] = {
    /* the loop, and timers: libslirp's, and the network card's, which is made last */
    CELL_ALLOW(epoll_wait),
    CELL_ALLOW(epoll_pwait),
    CELL_ALLOW(epoll_ctl),
    CELL_ALLOW(sched_yield),
    CELL_ALLOW(timerfd_create),
    CELL_ALLOW(timerfd_settime),
    CELL_ALLOW(clock_gettime), /* where the vDSO cannot answer */
    /* kicks and calls, the log, inotify, files; vhost-user messages, the group's frames, published UDP ports, libslirp's sockets */
    CELL_ALLOW(read),
    CELL_ALLOW(write),
    CELL_ALLOW(recvmsg),
    CELL_ALLOW(sendmsg),
    CELL_ALLOW(recvfrom),
    CELL_ALLOW(sendto),
    CELL_ALLOW(close),
    CELL_ALLOW(fcntl), /* O_NONBLOCK, duplicates */
    /* sockets to the outside: of these families only. Unix sockets were made before, where they reach nothing but the group's. */
    { SCMP_SYS(socket), 0, UINT32_MAX, AF_INET, 0 },
    { SCMP_SYS(socket), 0, UINT32_MAX, AF_INET6, 0 },
    { SCMP_SYS(socket), 0, UINT32_MAX, AF_UNIX, EAFNOSUPPORT }, /* if_nametoindex(3), for a resolver's address with a scope */
    CELL_ALLOW(connect),                                        /* also a probe's, to a member of the group */
    CELL_ALLOW(accept),
    CELL_ALLOW(accept4),
    CELL_ALLOW(shutdown),
    CELL_ALLOW(getsockopt),
    CELL_ALLOW(setsockopt),
    CELL_ALLOW(getsockname),
    CELL_ALLOW(getpeername),
    { SCMP_SYS(ioctl), 1, UINT32_MAX, FIONREAD, 0 },     /* libslirp, before it reads a datagram */
    { SCMP_SYS(ioctl), 1, UINT32_MAX, SIOCGIFINDEX, 0 }, /* if_nametoindex(3) */
    /* the cell has /etc/resolv.conf, which libslirp reads again when it changed, and the group's directory; nothing can be written */
    { SCMP_SYS(openat), 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY, 0 },
    CELL_ALLOW(newfstatat),
    CELL_ALLOW(fstat),
    CELL_ALLOW(lseek), /* fclose(3), for what it did not use */
    CELL_ALLOW(getdents64),
    CELL_ALLOW(readlinkat),
    /* memory: the allocator's, and the guest's when the front-end tells of it. None of it executable. */
    { SCMP_SYS(mmap), 2, PROT_EXEC, 0, 0 },
    { SCMP_SYS(mprotect), 2, PROT_EXEC, 0, 0 },
    CELL_ALLOW(munmap),
    CELL_ALLOW(mremap),
    CELL_ALLOW(madvise),
    CELL_ALLOW(brk),
    /* the end, and going on after SIGSTOP */
    CELL_ALLOW(exit_group),
    CELL_ALLOW(rt_sigreturn),
    CELL_ALLOW(restart_syscall),
};

static int receive_setup(struct net_setup *setup, msb_error **err)
{
    _cleanup_free_ unsigned char *data = NULL;
    size_t size;
    struct reader reader;

    if (device_receive_setup(&data, &size, err) < 0)
        return -1;
    reader = (struct reader){ .data = data, .left = size };
    if (!net_setup_decode(&reader, setup))
        return fail(err, MSB_ERR_PROTOCOL, "the set-up is malformed");
    return 0;
}

static int set_limits(msb_error **err)
{
    const struct rlimit fds = { FDS_MAX, FDS_MAX };

    return setrlimit(RLIMIT_NOFILE, &fds) < 0 ? fail_errno(err, "limit the number of descriptors") : 0;
}

/* Asks for the route to an address of the internet's; connecting a datagram socket sends nothing. */
static void warn_without_route(const struct net_setup *setup)
{
    const struct sockaddr_in somewhere = { .sin_family = AF_INET, .sin_port = htons(53), .sin_addr = { htonl(0x01010101) } };
    _cleanup_fd_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (setup->scope == MSB_SCOPE_GROUP || fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)&somewhere, sizeof(somewhere)) < 0)
        log_warn("this host has no route to the internet (%m): the sandbox will not reach it either");
}

static int enter_cell(struct bridge *bridge, const struct net_setup *setup, msb_error **err)
{
    struct cell_mount mounts[2];
    size_t num = 0;

    if (setup->group)
        mounts[num++] = (struct cell_mount){ .source = setup->group, .target = "group", .read_only = true };
    if (setup->scope != MSB_SCOPE_GROUP && access("/etc/resolv.conf", R_OK) == 0)
        mounts[num++] = (struct cell_mount){ .source = "/etc/resolv.conf", .target = "etc/resolv.conf", .read_only = true };
    if (cell_mounts(mounts, num, err) < 0 || bridge_enter_cell(bridge, "/group", err) < 0)
        return -1;
    return cell_confine(allowed, sizeof(allowed) / sizeof(allowed[0]), err);
}

static void open_ports(void *data)
{
    bridge_open_ports(data);
}

static int run(msb_error **err)
{
    struct net_setup setup = { 0 };
    struct loop *loop = NULL;
    struct bridge *bridge = NULL;
    int result = receive_setup(&setup, err);

    if (result == 0) {
        log_init("net", (enum msb_log_level)setup.log_level, STDERR_FILENO);
        signal(SIGPIPE, SIG_IGN); /* libslirp's sockets: their errors are told by errno */
        warn_without_route(&setup);
        result = set_limits(err);
    }
    if (result == 0)
        loop = loop_new(err);
    if (loop) {
        loop_look(loop, LOOK_FOR_NS);
        bridge = bridge_new(loop, &setup, FDS_MAX, err);
    }
    if (!bridge || enter_cell(bridge, &setup, err) < 0 || bridge_start(bridge, DEVICE_FD_FRONTEND, err) < 0 ||
        device_ready(loop, open_ports, bridge, err) < 0)
        result = -1;
    if (result == 0)
        result = loop_run(loop, err);
    if (bridge)
        bridge_log_counters(bridge);
    bridge_free(bridge);
    loop_free(loop);
    net_setup_clear(&setup);
    return result;
}

int main(void)
{
    return device_main(run);
}
