/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * PID 1 makes every connection: one for control, then one or two for the streams of each process, which begin with a short header
 * that says whose they are. Messages to the guest are queued until its control connection is there, so that it finds its
 * configuration and its first process waiting.
 *
 * A process has ended for its caller when PID 1 has said so and its output streams have ended too; the two arrive in any order.
 * A stream's socket carries up to two relays; each has a descriptor of its own, because an epoll set takes a descriptor only once.
 */
#include "sandbox/guest.h"
#include "sandbox/relay.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/printable.h"
#include "wire/message.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

struct guest_process {
    struct guest *guest;
    struct guest_process *next;
    uint32_t id;
    bool tty, finish;
    struct process_streams streams;
    int stdio, stdio_in, error; /* the guest's connections; stdio_in is a duplicate of stdio, to write to */
    struct relay *in, *out, *err;
    bool out_ended, err_ended;
    bool over; /* PID 1 said how it ended */
    struct process_end end;
    char *why;      /* owns end.why */
    bool abandoned; /* its streams are of no interest any more */
    process_started *started;
    process_ended *ended;
    void *data;
};

/* A connection whose header is not complete. */
struct newcomer {
    struct guest *guest;
    struct newcomer *next;
    struct loop_source *source;
    int fd;
    uint8_t header[STREAM_HEADER_SIZE];
    size_t size;
};

struct guest {
    struct loop *loop;
    const struct guest_events *events;
    void *data;
    int control; /* -1: not yet connected */
    struct loop_source *source;
    struct message_input input;
    struct message_output output;
    size_t config; /* where the configuration begins in it */
    bool greeted;  /* HELLO has come */
    bool failed;   /* nothing more is said or heard */
    uint32_t last_id;
    struct guest_process *processes;
    struct newcomer *newcomers;
};

/* ---- Failing ---------------------------------------------------------------------------------------------------------------- */

static void guest_failed(struct guest *guest, msb_error *error)
{
    if (guest->failed) {
        msb_error_free(error);
        return;
    }
    guest->failed = true;
    loop_remove(guest->source);
    guest->source = NULL;
    guest->events->failed(error, guest->data);
}

static void protocol_error(struct guest *guest, const char *what)
{
    msb_error *error = NULL;

    fail(&error, MSB_ERR_PROTOCOL, "the guest broke the control protocol: %s", what);
    guest_failed(guest, error);
}

/* ---- Sending ---------------------------------------------------------------------------------------------------------------- */

static int flush(struct guest *guest, msb_error **err)
{
    int sent;

    if (guest->control < 0 || guest->failed)
        return 0;
    sent = message_output_flush(&guest->output, guest->control);
    /* A guest that hung up is found by reading; there may be news from it still. */
    if (sent < 0 && errno != EPIPE && errno != ECONNRESET)
        return fail_errno(err, "send to the guest");
    return loop_modify(guest->source, sent == 0 ? EPOLLIN | EPOLLOUT : EPOLLIN, err);
}

/* ---- Processes ---------------------------------------------------------------------------------------------------------------- */

static struct guest_process *find_process(const struct guest *guest, uint32_t id)
{
    struct guest_process *process = guest->processes;

    while (process && process->id != id)
        process = process->next;
    return process;
}

static void process_free(struct guest_process *process)
{
    relay_free(process->in);
    relay_free(process->out);
    relay_free(process->err);
    cleanup_fd(&process->stdio);
    cleanup_fd(&process->stdio_in);
    cleanup_fd(&process->error);
    free(process->why);
    free(process);
}

static void unlink_process(struct guest_process *process)
{
    struct guest_process **link = &process->guest->processes;

    while (*link != process)
        link = &(*link)->next;
    *link = process->next;
}

static void check_ended(struct guest_process *process)
{
    bool drained = process->end.fate == PROCESS_NOT_STARTED || (process->out_ended && (process->tty || process->err_ended));

    if (!process->over || !drained)
        return;
    unlink_process(process);
    process->ended(process, &process->end, process->data);
    process_free(process);
}

static void stop_input(struct guest_process *process)
{
    relay_free(process->in);
    process->in = NULL;
    cleanup_fd(&process->stdio_in);
    process->stdio_in = -1;
}

static void input_done(struct relay *relay, enum relay_end end, void *data)
{
    struct guest_process *process = data;

    (void)relay;
    if (end == RELAY_EOF)
        shutdown(process->stdio_in, SHUT_WR);
    stop_input(process);
}

static void output_done(struct relay *relay, enum relay_end end, void *data)
{
    struct guest_process *process = data;
    bool is_err = relay == process->err;

    /* The process is told as by a pipe whose reader is gone. */
    if (end == RELAY_CLOSED)
        shutdown(is_err ? process->error : process->stdio, SHUT_RD);
    relay_free(relay);
    *(is_err ? &process->err : &process->out) = NULL;
    *(is_err ? &process->err_ended : &process->out_ended) = true;
    check_ended(process);
}

static int join_stdio(struct guest_process *process, int fd, msb_error **err)
{
    struct loop *loop = process->guest->loop;

    process->stdio = fd;
    process->out = relay_new(loop, fd, process->streams.out, output_done, process, err);
    if (!process->out)
        return -1;
    if (process->over)
        return 0;
    process->stdio_in = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (process->stdio_in < 0)
        return fail_errno(err, "duplicate a descriptor");
    process->in = relay_new(loop, process->streams.in, process->stdio_in, input_done, process, err);
    return process->in ? 0 : -1;
}

static int join_error(struct guest_process *process, int fd, msb_error **err)
{
    process->error = fd;
    process->err = relay_new(process->guest->loop, fd, process->streams.err, output_done, process, err);
    return process->err ? 0 : -1;
}

/* A descriptor of a client's that cannot be joined is that client's trouble, unless it is the workload's. */
static void stream_failed(struct guest_process *process, msb_error *error)
{
    struct guest *guest = process->guest;

    if (process->finish) {
        guest_failed(guest, error);
        return;
    }
    log_error("process %u: %s", process->id, msb_error_message(error));
    msb_error_free(error);
    error = NULL;
    if (guest_signal(guest, process, SIGKILL, &error) < 0)
        guest_failed(guest, error);
    guest_abandon(process);
}

static void join(struct guest *guest, int fd, const uint8_t *header)
{
    struct reader r = { header, STREAM_HEADER_SIZE, false };
    uint32_t id = get_u32(&r);
    enum stream stream = get_u8(&r);
    struct guest_process *process = find_process(guest, id);
    msb_error *error = NULL;
    int result;

    if (process && process->abandoned) {
        close(fd);
        return;
    }
    if (process && stream == STREAM_STDIO && process->stdio < 0) {
        result = join_stdio(process, fd, &error);
    } else if (process && stream == STREAM_STDERR && process->error < 0 && !process->tty) {
        result = join_error(process, fd, &error);
    } else {
        close(fd);
        /* One that could not be started may have connected its streams first. */
        if (process || id == 0 || id > guest->last_id)
            protocol_error(guest, "a stream of no process");
        return;
    }
    if (result < 0)
        stream_failed(process, error);
}

/* ---- New connections ------------------------------------------------------------------------------------------------------------ */

static void newcomer_free(struct newcomer *newcomer)
{
    struct newcomer **link = &newcomer->guest->newcomers;

    while (*link != newcomer)
        link = &(*link)->next;
    *link = newcomer->next;
    loop_remove(newcomer->source);
    cleanup_fd(&newcomer->fd);
    free(newcomer);
}

static void newcomer_ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct newcomer *newcomer = data;
    struct guest *guest = newcomer->guest;
    uint8_t header[STREAM_HEADER_SIZE];
    ssize_t n = read(fd, newcomer->header + newcomer->size, sizeof(header) - newcomer->size);

    (void)source, (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        newcomer->size += (size_t)n;
    if (n > 0 && newcomer->size < sizeof(header))
        return;
    memcpy(header, newcomer->header, sizeof(header));
    if (n > 0)
        newcomer->fd = -1;
    newcomer_free(newcomer);
    /* A connection that ends before it says whose it is concerns nobody. */
    if (n > 0)
        join(guest, fd, header);
}

static int greet(struct guest *guest, int fd, msb_error **err)
{
    struct newcomer *newcomer = calloc(1, sizeof(*newcomer));

    if (!newcomer) {
        close(fd);
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    }
    *newcomer = (struct newcomer){ .guest = guest, .next = guest->newcomers, .fd = fd };
    guest->newcomers = newcomer;
    newcomer->source = loop_add(guest->loop, fd, EPOLLIN, newcomer_ready, newcomer, err);
    if (newcomer->source)
        return 0;
    newcomer_free(newcomer);
    return -1;
}

/* ---- Messages ------------------------------------------------------------------------------------------------------------------- */

static void on_hello(struct guest *guest, struct reader *body)
{
    uint32_t version = get_u32(body);
    _cleanup_free_ char *release = get_string(body);

    if (!reader_done(body) || guest->greeted) {
        protocol_error(guest, "a bad HELLO");
        return;
    }
    guest->greeted = true;
    if (version != PROTOCOL_VERSION) {
        protocol_error(guest, "its PID 1 is of another version");
        return;
    }
    make_printable(release);
    log_debug("the guest runs Linux %s", release);
}

static void on_failed(struct guest *guest, struct reader *body)
{
    _cleanup_free_ char *why = get_string(body);
    msb_error *error = NULL;

    if (!reader_done(body)) {
        protocol_error(guest, "a bad FAILED");
        return;
    }
    make_printable(why);
    fail(&error, MSB_ERR_VM, "the guest could not be set up: %s", why);
    guest_failed(guest, error);
}

static void on_started(struct guest *guest, struct reader *body)
{
    struct guest_process *process = find_process(guest, get_u32(body));
    uint32_t pid = get_u32(body);

    if (!reader_done(body) || !process) {
        protocol_error(guest, "a bad STARTED");
        return;
    }
    log_debug("process %u has pid %u in the guest", process->id, pid);
    if (process->started)
        process->started(process, process->data);
}

static void on_not_started(struct guest *guest, struct reader *body)
{
    struct guest_process *process = find_process(guest, get_u32(body));
    uint8_t status = get_u8(body);
    _cleanup_free_ char *why = get_string(body);

    if (!reader_done(body) || !process || process->over || status < 125 || status > 127) {
        protocol_error(guest, "a bad NOT_STARTED");
        return;
    }
    make_printable(why);
    process->over = true;
    process->why = steal_pointer(&why);
    process->end = (struct process_end){ .fate = PROCESS_NOT_STARTED, .status = status, .why = process->why };
    stop_input(process);
    check_ended(process);
}

static void on_exited(struct guest *guest, struct reader *body)
{
    struct guest_process *process = find_process(guest, get_u32(body));
    uint8_t kind = get_u8(body), status = get_u8(body), out_of_memory = get_u8(body);

    if (!reader_done(body) || !process || process->over || kind > EXIT_SIGNAL || out_of_memory > 1) {
        protocol_error(guest, "a bad EXITED");
        return;
    }
    process->over = true;
    process->end = (struct process_end){
        .fate = kind == EXIT_SIGNAL ? PROCESS_KILLED : PROCESS_EXITED,
        .status = status,
        .out_of_memory = out_of_memory,
    };
    stop_input(process);
    check_ended(process);
}

static void on_log(struct guest *guest, struct reader *body)
{
    uint8_t level = get_u8(body);
    _cleanup_free_ char *text = get_string(body);

    if (!reader_done(body) || level > MSB_LOG_TRACE) {
        protocol_error(guest, "a bad LOG");
        return;
    }
    make_printable(text);
    log_at(level, "guest: %s", text);
}

static void on_stats(struct guest *guest, struct reader *body)
{
    uint32_t request = get_u32(body);
    struct guest_stats stats;

    if (!guest_stats_decode(body, &stats) || !reader_done(body)) {
        protocol_error(guest, "a bad STATS");
        return;
    }
    guest->events->stats(request, &stats, guest->data);
}

static void on_message(struct guest *guest, uint16_t type, struct reader *body)
{
    if (!guest->greeted && type != MESSAGE_HELLO) {
        protocol_error(guest, "no HELLO at the beginning");
        return;
    }
    switch (type) {
    case MESSAGE_HELLO:
        on_hello(guest, body);
        break;
    case MESSAGE_READY:
        guest->events->ready(guest->data);
        break;
    case MESSAGE_FAILED:
        on_failed(guest, body);
        break;
    case MESSAGE_STARTED:
        on_started(guest, body);
        break;
    case MESSAGE_NOT_STARTED:
        on_not_started(guest, body);
        break;
    case MESSAGE_EXITED:
        on_exited(guest, body);
        break;
    case MESSAGE_STATS:
        on_stats(guest, body);
        break;
    case MESSAGE_FINISHED:
        guest->events->finished(guest->data);
        break;
    case MESSAGE_LOG:
        on_log(guest, body);
        break;
    default:
        protocol_error(guest, "an unknown message");
    }
}

static void receive(struct guest *guest)
{
    ssize_t n = message_input_fill(&guest->input, guest->control);
    struct reader body;
    uint16_t type;
    int found = 0;

    if (n < 0 && errno == EAGAIN)
        return;
    /* The guest resets, or its kernel panics: how the engine ends tells more. */
    if (n <= 0) {
        loop_remove(guest->source);
        guest->source = NULL;
        guest->failed = true;
        return;
    }
    while (!guest->failed && (found = message_input_next(&guest->input, &type, &body)) == 1)
        on_message(guest, type, &body);
    if (found < 0)
        protocol_error(guest, "a message without a header");
}

static void control_ready(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct guest *guest = data;
    msb_error *error = NULL;

    (void)source, (void)fd;
    if (events & EPOLLOUT && flush(guest, &error) < 0) {
        guest_failed(guest, error);
        return;
    }
    if (events & ~(uint32_t)EPOLLOUT)
        receive(guest);
}

/* Booting took a while since the configuration was written: its time becomes now's. */
static int take_control(struct guest *guest, int fd, msb_error **err)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    guest_config_set_time(&guest->output.queue, guest->config, (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec);
    guest->control = fd;
    guest->source = loop_add(guest->loop, fd, EPOLLIN, control_ready, guest, err);
    return guest->source ? flush(guest, err) : -1;
}

void guest_connection(struct guest *guest, uint32_t port, int fd)
{
    msb_error *error = NULL;
    int result;

    if (port == PORT_CONTROL && guest->control < 0)
        result = take_control(guest, fd, &error);
    else if (port == PORT_STREAM && !guest->failed)
        result = greet(guest, fd, &error);
    else /* Refused: nothing listens there. */
        result = close(fd);
    if (result < 0 && error)
        guest_failed(guest, error);
}

/* ---- For the monitor ---------------------------------------------------------------------------------------------------------------- */

struct guest *guest_new(struct loop *loop, const struct guest_config *config, const struct guest_events *events, void *data,
                        msb_error **err)
{
    struct guest *guest = calloc(1, sizeof(*guest));
    size_t begin;

    if (!guest)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    *guest = (struct guest){ .loop = loop, .events = events, .data = data, .control = -1, .input.max = MESSAGE_TO_HOST_MAX };
    begin = message_begin(&guest->output.queue, MESSAGE_CONFIG);
    guest->config = guest->output.queue.size;
    guest_config_encode(&guest->output.queue, config);
    message_end(&guest->output.queue, begin);
    return guest;
}

void guest_free(struct guest *guest)
{
    if (!guest)
        return;
    while (guest->newcomers)
        newcomer_free(guest->newcomers);
    while (guest->processes) {
        struct guest_process *process = guest->processes;

        guest->processes = process->next;
        process_free(process);
    }
    loop_remove(guest->source);
    cleanup_fd(&guest->control);
    message_input_clear(&guest->input);
    message_output_clear(&guest->output);
    free(guest);
}

void guest_forget(struct guest_process *process)
{
    unlink_process(process);
    process_free(process);
}

/* What an id's wrap would meet is long gone. 0 is nobody's. */
static uint32_t next_id(struct guest *guest)
{
    do
        guest->last_id++;
    while (guest->last_id == 0 || find_process(guest, guest->last_id));
    return guest->last_id;
}

static struct guest_process *process_new(struct guest *guest, const struct process_streams *streams, process_ended *ended,
                                         void *data, msb_error **err)
{
    struct guest_process *process = calloc(1, sizeof(*process));

    if (!process)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    *process = (struct guest_process){
        .guest = guest,
        .next = guest->processes,
        .id = next_id(guest),
        .streams = *streams,
        .stdio = -1,
        .stdio_in = -1,
        .error = -1,
        .ended = ended,
        .data = data,
    };
    guest->processes = process;
    return process;
}

/* Sends the message that makes it. */
static struct guest_process *process_ask(struct guest_process *process, msb_error **err)
{
    if (flush(process->guest, err) == 0)
        return process;
    unlink_process(process);
    free(process);
    return NULL;
}

struct guest_process *guest_run(struct guest *guest, const struct process *process, bool finish,
                                const struct process_streams *streams, process_started *started, process_ended *ended, void *data,
                                msb_error **err)
{
    struct guest_process *new = process_new(guest, streams, ended, data, err);
    size_t begin;

    if (!new)
        return NULL;
    new->tty = process->tty;
    new->started = started;
    new->finish = finish;
    begin = message_begin(&guest->output.queue, MESSAGE_RUN);
    put_u32(&guest->output.queue, new->id);
    put_u8(&guest->output.queue, finish);
    process_encode(&guest->output.queue, process);
    message_end(&guest->output.queue, begin);
    return process_ask(new, err);
}

struct guest_process *guest_copy(struct guest *guest, enum copy_direction direction, const char *path,
                                 const struct process_streams *streams, process_ended *ended, void *data, msb_error **err)
{
    struct guest_process *new = process_new(guest, streams, ended, data, err);
    size_t begin;

    if (!new)
        return NULL;
    begin = message_begin(&guest->output.queue, MESSAGE_COPY);
    put_u32(&guest->output.queue, new->id);
    put_u8(&guest->output.queue, (uint8_t)direction);
    put_string(&guest->output.queue, path);
    message_end(&guest->output.queue, begin);
    return process_ask(new, err);
}

void guest_abandon(struct guest_process *process)
{
    process->abandoned = true;
    stop_input(process);
    relay_free(process->out);
    relay_free(process->err);
    process->out = process->err = NULL;
    cleanup_fd(&process->stdio);
    cleanup_fd(&process->error);
    process->stdio = process->error = -1;
    process->out_ended = process->err_ended = true;
    check_ended(process);
}

int guest_signal(struct guest *guest, struct guest_process *process, uint8_t signal, msb_error **err)
{
    size_t begin = message_begin(&guest->output.queue, MESSAGE_SIGNAL);

    put_u32(&guest->output.queue, process->id);
    put_u8(&guest->output.queue, signal);
    message_end(&guest->output.queue, begin);
    return flush(guest, err);
}

int guest_resize(struct guest *guest, struct guest_process *process, uint16_t rows, uint16_t columns, msb_error **err)
{
    size_t begin = message_begin(&guest->output.queue, MESSAGE_RESIZE);

    put_u32(&guest->output.queue, process->id);
    put_u16(&guest->output.queue, rows);
    put_u16(&guest->output.queue, columns);
    message_end(&guest->output.queue, begin);
    return flush(guest, err);
}

int guest_get_stats(struct guest *guest, uint32_t request, msb_error **err)
{
    size_t begin = message_begin(&guest->output.queue, MESSAGE_GET_STATS);

    put_u32(&guest->output.queue, request);
    message_end(&guest->output.queue, begin);
    return flush(guest, err);
}

int guest_set_time(struct guest *guest, msb_error **err)
{
    size_t begin = message_begin(&guest->output.queue, MESSAGE_TIME);
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    put_u64(&guest->output.queue, (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec);
    message_end(&guest->output.queue, begin);
    return flush(guest, err);
}

size_t guest_backlog(const struct guest *guest)
{
    return guest->output.queue.size - guest->output.sent;
}

int guest_finish(struct guest *guest, msb_error **err)
{
    message_end(&guest->output.queue, message_begin(&guest->output.queue, MESSAGE_FINISH));
    return flush(guest, err);
}
