/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a sandbox lives, and what time it is for its guest.
 *
 * The guest's clock runs by itself, and is wrong after the host slept, the host's clock was set, or the engine was stopped for a while. The
 * first two cancel a timer on the real-time clock (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET); of the last, SIGCHLD tells its parent, and
 * SIGCONT this process itself when it was stopped too. Nothing looks at the clock in between.
 */
#include "sandbox/monitor.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

enum { STOP_GRACE_MS = 10000 };

static const uint64_t nanoseconds_per_millisecond = 1000000;

/* ---- Limits ----------------------------------------------------------------------------------------------------------------- */

/* Centuries, where it would overflow. */
static uint64_t nanoseconds(uint64_t milliseconds)
{
    const uint64_t most = INT64_MAX / nanoseconds_per_millisecond;

    return (milliseconds < most ? milliseconds : most) * nanoseconds_per_millisecond;
}

static void expire(struct monitor *monitor, const char *which, uint64_t milliseconds)
{
    msb_error *error = NULL;

    if (monitor->over || monitor->error)
        return;
    fail(&monitor->error, MSB_ERR_TIMEOUT, "the sandbox was stopped when its %s of %llu ms was over", which,
         (unsigned long long)milliseconds);
    monitor->status = STATUS_TIMED_OUT;
    log_info("%s", msb_error_message(monitor->error));
    if (monitor_stop(monitor, STOP_GRACE_MS, &error) < 0)
        monitor_end(monitor, STATUS_FAILED, error);
}

static void on_life_over(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct monitor *monitor = data;

    (void)source, (void)fd, (void)events;
    expire(monitor, "timeout", monitor->spec.timeout_ms);
}

static int wait_for_idleness(struct monitor *monitor, uint64_t nanoseconds_from_now, msb_error **err);

/* The timer is not set anew each time something happens, but when it fires too early. */
static void on_idle(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct monitor *monitor = data;
    uint64_t limit = nanoseconds(monitor->spec.idle_timeout_ms), idle;
    msb_error *error = NULL;

    (void)source, (void)fd, (void)events;
    if (!serve_is_idle(monitor))
        life_touch(monitor);
    idle = monotonic_now() - monitor->active;
    if (idle >= limit)
        expire(monitor, "idle timeout", monitor->spec.idle_timeout_ms);
    else if (wait_for_idleness(monitor, limit - idle, &error) < 0)
        monitor_end(monitor, STATUS_FAILED, error);
}

static int wait_for_idleness(struct monitor *monitor, uint64_t nanoseconds_from_now, msb_error **err)
{
    loop_remove(monitor->idle_timer);
    monitor->idle_timer = loop_timer(monitor->loop, nanoseconds_from_now, on_idle, monitor, err);
    return monitor->idle_timer ? 0 : -1;
}

void life_touch(struct monitor *monitor)
{
    if (monitor->spec.idle_timeout_ms)
        monitor->active = monotonic_now();
}

static int begin_limits(struct monitor *monitor, msb_error **err)
{
    const struct spec *spec = &monitor->spec;

    if (spec->timeout_ms) {
        monitor->life_timer = loop_timer(monitor->loop, nanoseconds(spec->timeout_ms), on_life_over, monitor, err);
        if (!monitor->life_timer)
            return -1;
    }
    life_touch(monitor);
    return spec->idle_timeout_ms ? wait_for_idleness(monitor, nanoseconds(spec->idle_timeout_ms), err) : 0;
}

/* ---- The clock -------------------------------------------------------------------------------------------------------------- */

static void set_time(struct monitor *monitor)
{
    msb_error *error = NULL;

    log_debug("the guest's clock is set");
    if (guest_set_time(monitor->guest, &error) < 0)
        monitor_end(monitor, STATUS_FAILED, error);
}

/* A time that does not come: the timer is for what cancels it. */
static int wait_for_change(int fd, msb_error **err)
{
    const struct itimerspec never = { .it_value.tv_sec = INT64_MAX / 1000000000 };

    if (timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0 && errno != ECANCELED)
        return fail_errno(err, "watch the clock");
    return 0;
}

static void on_clock(struct loop_source *source, int fd, uint32_t events, void *data)
{
    uint64_t expirations;

    (void)source, (void)events;
    if (read(fd, &expirations, sizeof(expirations)) < 0 && errno == EAGAIN)
        return;
    wait_for_change(fd, NULL);
    set_time(data);
}

static bool engine_continued(const struct monitor *monitor)
{
    siginfo_t info = { 0 };

    return monitor->launched.engine && !monitor->launched.engine->ended &&
           waitid((idtype_t)P_PIDFD, (id_t)monitor->launched.engine->process.pidfd, &info, WCONTINUED | WNOHANG) == 0 &&
           info.si_pid != 0;
}

static void on_signal(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct signalfd_siginfo info;

    (void)source, (void)events;
    /* One SIGCHLD may stand for several. */
    if (read(fd, &info, sizeof(info)) == sizeof(info) && (engine_continued(data) || info.ssi_signo == SIGCONT))
        set_time(data);
}

static int begin_clock(struct monitor *monitor, msb_error **err)
{
    sigset_t signals;

    monitor->clock_fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (monitor->clock_fd < 0)
        return fail_errno(err, "create a timer");
    monitor->clock_source = loop_add(monitor->loop, monitor->clock_fd, EPOLLIN, on_clock, monitor, err);
    if (!monitor->clock_source || wait_for_change(monitor->clock_fd, err) < 0)
        return -1;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGCONT);
    /* A blocked SIGCONT continues all the same. The children start with nothing blocked (spawn.c). */
    if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
        return fail_errno(err, "block signals");
    monitor->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (monitor->signal_fd < 0)
        return fail_errno(err, "watch for signals");
    monitor->signal_source = loop_add(monitor->loop, monitor->signal_fd, EPOLLIN, on_signal, monitor, err);
    return monitor->signal_source ? 0 : -1;
}

int life_begin(struct monitor *monitor, msb_error **err)
{
    return begin_limits(monitor, err) < 0 ? -1 : begin_clock(monitor, err);
}

void life_clear(struct monitor *monitor)
{
    loop_remove(monitor->life_timer);
    loop_remove(monitor->idle_timer);
    loop_remove(monitor->clock_source);
    loop_remove(monitor->signal_source);
    cleanup_fd(&monitor->clock_fd);
    cleanup_fd(&monitor->signal_fd);
}
