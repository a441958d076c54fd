/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/vcpu.h"

#include "engine/kvm/layout.h"
#include "util/cleanup.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* Selectors that the boot protocol prescribes (__BOOT_CS, __BOOT_DS), and a task segment, without which VMX does not enter. */
enum { SELECTOR_CODE = 0x10, SELECTOR_DATA = 0x18, SELECTOR_TASK = 0x20 };

enum {
    CR0_PE = 1 << 0,  /* protected mode */
    CR0_ET = 1 << 4,  /* always 1 */
    CR4_PAE = 1 << 5, /* long mode needs it */
    EFER_LME = 1 << 8,
    EFER_LMA = 1 << 10,
    RFLAGS_ALWAYS = 1 << 1,
};
#define CR0_PG (UINT64_C(1) << 31)

#define FLAT_SEGMENT(selector_, type_, long_, default_)                                                                          \
    {                                                                                                                            \
        .base = 0, .limit = 0xffffffff, .selector = (selector_), .type = (type_), .present = 1, .s = 1, .l = (long_),            \
        .db = (default_), .g = 1                                                                                                 \
    }

/* The system registers at the first instruction; what is not here stays as KVM resets it. The hidden parts of the segment registers
   are what the descriptors below say. */
static const struct kvm_sregs initial = {
    .cs = FLAT_SEGMENT(SELECTOR_CODE, 11 /* code, read, accessed */, 1, 0),
    .ds = FLAT_SEGMENT(SELECTOR_DATA, 3 /* data, write, accessed */, 0, 1),
    .es = FLAT_SEGMENT(SELECTOR_DATA, 3, 0, 1),
    .fs = FLAT_SEGMENT(SELECTOR_DATA, 3, 0, 1),
    .gs = FLAT_SEGMENT(SELECTOR_DATA, 3, 0, 1),
    .ss = FLAT_SEGMENT(SELECTOR_DATA, 3, 0, 1),
    .tr = { .limit = 0xffff, .selector = SELECTOR_TASK, .type = 11 /* 64-bit TSS, busy */, .present = 1 },
    .gdt = { .base = LAYOUT_GDT, .limit = SELECTOR_TASK + 15 },
    .idt = { .limit = 0 }, /* interrupts are off, and an exception ends the VM */
    .cr0 = CR0_PE | CR0_ET | CR0_PG,
    .cr3 = LAYOUT_PAGE_TABLES,
    .cr4 = CR4_PAE,
    .efer = EFER_LME | EFER_LMA,
};

/* Intel SDM volume 3, section 3.4.5: flat 64-bit code, flat data, and an empty 64-bit TSS at 0. */
static const uint64_t descriptors[] = {
    [SELECTOR_CODE / 8] = 0x00af9b000000ffff,
    [SELECTOR_DATA / 8] = 0x00cf93000000ffff,
    [SELECTOR_TASK / 8] = 0x00008b000000ffff,
    [SELECTOR_TASK / 8 + 1] = 0,
};

/* The model-specific registers that differ from their value after a reset. */
static const struct {
    uint32_t index;
    uint64_t value;
} initial_msrs[] = {
    { 0x1a0, 1 },          /* IA32_MISC_ENABLE: fast strings */
    { 0x2ff, 1 << 11 | 6 } /* IA32_MTRR_DEF_TYPE: on, and all memory is write-back */
};

enum { NUM_INITIAL_MSRS = sizeof(initial_msrs) / sizeof(initial_msrs[0]) };

int vcpu_prepare_cpuid(const struct vm *vm, struct cpuid *cpuid, msb_error **err)
{
    cpuid->head = (struct kvm_cpuid2){ .nent = CPUID_MAX_ENTRIES };
    if (ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, cpuid) < 0)
        return fail_errno(err, "ask KVM which processor features it supports");
    cpuid_filter(cpuid, ioctl(vm->kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0);
    return 0;
}

static int set_msrs(const struct vcpu *vcpu, msb_error **err)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entries[NUM_INITIAL_MSRS];
    } msrs = { .head.nmsrs = NUM_INITIAL_MSRS };
    int set;

    for (unsigned i = 0; i < NUM_INITIAL_MSRS; i++)
        msrs.entries[i] = (struct kvm_msr_entry){ .index = initial_msrs[i].index, .data = initial_msrs[i].value };
    set = ioctl(vcpu->fd, KVM_SET_MSRS, &msrs);
    if (set < 0)
        return fail_errno(err, "set a vCPU's model-specific registers");
    if (set < NUM_INITIAL_MSRS)
        return fail(err, MSB_ERR_UNSUPPORTED, "KVM refused to set model-specific register %#" PRIx32, initial_msrs[set].index);
    return 0;
}

int vcpu_create(struct vcpu *vcpu, const struct vm *vm, struct cpuid *cpuid, uint32_t index, uint32_t count, msb_error **err)
{
    void *run;

    *vcpu = (struct vcpu){ .run_size = vm->run_size };
    vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, index);
    if (vcpu->fd < 0)
        return fail_errno(err, "create vCPU %" PRIu32, index);
    run = mmap(NULL, vcpu->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (run == MAP_FAILED)
        return fail_errno(err, "map the shared page of vCPU %" PRIu32, index);
    vcpu->run = run;
    cpuid_number(cpuid, index, count);
    if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0)
        return fail_errno(err, "set the processor features of vCPU %" PRIu32, index);
    return set_msrs(vcpu, err);
}

void vcpu_destroy(struct vcpu *vcpu)
{
    if (vcpu->run)
        munmap(vcpu->run, vcpu->run_size);
    cleanup_fd(&vcpu->fd);
    *vcpu = (struct vcpu){ .fd = -1 };
}

int vcpu_set_entry(struct vcpu *vcpu, const struct vm *vm, gpa_t entry, msb_error **err)
{
    struct kvm_regs registers = { .rip = entry.value, .rsi = LAYOUT_ZERO_PAGE, .rflags = RFLAGS_ALWAYS };
    struct kvm_sregs system;

    if (ioctl(vcpu->fd, KVM_GET_SREGS, &system) < 0)
        return fail_errno(err, "get the first vCPU's system registers");
    system.cs = initial.cs;
    system.ds = initial.ds;
    system.es = initial.es;
    system.fs = initial.fs;
    system.gs = initial.gs;
    system.ss = initial.ss;
    system.tr = initial.tr;
    system.gdt = initial.gdt;
    system.idt = initial.idt;
    system.cr0 = initial.cr0;
    system.cr3 = initial.cr3;
    system.cr4 = initial.cr4;
    system.efer = initial.efer;
    if (ioctl(vcpu->fd, KVM_SET_SREGS, &system) < 0)
        return fail_errno(err, "set the first vCPU's system registers");
    if (ioctl(vcpu->fd, KVM_SET_REGS, &registers) < 0)
        return fail_errno(err, "set the first vCPU's registers");
    memcpy(memory_at(&vm->memory, (gpa_t){ LAYOUT_GDT }, sizeof(descriptors)), descriptors, sizeof(descriptors));
    return 0;
}
