/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A standard stream is an open file description that other processes share: the shell's terminal, a pipe's end that a script goes on
 * using. O_NONBLOCK is a flag of that description, so that setting it would break them; without it, a write that finds no room
 * stops the whole monitor. Each kind of file has another way out:
 *
 *   pipe           splice(2) with SPLICE_F_NONBLOCK, which concerns this call only; without a copy, too
 *   socket         MSG_DONTWAIT, the same for sockets
 *   regular file   never blocks, and cannot be watched by epoll: taken as always ready. To a socket, sendfile(2)
 *   terminal, ...  opened anew through /proc/self/fd, which makes a description of our own. Where that is refused (another user's
 *                  terminal), poll(2) before each call has to do
 *
 * The relay waits for one of its two ends at a time: for the source while there is room, else for the destination.
 */
#include "sandbox/relay.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    BUFFER_SIZE = 64 << 10,
    CHUNK = 1 << 20, /* bytes asked of one splice or sendfile */
    ROUNDS = 16,     /* calls before the loop gets its turn */
};

struct end {
    int fd;
    bool is_pipe, is_socket, is_file;
    bool own;       /* opened anew, to be closed */
    bool watchable; /* by epoll */
    struct loop_source *source;
};

struct relay {
    struct loop *loop;
    struct end from, to;
    struct end *waiting_for;
    uint8_t *buffer; /* only where bytes are copied */
    size_t begin, end;
    relay_done *done;
    void *data;
};

enum step {
    STEP_MOVED,
    STEP_WAIT_FROM,
    STEP_WAIT_TO,
    STEP_EOF,
    STEP_CLOSED,
};

/* ---- Moving bytes -------------------------------------------------------------------------------------------------------- */

static bool is_ready(int fd, short events)
{
    struct pollfd pollfd = { .fd = fd, .events = events };

    return poll(&pollfd, 1, 0) > 0;
}

/* What an error of a call that concerns both ends means. */
static enum step failed_step(const struct relay *relay)
{
    switch (errno) {
    case EINTR:
        return STEP_MOVED;
    case EAGAIN:
        return is_ready(relay->from.fd, POLLIN) ? STEP_WAIT_TO : STEP_WAIT_FROM;
    case ECONNRESET: /* of recv(2): a socket's other end was closed with our bytes unread */
        return STEP_EOF;
    case EPIPE:
        return STEP_CLOSED;
    default:
        log_error("copy a standard stream: %s", strerror(errno));
        return STEP_CLOSED;
    }
}

static enum step moved_step(const struct relay *relay, ssize_t n)
{
    if (n > 0)
        return STEP_MOVED;
    return n == 0 ? STEP_EOF : failed_step(relay);
}

static enum step write_buffer(struct relay *relay)
{
    const uint8_t *data = relay->buffer + relay->begin;
    size_t size = relay->end - relay->begin;
    ssize_t n =
        relay->to.is_socket ? send(relay->to.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) : write(relay->to.fd, data, size);

    if (n >= 0) {
        relay->begin += (size_t)n;
        return STEP_MOVED;
    }
    return errno == EAGAIN ? STEP_WAIT_TO : failed_step(relay);
}

static enum step copy(struct relay *relay)
{
    ssize_t n;

    if (relay->begin < relay->end)
        return write_buffer(relay);
    if (relay->from.is_socket)
        n = recv(relay->from.fd, relay->buffer, BUFFER_SIZE, MSG_DONTWAIT);
    else if (!relay->from.own && relay->from.watchable && !is_ready(relay->from.fd, POLLIN))
        return STEP_WAIT_FROM;
    else
        n = read(relay->from.fd, relay->buffer, BUFFER_SIZE);
    if (n < 0 && errno == EAGAIN)
        return STEP_WAIT_FROM;
    if (n < 0 && errno == EIO && !relay->from.is_file) /* the other side of a terminal is gone */
        return STEP_EOF;
    relay->begin = 0;
    relay->end = n > 0 ? (size_t)n : 0;
    return moved_step(relay, n);
}

static enum step move(struct relay *relay)
{
    int from = relay->from.fd, to = relay->to.fd;

    if (relay->buffer)
        return copy(relay);
    if (relay->from.is_file)
        return moved_step(relay, sendfile(to, from, NULL, CHUNK));
    return moved_step(relay, splice(from, NULL, to, NULL, CHUNK, SPLICE_F_NONBLOCK | SPLICE_F_MOVE));
}

/* ---- Waiting ------------------------------------------------------------------------------------------------------------------ */

static int wait_for(struct relay *relay, struct end *wanted, struct end *other)
{
    if (relay->waiting_for == wanted)
        return 0;
    relay->waiting_for = wanted;
    if (other->source && loop_modify(other->source, 0, NULL) < 0)
        return -1;
    return loop_modify(wanted->source, wanted == &relay->from ? EPOLLIN : EPOLLOUT, NULL);
}

static void run(struct relay *relay)
{
    enum step step = STEP_MOVED;

    for (int i = 0; i < ROUNDS && step == STEP_MOVED; i++)
        step = move(relay);
    /* Not yet done: whichever end can be watched is ready again at once. */
    if (step == STEP_MOVED)
        step = relay->begin < relay->end || !relay->from.source ? STEP_WAIT_TO : STEP_WAIT_FROM;
    if (step == STEP_WAIT_FROM && wait_for(relay, &relay->from, &relay->to) < 0)
        step = STEP_CLOSED;
    if (step == STEP_WAIT_TO && wait_for(relay, &relay->to, &relay->from) < 0)
        step = STEP_CLOSED;
    if (step == STEP_EOF || step == STEP_CLOSED)
        relay->done(relay, step == STEP_EOF ? RELAY_EOF : RELAY_CLOSED, relay->data);
}

static void ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source, (void)fd, (void)events;
    run(data);
}

/* ---- Set-up --------------------------------------------------------------------------------------------------------------------- */

static int open_anew(int fd, int access)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static int end_init(struct relay *relay, struct end *end, int fd, int access, msb_error **err)
{
    struct stat st;
    msb_error *error = NULL;

    end->fd = fd;
    if (fstat(fd, &st) < 0)
        return fail_errno(err, "examine a standard stream");
    end->is_pipe = S_ISFIFO(st.st_mode);
    end->is_socket = S_ISSOCK(st.st_mode);
    end->is_file = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode);
    if (S_ISCHR(st.st_mode)) {
        int anew = open_anew(fd, access);

        end->own = anew >= 0;
        end->fd = end->own ? anew : fd;
    }
    end->source = loop_add(relay->loop, end->fd, access == O_RDONLY ? EPOLLIN : EPOLLOUT, ready, relay, &error);
    end->watchable = end->source != NULL;
    if (end->watchable)
        return loop_modify(end->source, 0, err);
    /* Regular files and the likes of /dev/null (epoll_ctl(2)). */
    if (errno != EPERM)
        return fail_with(err, error);
    msb_error_free(error);
    return 0;
}

static void end_clear(struct end *end)
{
    loop_remove(end->source);
    if (end->own)
        close(end->fd);
}

struct relay *relay_new(struct loop *loop, int from, int to, relay_done *done, void *data, msb_error **err)
{
    struct relay *relay = calloc(1, sizeof(*relay));

    if (!relay)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    *relay = (struct relay){ .loop = loop, .done = done, .data = data };
    if (end_init(relay, &relay->from, from, O_RDONLY, err) < 0 || end_init(relay, &relay->to, to, O_WRONLY, err) < 0) {
        relay_free(relay);
        return NULL;
    }
    if (!relay->from.is_pipe && !relay->to.is_pipe && !(relay->from.is_file && relay->to.is_socket)) {
        relay->buffer = malloc(BUFFER_SIZE);
        if (!relay->buffer) {
            relay_free(relay);
            return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
        }
    }
    if (wait_for(relay, relay->from.source ? &relay->from : &relay->to, relay->from.source ? &relay->to : &relay->from) < 0) {
        relay_free(relay);
        return FAIL_NULL(fail_errno(err, "watch a standard stream"));
    }
    return relay;
}

void relay_free(struct relay *relay)
{
    if (!relay)
        return;
    end_clear(&relay->from);
    end_clear(&relay->to);
    free(relay->buffer);
    free(relay);
}
