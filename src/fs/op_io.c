/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data: read, write, fsync, fallocate, lseek, copy_file_range, syncfs. Bytes go straight between guest pages and the file, but for pages
 * that were not used before: what touching one costs is more than a copy.
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

/* How many bytes there is room for, at most max. */
static size_t iov_bytes(const struct iovec *iov, unsigned count, size_t max)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < count && bytes < max; i++)
        bytes += iov[i].iov_len;
    return bytes < max ? bytes : max;
}

/* Reads what is there: how many bytes, 0 at the end of the file, or a negative errno. Without leave to block only from the page cache;
   what is not there is REQUEST_DEFER. */
static int read_some(const struct request *r, int fd, const struct iovec *iov, unsigned count, uint64_t offset)
{
    const int flags = r->may_block ? 0 : RWF_NOWAIT;
    ssize_t n = preadv2(fd, iov, (int)count, (off_t)offset, flags);

    if (n < 0 && errno == EOPNOTSUPP && flags) /* this file system cannot tell beforehand */
        n = preadv2(fd, iov, (int)count, (off_t)offset, 0);
    if (n < 0 && errno == EAGAIN && flags)
        return REQUEST_DEFER;
    return n < 0 ? -errno : (int)n;
}

/* Fills r->part from the file. Less than asked for means the end of the file. */
static int read_data(struct request *r, int fd, uint64_t offset, unsigned count)
{
    struct iovec *iov = r->part;
    int done = 0;

    while (count) {
        int n = read_some(r, fd, iov, count, offset + (size_t)done);

        if (n < 0)
            return n;
        if (n == 0)
            break;
        done += n;
        advance(&iov, &count, (size_t)n);
    }
    return done;
}

/* The same for pages that were not used before: that many bytes are read into memory of ours and written to the pages' file, without a
   fault for each page. */
static int read_new_data(struct request *r, int fd, uint64_t offset, unsigned count)
{
    char buffer[64 << 10];
    struct iovec *iov = r->part;
    int done = 0, n = 1;

    while (count && n > 0) {
        const struct iovec piece = { buffer, iov_bytes(iov, count, sizeof(buffer)) };

        n = read_some(r, fd, &piece, 1, offset + (size_t)done);
        for (int from = 0; from < n;) {
            size_t length = (size_t)(n - from) < iov->iov_len ? (size_t)(n - from) : iov->iov_len;

            memory_write(r->memory, iov->iov_base, buffer + from, length);
            advance(&iov, &count, length);
            from += (int)length;
        }
        done += n;
    }
    return n < 0 ? n : done;
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
    if (count && memory_is_unused(r->memory, r->part[0].iov_base))
        result = read_new_data(r, data.fd, in.offset, count);
    else
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
