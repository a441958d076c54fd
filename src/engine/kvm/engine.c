/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor's side of the KVM engine: what engine.h asks for. The engine itself is a program of its own, msb-kvm, so that nothing
 * of the monitor's memory is within reach of a guest that breaks out of its VM.
 */
#include "engine/kvm/engine.h"

#include "engine/kvm/probe.h"
#include "engine/kvm/setup.h"
#include "engine/kvm/vm.h"
#include "util/cell.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* For every guest of this engine. */
static const char platform_args[] =
    /* A panic resets at once. By ACPI: on a machine without the full hardware Linux would try EFI and then the BIOS, and find neither. */
    "panic=-1 reboot=acpi "
    /* The engine's UART can do no more than this console needs, so that no driver is to look for the rest of it. */
    "earlyprintk=serial,ttyS0,115200,keep 8250.nr_uarts=0 "
    /* There is no PCI: no probing of its ports. KVM keeps the TSC: no watchdog. */
    "pci=off tsc=reliable ";

static int check(const struct engine_vm *vm, msb_error **err)
{
    if (vm->nested)
        return fail(err, MSB_ERR_UNSUPPORTED,
                    "nested: the kvm engine gives its guests no virtualization of their own; use the qemu engine");
    if (vm->num_vcpus > LAYOUT_MAX_VCPUS)
        return fail(err, MSB_ERR_UNSUPPORTED, "num_vcpus: the kvm engine has at most %d, not %" PRIu32, LAYOUT_MAX_VCPUS,
                    vm->num_vcpus);
    if (vm->num_devices > LAYOUT_MAX_DEVICES)
        return fail(err, MSB_ERR_UNSUPPORTED, "the kvm engine has at most %d devices, not %zu", LAYOUT_MAX_DEVICES,
                    vm->num_devices);
    return 0;
}

static int describe(const struct engine_vm *vm, struct kvm_setup *setup, msb_error **err)
{
    *setup = (struct kvm_setup){
        .num_vcpus = vm->num_vcpus,
        .memory_mib = vm->memory_mib,
        .kernel_path = strdup(vm->kernel),
        .initrd = (uint32_t)vm->initrd,
        .console = (uint32_t)vm->console,
        .report = (uint32_t)vm->report,
        .measure = vm->measure,
        .num_devices = (uint32_t)vm->num_devices,
    };
    for (size_t i = 0; i < vm->num_devices; i++)
        setup->devices[i] =
            (struct kvm_setup_device){ .virtio_id = vm->devices[i].kind, .socket = (uint32_t)vm->devices[i].socket };
    /* "quiet" comes first: a console that is registered before it is read is sent all that was logged until then. */
    if (!setup->kernel_path || asprintf(&setup->command_line, "%s%s%s", vm->kernel_log ? "" : "quiet ", platform_args,
                                        vm->extra_args ? vm->extra_args : "") < 0) {
        setup->command_line = NULL;
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    }
    return 0;
}

/* As whoever started this; afterwards it may be nobody. */
static int open_files(struct kvm_setup *setup, msb_error **err)
{
    int fd = vm_open_kvm(err);

    if (fd < 0)
        return -1;
    setup->kvm = (uint32_t)fd;
    fd = open(setup->kernel_path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return fail_errno(err, "open kernel `%s`", setup->kernel_path);
    setup->kernel = (uint32_t)fd;
    return 0;
}

/* A memfd with the encoding, at its beginning. */
static int write_setup(const struct kvm_setup *setup, msb_error **err)
{
    _cleanup_fd_ int fd = memfd_create("kvm engine set-up", 0);
    struct writer writer = { 0 };
    ssize_t written;

    if (fd < 0)
        return fail_errno(err, "make the set-up of the kvm engine");
    kvm_setup_encode(&writer, setup);
    written = writer.failed ? -1 : pwrite(fd, writer.data, writer.size, 0);
    free(writer.data);
    if (written < 0 || (size_t)written != writer.size)
        return fail_errno(err, "write the set-up of the kvm engine");
    return steal_fd(&fd);
}

/* The descriptors that the set-up names have to survive the execve. */
static int keep_open(const struct kvm_setup *setup, msb_error **err)
{
    enum { FILES = 5 };
    uint32_t fds[FILES + LAYOUT_MAX_DEVICES] = { setup->kvm, setup->kernel, setup->initrd, setup->console, setup->report };

    for (uint32_t i = 0; i < setup->num_devices; i++)
        fds[FILES + i] = setup->devices[i].socket;
    for (uint32_t i = 0; i < FILES + setup->num_devices; i++)
        if (fcntl((int)fds[i], F_SETFD, 0) < 0)
            return fail_errno(err, "keep descriptor %" PRIu32 " for the kvm engine", fds[i]);
    return 0;
}

/* msb-kvm lies beside the monitor, which runs this; in a build tree each program is in its source's folder. */
static int open_program(msb_error **err)
{
    static const char *const names[] = { "msb-kvm", "../engine/kvm/msb-kvm" };
    char directory[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", directory, sizeof(directory) - 1);
    _cleanup_fd_ int dir = -1;

    if (length < 0)
        return fail_errno(err, "find the kvm engine's program");
    directory[length] = '\0';
    *strrchr(directory, '/') = '\0';
    dir = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int program = openat(dir, names[i], O_PATH | O_CLOEXEC);

        if (program >= 0)
            return program;
    }
    return fail(err, MSB_ERR_NOT_FOUND, "the kvm engine's program msb-kvm is not in `%s`, beside the monitor", directory);
}

static int prepare(const struct engine_vm *vm, msb_error **err)
{
    struct kvm_setup setup;
    int fd = -1;

    if (describe(vm, &setup, err) == 0 && open_files(&setup, err) == 0 && keep_open(&setup, err) == 0)
        fd = write_setup(&setup, err);
    kvm_setup_clear(&setup);
    return fd;
}

int kvm_execute(int program, const struct engine_vm *vm, msb_error **err)
{
    char number[16];
    char *argv[] = { (char *)"msb-kvm", number, NULL };
    char *envp[] = { NULL };
    int setup = prepare(vm, err);

    /* Only user 0 keeps its capabilities, which the cell is built with, over execve. */
    if (setup < 0 || cell_become_root(err) < 0)
        return -1;
    snprintf(number, sizeof(number), "%d", setup);
    fexecve(program, argv, envp);
    return fail_errno(err, "execute msb-kvm");
}

static int run(const struct engine_vm *vm, msb_error **err)
{
    int program = open_program(err);

    return program < 0 ? -1 : kvm_execute(program, vm, err);
}

static const char *const kernels[] = { "lean/vmlinux", "cloud/vmlinux", "cloud/vmlinuz", NULL };

const struct engine engine_kvm = {
    .name = "kvm",
    .kernels = kernels,
    .probe = kvm_probe,
    .measures_itself = true,
    .measured = kvm_measured,
    .check = check,
    .run = run,
};
