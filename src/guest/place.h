/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths in the guest's root, and mounts at them. The root is not trusted to hold what it should: any name in it may be a symbolic
 * link to anywhere. So every path is resolved inside the root (openat2 with RESOLVE_IN_ROOT), to a descriptor, and what is mounted
 * is mounted on that descriptor and not on a name (the mount API of fsopen(2), move_mount(2)).
 */
#ifndef MSB_GUEST_PLACE_H
#define MSB_GUEST_PLACE_H

#include "util/error.h"

#include <stdbool.h>
#include <sys/types.h>

/* Returns an O_PATH descriptor, or -1 with errno. */
int place_open(int root, const char *path);

/* The same for a directory or an empty file that is made if it is missing, with the directories above it. A symbolic link that
   leads nowhere is followed, and what it names is made. */
int place_make_directory(int root, const char *path, mode_t mode, msb_error **err);
int place_make_file(int root, const char *path, msb_error **err);

struct mount_option {
    const char *key, *value; /* value NULL: a flag */
};

/* A new mount of a file system that is not mounted anywhere yet; its descriptor can be used as a directory at once. options end
   with a NULL key. attributes are MOUNT_ATTR_*. -1 with ENODEV when the kernel has no such file system. */
int mount_new(const char *type, const struct mount_option *options, unsigned attributes, msb_error **err);

/* A new mount of what is at source (a descriptor of something mounted), alone. */
int mount_clone(int source, bool read_only, msb_error **err);

/* Puts a new mount at a descriptor. The mount's own stays valid. */
int mount_attach(int mount, int target, msb_error **err);

#endif
