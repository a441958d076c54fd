/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caller's side of a VM's monitor: starts it without disturbing the process that the library is in, talks to it, and learns
 * how the VM ended.
 */
#ifndef MSB_SANDBOX_CALLER_H
#define MSB_SANDBOX_CALLER_H

#include "sandbox/client.h"
#include "sandbox/vm.h"

/* Where its program is: in a build tree, in an installed tree wherever it was moved, or where it was meant to be installed. The
   caller frees it. */
char *monitor_find(msb_error **err);

struct monitor_handle {
    int socket; /* -1: no monitor */
    int pidfd;
};

/* Starts a monitor for the VM; both descriptors are the caller's, close-on-exec. With LAUNCH_DETACH among the options (enum
   launch_option) the monitor is nobody's child: there is no pidfd then. */
int monitor_start(const struct spec *spec, const struct vm_stdio *stdio, unsigned options, struct monitor_handle *monitor,
                  msb_error **err);

/* Sends a request that is not answered; frees it in any case. */
int monitor_send(const struct monitor_handle *monitor, struct request *request, msb_error **err);

/* Waits for the monitor's end. */
int monitor_await(const struct monitor_handle *monitor, msb_error **err);

/* Reaps a monitor that has ended, and closes both descriptors. Returns 0 when the workload has an exit status, else -1 and why not;
   *result is filled in both cases, to be cleared. */
int monitor_collect(struct monitor_handle *monitor, struct result *result, msb_error **err);

#endif
