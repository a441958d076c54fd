/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioctl: the attributes of lsattr(1) and chattr(1) (ioctl_iflags(2)). Nothing else goes to the host.
 */
#include "fs/open.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

/* What a guest may change: how a file is stored and backed up. The others would make files that their owner on the host cannot remove
   (immutable, append-only), or names mean something else (casefold), or are not for setting. */
static const unsigned changeable =
    FS_SYNC_FL | FS_DIRSYNC_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_COMPR_FL | FS_NOCOMP_FL | FS_NOCOW_FL;

static int set_flags(struct request *r, int fd, const struct fuse_ioctl_in *in)
{
    unsigned now, wanted;

    if (in->in_size < sizeof(wanted) || !request_take(r, &wanted, sizeof(wanted)))
        return -EINVAL;
    if (ioctl(fd, FS_IOC_GETFLAGS, &now) < 0)
        return -errno;
    if ((now ^ wanted) & ~changeable)
        return -EPERM;
    return ioctl(fd, FS_IOC_SETFLAGS, &wanted) < 0 ? -errno : 0;
}

int op_ioctl(struct request *r)
{
    struct {
        struct fuse_ioctl_out head;
        union {
            unsigned flags;
            struct fsxattr extended;
        } u;
    } out = { 0 };
    struct fuse_ioctl_in in;
    struct open_data data;
    size_t size;
    int error;

    if (!request_take(r, &in, sizeof(in)))
        return -EINVAL;
    switch (in.cmd) {
    case FS_IOC_SETFLAGS:
        size = 0;
        break;
    case FS_IOC_GETFLAGS:
        size = sizeof(out.u.flags); /* although its number says long */
        break;
    case FS_IOC_FSGETXATTR: /* Linux looks so before it sets flags */
        size = sizeof(out.u.extended);
        break;
    default:
        return -ENOTTY;
    }
    if (in.out_size < size)
        return -EINVAL;
    error = open_data_get(r->fs, r->node, in.fh, ACCESS_READ, &data);
    if (error < 0)
        return error;
    if (in.cmd == FS_IOC_SETFLAGS)
        error = set_flags(r, data.fd, &in);
    else
        error = ioctl(data.fd, in.cmd, &out.u) < 0 ? -errno : 0;
    open_data_put(r->fs, &data);
    return error < 0 ? error : request_reply(r, &out, sizeof(out.head) + size);
}
