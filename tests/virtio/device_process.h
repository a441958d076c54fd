/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts a real device executable (msb-fs, msb-net, msb-vsock) for a test, as the monitor does: in namespaces of its own, with the
 * descriptors of util/device.h. Works for root and for an ordinary user.
 */
#ifndef MSB_TESTS_VIRTIO_DEVICE_PROCESS_H
#define MSB_TESTS_VIRTIO_DEVICE_PROCESS_H

#include "sandbox/spawn.h"

struct device_process {
    struct child child;
    int monitor; /* our end of descriptor 3 */
    int socket;  /* our end of descriptor 4: vhost-user. A driver takes it with steal_fd() */
};

struct device_start {
    const char *executable;
    enum spawn_user user;
    bool host_network;
    const void *setup; /* the set-up packet */
    size_t setup_size;
    const int *fds; /* 5, 6, ... of the device; they stay the caller's */
    size_t num_fds;
};

/* Returns when the device is in its cell and says that it is ready. The device's stderr is the test's. */
int device_process_start(struct device_process *process, const struct device_start *start, msb_error **err);

/* Hangs up as a dying monitor does, and waits for the end. Returns the exit status, or 128 and the signal that killed the device. */
int device_process_stop(struct device_process *process);

/* Waits for a device that ends by itself, as when its front-end hung up; at most timeout_ms, then -1. */
int device_process_wait(struct device_process *process, int timeout_ms);

#endif
