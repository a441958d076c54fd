/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's root: mounted beside the initramfs, furnished, and then put in its place.
 */
#ifndef MSB_GUEST_ROOT_H
#define MSB_GUEST_ROOT_H

#include "guest/control.h"

/* Descriptors of mounts that stay valid whatever the workload does to its own. -1: this kernel has none. */
struct guest_root {
    int root;
    int proc, dev, pts, sys;
};

/* Mounts the root that the configuration describes: as it is, or overlayfs over its layers. */
int root_mount(const struct guest_config *config, struct guest_root *root, msb_error **err);

/* Mounts /proc, /sys, /dev and the like in it. What cannot be mounted is told to the host as a warning. */
void root_furnish(struct guest_root *root, struct control *control);

/* Files of the network and the machine's name in /etc, from memory: the root itself is not written, it may be the host's. */
int root_mount_files(const struct guest_config *config, const struct guest_root *root, struct control *control, msb_error **err);

/* Binds the shares at their paths. */
int root_mount_shares(const struct guest_config *config, const struct guest_root *root, msb_error **err);

/* Makes it the root of this process, and empties the initramfs. */
int root_switch(const struct guest_root *root, msb_error **err);

#endif
