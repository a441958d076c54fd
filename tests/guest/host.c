/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

#include "guest/session.h"
#include "namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE = 30000 /* ms without any event */ };

/* ---- Process 1 ----------------------------------------------------------------------------------------------------------------- */

static void require(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "the guest's process 1: %s: %s\n", what, strerror(errno));
    _exit(99);
}

/* Root needs no user namespace; an ordinary user becomes root in one. */
static void enter_namespaces(void)
{
    require(namespaces_enter(CLONE_NEWPID | CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)) == 0, "enter namespaces");
}

static int connect_stream(void *data, msb_error **err)
{
    const int *streams = data;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    char byte = 0;
    struct iovec iov = { &byte, 1 };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    struct cmsghdr *header;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return fail_errno(err, "make a socket pair");
    header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &pair[1], sizeof(int));
    require(sendmsg(*streams, &message, 0) == 1, "pass a stream to the host");
    close(pair[1]);
    return pair[0];
}

static void no_sync(void *data)
{
    (void)data;
}

static _Noreturn void process_one(int control_fd, int streams)
{
    struct session_machine machine = {
        .hostname = "testbox", .connect_stream = connect_stream, .sync = no_sync, .data = &streams
    };
    struct control control;
    msb_error *err = NULL;
    int result;

    require(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "make mounts private");
    require(mount("proc", "/proc", "proc", 0, NULL) == 0, "mount /proc");
    require(mount("devpts", "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666") == 0, "mount /dev/pts");
    machine.proc_fd = open("/proc", O_PATH | O_CLOEXEC);
    machine.pts_fd = open("/dev/pts", O_PATH | O_CLOEXEC);
    control_init(&control, control_fd);
    control.log_level = MSB_LOG_TRACE;
    result = session_run(&control, &machine, &err);
    if (result < 0)
        control_send_text(&control, MESSAGE_FAILED, msb_error_message(err));
    msb_error_free(err);
    control_clear(&control);
    close(machine.proc_fd);
    close(machine.pts_fd);
    exit(result < 0 ? 1 : 0);
}

/* ---- The host ------------------------------------------------------------------------------------------------------------------ */

static void make_pair(int type, int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), 0);
}

/* The first fork only enters the namespaces; the second is process 1. The first passes its status on. */
static _Noreturn void guest_main(struct host *unused, int control, int streams)
{
    int status;
    pid_t pid;

    free(unused);
    enter_namespaces();
    pid = fork();
    require(pid >= 0, "fork");
    if (pid == 0)
        process_one(control, streams);
    close(control);
    close(streams);
    require(waitpid(pid, &status, 0) == pid, "wait");
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

struct host *host_new(void)
{
    struct host *host = calloc(1, sizeof(*host));
    int control[2], streams[2];

    assert_non_null(host);
    make_pair(SOCK_STREAM, control);
    make_pair(SOCK_SEQPACKET, streams);
    fflush(NULL);
    host->guest = fork();
    assert_true(host->guest >= 0);
    if (host->guest == 0) {
        close(control[0]);
        close(streams[0]);
        close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC); /* what the test runner left open is not ours */
        guest_main(host, control[1], streams[1]);
    }
    close(control[1]);
    close(streams[1]);
    host->control = control[0];
    host->streams = streams[0];
    host->in.max = MESSAGE_TO_HOST_MAX;
    fcntl(host->control, F_SETFL, O_NONBLOCK);
    fcntl(host->streams, F_SETFL, O_NONBLOCK);
    return host;
}

int host_end(struct host *host)
{
    int status;

    close(host->control);
    close(host->streams);
    for (unsigned i = 0; i < HOST_JOBS_MAX; i++)
        host_forget(&host->jobs[i]);
    assert_int_equal(waitpid(host->guest, &status, 0), host->guest);
    message_input_clear(&host->in);
    message_output_clear(&host->out);
    free(host);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void set_text(char **field, const char *text)
{
    free(*field);
    *field = strdup(text);
    assert_non_null(*field);
}

static void add_string(char ***list, size_t *count, const char *text)
{
    *list = reallocarray(*list, *count + 2, sizeof(**list));
    assert_non_null(*list);
    (*list)[*count] = strdup(text);
    (*list)[++*count] = NULL;
}

struct process *program(const char *path, ...)
{
    struct process *process = calloc(1, sizeof(*process));
    const char *arg;
    va_list args;

    assert_non_null(process);
    set_text(&process->exec_path, path);
    set_text(&process->workdir, "/");
    va_start(args, path);
    while ((arg = va_arg(args, const char *)))
        add_string(&process->args, &process->num_args, arg);
    va_end(args);
    return process;
}

void add_env(struct process *process, const char *entry)
{
    add_string(&process->env, &process->num_env, entry);
}

void add_limit(struct process *process, uint32_t resource, uint64_t soft, uint64_t hard)
{
    process->rlimits = reallocarray(process->rlimits, process->num_rlimits + 1, sizeof(*process->rlimits));
    assert_non_null(process->rlimits);
    process->rlimits[process->num_rlimits++] = (struct rlimit_setting){ resource, soft, hard };
}

void host_send(struct host *host, const struct writer *w)
{
    assert_false(w->failed);
    put_raw(&host->out.queue, w->data, w->size);
}

void host_message(struct host *host, enum message type, const struct writer *body)
{
    size_t begin = message_begin(&host->out.queue, type);

    if (body)
        host_send(host, body);
    message_end(&host->out.queue, begin);
}

static struct host_job *new_job(struct host *host, uint32_t id)
{
    struct host_job *job = host->jobs;

    while (job < host->jobs + HOST_JOBS_MAX && job->used)
        job++;
    assert_true(job < host->jobs + HOST_JOBS_MAX);
    *job = (struct host_job){ .used = true, .id = id, .fds = { -1, -1 } };
    return job;
}

static struct host_job *run(struct host *host, uint32_t id, bool finish, struct process *process)
{
    struct writer body = { 0 };
    struct host_job *job = new_job(host, id);

    job->ended[STREAM_STDERR] = process->tty;
    put_u32(&body, id);
    put_bool(&body, finish);
    process_encode(&body, process);
    host_message(host, MESSAGE_RUN, &body);
    free(body.data);
    process_clear(process);
    free(process);
    return job;
}

struct host_job *host_copy(struct host *host, uint32_t id, enum copy_direction direction, const char *path, const void *input,
                           size_t input_size)
{
    struct writer body = { 0 };
    struct host_job *job = new_job(host, id);

    job->input = input;
    job->input_size = input_size;
    put_u32(&body, id);
    put_u8(&body, (uint8_t)direction);
    put_string(&body, path);
    host_message(host, MESSAGE_COPY, &body);
    free(body.data);
    return job;
}

struct host_job *host_run(struct host *host, uint32_t id, struct process *process, const void *input, size_t input_size)
{
    struct host_job *job = run(host, id, false, process);

    job->input = input;
    job->input_size = input_size;
    return job;
}

struct host_job *host_run_finish(struct host *host, uint32_t id, struct process *process)
{
    return run(host, id, true, process);
}

void host_signal(struct host *host, uint32_t id, uint8_t number)
{
    struct writer body = { 0 };

    put_u32(&body, id);
    put_u8(&body, number);
    host_message(host, MESSAGE_SIGNAL, &body);
    free(body.data);
}

static struct host_job *find(struct host *host, uint32_t id)
{
    for (unsigned i = 0; i < HOST_JOBS_MAX; i++) {
        if (host->jobs[i].used && host->jobs[i].id == id)
            return &host->jobs[i];
    }
    return NULL;
}

static void on_job_message(struct host *host, uint16_t type, struct reader *r)
{
    struct host_job *job = find(host, get_u32(r));

    assert_non_null(job);
    assert_false(job->exited || job->refused);
    switch (type) {
    case MESSAGE_STARTED:
        assert_false(job->started);
        job->started = true;
        job->pid = get_u32(r);
        break;
    case MESSAGE_NOT_STARTED:
        assert_false(job->started);
        job->refused = true;
        job->status = get_u8(r);
        job->why = get_string(r);
        break;
    case MESSAGE_EXITED:
        assert_true(job->started);
        job->exited = true;
        job->kind = get_u8(r);
        job->code = get_u8(r);
        job->out_of_memory = get_u8(r);
        break;
    default:
        fail_msg("message %u", type);
    }
}

static void on_message(struct host *host, uint16_t type, struct reader *r)
{
    char *text;

    switch (type) {
    case MESSAGE_LOG:
        get_u8(r);
        text = get_string(r);
        print_message("guest: %s\n", text ? text : "");
        free(text);
        break;
    case MESSAGE_FAILED:
        text = get_string(r);
        print_message("guest: failed: %s\n", text ? text : "");
        free(text);
        break;
    case MESSAGE_FINISHED:
        host->finished = true;
        break;
    case MESSAGE_STATS:
        assert_int_equal(get_u32(r), 4711);
        host->have_stats = guest_stats_decode(r, &host->stats);
        break;
    default:
        on_job_message(host, type, r);
    }
    assert_true(reader_done(r));
}

static void on_control(struct host *host)
{
    ssize_t n = message_input_fill(&host->in, host->control);
    struct reader body;
    uint16_t type;
    int got;

    if (n < 0 && errno == EAGAIN)
        return;
    host->closed = n <= 0;
    while ((got = message_input_next(&host->in, &type, &body)) > 0)
        on_message(host, type, &body);
    assert_int_equal(got, 0);
}

/* The header is the first thing on a stream, and small enough to come as a whole. */
static void on_connection(struct host *host)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec iov = { &byte, 1 };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    uint8_t bytes[STREAM_HEADER_SIZE];
    struct reader header = { bytes, sizeof(bytes), false };
    struct host_job *job;
    struct pollfd wait;
    ssize_t n;
    int fd;
    uint8_t kind;

    if (recvmsg(host->streams, &message, MSG_CMSG_CLOEXEC) != 1)
        return;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
    wait = (struct pollfd){ .fd = fd, .events = POLLIN };
    assert_int_equal(poll(&wait, 1, PATIENCE), 1);
    n = read(fd, bytes, sizeof(bytes));
    if (n == 0) { /* of a job that was refused */
        close(fd);
        return;
    }
    assert_int_equal(n, sizeof(bytes));
    job = find(host, get_u32(&header));
    kind = get_u8(&header);
    assert_true(kind <= STREAM_STDERR);
    assert_non_null(job);
    assert_false(job->connected[kind]);
    job->connected[kind] = true;
    job->fds[kind] = fd;
}

static void on_output(struct host_job *job, unsigned kind)
{
    struct bytes *output = &job->output[kind];
    ssize_t n;

    if (output->capacity - output->size < 65536) {
        output->capacity = output->capacity ? 2 * output->capacity : 131072;
        output->data = realloc(output->data, output->capacity);
        assert_non_null(output->data);
    }
    n = read(job->fds[kind], output->data + output->size, output->capacity - output->size - 1);
    if (n < 0 && errno == EAGAIN)
        return;
    job->ended[kind] = n <= 0;
    if (n > 0)
        output->size += (size_t)n;
}

static bool wants_to_send(const struct host_job *job)
{
    return job->fds[STREAM_STDIO] >= 0 && !job->half_closed && (job->input_sent < job->input_size || !job->input_open);
}

static void on_input(struct host_job *job)
{
    ssize_t n = 0;

    if (job->input_sent < job->input_size)
        n = send(job->fds[STREAM_STDIO], job->input + job->input_sent, job->input_size - job->input_sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n > 0)
        job->input_sent += (size_t)n;
    if (n < 0 || (job->input_sent == job->input_size && !job->input_open)) {
        shutdown(job->fds[STREAM_STDIO], SHUT_WR);
        job->half_closed = true;
    }
}

static unsigned poll_for_job(const struct host_job *job, struct pollfd *poll_fds)
{
    unsigned count = 0;

    for (unsigned kind = 0; job->used && kind < 2; kind++) {
        short events = job->ended[kind] || job->unread[kind] ? 0 : POLLIN;

        if (kind == STREAM_STDIO && wants_to_send(job))
            events |= POLLOUT;
        if (job->fds[kind] >= 0 && events)
            poll_fds[count++] = (struct pollfd){ .fd = job->fds[kind], .events = events };
    }
    return count;
}

static short found_events(const struct pollfd *fds, unsigned count, int fd)
{
    for (unsigned i = 0; i < count; i++) {
        if (fds[i].fd == fd)
            return fds[i].revents;
    }
    return 0;
}

static void step(struct host *host)
{
    struct pollfd fds[2 + 2 * HOST_JOBS_MAX] = {
        { .fd = host->closed ? -1 : host->control, .events = POLLIN },
        { .fd = host->streams, .events = POLLIN },
    };
    int flushed = host->closed ? 1 : message_output_flush(&host->out, host->control);
    unsigned count = 2;

    fcntl(host->control, F_SETFL, O_NONBLOCK);
    if (flushed == 0)
        fds[0].events |= POLLOUT;
    for (unsigned i = 0; i < HOST_JOBS_MAX; i++)
        count += poll_for_job(&host->jobs[i], fds + count);
    if (poll(fds, count, PATIENCE) <= 0)
        fail_msg("nothing came from the guest for %d ms", PATIENCE);
    for (unsigned i = 0; i < HOST_JOBS_MAX; i++) {
        struct host_job *job = &host->jobs[i];

        for (unsigned kind = 0; job->used && kind < 2; kind++) {
            short events = job->fds[kind] < 0 ? 0 : found_events(fds + 2, count - 2, job->fds[kind]);

            if ((events & POLLOUT) && kind == STREAM_STDIO && wants_to_send(job))
                on_input(job);
            if ((events & (POLLIN | POLLHUP | POLLERR)) && !job->ended[kind] && !job->unread[kind])
                on_output(job, kind);
        }
    }
    if (fds[1].revents & POLLIN)
        on_connection(host);
    if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
        on_control(host);
}

void host_until(struct host *host, bool (*done)(void *data), void *data)
{
    while (!done(data))
        step(host);
}

static bool job_is_over(void *data)
{
    const struct host_job *job = data;

    return job->refused || (job->exited && job->ended[STREAM_STDIO] && job->ended[STREAM_STDERR]);
}

static bool job_is_started(void *data)
{
    const struct host_job *job = data;

    return job->started || job->refused;
}

static bool job_is_exited(void *data)
{
    const struct host_job *job = data;

    return job->exited || job->refused;
}

void host_wait(struct host *host, struct host_job *job)
{
    host_until(host, job_is_over, job);
}

void host_wait_started(struct host *host, struct host_job *job)
{
    host_until(host, job_is_started, job);
}

void host_wait_exited(struct host *host, struct host_job *job)
{
    host_until(host, job_is_exited, job);
}

struct wanted_output {
    struct host_job *job;
    const char *text;
};

static bool has_output(void *data)
{
    const struct wanted_output *wanted = data;

    return strstr(text_of(wanted->job, STREAM_STDIO), wanted->text) != NULL;
}

void host_wait_output(struct host *host, struct host_job *job, const char *text)
{
    struct wanted_output wanted = { job, text };

    host_until(host, has_output, &wanted);
}

static bool is_finished(void *data)
{
    return ((const struct host *)data)->finished;
}

void host_wait_finished(struct host *host)
{
    host_until(host, is_finished, host);
}

static bool is_closed(void *data)
{
    return ((const struct host *)data)->closed;
}

void host_wait_closed(struct host *host)
{
    host_until(host, is_closed, host);
}

const char *text_of(struct host_job *job, enum stream kind)
{
    struct bytes *output = &job->output[kind];

    if (!output->data)
        return "";
    output->data[output->size] = '\0'; /* there is always room: see on_output() */
    return (const char *)output->data;
}

void host_forget(struct host_job *job)
{
    if (!job->used)
        return;
    for (unsigned kind = 0; kind < 2; kind++) {
        if (job->fds[kind] >= 0)
            close(job->fds[kind]);
        free(job->output[kind].data);
    }
    free(job->why);
    *job = (struct host_job){ .fds = { -1, -1 } };
}
