/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which addresses a VM would get if it were started now, as `msb run --dry-run` tells it.
 */
#ifndef MSB_CLI_NETWORK_CHOICE_H
#define MSB_CLI_NETWORK_CHOICE_H

#include "util/error.h"

/* Takes what engine_choice_add() returned, and returns it with "ip" and "subnet" added to "would_run": null without a network card. An
   address that is taken is an error, as at the start. The caller frees it. */
char *network_choice_add(const char *json, msb_error **err);

#endif
