/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. A guest of six instructions counts down in short rounds, and leaves for us after each. A round takes a
 * processor some microseconds, and a processor that is itself translated (QEMU's TCG) some hundred; an emulator that interprets
 * instructions one by one takes milliseconds. One fast round is proof enough, while a slow one may have been interrupted; many slow
 * ones in a row prove the opposite. What is measured is this thread's own processor time, which contains the guest's.
 */
#include "engine/kvm/probe.h"

#include "engine/kvm/layout.h"
#include "engine/kvm/vm.h"
#include "util/cleanup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

enum {
    ROUND_LOOPS = 8000,
    ROUND_FAST_US = 1200, /* 150 ns for a decrement and a jump: hundreds of times what a processor takes */
    MIN_ROUNDS = 8,
    MAX_ROUNDS = 24,
    ENOUGH_US = 40000, /* no further round after this */
    MEMORY_SIZE = 2 * KVM_PROBE_CODE,
};

/* Real mode, 16-bit operands but for the prefix 0x66. */
static const uint8_t countdown[] = {
    0x66, 0xb9, ROUND_LOOPS & 0xff, ROUND_LOOPS >> 8, 0, 0, /* again: mov ecx, ROUND_LOOPS */
    0x66, 0x49,                                             /* next: dec ecx */
    0x75, 0xfc,                                             /* jnz next */
    0xe6, 0x00,                                             /* out 0, al */
    0xeb, 0xf2,                                             /* jmp again */
};

static uint64_t thread_microseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Of the last round that was fast. */
static uint64_t measured_us;

static int judge(int vcpu, const struct kvm_run *run, msb_error **err)
{
    uint64_t fastest = UINT64_MAX, total = 0;

    for (int i = 0; i < MAX_ROUNDS && (i < MIN_ROUNDS || total < ENOUGH_US); i++) {
        uint64_t begin = thread_microseconds(), took;

        if (ioctl(vcpu, KVM_RUN, 0) < 0)
            return fail_errno(err, "/dev/kvm is of no use: run a guest of six instructions");
        if (run->exit_reason != KVM_EXIT_IO)
            return fail(err, MSB_ERR_UNSUPPORTED, "/dev/kvm is of no use: a guest of six instructions ended for reason %u",
                        run->exit_reason);
        took = thread_microseconds() - begin;
        measured_us = took;
        if (took < ROUND_FAST_US)
            return 0;
        total += took;
        if (took < fastest)
            fastest = took;
    }
    return fail(err, MSB_ERR_UNSUPPORTED,
                "/dev/kvm emulates every instruction: %d loops took %u.%u ms, where a processor takes some microseconds; use a "
                "machine, or a "
                "hypervisor around this one, that offers hardware virtualization (processor flag vmx or svm)",
                ROUND_LOOPS, (unsigned)(fastest / 1000), (unsigned)(fastest / 100 % 10));
}

static int enter_real_mode(int vcpu, msb_error **err)
{
    struct kvm_regs registers = { .rip = KVM_PROBE_CODE, .rflags = 2 };
    struct kvm_sregs system;

    if (ioctl(vcpu, KVM_GET_SREGS, &system) < 0)
        return fail_errno(err, "probe /dev/kvm: get system registers");
    system.cs.base = 0; /* a reset vCPU begins at the top of memory */
    system.cs.selector = 0;
    if (ioctl(vcpu, KVM_SET_SREGS, &system) < 0 || ioctl(vcpu, KVM_SET_REGS, &registers) < 0)
        return fail_errno(err, "probe /dev/kvm: set registers");
    return 0;
}

int kvm_probe_vcpu(int vcpu, struct kvm_run *run, void *code, msb_error **err)
{
    int result;

    memcpy(code, countdown, sizeof(countdown));
    result = enter_real_mode(vcpu, err) < 0 ? -1 : judge(vcpu, run, err);
    memset(code, 0, sizeof(countdown));
    if (result < 0)
        return -1;
    /* The write to the port is only complete when the guest is entered again, which this does without an instruction. */
    run->immediate_exit = 1;
    if (ioctl(vcpu, KVM_RUN, 0) < 0 && errno != EINTR)
        return fail_errno(err, "leave the guest of six instructions");
    run->immediate_exit = 0;
    return 0;
}

static int probe_vcpu(int kvm, int vcpu, void *memory, msb_error **err)
{
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    struct kvm_run *run;
    int result;

    if (size < (int)sizeof(*run))
        return fail_errno(err, "probe /dev/kvm: size of a vCPU's shared page");
    run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (run == MAP_FAILED)
        return fail_errno(err, "probe /dev/kvm: map a vCPU's shared page");
    result = kvm_probe_vcpu(vcpu, run, (uint8_t *)memory + KVM_PROBE_CODE, err);
    munmap(run, (size_t)size);
    return result;
}

static int probe_vm(int kvm, void *memory, msb_error **err)
{
    const struct kvm_userspace_memory_region slot = { .memory_size = MEMORY_SIZE, .userspace_addr = (uintptr_t)memory };
    _cleanup_fd_ int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    _cleanup_fd_ int vcpu = -1;

    if (vm < 0)
        return fail_errno(err, "/dev/kvm is of no use: create a VM");
    /* Without an interrupt controller in the kernel: this guest has no interrupts, and it takes the longest to make. */
    if (ioctl(vm, KVM_SET_TSS_ADDR, LAYOUT_TSS) < 0 || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
        return fail_errno(err, "probe /dev/kvm: give a VM memory");
    vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    if (vcpu < 0)
        return fail_errno(err, "/dev/kvm is of no use: create a vCPU");
    return probe_vcpu(kvm, vcpu, memory, err);
}

int kvm_probe(msb_error **err)
{
    _cleanup_fd_ int kvm = vm_open_kvm(err);
    void *memory;
    int result;

    if (kvm < 0)
        return -1;
    memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return fail_errno(err, "probe /dev/kvm: memory");
    result = probe_vm(kvm, memory, err);
    munmap(memory, MEMORY_SIZE);
    return result;
}

const char *kvm_measured(void)
{
    static char text[64];

    snprintf(text, sizeof(text), "%d loops of a guest took %" PRIu64 " \302\265s", ROUND_LOOPS, measured_us);
    return text;
}
