/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What user-mode Linux may ask of the host.
 */
#ifndef MSB_ENGINE_UML_CONFINE_H
#define MSB_ENGINE_UML_CONFINE_H

#include "engine/engine.h"

/* Limits and cell_confine() with the system calls of user-mode Linux. */
int uml_confine(const struct engine_vm *vm, msb_error **err);

#endif
