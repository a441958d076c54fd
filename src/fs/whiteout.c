/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/whiteout.h"

#include "fs/node_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool whiteout_marker(const char *name, char marker[NAME_MAX + 1])
{
    const size_t prefix = strlen(WHITEOUT_PREFIX), length = strlen(name);

    if (length > NAME_MAX - prefix)
        return false;
    snprintf(marker, NAME_MAX + 1, "%s%s", WHITEOUT_PREFIX, name);
    return true;
}

bool whiteout_is_marker(const char *name, const char **hidden)
{
    const size_t prefix = strlen(WHITEOUT_PREFIX);

    if (strncmp(name, WHITEOUT_PREFIX, prefix) != 0)
        return false;
    /* ".wh..wh." begins names that mean something to aufs. */
    *hidden = strncmp(name + prefix, WHITEOUT_PREFIX, prefix) == 0 || !name[prefix] ? NULL : name + prefix;
    return true;
}

static int exists(struct fs *fs, struct node *directory, const char *name)
{
    struct statx st;
    struct file *dir = NULL;
    int error = node_file(fs->nodes, directory, ACCESS_PATH, &dir);

    if (error < 0)
        return error;
    error = statx_at(dir->fd, name, &st);
    file_put(fs->nodes, dir);
    return error == 0 ? 1 : error == -ENOENT ? 0 : error;
}

int whiteout_is_opaque(struct fs *fs, struct node *node)
{
    char name[NAME_MAX + 1], marker[NAME_MAX + 1];
    struct node *parent = NULL;
    int result = exists(fs, node, WHITEOUT_OPAQUE);

    if (result != 0 || !node_place(fs->nodes, node, &parent, name))
        return result;
    /* The layer's own root has no name in it. */
    if (node_in_layer(fs->nodes, parent) && whiteout_marker(name, marker))
        result = exists(fs, parent, marker);
    node_put(fs->nodes, parent);
    return result;
}
