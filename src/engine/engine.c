/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"

const struct engine *const engines[] = { &engine_kvm, &engine_uml, &engine_qemu, NULL };

const struct engine *engine_named(enum msb_engine name)
{
    switch (name) {
    case MSB_ENGINE_KVM:
        return &engine_kvm;
    case MSB_ENGINE_QEMU:
        return &engine_qemu;
    case MSB_ENGINE_UML:
        return &engine_uml;
    case MSB_ENGINE_AUTO:
        break;
    }
    return NULL;
}
