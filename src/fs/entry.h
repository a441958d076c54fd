/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the handlers that answer with an inode have in common.
 */
#ifndef MSB_FS_ENTRY_H
#define MSB_FS_ENTRY_H

#include "fs/owner.h"
#include "fs/request.h"

/* How long the guest may believe names and attributes, in seconds. */
uint64_t cache_seconds(const struct fs *fs);

/* bare: it has no extended attributes that the guest would see. */
void entry_fill(const struct fs *fs, const struct node *node, const struct statx *st, const struct owner *owner, bool bare,
                struct fuse_entry_out *entry);

/* Looks name up in a directory, open as dir, and counts the lookup. 0 or a negative errno. */
int entry_lookup(struct fs *fs, struct node *parent, const struct file *dir, const char *name, struct fuse_entry_out *entry,
                 struct node **node);

/* The directory that the request is about, opened. */
int directory_of(const struct request *r, struct node *node, struct file **dir);

#endif
