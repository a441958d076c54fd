/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session: one loop over the control connection, SIGCHLD, a report pipe per process that is being started, and the streams.
 * Nothing here waits for a process, a file of the guest's, or the host: PID 1 stays responsive whatever they do.
 *
 * The life of a job (a process that the host asked for): made by RUN with its streams connecting; STARTED or NOT_STARTED when the
 * report pipe says whether exec worked; EXITED when it is reaped; freed when its streams have ended too. Orphans of the guest's own
 * are reaped and forgotten.
 *
 * The host is trusted, but its messages are still parsed with care: one that makes no sense ends the session with an error.
 */
#include "guest/session.h"

#include "guest/child.h"
#include "guest/job.h"
#include "guest/stats.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct session {
    struct loop *loop;
    struct control *control;
    const struct session_machine *machine;
    struct job *jobs;
    int signal_fd;
    struct loop_source *signal_source;
    uint64_t oom_kills_seen;
    bool finishing, finished;
    bool failed;
    msb_error *error;
};

/* ---- Telling the host ---------------------------------------------------------------------------------------------------------- */

static void session_fail(struct session *session, msb_error *error)
{
    if (session->failed) {
        msb_error_free(error);
        return;
    }
    session->failed = true;
    session->error = error;
    loop_quit(session->loop);
}

static void send_not_started(struct session *session, uint32_t id, uint8_t status, const char *why)
{
    struct writer *w = &session->control->out.queue;
    size_t begin = message_begin(w, MESSAGE_NOT_STARTED);

    put_u32(w, id);
    put_u8(w, status);
    put_string(w, why);
    message_end(w, begin);
    control_flush(session->control);
}

static void send_started(struct session *session, const struct job *job)
{
    struct writer *w = &session->control->out.queue;
    size_t begin = message_begin(w, MESSAGE_STARTED);

    put_u32(w, job->id);
    put_u32(w, (uint32_t)job->pid);
    message_end(w, begin);
    control_flush(session->control);
}

static void send_exited(struct session *session, const struct job *job, int status, bool out_of_memory)
{
    struct writer *w = &session->control->out.queue;
    size_t begin = message_begin(w, MESSAGE_EXITED);

    put_u32(w, job->id);
    put_u8(w, WIFSIGNALED(status) ? EXIT_SIGNAL : EXIT_STATUS);
    put_u8(w, (uint8_t)(WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)));
    put_u8(w, out_of_memory);
    message_end(w, begin);
    control_flush(session->control);
}

/* ---- Ending -------------------------------------------------------------------------------------------------------------------- */

/* The control connection stays until the host closes it: output may still be on its way. */
static void finished(struct session *session)
{
    if (session->finished)
        return;
    session->finished = true;
    session->machine->sync(session->machine->data);
    control_send(session->control, MESSAGE_FINISHED);
}

static void reap(struct session *session);

/* kill(-1) spares only this process and kernel threads; who is forking meanwhile is killed before it returns from fork. */
static void finish(struct session *session)
{
    if (session->finishing)
        return;
    session->finishing = true;
    kill(-1, SIGKILL);
    reap(session);
}

/* ---- Jobs ---------------------------------------------------------------------------------------------------------------------- */

static struct job *find_job(const struct session *session, uint32_t id)
{
    struct job *job = session->jobs;

    while (job && job->id != id)
        job = job->next;
    return job;
}

static struct job *find_pid(const struct session *session, pid_t pid)
{
    struct job *job = session->jobs;

    while (job && (job->pid != pid || job->reaped))
        job = job->next;
    return job;
}

static void on_started(struct job *job, void *owner)
{
    send_started(owner, job);
}

static void on_refused(struct job *job, uint8_t status, const char *why, void *owner)
{
    struct session *session = owner;

    send_not_started(session, job->id, status, why);
    if (job->finish)
        finish(session);
}

static void on_done(struct job *job, void *owner)
{
    struct session *session = owner;
    struct job **link = &session->jobs;

    while (*link != job)
        link = &(*link)->next;
    *link = job->next;
    job_free(job);
}

static const struct job_callbacks job_callbacks = { on_started, on_refused, on_done };

/* Only who died of SIGKILL (or reports that for its child, as shells do) can be the out-of-memory killer's victim, and each kill is
   laid at one door. Asking costs a read of /proc, so it is only done then. */
static bool ran_out_of_memory(struct session *session, const struct job *job, int status)
{
    bool killed = WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 128 + SIGKILL;
    uint64_t kills;
    bool out_of_memory;

    if (!killed || job->killed || session->finishing)
        return false;
    kills = stats_oom_kills(session->machine->proc_fd);
    out_of_memory = kills > session->oom_kills_seen;
    session->oom_kills_seen = kills;
    return out_of_memory;
}

static void job_exited(struct session *session, struct job *job, int status)
{
    bool ends_session = job->finish;

    job_settle(job);
    if (job->state == JOB_RUNNING)
        send_exited(session, job, status, ran_out_of_memory(session, job, status));
    job_finish(job);
    if (ends_session)
        finish(session);
}

static void reap(struct session *session)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        struct job *job;

        if (pid < 0 && errno == EINTR)
            continue;
        if (pid < 0 && errno == ECHILD && session->finishing)
            finished(session);
        if (pid <= 0)
            return;
        job = find_pid(session, pid);
        if (job)
            job_exited(session, job, status);
    }
}

static void on_signal(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct signalfd_siginfo info;

    (void)source;
    (void)events;
    /* One SIGCHLD may stand for many children; which one it names does not matter. */
    if (read(fd, &info, sizeof(info)) < 0 && errno != EAGAIN && errno != EINTR)
        return;
    reap(data);
}

/* ---- Messages from the host ---------------------------------------------------------------------------------------------------- */

static const char *process_fault(const struct process *process)
{
    if (!process->exec_path[0])
        return "no program is named";
    if (process->workdir[0] != '/')
        return "the working directory is not an absolute path";
    return NULL;
}

static const char *job_fault(const struct session *session, uint32_t id, const struct job_work *work)
{
    if (session->finishing)
        return "the sandbox is ending";
    if (find_job(session, id))
        return "this id is in use";
    return work->process ? process_fault(work->process) : NULL;
}

static void start_job(struct session *session, uint32_t id, bool with_finish, const struct job_work *work)
{
    const struct session_machine *machine = session->machine;
    const struct job_options options = {
        .id = id,
        .finish = with_finish,
        .hostname = machine->hostname,
        .pts_fd = machine->pts_fd,
        .loop = session->loop,
        .connect_stream = machine->connect_stream,
        .connect_data = machine->data,
        .callbacks = &job_callbacks,
        .owner = session,
    };
    const char *fault = job_fault(session, id, work);
    msb_error *err = NULL;
    struct job *job;

    if (fault) {
        send_not_started(session, id, EXIT_OURS, fault);
        return;
    }
    job = job_start(work, &options, &err);
    if (!job) {
        send_not_started(session, id, EXIT_OURS, msb_error_message(err));
        msb_error_free(err);
        if (with_finish)
            finish(session);
        return;
    }
    job->next = session->jobs;
    session->jobs = job;
}

static bool handle_run(struct session *session, struct reader *body)
{
    struct process process;
    uint32_t id = get_u32(body);
    bool with_finish = get_bool(body);
    bool good = process_decode(body, &process) && reader_done(body);

    if (good)
        start_job(session, id, with_finish, &(struct job_work){ .process = &process });
    process_clear(&process);
    return good;
}

static bool handle_copy(struct session *session, struct reader *body)
{
    uint32_t id = get_u32(body);
    uint8_t direction = get_u8(body);
    _cleanup_free_ char *path = get_string(body);

    if (!reader_done(body) || direction > COPY_IN || path[0] != '/')
        return false;
    start_job(session, id, false, &(struct job_work){ .direction = (enum copy_direction)direction, .path = path });
    return true;
}

static bool handle_signal(struct session *session, struct reader *body)
{
    uint32_t id = get_u32(body);
    uint8_t number = get_u8(body);
    struct job *job = find_job(session, id);

    if (!reader_done(body) || number == 0 || number >= NSIG)
        return false;
    /* Who has ended meanwhile needs no signal, and its number may be another's. */
    if (!job || job->reaped)
        return true;
    job->killed = job->killed || number == SIGKILL;
    kill(job->pid, number);
    return true;
}

static bool handle_resize(struct session *session, struct reader *body)
{
    uint32_t id = get_u32(body);
    uint16_t rows = get_u16(body);
    uint16_t columns = get_u16(body);
    struct job *job = find_job(session, id);

    if (!reader_done(body))
        return false;
    if (job)
        job_resize(job, rows, columns);
    return true;
}

static bool handle_time(struct session *session, struct reader *body)
{
    uint64_t now = get_u64(body);
    struct timespec time = { .tv_sec = (time_t)(now / 1000000000U), .tv_nsec = (long)(now % 1000000000U) };

    if (!reader_done(body))
        return false;
    if (clock_settime(CLOCK_REALTIME, &time) < 0)
        control_log(session->control, MSB_LOG_WARN, "set the clock: %s", strerror(errno));
    return true;
}

static bool handle_get_stats(struct session *session, struct reader *body)
{
    struct writer *w = &session->control->out.queue;
    uint32_t request = get_u32(body);
    struct guest_stats stats;
    size_t begin;

    if (!reader_done(body))
        return false;
    stats_read(session->machine->proc_fd, &stats);
    begin = message_begin(w, MESSAGE_STATS);
    put_u32(w, request);
    guest_stats_encode(w, &stats);
    message_end(w, begin);
    control_flush(session->control);
    return true;
}

static bool handle_finish(struct session *session, const struct reader *body)
{
    if (!reader_done(body))
        return false;
    finish(session);
    return true;
}

static bool handle(struct session *session, uint16_t type, struct reader *body)
{
    switch (type) {
    case MESSAGE_RUN:
        return handle_run(session, body);
    case MESSAGE_COPY:
        return handle_copy(session, body);
    case MESSAGE_SIGNAL:
        return handle_signal(session, body);
    case MESSAGE_RESIZE:
        return handle_resize(session, body);
    case MESSAGE_FINISH:
        return handle_finish(session, body);
    case MESSAGE_TIME:
        return handle_time(session, body);
    case MESSAGE_GET_STATS:
        return handle_get_stats(session, body);
    default:
        return false;
    }
}

static void handle_messages(struct session *session)
{
    struct reader body;
    uint16_t type = 0;
    int got;

    while (!session->failed && (got = message_input_next(&session->control->in, &type, &body)) != 0) {
        if (got < 0 || !handle(session, type, &body)) {
            msb_error *error = NULL;

            fail(&error, MSB_ERR_PROTOCOL, "the host sent a message (type %u) that makes no sense", type);
            session_fail(session, error);
        }
    }
}

static void on_control(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct session *session = data;
    msb_error *error = NULL;
    ssize_t n;

    (void)source;
    if (events & EPOLLOUT)
        control_flush(session->control);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    n = message_input_fill(&session->control->in, fd);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0 && errno == ENOMEM) {
        fail(&error, MSB_ERR_NO_MEMORY, "the guest has no memory for a message from the host");
        session_fail(session, error);
        return;
    }
    if (n <= 0) {
        loop_quit(session->loop);
        return;
    }
    handle_messages(session);
}

/* ---- The session --------------------------------------------------------------------------------------------------------------- */

static int begin(struct session *session, msb_error **err)
{
    sigset_t child;

    session->loop = loop_new(err);
    if (!session->loop)
        return -1;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &child, NULL) < 0)
        return fail_errno(err, "block SIGCHLD");
    session->signal_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (session->signal_fd < 0)
        return fail_errno(err, "make a signalfd");
    session->signal_source = loop_add(session->loop, session->signal_fd, EPOLLIN, on_signal, session, err);
    if (!session->signal_source)
        return -1;
    if (fcntl(session->control->fd, F_SETFL, O_NONBLOCK) < 0)
        return fail_errno(err, "make the control connection non-blocking");
    session->control->source = loop_add(session->loop, session->control->fd, EPOLLIN, on_control, session, err);
    return session->control->source ? 0 : -1;
}

static void end(struct session *session)
{
    while (session->jobs) {
        struct job *job = session->jobs;

        session->jobs = job->next;
        job_free(job);
    }
    loop_remove(session->control->source);
    session->control->source = NULL;
    loop_remove(session->signal_source);
    cleanup_fd(&session->signal_fd);
    loop_free(session->loop);
}

int session_run(struct control *control, const struct session_machine *machine, msb_error **err)
{
    struct session session = { .control = control, .machine = machine, .signal_fd = -1 };
    int result = begin(&session, err);

    if (result == 0) {
        /* The host does not wait for READY before it sends more: some of it may have come with the configuration. */
        handle_messages(&session);
        result = session.failed ? 0 : loop_run(session.loop, err);
    }
    if (result == 0 && session.failed)
        result = fail_with(err, session.error);
    end(&session);
    return result;
}
