/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtual CPU: its creation, and the state that it begins in.
 */
#ifndef MSB_ENGINE_KVM_VCPU_H
#define MSB_ENGINE_KVM_VCPU_H

#include "engine/kvm/cpuid.h"
#include "engine/kvm/vm.h"

struct vcpu {
    int fd;
    struct kvm_run *run; /* where KVM says why the guest was left */
    size_t run_size;
};

/* Asks KVM what it supports, and filters it; once for a VM. */
int vcpu_prepare_cpuid(const struct vm *vm, struct cpuid *cpuid, msb_error **err);

/* Makes vCPU index of count. All but the first wait for the guest to start them. cpuid is changed to this vCPU's. */
int vcpu_create(struct vcpu *vcpu, const struct vm *vm, struct cpuid *cpuid, uint32_t index, uint32_t count, msb_error **err);
void vcpu_destroy(struct vcpu *vcpu);

/* Puts the first vCPU, and the descriptor table in guest memory that it needs, into the state of the 64-bit boot protocol: about to
   execute entry, with the zero page in RSI. */
int vcpu_set_entry(struct vcpu *vcpu, const struct vm *vm, gpa_t entry, msb_error **err);

#endif
