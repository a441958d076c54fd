/* SPDX-License-Identifier: Apache-2.0 */
#include "tree.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

static void make_in(struct tree *tree, const char *place)
{
    snprintf(tree->path, sizeof(tree->path), "%s/msb-test-fs-XXXXXX", place);
    assert_non_null(mkdtemp(tree->path));
    tree->fd = open(tree->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(tree->fd >= 0);
}

void tree_make(struct tree *tree)
{
    make_in(tree, "/tmp");
}

void tree_make_for(struct tree *tree, size_t files)
{
    const char *memory = "/dev/shm";
    struct statvfs st;
    bool fits = statvfs(memory, &st) == 0 && st.f_favail > 2 * files && st.f_bavail * st.f_frsize / 2048 > files &&
                access(memory, W_OK) == 0;

    make_in(tree, fits ? memory : "/tmp");
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void tree_remove(struct tree *tree)
{
    close(tree->fd);
    assert_int_equal(nftw(tree->path, remove_one, 64, FTW_DEPTH | FTW_PHYS), 0);
}

void tree_add_file(const struct tree *tree, const char *name, const char *content)
{
    int fd = openat(tree->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    close(fd);
}

void tree_expect_file(const struct tree *tree, const char *name, const char *content)
{
    char data[4096];
    int fd = openat(tree->fd, name, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    assert_true(fd >= 0);
    n = read(fd, data, sizeof(data));
    close(fd);
    assert_int_equal(n, strlen(content));
    assert_memory_equal(data, content, (size_t)n);
}

static ssize_t get_xattr(const struct tree *tree, const char *name, const char *xattr, char *value, size_t size)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", tree->path, name);
    return lgetxattr(path, xattr, value, size);
}

void tree_expect_xattr(const struct tree *tree, const char *name, const char *xattr, const char *value)
{
    char got[256];
    ssize_t n = get_xattr(tree, name, xattr, got, sizeof(got) - 1);

    assert_true(n >= 0);
    got[n] = '\0';
    assert_string_equal(got, value);
}

void tree_expect_no_xattr(const struct tree *tree, const char *name, const char *xattr)
{
    char got[256];

    assert_int_equal(get_xattr(tree, name, xattr, got, sizeof(got)), -1);
}

struct stat tree_stat(const struct tree *tree, const char *name)
{
    struct stat st;

    assert_int_equal(fstatat(tree->fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
    return st;
}
