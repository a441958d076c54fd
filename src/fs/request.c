/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/request.h"
#include "fs/owner.h"

#include <errno.h>
#include <string.h>

enum {
    IN_HEADER = sizeof(struct fuse_in_header),
    OUT_HEADER = sizeof(struct fuse_out_header),
};

/* ---- Buffers ---------------------------------------------------------------------------------------------------------------------- */

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Walks over the part of a list of buffers that begins at offset and has at most size bytes; each piece is given to part, neighbours in
   memory as one, which the host's kernel copies faster. Returns how many pieces there are. */
static unsigned slice(const struct iovec *iov, unsigned count, size_t offset, size_t size, struct iovec *part)
{
    unsigned pieces = 0;

    for (unsigned i = 0; i < count && size && pieces < FS_MAX_IOV; i++) {
        size_t skip = min_size(offset, iov[i].iov_len);
        size_t length = min_size(iov[i].iov_len - skip, size);
        char *base = (char *)iov[i].iov_base + skip;

        offset -= skip;
        if (!length)
            continue;
        if (pieces && (char *)part[pieces - 1].iov_base + part[pieces - 1].iov_len == base)
            part[pieces - 1].iov_len += length;
        else
            part[pieces++] = (struct iovec){ .iov_base = base, .iov_len = length };
        size -= length;
    }
    return pieces;
}

static size_t copy_in(const struct request *r, size_t offset, void *to, size_t size)
{
    size_t done = 0;

    for (unsigned i = 0; i < r->num_readable && done < size; i++) {
        const struct iovec *iov = &r->readable[i];
        size_t skip = min_size(offset, iov->iov_len);
        size_t length = min_size(iov->iov_len - skip, size - done);

        memcpy((char *)to + done, (const char *)iov->iov_base + skip, length);
        offset -= skip;
        done += length;
    }
    /* What is checked from here on is the copy: the compiler must not go back to the guest's bytes. */
    __asm__ volatile("" : : : "memory");
    return done;
}

static size_t copy_out(const struct request *r, size_t offset, const void *from, size_t size)
{
    size_t done = 0;

    for (unsigned i = 0; i < r->num_writable && done < size; i++) {
        const struct iovec *iov = &r->writable[i];
        size_t skip = min_size(offset, iov->iov_len);
        size_t length = min_size(iov->iov_len - skip, size - done);

        memcpy((char *)iov->iov_base + skip, (const char *)from + done, length);
        offset -= skip;
        done += length;
    }
    return done;
}

size_t request_left(const struct request *r)
{
    return r->in.len - IN_HEADER - r->taken;
}

bool request_take(struct request *r, void *to, size_t size)
{
    if (size > request_left(r) || copy_in(r, IN_HEADER + r->taken, to, size) != size)
        return false;
    r->taken += size;
    return true;
}

int request_take_string(struct request *r, char *to, size_t size)
{
    size_t got = copy_in(r, IN_HEADER + r->taken, to, min_size(size, request_left(r)));
    size_t length = strnlen(to, got);

    if (length == got)
        return got == size ? -ENAMETOOLONG : -EINVAL;
    r->taken += length + 1;
    return 0;
}

int request_take_name(struct request *r, char name[NAME_MAX + 1])
{
    int error = request_take_string(r, name, NAME_MAX + 1);

    if (error < 0)
        return error;
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -EINVAL;
    if (node_in_layer(r->fs->nodes, r->node) && strncmp(name, ".wh.", 4) == 0)
        return -ENOENT;
    return 0;
}

unsigned request_data(struct request *r, size_t size)
{
    return slice(r->readable, r->num_readable, IN_HEADER + r->taken, size, r->part);
}

size_t request_room(const struct request *r)
{
    return r->writable_bytes - OUT_HEADER;
}

unsigned request_reply_data(struct request *r, size_t size)
{
    return slice(r->writable, r->num_writable, OUT_HEADER, size, r->part);
}

int request_reply(const struct request *r, const void *data, size_t size)
{
    if (size > request_room(r))
        return -EINVAL;
    return (int)copy_out(r, OUT_HEADER, data, size);
}

void request_reply_at(const struct request *r, size_t offset, const void *data, size_t size)
{
    copy_out(r, OUT_HEADER + offset, data, size);
}

/* ---- Serving ----------------------------------------------------------------------------------------------------------------------- */

static int op_forget(struct request *r)
{
    struct fuse_forget_in in;

    if (request_take(r, &in, sizeof(in)))
        node_forget(r->fs->nodes, r->in.nodeid, in.nlookup);
    return 0;
}

static int op_batch_forget(struct request *r)
{
    struct fuse_batch_forget_in in;
    struct fuse_forget_one one;

    if (!request_take(r, &in, sizeof(in)))
        return 0;
    /* A count that promises more than there is ends with the bytes. */
    for (uint32_t i = 0; i < in.count && request_take(r, &one, sizeof(one)); i++)
        node_forget(r->fs->nodes, one.nodeid, one.nlookup);
    return 0;
}

enum {
    NO_NODE = 1,  /* the header's nodeid means nothing */
    NO_REPLY = 2, /* nor is there a reply */
};

struct operation {
    request_handler *run;
    unsigned flags;
};

static const struct operation operations[] = {
    [FUSE_LOOKUP] = { op_lookup, 0 },
    [FUSE_FORGET] = { op_forget, NO_NODE | NO_REPLY },
    [FUSE_GETATTR] = { op_getattr, 0 },
    [FUSE_SETATTR] = { op_setattr, 0 },
    [FUSE_READLINK] = { op_readlink, 0 },
    [FUSE_SYMLINK] = { op_symlink, 0 },
    [FUSE_MKNOD] = { op_mknod, 0 },
    [FUSE_MKDIR] = { op_mkdir, 0 },
    [FUSE_UNLINK] = { op_unlink, 0 },
    [FUSE_RMDIR] = { op_rmdir, 0 },
    [FUSE_RENAME] = { op_rename, 0 },
    [FUSE_LINK] = { op_link, 0 },
    [FUSE_OPEN] = { op_open, 0 },
    [FUSE_READ] = { op_read, 0 },
    [FUSE_WRITE] = { op_write, 0 },
    [FUSE_STATFS] = { op_statfs, 0 },
    [FUSE_RELEASE] = { op_release, 0 },
    [FUSE_FSYNC] = { op_fsync, 0 },
    [FUSE_SETXATTR] = { op_setxattr, 0 },
    [FUSE_GETXATTR] = { op_getxattr, 0 },
    [FUSE_LISTXATTR] = { op_listxattr, 0 },
    [FUSE_REMOVEXATTR] = { op_removexattr, 0 },
    [FUSE_FLUSH] = { op_flush, 0 },
    [FUSE_INIT] = { op_init, NO_NODE },
    [FUSE_OPENDIR] = { op_opendir, 0 },
    [FUSE_READDIR] = { op_readdir, 0 },
    [FUSE_RELEASEDIR] = { op_releasedir, 0 },
    [FUSE_FSYNCDIR] = { op_fsync, 0 },
    [FUSE_ACCESS] = { op_access, 0 },
    [FUSE_CREATE] = { op_create, 0 },
    [FUSE_GETLK] = { op_getlk, 0 },
    [FUSE_SETLK] = { op_setlk, 0 },
    [FUSE_SETLKW] = { op_setlkw, 0 },
    [FUSE_INTERRUPT] = { op_interrupt, NO_NODE | NO_REPLY },
    [FUSE_IOCTL] = { op_ioctl, 0 },
    [FUSE_DESTROY] = { op_destroy, NO_NODE },
    [FUSE_BATCH_FORGET] = { op_batch_forget, NO_NODE | NO_REPLY },
    [FUSE_FALLOCATE] = { op_fallocate, 0 },
    [FUSE_READDIRPLUS] = { op_readdirplus, 0 },
    [FUSE_RENAME2] = { op_rename2, 0 },
    [FUSE_LSEEK] = { op_lseek, 0 },
    [FUSE_COPY_FILE_RANGE] = { op_copy_file_range, 0 },
    [FUSE_SYNCFS] = { op_syncfs, 0 },
    [FUSE_TMPFILE] = { op_tmpfile, 0 },
    [FUSE_STATX] = { op_statx, 0 },
};

static const struct operation *find_operation(uint32_t opcode)
{
    return opcode < sizeof(operations) / sizeof(operations[0]) && operations[opcode].run ? &operations[opcode] : NULL;
}

/* The other inode that a request names in its arguments, or NULL. */
static struct node *second_node(struct request *r)
{
    uint64_t id;

    /* All three begin their arguments with it. */
    if (r->in.opcode != FUSE_RENAME && r->in.opcode != FUSE_RENAME2 && r->in.opcode != FUSE_LINK)
        return NULL;
    r->taken = 0;
    return request_take(r, &id, sizeof(id)) ? node_get(r->fs->nodes, id) : NULL;
}

/* Whether the host denied what it need not, so that another try is worth it. */
static bool grant_access(struct request *r)
{
    struct node *second = second_node(r);
    bool granted = owner_grant_access(r->fs, r->node);

    if (second && owner_grant_access(r->fs, second))
        granted = true;
    node_put(r->fs->nodes, second);
    r->taken = 0;
    return granted;
}

/* The reply's bytes behind the header, a negative errno, or REQUEST_DEFER. */
static int run(struct request *r, const struct operation *operation)
{
    int result;

    if (!operation)
        return -ENOSYS;
    if (!r->fs->initialized && r->in.opcode != FUSE_INIT)
        return -EIO;
    if (operation->flags & NO_NODE)
        return operation->run(r);
    r->node = node_get(r->fs->nodes, r->in.nodeid);
    if (!r->node)
        return -ESTALE;
    result = operation->run(r);
    if (result == -EACCES && grant_access(r))
        result = operation->run(r);
    node_put(r->fs->nodes, r->node);
    return result;
}

/* The header tells of the whole reply, and comes last. Returns the reply's size. */
static size_t reply_header(const struct request *r, int result)
{
    struct fuse_out_header out = {
        .len = (uint32_t)(OUT_HEADER + (result > 0 ? result : 0)),
        .error = result < 0 ? result : 0,
        .unique = r->in.unique,
    };

    copy_out(r, 0, &out, sizeof(out));
    return out.len;
}

size_t request_refuse(struct request *r, int error)
{
    return reply_header(r, error);
}

int request_serve(struct request *r, size_t *written)
{
    const struct operation *operation;
    int result;

    *written = 0;
    if (r->readable_bytes < IN_HEADER || copy_in(r, 0, &r->in, IN_HEADER) != IN_HEADER)
        return 0;
    r->taken = 0;
    r->node = NULL;
    operation = find_operation(r->in.opcode);
    if (r->in.len < IN_HEADER || r->in.len > r->readable_bytes) {
        r->in.len = IN_HEADER;
        operation = NULL;
    }
    if (operation && (operation->flags & NO_REPLY)) {
        operation->run(r);
        return 0;
    }
    /* Without room for an answer there is no telling how it went, so nothing is done. */
    if (r->writable_bytes < OUT_HEADER)
        return 0;
    result = run(r, operation);
    if (result == REQUEST_DEFER || result == REQUEST_WAIT)
        return result;
    *written = reply_header(r, result);
    return 0;
}
