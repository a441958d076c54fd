/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSB_ENGINE_KVM_ENGINE_H
#define MSB_ENGINE_KVM_ENGINE_H

#include "engine/engine.h"

/* engine_kvm.run, when it is known where the program msb-kvm is (a descriptor). */
int kvm_execute(int program, const struct engine_vm *vm, msb_error **err);

#endif
