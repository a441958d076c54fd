/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that take names away or move them: unlink, rmdir, rename, rename2.
 *
 * Each holds the names lock over the system call and the change to the table, so that no thread sees one without the other.
 */
#include "fs/entry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int remove_name(struct request *r, int flags)
{
    struct nodes *nodes = r->fs->nodes;
    char name[NAME_MAX + 1];
    struct file *dir = NULL;
    struct node *node = NULL;
    int error = request_take_name(r, name);

    if (error == 0)
        error = directory_of(r, r->node, &dir);
    if (error)
        return error;
    if ((flags & AT_REMOVEDIR) && !node_settled(nodes, dir->fd, name, r->may_block)) {
        file_put(nodes, dir);
        return REQUEST_DEFER;
    }
    names_lock(nodes);
    node = node_pin(nodes, r->node, dir->fd, name);
    error = unlinkat(dir->fd, name, flags) < 0 ? -errno : 0;
    if (node && error == 0)
        node_removed(nodes, node);
    else if (node)
        node_unpin(nodes, node);
    names_unlock(nodes);
    node_put(nodes, node);
    file_put(nodes, dir);
    return error;
}

int op_unlink(struct request *r)
{
    return remove_name(r, 0);
}

int op_rmdir(struct request *r)
{
    return remove_name(r, AT_REMOVEDIR);
}

/* One end of a rename. */
struct end {
    struct node *parent;
    struct file *dir;
    char name[NAME_MAX + 1];
    struct node *node; /* what the name stands for, if the guest knows it */
};

/* Names locked. */
static int rename_names(struct nodes *nodes, struct end *from, struct end *to, unsigned flags)
{
    int error;

    from->node = node_at(nodes, from->dir->fd, from->name);
    to->node =
        flags & RENAME_EXCHANGE ? node_at(nodes, to->dir->fd, to->name) : node_pin(nodes, to->parent, to->dir->fd, to->name);
    error = renameat2(from->dir->fd, from->name, to->dir->fd, to->name, flags) < 0 ? -errno : 0;
    if (error < 0) {
        if (to->node)
            node_unpin(nodes, to->node);
        return error;
    }
    /* Two names of one inode: rename(2) does nothing then, and both names stay. */
    if (from->node && from->node == to->node) {
        node_unpin(nodes, to->node);
        return 0;
    }
    if (to->node && (flags & RENAME_EXCHANGE))
        node_moved(nodes, to->node, from->parent, from->name);
    else if (to->node)
        node_removed(nodes, to->node);
    if (from->node)
        node_moved(nodes, from->node, to->parent, to->name);
    return 0;
}

static int rename_in(struct request *r, struct node *new_parent, unsigned flags)
{
    struct nodes *nodes = r->fs->nodes;
    struct end from = { .parent = r->node }, to = { .parent = new_parent };
    int error = request_take_name(r, from.name);

    if (error == 0)
        error = request_take_name(r, to.name);
    if (error == 0)
        error = directory_of(r, from.parent, &from.dir);
    if (error < 0)
        return error;
    error = directory_of(r, to.parent, &to.dir);
    if (error == 0) {
        names_lock(nodes);
        error = rename_names(nodes, &from, &to, flags);
        names_unlock(nodes);
        node_put(nodes, from.node);
        node_put(nodes, to.node);
        file_put(nodes, to.dir);
    }
    file_put(nodes, from.dir);
    return error;
}

static int rename_to(struct request *r, uint64_t new_directory, unsigned flags)
{
    struct node *new_parent = node_get(r->fs->nodes, new_directory);
    int error = new_parent ? rename_in(r, new_parent, flags) : -ESTALE;

    node_put(r->fs->nodes, new_parent);
    return error;
}

int op_rename(struct request *r)
{
    struct fuse_rename_in in;

    return request_take(r, &in, sizeof(in)) ? rename_to(r, in.newdir, 0) : -EINVAL;
}

int op_rename2(struct request *r)
{
    struct fuse_rename2_in in;

    if (!request_take(r, &in, sizeof(in)) || (in.flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)))
        return -EINVAL;
    return rename_to(r, in.newdir, in.flags);
}
