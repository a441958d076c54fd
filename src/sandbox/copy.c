/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files into and out of a sandbox: an archive over a socket pair, whose other end the monitor joins to PID 1's. This thread reads or
 * writes the archive and blocks on the socket; that it can be made to give up is the monitor's doing, which ends the copy, and with it the
 * stream, at the deadline, and when the cancel descriptor, of which it gets a duplicate, is readable. Should the monitor not answer at
 * all, the socket's own timeout is left.
 */
#include "archive/archive.h"
#include "archive/tar.h"
#include "config/text.h"
#include "sandbox/sandbox.h"
#include "util/cleanup.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>

/* The deadline, and a second for the monitor to keep it. */
static int limit_socket(int fd, int timeout_ms, msb_error **err)
{
    struct timeval timeout = { .tv_sec = timeout_ms / 1000 + 1, .tv_usec = timeout_ms % 1000 * 1000 };

    if (timeout_ms < 0)
        return 0;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
        return fail_errno(err, "set a timeout");
    return 0;
}

static int ask(msb_sandbox *sandbox, struct client *client, enum copy_direction direction, const char *guest_path, int stream,
               const struct patience *patience, msb_error **err)
{
    _cleanup_free_ char *path = msb_path_normalize(guest_path, MSB_LENGTH_UNKNOWN, MSB_PATH_ABSOLUTE, err);
    const int fds[2] = { stream, patience->cancel_fd };
    int left = patience_left(patience);
    struct request request = { 0 };

    if (!path)
        return -1;
    if (sandbox_connect(sandbox, client, patience, err) < 0)
        return -1;
    request_hello(&request);
    request_begin(&request, CONTROL_COPY, 1);
    put_u8(&request.writer, (uint8_t)direction);
    /* 0 would be no timeout. */
    put_u64(&request.writer, left < 0 ? 0 : left == 0 ? 1 : (uint64_t)left);
    /* As it was given: a slash or a "/." at its end has a meaning. */
    put_string(&request.writer, guest_path);
    return client_send(client, &request, fds, patience->cancel_fd >= 0 ? 2 : 1, patience, err);
}

/* How the guest's side ended. */
static int hear_end(struct client *client, const struct patience *patience, msb_error **err)
{
    /* Its deadline is the monitor's business: this is about the answer. */
    const struct patience answer = { patience->until < 0 ? -1 : patience->until + 2000000000, -1 };
    _cleanup_free_ char *why = NULL;
    struct reader body;
    uint8_t status, flags;
    uint16_t type;

    if (client_receive(client, &type, &body, &answer, err) < 0)
        return -1;
    if (type == CONTROL_ERROR)
        return client_fail(&body, err);
    status = get_u8(&body);
    flags = get_u8(&body);
    why = get_string(&body);
    if (type != CONTROL_EXITED || !reader_done(&body))
        return fail(err, MSB_ERR_PROTOCOL, "the sandbox's monitor sent a bad answer");
    if (flags & CONTROL_EXIT_TIMED_OUT)
        return fail(err, MSB_ERR_TIMEOUT, "the copy took longer than it may");
    if (flags & CONTROL_EXIT_CANCELLED)
        return fail(err, MSB_ERR_CANCELLED, "the copy was cancelled");
    if (status == 0)
        return 0;
    return fail(err, MSB_ERR_WORKLOAD, "%s", *why ? why : "the guest could not copy it, and did not say why");
}

static bool has_hung_up(int stream)
{
    struct pollfd pollfd = { .fd = stream, .events = POLLRDHUP };

    return poll(&pollfd, 1, 0) > 0;
}

/* Of two failures the one that came first explains the other: a side that gives up ends the stream under the other. */
static int judge(int here, msb_error *own, int there, msb_error *guest, bool guest_first, msb_error **err)
{
    if (here == 0 && there == 0)
        return 0;
    if (there < 0 && (guest_first || here == 0)) {
        msb_error_free(own);
        return fail_with(err, guest);
    }
    msb_error_free(guest);
    return fail_with(err, own);
}

/* The host's side: a path, or a descriptor with an archive. */
struct host {
    int (*transfer)(const struct host *host, int stream, msb_error **err);
    const char *path;
    int fd;
    unsigned flags;
};

static int copy(msb_sandbox *sandbox, enum copy_direction direction, const char *guest_path, const struct host *host,
                const struct patience *patience, msb_error **err)
{
    _cleanup_fd_ int ours = -1, theirs = -1;
    msb_error *own = NULL, *guest = NULL;
    struct client client;
    int pair[2], here, there, asked;
    bool guest_first;

    client_init(&client, -1);
    if (host->flags & ~(unsigned)MSB_COPY_OWNERS)
        return fail(err, MSB_ERR_INVALID, "flags \"%u\" has bits that mean nothing", host->flags);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return fail_errno(err, "make a socket pair");
    ours = pair[0];
    theirs = pair[1];
    asked = limit_socket(ours, patience_left(patience), err);
    if (asked == 0)
        asked = ask(sandbox, &client, direction, guest_path, theirs, patience, err);
    close(steal_fd(&theirs));
    if (asked < 0) {
        client_close(&client);
        return -1;
    }
    here = host->transfer(host, ours, &own);
    guest_first = has_hung_up(ours);
    /* The guest's side sees the end of what it reads, or that nobody reads any more. */
    close(steal_fd(&ours));
    there = hear_end(&client, patience, &guest);
    if (host->path)
        fail_prefix(&own, "copy `%s`", host->path);
    if (msb_error_code(guest) == MSB_ERR_WORKLOAD)
        fail_prefix(&guest, "copy `%s` of the sandbox", guest_path);
    client_close(&client);
    return judge(here, own, there, guest, guest_first, err);
}

static int transfer_in(const struct host *host, int stream, msb_error **err)
{
    return archive_write(stream, host->path, err);
}

static int transfer_out(const struct host *host, int stream, msb_error **err)
{
    return archive_read(stream, host->path, ARCHIVE_UNTRUSTED | (host->flags & MSB_COPY_OWNERS ? ARCHIVE_OWNERS : 0), err);
}

/* 1: all is sent; 0: the guest has enough, or has given up, which it says itself; -1: it cannot be sent. */
static int send_all(int stream, const void *bytes, size_t size, msb_error **err)
{
    const uint8_t *at = bytes, *end = at + size;

    while (at < end) {
        ssize_t n = send(stream, at, (size_t)(end - at), MSG_NOSIGNAL);

        if (n >= 0)
            at += n;
        else if (errno == EPIPE || errno == ECONNRESET)
            return 0;
        else if (errno != EINTR)
            return fail_errno(err, "send the archive");
    }
    return 1;
}

/* Any number of entries can be at the top of a foreign archive. PID 1 makes one of them the target, or puts it there; with this one before
   them, which is the target itself, all others go into it. */
static int send_top(int stream, msb_error **err)
{
    struct tar_header header = {
        .name = "./",
        .mode = "0000755",
        .uid = "0000000",
        .gid = "0000000",
        .size = "00000000000",
        .mtime = "00000000000",
        .type = TAR_DIRECTORY,
        .magic = { 'u', 's', 't', 'a', 'r' },
        .version = { '0', '0' },
    };

    snprintf(header.checksum, sizeof(header.checksum), "%06o", tar_checksum(&header));
    return send_all(stream, &header, sizeof(header), err);
}

static int transfer_archive(const struct host *host, int stream, msb_error **err)
{
    struct pollfd fds[] = { { .fd = host->fd, .events = POLLIN }, { .fd = stream, .events = POLLRDHUP } };
    uint8_t buffer[64 << 10];
    int more = send_top(stream, err);
    ssize_t n;

    while (more == 1) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return fail_errno(err, "wait for the archive");
        if (fds[1].revents)
            return 0;
        n = fds[0].revents ? read(host->fd, buffer, sizeof(buffer)) : 1;
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return fail_errno(err, "read the archive");
        if (n == 0)
            break;
        if (n > 0 && fds[0].revents)
            more = send_all(stream, buffer, (size_t)n, err);
    }
    return more < 0 ? -1 : 0;
}

int msb_sandbox_copy_in(msb_sandbox *sandbox, const char *host_path, const char *guest_path, unsigned flags, int timeout_ms,
                        int cancel_fd, msb_error **err)
{
    const struct patience patience = patience_of(timeout_ms, cancel_fd);
    const struct host host = { .transfer = transfer_in, .path = host_path, .flags = flags };

    return copy(sandbox, COPY_IN, guest_path, &host, &patience, err);
}

int msb_sandbox_copy_out(msb_sandbox *sandbox, const char *guest_path, const char *host_path, unsigned flags, int timeout_ms,
                         int cancel_fd, msb_error **err)
{
    const struct patience patience = patience_of(timeout_ms, cancel_fd);
    const struct host host = { .transfer = transfer_out, .path = host_path, .flags = flags };

    return copy(sandbox, COPY_OUT, guest_path, &host, &patience, err);
}

int msb_sandbox_archive_in(msb_sandbox *sandbox, int fd, const char *guest_path, int timeout_ms, int cancel_fd, msb_error **err)
{
    const struct patience patience = patience_of(timeout_ms, cancel_fd);
    const struct host host = { .transfer = transfer_archive, .fd = fd };

    return copy(sandbox, COPY_IN, guest_path, &host, &patience, err);
}

/* The monitor itself writes to the descriptor. */
int msb_sandbox_archive_out(msb_sandbox *sandbox, const char *guest_path, int fd, int timeout_ms, int cancel_fd, msb_error **err)
{
    const struct patience patience = patience_of(timeout_ms, cancel_fd);
    struct client client;
    int result;

    client_init(&client, -1);
    result = ask(sandbox, &client, COPY_OUT, guest_path, fd, &patience, err);
    if (result == 0)
        result = hear_end(&client, &patience, err);
    if (result < 0 && err && msb_error_code(*err) == MSB_ERR_WORKLOAD)
        fail_prefix(err, "copy `%s` of the sandbox", guest_path);
    client_close(&client);
    return result;
}
