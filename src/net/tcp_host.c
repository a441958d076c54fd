/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of TCP connections: a socket each, watched edge-triggered from its beginning to its end, so that nothing has to be
 * told to the kernel in between; tcp_connection.h has the contract.
 */
#include "net/tcp_connection.h"
#include "util/cleanup.h"

#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* The gateway is the host's loopback. */
static socklen_t address_of(const struct connection *c, struct sockaddr_in6 *address)
{
    const struct addresses *own = c->tcp->own;
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(c->remote_port), .sin_addr = c->remote.v4 };

    *address = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(c->remote_port), .sin6_addr = c->remote.v6 };
    if (c->remote.version == 6) {
        if (IN6_ARE_ADDR_EQUAL(&c->remote.v6, &own->gateway6))
            address->sin6_addr = in6addr_loopback;
        return sizeof(*address);
    }
    if (v4.sin_addr.s_addr == own->gateway.s_addr)
        v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memcpy(address, &v4, sizeof(v4));
    return sizeof(v4);
}

/* SO_ERROR, or 0. */
static int pending_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof(error);

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? errno : error;
}

static void finish_connecting(struct connection *c)
{
    if (pending_error(c->fd))
        c->failed = true;
    else
        guest_answer(c);
}

static void socket_ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct connection *c = data;
    struct tcp *tcp = c->tcp;

    (void)source, (void)fd;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        c->writable = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->hung_up = true;
    if (c->state == CONNECTION_BEGUN && c->writable)
        finish_connecting(c);
    connection_serve(c);
    tcp_flush(tcp);
    tcp->handler->batch(tcp->data);
}

/* Segments are made by the guest's TCP, and go on as they come; urgent data stays where it was in the stream. */
bool host_adopt(struct connection *c, int fd)
{
    const int on = 1;

    c->fd = fd;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)) < 0)
        return false;
    c->source = loop_add(c->tcp->loop, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, socket_ready, c, NULL);
    return c->source;
}

bool host_connect(struct connection *c)
{
    struct sockaddr_in6 address;
    socklen_t size = address_of(c, &address);
    int fd = socket(address.sin6_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return false;
    c->fd = fd;
    if (connect(fd, (const struct sockaddr *)&address, size) < 0 && errno != EINPROGRESS)
        return false;
    return host_adopt(c, fd);
}

/* ---- From the host ------------------------------------------------------------------------------------------------------- */

static bool read_once(struct connection *c)
{
    struct iovec room[2];
    struct msghdr message = { .msg_iov = room };
    size_t wanted = c->to_guest.capacity - c->to_guest.used;
    ssize_t size;

    if (wanted == 0 || !ring_prepare(&c->to_guest))
        return false;
    message.msg_iovlen = ring_room(&c->to_guest, room);
    size = recvmsg(c->fd, &message, MSG_DONTWAIT);
    if (size > 0) {
        c->to_guest.used += (uint32_t)size;
        /* A stream that has less than was asked for has no more, unless its end. */
        c->readable = (size_t)size == wanted || c->hung_up;
        return c->readable;
    }
    c->readable = false;
    if (size == 0)
        c->host_ended = true;
    else if (errno != EAGAIN && errno != EINTR)
        c->failed = true;
    return false;
}

void host_read(struct connection *c)
{
    while (c->readable && !c->host_ended && !c->failed) {
        if (c->tcp->handler->congested(c->tcp->data)) {
            c->tcp->blocked = true;
            return;
        }
        if (!read_once(c))
            return;
    }
}

/* ---- To the host --------------------------------------------------------------------------------------------------------- */

/* How many bytes the socket took. */
static size_t write_some(struct connection *c, struct iovec *iov, unsigned num, size_t wanted)
{
    struct msghdr message = { .msg_iov = iov, .msg_iovlen = num };
    ssize_t size;

    if (!c->writable)
        return 0;
    size = sendmsg(c->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (size < 0 && errno != EAGAIN && errno != EINTR)
        c->failed = true;
    if (size < (ssize_t)wanted)
        c->writable = false;
    return size > 0 ? (size_t)size : 0;
}

static uint32_t keep(struct connection *c, const uint8_t *bytes, uint32_t size)
{
    struct iovec room[2];
    uint32_t kept = 0;

    if (!ring_prepare(&c->to_host))
        return 0;
    for (unsigned i = 0, num = ring_room(&c->to_host, room); i < num && kept < size; i++) {
        uint32_t part = room[i].iov_len < size - kept ? (uint32_t)room[i].iov_len : size - kept;

        memcpy(room[i].iov_base, bytes + kept, part);
        kept += part;
    }
    c->to_host.used += kept;
    return kept;
}

uint32_t host_write(struct connection *c, const uint8_t *bytes, uint32_t size)
{
    uint32_t written = 0;

    if (c->to_host.used == 0)
        written = (uint32_t)write_some(c, &(struct iovec){ (void *)bytes, size }, 1, size);
    if (written < size && !c->failed)
        written += keep(c, bytes + written, size - written);
    return written;
}

bool host_flush(struct connection *c)
{
    struct iovec part[2];
    uint32_t before = c->to_host.used;

    while (c->to_host.used > 0 && c->writable && !c->failed) {
        unsigned num = ring_part(&c->to_host, 0, c->to_host.used, part);

        ring_drop(&c->to_host, (uint32_t)write_some(c, part, num, c->to_host.used));
    }
    if (c->guest_ended && !c->shut && c->to_host.used == 0 && !c->failed) {
        c->shut = true;
        /* A peer that is gone already shows when it is read from. */
        shutdown(c->fd, SHUT_WR);
    }
    return c->to_host.used < before;
}

void host_close(struct connection *c, bool reset)
{
    const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

    loop_remove(c->source);
    if (c->fd < 0)
        return;
    /* The other side hears that it did not end well (tcp(7), SO_LINGER). */
    if (reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(c->fd);
}
