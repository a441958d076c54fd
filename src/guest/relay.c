/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A stream has up to two flows, each from one descriptor to another: host to process (the socket to a pipe), and process to host (a
 * pipe to the socket); a terminal's master is both ends on the process's side. All are non-blocking and watched level-triggered. A
 * flow waits for exactly one thing: for its source to have something or, when it holds bytes that did not go out (pending), for its
 * destination to take them. So a stream that nobody reads holds one buffer and stalls only itself, and the pipe behind it makes the
 * process wait. One event moves one buffer, so that no stream starves another.
 *
 * The stream's header is the first thing pending towards the host; it goes out when the connection is made.
 *
 * How a flow ends. Its source ended: the destination is told once everything is out (half-close, pipe closed, or the terminal's
 * end-of-file character). Its destination is gone: the source is closed, so that who writes there gets EPIPE. The process ended:
 * what was in the pipe at that moment is still moved (limit), and no more, since its descendants may hold the pipe open for ever.
 */
#include "guest/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

enum {
    BUFFER_SIZE = 64 << 10,       /* a whole pipe, and the largest packet of virtio-vsock in Linux */
    TERMINAL_LEFT_MAX = 64 << 10, /* more than a terminal buffers: what is read at most after its process ended */
};

struct flow {
    bool open; /* there may be more to move */
    bool held; /* not yet: the connection is not made */
    bool last; /* ends when there is nothing at the moment */
    int from, to;
    uint64_t limit; /* bytes that may still be read */
    uint8_t *pending;
    size_t pending_begin, pending_size;
};

struct watch {
    struct loop_source *source;
    uint32_t events;
};

struct relay {
    struct loop *loop;
    relay_ended *ended;
    void *data;
    struct relay_files files;
    bool finishing;  /* the process ended */
    bool discarding; /* and its descendants still write */
    struct flow in, out;
    struct watch socket, input, output;
};

/* PID 1 has one thread; a flow that cannot get rid of what is here takes a copy. */
static uint8_t buffer[BUFFER_SIZE];

static ssize_t retry_write(int fd, const uint8_t *bytes, size_t size)
{
    ssize_t n;

    do
        n = write(fd, bytes, size);
    while (n < 0 && errno == EINTR);
    return n;
}

static bool is_temporary(int error)
{
    return error == EAGAIN || error == EINTR || error == ENOBUFS;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void drop_watch(struct watch *watch)
{
    loop_remove(watch->source);
    *watch = (struct watch){ 0 };
}

static void flow_end(struct flow *flow)
{
    free(flow->pending);
    *flow = (struct flow){ .from = -1, .to = -1 };
}

/* ---- Ends of the flow to the process ------------------------------------------------------------------------------------------- */

/* A terminal has no half-close: its end of input is a character that it understands in canonical mode. */
static void end_terminal_input(int master)
{
    struct termios settings;

    if (tcgetattr(master, &settings) == 0 && (settings.c_lflag & ICANON))
        retry_write(master, &settings.c_cc[VEOF], 1);
}

static void close_input(struct relay *relay)
{
    flow_end(&relay->in);
    if (relay->files.tty || relay->files.input < 0)
        return;
    drop_watch(&relay->input);
    close_fd(&relay->files.input);
}

static void input_ended(struct relay *relay)
{
    if (relay->files.tty)
        end_terminal_input(relay->files.input);
    close_input(relay);
}

/* The process reads no more: the host need not send. */
static void input_refused(struct relay *relay)
{
    close_input(relay);
    shutdown(relay->files.socket, SHUT_RD);
}

/* ---- Ends of the flow to the host ---------------------------------------------------------------------------------------------- */

static void close_output(struct relay *relay)
{
    flow_end(&relay->out);
    drop_watch(&relay->output);
    if (relay->files.tty)
        relay->files.input = -1;
    close_fd(&relay->files.output);
    if (relay->files.tty)
        flow_end(&relay->in);
}

/* A descendant that outlived the process and still writes must neither wait for ever nor be killed by SIGPIPE: what it says is read
   and dropped until the last writer is gone. */
static void discard_output(struct relay *relay)
{
    ssize_t n = read(relay->files.output, buffer, sizeof(buffer));

    relay->discarding = n > 0 || (n < 0 && is_temporary(errno));
    if (!relay->discarding)
        close_output(relay);
}

static void output_ended(struct relay *relay)
{
    flow_end(&relay->out);
    shutdown(relay->files.socket, SHUT_WR);
    if (relay->finishing && !relay->files.tty)
        discard_output(relay);
    else
        close_output(relay);
}

/* ---- Moving -------------------------------------------------------------------------------------------------------------------- */

enum moved { MOVED, SOURCE_ENDED, DESTINATION_GONE };

/* Keeps what did not go out. Without memory for it the bytes are lost, so the flow cannot go on. */
static enum moved keep(struct flow *flow, const uint8_t *bytes, size_t size)
{
    flow->pending = malloc(size);
    if (!flow->pending)
        return DESTINATION_GONE;
    memcpy(flow->pending, bytes, size);
    flow->pending_begin = 0;
    flow->pending_size = size;
    return MOVED;
}

static enum moved move_pending(struct flow *flow)
{
    ssize_t n = retry_write(flow->to, flow->pending + flow->pending_begin, flow->pending_size - flow->pending_begin);

    if (n < 0)
        return is_temporary(errno) ? MOVED : DESTINATION_GONE;
    flow->pending_begin += (size_t)n;
    if (flow->pending_begin < flow->pending_size)
        return MOVED;
    free(flow->pending);
    flow->pending = NULL;
    return flow->limit == 0 ? SOURCE_ENDED : MOVED;
}

/* One buffer, at most. */
static enum moved move(struct flow *flow)
{
    size_t most = flow->limit < sizeof(buffer) ? (size_t)flow->limit : sizeof(buffer);
    ssize_t got = read(flow->from, buffer, most);
    ssize_t gone;

    if (got < 0 && is_temporary(errno) && !flow->last)
        return MOVED;
    if (got <= 0)
        return SOURCE_ENDED;
    if (flow->limit != UINT64_MAX)
        flow->limit -= (uint64_t)got;
    gone = retry_write(flow->to, buffer, (size_t)got);
    if (gone < 0 && !is_temporary(errno))
        return DESTINATION_GONE;
    if (gone < 0)
        gone = 0;
    if (gone < got)
        return keep(flow, buffer + gone, (size_t)(got - gone));
    return flow->limit == 0 ? SOURCE_ENDED : MOVED;
}

static void pump_in(struct relay *relay)
{
    switch (relay->in.pending ? move_pending(&relay->in) : move(&relay->in)) {
    case MOVED:
        return;
    case SOURCE_ENDED:
        input_ended(relay);
        return;
    case DESTINATION_GONE:
        input_refused(relay);
        return;
    }
}

static enum moved move_out(struct flow *flow)
{
    enum moved moved;

    do
        moved = flow->pending ? move_pending(flow) : move(flow);
    while (flow->last && !flow->pending && moved == MOVED);
    return moved;
}

static void pump_out(struct relay *relay)
{
    switch (move_out(&relay->out)) {
    case MOVED:
        relay->in.held = relay->in.held && relay->out.pending;
        return;
    case SOURCE_ENDED:
        output_ended(relay);
        return;
    case DESTINATION_GONE:
        close_output(relay);
        if (relay->in.held)
            input_ended(relay);
        return;
    }
}

/* ---- Watching ------------------------------------------------------------------------------------------------------------------ */

static bool set_watch(struct watch *watch, uint32_t events)
{
    if (!watch->source || watch->events == events)
        return true;
    watch->events = events;
    return loop_modify(watch->source, events, NULL) == 0;
}

static bool set_watches(struct relay *relay)
{
    bool in_waits = relay->in.open && !relay->in.held && !relay->in.pending;
    uint32_t into_process = relay->in.open && relay->in.pending ? EPOLLOUT : 0;
    uint32_t from_process = (relay->out.open && !relay->out.pending) || relay->discarding ? EPOLLIN : 0;
    uint32_t socket = (in_waits ? EPOLLIN : 0) | (relay->out.open && relay->out.pending ? EPOLLOUT : 0);

    if (relay->files.tty)
        from_process |= into_process;
    return set_watch(&relay->socket, socket) && set_watch(&relay->output, from_process) && set_watch(&relay->input, into_process);
}

/* Brings what is watched up to date, and ends the relay when nothing moves any more. The relay may be gone afterwards. */
static void update(struct relay *relay)
{
    if (!set_watches(relay)) {
        relay->discarding = false;
        close_input(relay);
        close_output(relay);
    }
    if (relay->in.open || relay->out.open)
        return;
    drop_watch(&relay->socket);
    close_fd(&relay->files.socket);
    if (!relay->discarding)
        relay->ended(relay, relay->data);
}

static bool is_ready(const struct flow *flow, int fd, uint32_t events)
{
    int awaited = flow->pending ? flow->to : flow->from;
    uint32_t wanted = flow->pending ? EPOLLOUT : EPOLLIN;

    return flow->open && !flow->held && fd == awaited && (events & (wanted | EPOLLERR | EPOLLHUP));
}

static void on_event(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct relay *relay = data;
    bool in_ready = is_ready(&relay->in, fd, events);

    (void)source;
    if (relay->discarding)
        discard_output(relay);
    if (is_ready(&relay->out, fd, events))
        pump_out(relay);
    if (in_ready && relay->in.open)
        pump_in(relay);
    update(relay);
}

static int watch_fd(struct relay *relay, struct watch *watch, int fd, msb_error **err)
{
    watch->source = loop_add(relay->loop, fd, 0, on_event, relay, err);
    return watch->source ? 0 : -1;
}

/* ---- The stream ---------------------------------------------------------------------------------------------------------------- */

static int hold_header(struct flow *out, uint32_t id, enum stream kind)
{
    struct writer w = { 0 };

    put_u32(&w, id);
    put_u8(&w, (uint8_t)kind);
    out->pending = w.data;
    out->pending_size = w.size;
    return w.failed ? -1 : 0;
}

struct relay *relay_new(struct loop *loop, const struct relay_files *files, uint32_t id, enum stream kind, relay_ended *ended,
                        void *data, msb_error **err)
{
    struct relay *relay = calloc(1, sizeof(*relay));

    if (!relay) {
        struct relay unmade = { .files = *files };

        close_output(&unmade);
        close_input(&unmade);
        close_fd(&unmade.files.socket);
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    }
    *relay = (struct relay){ .loop = loop, .ended = ended, .data = data, .files = *files };
    relay->out = (struct flow){ .open = true, .from = files->output, .to = files->socket, .limit = UINT64_MAX };
    if (files->input >= 0)
        relay->in = (struct flow){ .open = true, .held = true, .from = files->socket, .to = files->input, .limit = UINT64_MAX };
    if (hold_header(&relay->out, id, kind) < 0) {
        fail(err, MSB_ERR_NO_MEMORY, "out of memory");
        relay_free(relay);
        return NULL;
    }
    if (watch_fd(relay, &relay->socket, files->socket, err) < 0 || watch_fd(relay, &relay->output, files->output, err) < 0 ||
        (files->input >= 0 && !files->tty && watch_fd(relay, &relay->input, files->input, err) < 0) || !set_watches(relay)) {
        relay_free(relay);
        return NULL;
    }
    return relay;
}

void relay_finish(struct relay *relay)
{
    int left = 0;

    relay->finishing = true;
    close_input(relay);
    if (relay->out.open && relay->files.tty) {
        relay->out.limit = TERMINAL_LEFT_MAX;
        relay->out.last = true;
        if (!relay->out.pending)
            pump_out(relay);
    } else if (relay->out.open) {
        if (ioctl(relay->files.output, FIONREAD, &left) < 0)
            left = 0;
        relay->out.limit = (uint64_t)left;
        if (left == 0 && !relay->out.pending)
            output_ended(relay);
    }
    update(relay);
}

void relay_free(struct relay *relay)
{
    if (!relay)
        return;
    close_output(relay);
    close_input(relay);
    drop_watch(&relay->socket);
    close_fd(&relay->files.socket);
    free(relay);
}
