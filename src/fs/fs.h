/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the monitor tells a virtio-fs device process (libexec's `fs`) in its set-up packet (util/device.h).
 */
#ifndef MSB_FS_FS_H
#define MSB_FS_FS_H

#include "util/error.h"
#include "wire/buffer.h"

/* One host directory or file that appears in the exported tree. */
struct fs_export {
    char *host;   /* absolute host path; empty when masked */
    char *target; /* where in the exported tree: "" is its root, else relative such as "layers/0" or "upper" */
    bool masked; /* what is at target in an export before it does not exist for the device: an empty file or directory is there */
    bool read_only;
    bool oci_whiteouts; /* present .wh.NAME and .wh..wh..opq as overlayfs's whiteouts and opaque directories */
};

struct fs_setup {
    uint8_t log_level;
    char *tag;               /* "root" or "shares", for the configuration space */
    bool guest_is_only_user; /* cache hard: nobody on the host changes the tree meanwhile */
    uint8_t num_queues;      /* request queues beside the high-priority one */
    struct fs_export *exports;
    size_t num_exports;
};

void fs_setup_clear(struct fs_setup *setup);
void fs_setup_encode(struct writer *w, const struct fs_setup *setup);
bool fs_setup_decode(struct reader *r, struct fs_setup *setup);

#endif
