/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- What serve.c asks of the rest of a monitor ------------------------------------------------------------------------------ */

void monitor_end(struct monitor *monitor, int status, msb_error *error)
{
    monitor->over = true;
    monitor->status = status;
    msb_error_free(error);
}

void monitor_end_by_force(struct monitor *monitor)
{
    monitor_end(monitor, STATUS_SIGNAL + 9, NULL);
}

int monitor_stop(struct monitor *monitor, uint64_t milliseconds, msb_error **err)
{
    (void)milliseconds, (void)err;
    monitor->stopping = true;
    return 0;
}

int monitor_signal(struct monitor *monitor, uint8_t signal, msb_error **err)
{
    return monitor->workload ? guest_signal(monitor->guest, monitor->workload, signal, err) : 0;
}

void monitor_check_over(struct monitor *monitor)
{
    (void)monitor;
}

uint64_t monotonic_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

void life_touch(struct monitor *monitor)
{
    (void)monitor;
}

/* ---- The guest --------------------------------------------------------------------------------------------------------------- */

static void on_ready(void *data)
{
    ((struct monitor *)data)->guest_ready = true;
}

static void on_finished(void *data)
{
    ((struct monitor *)data)->guest_finished = true;
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

static void on_workload_ended(struct guest_process *process, const struct process_end *how, void *data)
{
    struct monitor *monitor = data;

    (void)process;
    monitor->workload = NULL;
    monitor->workload_over = true;
    if (monitor->out)
        output_close(monitor->out);
    if (monitor->err)
        output_close(monitor->err);
    serve_workload_ended(monitor, how->status, 0, how->why);
}

static void on_bytes(const void *bytes, size_t size, void *data)
{
    (void)bytes, (void)size, (void)data;
}

static void on_output_ended(struct output *output, void *data)
{
    struct monitor *monitor = data;

    *(output == monitor->out ? &monitor->out : &monitor->err) = NULL;
    output_forget(output);
}

static const struct output_events output_events = { on_bytes, on_output_ended };

/* ---- The whole ---------------------------------------------------------------------------------------------------------------- */

static void must(bool good)
{
    if (!good)
        abort();
}

static void run_workload(struct monitor *monitor)
{
    struct process_streams streams;

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, monitor->input) == 0);
    monitor->out = output_new(monitor->loop, &output_events, monitor, NULL);
    monitor->err = output_new(monitor->loop, &output_events, monitor, NULL);
    streams = (struct process_streams){ monitor->input[1], output_end(monitor->out), output_end(monitor->err) };
    monitor->workload = guest_run(monitor->guest, &monitor->spec.process, true, &streams, NULL, on_workload_ended, monitor, NULL);
    must(monitor->workload != NULL);
}

void fake_begin(struct fake *fake, bool detached)
{
    struct monitor *monitor = &fake->monitor;
    struct guest_config config = { .hostname = (char *)"fake" };
    struct process *process = &monitor->spec.process;
    int pair[2];

    *fake = (struct fake){ .monitor = { .options = detached ? LAUNCH_DETACH : 0, .input = { -1, -1 }, .output = -1 } };
    process->exec_path = strdup("/sandbox/own");
    process->workdir = strdup("/work");
    process->env = calloc(2, sizeof(char *));
    process->env[process->num_env++] = strdup("OWN=1");
    process->args = calloc(1, sizeof(char *));
    process->rlimits = calloc(PROCESS_RLIMITS, sizeof(*process->rlimits));
    monitor->spec.has_process = true;
    monitor->loop = loop_new(NULL);
    monitor->guest = guest_new(monitor->loop, &config, &guest_events, monitor, NULL);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    fake->guest = pair[0];
    guest_connection(monitor->guest, PORT_CONTROL, pair[1]);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    fake->caller = pair[0];
    must(serve_begin(monitor, pair[1], NULL) == 0);
    if (detached)
        run_workload(monitor);
}

void fake_end(struct fake *fake)
{
    struct monitor *monitor = &fake->monitor;

    serve_end(monitor, NULL);
    serve_clear(monitor);
    guest_free(monitor->guest);
    output_free(monitor->out);
    output_free(monitor->err);
    for (int i = 0; i < 2; i++)
        if (monitor->input[i] >= 0)
            close(monitor->input[i]);
    loop_free(monitor->loop);
    spec_clear(&monitor->spec);
    msb_error_free(monitor->error);
    if (fake->guest >= 0)
        close(fake->guest);
    if (fake->caller >= 0)
        close(fake->caller);
}

static void quit(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source, (void)fd, (void)events;
    loop_quit(data);
}

void fake_run(struct fake *fake)
{
    enum { ROUNDS = 6 }; /* a message, a relay, a hub, another relay, an answer, and its flush */

    for (int i = 0; i < ROUNDS; i++) {
        struct loop_source *timer = loop_timer(fake->monitor.loop, 0, quit, fake->monitor.loop, NULL);

        loop_run(fake->monitor.loop, NULL);
        loop_remove(timer);
    }
}

int fake_connect(struct fake *fake)
{
    int pair[2];

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    must(server_adopt(fake->monitor.server, pair[1], NULL) != NULL);
    return pair[0];
}

int fake_stream(struct fake *fake)
{
    int pair[2];

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    guest_connection(fake->monitor.guest, PORT_STREAM, pair[1]);
    return pair[0];
}
