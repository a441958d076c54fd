/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether /dev/kvm is worth using: measured, because a /dev/kvm can open, create VMs and yet emulate every guest instruction.
 */
#ifndef MSB_ENGINE_KVM_PROBE_H
#define MSB_ENGINE_KVM_PROBE_H

#include "util/error.h"

#include <linux/kvm.h>

enum { KVM_PROBE_CODE = 0x1000 }; /* where the probe's guest lies in its guest's memory */

/* 0 when the guest's instructions run on the processor; -1 and what was found, and what would mend it, otherwise. Takes at most 100 ms. */
int kvm_probe(msb_error **err);

/* The same with a vCPU that there is already, which is as KVM makes it; code is the memory that the guest has at KVM_PROBE_CODE. The vCPU's
   registers have to be set afterwards. */
int kvm_probe_vcpu(int vcpu, struct kvm_run *run, void *code, msb_error **err);

/* What the last success measured, for "msb doctor". */
const char *kvm_measured(void);

#endif
