/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE protocol as Linux 6.12 speaks it (7.41, include/uapi/linux/fuse.h): the system's header, and what is newer than Debian
 * 12's, which ends with 7.38.
 */
#ifndef MSB_FS_FUSE_H
#define MSB_FS_FUSE_H

#include <linux/fuse.h>
#include <stdint.h>

enum {
    FUSE_MINOR = 41, /* the newest minor version whose requests are all known here */
};

#if FUSE_KERNEL_MINOR_VERSION < 39
enum { FUSE_STATX = 52 };

struct fuse_sx_time {
    int64_t tv_sec;
    uint32_t tv_nsec;
    int32_t reserved;
};

/* Laid out like statx(2)'s struct. */
struct fuse_statx {
    uint32_t mask;
    uint32_t blksize;
    uint64_t attributes;
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint16_t mode;
    uint16_t spare0;
    uint64_t ino;
    uint64_t size;
    uint64_t blocks;
    uint64_t attributes_mask;
    struct fuse_sx_time atime;
    struct fuse_sx_time btime;
    struct fuse_sx_time ctime;
    struct fuse_sx_time mtime;
    uint32_t rdev_major;
    uint32_t rdev_minor;
    uint32_t dev_major;
    uint32_t dev_minor;
    uint64_t spare2[14];
};

struct fuse_statx_in {
    uint32_t getattr_flags;
    uint32_t reserved;
    uint64_t fh;
    uint32_t sx_flags;
    uint32_t sx_mask;
};

struct fuse_statx_out {
    uint64_t attr_valid;
    uint32_t attr_valid_nsec;
    uint32_t flags;
    uint64_t spare[2];
    struct fuse_statx stat;
};
#endif

/* In struct fuse_attr's flags, of a new inode: it has no extended attributes, so that the guest need not ask for any until it sets one. Our
   own kernels' (kernel/patches/0027-fuse-no-xattrs); others take no notice. */
#define FUSE_ATTR_NO_XATTRS (1U << 31)

_Static_assert(sizeof(struct fuse_statx) == 256 && sizeof(struct fuse_statx_out) == 288, "laid out as in the kernel");

#endif
