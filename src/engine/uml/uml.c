/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The uml engine: user-mode Linux (ARCH=um), a guest kernel that is a process, and whose guest's processes are processes too, traced
 * by it. Their system calls never reach the host: PTRACE_SYSEMU stops each before it is looked at. They run at native speed, on
 * hosts that have no hardware virtualization to give.
 *
 * What stands between a guest's kernel under control and the host is thus not a CPU's guest mode but the host's own system call
 * interface, and the cell around it is what isolates: namespaces of its own, a read-only root with nothing but the
 * initramfs, no capabilities, no_new_privs, limits, and an allow-list of the few calls that user-mode Linux
 * makes (confine.c). docs/threat-model.md compares the engines.
 *
 * The kernel is executed by a descriptor that is closed with that, and no name leads to it: there is nothing in the cell that could
 * be executed again, which would give the new program descriptors of its own.
 *
 * The devices are sockets that it inherits, and its memory a file that it inherits (kernel/patches: virtio_uml takes "fdN", and
 * memory=fdN is an argument), of the size of the guest's memory, which nobody can change, so that it cannot make itself more.
 */
#include "engine/engine.h"
#include "engine/memory_file.h"
#include "engine/uml/confine.h"
#include "util/cell.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 32, ARGUMENT_SIZE = 128 };

/* Its page tables have three levels, which reach 512 GiB, and what is not memory lies there too. */
enum { MEMORY_MIB_MAX = 400 << 10 };

static int uml_probe(msb_error **err)
{
    (void)err;
    return 0; /* any x86-64 Linux can run it; whether its kernel is there is asked where kernels are looked for */
}

static int uml_check(const struct engine_vm *vm, msb_error **err)
{
    if (vm->num_vcpus > 1)
        return fail(err, MSB_ERR_UNSUPPORTED, "num_vcpus %u: the uml engine has one vCPU; the kvm and qemu engines have more",
                    vm->num_vcpus);
    if (vm->memory_mib > MEMORY_MIB_MAX)
        return fail(err, MSB_ERR_UNSUPPORTED, "memory_mib %u: the uml engine's guests have at most %d", vm->memory_mib,
                    MEMORY_MIB_MAX);
    if (vm->nested)
        return fail(err, MSB_ERR_UNSUPPORTED, "nested: the uml engine has no virtualization to give to its guest; qemu has");
    return 0;
}

/* ---- The cell ---------------------------------------------------------------------------------------------------------------- */

/* A copy of /proc/cpuinfo, from which the kernel learns the processor's features; there is no /proc in the cell. */
static int copy_cpuinfo(msb_error **err)
{
    int copy = memfd_create("cpuinfo", MFD_CLOEXEC);
    int source = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
    char buffer[4096];
    ssize_t n = copy < 0 || source < 0 ? -1 : 1;

    while (n > 0) {
        n = read(source, buffer, sizeof(buffer));
        if (n > 0 && write(copy, buffer, (size_t)n) != n)
            n = -1;
    }
    if (n < 0)
        fail_errno(err, "copy `/proc/cpuinfo`");
    if (source >= 0)
        close(source);
    if (n < 0 && copy >= 0)
        close(copy);
    return n < 0 ? -1 : copy;
}

static int enter_cell(const struct engine_vm *vm, msb_error **err)
{
    int cpuinfo = copy_cpuinfo(err);
    const struct cell_mount mounts[] = {
        { .target = "initrd", .content = vm->initrd },
        { .target = "proc/cpuinfo", .content = cpuinfo },
    };
    int result;

    if (cpuinfo < 0)
        return -1;
    result = cell_mounts(mounts, sizeof(mounts) / sizeof(mounts[0]), err);
    close(cpuinfo);
    return result;
}

/* ---- The command line ---------------------------------------------------------------------------------------------------------- */

struct arguments {
    char text[ARGUMENTS_MAX][ARGUMENT_SIZE];
    char *list[ARGUMENTS_MAX + 1];
    size_t num;
};

static void add(struct arguments *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* There are few arguments, all of them ours and short. */
static void add(struct arguments *a, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(a->text[a->num], ARGUMENT_SIZE, format, args);
    va_end(args);
    a->list[a->num] = a->text[a->num];
    a->num++;
}

static void add_all(struct arguments *a, const struct engine_vm *vm, int memory)
{
    add(a, "linux");
    add(a, "mem=%uM", vm->memory_mib);
    add(a, "memory=fd%d", memory);
    add(a, "initrd=/initrd");
    add(a, "uml_dir=/"); /* it would keep its process id below; it cannot, and goes on without */
    add(a, "stderr=1");  /* the kernel's log goes to standard error, which is the console's pipe */
    add(a, "console=stderr0");
    add(a, "printk.always_kmsg_dump=1"); /* stderr0 ends with the kernel's boot: a reset says the log, as a panic does */
    /* Without the whole log, what ends the kernel: it also says, as an error, that it has no directory for its process id. */
    add(a, vm->kernel_log ? "ignore_loglevel" : "quiet");
    if (!vm->kernel_log)
        add(a, "loglevel=3");
    add(a, "noreboot"); /* a reset ends the process */
    add(a, "panic=-1");
    /* How fast it can count, which it would try for 60 ms, a third of a start: some thousand million times a second. */
    add(a, "lpj=10000000");
    for (size_t i = 0; i < vm->num_devices; i++)
        add(a, "virtio_uml.device=fd%d:%d:%zu", vm->devices[i].socket, (int)vm->devices[i].kind, i);
}

/* ---- The engine ---------------------------------------------------------------------------------------------------------------- */

/* Standard input is nothing; standard error is the kernel's log while it boots, and standard output what it says when it panics. */
static int place_descriptors(const struct engine_vm *vm, int memory, msb_error **err)
{
    if (dup2(vm->console, STDOUT_FILENO) < 0 || dup2(vm->console, STDERR_FILENO) < 0 || close(vm->console) < 0 ||
        close(vm->initrd) < 0)
        return fail_errno(err, "place the console's descriptor");
    for (size_t i = 0; i < vm->num_devices; i++)
        if (fcntl(vm->devices[i].socket, F_SETFD, 0) < 0)
            return fail_errno(err, "keep a device's descriptor");
    return fcntl(memory, F_SETFD, 0) < 0 ? fail_errno(err, "keep the memory's descriptor") : 0;
}

/* Waits for the kernel and ends as it did; in a cell as tight, with nothing but the report's descriptor. */
static _Noreturn void keep(pid_t kernel, int report)
{
    int status = 0;

    if (close_range(0, (unsigned)report - 1, 0) < 0 || close_range((unsigned)report + 1, ~0U, 0) < 0)
        _exit(1);
    while (waitpid(kernel, &status, 0) != kernel)
        if (errno != EINTR)
            _exit(1);
    /* A panic aborts the kernel: the guest ended itself, as by a reset. */
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
        _exit(0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* Process 1 of a pid namespace is deaf to the signals that it sends to itself, so that a kernel that panics, which aborts, would go
   on for ever. Hence the kernel is process 2, and process 1 waits for it; all others end with process 1. Each confines itself: who
   is confined can make no process with descriptors of its own. */
static int run_kernel(const struct engine_vm *vm, int program, char *const *arguments, msb_error **err)
{
    /* The C library's rseq area lies in memory that the kernel unmaps in the guest's processes; the host would kill them for it. */
    char *const environment[] = { (char *)"GLIBC_TUNABLES=glibc.pthread.rseq=0", NULL };
    pid_t kernel = fork();

    if (kernel < 0)
        return fail_errno(err, "start the guest kernel");
    if (uml_confine(vm, err) < 0)
        return -1;
    if (kernel > 0)
        keep(kernel, vm->report);
    if (fcntl(vm->report, F_SETFD, FD_CLOEXEC) < 0)
        return fail_errno(err, "close descriptor %d on execution", vm->report);
    syscall(SYS_execveat, program, "", arguments, environment, AT_EMPTY_PATH);
    return fail_errno(err, "execute the guest kernel `%s`", vm->kernel);
}

/* Should the host run out of memory, its kernel is to end the guest's processes first: a kernel under an attacker's control can have
   many, each with some memory of its own (confine.c). */
static int be_the_first_to_go(msb_error **err)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, "1000", 4);

    if (n != 4)
        fail_errno(err, "set `/proc/self/oom_score_adj`");
    if (fd >= 0)
        close(fd);
    return n == 4 ? 0 : -1;
}

static int uml_run(const struct engine_vm *vm, msb_error **err)
{
    struct arguments *arguments = calloc(1, sizeof(*arguments));
    unsigned pages = memory_file_wants_huge() ? MEMORY_FILE_HUGE : 0;
    int memory, program;

    if (!arguments)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    if (be_the_first_to_go(err) < 0)
        return -1;
    program = open(vm->kernel, O_PATH | O_CLOEXEC);
    if (program < 0)
        return fail_errno(err, "open the guest kernel `%s`", vm->kernel);
    if (enter_cell(vm, err) < 0 || cell_die_with(vm->report, err) < 0)
        return -1;
    memory = memory_file_create((uint64_t)vm->memory_mib << 20, pages | MEMORY_FILE_EXECUTABLE, err);
    if (memory < 0 || place_descriptors(vm, memory, err) < 0)
        return -1;
    add_all(arguments, vm, memory);
    /* The kernel wants its fixed addresses free of randomized mappings (ld.so's and the vDSO's), and would execute itself again. */
    if (personality(ADDR_NO_RANDOMIZE) < 0)
        return fail_errno(err, "turn off address space randomization");
    return run_kernel(vm, program, arguments->list, err);
}

static const char *const kernels[] = { "uml/linux", NULL };

const struct engine engine_uml = {
    .name = "uml",
    .kernels = kernels,
    .runs_kernel = true,
    .probe = uml_probe,
    .check = uml_check,
    .run = uml_run,
};
