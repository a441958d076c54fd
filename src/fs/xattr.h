/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSB_FS_XATTR_H
#define MSB_FS_XATTR_H

#include "fs/request.h"

/* Removes security.capability, if the file has it. */
void xattr_drop_capability(struct fs *fs, struct node *node, const struct file *file);

/* Turns a list of the host's names, as listxattr(2) gives it, into the guest's, in place; a zero is behind its end. Returns its size. */
size_t xattr_translate_list(char *list, size_t size);

#endif
