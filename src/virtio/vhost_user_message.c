/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user messages on a socket. The other side is not trusted: the header's size bounds what is read, and descriptors are
 * received only together with the beginning of a message, at most VHOST_USER_MAX_FDS of them. The kernel closes what does not fit.
 */
#include "virtio/vhost_user_message.h"

#include "util/cleanup.h"

#include <string.h>
#include <sys/socket.h>

enum { HEADER_SIZE = sizeof(struct vhost_user_header) };

_Static_assert(HEADER_SIZE == 12, "the header has no padding");
_Static_assert(sizeof(struct vhost_user_vring_addr) == 40 && sizeof(struct vhost_user_config) == 12 + VHOST_USER_CONFIG_MAX &&
                   sizeof(struct vhost_user_memory) == 8 + 32 * MEMORY_MAX_REGIONS,
               "payloads have no padding");

union fds_control {
    char bytes[CMSG_SPACE(VHOST_USER_MAX_FDS * sizeof(int))];
    struct cmsghdr align;
};

/* Takes over the descriptors of one recvmsg(). Each goes into m->fds, where message_clear() finds it. */
static void collect_fds(struct vhost_user_message *m, struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        /* At most VHOST_USER_MAX_FDS come in all: the control buffer has no room for more, and is given only once. */
        memcpy(m->fds + m->num_fds, CMSG_DATA(c), count * sizeof(int));
        m->num_fds += (unsigned)count;
    }
}

/* One recvmsg() of the header's or the payload's rest. Returns recvmsg's result. */
static ssize_t receive_some(int socket, struct vhost_user_message *m, int flags, bool *truncated)
{
    bool in_header = m->received < HEADER_SIZE;
    struct iovec iov = {
        .iov_base = in_header ? (char *)&m->header + m->received : (char *)&m->payload + (m->received - HEADER_SIZE),
        .iov_len = (in_header ? HEADER_SIZE : HEADER_SIZE + m->header.size) - m->received,
    };
    union fds_control control;
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;

    if (m->received == 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
    }
    n = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return n;
    collect_fds(m, &message);
    *truncated = message.msg_flags & MSG_CTRUNC;
    m->received += (size_t)n;
    return n;
}

static bool is_whole(const struct vhost_user_message *m)
{
    return m->received >= HEADER_SIZE && m->received == HEADER_SIZE + m->header.size;
}

int message_receive(int socket, struct vhost_user_message *m, bool wait, msb_error **err)
{
    while (!is_whole(m)) {
        bool truncated = false;
        ssize_t n = receive_some(socket, m, wait ? 0 : MSG_DONTWAIT, &truncated);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN && !wait)
            return 0;
        if (n < 0 && errno != ECONNRESET)
            return fail_errno(err, "receive a vhost-user message");
        if (n <= 0 && m->received)
            return fail(err, MSB_ERR_PROTOCOL, "the other side hung up within a vhost-user message");
        if (n <= 0)
            return -1;
        if (truncated)
            return fail(err, MSB_ERR_PROTOCOL, "too many descriptors in a vhost-user message, or not at its beginning");
        if (m->received == HEADER_SIZE && m->header.size > sizeof(m->payload))
            return fail(err, MSB_ERR_PROTOCOL, "a vhost-user message with %u bytes of payload", m->header.size);
    }
    return 1;
}

static void attach_fds(struct msghdr *message, union fds_control *control, const struct vhost_user_message *m)
{
    struct cmsghdr *c;

    if (!m->num_fds)
        return;
    memset(control, 0, sizeof(*control));
    message->msg_control = control->bytes;
    message->msg_controllen = CMSG_SPACE(m->num_fds * sizeof(int));
    c = CMSG_FIRSTHDR(message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(m->num_fds * sizeof(int));
    memcpy(CMSG_DATA(c), m->fds, m->num_fds * sizeof(int));
}

int message_send(int socket, const struct vhost_user_message *m, bool wait, msb_error **err)
{
    struct iovec iov[2] = {
        { .iov_base = (void *)&m->header, .iov_len = HEADER_SIZE },
        { .iov_base = (void *)&m->payload, .iov_len = m->header.size },
    };
    union fds_control control;
    struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };
    size_t left = HEADER_SIZE + m->header.size;

    attach_fds(&message, &control, m);
    while (left) {
        ssize_t n = sendmsg(socket, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, "send a vhost-user message");
        left -= (size_t)n;
        message.msg_control = NULL;
        message.msg_controllen = 0;
        for (unsigned i = 0; i < 2; i++) {
            size_t part = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;

            iov[i].iov_base = (char *)iov[i].iov_base + part;
            iov[i].iov_len -= part;
            n -= (ssize_t)part;
        }
    }
    return 0;
}

int message_take_fd(struct vhost_user_message *m, unsigned i)
{
    return steal_fd(&m->fds[i]);
}

void message_close_fds(struct vhost_user_message *m)
{
    for (unsigned i = 0; i < m->num_fds; i++)
        cleanup_fd(&m->fds[i]);
    m->num_fds = 0;
}

void message_clear(struct vhost_user_message *m)
{
    message_close_fds(m);
    m->received = 0;
    memset(&m->header, 0, sizeof(m->header));
    memset(&m->payload, 0, sizeof(m->payload));
}
