/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What user-mode Linux may ask of the host, before and after it has started, with the reason of each call; its processes for the
 * guest's programs inherit the table. The guest's programs themselves ask nothing: PTRACE_SYSEMU stops their system calls before
 * seccomp and before the host's kernel looks at them. So what is listed is what a guest's kernel under an attacker's control can do.
 *
 * Processes can be made, but only in the namespaces that they are in; traced, but in this pid namespace there are only our own;
 * files opened, but for reading, in a read-only root of two. No sockets are made, nothing is executed but the kernel itself, and
 * there is nothing in that root to execute. Memory is the guest's, a file of a fixed size that it was started with; beside
 * it a process can have as much as the limits below say, and none that it would share without a file.
 */
#include "engine/uml/confine.h"
#include "util/cell.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* ptrace's requests that <sys/ptrace.h> has no name for. */
enum { PTRACE_SYSEMU_REQUEST = 31, PTRACE_SYSEMU_SINGLESTEP_REQUEST = 32, PTRACE_ARCH_PRCTL_REQUEST = 30 };

enum { NAMESPACES = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET };

enum { MEMORY_KINDS = MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB };

/* A pid is an int: the upper half of the argument is not looked at. */
#define NEGATIVE_PID 0x80000000UL

#define ALLOW_IF(name, argument, mask, value)                                                                                    \
    {                                                                                                                            \
        SCMP_SYS(name), argument, mask, value, 0                                                                                 \
    }
#define REFUSE(name, error)                                                                                                      \
    {                                                                                                                            \
        SCMP_SYS(name), -1, 0, 0, error                                                                                          \
    }

static const struct cell_syscall allowed[] = {
    /* Its own execution, by a descriptor that is closed with it, and the C library's start; nothing else here can be executed. */
    ALLOW_IF(execveat, 4, ~0UL, AT_EMPTY_PATH),
    CELL_ALLOW(brk),
    CELL_ALLOW(arch_prctl), /* thread pointers, its own and, by ptrace, the guest's */
    CELL_ALLOW(set_tid_address),
    CELL_ALLOW(set_robust_list),
    CELL_ALLOW(uname),
    CELL_ALLOW(getrandom), /* seeds the guest's generator */
    CELL_ALLOW(readlink),
    CELL_ALLOW(newfstatat),
    CELL_ALLOW(fstat),
    CELL_ALLOW(access),
    CELL_ALLOW(setsid),
    CELL_ALLOW(personality), /* asks whether addresses are random; can but change its own */
    CELL_ALLOW(prlimit64),   /* reads limits; to raise one it would need a capability */

    /* The initramfs and the processor's features; reading only, and the root has nothing else. */
    ALLOW_IF(openat, 2, O_ACCMODE, O_RDONLY),
    { SCMP_SYS(openat), 2, O_ACCMODE, O_WRONLY, EACCES },
    { SCMP_SYS(openat), 2, O_ACCMODE, O_RDWR, EACCES },
    CELL_ALLOW(read),
    CELL_ALLOW(pread64),
    CELL_ALLOW(lseek),      /* also to find where the host has given no memory yet */
    CELL_ALLOW(getdents64), /* at its end it looks for its run directory */
    CELL_ALLOW(close),
    ALLOW_IF(close_range, 2, ~0UL, 0), /* process 1, which only waits; not to have a table of its own */

    /* Guest memory: one file, mapped by the kernel and by each of its processes at the guest's addresses; and private memory, which
       RLIMIT_DATA bounds. Not memory that is shared without a file, nor huge pages. */
    CELL_ALLOW(pwritev), /* zeros, where the host has given no memory yet; within the file's size */
    CELL_ALLOW(fsync),   /* after the stub's code was written to it */
    ALLOW_IF(mmap, 3, MEMORY_KINDS, MAP_SHARED),
    ALLOW_IF(mmap, 3, MEMORY_KINDS, MAP_ANONYMOUS),
    ALLOW_IF(mmap, 3, MEMORY_KINDS, 0),
    CELL_ALLOW(munmap),
    CELL_ALLOW(mprotect),
    CELL_ALLOW(mremap),
    CELL_ALLOW(madvise), /* gives pages back that the guest freed */

    /* A process for each address space of the guest, threads of its own for waiting, none with new namespaces, and all
       with one table of descriptors. clone3's flags lie in memory, where no filter can look. */
    ALLOW_IF(clone, 0, NAMESPACES | CLONE_FILES, CLONE_FILES),
    REFUSE(clone3, ENOSYS),
    REFUSE(rseq, ENOSYS), /* its area would be unmapped in the processes below */
    CELL_ALLOW(wait4),
    ALLOW_IF(kill, 0, NEGATIVE_PID, 0), /* in this pid namespace; not all at once */
    CELL_ALLOW(tgkill),
    CELL_ALLOW(tkill),
    CELL_ALLOW(getpid),
    CELL_ALLOW(getppid),
    CELL_ALLOW(gettid),
    CELL_ALLOW(getpgrp),
    CELL_ALLOW(exit),
    CELL_ALLOW(exit_group),
    CELL_ALLOW(futex),
    CELL_ALLOW(sched_yield),
    CELL_ALLOW(sched_getaffinity), /* itself and its processes on one processor (kernel/patches/0009-um) */
    CELL_ALLOW(sched_setaffinity),

    /* Tracing: how the guest's programs are run. Only these requests, and only of its own children. */
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_TRACEME),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_PEEKUSER),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_POKEUSER),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_CONT),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_KILL),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_GETREGS),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_SETREGS),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_GETFPREGS),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_SETFPREGS),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_SYSCALL),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_SETOPTIONS),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_GETSIGINFO),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_GETREGSET),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_SETREGSET),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_ARCH_PRCTL_REQUEST),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_SYSEMU_REQUEST),
    ALLOW_IF(ptrace, 0, ~0UL, PTRACE_SYSEMU_SINGLESTEP_REQUEST),

    /* Signals are its interrupts: timers, descriptors, faults. */
    CELL_ALLOW(rt_sigaction),
    CELL_ALLOW(rt_sigprocmask),
    CELL_ALLOW(rt_sigreturn),
    CELL_ALLOW(rt_sigsuspend),
    CELL_ALLOW(rt_sigtimedwait),
    CELL_ALLOW(sigaltstack),
    CELL_ALLOW(pause),
    CELL_ALLOW(timer_create),
    CELL_ALLOW(timer_settime),
    CELL_ALLOW(timer_gettime),
    CELL_ALLOW(timer_delete),
    CELL_ALLOW(setitimer),
    CELL_ALLOW(clock_gettime),
    CELL_ALLOW(clock_getres),
    CELL_ALLOW(clock_nanosleep), /* idle */
    CELL_ALLOW(nanosleep),
    CELL_ALLOW(
        gettimeofday), /* this and the next two are also what the vsyscall page has for the guest's programs, which is no */
    CELL_ALLOW(time),  /* system call that ptrace stops: they learn the time and the processor's number */
    CELL_ALLOW(getcpu),
    CELL_ALLOW(restart_syscall),

    /* The devices' sockets, which it inherited, their kick and call descriptors, and waiting for them. */
    CELL_ALLOW(sendmsg),
    CELL_ALLOW(recvmsg),
    CELL_ALLOW(eventfd2),
    ALLOW_IF(socketpair, 0, ~0UL, AF_UNIX), /* to its own helper threads */
    CELL_ALLOW(pipe),
    CELL_ALLOW(pipe2),
    CELL_ALLOW(dup),
    CELL_ALLOW(fcntl), /* O_ASYNC and its owner: signals, in this pid namespace */
    CELL_ALLOW(epoll_create),
    CELL_ALLOW(epoll_create1),
    CELL_ALLOW(epoll_ctl),
    CELL_ALLOW(epoll_wait),
    CELL_ALLOW(epoll_pwait),
    CELL_ALLOW(poll),
    CELL_ALLOW(ppoll),

    /* The kernel's log. */
    CELL_ALLOW(write),
    CELL_ALLOW(writev),
    REFUSE(ioctl, ENOTTY), /* it asks whether a descriptor is a terminal, and makes a pseudo-terminal to try something; no need */

    /* Its processes end with it. */
    ALLOW_IF(prctl, 0, ~0UL, PR_SET_PDEATHSIG),
    ALLOW_IF(prctl, 0, ~0UL, PR_SET_NAME),

    /* It would keep a file with its process id, in a directory that it takes to be there, and goes on without. */
    REFUSE(mkdir, EEXIST),
    REFUSE(rmdir, EROFS),
    REFUSE(unlink, EROFS),
    REFUSE(socket, EACCES),
};

/* A limit that the caller has already may be lower. */
static int set_limit(int resource, rlim_t limit, const char *what, msb_error **err)
{
    struct rlimit both;

    if (getrlimit(resource, &both) < 0)
        return fail_errno(err, "look at the limit of %s", what);
    if (limit > both.rlim_max)
        limit = both.rlim_max;
    both.rlim_cur = both.rlim_max = limit;
    return setrlimit(resource, &both) < 0 ? fail_errno(err, "limit the engine's %s", what) : 0;
}

/* As many as a guest of that memory can make use of: each of its programs has an address space, which is a process here. */
static rlim_t max_processes(unsigned memory_mib)
{
    rlim_t processes = (rlim_t)memory_mib * 2;

    return processes < 512 ? 512 : processes > 4096 ? 4096 : processes;
}

int uml_confine(const struct engine_vm *vm, msb_error **err)
{
    /* Private memory: the kernel's own data and its C library's, 4 MiB, of which its processes for the guest's programs keep none.
       Address space: the guest's memory as the kernel has it, and as a program may have it mapped, parts of it more than once.
       Files as large as the guest's memory. A descriptor for each device's socket, queue and pipe, which are less than a hundred, in
       the one table that all processes have; but the kernel sends some to the devices, and may not while more than the limit are on
       their way in sockets of the same user's (spawn.c): a few hundred are, where a guest floods its vsock device.
       docs/uml-engine.md says what all of it together comes to. */
    const rlim_t memory = (rlim_t)vm->memory_mib << 20;
    const struct {
        int resource;
        rlim_t limit;
        const char *what;
    } limits[] = {
        { RLIMIT_NPROC, max_processes(vm->memory_mib), "processes" },
        { RLIMIT_NOFILE, 4096, "descriptors" },
        { RLIMIT_FSIZE, memory, "file size" },
        { RLIMIT_DATA, 8 << 20, "private memory" },
        { RLIMIT_STACK, 1 << 20, "stack" },
        { RLIMIT_AS, 4 * memory + (1ULL << 30), "address space" },
        { RLIMIT_MEMLOCK, 0, "locked memory" },
    };

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        if (set_limit(limits[i].resource, limits[i].limit, limits[i].what, err) < 0)
            return -1;
    return cell_confine(allowed, sizeof(allowed) / sizeof(allowed[0]), err);
}
