/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb-platform: the entropy source and the balloon as a process. It holds guest memory and nothing else, and opens nothing.
 */
#include "platform/devices.h"
#include "platform/platform.h"
#include "util/cell.h"
#include "util/device.h"

#include <fcntl.h>
#include <sys/mman.h>

static const struct cell_syscall allowed[] = {
    CELL_ALLOW(epoll_wait),                         /* the event loop */
    CELL_ALLOW(epoll_ctl),                          /* what it watches */
    CELL_ALLOW(recvmsg),                            /* vhost-user messages */
    CELL_ALLOW(sendmsg),                            /* answers to them */
    CELL_ALLOW(recvfrom),                           /* the monitor's end */
    CELL_ALLOW(sendto),                             /* that the devices are ready */
    CELL_ALLOW(getrandom),                          /* what the guest asks for */
    { SCMP_SYS(madvise), 2, ~0UL, MADV_REMOVE, 0 }, /* what the guest gives back */
    CELL_ALLOW(write),                              /* interrupts (an eventfd); the log */
    CELL_ALLOW(close),                              /* descriptors of vhost-user messages */
    CELL_ALLOW(newfstatat),                         /* how large the file behind guest memory is; fstat(2) in glibc */
    CELL_ALLOW(mmap),                               /* guest memory; malloc */
    CELL_ALLOW(munmap),                             /* the same */
    CELL_ALLOW(brk),                                /* malloc */
    CELL_ALLOW(exit_group),                         /* the end */
    { SCMP_SYS(fcntl), 1, ~0UL, F_SETFL, 0 },       /* interrupts do not block */
};

static int run(msb_error **err)
{
    static struct platform_device devices[2];
    struct vhost_user *entropy, *balloon;
    struct loop *loop = loop_new(err);

    if (!loop || device_receive_log_level("platform", err) < 0 || cell_mounts(NULL, 0, err) < 0 ||
        cell_die_with(DEVICE_FD_MONITOR, err) < 0 || cell_confine(allowed, sizeof(allowed) / sizeof(allowed[0]), err) < 0)
        return -1;
    entropy = vhost_user_new(loop, DEVICE_FD_FRONTEND, &entropy_device, &devices[0], err);
    balloon = entropy ? vhost_user_new(loop, PLATFORM_FD_BALLOON, &balloon_device, &devices[1], err) : NULL;
    if (!balloon || device_ready(loop, NULL, NULL, err) < 0 || loop_run(loop, err) < 0)
        return -1;
    vhost_user_free(entropy);
    vhost_user_free(balloon);
    loop_free(loop);
    return 0;
}

int main(void)
{
    return device_main(run);
}
