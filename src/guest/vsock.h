/* SPDX-License-Identifier: Apache-2.0 */
/* Connections from the guest to its host over virtio-vsock (vsock(7)). */
#ifndef MSB_GUEST_VSOCK_H
#define MSB_GUEST_VSOCK_H

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Waits for the connection, or begins one that does not block and becomes writable when it is made. */
int vsock_connect(uint32_t port, bool blocking, msb_error **err);

#endif
