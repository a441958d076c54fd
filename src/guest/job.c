/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/job.h"

#include "guest/child.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The process's side of its streams, and ours; -1: not there. */
struct job_pipes {
    int child_input, child_output, child_error;
    int input, output, error;
};

static const struct job_pipes no_pipes = { -1, -1, -1, -1, -1, -1 };

static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        cleanup_fd(&fds[i]);
}

static void cleanup_pipes(struct job_pipes *pipes)
{
    const int fds[] = { pipes->child_input, pipes->child_output, pipes->child_error, pipes->input, pipes->output, pipes->error };

    close_all(fds, sizeof(fds) / sizeof(fds[0]));
}

/* Only our end is non-blocking: the flag belongs to the open file, and a program expects blocking ones. */
static int make_pipe(int *read_end, int *write_end, int *ours, msb_error **err)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_errno(err, "make a pipe");
    *read_end = ends[0];
    *write_end = ends[1];
    if (fcntl(*ours, F_SETFL, O_NONBLOCK) < 0)
        return fail_errno(err, "make a pipe non-blocking");
    return 0;
}

static int make_pipes(struct job_pipes *pipes, msb_error **err)
{
    if (make_pipe(&pipes->child_input, &pipes->input, &pipes->input, err) < 0 ||
        make_pipe(&pipes->output, &pipes->child_output, &pipes->output, err) < 0 ||
        make_pipe(&pipes->error, &pipes->child_error, &pipes->error, err) < 0)
        return -1;
    return 0;
}

/* A pair in the guest's own devpts, so that ttyname(3) works there. */
static int make_terminal(int pts_fd, int *master, int *slave, msb_error **err)
{
    int unlocked = 0;

    *master = openat(pts_fd, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (*master < 0)
        return fail_errno(err, "open a terminal in the guest's devpts");
    if (ioctl(*master, TIOCSPTLCK, &unlocked) < 0)
        return fail_errno(err, "unlock a terminal");
    *slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    return *slave < 0 ? fail_errno(err, "open the program's side of a terminal") : 0;
}

static void on_relay_ended(struct relay *relay, void *data)
{
    struct job *job = data;

    for (unsigned i = 0; i < JOB_RELAYS; i++) {
        if (job->relays[i] == relay)
            job->relays[i] = NULL;
    }
    relay_free(relay);
    if (job->reaped && !job->relays[STREAM_STDIO] && !job->relays[STREAM_STDERR])
        job->callbacks->done(job, job->owner);
}

/* input and output become the stream's, also on failure. */
static int connect_stream(struct job *job, const struct job_options *options, enum stream kind, int input, int output,
                          msb_error **err)
{
    struct relay_files files = { .input = input, .output = output, .tty = job->slave >= 0 };

    files.socket = options->connect_stream(options->connect_data, err);
    if (files.socket < 0) {
        const int fds[] = { output, files.tty ? -1 : input };

        close_all(fds, 2);
        return -1;
    }
    job->relays[kind] = relay_new(options->loop, &files, job->id, kind, on_relay_ended, job, err);
    return job->relays[kind] ? 0 : -1;
}

static int connect_streams(struct job *job, const struct job_options *options, struct job_pipes *pipes, msb_error **err)
{
    int output = steal_fd(&pipes->output);
    int input = job->slave >= 0 ? output : steal_fd(&pipes->input);

    if (connect_stream(job, options, STREAM_STDIO, input, output, err) < 0)
        return -1;
    return pipes->error < 0 ? 0 : connect_stream(job, options, STREAM_STDERR, -1, steal_fd(&pipes->error), err);
}

static void free_relays(struct job *job)
{
    for (unsigned i = 0; i < JOB_RELAYS; i++) {
        relay_free(job->relays[i]);
        job->relays[i] = NULL;
    }
}

/* The owner may end the session on this, and the job with it. */
static void refuse(struct job *job, uint8_t status, const char *why)
{
    job->state = JOB_REFUSED;
    free_relays(job);
    job->callbacks->refused(job, status, why, job->owner);
}

/* The child writes its report at once, or closes the pipe by becoming the program. */
static void read_report(struct job *job)
{
    char text[CHILD_REPORT_MAX + 1];
    ssize_t n = read(job->report_fd, text, CHILD_REPORT_MAX);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    loop_remove(job->report_source);
    job->report_source = NULL;
    close(steal_fd(&job->report_fd));
    if (n > 0) {
        text[n] = '\0';
        refuse(job, (uint8_t)text[0], text + 1);
        return;
    }
    job->state = JOB_RUNNING;
    job->callbacks->started(job, job->owner);
}

static void on_report(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source;
    (void)fd;
    (void)events;
    read_report(data);
}

static int fork_child(struct job *job, const struct job_work *work, const struct job_pipes *pipes,
                      const struct job_options *options, msb_error **err)
{
    struct child_files files = { pipes->child_input, pipes->child_output, pipes->child_error, -1 };
    _cleanup_fd_ int report = -1;

    if (make_pipe(&job->report_fd, &report, &job->report_fd, err) < 0)
        return -1;
    job->report_source = loop_add(options->loop, job->report_fd, EPOLLIN, on_report, job, err);
    if (!job->report_source)
        return -1;
    files.report = report;
    if (job->slave >= 0)
        files.input = files.output = files.error = job->slave;
    job->pid = fork();
    if (job->pid == 0 && work->process)
        child_run(work->process, &files, options->hostname);
    if (job->pid == 0)
        child_copy(work->direction, work->path, &files);
    return job->pid < 0 ? fail_errno(err, "fork") : 0;
}

static int start(struct job *job, const struct job_work *work, const struct job_options *options, msb_error **err)
{
    const struct process *process = work->process;
    bool tty = process && process->tty;
    struct job_pipes pipes __attribute__((cleanup(cleanup_pipes))) = no_pipes;

    if (tty ? make_terminal(options->pts_fd, &pipes.output, &job->slave, err) : make_pipes(&pipes, err))
        return -1;
    if (tty)
        job_resize(job, process->rows, process->columns);
    if (connect_streams(job, options, &pipes, err) < 0)
        return -1;
    return fork_child(job, work, &pipes, options, err);
}

struct job *job_start(const struct job_work *work, const struct job_options *options, msb_error **err)
{
    struct job *job = calloc(1, sizeof(*job));

    if (!job)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    *job = (struct job){
        .id = options->id,
        .finish = options->finish,
        .report_fd = -1,
        .slave = -1,
        .callbacks = options->callbacks,
        .owner = options->owner,
    };
    if (start(job, work, options, err) < 0) {
        job_free(job);
        return NULL;
    }
    return job;
}

void job_settle(struct job *job)
{
    if (job->state == JOB_STARTING)
        read_report(job);
}

void job_finish(struct job *job)
{
    /* Nobody of ours holds the terminal now: when the last descendant lets go of it, its end is seen. */
    if (job->slave >= 0)
        close(steal_fd(&job->slave));
    for (unsigned i = 0; i < JOB_RELAYS; i++) {
        if (job->relays[i])
            relay_finish(job->relays[i]);
    }
    job->reaped = true;
    if (!job->relays[STREAM_STDIO] && !job->relays[STREAM_STDERR])
        job->callbacks->done(job, job->owner);
}

void job_resize(const struct job *job, uint16_t rows, uint16_t columns)
{
    struct winsize size = { .ws_row = rows, .ws_col = columns };

    if (job->slave >= 0)
        ioctl(job->slave, TIOCSWINSZ, &size);
}

void job_free(struct job *job)
{
    if (!job)
        return;
    free_relays(job);
    loop_remove(job->report_source);
    cleanup_fd(&job->report_fd);
    cleanup_fd(&job->slave);
    free(job);
}
