/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caller's side of a VM's monitor: starts it without disturbing the process that the library is in, talks to it, and learns
 * how the VM ended.
 */
#ifndef MSB_SANDBOX_CALLER_H
#define MSB_SANDBOX_CALLER_H

#include "sandbox/control.h"
#include "sandbox/vm.h"

/* Where its program is: in a build tree, in an installed tree wherever it was moved, or where it was meant to be installed. The
   caller frees it. */
char *monitor_find(msb_error **err);

struct monitor_handle {
    int socket; /* -1: no monitor */
    int pidfd;
};

/* Starts a monitor for the VM; both descriptors are the caller's, close-on-exec. */
int monitor_start(const struct spec *spec, const struct vm_stdio *stdio, struct monitor_handle *monitor, msb_error **err);

/* Sends one message: `type` with `size` bytes of body. */
int monitor_send(const struct monitor_handle *monitor, enum control type, const void *body, uint32_t size, msb_error **err);

/* How the VM ended. */
struct monitor_result {
    int status;       /* what a shell shows */
    char *kernel_log; /* may be NULL; the caller frees it */
};

/* Waits for the monitor's end. */
int monitor_await(const struct monitor_handle *monitor, msb_error **err);

/* Reaps a monitor that has ended, and closes both descriptors. Returns 0 when the workload has an exit status, else -1 and why not;
   *result is filled in both cases. */
int monitor_collect(struct monitor_handle *monitor, struct monitor_result *result, msb_error **err);

#endif
