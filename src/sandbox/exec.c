/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command in a sandbox, as the library's user holds it: one connection, which is the command's for its life. The monitor joins the
 * caller's own descriptors to the command's streams, so that nothing of them passes through here, unless they are to be collected:
 * then they are pipes, and an epoll descriptor stands for pipes and connection together.
 */
#include "config/config.h"
#include "sandbox/sandbox.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>

enum { STATUS_FAILED = 125, READ_MIN = 4096, READ_MAX = 64 << 10 };

struct msb_exec_options {
    struct msb_config config; /* what of it concerns a process */
    int streams[3];
    bool tty;
    uint16_t rows, columns;
    bool collect;
    size_t max_bytes;
    uint64_t timeout_ms;
    bool detach;
};

/* What a stream's pipe brought. */
struct collected {
    int pipe; /* -1: ended, or none */
    char *bytes;
    size_t size, capacity;
};

struct msb_exec {
    struct client client;
    pthread_mutex_t lock; /* for what is sent, by any thread */
    int epoll;            /* -1: nothing is collected */
    bool collect;
    size_t max_bytes;
    struct collected out, err;
    bool truncated;
    bool asked_start; /* to be told that its program has been executed */
    bool started;     /* so it was told */
    bool told;        /* how it ended is known */
    bool over;        /* and all its output is here */
    int status;
    unsigned flags; /* enum control_exit */
    msb_error *error;
};

/* ---- Options ---------------------------------------------------------------------------------------------------------------- */

msb_exec_options *msb_exec_options_new(void)
{
    msb_exec_options *options = malloc(sizeof(*options));

    if (!options)
        return NULL;
    *options = (msb_exec_options){ .streams = { -1, -1, -1 } };
    config_init(&options->config);
    return options;
}

void msb_exec_options_free(msb_exec_options *options)
{
    if (!options)
        return;
    config_clear(&options->config);
    free(options);
}

void msb_exec_options_set_exec_path(msb_exec_options *options, const char *path)
{
    config_set_string(&options->config, &options->config.exec_path, path);
}

void msb_exec_options_set_args(msb_exec_options *options, const char *const *args, size_t count)
{
    config_set_list(&options->config, &options->config.args, args, count);
}

void msb_exec_options_set_env(msb_exec_options *options, const char *const *env, size_t count)
{
    config_set_list(&options->config, &options->config.env, env, count);
}

void msb_exec_options_set_rlimits(msb_exec_options *options, const char *const *limits, size_t count)
{
    config_set_list(&options->config, &options->config.rlimits, limits, count);
}

void msb_exec_options_set_workdir_path(msb_exec_options *options, const char *path)
{
    config_set_string(&options->config, &options->config.workdir_path, path);
}

void msb_exec_options_set_user(msb_exec_options *options, const char *user)
{
    config_set_string(&options->config, &options->config.user, user);
}

void msb_exec_options_set_tty(msb_exec_options *options, uint16_t rows, uint16_t columns)
{
    options->tty = true;
    options->rows = rows;
    options->columns = columns;
}

void msb_exec_options_set_stdio(msb_exec_options *options, int in, int out, int err)
{
    options->streams[0] = in;
    options->streams[1] = out;
    options->streams[2] = err;
}

void msb_exec_options_set_collect(msb_exec_options *options, size_t max_bytes)
{
    options->collect = max_bytes > 0;
    options->max_bytes = max_bytes;
}

void msb_exec_options_set_timeout_ms(msb_exec_options *options, uint64_t milliseconds)
{
    options->timeout_ms = milliseconds;
}

void msb_exec_options_set_detach(msb_exec_options *options, int detach)
{
    options->detach = detach != 0;
}

/* ---- Starting --------------------------------------------------------------------------------------------------------------- */

static msb_exec *exec_new(msb_error **err)
{
    msb_exec *exec = malloc(sizeof(*exec));

    if (!exec)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    *exec = (msb_exec){
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .epoll = -1,
        .out.pipe = -1,
        .err.pipe = -1,
        .status = -1,
    };
    client_init(&exec->client, -1);
    return exec;
}

static int watch(const msb_exec *exec, int fd, msb_error **err)
{
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

    return epoll_ctl(exec->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? fail_errno(err, "watch a descriptor") : 0;
}

/* The command's end of the pipe comes back in *theirs. */
static int open_pipe(struct collected *collected, int *theirs, msb_error **err)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_errno(err, "make a pipe");
    collected->pipe = ends[0];
    *theirs = ends[1];
    return fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? fail_errno(err, "use a pipe") : 0;
}

static int prepare_collecting(msb_exec *exec, const msb_exec_options *options, int theirs[3], msb_error **err)
{
    if (!options->collect)
        return 0;
    exec->collect = true;
    exec->max_bytes = options->max_bytes;
    if (open_pipe(&exec->out, &theirs[1], err) < 0 || (!options->tty && open_pipe(&exec->err, &theirs[2], err) < 0))
        return -1;
    exec->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (exec->epoll < 0)
        return fail_errno(err, "make an epoll descriptor");
    return watch(exec, exec->out.pipe, err) < 0 || (exec->err.pipe >= 0 && watch(exec, exec->err.pipe, err) < 0) ? -1 : 0;
}

/* Connects, and sends a request that was begun after a HELLO; frees it. */
static int send_start(msb_exec *exec, msb_sandbox *sandbox, struct request *request, const int *fds, size_t num_fds,
                      const struct patience *patience, msb_error **err)
{
    if (sandbox_connect(sandbox, &exec->client, patience, err) < 0) {
        free(request->writer.data);
        return -1;
    }
    if (client_send(&exec->client, request, fds, num_fds, patience, err) < 0)
        return -1;
    return exec->epoll >= 0 ? watch(exec, exec->client.socket, err) : 0;
}

static int check_streams(const int streams[3], msb_error **err)
{
    for (int i = 0; i < 3; i++)
        if (streams[i] >= 0 && fcntl(streams[i], F_GETFD) < 0)
            return fail(err, MSB_ERR_INVALID, "stdio: the descriptor %d is not open", streams[i]);
    return 0;
}

static void encode_exec(struct request *request, const msb_exec_options *options, struct process *process)
{
    process->tty = options->tty;
    process->rows = options->rows;
    process->columns = options->columns;
    request_hello(request);
    request_begin(request, CONTROL_EXEC, 1);
    put_u64(&request->writer, options->timeout_ms);
    put_bool(&request->writer, options->detach);
    process_encode(&request->writer, process);
}

static int start(msb_exec *exec, msb_sandbox *sandbox, const msb_exec_options *options, const struct patience *patience,
                 msb_error **err)
{
    _cleanup_fd_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct request request = { 0 };
    struct spec spec;
    int theirs[3] = { -1, -1, -1 }, fds[3], result;

    if (null < 0)
        return fail_errno(err, "open `/dev/null`");
    if (check_streams(options->streams, err) < 0 || config_validate_exec(&options->config, &spec, err) < 0)
        return -1;
    encode_exec(&request, options, &spec.process);
    spec_clear(&spec);
    result = prepare_collecting(exec, options, theirs, err);
    for (int i = 0; i < 3; i++)
        fds[i] = theirs[i] >= 0 ? theirs[i] : options->streams[i] >= 0 ? options->streams[i] : null;
    if (result < 0)
        free(request.writer.data);
    else
        result = send_start(exec, sandbox, &request, fds, 3, patience, err);
    for (int i = 0; i < 3; i++)
        cleanup_fd(&theirs[i]);
    return result;
}

msb_exec *msb_sandbox_exec(msb_sandbox *sandbox, const msb_exec_options *options, int timeout_ms, int cancel_fd, msb_error **err)
{
    const struct patience patience = patience_of(timeout_ms, cancel_fd);
    msb_exec *exec = exec_new(err);

    if (exec && start(exec, sandbox, options, &patience, err) < 0) {
        msb_exec_free(exec);
        return NULL;
    }
    return exec;
}

msb_exec *msb_sandbox_attach(msb_sandbox *sandbox, int in, int out, int err_fd, int timeout_ms, int cancel_fd, msb_error **err)
{
    const struct patience patience = patience_of(timeout_ms, cancel_fd);
    const int streams[3] = { in, out, err_fd };
    struct request request = { 0 };
    unsigned wanted = 0;
    size_t num_fds = 0;
    int fds[3];
    msb_exec *exec = check_streams(streams, err) < 0 ? NULL : exec_new(err);

    if (!exec)
        return NULL;
    for (int i = 0; i < 3; i++) {
        if (streams[i] < 0)
            continue;
        wanted |= 1U << i;
        fds[num_fds++] = streams[i];
    }
    request_hello(&request);
    request_begin(&request, CONTROL_ATTACH, 1);
    put_u8(&request.writer, (uint8_t)wanted);
    if (send_start(exec, sandbox, &request, fds, num_fds, &patience, err) < 0) {
        msb_exec_free(exec);
        return NULL;
    }
    return exec;
}

int msb_exec_fd(const msb_exec *exec)
{
    return exec->epoll >= 0 ? exec->epoll : exec->client.socket;
}

/* ---- Waiting ---------------------------------------------------------------------------------------------------------------- */

/* Room for at least one more read, and the NUL byte behind. */
static int make_room(struct collected *collected, msb_error **err)
{
    size_t capacity = collected->capacity ? collected->capacity * 2 : READ_MIN;
    char *bytes;

    if (collected->capacity - collected->size > READ_MIN / 2)
        return 0;
    bytes = realloc(collected->bytes, capacity);
    if (!bytes)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory for the command's output");
    collected->bytes = bytes;
    collected->capacity = capacity;
    return 0;
}

static int collect(msb_exec *exec, struct collected *collected, msb_error **err)
{
    char dropped[READ_MAX];
    ssize_t n;

    while (collected->pipe >= 0) {
        size_t wanted = exec->max_bytes - collected->size, room;

        if (make_room(collected, err) < 0)
            return -1;
        room = collected->capacity - collected->size - 1;
        if (wanted > 0)
            n = read(collected->pipe, collected->bytes + collected->size, wanted < room ? wanted : room);
        else
            n = read(collected->pipe, dropped, sizeof(dropped));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            return fail_errno(err, "read the command's output");
        if (n == 0)
            close(steal_fd(&collected->pipe));
        else if (wanted > 0)
            collected->size += (size_t)n;
        else
            exec->truncated = true;
    }
    collected->bytes[collected->size] = '\0';
    return 0;
}

static void told_exited(msb_exec *exec, struct reader *body)
{
    uint8_t status = get_u8(body), flags = get_u8(body);
    _cleanup_free_ char *why = get_string(body);

    if (!reader_done(body)) {
        fail(&exec->error, MSB_ERR_PROTOCOL, "the sandbox's monitor sent a bad answer");
        return;
    }
    exec->status = status;
    exec->flags = flags;
    if (flags & CONTROL_EXIT_NOT_STARTED)
        fail(&exec->error, MSB_ERR_WORKLOAD, "%s", why);
}

static void told(msb_exec *exec, uint16_t type, struct reader *body)
{
    if (type == CONTROL_DONE && exec->asked_start && reader_done(body)) {
        exec->started = true;
        return;
    }
    if (type == CONTROL_EXITED)
        told_exited(exec, body);
    else if (type == CONTROL_ERROR)
        client_fail(body, &exec->error);
    else
        fail(&exec->error, MSB_ERR_PROTOCOL, "the sandbox's monitor sent a bad answer");
    exec->told = true;
    if (exec->status < 0)
        exec->status = STATUS_FAILED;
}

/* Takes in what has come, and sees whether it is over. */
static int advance(msb_exec *exec, msb_error **err)
{
    msb_error *error = NULL;
    struct reader body;
    uint16_t type;
    int found = 0;

    while (!exec->told && (found = client_next(&exec->client, &type, &body, &error)) > 0)
        told(exec, type, &body);
    if (found < 0) {
        exec->told = true;
        exec->status = STATUS_FAILED;
        if (msb_error_code(error) == MSB_ERR_STATE)
            fail(&exec->error, MSB_ERR_VM, "the sandbox ended before its command did");
        else
            fail(&exec->error, msb_error_code(error), "%s", msb_error_message(error));
        msb_error_free(error);
    }
    /* The connection is ready for ever from now on. */
    if (exec->told && found != 0 && exec->epoll >= 0)
        epoll_ctl(exec->epoll, EPOLL_CTL_DEL, exec->client.socket, NULL);
    if (exec->collect && (collect(exec, &exec->out, err) < 0 || (exec->err.pipe >= 0 && collect(exec, &exec->err, err) < 0)))
        return -1;
    exec->over = exec->told && exec->out.pipe < 0 && exec->err.pipe < 0;
    return 0;
}

/* An epoll descriptor without members is never ready, so that the one of an exec that is over keeps the connection. */
static void stay_ready(const msb_exec *exec)
{
    if (exec->epoll >= 0)
        watch(exec, exec->client.socket, NULL);
}

/* A few bytes into a socket whose other end reads whatever comes. */
static int send_now(msb_exec *exec, struct request *request, msb_error **err)
{
    const struct patience patience = patience_of(0, -1);
    int result;

    pthread_mutex_lock(&exec->lock);
    result = client_send(&exec->client, request, NULL, 0, &patience, err);
    pthread_mutex_unlock(&exec->lock);
    return result;
}

/* Where it was not started its end is known, and its output's too: the monitor closed the streams before. */
int msb_exec_wait_started(msb_exec *exec, int timeout_ms, int cancel_fd, msb_error **err)
{
    const struct patience patience = patience_of(timeout_ms, cancel_fd);

    if (!exec->asked_start && !exec->told) {
        struct request request = { 0 };

        request_begin(&request, CONTROL_AWAIT_START, 2);
        if (send_now(exec, &request, err) < 0)
            return -1;
        exec->asked_start = true;
    }
    for (;;) {
        if (advance(exec, err) < 0)
            return -1;
        if (exec->started || exec->told)
            break;
        if (patience_wait(&patience, msb_exec_fd(exec), POLLIN, err) < 0)
            return -1;
    }
    if (exec->over)
        stay_ready(exec);
    if (!exec->started && exec->error)
        return fail(err, msb_error_code(exec->error), "%s", msb_error_message(exec->error));
    return 0;
}

int msb_exec_wait(msb_exec *exec, int timeout_ms, int cancel_fd, msb_error **err)
{
    const struct patience patience = patience_of(timeout_ms, cancel_fd);

    while (!exec->over) {
        if (advance(exec, err) < 0)
            return -1;
        if (exec->over)
            stay_ready(exec);
        else if (patience_wait(&patience, msb_exec_fd(exec), POLLIN, err) < 0)
            return -1;
    }
    if (exec->error)
        return fail(err, msb_error_code(exec->error), "%s", msb_error_message(exec->error));
    return exec->status;
}

int msb_exec_exit_status(const msb_exec *exec)
{
    return exec->over ? exec->status : -1;
}

int msb_exec_timed_out(const msb_exec *exec)
{
    return (exec->flags & CONTROL_EXIT_TIMED_OUT) != 0;
}

int msb_exec_out_of_memory(const msb_exec *exec)
{
    return (exec->flags & CONTROL_EXIT_OUT_OF_MEMORY) != 0;
}

static const char *bytes_of(const struct collected *collected, size_t *size)
{
    if (size)
        *size = collected->size;
    return collected->bytes ? collected->bytes : "";
}

const char *msb_exec_output(const msb_exec *exec, size_t *size)
{
    return bytes_of(&exec->out, size);
}

const char *msb_exec_errors(const msb_exec *exec, size_t *size)
{
    return bytes_of(&exec->err, size);
}

int msb_exec_truncated(const msb_exec *exec)
{
    return exec->truncated;
}

/* ---- While it runs ---------------------------------------------------------------------------------------------------------- */

int msb_exec_signal(msb_exec *exec, int signal, msb_error **err)
{
    struct request request = { 0 };

    if (check_signal(signal, err) < 0)
        return -1;
    request_begin(&request, CONTROL_SIGNAL, 0);
    put_u8(&request.writer, (uint8_t)signal);
    return send_now(exec, &request, err);
}

int msb_exec_resize(msb_exec *exec, uint16_t rows, uint16_t columns, msb_error **err)
{
    struct request request = { 0 };

    request_begin(&request, CONTROL_RESIZE, 0);
    put_u16(&request.writer, rows);
    put_u16(&request.writer, columns);
    return send_now(exec, &request, err);
}

void msb_exec_free(msb_exec *exec)
{
    if (!exec)
        return;
    client_close(&exec->client);
    cleanup_fd(&exec->epoll);
    cleanup_fd(&exec->out.pipe);
    cleanup_fd(&exec->err.pipe);
    free(exec->out.bytes);
    free(exec->err.bytes);
    msb_error_free(exec->error);
    pthread_mutex_destroy(&exec->lock);
    free(exec);
}
