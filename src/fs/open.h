/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening for the guest.
 *
 * Where the guest is the only user, files are not opened at all: it is told so once, and from then on reads and writes by node id
 * without a round trip for open, flush and release. Shares have handles, so that each open sees what is there now.
 */
#ifndef MSB_FS_OPEN_H
#define MSB_FS_OPEN_H

#include "fs/request.h"

/* Opens a node that exists, for a request with these flags. 0 and *out filled, or a negative errno. */
int open_node(struct fs *fs, struct node *node, uint32_t flags, uint32_t open_flags, struct fuse_open_out *out);

/* Opens a node that was just made, by its descriptor, which is taken over. */
int open_created(struct fs *fs, struct node *node, int fd, uint32_t flags, struct fuse_open_out *out);

/* A descriptor for a request's data: the handle's or, without one, the node's. */
struct open_data {
    struct handle *handle;
    struct file *file;
    int fd;
};

int open_data_get(struct fs *fs, struct node *node, uint64_t fh, enum access access, struct open_data *data);
void open_data_put(struct fs *fs, struct open_data *data);

#endif
