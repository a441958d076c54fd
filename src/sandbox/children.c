/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/children.h"
#include "util/cleanup.h"
#include "util/printable.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPORT_MAX = 1024 };

/* What the child said on its report socket: 1 and an error, or none for "ready"; 0 when there is nothing more to come. */
static int read_report(const struct one_child *child, msb_error **err)
{
    char text[REPORT_MAX + 1];
    ssize_t n = recv(child->report, text, REPORT_MAX, MSG_DONTWAIT);

    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (n == 1 && !text[0])
        return 1;
    make_printable(text);
    fail(err, MSB_ERR_SYSTEM, "%s: %s", child->name, text);
    return 1;
}

static void stop_reports(struct one_child *child)
{
    loop_remove(child->report_source);
    child->report_source = NULL;
}

static void on_report(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct one_child *child = data;
    struct children *children = child->children;
    msb_error *error = NULL;

    (void)source, (void)fd, (void)events;
    if (read_report(child, &error))
        children->events->reported(child, error, children->data);
    else
        stop_reports(child);
}

static bool reap(struct one_child *child, int flags)
{
    siginfo_t info = { 0 };

    if (child->ended)
        return true;
    if (waitid((idtype_t)P_PIDFD, (id_t)child->process.pidfd, &info, WEXITED | flags) < 0 || info.si_pid == 0)
        return false;
    child->ended = true;
    child->code = info.si_code;
    child->status = info.si_status;
    loop_remove(child->ended_source);
    child->ended_source = NULL;
    return true;
}

static void on_ended(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct one_child *child = data;

    (void)source, (void)fd, (void)events;
    if (reap(child, WNOHANG))
        child->children->events->ended(child, child->children->data);
}

/* Spawns with the writing end of a new pipe as the standard error. */
static int spawn_with_log(struct one_child *child, struct spawn *spawn, msb_error **err)
{
    int ends[2], fds[SPAWN_FDS_MAX], result;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_errno(err, "make a pipe");
    memcpy(fds, spawn->fds, spawn->num_fds * sizeof(int));
    fds[STDERR_FILENO] = ends[1];
    spawn->fds = fds;
    result = process_spawn(spawn, &child->process, err);
    close(ends[1]);
    child->log = lines_new(child->children->loop, ends[0], child->children->show_logs ? "" : NULL, result < 0 ? NULL : err);
    return result;
}

struct one_child *children_spawn(struct children *children, const char *name, struct spawn *spawn, int report, msb_error **err)
{
    struct one_child *child = &children->list[children->num];

    if (children->num == CHILDREN_MAX) {
        close(report);
        return FAIL_NULL(fail(err, MSB_ERR_SYSTEM, "more than %d processes for one VM", CHILDREN_MAX));
    }
    *child = (struct one_child){ .children = children, .name = name, .report = report, .io = -1 };
    if (spawn_with_log(child, spawn, err) < 0) {
        lines_free(child->log);
        close(report);
        return FAIL_NULL(fail_prefix(err, "start %s", name));
    }
    children->num++;
    child->ended_source = loop_add(children->loop, child->process.pidfd, EPOLLIN, on_ended, child, err);
    child->report_source = child->ended_source ? loop_add(children->loop, report, EPOLLIN, on_report, child, err) : NULL;
    return child->log && child->report_source ? child : NULL;
}

const struct one_child *children_culprit(struct children *children, const struct one_child *first)
{
    const struct one_child *killed = NULL;

    for (size_t i = 0; i < children->num; i++) {
        struct one_child *child = &children->list[i];

        if (reap(child, WNOHANG) && child->code != CLD_EXITED && !killed)
            killed = child;
    }
    return first->code != CLD_EXITED || !killed ? first : killed;
}

int children_fail(const struct one_child *child, msb_error **err)
{
    msb_error *said = NULL;
    const char *last;

    if (read_report(child, &said) && said)
        return fail_with(err, said);
    lines_drain(child->log);
    last = lines_last(child->log);
    if (child->code == CLD_EXITED)
        return fail(err, MSB_ERR_VM, "%s ended unexpectedly, with status %d%s%s", child->name, child->status, last ? ": " : "",
                    last ? last : "");
    if (child->status == SIGSYS)
        return fail(err, MSB_ERR_VM, "%s was killed because it made a system call that it must not", child->name);
    return fail(err, MSB_ERR_VM, "%s was killed by signal %d (%s)", child->name, child->status, strsignal(child->status));
}

void children_end(struct children *children)
{
    /* First a signal to all, then the waiting: they end side by side. */
    for (size_t i = 0; i < children->num; i++)
        if (!children->list[i].ended)
            syscall(SYS_pidfd_send_signal, children->list[i].process.pidfd, SIGKILL, NULL, 0);
    for (size_t i = 0; i < children->num; i++) {
        struct one_child *child = &children->list[i];

        reap(child, 0);
        stop_reports(child);
        if (child->log)
            lines_drain(child->log);
        lines_free(child->log);
        close(child->report);
        cleanup_fd(&child->io);
        close(child->process.pidfd);
    }
    children->num = 0;
}
