/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb-platform: the entropy source and the balloon as a process. It holds guest memory and nothing else, and opens nothing.
 */
#include "platform/devices.h"
#include "platform/platform.h"
#include "util/cell.h"
#include "util/cleanup.h"
#include "util/device.h"
#include "util/log.h"

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

static int read_setup(msb_error **err)
{
    _cleanup_free_ unsigned char *setup = NULL;
    size_t size;

    if (device_receive_setup(&setup, &size, err) < 0)
        return -1;
    if (size != 1 || setup[0] > MSB_LOG_TRACE)
        return fail(err, MSB_ERR_PROTOCOL, "a set-up that is not a log level");
    log_init("platform", setup[0], STDERR_FILENO);
    return 0;
}

static int run(msb_error **err)
{
    static struct platform_device devices[2];
    struct vhost_user *entropy, *balloon;
    struct loop *loop = loop_new(err);

    if (!loop || read_setup(err) < 0 || cell_mounts(NULL, 0, err) < 0 || cell_die_with(DEVICE_FD_MONITOR, err) < 0 ||
        cell_confine(allowed, sizeof(allowed) / sizeof(allowed[0]), err) < 0)
        return -1;
    entropy = vhost_user_new(loop, DEVICE_FD_FRONTEND, &entropy_device, &devices[0], err);
    balloon = entropy ? vhost_user_new(loop, PLATFORM_FD_BALLOON, &balloon_device, &devices[1], err) : NULL;
    if (!balloon || device_ready(loop, err) < 0 || loop_run(loop, err) < 0)
        return -1;
    vhost_user_free(entropy);
    vhost_user_free(balloon);
    loop_free(loop);
    return 0;
}

int main(void)
{
    msb_error *error = NULL;

    if (run(&error) == 0)
        return 0;
    device_failed(error);
    log_error("%s", msb_error_message(error));
    return 1;
}
