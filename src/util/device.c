/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How every device process begins and ends; device.h has the contract.
 */
#include "util/device.h"

#include "util/cleanup.h"
#include "util/log.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* The one packet that says "ready"; an error's text never starts with a NUL. */
static const char ready_packet[1] = { 0 };

int device_receive_setup(unsigned char **data, size_t *size, msb_error **err)
{
    _cleanup_free_ unsigned char *buffer = malloc(DEVICE_SETUP_MAX);
    struct iovec iov = { .iov_base = buffer, .iov_len = DEVICE_SETUP_MAX };
    /* No room for descriptors: the kernel drops any and says so in MSG_CTRUNC. */
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t received;

    if (!buffer)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    do
        received = recvmsg(DEVICE_FD_MONITOR, &message, MSG_CMSG_CLOEXEC);
    while (received < 0 && errno == EINTR);
    if (received < 0)
        return fail_errno(err, "receive the set-up from the monitor");
    if (received == 0)
        return fail(err, MSB_ERR_PROTOCOL, "the monitor hung up before it sent the set-up");
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        return fail(err, MSB_ERR_PROTOCOL, "the set-up is larger than %d bytes, or comes with descriptors", DEVICE_SETUP_MAX);
    *data = steal_pointer(&buffer);
    *size = (size_t)received;
    return 0;
}

int device_receive_log_level(const char *role, msb_error **err)
{
    _cleanup_free_ unsigned char *setup = NULL;
    size_t size = 0;

    if (device_receive_setup(&setup, &size, err) < 0)
        return -1;
    if (size != 1 || setup[0] > MSB_LOG_TRACE)
        return fail(err, MSB_ERR_PROTOCOL, "a set-up that is not a log level");
    log_init(role, setup[0], STDERR_FILENO);
    return 0;
}

/* What is known of the monitor once the device is ready. */
static struct {
    struct loop *loop;
    void (*configured)(void *data);
    void *data;
} after;

/* Anything but what it waits for is the monitor's end, or a reason to end. */
static void monitor_said(struct loop_source *source, int fd, uint32_t events, void *data)
{
    char byte;

    (void)source, (void)events, (void)data;
    if (after.configured && recv(fd, &byte, 1, MSG_DONTWAIT) == 1)
        after.configured(after.data);
    else
        loop_quit(after.loop);
}

int device_ready(struct loop *loop, void (*configured)(void *data), void *data, msb_error **err)
{
    after.loop = loop;
    after.configured = configured;
    after.data = data;
    if (!loop_add(loop, DEVICE_FD_MONITOR, EPOLLIN | EPOLLRDHUP, monitor_said, NULL, err))
        return -1;
    if (send(DEVICE_FD_MONITOR, ready_packet, sizeof(ready_packet), MSG_NOSIGNAL) < 0)
        return fail_errno(err, "tell the monitor that the device is ready");
    return 0;
}

int device_main(int (*run)(msb_error **err))
{
    msb_error *error = NULL;
    const char *text;

    if (run(&error) == 0)
        return 0;
    text = msb_error_message(error);
    /* When even this cannot be said, the exit status is left to tell. */
    (void)!send(DEVICE_FD_MONITOR, text, strlen(text), MSG_NOSIGNAL);
    log_error("%s", text);
    msb_error_free(error);
    return 1;
}
