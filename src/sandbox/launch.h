/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts the processes of a VM: the devices and the engine, side by side. Each gets a cell of its own and only its descriptors.
 */
#ifndef MSB_SANDBOX_LAUNCH_H
#define MSB_SANDBOX_LAUNCH_H

#include "config/spec.h"
#include "net/plan.h"
#include "sandbox/children.h"
#include "sandbox/files.h"
#include "wire/protocol.h"

/* The monitor's ends of what it shares with them; the caller closes those that are not -1. */
struct launched {
    int connections; /* from the vsock device: the guest's connections (vsock/vsock.h) */
    int console;     /* from the engine: the guest kernel's console */
    struct one_child *engine;
    const char *engine_name;       /* which one it is: "qemu" */
    struct net_plan net;           /* to be released once the children have ended; its guest part is for PID 1 */
    struct one_child *net_process; /* NULL: the VM has no network card */
};

/* Fills in what of config depends on the devices. vsock_listener is the host's way to the guest's vsock ports (vsock/vsock.h), -1: none; it
   stays the caller's. After a failure, children may have been started. */
int launch(const struct spec *spec, const struct files *files, int vsock_listener, struct children *children,
           struct guest_config *config, struct launched *launched, msb_error **err);

/* The guest is configured: whom that concerns is told. */
void launched_configured(const struct launched *launched);

#endif
