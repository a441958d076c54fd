/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU takes a vhost-user network card only over a socket that it has connected itself: its chardev passes descriptors, as vhost-user
 * must, for addresses of Unix sockets, not for an inherited socket that is one (char-socket.c, QEMU_CHAR_FEATURE_FD_PASS). The
 * other devices do not ask.
 *
 * So a child of QEMU's process, with even less than QEMU has, listens at an abstract address in QEMU's own network namespace and
 * passes messages, with their descriptors, between the connection that comes and the inherited socket. There are some dozens of
 * them, all before the guest's driver starts; the frames go through memory. It ends with QEMU, whose pid namespace it is in.
 */
#include "engine/qemu/arguments.h"
#include "util/cell.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    HEADER_SIZE = 12,
    MESSAGE_SIZE = 4096,
    MESSAGE_FDS = 16, /* vhost-user's most is 8 */
};

static const struct cell_syscall allowed[] = {
    CELL_ALLOW(accept4),    /* QEMU's connection, once */
    CELL_ALLOW(poll),       /* waits for either side */
    CELL_ALLOW(recvmsg),    /* a header, and descriptors */
    CELL_ALLOW(recvfrom),   /* a payload */
    CELL_ALLOW(sendmsg),    /* a message, to the other side */
    CELL_ALLOW(close),      /* descriptors that have been passed on */
    CELL_ALLOW(exit_group), /* the end */
};

/* Passes on one message: a header with the payload's size in its last word (QEMU's vhost-user document, "Header"), the payload, and
   the descriptors that came with the header. Messages have to stay apart: a stream socket gives descriptors with the first bytes
   that are sent together. False when a side has hung up, or says what is no message. */
static bool pass(int from, int to)
{
    char bytes[MESSAGE_SIZE];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MESSAGE_FDS * sizeof(int))];
    } control;
    struct iovec iov = { .iov_base = bytes, .iov_len = HEADER_SIZE };
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)
    };
    uint32_t size;
    bool sent;

    if (recvmsg(from, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL) != HEADER_SIZE || message.msg_flags & MSG_CTRUNC)
        return false;
    memcpy(&size, bytes + HEADER_SIZE - sizeof(size), sizeof(size));
    if (size > sizeof(bytes) - HEADER_SIZE)
        return false;
    if (size && recvfrom(from, bytes + HEADER_SIZE, size, MSG_WAITALL, NULL, NULL) != (ssize_t)size)
        return false;
    iov.iov_len += size;
    sent = sendmsg(to, &message, MSG_NOSIGNAL) == (ssize_t)iov.iov_len;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header))
        for (size_t at = CMSG_LEN(0); at + sizeof(int) <= header->cmsg_len; at += sizeof(int)) {
            int fd;

            memcpy(&fd, (char *)header + at, sizeof(int));
            close(fd);
        }
    return sent;
}

static _Noreturn void usher(int listener, int device)
{
    int qemu;
    struct pollfd sides[2] = { { .fd = device, .events = POLLIN }, { .events = POLLIN } };

    if (cell_confine(allowed, sizeof(allowed) / sizeof(allowed[0]), NULL) < 0)
        _exit(1);
    qemu = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    sides[1].fd = qemu;
    while (qemu >= 0 && poll(sides, 2, -1) > 0) {
        if (sides[0].revents && !pass(device, qemu))
            break;
        if (sides[1].revents && !pass(qemu, device))
            break;
    }
    _exit(0);
}

int qemu_usher(int device, msb_error **err)
{
    static const char name[] = QEMU_USHER_ADDRESS;
    /* An abstract address: a NUL, then the name without one. */
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const socklen_t size = offsetof(struct sockaddr_un, sun_path) + sizeof(name);
    _cleanup_fd_ int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pid_t pid;

    if (listener < 0)
        return fail_errno(err, "make a socket");
    memcpy(address.sun_path + 1, name, sizeof(name) - 1);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 1) < 0)
        return fail_errno(err, "listen for QEMU");
    pid = fork();
    if (pid < 0)
        return fail_errno(err, "start a process to pass on messages");
    if (pid == 0) {
        /* Of all that it inherited, it needs two. */
        if (dup2(device, 0) < 0 || dup2(listener, 1) < 0 || close_range(2, ~0U, 0) < 0)
            _exit(1);
        usher(1, 0);
    }
    return fcntl(device, F_SETFD, FD_CLOEXEC) < 0 ? fail_errno(err, "close descriptors on execution") : 0;
}
