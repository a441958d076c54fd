/* SPDX-License-Identifier: Apache-2.0 */
/*
 * open, opendir, flush, release, releasedir. open.h says what an open is.
 */
#include "fs/open.h"
#include "fs/owner.h"
#include "fs/setattr.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* What of open(2)'s flags is the host's business. */
enum { HANDLE_FLAGS = O_ACCMODE | O_APPEND };

static int keep_handle(struct fs *fs, struct node *node, int fd, uint32_t flags, struct fuse_open_out *out)
{
    *out = (struct fuse_open_out){ 0 };
    return handle_new(fs->handles, node, fd, (int)(flags & HANDLE_FLAGS), &out->fh);
}

int open_created(struct fs *fs, struct node *node, int fd, uint32_t flags, struct fuse_open_out *out)
{
    if (fs->no_open) {
        *out = (struct fuse_open_out){ .open_flags = FOPEN_KEEP_CACHE };
        node_keep_file(fs->nodes, node, fd, ACCESS_WRITE);
        return 0;
    }
    if ((flags & O_APPEND) && fcntl(fd, F_SETFL, O_APPEND) < 0) {
        int error = -errno;

        close(fd);
        return error;
    }
    return keep_handle(fs, node, fd, flags, out);
}

int open_node(struct fs *fs, struct node *node, uint32_t flags, uint32_t open_flags, struct fuse_open_out *out)
{
    int fd;

    if (node->type == S_IFDIR)
        return -EISDIR;
    if ((flags & O_TRUNC) && (open_flags & FUSE_OPEN_KILL_SUIDGID)) {
        int error = drop_privileges(fs, node);

        if (error < 0)
            return error;
    }
    fd = node_open(fs->nodes, node, (int)(flags & (HANDLE_FLAGS | O_TRUNC)));
    return fd < 0 ? fd : keep_handle(fs, node, fd, flags, out);
}

int op_open(struct request *r)
{
    struct fuse_open_out out;
    struct fuse_open_in in;
    int error;

    if (!request_take(r, &in, sizeof(in)))
        return -EINVAL;
    /* "Do not ask again": the file is opened when it is read or written (FUSE_NO_OPEN_SUPPORT). */
    if (r->fs->no_open)
        return -ENOSYS;
    error = open_node(r->fs, r->node, in.flags, in.open_flags, &out);
    return error < 0 ? error : request_reply(r, &out, sizeof(out));
}

int op_opendir(struct request *r)
{
    struct fuse_open_out out = { 0 };
    int fd, error;

    if (r->node->type != S_IFDIR)
        return -ENOTDIR;
    /* "Do not ask again": a directory is opened when it is read (FUSE_NO_OPENDIR_SUPPORT), and the guest keeps what it has read. */
    if (r->fs->no_opendir)
        return -ENOSYS;
    fd = node_open(r->fs->nodes, r->node, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return fd;
    error = handle_new(r->fs->handles, r->node, fd, O_RDONLY, &out.fh);
    if (error < 0)
        return error;
    if (r->fs->options.guest_is_only_user)
        out.open_flags = FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE;
    return request_reply(r, &out, sizeof(out));
}

int op_flush(struct request *r)
{
    struct fuse_flush_in in;

    if (!request_take(r, &in, sizeof(in)))
        return -EINVAL;
    /* A close has nothing to write back here: data is with the host's kernel already. And locks are the guest's own. */
    if (r->fs->options.guest_is_only_user)
        return -ENOSYS;
    locks_drop_owner(r->fs->locks, r->node, in.lock_owner);
    return 0;
}

int op_release(struct request *r)
{
    struct fuse_release_in in;

    if (!request_take(r, &in, sizeof(in)))
        return -EINVAL;
    handle_release(r->fs->handles, in.fh, r->node);
    return 0;
}

int op_releasedir(struct request *r)
{
    return op_release(r);
}

int open_data_get(struct fs *fs, struct node *node, uint64_t fh, enum access access, struct open_data *data)
{
    int error;

    *data = (struct open_data){ .handle = fh ? handle_get(fs->handles, fh, node) : NULL };
    if (data->handle) {
        data->fd = data->handle->fd;
        return 0;
    }
    if (fh)
        return -EBADF;
    if (node->type == S_IFDIR && access == ACCESS_WRITE)
        return -EISDIR;
    error = node_file(fs->nodes, node, access, &data->file);
    if (error < 0)
        return error == -ENXIO ? -EINVAL : error;
    data->fd = data->file->fd;
    return 0;
}

void open_data_put(struct fs *fs, struct open_data *data)
{
    if (data->handle)
        handle_put(fs->handles, data->handle);
    else
        file_put(fs->nodes, data->file);
}
