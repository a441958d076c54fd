/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which engine runs a VM, and with which kernel.
 */
#ifndef MSB_SANDBOX_CHOOSE_H
#define MSB_SANDBOX_CHOOSE_H

#include "engine/engine.h"
#include "sandbox/files.h"

/* For a named engine, whether it can run the VM here, as far as that is known before it is started (vm->measure). For MSB_ENGINE_AUTO the best one that can; an engine that cannot do what
   vm asks is passed over. kernel is a named one or NULL; vm->kernel is set to a string that the caller frees. NULL and why not. */
const struct engine *choose_engine(const struct files *files, enum msb_engine wanted, const char *kernel, struct engine_vm *vm,
                                   msb_error **err);

#endif
