/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's half of the vsock device: Unix stream sockets, the monitor, and the listening socket. No call here blocks.
 *
 * What is watched (host_watch) follows the connection's state, because a hang-up is reported as long as its socket is watched at all:
 * a connection whose data the guest cannot take yet is not watched for reading, and one whose end was seen only for its hang-up.
 */
#include "util/cleanup.h"
#include "util/log.h"
#include "vsock/device.h"

#include <errno.h>
#include <linux/virtio_vsock.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* ---- Sockets ----------------------------------------------------------------------------------------------------------------- */

/* Nothing more is to be read: the host sends no more, or the guest wants no more. */
static bool is_read_out(const struct connection *connection)
{
    return connection->host_ended || (connection->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV);
}

static uint32_t events_of(const struct connection *connection)
{
    uint32_t events = connection->spill.used ? EPOLLOUT : 0;

    switch (connection->state) {
    case CONNECTION_LINE:
        return EPOLLIN;
    case CONNECTION_REQUESTED:
        return EPOLLERR; /* and EPOLLHUP, which cannot be left out */
    case CONNECTION_ESTABLISHED:
        if (is_read_out(connection))
            return events | EPOLLERR;
        return connection->waiting || connection->no_credit ? events : events | EPOLLIN;
    default:
        return events;
    }
}

void host_watch(struct connection *connection)
{
    uint32_t events = events_of(connection);
    msb_error *error = NULL;

    if (!connection->source || events == connection->watched)
        return;
    connection->watched = events;
    if (loop_modify(connection->source, events, &error) < 0)
        log_error("%s", msb_error_message(error));
    msb_error_free(error);
}

int host_attach(struct connection *connection, int fd)
{
    msb_error *error = NULL;

    connection->fd = fd;
    connection->watched = 0;
    connection->source = loop_add(connection->vsock->loop, fd, 0, host_socket_ready, connection, &error);
    if (connection->source)
        return 0;
    log_error("%s", msb_error_message(error));
    msb_error_free(error);
    return -1;
}

ssize_t host_read(const struct connection *connection, struct iovec *iov, unsigned count)
{
    struct msghdr message = { .msg_iov = iov, .msg_iovlen = count };
    ssize_t n;

    do
        n = recvmsg(connection->fd, &message, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        return n;
    return n < 0 && errno == EAGAIN ? 0 : -1;
}

/* Bytes that the socket took, 0 when it is full, -1 when nobody reads any more. */
static ssize_t send_some(const struct connection *connection, struct iovec *iov, unsigned count)
{
    struct msghdr message = { .msg_iov = iov, .msg_iovlen = count };
    ssize_t n;

    do
        n = sendmsg(connection->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 && errno == EAGAIN ? 0 : n;
}

/* Nobody on the host reads any more: what comes from the guest is dropped, and the guest is told. */
static void become_deaf(struct connection *connection)
{
    size_t dropped = connection->spill.used;

    spill_drop(&connection->spill, dropped);
    connection->host_deaf = true;
    guest_credit(connection, dropped);
    guest_tell_shutdown(connection, VIRTIO_VSOCK_SHUTDOWN_RCV);
}

bool host_write(struct connection *connection, struct iovec *iov, unsigned count, size_t bytes)
{
    ssize_t n = 0;

    if (!connection->host_deaf && !connection->spill.used && bytes)
        n = send_some(connection, iov, count);
    if (n < 0)
        become_deaf(connection);
    if (connection->host_deaf) {
        guest_credit(connection, bytes);
        return true;
    }
    if ((size_t)n < bytes && !spill_put(&connection->spill, iov, count, (size_t)n))
        return false;
    guest_credit(connection, (size_t)n);
    host_watch(connection);
    return true;
}

/* Sends on what the socket did not take before. */
static void flush(struct connection *connection)
{
    struct iovec pieces[2];
    unsigned count = spill_peek(&connection->spill, pieces);
    ssize_t n = send_some(connection, pieces, count);

    if (n < 0) {
        become_deaf(connection);
        return;
    }
    spill_drop(&connection->spill, (size_t)n);
    guest_credit(connection, (size_t)n);
    if (!connection->spill.used)
        host_shutdown(connection);
    host_watch(connection);
}

void host_shutdown(struct connection *connection)
{
    if (connection->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV)
        shutdown(connection->fd, SHUT_RD);
    if ((connection->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND) && !connection->spill.used)
        shutdown(connection->fd, SHUT_WR);
    host_watch(connection);
}

/* The other end of the socket is closed, and everything that came from there is with the guest. */
static void hung_up(struct connection *connection)
{
    if (connection->owed & OWED_RESPONSE) {
        guest_reset(connection);
        return;
    }
    become_deaf(connection);
    guest_tell_shutdown(connection, VIRTIO_VSOCK_SHUTDOWN_SEND);
    loop_remove(connection->source);
    connection->source = NULL;
    close(steal_fd(&connection->fd));
    connection_linger(&connection->vsock->table, connection);
    host_listen(connection->vsock);
}

/* ---- Connections that the guest makes ---------------------------------------------------------------------------------------- */

static void close_pair(const int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

static ssize_t send_to_monitor(int monitor, uint32_t port, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
    struct iovec iov = { .iov_base = &port, .iov_len = sizeof(port) };
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.bytes)
    };

    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    return sendmsg(monitor, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

enum host_open host_open(struct vsock *vsock, uint32_t port, int *fd)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        log_warn("a connection of the guest's to port %u is refused: %m", port);
        return HOST_REFUSED;
    }
    if (send_to_monitor(vsock->incoming, port, pair[1]) < 0) {
        enum host_open result = errno == EAGAIN ? HOST_BUSY : HOST_REFUSED;

        if (result == HOST_REFUSED)
            log_warn("a connection of the guest's to port %u is refused: %m", port);
        close_pair(pair);
        if (result == HOST_BUSY && loop_modify(vsock->incoming_source, EPOLLOUT, NULL) == 0)
            vsock->incoming_full = true;
        return vsock->incoming_full ? HOST_BUSY : HOST_REFUSED;
    }
    close(pair[1]);
    *fd = pair[0];
    return HOST_OPENED;
}

void host_incoming_ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct vsock *vsock = data;

    (void)fd, (void)events;
    loop_modify(source, 0, NULL);
    vsock->incoming_full = false;
    guest_receive_again(vsock);
}

/* ---- Connections that the host makes ----------------------------------------------------------------------------------------- */

static void listen_if(struct vsock *vsock, bool listen)
{
    if (!vsock->listener_source || listen == vsock->listening)
        return;
    vsock->listening = listen;
    loop_modify(vsock->listener_source, listen ? EPOLLIN : 0, NULL);
}

void host_listen(struct vsock *vsock)
{
    listen_if(vsock, vsock->table.count < MAX_CONNECTIONS || connection_longest_lingering(&vsock->table));
}

void host_listener_ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct vsock *vsock = data;
    int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    struct connection *connection;

    (void)source, (void)events;
    if (accepted < 0) {
        /* Out of descriptors or memory: that may change when a connection ends. */
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            listen_if(vsock, false);
        return;
    }
    connection = vsock_connection(vsock);
    if (!connection) {
        close(accepted);
        return;
    }
    if (host_attach(connection, accepted) < 0) {
        vsock_finish(connection);
        return;
    }
    host_watch(connection);
    host_listen(vsock);
    guest_send(vsock);
}

/* Takes the line, as far as it has come, and not a byte behind it: 1 when it is whole, 0 when not yet, -1 when it is none. */
static int read_line(struct connection *connection)
{
    char *rest = connection->line + connection->line_length;
    size_t room = sizeof(connection->line) - connection->line_length;
    ssize_t n = recv(connection->fd, rest, room, MSG_PEEK | MSG_DONTWAIT);
    const char *end;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return -1;
    end = memchr(rest, '\n', (size_t)n);
    if (end)
        n = end + 1 - rest;
    if (recv(connection->fd, rest, (size_t)n, MSG_DONTWAIT) != n)
        return -1;
    connection->line_length += (unsigned)n;
    if (end)
        return 1;
    return connection->line_length < sizeof(connection->line) ? 0 : -1;
}

/* "CONNECT PORT\n" */
static bool parse_line(const struct connection *connection, uint32_t *port)
{
    static const char word[] = "CONNECT ";
    const unsigned word_length = sizeof(word) - 1;
    unsigned end = connection->line_length - 1;
    uint64_t value = 0;

    if (end <= word_length || memcmp(connection->line, word, word_length) != 0)
        return false;
    for (unsigned i = word_length; i < end; i++) {
        if (connection->line[i] < '0' || connection->line[i] > '9')
            return false;
        value = value * 10 + (unsigned)(connection->line[i] - '0');
    }
    *port = (uint32_t)value;
    return value <= UINT32_MAX;
}

static void line_ready(struct connection *connection)
{
    struct connection_table *table = &connection->vsock->table;
    int read = read_line(connection);
    uint32_t port = 0;

    if (read == 0)
        return;
    if (read < 0 || !parse_line(connection, &port)) {
        vsock_finish(connection);
        return;
    }
    connection_bind(table, connection, port, connection_unused_port(table, port));
    connection->state = CONNECTION_REQUESTED;
    connection->owed = OWED_REQUEST;
    guest_wake(connection);
}

bool host_accepted(const struct connection *connection)
{
    char line[32];
    int length = snprintf(line, sizeof(line), "OK %u\n", connection->host_port);

    return send(connection->fd, line, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL) == length;
}

/* ---- Events ------------------------------------------------------------------------------------------------------------------ */

static void established_ready(struct connection *connection, uint32_t events)
{
    if (connection->spill.used && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)))
        flush(connection);
    if (!is_read_out(connection))
        guest_wake(connection);
    else if (events & (EPOLLHUP | EPOLLERR))
        hung_up(connection);
}

void host_socket_ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct connection *connection = data;
    struct vsock *vsock = connection->vsock;

    (void)source, (void)fd;
    switch (connection->state) {
    case CONNECTION_LINE:
        line_ready(connection);
        break;
    case CONNECTION_REQUESTED: /* it hung up before the guest answered */
        if (connection->owed & OWED_REQUEST)
            vsock_finish(connection);
        else
            guest_reset(connection);
        break;
    case CONNECTION_ESTABLISHED:
        established_ready(connection, events);
        break;
    case CONNECTION_DRAINING:
        flush(connection);
        vsock_finish(connection);
        break;
    case CONNECTION_LINGERING: /* has no socket */
        break;
    }
    guest_send(vsock);
}
