/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU takes a vhost-user network card only over a socket that it has connected itself: its chardev passes descriptors, as vhost-user
 * must, for addresses of Unix sockets, not for an inherited socket that is one (char-socket.c, QEMU_CHAR_FEATURE_FD_PASS). The
 * other devices do not ask.
 *
 * So the device gets, in place of the connection that it inherited, a socket that listens at an abstract address in QEMU's own network
 * namespace. Nobody else is there, and QEMU may not listen itself.
 */
#include "engine/qemu/arguments.h"
#include "util/cleanup.h"
#include "virtio/vhost_user_message.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int qemu_listen_for_net(int device, msb_error **err)
{
    static const char name[] = QEMU_NET_ADDRESS;
    /* An abstract address: a NUL, then the name without one. */
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const socklen_t size = offsetof(struct sockaddr_un, sun_path) + sizeof(name);
    _cleanup_fd_ int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct vhost_user_message message = { .header = { VHOST_USER_LISTEN, VHOST_USER_VERSION, 0 },
                                                .fds = { listener },
                                                .num_fds = 1 };

    if (listener < 0)
        return fail_errno(err, "make a socket");
    memcpy(address.sun_path + 1, name, sizeof(name) - 1);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 1) < 0)
        return fail_errno(err, "listen for QEMU");
    if (message_send(device, &message, true, err) < 0)
        return -1;
    return fcntl(device, F_SETFD, FD_CLOEXEC) < 0 ? fail_errno(err, "close descriptors on execution") : 0;
}
