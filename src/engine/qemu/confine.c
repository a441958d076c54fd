/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU may ask of the host. The table has to hold from before its execution, so that it includes what the dynamic linker and
 * the start of QEMU need. It is short on what could reach beyond the process: no socket leads out of its empty network namespace, no
 * process is made, nothing is renamed, removed, mounted or traced, and files can be opened in a read-only root that has nothing but QEMU's
 * own, with guest memory as the one file that can be written.
 */
#include "engine/qemu/arguments.h"
#include "util/cell.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static const struct cell_syscall allowed[] = {
    /* The linker, and reading the firmware, kernel and initramfs. */
    CELL_ALLOW(execve), /* QEMU itself; its -sandbox spawn=deny takes it away */
    CELL_ALLOW(brk),
    CELL_ALLOW(mmap),
    CELL_ALLOW(munmap),
    CELL_ALLOW(mremap),
    CELL_ALLOW(mprotect), /* TCG's buffer of translated code too */
    CELL_ALLOW(arch_prctl),
    CELL_ALLOW(set_tid_address),
    CELL_ALLOW(set_robust_list),
    CELL_ALLOW(rseq),
    { SCMP_SYS(openat), 2, O_ACCMODE, O_RDONLY, 0 },
    { SCMP_SYS(openat), 2, O_ACCMODE, O_RDWR, 0 }, /* guest memory; all else in its root is read-only */
    { SCMP_SYS(openat), 2, O_ACCMODE, O_WRONLY, EACCES },
    CELL_ALLOW(read),
    CELL_ALLOW(pread64),
    CELL_ALLOW(lseek),
    CELL_ALLOW(close),
    CELL_ALLOW(newfstatat),
    CELL_ALLOW(fstat),
    CELL_ALLOW(statfs),
    CELL_ALLOW(fstatfs),
    CELL_ALLOW(access),
    CELL_ALLOW(getdents64),
    CELL_ALLOW(readlink),
    CELL_ALLOW(getcwd),
    CELL_ALLOW(fchdir), /* glib, around a search for files */

    /* Guest memory. */
    CELL_ALLOW(memfd_create),
    CELL_ALLOW(ftruncate),
    CELL_ALLOW(madvise),
    CELL_ALLOW(fallocate), /* the balloon's free page reporting punches holes */
    CELL_ALLOW(get_mempolicy),
    CELL_ALLOW(set_mempolicy),

    /* Threads, and nothing but threads: without CLONE_THREAD it would be a process. clone3's flags lie in memory, where no filter
       can look; the C library then takes clone. */
    { SCMP_SYS(clone), 0, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM, 0 },
    { SCMP_SYS(clone3), -1, 0, 0, ENOSYS },
    CELL_ALLOW(futex),
    CELL_ALLOW(gettid),
    CELL_ALLOW(getpid),
    CELL_ALLOW(sched_yield),
    CELL_ALLOW(sched_getaffinity),
    CELL_ALLOW(exit),
    CELL_ALLOW(exit_group),
    CELL_ALLOW(tgkill), /* kicks a vCPU's thread, in this pid namespace */
    CELL_ALLOW(rt_sigaction),
    CELL_ALLOW(rt_sigprocmask),
    CELL_ALLOW(rt_sigreturn),
    CELL_ALLOW(rt_sigtimedwait),
    CELL_ALLOW(sigaltstack),

    /* The main loop and its time. */
    CELL_ALLOW(ppoll),
    CELL_ALLOW(poll),
    CELL_ALLOW(epoll_create1),
    CELL_ALLOW(epoll_ctl),
    CELL_ALLOW(epoll_wait),
    CELL_ALLOW(epoll_pwait),
    CELL_ALLOW(eventfd2),
    CELL_ALLOW(signalfd4),
    CELL_ALLOW(timerfd_create),
    CELL_ALLOW(timerfd_settime),
    CELL_ALLOW(clock_gettime),
    CELL_ALLOW(clock_getres),
    CELL_ALLOW(clock_nanosleep),
    CELL_ALLOW(nanosleep),
    CELL_ALLOW(gettimeofday),
    CELL_ALLOW(restart_syscall),
    { SCMP_SYS(io_uring_setup), -1, 0, 0, ENOSYS },

    /* The sockets that it inherited, to the devices: vhost-user. */
    { SCMP_SYS(socket), 0, ~0UL, AF_UNIX, 0 }, /* net_socket.c; its network namespace has nothing else to connect to */
    CELL_ALLOW(connect),
    { SCMP_SYS(socketpair), 0, ~0UL, AF_UNIX, 0 }, /* one more, to hand to the device for its requests */
    CELL_ALLOW(sendmsg),
    CELL_ALLOW(recvmsg),
    CELL_ALLOW(getsockname),
    CELL_ALLOW(getpeername),
    CELL_ALLOW(getsockopt),
    CELL_ALLOW(shutdown),
    { SCMP_SYS(setsockopt), -1, 0, 0, ENOPROTOOPT }, /* SO_ZEROCOPY: not for Unix sockets anyway */
    CELL_ALLOW(dup),
    CELL_ALLOW(dup3),
    CELL_ALLOW(fcntl),
    { SCMP_SYS(ioctl), 1, ~0UL, FIONBIO, 0 },
    { SCMP_SYS(ioctl), 1, ~0UL, TCGETS, 0 }, /* isatty() of its standard streams */

    /* The console's pipe, and standard error. */
    CELL_ALLOW(write),
    CELL_ALLOW(writev),

    /* What it asks about itself. */
    CELL_ALLOW(getrandom), /* the guest's random numbers too */
    CELL_ALLOW(sysinfo),
    CELL_ALLOW(uname),
    CELL_ALLOW(getuid),
    CELL_ALLOW(geteuid),
    CELL_ALLOW(getgid),
    CELL_ALLOW(getegid),
    CELL_ALLOW(prlimit64), /* to raise a limit it would need a capability */
    CELL_ALLOW(umask),

    /* -sandbox. */
    CELL_ALLOW(seccomp),
    { SCMP_SYS(prctl), 0, ~0UL, PR_SET_NO_NEW_PRIVS, 0 },
    { SCMP_SYS(prctl), 0, ~0UL, PR_SET_NAME, 0 },
    { SCMP_SYS(prctl), 0, ~0UL, PR_GET_SECCOMP, 0 },
    { SCMP_SYS(prctl), 0, ~0UL, PR_SET_SECCOMP, 0 },
    { SCMP_SYS(prctl), 0, ~0UL, PR_SET_TIMERSLACK, 0 },
    { SCMP_SYS(prctl), 0, ~0UL, PR_MCE_KILL, 0 }, /* broken memory of the host is told early */
};

int qemu_confine(msb_error **err)
{
    return cell_confine(allowed, sizeof(allowed) / sizeof(allowed[0]), err);
}
