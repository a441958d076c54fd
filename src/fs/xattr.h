/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MSB_FS_XATTR_H
#define MSB_FS_XATTR_H

#include "fs/request.h"

/* Removes security.capability, if the file has it. */
void xattr_drop_capability(struct fs *fs, struct node *node, const struct file *file);

/* Whether any of the host's names in a list as llistxattr(2) gives it is one that the guest would see. */
bool xattr_list_shows(const char *list, size_t size);

#endif
