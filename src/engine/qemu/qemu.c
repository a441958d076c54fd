/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The qemu engine: QEMU's microvm machine with the emulated CPU of TCG, for hosts without hardware virtualization.
 *
 * QEMU's security page promises no isolation for TCG, so QEMU is taken for hostile like its guest. Its process has namespaces of its
 * own, a root with nothing but the program, its libraries and firmware, the guest kernel and the initramfs, all read-only, no
 * capabilities, and an allow-list of system calls. It needs no privilege and opens nothing by itself: the devices are sockets that
 * it inherits. Once it has started, its own seccomp filter (-sandbox) takes the calls away that only loading needed.
 *
 * Time: the guest has no clock to calibrate its TSC against. The PIT would be one, but under emulation on a busy host its
 * calibration fails now and then, and the guest hangs. So there is no PIT; the guest's TSC is the host's (cpu_get_host_ticks() in
 * QEMU), the host's is measured here, and the guest's kernel is told.
 */
#include "engine/engine.h"
#include "engine/memory_file.h"
#include "engine/qemu/arguments.h"
#include "util/cell.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

static const char program[] = QEMU_PROGRAM;

/* ---- The host's TSC -------------------------------------------------------------------------------------------------------- */

struct instant {
    uint64_t tsc;
    uint64_t nanoseconds;
};

static struct instant now(void)
{
    struct timespec time;
    struct instant instant;

    clock_gettime(CLOCK_MONOTONIC_RAW, &time);
    instant.tsc = __rdtsc();
    instant.nanoseconds = (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
    return instant;
}

/* Of the last check: the monitor's, and the engine's process is a copy of it. */
static struct instant begin;

/* The two readings of an instant lie some 30 ns apart at most, so that a few milliseconds are exact to 10 parts in a million. */
static unsigned tsc_khz(void)
{
    enum { LONG_ENOUGH = 3000000 /* ns */ };
    struct instant end;

    do
        end = now();
    while (end.nanoseconds - begin.nanoseconds < LONG_ENOUGH);
    return (unsigned)((end.tsc - begin.tsc) * 1000000U / (end.nanoseconds - begin.nanoseconds));
}

/* ---- What it can do -------------------------------------------------------------------------------------------------------- */

static int qemu_probe(msb_error **err)
{
    if (access(program, X_OK) == 0)
        return 0;
    fail_errno(err, "find QEMU as `%s`", program);
    return fail_prefix(err, "the qemu engine needs the package qemu-system-x86");
}

static int qemu_check(const struct engine_vm *vm, msb_error **err)
{
    if (vm->num_vcpus > QEMU_VCPUS_MAX)
        return fail(err, MSB_ERR_UNSUPPORTED, "num_vcpus %u: the qemu engine has at most %d", vm->num_vcpus, QEMU_VCPUS_MAX);
    begin = now();
    return qemu_probe(err);
}

/* ---- The cell ---------------------------------------------------------------------------------------------------------------- */

enum { MOUNTS_MAX = 16 };

struct mounts {
    struct cell_mount list[MOUNTS_MAX];
    size_t num;
    char links[MOUNTS_MAX][PATH_MAX];
};

/* Shows a path of the host at the same place, read-only: a link as a link, and nothing when it is not there. */
static void show(struct mounts *mounts, const char *path)
{
    struct cell_mount *mount = &mounts->list[mounts->num];
    char *link = mounts->links[mounts->num];
    ssize_t length = readlink(path, link, PATH_MAX - 1);

    if (length < 0 && access(path, F_OK) < 0)
        return;
    *mount = (struct cell_mount){ .target = path + 1 };
    if (length < 0) {
        mount->source = path;
        mount->read_only = mount->executable = true;
    } else {
        link[length] = '\0';
        mount->link = link;
    }
    mounts->num++;
}

static int enter_cell(const struct engine_vm *vm, msb_error **err)
{
    struct mounts *mounts = calloc(1, sizeof(*mounts));
    int result;

    if (!mounts)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    show(mounts, program);
    /* The libraries, wherever the linker looks for them. */
    show(mounts, "/etc/ld.so.cache");
    show(mounts, "/lib");
    show(mounts, "/lib64");
    show(mounts, "/usr/lib");
    show(mounts, "/usr/lib64");
    /* The firmware. */
    show(mounts, "/usr/share/qemu");
    show(mounts, "/usr/share/seabios");
    mounts->list[mounts->num++] = (struct cell_mount){ .source = vm->kernel, .target = "kernel", .read_only = true };
    mounts->list[mounts->num++] = (struct cell_mount){ .target = "initrd", .content = vm->initrd };
    mounts->list[mounts->num++] = (struct cell_mount){ .target = QEMU_MEMORY_DIRECTORY };
    result = cell_mounts(mounts->list, mounts->num, err);
    free(mounts);
    return result;
}

/* QEMU ends itself on these. They come from service managers, which send them to all at once, and are for the caller to judge. */
static void block_signals(void)
{
    sigset_t blocked;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGHUP);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
}

static int qemu_run(const struct engine_vm *vm, msb_error **err)
{
    /* One heap, that grows in large steps: a heap of its own for the thread of the vCPUs grew by 800 calls of mprotect() in a start. */
    char *const environment[] = { (char *)"MALLOC_ARENA_MAX=1", (char *)"MALLOC_TOP_PAD_=4194304", NULL };
    bool huge = memory_file_wants_huge();
    int has_memory = 0;
    char **argv;

    /* The cell's user differs from the monitor's when that is root's. */
    if (enter_cell(vm, err) < 0 || cell_die_with(vm->report, err) < 0)
        return -1;
    if (huge)
        has_memory = memory_file_mount((uint64_t)vm->memory_mib << 20, "/" QEMU_MEMORY_DIRECTORY, QEMU_MEMORY_FILE, err);
    if (has_memory < 0)
        return -1;
    argv = qemu_arguments(program, vm, has_memory > 0, tsc_khz(), err);
    if (!argv)
        return -1;
    if (fcntl(vm->report, F_SETFD, FD_CLOEXEC) < 0 || fcntl(vm->initrd, F_SETFD, FD_CLOEXEC) < 0)
        return fail_errno(err, "close descriptors on execution");
    for (size_t i = 0; i < vm->num_devices; i++)
        if (vm->devices[i].kind == DEVICE_NET && qemu_listen_for_net(vm->devices[i].socket, err) < 0)
            return -1;
    block_signals();
    if (qemu_confine(err) < 0)
        return -1;
    execve(program, argv, environment);
    return fail_errno(err, "execute `%s`", program);
}

static const char *const kernels[] = { "lean/vmlinux", "cloud/vmlinux", "cloud/vmlinuz", NULL };

const struct engine engine_qemu = {
    .name = "qemu",
    .kernels = kernels,
    .own_platform = true,
    .probe = qemu_probe,
    .check = qemu_check,
    .run = qemu_run,
};
