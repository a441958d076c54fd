/* SPDX-License-Identifier: Apache-2.0 */
/*
 * getxattr, setxattr, listxattr, removexattr.
 *
 * The guest's user.* are the host's, so that both see them. Its trusted.* and security.* mean something to a kernel, and the host's
 * must not take the guest's for its own: they are kept as user.microsandbox.NAME. What lies below user.containers. and
 * user.microsandbox. on the host is ours, and neither seen nor changed through its own name.
 */
#include "fs/owner.h"
#include "fs/whiteout.h"
#include "fs/xattr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define KEPT_PREFIX "user.microsandbox."
#define OPAQUE_NAME "trusted.overlay.opaque"

/* A name as the host has it. */
struct host_name {
    char text[XATTR_NAME_MAX + 1];
};

static bool begins(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool is_ours(const char *host_name)
{
    return begins(host_name, "user.containers.") || begins(host_name, KEPT_PREFIX);
}

/* The host's name for the guest's. Names that are not for a guest do not exist. */
static int to_host(const char *name, struct host_name *host)
{
    if (begins(name, "user.")) {
        if (is_ours(name))
            return -EPERM;
        strcpy(host->text, name);
        return 0;
    }
    if (!begins(name, "trusted.") && !begins(name, "security."))
        return -EOPNOTSUPP;
    if (strlen(name) > XATTR_NAME_MAX - strlen(KEPT_PREFIX))
        return -ERANGE;
    strcpy(host->text, KEPT_PREFIX);
    strcat(host->text, name);
    return 0;
}

/* The guest's name for the host's, or NULL when it is not shown. */
static const char *to_guest(const char *host_name)
{
    if (begins(host_name, KEPT_PREFIX)) {
        const char *name = host_name + strlen(KEPT_PREFIX);

        return begins(name, "trusted.") || begins(name, "security.") ? name : NULL;
    }
    return begins(host_name, "user.") && !is_ours(host_name) ? host_name : NULL;
}

/* Takes a name as the guest has it, and makes it the host's. */
static int take_name(struct request *r, char name[XATTR_NAME_MAX + 1], struct host_name *host)
{
    int error = request_take_string(r, name, XATTR_NAME_MAX + 1);

    if (error == -ENAMETOOLONG || (error == 0 && !*name))
        return -ERANGE;
    return error < 0 ? error : to_host(name, host);
}

/* Only these can have user xattrs on the host. */
static bool can_have(const struct node *node)
{
    return (node->type == S_IFREG || node->type == S_IFDIR) && !node->whiteout;
}

static ssize_t get(const struct fs *fs, const struct file *file, const char *name, void *value, size_t size)
{
    char path[64];

    return file->access > ACCESS_PATH ? fgetxattr(file->fd, name, value, size)
                                      : getxattr(file_path(fs, file, path), name, value, size);
}

/* The value, of at most FS_XATTR_MAX bytes, in *value, which the caller frees. Its size or a negative errno. */
static ssize_t read_value(struct request *r, const char *name, char **value)
{
    struct file *file = NULL;
    ssize_t size = node_file(r->fs->nodes, r->node, ACCESS_PATH, &file);

    if (size < 0)
        return size;
    *value = malloc(FS_XATTR_MAX);
    size = *value ? get(r->fs, file, name, *value, FS_XATTR_MAX) : -1;
    if (size < 0)
        size = *value ? -errno : -ENOMEM;
    file_put(r->fs->nodes, file);
    return size;
}

/* Answers with a value, or only with its size when that was asked for. */
static int reply_value(struct request *r, uint32_t asked, const void *value, size_t size)
{
    struct fuse_getxattr_out out = { .size = (uint32_t)size };

    if (!asked)
        return request_reply(r, &out, sizeof(out));
    return size > asked ? -ERANGE : request_reply(r, value, size);
}

int op_getxattr(struct request *r)
{
    char name[XATTR_NAME_MAX + 1], *value = NULL;
    struct fuse_getxattr_in in;
    struct host_name host;
    ssize_t size;
    int result;

    if (!request_take(r, &in, sizeof(in)))
        return -EINVAL;
    result = take_name(r, name, &host);
    if (result == -EPERM)
        return -ENODATA;
    if (result < 0)
        return result;
    if (!can_have(r->node))
        return -ENODATA;
    if (strcmp(name, OPAQUE_NAME) == 0 && node_in_layer(r->fs->nodes, r->node) && r->node->type == S_IFDIR) {
        result = whiteout_is_opaque(r->fs, r->node);
        if (result != 0)
            return result < 0 ? result : reply_value(r, in.size, "y", 1);
    }
    size = read_value(r, host.text, &value);
    result = size < 0 ? (int)size : reply_value(r, in.size, value, (size_t)size);
    free(value);
    return result;
}

int op_setxattr(struct request *r)
{
    char name[XATTR_NAME_MAX + 1], path[64], *value;
    struct fuse_setxattr_in in;
    struct host_name host;
    struct file *file = NULL;
    int error;

    if (!request_take(r, &in, sizeof(in)) || (in.flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE)))
        return -EINVAL;
    error = take_name(r, name, &host);
    if (error < 0)
        return error;
    if (in.size > FS_XATTR_MAX)
        return -E2BIG;
    if (in.size > request_left(r))
        return -EINVAL;
    if (!can_have(r->node))
        return -EPERM;
    error = node_file(r->fs->nodes, r->node, ACCESS_PATH, &file);
    if (error < 0)
        return error;
    value = malloc(in.size + 1);
    if (!value || !request_take(r, value, in.size))
        error = -ENOMEM;
    else if (file->access > ACCESS_PATH)
        error = fsetxattr(file->fd, host.text, value, in.size, (int)in.flags) < 0 ? -errno : 0;
    else
        error = setxattr(file_path(r->fs, file, path), host.text, value, in.size, (int)in.flags) < 0 ? -errno : 0;
    free(value);
    file_put(r->fs->nodes, file);
    return error;
}

static int remove_from(const struct fs *fs, const struct file *file, const char *name)
{
    char path[64];

    return (file->access > ACCESS_PATH ? fremovexattr(file->fd, name) : removexattr(file_path(fs, file, path), name)) < 0 ? -errno
                                                                                                                          : 0;
}

int op_removexattr(struct request *r)
{
    char name[XATTR_NAME_MAX + 1];
    struct host_name host;
    struct file *file = NULL;
    int error = take_name(r, name, &host);

    if (error < 0)
        return error;
    if (!can_have(r->node))
        return -ENODATA;
    error = node_file(r->fs->nodes, r->node, ACCESS_PATH, &file);
    if (error < 0)
        return error;
    error = remove_from(r->fs, file, host.text);
    file_put(r->fs->nodes, file);
    return error;
}

void xattr_drop_capability(struct fs *fs, struct node *node, const struct file *file)
{
    if (node->type == S_IFREG)
        remove_from(fs, file, KEPT_PREFIX "security.capability");
}

size_t xattr_translate_list(char *list, size_t size)
{
    size_t kept = 0;

    for (size_t at = 0; at < size;) {
        size_t length = strnlen(list + at, size - at) + 1;
        const char *name = to_guest(list + at);

        if (name) {
            size_t guest_length = strlen(name) + 1;

            memmove(list + kept, name, guest_length);
            kept += guest_length;
        }
        at += length;
    }
    return kept;
}

static ssize_t read_list(struct request *r, char *list, size_t size)
{
    char path[64];
    struct file *file = NULL;
    ssize_t n = node_file(r->fs->nodes, r->node, ACCESS_PATH, &file);

    if (n < 0)
        return n;
    n = file->access > ACCESS_PATH ? flistxattr(file->fd, list, size) : listxattr(file_path(r->fs, file, path), list, size);
    if (n < 0)
        n = errno == EOPNOTSUPP ? 0 : -errno;
    file_put(r->fs->nodes, file);
    return n;
}

int op_listxattr(struct request *r)
{
    struct fuse_getxattr_in in;
    char *list;
    ssize_t size = 0;
    int result;

    if (!request_take(r, &in, sizeof(in)))
        return -EINVAL;
    list = calloc(1, FS_XATTR_MAX + sizeof(OPAQUE_NAME) + 1);
    if (!list)
        return -ENOMEM;
    if (can_have(r->node))
        size = read_list(r, list, FS_XATTR_MAX);
    if (size > 0)
        size = (ssize_t)xattr_translate_list(list, (size_t)size);
    if (size >= 0 && node_in_layer(r->fs->nodes, r->node) && r->node->type == S_IFDIR && whiteout_is_opaque(r->fs, r->node) > 0) {
        memcpy(list + size, OPAQUE_NAME, sizeof(OPAQUE_NAME));
        size += (ssize_t)sizeof(OPAQUE_NAME);
    }
    result = size < 0 ? (int)size : reply_value(r, in.size, list, (size_t)size);
    free(list);
    return result;
}
