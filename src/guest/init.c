/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's process 1: the only program of the initramfs. One story: load what the kernel needs to reach the host, ask the host
 * what to be, become it, and run processes for the host until it ends the session. Whatever fails is told to the host, and ends the
 * VM: over the control connection once there is one, in the kernel's log before.
 */
#include "guest/machine.h"
#include "guest/modules.h"
#include "guest/network.h"
#include "guest/root.h"
#include "guest/session.h"
#include "guest/vsock.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static void say_hello(struct control *control)
{
    struct writer *w = &control->out.queue;
    size_t begin = message_begin(w, MESSAGE_HELLO);
    struct utsname kernel;

    uname(&kernel);
    put_u32(w, PROTOCOL_VERSION);
    put_string(w, kernel.release);
    message_end(w, begin);
    control_flush(control);
}

static int receive_config(struct control *control, struct guest_config *config, msb_error **err)
{
    struct reader body;
    uint16_t type;

    if (control_receive(control, &type, &body, err) < 0)
        return -1;
    if (type != MESSAGE_CONFIG || !guest_config_decode(&body, config))
        return fail(err, MSB_ERR_PROTOCOL, "the host sent no configuration that this PID 1 understands");
    if (!reader_done(&body)) {
        guest_config_clear(config);
        return fail(err, MSB_ERR_PROTOCOL, "the host's configuration is longer than it should be");
    }
    control->log_level = (enum msb_log_level)config->log_level;
    return 0;
}

static void warn(struct control *control, msb_error *err)
{
    control_log(control, MSB_LOG_WARN, "%s", msb_error_message(err));
    msb_error_free(err);
}

/* What the workload can live without is a warning. */
static void set_machine(const struct guest_config *config, const struct guest_root *root, struct control *control)
{
    msb_error *err = NULL;

    if (machine_add_entropy(root->dev, config->seed, sizeof(config->seed), &err) < 0)
        warn(control, steal_pointer(&err));
    machine_set_defaults(root->proc);
}

static int set_hostname(const char *hostname, msb_error **err)
{
    return sethostname(hostname, strlen(hostname)) < 0 ? fail_errno(err, "set the host name `%s`", hostname) : 0;
}

static uint64_t monotonic(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static int become(const struct guest_config *config, struct guest_root *root, struct control *control, msb_error **err)
{
    msb_error *fault = NULL;

    /* First, before the time that was true when it was sent is not true any more, and before a file is made. */
    if (machine_set_clock(config->realtime, &fault) < 0)
        warn(control, fault);
    if (set_hostname(config->hostname, err) < 0 || root_mount(config, root, err) < 0)
        return -1;
    root_furnish(root, control);
    set_machine(config, root, control);
    if (network_set_up(&config->network, root->proc, control, err) < 0 || root_mount_files(config, root, control, err) < 0 ||
        root_mount_shares(config, root, err) < 0)
        return -1;
    return root_switch(root, err);
}

static int connect_stream(void *data, msb_error **err)
{
    (void)data;
    return vsock_connect(PORT_STREAM, false, err);
}

/* Every process has ended, so nothing is written after this: sync(2) waits for all file systems, and virtio-fs asks the host to
   sync as well. What the host then ends can be ended at any moment, so nothing needs to be unmounted. */
static void sync_files(void *data)
{
    (void)data;
    sync();
}

/* connected: when the host heard of us, and looked at its clock, at the earliest. */
static int serve(struct control *control, uint64_t connected, msb_error **err)
{
    struct guest_config config = { 0 };
    struct guest_root root;
    struct session_machine machine;

    say_hello(control);
    if (receive_config(control, &config, err) < 0)
        return -1;
    config.realtime += (monotonic() - connected) / 2;
    if (become(&config, &root, control, err) < 0)
        return -1;
    control_send(control, MESSAGE_READY);
    machine = (struct session_machine){
        .hostname = config.hostname,
        .proc_fd = root.proc,
        .pts_fd = root.pts,
        .connect_stream = connect_stream,
        .sync = sync_files,
    };
    return session_run(control, &machine, err);
}

/* The host says why, and ends the VM: waiting for that lets the message arrive. */
static void report(struct control *control, const msb_error *err)
{
    struct reader body;
    uint16_t type;

    if (fcntl(control->fd, F_SETFL, 0) < 0)
        return;
    control_send_text(control, MESSAGE_FAILED, msb_error_message(err));
    while (control_receive(control, &type, &body, NULL) == 0)
        continue;
}

int main(void)
{
    struct control control;
    msb_error *err = NULL;
    uint64_t connected;
    int fd;

    if (getpid() != 1) {
        fprintf(stderr, "init: this is the first process of a microVM, and nothing else\n");
        return 2;
    }
    modules_load("/modules/order");
    modules_load("/nested/order");
    fd = vsock_connect(PORT_CONTROL, true, &err);
    connected = monotonic();
    if (fd < 0) {
        machine_say("%s", msb_error_message(err));
        machine_reset();
    }
    control_init(&control, fd);
    if (serve(&control, connected, &err) < 0)
        report(&control, err);
    machine_reset();
}
