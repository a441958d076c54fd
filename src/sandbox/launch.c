/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing here waits: the engine finds its devices' sockets connected and waits for their answers itself, and a device is sent its set-up
 * before it has begun to run. So all of them start in parallel, and the slowest alone decides how long it takes. That is the engine: its
 * process is made first, and the devices' while it begins.
 */
#include "sandbox/launch.h"
#include "engine/engine.h"
#include "platform/platform.h"
#include "sandbox/choose.h"
#include "sandbox/runtime.h"
#include "sandbox/tree.h"
#include "util/cleanup.h"
#include "util/device.h"
#include "util/log.h"
#include "vsock/vsock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PROCESSES_MAX = 5,           /* root, shares, vsock, net, platform */
    DEVICES_MAX = 6,             /* the last of them is two devices: entropy, balloon */
    OWN_FDS_MAX = NET_PORTS_MAX, /* beyond those of every device */
    ENGINE_FD_REPORT = 3,
    ENGINE_FD_FIRST = 4,
};

/* A device's process that is to be started. */
struct device_start {
    const char *role; /* the program */
    const char *name; /* for people */
    enum spawn_user user;
    bool host_network;
    struct writer setup;
    int backend; /* its end of the vhost-user connection */
    int own_fds[OWN_FDS_MAX];
    size_t num_own_fds;
    int given;                /* one of own_fds that nobody else needs, or -1 */
    struct one_child **child; /* where its process is noted, or NULL */
};

struct launcher {
    const struct spec *spec;
    const struct files *files;
    struct children *children;
    struct device_start starts[PROCESSES_MAX];
    size_t num_starts;
    struct engine_device devices[DEVICES_MAX]; /* as the engine sees them */
    size_t num_devices;
};

/* ---- Devices ------------------------------------------------------------------------------------------------------------------ */

static struct device_start *add_start(struct launcher *launcher, const char *role, const char *name, enum spawn_user user)
{
    struct device_start *start = &launcher->starts[launcher->num_starts++];

    *start = (struct device_start){ .role = role, .name = name, .user = user, .backend = -1, .given = -1 };
    return start;
}

/* Takes the front-end's end. */
static struct engine_device *add_device(struct launcher *launcher, enum engine_device_kind kind, int frontend)
{
    struct engine_device *device = &launcher->devices[launcher->num_devices++];

    *device = (struct engine_device){ .kind = kind, .socket = frontend };
    return device;
}

/* A device with the two ends of its vhost-user connection. */
static struct engine_device *connect_device(struct launcher *launcher, struct device_start *start, enum engine_device_kind kind,
                                            msb_error **err)
{
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return FAIL_NULL(fail_errno(err, "make a socket pair"));
    start->backend = ends[1];
    return add_device(launcher, kind, ends[0]);
}

static int prepare_fs(struct launcher *launcher, const char *name, const char *tag, const struct fs_setup *setup,
                      enum spawn_user user, msb_error **err)
{
    struct device_start *start = add_start(launcher, "fs", name, user);
    struct engine_device *device = connect_device(launcher, start, DEVICE_FS, err);

    if (!device)
        return -1;
    fs_setup_encode(&start->setup, setup);
    device->tag = tag;
    device->num_queues = setup->num_queues;
    return 0;
}

static int prepare_root(struct launcher *launcher, struct guest_config *config, msb_error **err)
{
    struct fs_setup setup = { 0 };
    /* Of this machine's own files only those that everybody may read are for the guest: docs/threat-model.md. */
    enum spawn_user user = launcher->spec->rootfs_kind == ROOTFS_HOST ? SPAWN_NOBODY : SPAWN_CALLER;
    int result = tree_root(launcher->spec, &setup, config, err);

    if (result == 0)
        result = prepare_fs(launcher, "the root's fs device", "root", &setup, user, err);
    fs_setup_clear(&setup);
    return result;
}

static int prepare_shares(struct launcher *launcher, struct guest_config *config, msb_error **err)
{
    struct fs_setup setup = { 0 };
    int result;

    if (launcher->spec->num_shares == 0)
        return 0;
    result = tree_shares(launcher->spec, &setup, config, err);
    if (result == 0)
        result = prepare_fs(launcher, "the shares' fs device", "shares", &setup, SPAWN_CALLER, err);
    fs_setup_clear(&setup);
    return result;
}

static int prepare_vsock(struct launcher *launcher, int listener, struct launched *launched, msb_error **err)
{
    struct device_start *start = add_start(launcher, "vsock", "the vsock device", SPAWN_NOBODY);
    int incoming[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, incoming) < 0)
        return fail_errno(err, "make a socket pair");
    launched->connections = incoming[0];
    start->given = incoming[1];
    start->own_fds[VSOCK_FD_INCOMING - DEVICE_FD_FIRST_OWN] = incoming[1];
    start->own_fds[VSOCK_FD_LISTEN - DEVICE_FD_FIRST_OWN] = listener;
    start->num_own_fds = 2;
    put_u8(&start->setup, (uint8_t)launcher->spec->log_level);
    return connect_device(launcher, start, DEVICE_VSOCK, err) ? 0 : -1;
}

static int prepare_net(struct launcher *launcher, struct launched *launched, msb_error **err)
{
    struct net_plan *plan = &launched->net;
    _cleanup_free_ char *runtime = NULL;
    struct device_start *start;
    struct engine_device *device;

    if (!net_plan_is_wanted(launcher->spec))
        return 0;
    if (launcher->spec->has_subnet && !(runtime = runtime_directory(err)))
        return -1;
    if (net_plan_make(launcher->spec, runtime, plan, err) < 0)
        return -1;
    start = add_start(launcher, "net", "the net device", plan->needs_caller ? SPAWN_CALLER : SPAWN_NOBODY);
    start->child = &launched->net_process;
    start->host_network = plan->host_network;
    start->num_own_fds = plan->setup.num_ports;
    for (size_t i = 0; i < start->num_own_fds; i++)
        start->own_fds[i] = plan->ports[i];
    net_setup_encode(&start->setup, &plan->setup);
    device = connect_device(launcher, start, DEVICE_NET, err);
    if (!device)
        return -1;
    memcpy(device->mac, plan->mac, sizeof(device->mac));
    device->mtu = NET_MTU;
    return 0;
}

static int prepare_platform(struct launcher *launcher, msb_error **err)
{
    struct device_start *start = add_start(launcher, "platform", "the platform device", SPAWN_NOBODY);
    int balloon[2];

    if (!connect_device(launcher, start, DEVICE_ENTROPY, err))
        return -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, balloon) < 0)
        return fail_errno(err, "make a socket pair");
    start->given = balloon[1];
    start->own_fds[PLATFORM_FD_BALLOON - DEVICE_FD_FIRST_OWN] = balloon[1];
    start->num_own_fds = 1;
    put_u8(&start->setup, (uint8_t)launcher->spec->log_level);
    add_device(launcher, DEVICE_BALLOON, balloon[0]);
    return 0;
}

static int send_setup(const struct device_start *start, int monitor, msb_error **err)
{
    if (start->setup.failed)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    if (start->setup.size > DEVICE_SETUP_MAX)
        return fail(err, MSB_ERR_INVALID, "start %s: the paths that it is to serve are longer than %d bytes together",
                    start->name, DEVICE_SETUP_MAX);
    if (send(monitor, start->setup.data, start->setup.size, MSG_NOSIGNAL) < 0)
        return fail_errno(err, "send the set-up to %s", start->name);
    return 0;
}

static struct one_child *start_device(struct launcher *launcher, const struct device_start *start, msb_error **err)
{
    _cleanup_fd_ int program = files_program(launcher->files, start->role, err);
    _cleanup_fd_ int monitor_end = -1;
    int fds[DEVICE_FD_FIRST_OWN + OWN_FDS_MAX] = { -1, -1, -1 };
    int monitor[2], wanted = (int)DEVICE_SETUP_MAX * 2;
    char *argv[] = { (char *)start->role, NULL };
    struct one_child *child;

    if (program < 0)
        return NULL;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, monitor) < 0)
        return FAIL_NULL(fail_errno(err, "make a socket pair"));
    monitor_end = monitor[1];
    fds[DEVICE_FD_MONITOR] = monitor_end;
    fds[DEVICE_FD_FRONTEND] = start->backend;
    memcpy(fds + DEVICE_FD_FIRST_OWN, start->own_fds, start->num_own_fds * sizeof(int));
    struct spawn spawn = {
        .user = start->user,
        .host_network = start->host_network,
        .fds = fds,
        .num_fds = DEVICE_FD_FIRST_OWN + start->num_own_fds,
        .report = DEVICE_FD_MONITOR,
        .program = program,
        .argv = argv,
    };
    /* As much as the host allows; send_setup() finds out whether it was enough. */
    setsockopt(monitor[0], SOL_SOCKET, SO_SNDBUF, &wanted, sizeof(wanted));
    child = children_spawn(launcher->children, start->name, &spawn, monitor[0], err);
    return child && send_setup(start, monitor[0], err) == 0 ? child : NULL;
}

static int start_devices(struct launcher *launcher, msb_error **err)
{
    for (size_t i = 0; i < launcher->num_starts; i++) {
        const struct device_start *start = &launcher->starts[i];
        struct one_child *child = start_device(launcher, start, err);

        if (!child)
            return -1;
        if (start->child)
            *start->child = child;
    }
    return 0;
}

/* What the processes have now, or will never have. */
static void close_all(struct launcher *launcher)
{
    for (size_t i = 0; i < launcher->num_starts; i++) {
        cleanup_fd(&launcher->starts[i].backend);
        cleanup_fd(&launcher->starts[i].given);
        free(launcher->starts[i].setup.data);
    }
    for (size_t i = 0; i < launcher->num_devices; i++)
        close(launcher->devices[i].socket);
}

/* ---- The engine ------------------------------------------------------------------------------------------------------------------- */

struct engine_start {
    const struct engine *engine;
    const struct engine_vm *vm;
};

/* In the new process. */
static int run_engine(void *data)
{
    const struct engine_start *start = data;
    msb_error *error = NULL;
    const char *message;

    start->engine->run(start->vm, &error);
    message = msb_error_message(error);
    if (write(ENGINE_FD_REPORT, message, strlen(message)) < 0)
        return 2;
    return 1;
}

static int spawn_engine(struct launcher *launcher, const struct engine *engine, struct engine_vm *vm, struct launched *launched,
                        msb_error **err)
{
    struct engine_device devices[DEVICES_MAX];
    struct engine_start start = { .engine = engine, .vm = vm };
    int fds[ENGINE_FD_FIRST + DEVICES_MAX + 2] = { -1, -1, -1 };
    int report[2], num = ENGINE_FD_FIRST;
    struct spawn spawn = { .user = SPAWN_NOBODY, .fds = fds, .report = ENGINE_FD_REPORT, .run = run_engine, .data = &start };

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report) < 0)
        return fail_errno(err, "make a socket pair");
    /* The numbers that the descriptors have over there. */
    fds[ENGINE_FD_REPORT] = report[1];
    vm->report = ENGINE_FD_REPORT;
    for (size_t i = 0; i < launcher->num_devices; i++) {
        devices[i] = launcher->devices[i];
        fds[num] = devices[i].socket;
        devices[i].socket = num++;
    }
    fds[num] = vm->initrd;
    vm->initrd = num++;
    fds[num] = vm->console;
    vm->console = num++;
    vm->devices = devices;
    vm->num_devices = launcher->num_devices;
    spawn.num_fds = (size_t)num;
    launched->engine = children_spawn(launcher->children, "the engine", &spawn, report[0], err);
    close(report[1]);
    return launched->engine ? 0 : -1;
}

/* Prepares the platform's device as well, where the engine needs one. */
static int start_engine(struct launcher *launcher, struct launched *launched, msb_error **err)
{
    const struct spec *spec = launcher->spec;
    const struct engine *engine;
    _cleanup_free_ char *kernel = NULL;
    _cleanup_fd_ int initrd = -1, console = -1;
    char acpi[16];
    int ends[2];
    struct engine_vm vm = {
        .num_vcpus = spec->num_vcpus,
        .memory_mib = spec->memory_mib,
        /* What the kernel would test of its own ciphers takes an emulated CPU 0.3 s. */
        .extra_args = "cryptomgr.notests",
        .kernel_log = spec->log_level >= MSB_LOG_DEBUG,
        .nested = spec->nested,
    };

    engine = choose_engine(launcher->files, spec->engine, spec->kernel, &vm, err);
    if (!engine)
        return -1;
    launched->engine_name = engine->name;
    kernel = (char *)vm.kernel;
    files_kernel_record(kernel, "acpi", acpi, sizeof(acpi));
    vm.acpi_optional = strcmp(acpi, "optional") == 0;
    log_debug("the %s engine runs %s", engine->name, kernel);
    if (!engine->own_platform && prepare_platform(launcher, err) < 0)
        return -1;
    vm.initrd = initrd = files_initrd(launcher->files, kernel, spec->nested, err);
    if (initrd < 0)
        return -1;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_errno(err, "make a pipe");
    launched->console = ends[0];
    console = ends[1];
    vm.console = console;
    return spawn_engine(launcher, engine, &vm, launched, err);
}

/* ---- All ---------------------------------------------------------------------------------------------------------------------------- */

int launch(const struct spec *spec, const struct files *files, int vsock_listener, struct children *children,
           struct guest_config *config, struct launched *launched, msb_error **err)
{
    struct launcher launcher = { .spec = spec, .files = files, .children = children };
    int result = prepare_root(&launcher, config, err);

    if (result == 0)
        result = prepare_shares(&launcher, config, err);
    if (result == 0)
        result = prepare_vsock(&launcher, vsock_listener, launched, err);
    if (result == 0)
        result = prepare_net(&launcher, launched, err);
    if (result == 0)
        result = start_engine(&launcher, launched, err);
    if (result == 0)
        result = start_devices(&launcher, err);
    net_plan_close_ports(&launched->net);
    close_all(&launcher);
    return result;
}

void launched_configured(const struct launched *launched)
{
    /* Where it cannot be told, it has ended. */
    if (launched->net_process)
        (void)!send(launched->net_process->report, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}
