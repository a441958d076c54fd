/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data: read, write, fsync, fallocate, lseek, copy_file_range, syncfs. Bytes go straight between guest pages and the file.
 */
#include "fs/open.h"
#include "fs/setattr.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

/* Drops what was transferred from the front of the list. */
static void advance(struct iovec **iov, unsigned *count, size_t bytes)
{
    while (*count && bytes >= (*iov)->iov_len) {
        bytes -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (*count) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + bytes;
        (*iov)->iov_len -= bytes;
    }
}

/* Fills r->part from the file. Less than asked for means the end of the file. Without leave to block only from the page cache. */
static int read_data(struct request *r, int fd, uint64_t offset, unsigned count)
{
    struct iovec *iov = r->part;
    int flags = r->may_block ? 0 : RWF_NOWAIT;
    size_t done = 0;

    while (count) {
        ssize_t n = preadv2(fd, iov, (int)count, (off_t)(offset + done), flags);

        if (n < 0 && errno == EOPNOTSUPP && flags) {
            flags = 0; /* this file system cannot tell beforehand */
            continue;
        }
        if (n < 0 && errno == EAGAIN && flags)
            return REQUEST_DEFER;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
        advance(&iov, &count, (size_t)n);
    }
    return (int)done;
}

int op_read(struct request *r)
{
    struct fuse_read_in in;
    struct open_data data;
    unsigned count;
    int result;

    if (!request_take(r, &in, sizeof(in)) || in.offset > INT64_MAX)
        return -EINVAL;
    if (in.size > FS_MAX_WRITE)
        in.size = FS_MAX_WRITE;
    if (r->node->type == S_IFDIR)
        return -EISDIR;
    result = open_data_get(r->fs, r->node, in.fh, ACCESS_READ, &data);
    if (result < 0)
        return result;
    count = request_reply_data(r, in.size);
    result = read_data(r, data.fd, in.offset, count);
    open_data_put(r->fs, &data);
    return result;
}

static int write_data(struct request *r, int fd, uint64_t offset, unsigned count)
{
    struct iovec *iov = r->part;
    size_t done = 0;

    while (count) {
        ssize_t n = pwritev2(fd, iov, (int)count, (off_t)(offset + done), 0);

        if (n < 0)
            return done ? (int)done : -errno;
        if (n == 0)
            break;
        done += (size_t)n;
        advance(&iov, &count, (size_t)n);
    }
    return (int)done;
}

int op_write(struct request *r)
{
    struct fuse_write_out out = { 0 };
    struct fuse_write_in in;
    struct open_data data;
    int result;

    if (!request_take(r, &in, sizeof(in)) || in.offset > INT64_MAX || in.size > FS_MAX_WRITE || in.size > request_left(r))
        return -EINVAL;
    if (in.write_flags & FUSE_WRITE_KILL_SUIDGID) {
        result = drop_privileges(r->fs, r->node);
        if (result < 0)
            return result;
    }
    /* Pages from the guest's cache go where they belong, whatever O_APPEND the guessed handle has. */
    result = open_data_get(r->fs, r->node, in.write_flags & FUSE_WRITE_CACHE ? 0 : in.fh, ACCESS_WRITE, &data);
    if (result < 0)
        return result;
    result = write_data(r, data.fd, in.offset, request_data(r, in.size));
    open_data_put(r->fs, &data);
    if (result < 0)
        return result;
    out.size = (uint32_t)result;
    return request_reply(r, &out, sizeof(out));
}

int op_fsync(struct request *r)
{
    struct fuse_fsync_in in;
    struct open_data data;
    int error;

    if (!request_take(r, &in, sizeof(in)))
        return -EINVAL;
    if (!r->may_block)
        return REQUEST_DEFER;
    error = open_data_get(r->fs, r->node, in.fh, ACCESS_READ, &data);
    if (error < 0)
        return error;
    error = (in.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(data.fd) : fsync(data.fd)) < 0 ? -errno : 0;
    open_data_put(r->fs, &data);
    return error;
}

int op_syncfs(struct request *r)
{
    struct file *file;
    int error;

    if (!r->may_block)
        return REQUEST_DEFER;
    error = node_file(r->fs->nodes, r->node, ACCESS_READ, &file);
    if (error < 0)
        return error;
    error = syncfs(file->fd) < 0 ? -errno : 0;
    file_put(r->fs->nodes, file);
    return error;
}

int op_fallocate(struct request *r)
{
    const uint32_t modes = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_COLLAPSE_RANGE |
                           FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE;
    struct fuse_fallocate_in in;
    struct open_data data;
    int error;

    if (!request_take(r, &in, sizeof(in)) || in.offset > INT64_MAX || in.length > INT64_MAX)
        return -EINVAL;
    if (in.mode & ~modes)
        return -EOPNOTSUPP;
    error = open_data_get(r->fs, r->node, in.fh, ACCESS_WRITE, &data);
    if (error < 0)
        return error;
    error = fallocate(data.fd, (int)in.mode, (off_t)in.offset, (off_t)in.length) < 0 ? -errno : 0;
    open_data_put(r->fs, &data);
    return error;
}

int op_lseek(struct request *r)
{
    struct fuse_lseek_out out;
    struct fuse_lseek_in in;
    struct open_data data;
    off_t offset;
    int error;

    if (!request_take(r, &in, sizeof(in)))
        return -EINVAL;
    /* The others are the guest's own business, or would move a position that requests share. */
    if (in.whence != SEEK_DATA && in.whence != SEEK_HOLE)
        return -EINVAL;
    error = open_data_get(r->fs, r->node, in.fh, ACCESS_READ, &data);
    if (error < 0)
        return error;
    offset = lseek(data.fd, (off_t)in.offset, (int)in.whence);
    error = offset < 0 ? -errno : 0;
    open_data_put(r->fs, &data);
    if (error < 0)
        return error;
    out = (struct fuse_lseek_out){ .offset = (uint64_t)offset };
    return request_reply(r, &out, sizeof(out));
}

/* Copies at most as much as the reply can tell. */
static int copy_range(struct request *r, const struct fuse_copy_file_range_in *in, struct node *out_node)
{
    struct fuse_write_out out = { 0 };
    struct open_data from, to;
    off_t offset_in = (off_t)in->off_in, offset_out = (off_t)in->off_out;
    size_t length = in->len < INT32_MAX ? (size_t)in->len : INT32_MAX;
    ssize_t n;
    int error = open_data_get(r->fs, r->node, in->fh_in, ACCESS_READ, &from);

    if (error < 0)
        return error;
    error = open_data_get(r->fs, out_node, in->fh_out, ACCESS_WRITE, &to);
    if (error == 0) {
        n = copy_file_range(from.fd, &offset_in, to.fd, &offset_out, length, 0);
        error = n < 0 ? -errno : 0;
        out.size = n < 0 ? 0 : (uint32_t)n;
        open_data_put(r->fs, &to);
    }
    open_data_put(r->fs, &from);
    return error < 0 ? error : request_reply(r, &out, sizeof(out));
}

int op_copy_file_range(struct request *r)
{
    struct fuse_copy_file_range_in in;
    struct node *out_node;
    int result;

    if (!request_take(r, &in, sizeof(in)) || in.off_in > INT64_MAX || in.off_out > INT64_MAX || in.flags)
        return -EINVAL;
    if (!r->may_block && in.len > FS_MAX_WRITE)
        return REQUEST_DEFER;
    out_node = node_get(r->fs->nodes, in.nodeid_out);
    if (!out_node)
        return -ESTALE;
    result = copy_range(r, &in, out_node);
    node_put(r->fs->nodes, out_node);
    return result;
}
