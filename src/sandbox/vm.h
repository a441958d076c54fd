/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library's half of a running VM: what msb_vm_builder_build() makes of a validated specification, and msb_vm_*() works on.
 */
#ifndef MSB_SANDBOX_VM_H
#define MSB_SANDBOX_VM_H

#include "config/config.h"

/* The caller's descriptors for the workload's standard streams; -1 is /dev/null. */
struct vm_stdio {
    int in;
    int out;
    int err;
};

/* Takes what is in *spec and *warnings, also when it fails; both are empty afterwards. */
msb_vm *vm_new(struct spec *spec, struct warnings *warnings, const struct vm_stdio *stdio, msb_error **err);

#endif
