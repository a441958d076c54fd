/* SPDX-License-Identifier: Apache-2.0 */
/*
 * setattr: mode, owner, size, times.
 */
#include "fs/entry.h"
#include "fs/setattr.h"
#include "fs/xattr.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* The changes that a write, a truncation or a change of owner makes to mode: what lets others act as the owner goes. */
static uint32_t mode_without_privileges(uint32_t mode)
{
    mode &= ~(uint32_t)S_ISUID;
    /* Without group execution the bit means mandatory locking, and no privilege. */
    if (mode & S_IXGRP)
        mode &= ~(uint32_t)S_ISGID;
    return mode;
}

static int change_owner(struct request *r, const struct file *file, const struct statx *st, const struct fuse_setattr_in *in)
{
    struct owner owner = owner_of_file(r->fs, r->node, file, st);

    if (in->valid & FATTR_MODE)
        owner.mode = (owner.mode & S_IFMT) | (in->mode & 07777);
    if (in->valid & FATTR_UID)
        owner.uid = in->uid;
    if (in->valid & FATTR_GID)
        owner.gid = in->gid;
    if ((in->valid & FATTR_KILL_SUIDGID) && !S_ISDIR(owner.mode))
        owner.mode = mode_without_privileges(owner.mode);
    return owner_store(r->fs, r->node, file, st, &owner);
}

static int change_size(struct request *r, const struct fuse_setattr_in *in)
{
    struct file *file = NULL;
    int error;

    if (r->node->type == S_IFDIR)
        return -EISDIR;
    error = node_file(r->fs->nodes, r->node, ACCESS_WRITE, &file);
    if (error < 0)
        return error == -ENXIO ? -EINVAL : error;
    error = ftruncate(file->fd, (off_t)in->size) < 0 ? -errno : 0;
    file_put(r->fs->nodes, file);
    return error;
}

static struct timespec new_time(uint32_t valid, uint32_t set, uint32_t now, uint64_t seconds, uint32_t nanoseconds)
{
    if (valid & now)
        return (struct timespec){ .tv_nsec = UTIME_NOW };
    if (valid & set)
        return (struct timespec){ .tv_sec = (time_t)seconds, .tv_nsec = (long)nanoseconds };
    return (struct timespec){ .tv_nsec = UTIME_OMIT };
}

static int change_times(const struct file *file, const struct fuse_setattr_in *in)
{
    const struct timespec times[2] = {
        new_time(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
        new_time(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
    };
    int result;

    /* Only these two say what they mean by special values. */
    if ((!(in->valid & FATTR_ATIME_NOW) && in->atimensec >= 1000000000) ||
        (!(in->valid & FATTR_MTIME_NOW) && in->mtimensec >= 1000000000))
        return -EINVAL;
    if (file->access > ACCESS_PATH)
        result = futimens(file->fd, times);
    else
        result = utimensat(file->fd, "", times, AT_EMPTY_PATH);
    return result < 0 ? -errno : 0;
}

static int change(struct request *r, const struct file *file, const struct fuse_setattr_in *in)
{
    struct statx st;
    int error = statx_at(file->fd, "", &st);

    if (error == 0 && (in->valid & (FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_KILL_SUIDGID)))
        error = change_owner(r, file, &st, in);
    if (error == 0 && (in->valid & FATTR_KILL_SUIDGID))
        xattr_drop_capability(r->fs, r->node, file);
    if (error == 0 && (in->valid & FATTR_SIZE))
        error = change_size(r, in);
    if (error == 0 && (in->valid & (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW)))
        error = change_times(file, in);
    return error;
}

/* Linux's client asks for no change at all, or only for a new time of change, when set-id bits are to go that it does not name: after
   fallocate(2), after a write through an overlayfs above us, and with chown(2) to nobody. */
static bool only_kills_privileges(const struct fuse_setattr_in *in)
{
    return (in->valid & ~(uint32_t)(FATTR_FH | FATTR_LOCKOWNER | FATTR_CTIME)) == 0;
}

/* A truncation that an overlayfs passes on comes as from one who may keep the bits, whoever truncates. */
static bool kills_privileges(const struct request *r, const struct fuse_setattr_in *in)
{
    if (r->node->type != S_IFREG)
        return false;
    return only_kills_privileges(in) || (r->fs->options.below_overlay && (in->valid & FATTR_SIZE));
}

int op_setattr(struct request *r)
{
    struct fuse_attr_out out = { .attr_valid = cache_seconds(r->fs) };
    struct fuse_setattr_in in;
    struct statx st;
    struct owner owner;
    struct file *file = NULL;
    int error;

    if (!request_take(r, &in, sizeof(in)))
        return -EINVAL;
    if (kills_privileges(r, &in))
        in.valid |= FATTR_KILL_SUIDGID;
    error = node_file(r->fs->nodes, r->node, ACCESS_PATH, &file);
    if (error < 0)
        return error;
    error = change(r, file, &in);
    if (error == 0)
        error = statx_at(file->fd, "", &st);
    if (error == 0)
        owner = owner_of_file(r->fs, r->node, file, &st);
    file_put(r->fs->nodes, file);
    if (error < 0)
        return error;
    attr_fill(r->fs, r->node, &st, &owner, &out.attr);
    return request_reply(r, &out, sizeof(out));
}

int drop_privileges(struct fs *fs, struct node *node)
{
    struct owner owner;
    struct statx st;
    struct file *file = NULL;
    int error = node_file(fs->nodes, node, ACCESS_PATH, &file);

    if (error < 0)
        return error;
    error = statx_at(file->fd, "", &st);
    if (error == 0) {
        uint32_t mode;

        owner = owner_of_file(fs, node, file, &st);
        mode = mode_without_privileges(owner.mode);
        if (mode != owner.mode) {
            owner.mode = mode;
            error = owner_store(fs, node, file, &st, &owner);
        }
        xattr_drop_capability(fs, node, file);
    }
    file_put(fs->nodes, file);
    return error;
}
