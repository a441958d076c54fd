/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/confine.h"

#include "util/cell.h"

#include <linux/kvm.h>
#include <sched.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct cell_syscall setup_calls[] = {
    CELL_ALLOW(ioctl),         /* /dev/kvm, the VM and the vCPUs are made by ioctls; they are the only devices open */
    CELL_ALLOW(mmap),          /* guest memory, the vCPUs' shared pages, the threads' stacks */
    CELL_ALLOW(munmap),        /* what was mapped for the moment */
    CELL_ALLOW(mprotect),      /* guard pages of the threads' stacks; malloc */
    CELL_ALLOW(brk),           /* malloc */
    CELL_ALLOW(fstat),         /* how large the kernel and the initramfs are */
    CELL_ALLOW(newfstatat),    /* fstat(3), as glibc calls it */
    CELL_ALLOW(pread64),       /* read the kernel and the initramfs */
    CELL_ALLOW(clock_gettime), /* how fast the vCPU is */
    CELL_ALLOW(eventfd2),      /* kicks and interrupts */
    CELL_ALLOW(sendmsg),       /* vhost-user */
    CELL_ALLOW(recvmsg),       /* vhost-user */
    CELL_ALLOW(close),         /* what is not needed any more */
    /* The threads, and nothing but threads. clone3's flags lie in memory, where no filter can look; the C library then takes clone. */
    { SCMP_SYS(clone), 0, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM, 0 },
    { SCMP_SYS(clone3), -1, 0, 0, ENOSYS },
    CELL_ALLOW(set_robust_list), /* a thread's beginning */
    CELL_ALLOW(rseq),            /* the same */
    CELL_ALLOW(gettid),          /* the same, in some builds of glibc */
    CELL_ALLOW(rt_sigprocmask),  /* pthread_create() blocks signals meanwhile */
    CELL_ALLOW(rt_sigaction),    /* the first pthread_create() */
    CELL_ALLOW(prctl),           /* libseccomp, when a thread narrows what it may do; the thread's name */
    CELL_ALLOW(seccomp),         /* the same */
    CELL_ALLOW(futex),           /* locks */
    CELL_ALLOW(write),           /* the log, the guest kernel's log */
    CELL_ALLOW(poll),            /* wait for the end */
    CELL_ALLOW(restart_syscall), /* go on waiting, after the process was stopped and continued */
    CELL_ALLOW(exit_group),      /* the end */
};

static const struct cell_syscall vcpu_calls[] = {
    { SCMP_SYS(ioctl), 1, ~0UL, KVM_RUN, 0 }, /* run the guest; nothing else can be asked of KVM */
    CELL_ALLOW(sendmsg),                      /* vhost-user, when a driver starts or resets its device */
    CELL_ALLOW(recvmsg),                      /* the same */
    CELL_ALLOW(futex),                        /* the lock of the registers */
    CELL_ALLOW(write),                        /* the guest kernel's log, our log */
    CELL_ALLOW(brk),                          /* malloc, for the text of an error */
    CELL_ALLOW(exit_group),                   /* the end of the VM */
};

static const struct cell_syscall watch_calls[] = {
    CELL_ALLOW(poll),            /* wait for the monitor to go */
    CELL_ALLOW(restart_syscall), /* the same, after the process was stopped and continued */
    CELL_ALLOW(futex),           /* malloc's lock, which the vCPU threads take too: libseccomp frees the filter it loaded */
    CELL_ALLOW(exit_group),      /* and follow it */
};

int confine_setup(msb_error **err)
{
    return cell_confine(setup_calls, COUNT(setup_calls), err);
}

int confine_vcpu(msb_error **err)
{
    return cell_narrow(vcpu_calls, COUNT(vcpu_calls), err);
}

int confine_watch(msb_error **err)
{
    return cell_narrow(watch_calls, COUNT(watch_calls), err);
}
