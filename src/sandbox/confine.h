/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the monitor gives up once everything is started: it goes on to read what the guest says, and needs little for that.
 */
#ifndef MSB_SANDBOX_CONFINE_H
#define MSB_SANDBOX_CONFINE_H

#include "util/error.h"

/* Forbids for good: capabilities, new programs and processes, the memory of others, new sockets and connections, namespaces, mounts. No
   thread may exist but the caller's. */
int monitor_confine(msb_error **err);

#endif
