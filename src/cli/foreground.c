/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals are blocked and read from a descriptor, so that none is lost between the start and the wait, none interrupts anything, and
 * the terminal is what it was however this ends. With a terminal Ctrl-C is a byte like any other: the guest's line discipline makes
 * the signal of it.
 *
 * SIGTERM and SIGINT are the workload's to answer. One that does not end is ended by force: at a second SIGTERM ten seconds or more
 * after the first, which gives it the time to end by itself, or at a third SIGINT, which is somebody hitting Ctrl-C.
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
    msb_vm *vm;
    struct loop *loop;
    struct loop_source *signals, *end;
    bool tty;
    unsigned interrupts;
    bool terminated;      /* SIGTERM came at... */
    time_t terminated_at; /* ...this many seconds of the monotonic clock */
    bool forced;
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

/* An error is told only by the end of the VM: that a signal comes too late for it is nobody's business. */
static void pass_on(struct foreground *f, int signal)
{
    uint16_t rows, columns;

    if (signal == SIGWINCH) {
        terminal_size(&rows, &columns);
        if (f->tty)
            msb_vm_resize(f->vm, rows, columns, NULL);
    } else if (is_time_for_force(f, signal)) {
        f->forced = true;
        msb_vm_kill(f->vm, NULL);
    } else {
        msb_vm_signal(f->vm, signal, NULL);
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

static void on_end(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source, (void)fd, (void)events;
    loop_quit(((struct foreground *)data)->loop);
}

/* Returns as msb_vm_wait(). */
static int run_to_the_end(struct foreground *f, int signals, msb_error **err)
{
    f->loop = loop_new(err);
    f->signals = f->loop ? loop_add(f->loop, signals, EPOLLIN, on_signal, f, err) : NULL;
    if (!f->signals || msb_vm_spawn(f->vm, err) < 0)
        return -1;
    f->end = loop_add(f->loop, msb_vm_fd(f->vm), EPOLLIN, on_end, f, err);
    if (!f->end || loop_run(f->loop, err) < 0) {
        msb_vm_kill(f->vm, NULL);
        msb_vm_wait(f->vm, NULL);
        return -1;
    }
    return msb_vm_wait(f->vm, err);
}

/* What the shell shall see where there is no exit status of the workload. */
static int failed_status(const struct foreground *f, msb_error **err)
{
    int status = msb_vm_exit_status(f->vm);

    if (f->forced) {
        msb_error_free(*err);
        *err = NULL;
        return FORCED_STATUS;
    }
    return status < 0 ? EXIT_MSB_FAILED : status;
}

int foreground_run(msb_vm *vm, bool tty, msb_error **err)
{
    struct foreground f = { .vm = vm, .tty = tty };
    struct terminal terminal = { 0 };
    sigset_t blocked, before;
    _cleanup_fd_ int signals = -1;
    int status = -1;

    signals_to_block(&blocked);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    signals = signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        fail_errno(err, "watch for signals");
    else if (!tty || terminal_make_raw(&terminal, err) == 0)
        status = run_to_the_end(&f, signals, err);
    terminal_restore(&terminal);
    loop_remove(f.signals);
    loop_remove(f.end);
    loop_free(f.loop);
    if (status < 0)
        status = failed_status(&f, err);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}
