/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership without root. On the host every file belongs to the user who runs the sandbox; what the guest sets is kept in the user
 * xattr `user.containers.override_stat`, the convention of containers/storage, fuse-overlayfs and libkrun:
 *
 *     UID:GID:0MODE           of a regular file or directory
 *     UID:GID:0MODE:TYPE      of what is a regular file only on the host: pipe, socket, block-MAJOR-MINOR, char-MAJOR-MINOR
 *
 * Permissions that the host can carry are set there too. A guest never leaves a setuid or setgid file or a device on the host; its
 * overlayfs whiteouts, character devices 0:0, which no one can open, are the exception. docs/files.md tells the whole.
 */
#ifndef MSB_FS_OWNER_H
#define MSB_FS_OWNER_H

#include "fs/node.h"
#include "fs/request.h"

#define OWNER_XATTR "user.containers.override_stat"

enum { OWNER_TEXT_MAX = 96 };

/* Reads the xattr's text; false when it says nothing that can be used for a file of this type on the host (S_IFMT). */
bool owner_parse(const char *text, size_t size, uint32_t host_type, struct owner *owner);

/* Writes the xattr's text; returns its length. */
size_t owner_format(const struct owner *owner, char text[OWNER_TEXT_MAX]);

bool owner_same(const struct owner *a, const struct owner *b);

/* What the guest sees of a file without the xattr. */
struct owner owner_default(const struct fs *fs, const struct statx *st);

/* The permission bits that a host file gets for what the guest has set: its owner, which is us, can always get at it. */
uint32_t owner_host_mode(const struct owner *owner, uint32_t host_type);

/* What the guest sees of an inode. st is its status. The first form asks by name in dir, the second by an open descriptor. *bare: it was seen
   on the way that there is no extended attribute that the guest would see; only where nobody else may give it one. */
struct owner owner_at(struct fs *fs, struct node *node, int dir, const char *name, const struct statx *st, bool *bare);
struct owner owner_of_file(struct fs *fs, struct node *node, const struct file *file, const struct statx *st);

/* The same for a node that may not be open; also fills *st. 0 or a negative errno. */
int owner_of_node(struct fs *fs, struct node *node, struct statx *st, struct owner *owner);

/* Makes the inode look like owner to the guest. st is what the host says now. 0 or a negative errno. */
int owner_store(struct fs *fs, struct node *node, const struct file *file, const struct statx *st, const struct owner *owner);

/* The same for a new file that no node has yet: by its descriptor. 1 when the host has no place for it. */
int owner_store_new(struct fs *fs, int fd, const struct statx *st, const struct owner *owner);

/* Where the host denies us, who own the inode, what the guest's root may do: gives the owner permissions on the host, and the guest
   goes on seeing those that were there. True when something changed. */
bool owner_grant_access(struct fs *fs, struct node *node);

/* FUSE's device numbers. */
uint32_t rdev_encode(uint32_t major, uint32_t minor);

/* Fills what the guest is told. */
void attr_fill(const struct fs *fs, const struct node *node, const struct statx *st, const struct owner *owner,
               struct fuse_attr *attr);

/* The path by which calls without a descriptor argument reach the file. */
const char *file_path(const struct fs *fs, const struct file *file, char path[64]);

#endif
