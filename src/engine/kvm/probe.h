/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether /dev/kvm is worth using: measured, because a /dev/kvm can open, create VMs and yet emulate every guest instruction.
 */
#ifndef MSB_ENGINE_KVM_PROBE_H
#define MSB_ENGINE_KVM_PROBE_H

#include "util/error.h"

/* 0 when the guest's instructions run on the processor; -1 and what was found, and what would mend it, otherwise. Takes at most 100 ms. */
int kvm_probe(msb_error **err);

#endif
