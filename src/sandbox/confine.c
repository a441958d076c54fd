/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor is the user's own process: it is no cell, since it has to signal its children, read their use of memory in /proc, and
 * keep files of the user's. But of all that the user may do, this is all that is left to it, before it reads the first byte from the guest.
 *
 * Capabilities are not needed, not even as root: whoever made a user namespace has them all over it (user_namespaces(7)), and so over the
 * children. Landlock would confine its files too, but hides what /proc says of children that are not under the same rules.
 */
#include "sandbox/confine.h"

#include "util/cell.h"

#include <cap-ng.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

/* ---- System calls ------------------------------------------------------------------------------------------------------------- */

static const struct cell_syscall allowed[] = {
    CELL_ALLOW(epoll_wait),                        /* the event loop */
    CELL_ALLOW(epoll_ctl),                         /* what it watches */
    CELL_ALLOW(timerfd_create),                    /* its timers */
    CELL_ALLOW(timerfd_settime),                   /* the same */
    CELL_ALLOW(clock_gettime),                     /* the time, where the vDSO has it not */
    CELL_ALLOW(read),                              /* consoles, logs of devices, timers, streams; /proc */
    CELL_ALLOW(write),                             /* the log, streams, state.json */
    CELL_ALLOW(pwritev),                           /* the log of a sandbox */
    CELL_ALLOW(pread64),                           /* what the devices read and wrote (/proc/PID/io) */
    CELL_ALLOW(recvmsg),                           /* messages and descriptors of clients; connections of the guest's */
    CELL_ALLOW(sendmsg),                           /* answers */
    CELL_ALLOW(recvfrom),                          /* streams that are sockets; messages of PID 1 */
    CELL_ALLOW(sendto),                            /* the same */
    CELL_ALLOW(splice),                            /* streams that are pipes */
    CELL_ALLOW(sendfile),                          /* streams that are files */
    CELL_ALLOW(poll),                              /* streams that cannot be made non-blocking */
    CELL_ALLOW(accept4),                           /* clients */
    CELL_ALLOW(getsockopt),                        /* who they are (SO_PEERCRED) */
    CELL_ALLOW(shutdown),                          /* the ends of streams */
    CELL_ALLOW(fcntl),                             /* modes and duplicates of descriptors */
    CELL_ALLOW(dup3),                              /* the log, once its caller has gone its way */
    CELL_ALLOW(close),                             /* streams, clients */
    CELL_ALLOW(openat),                            /* a terminal anew, /proc, state.json, the log */
    CELL_ALLOW(open),                              /* the same, by older C libraries */
    CELL_ALLOW(newfstatat),                        /* what a stream is */
    CELL_ALLOW(fstat),                             /* the same */
    CELL_ALLOW(fstatfs),                           /* fopen and opendir of some C libraries */
    CELL_ALLOW(getdents64),                        /* /proc; members of the network's group */
    CELL_ALLOW(lseek),                             /* stdio */
    CELL_ALLOW(readlink),                          /* names in the network's group */
    CELL_ALLOW(readlinkat),                        /* the same */
    CELL_ALLOW(flock),                             /* the registry's and the group's locks */
    CELL_ALLOW(ftruncate),                         /* the log, after a write that the disk took half of */
    CELL_ALLOW(rename),                            /* state.json, the log */
    CELL_ALLOW(renameat),                          /* the same */
    CELL_ALLOW(unlink),                            /* what a sandbox leaves */
    CELL_ALLOW(unlinkat),                          /* the same */
    CELL_ALLOW(rmdir),                             /* the same */
    CELL_ALLOW(mkdir),                             /* the directory of the network's group, to leave it */
    CELL_ALLOW(pidfd_send_signal),                 /* the end of children */
    CELL_ALLOW(waitid),                            /* how they ended */
    CELL_ALLOW(getpid),                            /* state.json */
    CELL_ALLOW(geteuid),                           /* whether a client is of the same user */
    CELL_ALLOW(mmap),                              /* malloc */
    CELL_ALLOW(munmap),                            /* malloc */
    CELL_ALLOW(mremap),                            /* malloc */
    CELL_ALLOW(madvise),                           /* malloc */
    CELL_ALLOW(brk),                               /* malloc */
    CELL_ALLOW(rt_sigprocmask),                    /* abort */
    CELL_ALLOW(restart_syscall),                   /* after it was stopped and continued */
    CELL_ALLOW(exit_group),                        /* the end */
    { SCMP_SYS(ioctl), 1, ~0UL, TCGETS, 0 },       /* isatty in stdio; nothing is pushed into the terminal (TIOCSTI) */
    { SCMP_SYS(socketpair), 0, ~0UL, AF_UNIX, 0 }, /* between a stream and who attaches to it */
};

/* ---- All ------------------------------------------------------------------------------------------------------------------------ */

int monitor_confine(msb_error **err)
{
    capng_clear(CAPNG_SELECT_CAPS);
    if (capng_apply(CAPNG_SELECT_CAPS) < 0)
        return fail(err, MSB_ERR_SYSTEM, "drop the monitor's capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fail_errno(err, "set no_new_privs");
    return cell_narrow(allowed, sizeof(allowed) / sizeof(allowed[0]), err);
}
