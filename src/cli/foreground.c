/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals are blocked and read from a descriptor, so that none is lost between the start and the wait, none interrupts anything, and
 * the terminal is what it was however this ends. With a terminal Ctrl-C is a byte like any other: the guest's line discipline makes
 * the signal of it.
 *
 * SIGTERM and SIGINT are the workload's to answer. One that does not end is ended by force: at a second SIGTERM ten seconds or more
 * after the first, which gives it the time to end by itself, or at a third SIGINT, which is somebody hitting Ctrl-C. What is not ours to
 * end is left then.
 */
#include "cli/foreground.h"

#include "cli/command.h"
#include "cli/terminal.h"
#include "util/cleanup.h"
#include "util/loop.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>

enum {
    GRACE_SECONDS = 10,
    PATIENCE = 3, /* how many Ctrl-C */
    FORCED_STATUS = 128 + SIGKILL,
};

struct foreground {
    const struct foreground_work *work;
    void *object;
    const struct foreground_options *options;
    struct loop *loop;
    struct loop_source *signals, *end;
    struct console *console; /* with options->carry */
    unsigned interrupts;
    bool terminated;      /* SIGTERM came at... */
    time_t terminated_at; /* ...this many seconds of the monotonic clock */
    bool forced;
    bool left;       /* it runs on without us... */
    int left_status; /* ...and this is our exit status */
};

static const int passed_on[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH };

/* Those that the caller ignores stay ignored (nohup): a blocked signal would come all the same. SIGTTOU would stop us when we put the
   terminal back from the background. */
static void signals_to_block(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++) {
        struct sigaction action;

        if (sigaction(passed_on[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(set, passed_on[i]);
    }
    sigaddset(set, SIGTTOU);
}

static bool is_time_for_force(struct foreground *f, int signal)
{
    struct timespec now;

    if (signal == SIGINT)
        return ++f->interrupts >= PATIENCE;
    if (signal != SIGTERM)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (f->terminated)
        return now.tv_sec - f->terminated_at >= GRACE_SECONDS;
    f->terminated = true;
    f->terminated_at = now.tv_sec;
    return false;
}

static void leave(struct foreground *f, int status)
{
    f->left = true;
    f->left_status = status;
    loop_quit(f->loop);
}

static void force(struct foreground *f, int signal)
{
    if (!f->work->kill) {
        leave(f, 128 + signal);
        return;
    }
    f->forced = true;
    f->work->kill(f->object, NULL);
}

/* An error is told only by the end of the work: that a signal comes too late for it is nobody's business. */
static void pass_on(struct foreground *f, int signal)
{
    uint16_t rows, columns;

    if (signal == SIGWINCH) {
        terminal_size(&rows, &columns);
        if (f->options->tty)
            f->work->resize(f->object, rows, columns, NULL);
    } else if (f->options->keep_signals) {
        leave(f, 128 + signal);
    } else if (is_time_for_force(f, signal)) {
        force(f, signal);
    } else {
        f->work->signal(f->object, signal, NULL);
    }
}

static void on_signal(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct foreground *f = data;
    struct signalfd_siginfo info;

    (void)source, (void)events;
    if (read(fd, &info, sizeof(info)) == sizeof(info) && info.ssi_signo != SIGTTOU)
        pass_on(f, (int)info.ssi_signo);
}

static void on_detached(void *data)
{
    leave(data, 0);
}

static void on_drained(void *data)
{
    loop_quit(((struct foreground *)data)->loop);
}

static const struct console_events console_events = { on_detached, on_drained };

static void on_end(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct foreground *f = data;

    (void)fd, (void)events;
    loop_modify(source, 0, NULL);
    if (f->console)
        console_end(f->console);
    else
        loop_quit(f->loop);
}

static int start(struct foreground *f, msb_error **err)
{
    const struct foreground_options *o = f->options;
    unsigned flags = (o->tty ? CONSOLE_TTY : 0) | (o->no_input ? CONSOLE_NO_INPUT : 0);
    int streams[] = { STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO };

    if (o->carry) {
        f->console = console_new(f->loop, flags, o->keys, &console_events, f, err);
        if (!f->console)
            return -1;
        for (int i = 0; i < 3; i++)
            streams[i] = console_stream(f->console, i);
    }
    if (f->work->start(f->object, streams, err) < 0)
        return -1;
    if (f->console)
        console_started(f->console);
    return 0;
}

/* Returns as work->wait(). */
static int run_to_the_end(struct foreground *f, int signals, msb_error **err)
{
    int fd;

    f->loop = loop_new(err);
    f->signals = f->loop ? loop_add(f->loop, signals, EPOLLIN, on_signal, f, err) : NULL;
    if (!f->signals || start(f, err) < 0)
        return -1;
    fd = f->work->fd(f->object, err);
    f->end = fd < 0 ? NULL : loop_add(f->loop, fd, EPOLLIN, on_end, f, err);
    if (!f->end || loop_run(f->loop, err) < 0) {
        if (f->work->kill) {
            f->work->kill(f->object, NULL);
            f->work->wait(f->object, NULL);
        }
        return -1;
    }
    return f->left ? f->left_status : f->work->wait(f->object, err);
}

/* What the shell shall see where there is no exit status of the workload. */
static int failed_status(const struct foreground *f, msb_error **err)
{
    int status = f->work->exit_status(f->object);

    if (f->forced) {
        msb_error_free(*err);
        *err = NULL;
        return FORCED_STATUS;
    }
    return status < 0 ? EXIT_MSB_FAILED : status;
}

int foreground_run(const struct foreground_work *work, void *object, const struct foreground_options *options, msb_error **err)
{
    struct foreground f = { .work = work, .object = object, .options = options };
    struct terminal terminal = { 0 };
    sigset_t blocked, before;
    _cleanup_fd_ int signals = -1;
    int status = -1;

    signals_to_block(&blocked);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    signals = signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        fail_errno(err, "watch for signals");
    else if (!options->tty || options->no_input || terminal_make_raw(&terminal, err) == 0)
        status = run_to_the_end(&f, signals, err);
    terminal_restore(&terminal);
    console_free(f.console);
    loop_remove(f.signals);
    loop_remove(f.end);
    loop_free(f.loop);
    if (status < 0)
        status = failed_status(&f, err);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}
