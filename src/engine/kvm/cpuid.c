/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. KVM tells which features it can give a guest here; that is the upper bound, and a guest wants nearly all of it.
 * Taken away is what needs hardware or help that a microVM does not have, and what would only cost time at boot:
 *
 *   - VMX and SVM: no virtualization inside the guest, which is by far the largest part of KVM that a guest could attack.
 *   - machine checks: a guest would reset 32 register banks of nobody, with a hundred exits, and a host that has a memory error kills
 *     the process in any case.
 *   - the performance counters: they cost each context switch, and show one guest what the others do.
 *   - MONITOR/MWAIT, SpeedStep, thermal sensors, debug store, SGX, processor trace: not there.
 *
 * Of KVM's own leaf, only what is listed below is offered: the paravirtual features that need nothing of us. What is new in a later KVM
 * stays away until somebody has thought about it.
 */
#include "engine/kvm/cpuid.h"

#include <asm/kvm_para.h>
#include <string.h>

enum register_name { EAX, EBX, ECX, EDX };

/* Bits to clear in a leaf; index -1: in each sub-leaf. */
struct mask {
    uint32_t leaf;
    enum register_name name;
    uint32_t clear;
};

#define BIT(n) (UINT32_C(1) << (n))

static const struct mask masks[] = {
    /* DTES64, MONITOR, DS-CPL, VMX, SMX, EIST, TM2, PDCM, DCA */
    { 0x1, ECX, BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(15) | BIT(18) },
    /* MCE, MCA, PSN, DS, ACPI, TM, PBE */
    { 0x1, EDX, BIT(7) | BIT(14) | BIT(18) | BIT(21) | BIT(22) | BIT(29) | BIT(31) },
    /* SGX, RDT-M, RDT-A, PT */
    { 0x7, EBX, BIT(2) | BIT(12) | BIT(15) | BIT(25) },
    /* SGX launch control */
    { 0x7, ECX, BIT(30) },
    /* all but ARAT: the local APIC's timer never stops */
    { 0x6, EAX, ~BIT(2) },
    { 0x6, EBX, ~UINT32_C(0) },
    { 0x6, ECX, ~UINT32_C(0) },
    /* SVM, IBS, SKINIT, LWP, the performance counters' extensions, MWAITX */
    { 0x80000001, ECX, BIT(2) | BIT(10) | BIT(12) | BIT(15) | BIT(23) | BIT(24) | BIT(28) | BIT(29) },
    { 0x80000001, EDX, BIT(7) | BIT(14) },
};

/* Leaves that are taken out, which makes them all zero: MONITOR, direct cache access, performance counters, Intel's topology (put in
   anew below, once), resource control, SGX, processor trace, SVM, IBS, AMD's resource control, performance counters and topology of
   more than one die. */
static const uint32_t dropped_leaves[] = {
    0x5, 0x9, 0xa, 0xb, 0xf, 0x10, 0x12, 0x14, 0x1f, 0x8000000a, 0x8000001b, 0x80000020, 0x80000022, 0x80000026,
};

/* What KVM's own leaf may offer (Documentation/virt/kvm/x86/cpuid.rst). */
#define PARAVIRTUAL_FEATURES                                                                                                     \
    (BIT(KVM_FEATURE_NOP_IO_DELAY) | BIT(KVM_FEATURE_CLOCKSOURCE2) | BIT(KVM_FEATURE_STEAL_TIME) | BIT(KVM_FEATURE_PV_EOI) |     \
     BIT(KVM_FEATURE_PV_UNHALT) | BIT(KVM_FEATURE_PV_TLB_FLUSH) | BIT(KVM_FEATURE_PV_SEND_IPI) | BIT(KVM_FEATURE_POLL_CONTROL) | \
     BIT(KVM_FEATURE_PV_SCHED_YIELD) | BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT))

static uint32_t *entry_register(struct kvm_cpuid_entry2 *entry, enum register_name name)
{
    switch (name) {
    case EAX:
        return &entry->eax;
    case EBX:
        return &entry->ebx;
    case ECX:
        return &entry->ecx;
    default:
        return &entry->edx;
    }
}

static bool is_dropped(uint32_t leaf)
{
    for (size_t i = 0; i < sizeof(dropped_leaves) / sizeof(dropped_leaves[0]); i++)
        if (leaf == dropped_leaves[i])
            return true;
    return false;
}

static void filter_entry(struct kvm_cpuid_entry2 *entry, bool tsc_deadline)
{
    for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++)
        if (entry->function == masks[i].leaf)
            *entry_register(entry, masks[i].name) &= ~masks[i].clear;
    if (entry->function == 0x1) {
        entry->ecx |= BIT(31); /* a hypervisor is present */
        /* KVM_GET_SUPPORTED_CPUID leaves this bit to KVM_CAP_TSC_DEADLINE_TIMER. */
        entry->ecx = tsc_deadline ? entry->ecx | BIT(24) : entry->ecx & ~BIT(24);
        entry->ecx |= BIT(21); /* x2APIC, which the in-kernel local APIC always has */
    }
    if (entry->function == KVM_CPUID_FEATURES) {
        entry->eax &= PARAVIRTUAL_FEATURES;
        entry->edx = 0; /* no promise that a vCPU has a processor to itself */
    }
}

/* The two sub-leaves of Intel's topology leaf, to be filled for each vCPU. AMD's processors have it too. */
static void add_topology(struct cpuid *cpuid)
{
    for (uint32_t level = 0; level < 2 && cpuid->head.nent < CPUID_MAX_ENTRIES; level++)
        cpuid->entries[cpuid->head.nent++] = (struct kvm_cpuid_entry2){
            .function = 0xb,
            .index = level,
            .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        };
}

void cpuid_filter(struct cpuid *cpuid, bool tsc_deadline)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < cpuid->head.nent; i++) {
        if (is_dropped(cpuid->entries[i].function))
            continue;
        cpuid->entries[kept] = cpuid->entries[i];
        filter_entry(&cpuid->entries[kept++], tsc_deadline);
    }
    cpuid->head.nent = kept;
    add_topology(cpuid);
}

/* How many bits number count things. */
static uint32_t bits_for(uint32_t count)
{
    return count <= 1 ? 0 : 32 - (uint32_t)__builtin_clz(count - 1);
}

/* Sub-leaf 0 is the thread within its core, sub-leaf 1 the core within the package. */
static void number_topology(struct kvm_cpuid_entry2 *entry, uint32_t index, uint32_t count)
{
    enum { LEVEL_THREAD = 1, LEVEL_CORE = 2 };

    entry->eax = entry->index == 0 ? 0 : bits_for(count);
    entry->ebx = entry->index == 0 ? 1 : count;
    entry->ecx = entry->index | (entry->index == 0 ? LEVEL_THREAD : LEVEL_CORE) << 8;
    entry->edx = index;
}

/* Both vendors' cache leaves have the level in EAX[7:5] and how many processors share it, less one, in EAX[25:14]: a core has its own
   first and second level, the package shares the third. */
static void number_cache(struct kvm_cpuid_entry2 *entry, uint32_t count)
{
    uint32_t level = entry->eax >> 5 & 7;

    entry->eax &= ~(UINT32_C(0xfff) << 14);
    if (level >= 3)
        entry->eax |= (count - 1) << 14;
}

/* One package of count cores with one thread each, whose APIC ids are the vCPUs' numbers. */
static void number_entry(struct kvm_cpuid_entry2 *entry, bool amd, uint32_t index, uint32_t count)
{
    switch (entry->function) {
    case 0x1:
        entry->ebx = (entry->ebx & 0xffff) | count << 16 | index << 24;
        entry->edx = count > 1 ? entry->edx | BIT(28) : entry->edx & ~BIT(28); /* HTT: EBX[23:16] counts */
        break;
    case 0x4:
        number_cache(entry, count);
        entry->eax &= ~(UINT32_C(0x3f) << 26);
        if (entry->eax & 0x1f)
            entry->eax |= (count > 64 ? 63 : count - 1) << 26; /* cores of the package, less one, in six bits */
        break;
    case 0xb:
        number_topology(entry, index, count);
        break;
    case 0x80000001:
        if (amd)
            entry->ecx = count > 1 ? entry->ecx | BIT(1) : entry->ecx & ~BIT(1); /* CmpLegacy: cores, not threads */
        break;
    case 0x80000008:
        if (amd)
            entry->ecx = (entry->ecx & ~UINT32_C(0xffff)) | bits_for(count) << 12 | (count - 1);
        break;
    case 0x8000001d:
        number_cache(entry, count);
        break;
    case 0x8000001e:
        entry->eax = index;
        entry->ebx = index & 0xff; /* one thread to each core */
        entry->ecx = 0;            /* one node */
        break;
    }
}

/* AMD and Hygon, by the first four letters of the vendor's name. */
static bool is_amd(const struct cpuid *cpuid)
{
    for (uint32_t i = 0; i < cpuid->head.nent; i++)
        if (cpuid->entries[i].function == 0)
            return memcmp(&cpuid->entries[i].ebx, "Auth", 4) == 0 || memcmp(&cpuid->entries[i].ebx, "Hygo", 4) == 0;
    return false;
}

void cpuid_number(struct cpuid *cpuid, uint32_t index, uint32_t count)
{
    bool amd = is_amd(cpuid);

    for (uint32_t i = 0; i < cpuid->head.nent; i++)
        number_entry(&cpuid->entries[i], amd, index, count);
}
