/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A temporary directory on the host that a device exports, and what tests make and expect in it from the host's side.
 */
#ifndef MSB_TESTS_FS_TREE_H
#define MSB_TESTS_FS_TREE_H

#include <stddef.h>
#include <sys/stat.h>

struct tree {
    char path[64];
    int fd;
};

void tree_make(struct tree *tree);
/* One for very many files: in memory, if they fit. */
void tree_make_for(struct tree *tree, size_t files);
void tree_remove(struct tree *tree);

void tree_add_file(const struct tree *tree, const char *name, const char *content);
void tree_expect_file(const struct tree *tree, const char *name, const char *content);
void tree_expect_xattr(const struct tree *tree, const char *name, const char *xattr, const char *value);
void tree_expect_no_xattr(const struct tree *tree, const char *name, const char *xattr);
struct stat tree_stat(const struct tree *tree, const char *name);

#endif
