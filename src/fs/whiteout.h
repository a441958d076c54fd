/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whiteouts of unpacked OCI layers (image specification, "Whiteouts"), presented as overlayfs's own, while the layer stays as it is:
 *
 *     .wh.NAME       the lower layers' NAME is gone: a character device 0:0 called NAME, unless the layer has a NAME of its own
 *     .wh..wh..opq   all of the lower layers' directory is gone: the xattr trusted.overlay.opaque=y of the directory
 *
 * The markers themselves are not seen. A directory beside a marker for its own name is opaque too: the marker removes the lower one.
 */
#ifndef MSB_FS_WHITEOUT_H
#define MSB_FS_WHITEOUT_H

#include "fs/request.h"

#define WHITEOUT_PREFIX ".wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"

/* The marker for name; false when it would be too long, so that there is none. */
bool whiteout_marker(const char *name, char marker[NAME_MAX + 1]);

/* Whether a name in a layer is a marker, and what it hides: NULL for those that hide nothing by name. */
bool whiteout_is_marker(const char *name, const char **hidden);

/* Whether a directory of a layer is opaque. 1, 0, or a negative errno. */
int whiteout_is_opaque(struct fs *fs, struct node *node);

#endif
