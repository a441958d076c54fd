/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSB_SANDBOX_RUNTIME_H
#define MSB_SANDBOX_RUNTIME_H

#include "util/error.h"

/* The user's own directory for what lives as long as sandboxes do: $XDG_RUNTIME_DIR/microsandbox, or without that variable
   /tmp/microsandbox-UID. Made if missing; refused when it is not the user's alone. The caller frees it. */
char *runtime_directory(msb_error **err);

#endif
