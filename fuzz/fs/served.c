/* SPDX-License-Identifier: Apache-2.0 */
#include "served.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char tree[] = "/tmp/msb-fuzz-fs-XXXXXX";
static int home;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type;
    return ftw->level ? remove(path) : 0;
}

void served_empty(void)
{
    if (fchdir(home) < 0)
        abort();
    nftw(tree, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_tree(void)
{
    served_empty();
    rmdir(tree);
}

struct fs *served_begin(void)
{
    struct fs_options options = { .own_fds_path = "/proc/self/fd", .max_files = 256 };
    struct fs *fs;

    home = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (home < 0 || !mkdtemp(tree) || atexit(remove_tree) != 0)
        abort();
    options.root = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    options.own_fds = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    umask(0);
    fs = fs_new(&options, NULL);
    if (!fs)
        abort();
    return fs;
}
