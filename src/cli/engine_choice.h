/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which engine would run a VM here, and why, as `msb run --dry-run` tells it.
 */
#ifndef MSB_CLI_ENGINE_CHOICE_H
#define MSB_CLI_ENGINE_CHOICE_H

#include "util/error.h"

/* Takes a configuration as msb_vm_to_json() writes it, and returns it with a member "would_run" added: the engine and its guest kernel,
   null where none can, and the reasons. The caller frees it. */
char *engine_choice_add(const char *json, msb_error **err);

#endif
