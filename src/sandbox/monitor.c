/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor: one process per VM. It starts the engine and the devices, configures the guest, carries the workload's streams and
 * signals, and tells its caller how it ended. It ends when the workload has ended, when any process of the VM has, when the caller
 * asks for it, and when the caller is gone; in every case nothing is left behind. Should it be killed itself, the kernel kills
 * its children (spawn.h).
 *
 * It stays in its caller's process group, so that job control treats the two as one, and leaves the signals of the terminal to the
 * caller, who passes on what is meant for the workload. Its children have sessions of their own.
 */
#include "sandbox/control.h"
#include "sandbox/guest.h"
#include "sandbox/launch.h"
#include "sandbox/lines.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "wire/message.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STATUS_FAILED = 125, STATUS_SIGNAL = 128 };

struct monitor {
    struct loop *loop;
    struct spec spec;
    struct files files;
    struct children children;
    struct launched launched;
    struct lines *console;
    struct guest *guest;
    struct guest_process *workload; /* while it runs */
    int output;                     /* the console_output file; -1: none */
    struct message_input from_caller;
    struct loop_source *stop_timer;
    bool guest_ready, workload_over, guest_finished;
    struct one_child *follower; /* a device that ended after the engine, it seems */
    struct loop_source *follower_timer;
    /* How it ends. */
    bool over;
    int status;
    msb_error *error;
    bool guest_ended; /* by itself: its kernel's last words tell more */
};

/* ---- The end ------------------------------------------------------------------------------------------------------------------ */

/* Takes the error; the first end counts. */
static void end(struct monitor *monitor, int status, msb_error *error)
{
    if (monitor->over) {
        msb_error_free(error);
        return;
    }
    monitor->over = true;
    monitor->status = status;
    monitor->error = error;
    loop_quit(monitor->loop);
}

static void end_by_force(struct monitor *monitor)
{
    msb_error *error = NULL;

    fail(&error, MSB_ERR_VM, "the VM was ended by force");
    end(monitor, STATUS_SIGNAL + SIGKILL, error);
}

static void check_over(struct monitor *monitor)
{
    if (monitor->guest_finished && (monitor->workload_over || !monitor->spec.has_process))
        end(monitor, monitor->status, monitor->error);
}

/* ---- The guest ---------------------------------------------------------------------------------------------------------------- */

static void on_ready(void *data)
{
    struct monitor *monitor = data;

    monitor->guest_ready = true;
    log_debug("the guest is configured");
}

static void on_finished(void *data)
{
    struct monitor *monitor = data;

    monitor->guest_finished = true;
    check_over(monitor);
}

static void on_failed(msb_error *error, void *data)
{
    end(data, STATUS_FAILED, error);
}

static const struct guest_events guest_events = { on_ready, on_finished, on_failed };

static void on_workload_ended(struct guest_process *process, const struct process_end *how, void *data)
{
    struct monitor *monitor = data;

    (void)process;
    monitor->workload = NULL;
    monitor->workload_over = true;
    if (how->out_of_memory)
        log_warn("the guest ran out of memory, and its kernel ended the workload: memory_mib is %u", monitor->spec.memory_mib);
    switch (how->fate) {
    case PROCESS_NOT_STARTED:
        monitor->status = how->status;
        fail(&monitor->error, MSB_ERR_WORKLOAD, "%s", how->why);
        break;
    case PROCESS_EXITED:
        monitor->status = how->status;
        break;
    case PROCESS_KILLED:
        monitor->status = STATUS_SIGNAL + how->status;
        break;
    }
    check_over(monitor);
}

/* A packet from the vsock device: the port, and the connection as a descriptor. */
static void on_connection(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct monitor *monitor = data;
    uint8_t port[4];
    struct iovec iov = { .iov_base = port, .iov_len = sizeof(port) };
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = n >= 0 ? CMSG_FIRSTHDR(&message) : NULL;
    struct reader r = { port, sizeof(port), false };
    int connection;

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    /* The device's end is seen by its pidfd. */
    if (n <= 0) {
        loop_modify(source, 0, NULL);
        return;
    }
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
        header->cmsg_len != CMSG_LEN(sizeof(int)))
        return;
    memcpy(&connection, CMSG_DATA(header), sizeof(int));
    if (n != sizeof(port) || fcntl(connection, F_SETFL, O_NONBLOCK) < 0)
        close(connection);
    else
        guest_connection(monitor->guest, get_u32(&r), connection);
}

/* ---- The processes of the VM ------------------------------------------------------------------------------------------------------ */

/* What the guest kernel's console says about an engine that ended: by itself, it ends when the guest resets. */
static int fail_guest(struct monitor *monitor, msb_error **err)
{
    const char *panic = lines_found(monitor->console);

    monitor->guest_ended = true;
    return panic ? fail(err, MSB_ERR_VM, "the guest's kernel panicked: %s", panic)
                 : fail(err, MSB_ERR_VM, "the guest ended before its workload did");
}

static void end_with_child(struct monitor *monitor, struct one_child *child)
{
    const struct one_child *culprit = children_culprit(&monitor->children, child);
    msb_error *error = NULL;

    lines_drain(monitor->console);
    if (culprit == monitor->launched.engine && culprit->code == CLD_EXITED && culprit->status == 0)
        fail_guest(monitor, &error);
    else
        children_fail(culprit, &error);
    end(monitor, STATUS_FAILED, error);
}

static void on_follower_timer(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct monitor *monitor = data;

    (void)source, (void)fd, (void)events;
    end_with_child(monitor, monitor->follower);
}

/* A device ends by itself, with status 0, when the engine hangs up: then the engine's end is on its way, and tells why. */
static void on_child_ended(struct one_child *child, void *data)
{
    enum { PATIENCE = 1000000000 /* ns */ };
    struct monitor *monitor = data;

    if (child == monitor->launched.engine || child->code != CLD_EXITED || child->status != 0) {
        end_with_child(monitor, child);
        return;
    }
    if (monitor->follower_timer)
        return;
    monitor->follower = child;
    monitor->follower_timer = loop_timer(monitor->loop, PATIENCE, on_follower_timer, monitor, NULL);
    if (!monitor->follower_timer)
        end_with_child(monitor, child);
}

static void on_child_reported(struct one_child *child, msb_error *error, void *data)
{
    if (error)
        end(data, STATUS_FAILED, error);
    else
        log_debug("%s is ready", child->name);
}

static const struct children_events children_events = { on_child_ended, on_child_reported };

/* ---- The caller -------------------------------------------------------------------------------------------------------------------- */

static void on_stop_timer(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source, (void)fd, (void)events;
    end_by_force(data);
}

static int stop(struct monitor *monitor, uint32_t milliseconds, msb_error **err)
{
    loop_remove(monitor->stop_timer);
    monitor->stop_timer = loop_timer(monitor->loop, milliseconds * 1000000ULL, on_stop_timer, monitor, err);
    if (!monitor->stop_timer)
        return -1;
    if (monitor->workload)
        return guest_signal(monitor->guest, monitor->workload, SIGTERM, err);
    return monitor->spec.has_process ? 0 : guest_finish(monitor->guest, err);
}

/* A guest that still boots cannot pass on what would end its workload, and may never be able to: the VM ends at once. */
static int pass_signal(struct monitor *monitor, uint8_t signal, msb_error **err)
{
    bool ends = signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == SIGQUIT;
    msb_error *error = NULL;

    if (ends && !monitor->guest_ready) {
        fail(&error, MSB_ERR_VM, "the VM was ended by signal %d before its workload had started", signal);
        end(monitor, STATUS_SIGNAL + signal, error);
        return 0;
    }
    return monitor->workload ? guest_signal(monitor->guest, monitor->workload, signal, err) : 0;
}

static int on_caller_message(struct monitor *monitor, uint16_t type, struct reader *body, msb_error **err)
{
    uint32_t request = get_u32(body);
    uint32_t first = type == CONTROL_HELLO    ? get_u32(body)
                     : type == CONTROL_STOP   ? get_u32(body)
                     : type == CONTROL_SIGNAL ? get_u8(body)
                                              : 0;
    uint16_t rows = type == CONTROL_RESIZE ? get_u16(body) : 0, columns = type == CONTROL_RESIZE ? get_u16(body) : 0;

    (void)request;
    if (!reader_done(body))
        return fail(err, MSB_ERR_PROTOCOL, "the caller sent a bad message");
    switch (type) {
    case CONTROL_SIGNAL:
        return pass_signal(monitor, (uint8_t)first, err);
    case CONTROL_RESIZE:
        return monitor->workload ? guest_resize(monitor->guest, monitor->workload, rows, columns, err) : 0;
    case CONTROL_STOP:
        return stop(monitor, first, err);
    case CONTROL_HELLO:
        return first == CONTROL_VERSION ? 0 : fail(err, MSB_ERR_PROTOCOL, "the caller is of another version");
    case CONTROL_KILL:
        end_by_force(monitor);
        return 0;
    default:
        return fail(err, MSB_ERR_PROTOCOL, "the caller sent an unknown message");
    }
}

static void on_caller(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct monitor *monitor = data;
    ssize_t n = message_input_fill(&monitor->from_caller, fd);
    struct reader body;
    msb_error *error = NULL;
    uint16_t type;
    int found = 0;

    (void)source, (void)events;
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        end_by_force(monitor);
        return;
    }
    while (!monitor->over && !error && (found = message_input_next(&monitor->from_caller, &type, &body)) == 1)
        on_caller_message(monitor, type, &body, &error);
    if (found < 0)
        fail(&error, MSB_ERR_PROTOCOL, "the caller sent a message without a header");
    if (error)
        end(monitor, STATUS_FAILED, error);
}

static void report_result(struct monitor *monitor)
{
    _cleanup_free_ char *lines = NULL;
    struct message_output out = { 0 };
    size_t begin = message_begin(&out.queue, (enum message)CONTROL_RESULT);

    if (monitor->guest_ended)
        lines = lines_all(monitor->console);
    put_u32(&out.queue, 0);
    put_u8(&out.queue, (uint8_t)msb_error_code(monitor->error));
    put_u8(&out.queue, (uint8_t)monitor->status);
    put_string(&out.queue, monitor->error ? msb_error_message(monitor->error) : NULL);
    put_string(&out.queue, lines);
    message_end(&out.queue, begin);
    fcntl(MONITOR_FD_CALLER, F_SETFL, 0);
    /* A caller that is gone needs no result. */
    message_output_flush(&out, MONITOR_FD_CALLER);
    message_output_clear(&out);
}

/* ---- The beginning -------------------------------------------------------------------------------------------------------------------- */

static int receive_spec(struct spec *spec, msb_error **err)
{
    struct stat st;
    struct reader r = { 0 };
    void *data;
    int result;

    if (fstat(MONITOR_FD_SPEC, &st) < 0)
        return fail_errno(err, "examine the specification");
    data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, MONITOR_FD_SPEC, 0);
    if (data == MAP_FAILED)
        return fail_errno(err, "map the specification");
    r = (struct reader){ data, (size_t)st.st_size, false };
    get_u8(&r);
    result = spec_decode(&r, spec, err);
    munmap(data, (size_t)st.st_size);
    close(MONITOR_FD_SPEC);
    return result;
}

static int configure(struct monitor *monitor, struct guest_config *config, msb_error **err)
{
    config->log_level = (uint8_t)monitor->spec.log_level;
    config->hostname = strdup(monitor->spec.hostname ? monitor->spec.hostname : "microsandbox");
    if (!config->hostname)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    if (getrandom(config->seed, sizeof(config->seed), 0) != sizeof(config->seed))
        return fail_errno(err, "get random bytes for the guest");
    /* The plan keeps what this points to. */
    config->network = monitor->launched.net.guest;
    monitor->guest = guest_new(monitor->loop, config, &guest_events, monitor, err);
    config->network = (struct guest_network){ 0 };
    return monitor->guest ? 0 : -1;
}

static int run_workload(struct monitor *monitor, msb_error **err)
{
    struct process_streams streams = { MONITOR_FD_STDIN, MONITOR_FD_STDOUT, MONITOR_FD_STDERR };
    const struct spec *spec = &monitor->spec;

    if (!spec->has_process)
        return 0;
    if (spec->console_output) {
        monitor->output = open(spec->console_output, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666);
        if (monitor->output < 0)
            return fail_errno(err, "open console_output \"%s\"", spec->console_output);
        streams.out = streams.err = monitor->output;
    }
    monitor->workload = guest_run(monitor->guest, &spec->process, true, &streams, on_workload_ended, monitor, err);
    return monitor->workload ? 0 : -1;
}

static int watch(struct monitor *monitor, msb_error **err)
{
    const char *show = monitor->spec.log_level >= MSB_LOG_DEBUG ? "kernel: " : NULL;

    monitor->console = lines_new(monitor->loop, steal_fd(&monitor->launched.console), show, err);
    if (!monitor->console)
        return -1;
    lines_find(monitor->console, "Kernel panic - not syncing");
    if (!loop_add(monitor->loop, monitor->launched.connections, EPOLLIN, on_connection, monitor, err))
        return -1;
    return loop_add(monitor->loop, MONITOR_FD_CALLER, EPOLLIN | EPOLLRDHUP, on_caller, monitor, err) ? 0 : -1;
}

static int start(struct monitor *monitor, msb_error **err)
{
    struct guest_config config = { 0 };
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    int result;

    if (length < 0)
        return fail_errno(err, "read `/proc/self/exe`");
    program[length] = '\0';
    if (files_init(&monitor->files, program, err) < 0)
        return -1;
    result = launch(&monitor->spec, &monitor->files, &monitor->children, &config, &monitor->launched, err);
    if (result == 0)
        result = configure(monitor, &config, err);
    guest_config_clear(&config);
    if (result < 0 || run_workload(monitor, err) < 0)
        return -1;
    return watch(monitor, err);
}

/* Signals that a terminal or a service manager sends to all at once are for the caller to judge. SIGPIPE is an error of write(2). */
static void ignore_signals(void)
{
    static const int ignored[] = { SIGINT, SIGQUIT, SIGHUP, SIGTERM, SIGUSR1, SIGUSR2, SIGPIPE };

    sigset_t none;

    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
    /* The caller blocked all until now. */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What was inherited is not for the children. */
static int adopt_fds(msb_error **err)
{
    for (int fd = MONITOR_FD_CALLER; fd < MONITOR_NUM_FDS; fd++)
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
            return fail_errno(err, "use descriptor %d", fd);
    return fcntl(MONITOR_FD_CALLER, F_SETFL, O_NONBLOCK) < 0 ? fail_errno(err, "use the caller's socket") : 0;
}

int main(void)
{
    struct monitor monitor = {
        .output = -1,
        .launched = { .connections = -1, .console = -1, .net.member.lock = -1 },
        .from_caller.max = CONTROL_TO_MONITOR_MAX,
    };
    msb_error *error = NULL;

    ignore_signals();
    monitor.loop = loop_new(&error);
    monitor.children = (struct children){ .loop = monitor.loop, .events = &children_events, .data = &monitor };
    if (monitor.loop && adopt_fds(&error) == 0 && receive_spec(&monitor.spec, &error) == 0) {
        log_init("monitor", monitor.spec.log_level, MONITOR_FD_LOG);
        monitor.children.show_logs = log_enabled(MSB_LOG_ERROR);
        if (start(&monitor, &error) == 0)
            loop_run(monitor.loop, &error);
    }
    if (error)
        end(&monitor, STATUS_FAILED, error);
    children_end(&monitor.children);
    net_plan_release(&monitor.launched.net);
    report_result(&monitor);
    return 0;
}
