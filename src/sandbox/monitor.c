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
#include "sandbox/monitor.h"
#include "sandbox/confine.h"
#include "sandbox/record.h"
#include "sandbox/runtime.h"
#include "sandbox/usage.h"
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FILES_MAX = 8192 }; /* nine for each of the most commands at once, and room */

static uint64_t nanoseconds_of(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

uint64_t monotonic_now(void)
{
    return nanoseconds_of(CLOCK_MONOTONIC);
}

/* ---- The end ------------------------------------------------------------------------------------------------------------------ */

/* An error that is there already is why it was stopped: how that went then does not count. */
void monitor_end(struct monitor *monitor, int status, msb_error *error)
{
    if (monitor->over || (monitor->error && error != monitor->error)) {
        msb_error_free(error);
    } else {
        monitor->status = status;
        monitor->error = error;
    }
    monitor->over = true;
    loop_quit(monitor->loop);
}

void monitor_end_by_force(struct monitor *monitor)
{
    msb_error *error = NULL;

    fail(&error, MSB_ERR_VM, "the VM was ended by force");
    monitor_end(monitor, STATUS_SIGNAL + SIGKILL, error);
}

static void on_drain_timer(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source, (void)fd, (void)events;
    serve_hurry(data);
}

/* Who is attached has some time to take the rest. */
static void drain(struct monitor *monitor)
{
    static const uint64_t patience = 5000000000; /* ns */
    msb_error *error = NULL;

    if (monitor->drain_timer)
        return;
    monitor->drain_timer = loop_timer(monitor->loop, patience, on_drain_timer, monitor, &error);
    if (!monitor->drain_timer)
        monitor_end(monitor, STATUS_FAILED, error);
}

void monitor_check_over(struct monitor *monitor)
{
    if (!monitor->guest_finished || monitor->over)
        return;
    if (monitor->spec.has_process && (!monitor->workload_over || monitor->out || monitor->err)) {
        if (monitor->out || monitor->err)
            drain(monitor);
        return;
    }
    if (serve_has_attached(monitor))
        drain(monitor);
    else
        monitor_end(monitor, monitor->status, monitor->error);
}

/* ---- The state that others see ------------------------------------------------------------------------------------------------ */

static enum msb_sandbox_state state_of(const struct monitor *monitor)
{
    if (monitor->ended)
        return monitor->error ? MSB_SANDBOX_FAILED : MSB_SANDBOX_EXITED;
    return monitor->stopping ? MSB_SANDBOX_STOPPING : monitor->up ? MSB_SANDBOX_RUNNING : MSB_SANDBOX_STARTING;
}

static char *print_state(const struct monitor *monitor, const char *kernel_log, msb_error **err)
{
    const struct net_plan *net = &monitor->launched.net;
    struct record record = {
        .spec = &monitor->spec,
        .state = state_of(monitor),
        .detached = monitor->options & LAUNCH_DETACH,
        .pid = getpid(),
        .created = monitor->created,
        .started = monitor->started,
        .ended = monitor->ended,
        .engine = monitor->launched.engine_name,
        .has_network = net->present,
        .ip = net->setup.ip,
        .subnet = net->setup.subnet,
        .subnet_bits = net->setup.subnet_bits,
        .host_ports = net->host_ports,
        .exit_status = monitor->status,
        .code = msb_error_code(monitor->error),
        .error = monitor->error ? msb_error_message(monitor->error) : NULL,
        .kernel_log = kernel_log,
    };

    return record_print(&record, err);
}

int monitor_write_state(struct monitor *monitor, msb_error **err)
{
    _cleanup_free_ char *json = NULL;

    if (!monitor->registration.name)
        return 0;
    json = print_state(monitor, NULL, err);
    return json ? registry_write(&monitor->registration, json, err) : -1;
}

/* A failure to say so is no reason to end a sandbox that works. */
static void update_state(struct monitor *monitor)
{
    msb_error *error = NULL;

    if (monitor_write_state(monitor, &error) < 0)
        log_error("%s", msb_error_message(error));
    msb_error_free(error);
}

/* The guest is configured, and the command runs. */
static void check_up(struct monitor *monitor)
{
    msb_error *error = NULL;

    if (monitor->up || !monitor->guest_ready || (monitor->spec.has_process && !monitor->workload_started))
        return;
    monitor->up = true;
    monitor->started = nanoseconds_of(CLOCK_REALTIME);
    update_state(monitor);
    if (serve_up(monitor, &error) < 0)
        monitor_end(monitor, STATUS_FAILED, error);
}

/* ---- The guest ---------------------------------------------------------------------------------------------------------------- */

static void on_ready(void *data)
{
    struct monitor *monitor = data;

    /* Once is enough, however often a guest says so. */
    if (monitor->guest_ready)
        return;
    monitor->guest_ready = true;
    log_debug("the guest is configured");
    launched_configured(&monitor->launched);
    check_up(monitor);
}

static void on_finished(void *data)
{
    struct monitor *monitor = data;

    monitor->guest_finished = true;
    monitor_check_over(monitor);
}

static void on_failed(msb_error *error, void *data)
{
    monitor_end(data, STATUS_FAILED, error);
}

static void on_stats(uint32_t request, const struct guest_stats *stats, void *data)
{
    serve_stats(data, request, stats);
}

static const struct guest_events guest_events = { on_ready, on_finished, on_failed, on_stats };

static void on_workload_started(struct guest_process *process, void *data)
{
    struct monitor *monitor = data;

    (void)process;
    monitor->workload_started = true;
    check_up(monitor);
}

/* When it was stopped for a reason of ours, that is what counts. */
static void judge_workload(struct monitor *monitor, const struct process_end *how)
{
    if (monitor->error)
        return;
    monitor->status = how->fate == PROCESS_KILLED ? STATUS_SIGNAL + how->status : how->status;
    if (how->fate == PROCESS_NOT_STARTED)
        fail(&monitor->error, MSB_ERR_WORKLOAD, "%s", how->why);
}

static void on_workload_ended(struct guest_process *process, const struct process_end *how, void *data)
{
    struct monitor *monitor = data;
    unsigned flags =
        (how->fate == PROCESS_NOT_STARTED ? CONTROL_EXIT_NOT_STARTED : 0) | (how->out_of_memory ? CONTROL_EXIT_OUT_OF_MEMORY : 0);

    (void)process;
    monitor->workload = NULL;
    monitor->workload_over = true;
    if (how->out_of_memory)
        log_warn("the guest ran out of memory, and its kernel ended the workload: memory_mib is %u", monitor->spec.memory_mib);
    judge_workload(monitor, how);
    if (!monitor->stopping) {
        monitor->stopping = true;
        update_state(monitor);
    }
    /* What it left in them is still to be handed on. */
    if (monitor->out)
        output_close(monitor->out);
    if (monitor->err)
        output_close(monitor->err);
    serve_workload_ended(monitor, (uint8_t)monitor->status, (uint8_t)flags, how->why);
    monitor_check_over(monitor);
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

/* What the guest kernel's console says about an engine that ended: by itself, it ends when the guest resets. PID 1 says why it reset
   the machine there, where it cannot over its connection. */
static int fail_guest(struct monitor *monitor, msb_error **err)
{
    const char *panic = lines_found(monitor->console), *init = lines_search(monitor->console, "init: ");

    monitor->guest_ended = true;
    if (panic)
        return fail(err, MSB_ERR_VM, "the guest's kernel panicked: %s", panic);
    return fail(err, MSB_ERR_VM, "the guest ended before its workload did%s%s", init ? ": " : "", init ? init : "");
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
    monitor_end(monitor, STATUS_FAILED, error);
}

static void on_follower_timer(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct monitor *monitor = data;

    (void)source, (void)fd, (void)events;
    end_with_child(monitor, monitor->follower);
}

static bool all_have_ended(const struct children *children)
{
    for (size_t i = 0; i < children->num; i++)
        if (!children->list[i].ended)
            return false;
    return true;
}

/* When one of them ends, the others follow by themselves: a device ends with status 0 when the engine hangs up, and the engine, or the
   guest in it, when a device does. The kernel closes the descriptors of one that is killed before it says that it has ended, so that who
   follows may be seen first. So only one that cannot have followed is blamed at once; else all are heard, for a second at most. */
static void on_child_ended(struct one_child *child, void *data)
{
    enum { PATIENCE = 1000000000 /* ns */ };
    struct monitor *monitor = data;
    bool is_engine = child == monitor->launched.engine;

    if (child->code != CLD_EXITED || (!is_engine && child->status != 0)) {
        end_with_child(monitor, child);
        return;
    }
    if (!monitor->follower || is_engine)
        monitor->follower = child;
    if (!monitor->follower_timer && !all_have_ended(&monitor->children))
        monitor->follower_timer = loop_timer(monitor->loop, PATIENCE, on_follower_timer, monitor, NULL);
    if (!monitor->follower_timer || all_have_ended(&monitor->children))
        end_with_child(monitor, monitor->follower);
}

static void on_child_reported(struct one_child *child, msb_error *error, void *data)
{
    if (error)
        monitor_end(data, STATUS_FAILED, error);
    else
        log_debug("%s is ready", child->name);
}

static const struct children_events children_events = { on_child_ended, on_child_reported };

/* ---- Stopping ------------------------------------------------------------------------------------------------------------------ */

static void on_stop_timer(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source, (void)fd, (void)events;
    monitor_end_by_force(data);
}

int monitor_stop(struct monitor *monitor, uint64_t milliseconds, msb_error **err)
{
    loop_remove(monitor->stop_timer);
    monitor->stop_timer = loop_timer(monitor->loop, milliseconds * 1000000U, on_stop_timer, monitor, err);
    if (!monitor->stop_timer)
        return -1;
    if (!monitor->stopping) {
        monitor->stopping = true;
        update_state(monitor);
    }
    if (monitor->workload)
        return guest_signal(monitor->guest, monitor->workload, SIGTERM, err);
    return monitor->spec.has_process ? 0 : guest_finish(monitor->guest, err);
}

/* A guest that still boots cannot pass on what would end its workload, and may never be able to: the VM ends at once. */
int monitor_signal(struct monitor *monitor, uint8_t signal, msb_error **err)
{
    bool ends = signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == SIGQUIT;
    msb_error *error = NULL;

    if (ends && !monitor->guest_ready) {
        fail(&error, MSB_ERR_VM, "the VM was ended by signal %d before its workload had started", signal);
        monitor_end(monitor, STATUS_SIGNAL + signal, error);
        return 0;
    }
    return monitor->workload ? guest_signal(monitor->guest, monitor->workload, signal, err) : 0;
}

/* ---- The beginning -------------------------------------------------------------------------------------------------------------------- */

static int receive_spec(struct monitor *monitor, msb_error **err)
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
    monitor->options = get_u8(&r);
    result = spec_decode(&r, &monitor->spec, err);
    munmap(data, (size_t)st.st_size);
    close(MONITOR_FD_SPEC);
    return result;
}

static int configure(struct monitor *monitor, struct guest_config *config, msb_error **err)
{
    const struct spec *spec = &monitor->spec;

    config->log_level = (uint8_t)spec->log_level;
    config->hostname = strdup(spec->hostname ? spec->hostname : spec->name ? spec->name : "microsandbox");
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

static void on_output(struct monitor *monitor, enum log_stream stream, const void *bytes, size_t size)
{
    life_touch(monitor);
    if (monitor->log)
        log_writer_put(monitor->log, stream, bytes, size, nanoseconds_of(CLOCK_REALTIME));
}

static void on_out(const void *bytes, size_t size, void *data)
{
    on_output(data, LOG_STDOUT, bytes, size);
}

static void on_err(const void *bytes, size_t size, void *data)
{
    on_output(data, LOG_STDERR, bytes, size);
}

static void on_output_ended(struct output *output, void *data)
{
    struct monitor *monitor = data;
    struct output **ended = output == monitor->out ? &monitor->out : &monitor->err;

    /* Those who are attached still take the rest of it. */
    output_forget(output);
    *ended = NULL;
    monitor_check_over(monitor);
}

/* The streams of a workload that has no caller: its log and those who attach. */
static int open_streams(struct monitor *monitor, struct process_streams *streams, msb_error **err)
{
    static const struct output_events out_events = { on_out, on_output_ended }, err_events = { on_err, on_output_ended };

    *streams = (struct process_streams){ 0, 1, 1 }; /* /dev/null */
    if (monitor->options & LAUNCH_INPUT || monitor->spec.process.tty) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, monitor->input) < 0)
            return fail_errno(err, "make a socket pair");
        streams->in = monitor->input[1];
    }
    monitor->out = output_new(monitor->loop, &out_events, monitor, err);
    if (!monitor->out)
        return -1;
    streams->out = output_end(monitor->out);
    if (monitor->spec.process.tty)
        return 0;
    monitor->err = output_new(monitor->loop, &err_events, monitor, err);
    if (!monitor->err)
        return -1;
    streams->err = output_end(monitor->err);
    return 0;
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
    } else if (monitor->options & LAUNCH_DETACH && open_streams(monitor, &streams, err) < 0) {
        return -1;
    }
    monitor->workload =
        guest_run(monitor->guest, &spec->process, true, &streams, on_workload_started, on_workload_ended, monitor, err);
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
    return life_begin(monitor, err);
}

/* Takes the name, and begins the log. */
static int enlist(struct monitor *monitor, msb_error **err)
{
    _cleanup_free_ char *json = NULL, *log = NULL;

    monitor->created = nanoseconds_of(CLOCK_REALTIME);
    if (!monitor->spec.name)
        return 0;
    json = print_state(monitor, NULL, err);
    if (!json || registry_take(monitor->spec.name, json, &monitor->registration, err) < 0)
        return -1;
    if (!(monitor->options & LAUNCH_DETACH))
        return 0;
    log = log_directory(monitor->spec.name, err);
    monitor->log = log ? log_writer_new(log, LOG_FILE_SIZE, err) : NULL;
    return monitor->log ? 0 : -1;
}

static int listen_for_others(struct monitor *monitor, msb_error **err)
{
    int listener = registry_listen(&monitor->registration, "control", err);

    return listener < 0 ? -1 : server_listen(monitor->server, listener, err);
}

/* For the descriptors of clients. The children are there already, and keep the limit that they have. */
static int raise_limit(msb_error **err)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return fail_errno(err, "ask for the limit of open files");
    if (limit.rlim_cur >= FILES_MAX || limit.rlim_cur == limit.rlim_max)
        return 0;
    limit.rlim_cur = limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX;
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? fail_errno(err, "raise the limit of open files") : 0;
}

/* Everybody who may use the sandbox may talk to the ports of its guest. */
static int launch_all(struct monitor *monitor, struct guest_config *config, msb_error **err)
{
    _cleanup_fd_ int listener = -1;

    if (monitor->registration.name) {
        listener = registry_listen(&monitor->registration, "vsock", err);
        if (listener < 0)
            return -1;
    }
    return launch(&monitor->spec, &monitor->files, listener, &monitor->children, config, &monitor->launched, err);
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
    if (files_init(&monitor->files, program, err) < 0 || enlist(monitor, err) < 0)
        return -1;
    result = launch_all(monitor, &config, err);
    if (result == 0)
        result = configure(monitor, &config, err);
    guest_config_clear(&config);
    if (result < 0 || run_workload(monitor, err) < 0 || watch(monitor, err) < 0 || raise_limit(err) < 0)
        return -1;
    update_state(monitor);
    if (monitor->registration.name && listen_for_others(monitor, err) < 0)
        return -1;
    usage_begin(&monitor->children);
    /* Nothing that the guest says has been read yet. */
    return monitor_confine(err);
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
    return 0;
}

/* One that outlives its caller is nobody's child, has no terminal that could signal it, and keeps no directory from being unmounted. */
static int leave_caller(const struct monitor *monitor, msb_error **err)
{
    pid_t pid;

    if (!(monitor->options & LAUNCH_DETACH))
        return 0;
    pid = fork();
    if (pid < 0)
        return fail_errno(err, "start a process of its own");
    if (pid > 0)
        _exit(0);
    if (setsid() < 0 || chdir("/") < 0)
        return fail_errno(err, "leave the caller");
    return 0;
}

/* Whether anything of it stays: not of one whose launch failed, which its caller is told. */
static bool is_kept(const struct monitor *monitor)
{
    return monitor->spec.keep && (monitor->up || !(monitor->options & LAUNCH_DETACH));
}

/* Nothing runs any more. State and name are settled before anybody is told. */
static void settle(struct monitor *monitor)
{
    _cleanup_free_ char *kernel_log = monitor->guest_ended ? lines_all(monitor->console) : NULL, *json = NULL, *log = NULL;

    monitor->ended = nanoseconds_of(CLOCK_REALTIME);
    log_writer_free(monitor->log);
    if (is_kept(monitor))
        json = print_state(monitor, kernel_log, NULL);
    net_plan_release(&monitor->launched.net);
    if (monitor->registration.name) {
        if (json)
            registry_write(&monitor->registration, json, NULL);
        else if (monitor->options & LAUNCH_DETACH && (log = log_directory(monitor->spec.name, NULL)))
            log_remove(log, NULL);
        registry_release(&monitor->registration, json != NULL);
    }
    serve_end(monitor, kernel_log);
}

int main(void)
{
    /* Until the process has ended: what it holds then is freed with it. */
    static struct monitor monitor = {
        .output = -1,
        .launched = { .connections = -1, .console = -1, .net.member.lock = -1 },
        .input = { -1, -1 },
        .clock_fd = -1,
        .signal_fd = -1,
    };
    msb_error *error = NULL;
    bool ready;

    monitor.registration = REGISTRATION_NONE;
    monitor.began = monotonic_now();
    ignore_signals();
    ready = adopt_fds(&error) == 0 && receive_spec(&monitor, &error) == 0 && leave_caller(&monitor, &error) == 0;
    monitor.loop = loop_new(ready ? &error : NULL);
    monitor.children = (struct children){ .loop = monitor.loop, .events = &children_events, .data = &monitor };
    if (!monitor.loop || serve_begin(&monitor, MONITOR_FD_CALLER, ready ? &error : NULL) < 0)
        return STATUS_FAILED;
    if (ready) {
        log_init("monitor", monitor.spec.log_level, MONITOR_FD_LOG);
        monitor.children.show_logs = log_enabled(MSB_LOG_ERROR);
        if (start(&monitor, &error) == 0)
            loop_run(monitor.loop, &error);
    }
    if (error)
        monitor_end(&monitor, STATUS_FAILED, error);
    children_end(&monitor.children);
    settle(&monitor);
    serve_clear(&monitor);
    return 0;
}
