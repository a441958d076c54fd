/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that make something: create, tmpfile, mknod, mkdir, symlink, link.
 *
 * On the host a new thing gets the permissions that the host can carry, and the rest of what the guest wants at once afterwards, in
 * the xattr. In between it looks like root's to the guest, with the same permissions: nothing that its owner may not do with it.
 */
#include "fs/entry.h"
#include "fs/open.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is being made. */
struct creation {
    struct node *parent;
    struct file *dir; /* parent, open */
    char name[NAME_MAX + 1];
    struct owner owner; /* as the guest is to see it */
    struct statx st;
    bool kept; /* the host has no place for the owner */
};

/* Takes the name, opens the directory, and decides the owner. What succeeds is ended with finish(). */
static int begin(struct request *r, struct creation *c, uint32_t mode, uint32_t rdev)
{
    struct owner parent;
    struct statx st;
    int error;

    *c = (struct creation){
        .parent = r->node,
        .owner = { .uid = r->in.uid, .gid = r->in.gid, .mode = mode, .rdev = rdev },
    };
    error = directory_of(r, r->node, &c->dir);
    if (error < 0)
        return error;
    error = owner_of_node(r->fs, r->node, &st, &parent);
    if (error < 0) {
        file_put(r->fs->nodes, c->dir);
        return error;
    }
    /* A directory's set-group-id bit gives new files its group, and new directories the bit as well (inode(7)). */
    if (parent.mode & S_ISGID) {
        c->owner.gid = parent.gid;
        if (S_ISDIR(mode))
            c->owner.mode |= S_ISGID;
    }
    return 0;
}

/* Answers with the new inode, which becomes *node with one more reference. error is what came before. */
static int finish(struct request *r, struct creation *c, int error, struct fuse_entry_out *entry, struct node **node)
{
    struct found found = { .parent = c->parent, .name = c->name, .version = names_version(r->fs->nodes) };

    file_put(r->fs->nodes, c->dir);
    if (error == 0)
        error = node_found(r->fs->nodes, &found, &c->st, node);
    if (error)
        return error;
    if (c->kept || r->fs->options.guest_is_only_user)
        node_set_owner(r->fs->nodes, *node, &c->owner, c->kept);
    entry_fill(r->fs, *node, &c->st, &c->owner, true, entry);
    return 0;
}

/* Stores the owner of what fd refers to; when that fails the name is taken back. */
static int store_owner(struct fs *fs, struct creation *c, int fd, int unlink_flags)
{
    int result = owner_store_new(fs, fd, &c->st, &c->owner);

    c->kept = result > 0;
    if (result < 0)
        unlinkat(c->dir->fd, c->name, unlink_flags);
    return result < 0 ? result : 0;
}

/* A new regular file on the host, whatever it is for the guest. Returns its descriptor, which can read and write. */
static int make_file(struct fs *fs, struct creation *c)
{
    _cleanup_fd_ int fd = -1;
    int error;

    fd = openat(c->dir->fd, c->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY,
                owner_host_mode(&c->owner, S_IFREG));
    if (fd < 0)
        return -errno;
    error = statx_at(fd, "", &c->st);
    if (error == 0)
        error = store_owner(fs, c, fd, 0);
    return error < 0 ? error : steal_fd(&fd);
}

static int make_directory(struct fs *fs, struct creation *c)
{
    struct owner without;
    int error, fd;

    if (mkdirat(c->dir->fd, c->name, owner_host_mode(&c->owner, S_IFDIR)) < 0)
        return -errno;
    error = statx_at(c->dir->fd, c->name, &c->st);
    if (error < 0)
        return error;
    without = owner_default(fs, &c->st);
    if (owner_same(&without, &c->owner))
        return 0;
    fd = openat(c->dir->fd, c->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    error = store_owner(fs, c, fd, AT_REMOVEDIR);
    close(fd);
    return error;
}

/* A name that the host can have as it is, but whose owner it cannot. */
static int made_without_owner(const struct fs *fs, struct creation *c)
{
    struct owner without;
    int error = statx_at(c->dir->fd, c->name, &c->st);

    if (error < 0)
        return error;
    without = owner_default(fs, &c->st);
    c->owner.mode = without.mode;
    c->kept = !owner_same(&without, &c->owner);
    return 0;
}

static int reply_entry(struct request *r, struct node *node, const struct fuse_entry_out *entry)
{
    node_put(r->fs->nodes, node);
    return request_reply(r, entry, sizeof(*entry));
}

int op_mknod(struct request *r)
{
    struct fuse_mknod_in in;
    struct creation c;
    struct fuse_entry_out entry;
    struct node *node = NULL;
    _cleanup_fd_ int fd = -1;
    int error;

    if (!request_take(r, &in, sizeof(in)))
        return -EINVAL;
    if (!S_ISREG(in.mode) && !S_ISFIFO(in.mode) && !S_ISSOCK(in.mode) && !S_ISCHR(in.mode) && !S_ISBLK(in.mode))
        return -EINVAL;
    error = begin(r, &c, in.mode & (S_IFMT | 07777), S_ISCHR(in.mode) || S_ISBLK(in.mode) ? in.rdev : 0);
    if (error < 0)
        return error;
    error = request_take_name(r, c.name);
    /* The one device that needs no privilege on the host, because no driver answers to it: overlayfs's whiteout. */
    if (error == 0 && S_ISCHR(in.mode) && in.rdev == 0) {
        error = mknodat(c.dir->fd, c.name, S_IFCHR | (in.mode & 0777), 0) < 0 ? -errno : made_without_owner(r->fs, &c);
    } else if (error == 0) {
        fd = make_file(r->fs, &c);
        error = fd < 0 ? fd : 0;
    }
    error = finish(r, &c, error, &entry, &node);
    if (error < 0)
        return error;
    if (fd >= 0 && S_ISREG(in.mode))
        node_keep_file(r->fs->nodes, node, steal_fd(&fd), ACCESS_WRITE);
    return reply_entry(r, node, &entry);
}

int op_mkdir(struct request *r)
{
    struct fuse_mkdir_in in;
    struct creation c;
    struct fuse_entry_out entry;
    struct node *node = NULL;
    int error;

    if (!request_take(r, &in, sizeof(in)))
        return -EINVAL;
    error = begin(r, &c, S_IFDIR | (in.mode & 07777), 0);
    if (error < 0)
        return error;
    error = request_take_name(r, c.name);
    if (error == 0)
        error = make_directory(r->fs, &c);
    error = finish(r, &c, error, &entry, &node);
    return error < 0 ? error : reply_entry(r, node, &entry);
}

int op_symlink(struct request *r)
{
    char target[PATH_MAX];
    struct creation c;
    struct fuse_entry_out entry;
    struct node *node = NULL;
    int error = begin(r, &c, S_IFLNK | 0777, 0);

    if (error < 0)
        return error;
    error = request_take_name(r, c.name);
    if (error == 0)
        error = request_take_string(r, target, sizeof(target));
    if (error == 0)
        error = symlinkat(target, c.dir->fd, c.name) < 0 ? -errno : made_without_owner(r->fs, &c);
    error = finish(r, &c, error, &entry, &node);
    return error < 0 ? error : reply_entry(r, node, &entry);
}

int op_link(struct request *r)
{
    struct fuse_link_in in;
    char name[NAME_MAX + 1];
    struct fuse_entry_out entry;
    struct node *old, *node = NULL;
    struct file *dir = NULL;
    int error;

    if (!request_take(r, &in, sizeof(in)))
        return -EINVAL;
    error = request_take_name(r, name);
    if (error == 0)
        error = directory_of(r, r->node, &dir);
    if (error < 0)
        return error;
    old = node_get(r->fs->nodes, in.oldnodeid);
    error = old ? node_link(r->fs->nodes, old, dir, name) : -ESTALE;
    if (error == 0)
        error = entry_lookup(r->fs, r->node, dir, name, &entry, &node);
    node_put(r->fs->nodes, old);
    file_put(r->fs->nodes, dir);
    return error < 0 ? error : reply_entry(r, node, &entry);
}

/* ---- Created and opened at once ---------------------------------------------------------------------------------------------------- */

struct created {
    struct fuse_entry_out entry;
    struct fuse_open_out open;
};

_Static_assert(sizeof(struct created) == sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out), "no padding");

/* Opens the new file for the guest with the descriptor that it was made with, and answers. */
static int reply_created(struct request *r, struct node *node, int fd, uint32_t flags, struct created *created)
{
    int error = open_created(r->fs, node, fd, flags, &created->open);

    if (error < 0)
        node_forget(r->fs->nodes, node->id, 1);
    node_put(r->fs->nodes, node);
    return error < 0 ? error : request_reply(r, created, sizeof(*created));
}

/* The name was there already, as the guest's kernel could not know: an open, if it may be one. */
static int open_existing(struct request *r, const struct creation *c, const struct fuse_create_in *in)
{
    struct created created = { 0 };
    struct node *node = NULL;
    int error = entry_lookup(r->fs, c->parent, c->dir, c->name, &created.entry, &node);

    if (error < 0)
        return error;
    error = S_ISREG(created.entry.attr.mode) ? open_node(r->fs, node, in->flags, in->open_flags, &created.open) : -EEXIST;
    if (error < 0)
        node_forget(r->fs->nodes, node->id, 1);
    node_put(r->fs->nodes, node);
    return error < 0 ? error : request_reply(r, &created, sizeof(created));
}

int op_create(struct request *r)
{
    struct created created = { 0 };
    struct fuse_create_in in;
    struct creation c;
    struct node *node = NULL;
    int error, fd;

    if (!request_take(r, &in, sizeof(in)))
        return -EINVAL;
    error = begin(r, &c, S_IFREG | (in.mode & 07777), 0);
    if (error < 0)
        return error;
    fd = request_take_name(r, c.name);
    if (fd == 0)
        fd = make_file(r->fs, &c);
    if (fd == -EEXIST && !(in.flags & O_EXCL)) {
        error = open_existing(r, &c, &in);
        file_put(r->fs->nodes, c.dir);
        return error;
    }
    error = finish(r, &c, fd < 0 ? fd : 0, &created.entry, &node);
    if (error < 0) {
        if (fd >= 0)
            close(fd);
        return error;
    }
    return reply_created(r, node, fd, in.flags, &created);
}

int op_tmpfile(struct request *r)
{
    struct created created = { 0 };
    struct fuse_create_in in;
    struct creation c;
    struct found nowhere = { 0 };
    struct node *node = NULL;
    _cleanup_fd_ int fd = -1;
    int error;

    if (!request_take(r, &in, sizeof(in)))
        return -EINVAL;
    error = begin(r, &c, S_IFREG | (in.mode & 07777), 0);
    if (error < 0)
        return error;
    fd = openat(c.dir->fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, owner_host_mode(&c.owner, S_IFREG));
    error = fd < 0 ? -errno : statx_at(fd, "", &c.st);
    file_put(r->fs->nodes, c.dir);
    if (error == 0)
        error = owner_store_new(r->fs, fd, &c.st, &c.owner);
    c.kept = error > 0;
    if (error >= 0)
        error = node_found(r->fs->nodes, &nowhere, &c.st, &node);
    if (error < 0)
        return error;
    error = node_pin_file(r->fs->nodes, node, fd);
    if (error < 0) {
        node_forget(r->fs->nodes, node->id, 1);
        node_put(r->fs->nodes, node);
        return error;
    }
    if (c.kept || r->fs->options.guest_is_only_user)
        node_set_owner(r->fs->nodes, node, &c.owner, c.kept);
    entry_fill(r->fs, node, &c.st, &c.owner, true, &created.entry);
    return reply_created(r, node, steal_fd(&fd), in.flags, &created);
}
