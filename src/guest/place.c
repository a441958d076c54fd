/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/place.h"

#include "guest/syscalls.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_MAX = 16 }; /* dangling links that are followed one after another */

static int open_in(int root, const char *path, uint64_t flags)
{
    struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

    return sys_openat2(root, path, &how);
}

int place_open(int root, const char *path)
{
    return open_in(root, path, O_PATH);
}

/* Splits "/a/b/c" into "/a/b" and "c". Paths from the host are normalized; link targets may end with a slash or be "..". */
static char *parent_of(const char *path, const char **name)
{
    const char *slash = strrchr(path, '/');

    *name = slash ? slash + 1 : path;
    return strndup(path, slash ? (size_t)(slash - path) : 0);
}

/* The path that the dangling link at parent/name leads to. */
static char *follow(int parent, const char *parent_path, const char *name)
{
    char target[PATH_MAX], *path = NULL;
    ssize_t length = readlinkat(parent, name, target, sizeof(target) - 1);

    if (length <= 0)
        return NULL;
    target[length] = '\0';
    if (target[0] == '/')
        return strdup(target);
    return asprintf(&path, "%s/%s", parent_path, target) < 0 ? NULL : path;
}

struct wanted {
    bool directory;
    mode_t mode;
};

static int make(int root, const char *path, struct wanted wanted, unsigned links_left);

/* Makes name in parent; if a dangling link is there, what it leads to. */
static int make_in(int root, int parent, const char *parent_path, const char *name, struct wanted wanted, unsigned links_left)
{
    _cleanup_free_ char *target = NULL;
    int result = wanted.directory ? mkdirat(parent, name, wanted.mode) : mknodat(parent, name, S_IFREG | wanted.mode, 0);

    if (result == 0)
        return open_in(parent, name, O_PATH | O_NOFOLLOW);
    if (errno != EEXIST)
        return -1;
    target = follow(parent, parent_path, name);
    if (!target || links_left == 0) {
        errno = target ? ELOOP : EEXIST;
        return -1;
    }
    return make(root, target, wanted, links_left - 1);
}

static int make(int root, const char *path, struct wanted wanted, unsigned links_left)
{
    int found = place_open(root, path);
    _cleanup_free_ char *parent_path = NULL;
    _cleanup_fd_ int parent = -1;
    const char *name;

    if (found >= 0 || errno != ENOENT)
        return found;
    parent_path = parent_of(path, &name);
    if (!parent_path)
        return -1;
    if (!name[0] || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        errno = ENOENT;
        return -1;
    }
    parent = parent_path[0] ? make(root, parent_path, (struct wanted){ true, 0755 }, links_left) : place_open(root, "/");
    if (parent < 0)
        return -1;
    return make_in(root, parent, parent_path, name, wanted, links_left);
}

int place_make_directory(int root, const char *path, mode_t mode, msb_error **err)
{
    int fd = make(root, path, (struct wanted){ true, mode }, LINKS_MAX);
    struct stat status;

    if (fd < 0)
        return fail_errno(err, "make directory `%s` in the guest", path);
    if (fstat(fd, &status) < 0 || !S_ISDIR(status.st_mode)) {
        close(fd);
        return fail(err, MSB_ERR_INVALID, "`%s` in the guest is not a directory", path);
    }
    return fd;
}

int place_make_file(int root, const char *path, msb_error **err)
{
    int fd = make(root, path, (struct wanted){ false, 0644 }, LINKS_MAX);
    struct stat status;

    if (fd < 0)
        return fail_errno(err, "make file `%s` in the guest", path);
    if (fstat(fd, &status) < 0 || S_ISDIR(status.st_mode)) {
        close(fd);
        return fail(err, MSB_ERR_INVALID, "`%s` in the guest is a directory, and a file is to be mapped there", path);
    }
    return fd;
}

int mount_new(const char *type, const struct mount_option *options, unsigned attributes, msb_error **err)
{
    _cleanup_fd_ int context = sys_fsopen(type, FSOPEN_CLOEXEC);
    int mount;

    if (context < 0)
        return fail_errno(err, "open file system `%s`", type);
    for (; options && options->key; options++) {
        unsigned command = options->value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;

        if (sys_fsconfig(context, command, options->key, options->value, 0) < 0)
            return fail_errno(err, "set option `%s` of file system `%s`", options->key, type);
    }
    if (sys_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return fail_errno(err, "set up file system `%s`", type);
    mount = sys_fsmount(context, FSMOUNT_CLOEXEC, attributes);
    return mount < 0 ? fail_errno(err, "mount file system `%s`", type) : mount;
}

int mount_clone(int source, bool read_only, msb_error **err)
{
    struct mount_attr attributes = { .attr_set = MOUNT_ATTR_RDONLY };
    _cleanup_fd_ int mount = sys_open_tree(source, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    if (mount < 0)
        return fail_errno(err, "take a tree to be mounted");
    if (read_only && sys_mount_setattr(mount, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) < 0)
        return fail_errno(err, "make a mount read-only");
    return steal_fd(&mount);
}

int mount_attach(int mount, int target, msb_error **err)
{
    if (sys_move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return fail_errno(err, "put a mount in its place");
    return 0;
}
