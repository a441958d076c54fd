/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two devices of the platform process.
 */
#ifndef MSB_PLATFORM_DEVICES_H
#define MSB_PLATFORM_DEVICES_H

#include "virtio/vhost_user.h"

/* virtio-rng (virtio 1.2, section 5.4): random bytes from the host's kernel. */
extern const struct vhost_user_device entropy_device;

/* virtio-balloon (section 5.5) that never asks the guest for memory: the guest tells which of its pages are free (free page
   reporting, section 5.5.6.7), and they go back to the host. */
extern const struct vhost_user_device balloon_device;

/* What a device's requests are taken into; one for each. It is too large for a stack. */
struct platform_device {
    struct chain chain;
};

#endif
