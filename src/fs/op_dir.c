/* SPDX-License-Identifier: Apache-2.0 */
/*
 * readdir and readdirplus.
 *
 * The kernel asks for a page at a time; a handle reads further ahead (getdents64(2)), and goes on from there as long as the guest
 * does. Offsets are the host file system's own cookies, which it understands also later and after changes.
 */
#include "fs/entry.h"
#include "fs/whiteout.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { ENTRIES_SIZE = 32 << 10 };

/* struct linux_dirent64 of getdents64(2). */
struct host_dirent {
    uint64_t ino;
    int64_t off;
    uint16_t size;
    uint8_t type;
    char name[];
};

/* Makes the entry at position the next one; reads more when there is none. Returns 1, 0 at the end, or a negative errno. Locked. */
static int next_entry(struct handle *handle, int64_t position, struct host_dirent **entry)
{
    ssize_t n;

    if (!handle->entries) {
        handle->entries = malloc(ENTRIES_SIZE);
        if (!handle->entries)
            return -ENOMEM;
    }
    if (position != handle->position) {
        if (lseek(handle->fd, position, SEEK_SET) < 0)
            return -errno;
        handle->position = position;
        handle->entries_at = handle->entries_size = 0;
    }
    if (handle->entries_at == handle->entries_size) {
        n = syscall(SYS_getdents64, handle->fd, handle->entries, ENTRIES_SIZE);
        if (n <= 0)
            return n < 0 ? -errno : 0;
        handle->entries_at = 0;
        handle->entries_size = (size_t)n;
    }
    *entry = (struct host_dirent *)(void *)(handle->entries + handle->entries_at);
    return 1;
}

static void entry_done(struct handle *handle, const struct host_dirent *entry)
{
    handle->entries_at += entry->size;
    handle->position = entry->off;
}

/* What becomes of one entry for the guest. */
struct presented {
    const char *host_name; /* in the directory */
    const char *name;      /* for the guest; NULL: not shown */
    bool whiteout;
};

static struct presented present(const struct fs *fs, const struct node *node, int fd, const char *host_name)
{
    struct presented p = { .host_name = host_name, .name = host_name };
    struct statx st;

    if (!node_in_layer(fs->nodes, node) || !whiteout_is_marker(host_name, &p.name))
        return p;
    p.whiteout = true;
    /* The layer's own file of that name is what is seen. */
    if (p.name && statx_at(fd, p.name, &st) == 0)
        p.name = NULL;
    return p;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* The type of an entry that only looks like a regular file on the host. */
static uint32_t entry_type(int fd, const struct presented *p, uint8_t host_type)
{
    char text[OWNER_TEXT_MAX];
    struct owner owner;
    ssize_t size;

    if (p->whiteout)
        return DT_CHR;
    if (host_type != DT_REG || fchdir(fd) < 0)
        return host_type;
    size = lgetxattr(p->host_name, OWNER_XATTR, text, sizeof(text));
    if (size <= 0 || !owner_parse(text, (size_t)size, S_IFREG, &owner))
        return host_type;
    return IFTODT(owner.mode);
}

/* Where entries are put together for the reply. */
struct listing {
    struct request *r;
    struct handle *handle;
    bool plus;
    _Alignas(struct fuse_direntplus) char buffer[sizeof(struct fuse_direntplus) + NAME_MAX + 8];
    size_t room, used;
    unsigned count; /* pieces of r->part */
};

static size_t record_size(const struct listing *l, size_t name_length)
{
    return FUSE_DIRENT_ALIGN((l->plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET) + name_length);
}

/* Looks an entry up as a lookup would. One that vanished, or "." and "..", come without an inode. */
static void fill_plus(struct listing *l, const struct presented *p, const struct host_dirent *e, struct fuse_entry_out *out,
                      uint32_t *type)
{
    struct fs *fs = l->r->fs;
    struct found found = {
        .parent = l->r->node, .name = p->host_name, .version = names_version(fs->nodes), .whiteout = p->whiteout
    };
    struct statx st;
    struct owner owner;
    struct node *node;
    bool bare;

    *out = (struct fuse_entry_out){ .attr.ino = e->ino, .attr.mode = DTTOIF(*type) };
    if (is_dots(p->name) || statx_at(l->handle->fd, p->host_name, &st) < 0 || node_found(fs->nodes, &found, &st, &node) < 0)
        return;
    owner = owner_at(fs, node, l->handle->fd, p->host_name, &st, &bare);
    entry_fill(fs, node, &st, &owner, bare, out);
    *type = IFTODT(owner.mode);
    node_put(fs->nodes, node);
}

/* Adds one entry to the reply. */
static void add_entry(struct listing *l, const struct presented *p, const struct host_dirent *e)
{
    size_t length = strlen(p->name), size = record_size(l, length);
    struct fuse_direntplus *plus = (struct fuse_direntplus *)(void *)l->buffer;
    struct fuse_dirent *dirent = l->plus ? &plus->dirent : (struct fuse_dirent *)(void *)l->buffer;
    uint32_t type = e->type;

    memset(l->buffer, 0, size);
    if (l->plus)
        fill_plus(l, p, e, &plus->entry_out, &type);
    else
        type = entry_type(l->handle->fd, p, e->type);
    dirent->ino = l->plus ? plus->entry_out.attr.ino : node_ino(l->r->fs->nodes, l->r->node, e->ino);
    dirent->off = (uint64_t)e->off;
    dirent->namelen = (uint32_t)length;
    dirent->type = type;
    memcpy(dirent->name, p->name, length);
    request_reply_at(l->r, l->used, l->buffer, size);
    l->used += size;
}

/* Locked: fills the reply. The number of bytes, or a negative errno. */
static int list(struct listing *l, int64_t position)
{
    for (;;) {
        struct host_dirent *e = NULL;
        struct presented p;
        int more = next_entry(l->handle, position, &e);

        if (more <= 0 || !e)
            return l->used ? (int)l->used : more;
        p = present(l->r->fs, l->r->node, l->handle->fd, e->name);
        if (p.name) {
            if (record_size(l, strlen(p.name)) > l->room - l->used)
                return l->used ? (int)l->used : -EINVAL;
            add_entry(l, &p, e);
        }
        entry_done(l->handle, e);
        position = l->handle->position;
    }
}

/* The handle to read from: the guest's own or, when it has opened none, that of a reading that is under way or now begins. */
static int take_handle(struct request *r, const struct fuse_read_in *in, struct handle **handle)
{
    struct fs *fs = r->fs;
    int fd;

    if (in->fh || !fs->no_opendir) {
        *handle = handle_get(fs->handles, in->fh, r->node);
        return *handle ? 0 : -EBADF;
    }
    *handle = in->offset ? handle_reading(fs->handles, r->node, (int64_t)in->offset) : NULL;
    if (*handle)
        return 0;
    fd = node_open(fs->nodes, r->node, O_RDONLY | O_DIRECTORY);
    return fd < 0 ? fd : handle_reading_new(fs->handles, r->node, fd, handle);
}

static int read_directory(struct request *r, bool plus)
{
    struct fuse_read_in in;
    struct listing l = { .r = r, .plus = plus };
    int64_t position;
    int result;

    if (!request_take(r, &in, sizeof(in)) || in.offset > INT64_MAX)
        return -EINVAL;
    if (r->node->type != S_IFDIR)
        return -ENOTDIR;
    result = take_handle(r, &in, &l.handle);
    if (result < 0)
        return result;
    l.room = request_room(r) < in.size ? request_room(r) : in.size;
    if (l.room > FS_MAX_WRITE)
        l.room = FS_MAX_WRITE;
    pthread_mutex_lock(&l.handle->lock);
    result = list(&l, (int64_t)in.offset);
    position = l.handle->position;
    pthread_mutex_unlock(&l.handle->lock);
    if (!in.fh)
        handle_reading_at(r->fs->handles, l.handle, position, result <= 0);
    handle_put(r->fs->handles, l.handle);
    return result;
}

int op_readdir(struct request *r)
{
    return read_directory(r, false);
}

int op_readdirplus(struct request *r)
{
    return read_directory(r, true);
}
