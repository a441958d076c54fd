/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What CPUID says to the guest: what KVM supports on this host, less what a microVM has no use for, with the processor numbers put
 * right for each vCPU.
 */
#ifndef MSB_ENGINE_KVM_CPUID_H
#define MSB_ENGINE_KVM_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

enum { CPUID_MAX_ENTRIES = 256 }; /* KVM_MAX_CPUID_ENTRIES */

struct cpuid {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entries[CPUID_MAX_ENTRIES]; /* head's flexible array */
};

/* Filters what KVM_GET_SUPPORTED_CPUID gave, once for a VM. */
void cpuid_filter(struct cpuid *cpuid, bool tsc_deadline);

/* Makes the filtered table that of vCPU index of count. */
void cpuid_number(struct cpuid *cpuid, uint32_t index, uint32_t count);

#endif
