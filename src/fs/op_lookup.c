/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that only look: lookup, getattr, statx, readlink, statfs, access.
 */
#include "fs/entry.h"
#include "fs/whiteout.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { CACHE_FOREVER = 365 * 24 * 3600 };

uint64_t cache_seconds(const struct fs *fs)
{
    return fs->options.guest_is_only_user ? CACHE_FOREVER : 0;
}

void entry_fill(const struct fs *fs, const struct node *node, const struct statx *st, const struct owner *owner, bool bare,
                struct fuse_entry_out *entry)
{
    const bool may_be_opaque = node->type == S_IFDIR && node_in_layer(fs->nodes, node);

    *entry = (struct fuse_entry_out){
        .nodeid = node->id,
        .generation = fs->generation,
        .entry_valid = cache_seconds(fs),
        .attr_valid = cache_seconds(fs),
    };
    attr_fill(fs, node, st, owner, &entry->attr);
    if (bare && fs->options.guest_is_only_user && !may_be_opaque)
        entry->attr.flags = FUSE_ATTR_NO_XATTRS;
}

int directory_of(const struct request *r, struct node *node, struct file **dir)
{
    if (node->type != S_IFDIR)
        return -ENOTDIR;
    return node_file(r->fs->nodes, node, ACCESS_PATH, dir);
}

int entry_lookup(struct fs *fs, struct node *parent, const struct file *dir, const char *name, struct fuse_entry_out *entry,
                 struct node **node)
{
    struct found found = { .parent = parent, .name = name, .version = names_version(fs->nodes) };
    char marker[NAME_MAX + 1];
    struct statx st;
    struct owner owner;
    bool bare;
    int error = statx_at(dir->fd, name, &st);

    if (error == -ENOENT && node_in_layer(fs->nodes, parent) && whiteout_marker(name, marker)) {
        found.name = marker;
        found.whiteout = true;
        error = statx_at(dir->fd, marker, &st);
    }
    if (error == 0)
        error = node_found(fs->nodes, &found, &st, node);
    if (error)
        return error;
    owner = owner_at(fs, *node, dir->fd, found.name, &st, &bare);
    entry_fill(fs, *node, &st, &owner, bare, entry);
    return 0;
}

int op_lookup(struct request *r)
{
    char name[NAME_MAX + 1];
    struct fuse_entry_out entry;
    struct node *node = NULL;
    struct file *dir = NULL;
    int error = request_take_name(r, name);

    if (error == 0)
        error = directory_of(r, r->node, &dir);
    if (error == 0) {
        error = entry_lookup(r->fs, r->node, dir, name, &entry, &node);
        file_put(r->fs->nodes, dir);
        if (error == 0)
            node_put(r->fs->nodes, node);
    }
    if (error == -ENOENT && r->fs->options.guest_is_only_user) {
        /* That there is nothing may be believed as long. */
        entry = (struct fuse_entry_out){ .entry_valid = cache_seconds(r->fs) };
        error = 0;
    }
    return error < 0 ? error : request_reply(r, &entry, sizeof(entry));
}

int op_getattr(struct request *r)
{
    struct fuse_attr_out out = { .attr_valid = cache_seconds(r->fs) };
    struct statx st;
    struct owner owner;
    int error = owner_of_node(r->fs, r->node, &st, &owner);

    if (error < 0)
        return error;
    attr_fill(r->fs, r->node, &st, &owner, &out.attr);
    return request_reply(r, &out, sizeof(out));
}

static struct fuse_sx_time sx_time(const struct statx_timestamp *t)
{
    return (struct fuse_sx_time){ .tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec };
}

int op_statx(struct request *r)
{
    struct fuse_statx_out out = { .attr_valid = cache_seconds(r->fs) };
    struct fuse_attr attr;
    struct statx st;
    struct owner owner;
    int error = owner_of_node(r->fs, r->node, &st, &owner);

    if (error < 0)
        return error;
    attr_fill(r->fs, r->node, &st, &owner, &attr);
    out.stat = (struct fuse_statx){
        .mask = st.stx_mask & (STATX_BASIC_STATS | STATX_BTIME),
        .blksize = attr.blksize,
        .nlink = attr.nlink,
        .uid = attr.uid,
        .gid = attr.gid,
        .mode = (uint16_t)attr.mode,
        .ino = attr.ino,
        .size = attr.size,
        .blocks = attr.blocks,
        .atime = sx_time(&st.stx_atime),
        .btime = sx_time(&st.stx_btime),
        .ctime = sx_time(&st.stx_ctime),
        .mtime = sx_time(&st.stx_mtime),
        .rdev_major = (attr.rdev & 0xfff00) >> 8,
        .rdev_minor = (attr.rdev & 0xff) | ((attr.rdev >> 12) & 0xfff00),
    };
    return request_reply(r, &out, sizeof(out));
}

int op_readlink(struct request *r)
{
    char target[PATH_MAX];
    struct file *file = NULL;
    ssize_t size;
    int error;

    if (r->node->type != S_IFLNK)
        return -EINVAL;
    error = node_file(r->fs->nodes, r->node, ACCESS_PATH, &file);
    if (error < 0)
        return error;
    size = readlinkat(file->fd, "", target, sizeof(target));
    error = size < 0 ? -errno : 0;
    file_put(r->fs->nodes, file);
    return error < 0 ? error : request_reply(r, target, (size_t)size);
}

int op_statfs(struct request *r)
{
    struct fuse_statfs_out out = { 0 };
    struct statvfs st;
    struct file *file = NULL;
    int error = node_file(r->fs->nodes, r->node, ACCESS_PATH, &file);

    if (error < 0)
        return error;
    error = fstatvfs(file->fd, &st) < 0 ? -errno : 0;
    file_put(r->fs->nodes, file);
    if (error < 0)
        return error;
    out.st = (struct fuse_kstatfs){
        .blocks = st.f_blocks,
        .bfree = st.f_bfree,
        .bavail = st.f_bavail,
        .files = st.f_files,
        .ffree = st.f_ffree,
        .bsize = (uint32_t)st.f_bsize,
        .namelen = (uint32_t)st.f_namemax,
        .frsize = (uint32_t)st.f_frsize,
    };
    return request_reply(r, &out, sizeof(out));
}

/* Linux asks this only where it does not check permissions itself, which a virtio-fs mount always does. */
int op_access(struct request *r)
{
    struct fuse_access_in in;
    struct statx st;
    struct owner owner;
    uint32_t allowed;
    int error;

    if (!request_take(r, &in, sizeof(in)) || (in.mask & ~(uint32_t)(R_OK | W_OK | X_OK)))
        return -EINVAL;
    error = owner_of_node(r->fs, r->node, &st, &owner);
    if (error < 0)
        return error;
    if (r->in.uid == 0)
        allowed = R_OK | W_OK | (owner.mode & 0111 || S_ISDIR(owner.mode) ? X_OK : 0);
    else
        allowed = owner.mode >> (r->in.uid == owner.uid ? 6 : r->in.gid == owner.gid ? 3 : 0);
    return in.mask & ~allowed ? -EACCES : 0;
}
