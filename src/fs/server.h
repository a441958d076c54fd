/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE server: everything behind the virtqueue. Requests come as lists of buffers in guest memory (request.h); the tree that
 * is served lies below one directory, and inodes are kept in one table (node.h).
 */
#ifndef MSB_FS_SERVER_H
#define MSB_FS_SERVER_H

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>

struct fs;

/* A mount in the tree whose content is presented with something changed. */
struct fs_mount {
    uint64_t id; /* statx(2)'s stx_mnt_id */
    bool oci_whiteouts;
};

struct fs_options {
    bool guest_is_only_user; /* nobody else changes the tree: names and attributes may be cached by the guest for good */
    bool below_overlay;      /* the guest's overlayfs lies above, and asks for its users with a privileged user's rights */
    bool one_user;           /* the user namespace maps only user 0: every other owner looks like the overflow id */
    int root;                /* the tree: a directory, or its O_PATH descriptor; becomes the server's */
    /* A directory that has this process's descriptors as magic links, /proc/self/fd: as a descriptor, and as an absolute path. To
       open for reading or writing what is held with O_PATH. The descriptor becomes the server's. */
    int own_fds;
    const char *own_fds_path;
    unsigned max_files; /* how many descriptors may be open at once */
    const struct fs_mount *mounts;
    size_t num_mounts;
};

struct fs *fs_new(const struct fs_options *options, msb_error **err);

/* Closes everything. No request may be in progress. */
void fs_free(struct fs *fs);

#endif
