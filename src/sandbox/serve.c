/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Every client's process is a struct served, which holds the client's descriptors for as long as the process's streams are joined to them
 * (guest.c). It outlives its connection: when that ends, the process is killed and its streams are let go of, and what is left is freed when
 * PID 1 has said that the process is gone.
 *
 * A copy's standard error is for a person, and so is collected here, as far as it is short. Its stream is what its client blocks on; so a copy
 * that is given up is answered, and its stream closed, without waiting for the guest, which may be the reason.
 *
 * One who is attached has parts in the workload's output (output.h), and a relay to its input.
 */
#include "config/inherit.h"
#include "sandbox/monitor.h"
#include "sandbox/relay.h"
#include "sandbox/stats.h"
#include "sandbox/usage.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/printable.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    SERVED_MAX = 256,
    ASKED_MAX = 256,
    WHY_MAX = 2000,               /* bytes of what a copy said */
    BACKLOG_MAX = 32 << 20,       /* of messages that the guest does not take */
    ROOM_FOR_THE_REST = 64 << 10, /* of a message to the guest: limits, numbers */
    PATH_LENGTH_MAX = 32 << 10,   /* of what is copied */
    IN = 0,
    OUT = 1,
    ERR = 2,
};

enum served_kind { SERVED_EXEC, SERVED_COPY, SERVED_ATTACHED };

struct served {
    struct monitor *monitor;
    struct served *next;
    struct connection *connection; /* NULL: gone */
    struct guest_process *process; /* of an exec or a copy, while it runs */
    struct loop_source *timer;
    enum served_kind kind;
    uint32_t request;
    uint32_t start_request; /* what waits for an exec's program to be executed; 0: nothing */
    int fds[3];             /* the client's; -1: none */
    int cancel_fd;          /* a copy's */
    bool stays;
    bool started; /* an exec's program has been executed */
    bool ended;   /* what follows is known */
    uint8_t status, flags;
    /* A copy. */
    struct loop_source *cancel;
    struct output *said;
    char *why; /* an exec's too */
    size_t why_size;
    /* One who is attached. */
    struct attachment *attachments[3]; /* OUT and ERR */
    struct relay *input;
    int input_fd; /* a duplicate of the workload's */
};

struct asked {
    struct asked *next;
    struct connection *connection;
    uint32_t request, id;
};

/* ---- One served ------------------------------------------------------------------------------------------------------------- */

static struct served *served_new(struct monitor *monitor, enum served_kind kind, struct connection *connection, uint32_t request,
                                 msb_error **err)
{
    struct served *served;

    if (monitor->num_served == SERVED_MAX)
        return FAIL_NULL(fail(err, MSB_ERR_STATE, "the sandbox runs %d commands at once already, which is the most", SERVED_MAX));
    served = calloc(1, sizeof(*served));
    if (!served)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    *served = (struct served){
        .monitor = monitor,
        .next = monitor->served,
        .kind = kind,
        .connection = connection,
        .request = request,
        .fds = { -1, -1, -1 },
        .cancel_fd = -1,
        .input_fd = -1,
    };
    monitor->served = served;
    monitor->num_served++;
    connection->served = served;
    return served;
}

static void close_fds(struct served *served)
{
    for (int i = 0; i < 3; i++) {
        cleanup_fd(&served->fds[i]);
        served->fds[i] = -1;
    }
}

/* Its process has ended, or never began. */
static void served_free(struct served *served)
{
    struct monitor *monitor = served->monitor;
    struct served **link = &monitor->served;

    while (*link != served)
        link = &(*link)->next;
    *link = served->next;
    monitor->num_served--;
    if (served->connection)
        served->connection->served = NULL;
    loop_remove(served->timer);
    loop_remove(served->cancel);
    cleanup_fd(&served->cancel_fd);
    output_free(served->said);
    for (int i = 0; i < 3; i++)
        output_detach(served->attachments[i]);
    relay_free(served->input);
    cleanup_fd(&served->input_fd);
    close_fds(served);
    free(served->why);
    free(served);
    life_touch(monitor);
}

/* The last thing that is said on its connection. */
static void tell_exited(struct served *served)
{
    struct connection *connection = served->connection;
    size_t begin;

    if (!connection)
        return;
    served->connection = NULL;
    connection->served = NULL;
    if (served->request) {
        begin = connection_begin(connection, CONTROL_EXITED, served->request);
        put_u8(&connection->output.queue, served->status);
        put_u8(&connection->output.queue, served->flags);
        put_string(&connection->output.queue, served->why);
        connection_end(connection, begin);
    }
    connection_finish(connection);
}

/* The process is killed, and its streams are of no interest any more. May free it. */
static void kill_process(struct served *served)
{
    struct monitor *monitor = served->monitor;
    struct guest_process *process = served->process;
    msb_error *error = NULL;

    if (!process)
        return;
    if (guest_signal(monitor->guest, process, SIGKILL, &error) < 0)
        monitor_end(monitor, STATUS_FAILED, error);
    guest_abandon(process);
}

static uint8_t status_of(const struct process_end *how)
{
    return how->fate == PROCESS_KILLED ? (uint8_t)(STATUS_SIGNAL + how->status) : how->status;
}

static void note_end(struct served *served, const struct process_end *how)
{
    served->process = NULL;
    served->ended = true;
    served->status = status_of(how);
    served->flags |=
        (how->fate == PROCESS_NOT_STARTED ? CONTROL_EXIT_NOT_STARTED : 0) | (how->out_of_memory ? CONTROL_EXIT_OUT_OF_MEMORY : 0);
    if (how->why && !served->why)
        served->why = strdup(how->why);
}

/* ---- Commands --------------------------------------------------------------------------------------------------------------- */

static void on_exec_ended(struct guest_process *process, const struct process_end *how, void *data)
{
    struct served *served = data;

    (void)process;
    note_end(served, how);
    /* Its descriptors are closed before its client hears of the end. */
    close_fds(served);
    tell_exited(served);
    served_free(served);
}

static void on_exec_started(struct guest_process *process, void *data)
{
    struct served *served = data;

    (void)process;
    served->started = true;
    if (served->connection)
        connection_done(served->connection, served->start_request);
    served->start_request = 0;
}

static void on_exec_timeout(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct served *served = data;
    msb_error *error = NULL;

    (void)source, (void)fd, (void)events;
    served->flags |= CONTROL_EXIT_TIMED_OUT;
    if (served->process && guest_signal(served->monitor->guest, served->process, SIGKILL, &error) < 0)
        monitor_end(served->monitor, STATUS_FAILED, error);
}

static int set_timeout(struct served *served, uint64_t milliseconds, loop_callback *callback, msb_error **err)
{
    if (!milliseconds)
        return 0;
    if (milliseconds > INT64_MAX / 1000000)
        milliseconds = INT64_MAX / 1000000;
    served->timer = loop_timer(served->monitor->loop, milliseconds * 1000000U, callback, served, err);
    return served->timer ? 0 : -1;
}

/* A message that is too large would be the end of the guest's side, and so of the sandbox. */
static int check_size(const struct monitor *monitor, const struct process *process, msb_error **err)
{
    size_t size = strlen(process->exec_path) + strlen(process->workdir) + (process->user ? strlen(process->user) : 0);

    for (size_t i = 0; i < process->num_args; i++)
        size += strlen(process->args[i]) + sizeof(uint32_t);
    for (size_t i = 0; i < process->num_env; i++)
        size += strlen(process->env[i]) + sizeof(uint32_t);
    if (size > MESSAGE_TO_GUEST_MAX - ROOM_FOR_THE_REST)
        return fail(err, MSB_ERR_INVALID, "exec_path, args and env, the sandbox's with it, have %zu bytes; the most is %d", size,
                    MESSAGE_TO_GUEST_MAX - ROOM_FOR_THE_REST);
    if (guest_backlog(monitor->guest) + size > BACKLOG_MAX)
        return fail(err, MSB_ERR_STATE, "the guest does not take any more commands");
    return 0;
}

static int run_exec(struct served *served, struct process *process, uint64_t timeout, msb_error **err)
{
    struct monitor *monitor = served->monitor;
    const struct process_streams streams = { served->fds[IN], served->fds[OUT], served->fds[ERR] };

    if (process_inherit(process, &monitor->spec.process, err) < 0 || check_size(monitor, process, err) < 0 ||
        set_timeout(served, timeout, on_exec_timeout, err) < 0)
        return -1;
    served->process = guest_run(monitor->guest, process, false, &streams, on_exec_started, on_exec_ended, served, err);
    return served->process ? 0 : -1;
}

static int bad_message(msb_error **err)
{
    return fail(err, MSB_ERR_PROTOCOL, "a bad message");
}

/* What a client asked for could not be done, and it is told so. */
static int refused(struct connection *connection, uint32_t request, msb_error *error)
{
    connection_error(connection, request, error);
    msb_error_free(error);
    return 0;
}

static int on_exec(struct monitor *monitor, struct connection *connection, uint32_t request, struct reader *body, msb_error **err)
{
    uint64_t timeout = get_u64(body);
    bool stays = get_bool(body);
    struct process process;
    struct served *served;
    msb_error *error = NULL;
    int fds[3];

    if (!process_decode(body, &process))
        return bad_message(err);
    if (!reader_done(body) || connection->served || !connection_take_fds(connection, fds, 3)) {
        process_clear(&process);
        return bad_message(err);
    }
    served = served_new(monitor, SERVED_EXEC, connection, request, &error);
    if (served) {
        served->stays = stays;
        memcpy(served->fds, fds, sizeof(fds));
    } else {
        for (int i = 0; i < 3; i++)
            close(fds[i]);
    }
    if (served && run_exec(served, &process, timeout, &error) < 0)
        served_free(served);
    process_clear(&process);
    return error ? refused(connection, request, error) : 0;
}

/* ---- Copies ----------------------------------------------------------------------------------------------------------------- */

static void on_said(const void *bytes, size_t size, void *data)
{
    struct served *served = data;
    size_t room = WHY_MAX - served->why_size, part = size < room ? size : room;

    memcpy(served->why + served->why_size, bytes, part);
    served->why_size += part;
}

/* All is said and done. */
static void on_said_all(struct output *output, void *data)
{
    struct served *served = data;

    (void)output;
    while (served->why_size && served->why[served->why_size - 1] == '\n')
        served->why_size--;
    served->why[served->why_size] = '\0';
    for (char *c = served->why; *c; c++)
        if (*c == '\n')
            *c = ';';
    make_printable(served->why);
    close_fds(served);
    tell_exited(served);
    served_free(served);
}

static const struct output_events said_events = { on_said, on_said_all };

static void on_copy_ended(struct guest_process *process, const struct process_end *how, void *data)
{
    struct served *served = data;

    (void)process;
    served->process = NULL;
    served->ended = true;
    served->status = status_of(how);
    if (how->fate == PROCESS_NOT_STARTED)
        on_said(how->why, strlen(how->why), served);
    output_close(served->said);
}

/* Its client gets its answer and the end of its stream now. */
static void give_up_copy(struct served *served, unsigned flag)
{
    if (served->ended)
        return;
    loop_remove(served->timer);
    loop_remove(served->cancel);
    served->timer = served->cancel = NULL;
    served->flags |= (uint8_t)flag;
    served->status = STATUS_SIGNAL + SIGKILL;
    served->why[0] = '\0';
    /* The answer goes before the end of the stream, and the relays before the descriptors that they use. The copy itself is freed
       when all is said. */
    tell_exited(served);
    kill_process(served);
    close_fds(served);
}

static void on_copy_timeout(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source, (void)fd, (void)events;
    give_up_copy(data, CONTROL_EXIT_TIMED_OUT);
}

static void on_copy_cancelled(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source, (void)fd, (void)events;
    give_up_copy(data, CONTROL_EXIT_CANCELLED);
}

static int run_copy(struct served *served, enum copy_direction direction, const char *path, uint64_t timeout, msb_error **err)
{
    /* 0 and 1 are /dev/null. */
    struct process_streams streams = { 0, 1, -1 };
    struct monitor *monitor = served->monitor;

    *(direction == COPY_OUT ? &streams.out : &streams.in) = served->fds[0];
    if (guest_backlog(monitor->guest) > BACKLOG_MAX)
        return fail(err, MSB_ERR_STATE, "the guest does not take any more commands");
    served->why = calloc(1, WHY_MAX + 1);
    if (!served->why)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    served->said = output_new(monitor->loop, &said_events, served, err);
    if (!served->said || set_timeout(served, timeout, on_copy_timeout, err) < 0)
        return -1;
    if (served->cancel_fd >= 0) {
        served->cancel = loop_add(monitor->loop, served->cancel_fd, EPOLLIN, on_copy_cancelled, served, err);
        if (!served->cancel)
            return -1;
    }
    streams.err = output_end(served->said);
    served->process = guest_copy(monitor->guest, direction, path, &streams, on_copy_ended, served, err);
    return served->process ? 0 : -1;
}

static int on_copy(struct monitor *monitor, struct connection *connection, uint32_t request, struct reader *body, msb_error **err)
{
    uint8_t direction = get_u8(body);
    uint64_t timeout = get_u64(body);
    _cleanup_free_ char *path = get_string(body);
    struct served *served;
    msb_error *error = NULL;
    int fds[2] = { -1, -1 };

    if (!reader_done(body) || direction > COPY_IN || path[0] != '/' || strlen(path) > PATH_LENGTH_MAX || connection->served ||
        !connection_take_fds(connection, fds, 1))
        return bad_message(err);
    /* The second one is optional. */
    (void)!connection_take_fds(connection, fds + 1, 1);
    served = served_new(monitor, SERVED_COPY, connection, request, &error);
    if (served) {
        served->fds[0] = fds[0];
        served->cancel_fd = fds[1];
    } else {
        cleanup_fd(&fds[0]);
        cleanup_fd(&fds[1]);
    }
    if (served && run_copy(served, (enum copy_direction)direction, path, timeout, &error) < 0)
        served_free(served);
    return error ? refused(connection, request, error) : 0;
}

/* ---- Attaching -------------------------------------------------------------------------------------------------------------- */

/* One who is attached has been told when it has all of the output. */
static void check_attached(struct served *served)
{
    struct monitor *monitor = served->monitor;

    if (!served->ended || served->attachments[OUT] || served->attachments[ERR])
        return;
    close_fds(served);
    tell_exited(served);
    served_free(served);
    monitor_check_over(monitor);
}

static void on_detached(struct attachment *attachment, void *data)
{
    struct served *served = data;

    for (int i = OUT; i <= ERR; i++)
        if (served->attachments[i] == attachment)
            served->attachments[i] = NULL;
    output_detach(attachment);
    check_attached(served);
}

static void on_input_over(struct relay *relay, enum relay_end end, void *data)
{
    struct served *served = data;
    struct monitor *monitor = served->monitor;

    relay_free(relay);
    served->input = NULL;
    /* A terminal's end is not told by one of several who type on it. */
    if (end == RELAY_EOF && !monitor->spec.process.tty && monitor->input[0] >= 0)
        shutdown(monitor->input[0], SHUT_WR);
}

static int attach_input(struct served *served, msb_error **err)
{
    struct monitor *monitor = served->monitor;

    if (served->fds[IN] < 0 || monitor->input[0] < 0)
        return 0;
    served->input_fd = fcntl(monitor->input[0], F_DUPFD_CLOEXEC, 0);
    if (served->input_fd < 0)
        return fail_errno(err, "duplicate a descriptor");
    served->input = relay_new(monitor->loop, served->fds[IN], served->input_fd, on_input_over, served, err);
    return served->input ? 0 : -1;
}

static int attach_output(struct served *served, struct output *output, int index, msb_error **err)
{
    if (served->fds[index] < 0 || !output)
        return 0;
    served->attachments[index] = output_attach(output, served->fds[index], on_detached, served, err);
    return served->attachments[index] ? 0 : -1;
}

static int check_attachable(const struct monitor *monitor, msb_error **err)
{
    if (!monitor->spec.has_process)
        return fail(err, MSB_ERR_STATE, "the sandbox has no command of its own to attach to; run one in it");
    if (!(monitor->options & LAUNCH_DETACH))
        return fail(err, MSB_ERR_STATE, "the sandbox's command is in the foreground of who started it");
    if (monitor->workload_over)
        return fail(err, MSB_ERR_STATE, "the sandbox's command has ended");
    return 0;
}

static int attach(struct served *served, msb_error **err)
{
    struct monitor *monitor = served->monitor;

    if (attach_output(served, monitor->out, OUT, err) < 0 || attach_output(served, monitor->err, ERR, err) < 0)
        return -1;
    return attach_input(served, err);
}

static int on_attach(struct monitor *monitor, struct connection *connection, uint32_t request, struct reader *body,
                     msb_error **err)
{
    uint8_t wanted = get_u8(body);
    struct served *served = NULL;
    msb_error *error = NULL;
    int fds[3] = { -1, -1, -1 };

    if (!reader_done(body) || wanted > 7 || connection->served)
        return bad_message(err);
    for (int i = 0; i < 3; i++) {
        if (wanted & 1U << i && !connection_take_fds(connection, &fds[i], 1)) {
            for (int j = 0; j < i; j++)
                cleanup_fd(&fds[j]);
            return bad_message(err);
        }
    }
    if (check_attachable(monitor, &error) == 0)
        served = served_new(monitor, SERVED_ATTACHED, connection, request, &error);
    for (int i = 0; i < 3; i++) {
        if (served)
            served->fds[i] = fds[i];
        else
            cleanup_fd(&fds[i]);
    }
    if (served && attach(served, &error) < 0)
        served_free(served);
    return error ? refused(connection, request, error) : 0;
}

void serve_workload_ended(struct monitor *monitor, uint8_t status, uint8_t flags, const char *why)
{
    struct served *next;

    for (struct served *served = monitor->served; served; served = next) {
        next = served->next;
        if (served->kind != SERVED_ATTACHED)
            continue;
        served->ended = true;
        served->status = status;
        served->flags = flags;
        served->why = why ? strdup(why) : NULL;
        relay_free(served->input);
        served->input = NULL;
        check_attached(served);
    }
}

bool serve_has_attached(const struct monitor *monitor)
{
    const struct served *served = monitor->served;

    while (served && served->kind != SERVED_ATTACHED)
        served = served->next;
    return served != NULL;
}

bool serve_is_idle(const struct monitor *monitor)
{
    return !monitor->caller && !monitor->served;
}

void serve_hurry(struct monitor *monitor)
{
    struct served *served = monitor->served;

    while (served) {
        struct attachment *attachment = served->attachments[OUT] ? served->attachments[OUT] : served->attachments[ERR];

        /* As if nobody read it any more. Others of the list may be freed by it. */
        if (attachment) {
            on_detached(attachment, served);
            served = monitor->served;
        } else {
            served = served->next;
        }
    }
}

/* ---- Statistics ------------------------------------------------------------------------------------------------------------- */

static int on_stats(struct monitor *monitor, struct connection *connection, uint32_t request, msb_error **err)
{
    unsigned count = 0;
    struct asked *asked;

    for (asked = monitor->asked; asked; asked = asked->next)
        count++;
    if (count >= ASKED_MAX)
        return fail(err, MSB_ERR_STATE, "the guest does not answer");
    asked = calloc(1, sizeof(*asked));
    if (!asked)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    *asked = (struct asked){ .next = monitor->asked, .connection = connection, .request = request, .id = ++monitor->last_asked };
    monitor->asked = asked;
    return guest_get_stats(monitor->guest, asked->id, err);
}

static void fill_stats(const struct monitor *monitor, const struct guest_stats *guest, struct msb_stats *stats)
{
    struct usage usage;

    usage_read(&monitor->children, &usage);
    *stats = (struct msb_stats){
        .uptime_ns = monotonic_now() - monitor->began,
        .cpu_ns = usage.cpu_ns,
        .guest_user_ns = guest->cpu_user,
        .guest_system_ns = guest->cpu_system,
        .memory_limit = (uint64_t)monitor->spec.memory_mib << 20,
        .memory_total = guest->memory_total,
        .memory_used = guest->memory_total > guest->memory_available ? guest->memory_total - guest->memory_available : 0,
        .memory_held = usage.memory,
        .disk_read = usage.disk_read,
        .disk_written = usage.disk_written,
        .network_received = guest->network_received,
        .network_sent = guest->network_sent,
        .oom_kills = guest->oom_kills,
        .num_processes = guest->num_processes,
        .num_vcpus = monitor->spec.num_vcpus,
    };
}

void serve_stats(struct monitor *monitor, uint32_t request, const struct guest_stats *stats)
{
    struct asked **link = &monitor->asked, *asked;
    struct msb_stats all;
    size_t begin;

    while (*link && (*link)->id != request)
        link = &(*link)->next;
    /* Whoever asked is gone. */
    if (!*link)
        return;
    asked = *link;
    *link = asked->next;
    fill_stats(monitor, stats, &all);
    begin = connection_begin(asked->connection, CONTROL_STATISTICS, asked->request);
    stats_encode(&asked->connection->output.queue, &all);
    connection_end(asked->connection, begin);
    free(asked);
}

static void forget_asked(struct monitor *monitor, const struct connection *connection)
{
    struct asked **link = &monitor->asked;

    while (*link) {
        struct asked *asked = *link;

        if (asked->connection == connection) {
            *link = asked->next;
            free(asked);
        } else {
            link = &asked->next;
        }
    }
}

/* ---- Requests --------------------------------------------------------------------------------------------------------------- */

static int answer(struct connection *connection, uint32_t request, int result, msb_error *error)
{
    if (result < 0)
        return refused(connection, request, error);
    connection_done(connection, request);
    return 0;
}

static int on_signal(struct monitor *monitor, struct connection *connection, uint32_t request, struct reader *body,
                     msb_error **err)
{
    const struct served *served = connection->served;
    uint8_t signal = get_u8(body);
    msb_error *error = NULL;
    int result = 0;

    if (!reader_done(body) || signal < 1 || signal > 64)
        return bad_message(err);
    if (served && served->kind != SERVED_ATTACHED)
        result = served->process ? guest_signal(monitor->guest, served->process, signal, &error) : 0;
    else if (!monitor->workload && request)
        result = fail(&error, MSB_ERR_STATE, "the sandbox has no command of its own that could get a signal");
    else
        result = monitor_signal(monitor, signal, &error);
    return answer(connection, request, result, error);
}

/* What has ended was answered by CONTROL_EXITED, on a connection that hears nothing any more. */
static int on_await_start(struct connection *connection, uint32_t request, msb_error **err)
{
    struct served *served = connection->served;
    msb_error *error = NULL;

    if (!request || (served && served->start_request))
        return bad_message(err);
    if (!served) {
        fail(&error, MSB_ERR_STATE, "this connection has no command");
        return refused(connection, request, error);
    }
    if (served->kind == SERVED_EXEC && !served->started)
        served->start_request = request;
    else
        connection_done(connection, request);
    return 0;
}

static int on_resize(struct monitor *monitor, struct connection *connection, uint32_t request, struct reader *body,
                     msb_error **err)
{
    const struct served *served = connection->served;
    uint16_t rows = get_u16(body), columns = get_u16(body);
    struct guest_process *process = served && served->kind != SERVED_ATTACHED ? served->process : monitor->workload;
    msb_error *error = NULL;
    int result;

    if (!reader_done(body))
        return bad_message(err);
    result = process ? guest_resize(monitor->guest, process, rows, columns, &error) : 0;
    return answer(connection, request, result, error);
}

static int on_stop(struct monitor *monitor, struct connection *connection, uint32_t request, struct reader *body, msb_error **err)
{
    uint32_t milliseconds = get_u32(body);
    msb_error *error = NULL;
    int result;

    if (!reader_done(body))
        return bad_message(err);
    result = monitor_stop(monitor, milliseconds, &error);
    return answer(connection, request, result, error);
}

/* Nothing of the caller's is held from here on. */
static int detach(struct monitor *monitor, msb_error **err)
{
    struct connection *caller = monitor->caller;
    uint32_t request = monitor->detach_request;

    /* 1 is /dev/null. */
    if (dup3(1, MONITOR_FD_LOG, O_CLOEXEC) < 0)
        return fail_errno(err, "let go of the caller's standard error");
    monitor->caller = NULL;
    monitor->detach_request = 0;
    caller->is_caller = false;
    caller->watches = true;
    caller->watch_request = 0;
    connection_done(caller, request);
    return 0;
}

int serve_up(struct monitor *monitor, msb_error **err)
{
    return monitor->detach_request && monitor->caller ? detach(monitor, err) : 0;
}

static int on_detach(struct monitor *monitor, const struct connection *connection, uint32_t request, msb_error **err)
{
    if (connection != monitor->caller || !(monitor->options & LAUNCH_DETACH) || !request || monitor->detach_request)
        return bad_message(err);
    monitor->detach_request = request;
    return monitor->up ? serve_up(monitor, err) : 0;
}

static int on_bare(struct monitor *monitor, struct connection *connection, uint16_t type, uint32_t request, msb_error **err)
{
    msb_error *error = NULL;

    switch (type) {
    case CONTROL_KILL:
        /* The answer is on its way before all ends. */
        connection_done(connection, request);
        monitor_end_by_force(monitor);
        return 0;
    case CONTROL_WATCH:
        connection->watches = true;
        connection->watch_request = request;
        return 0;
    case CONTROL_DETACH:
        return on_detach(monitor, connection, request, err);
    case CONTROL_AWAIT_START:
        return on_await_start(connection, request, err);
    default: /* CONTROL_STATS */
        if (on_stats(monitor, connection, request, &error) < 0)
            return refused(connection, request, error);
        return 0;
    }
}

static int on_message(struct connection *connection, uint16_t type, uint32_t request, struct reader *body, void *data,
                      msb_error **err)
{
    struct monitor *monitor = data;

    life_touch(monitor);
    switch (type) {
    case CONTROL_SIGNAL:
        return on_signal(monitor, connection, request, body, err);
    case CONTROL_RESIZE:
        return on_resize(monitor, connection, request, body, err);
    case CONTROL_STOP:
        return on_stop(monitor, connection, request, body, err);
    case CONTROL_EXEC:
        return on_exec(monitor, connection, request, body, err);
    case CONTROL_ATTACH:
        return on_attach(monitor, connection, request, body, err);
    case CONTROL_COPY:
        return on_copy(monitor, connection, request, body, err);
    case CONTROL_KILL:
    case CONTROL_WATCH:
    case CONTROL_DETACH:
    case CONTROL_STATS:
    case CONTROL_AWAIT_START:
        return reader_done(body) ? on_bare(monitor, connection, type, request, err) : bad_message(err);
    default:
        return fail(err, MSB_ERR_PROTOCOL, "an unknown message");
    }
}

static bool is_served(const struct monitor *monitor, const struct served *wanted)
{
    const struct served *served = monitor->served;

    while (served && served != wanted)
        served = served->next;
    return served != NULL;
}

static void let_go(struct served *served)
{
    struct monitor *monitor = served->monitor;

    served->connection = NULL;
    if (served->kind == SERVED_ATTACHED) {
        served_free(served);
    } else if (!served->stays) {
        kill_process(served);
        if (is_served(monitor, served))
            close_fds(served);
    }
}

static void on_closed(struct connection *connection, const msb_error *error, void *data)
{
    struct monitor *monitor = data;
    struct served *served = connection->served;
    msb_error *why = NULL;

    connection->served = NULL;
    forget_asked(monitor, connection);
    if (served)
        let_go(served);
    if (connection != monitor->caller)
        return;
    monitor->caller = NULL;
    if (error)
        fail(&why, msb_error_code(error), "the caller sent %s", msb_error_message(error));
    if (why)
        monitor_end(monitor, STATUS_FAILED, why);
    else
        monitor_end_by_force(monitor);
}

static const struct server_events events = { on_message, on_closed };

int serve_begin(struct monitor *monitor, int caller, msb_error **err)
{
    monitor->server = server_new(monitor->loop, &events, monitor, err);
    if (!monitor->server) {
        close(caller);
        return -1;
    }
    monitor->caller = server_adopt(monitor->server, caller, err);
    if (!monitor->caller)
        return -1;
    monitor->caller->is_caller = true;
    return 0;
}

/* ---- The end ---------------------------------------------------------------------------------------------------------------- */

static void tell_result(const struct monitor *monitor, struct connection *connection, const char *kernel_log)
{
    size_t begin = connection_begin(connection, CONTROL_RESULT, connection->watch_request);

    put_u8(&connection->output.queue, (uint8_t)msb_error_code(monitor->error));
    put_u8(&connection->output.queue, (uint8_t)monitor->status);
    put_string(&connection->output.queue, monitor->error ? msb_error_message(monitor->error) : NULL);
    put_string(&connection->output.queue, kernel_log);
    connection_end(connection, begin);
}

void serve_end(struct monitor *monitor, const char *kernel_log)
{
    struct connection *next;
    msb_error *error = NULL;

    if (!monitor->server)
        return;
    monitor->caller = NULL;
    fail(&error, MSB_ERR_VM, "the sandbox ended before its command did");
    for (struct connection *connection = server_first(monitor->server); connection; connection = next) {
        struct served *served = connection->served;

        next = connection->next;
        if (served) {
            served->connection = NULL;
            connection->served = NULL;
            connection_error(connection, served->request, error);
        }
        if (connection->is_caller || connection->watches)
            tell_result(monitor, connection, kernel_log);
    }
    msb_error_free(error);
}

void serve_clear(struct monitor *monitor)
{
    for (struct served *served = monitor->served; served; served = served->next) {
        if (served->process)
            guest_forget(served->process);
        served->process = NULL;
    }
    while (monitor->served)
        served_free(monitor->served);
    while (monitor->asked)
        forget_asked(monitor, monitor->asked->connection);
    server_free(monitor->server);
    monitor->server = NULL;
}
