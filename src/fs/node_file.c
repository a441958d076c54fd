/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors of inodes: opening by place, keeping, and closing the least recently used. node.c has the theory of operation.
 *
 * Nothing on the host is opened without a look at it first. A name is opened with O_PATH, which has no effect on anything and never
 * waits, and checked to be the inode that is meant; only regular files are then opened for real, through the magic link of the
 * O_PATH descriptor, so that no name can change in between. Directories are opened at once: O_DIRECTORY refuses all else.
 */
#include "fs/node.h"

#include "fs/node_private.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_FLAGS = O_PATH | O_NOFOLLOW | O_CLOEXEC };

/* ---- The list of files ------------------------------------------------------------------------------------------------------- */

void file_list_locked(struct nodes *nodes, struct file *file)
{
    if (file->listed)
        return;
    file->listed = true;
    file->newer = NULL;
    file->older = nodes->newest;
    if (file->older)
        file->older->newer = file;
    else
        nodes->oldest = file;
    nodes->newest = file;
}

void file_unlist_locked(struct nodes *nodes, struct file *file)
{
    if (!file->listed)
        return;
    file->listed = false;
    if (file->newer)
        file->newer->older = file->older;
    else
        nodes->newest = file->older;
    if (file->older)
        file->older->newer = file->newer;
    else
        nodes->oldest = file->newer;
}

bool node_set_pinned_locked(struct nodes *nodes, struct node *node, bool pinned)
{
    if (node->pinned == pinned)
        return true;
    /* The rest is for what the guest uses by name. */
    if (pinned && nodes->num_pinned >= nodes->max_files / 2)
        return false;
    nodes->num_pinned += pinned ? 1 : -1U;
    node->pinned = pinned;
    if (node->file && pinned)
        file_unlist_locked(nodes, node->file);
    else if (node->file)
        file_list_locked(nodes, node->file);
    return true;
}

static void put_locked(struct nodes *nodes, struct file *file, struct file **closed)
{
    if (--file->refs)
        return;
    nodes->num_files--;
    file->older = *closed;
    *closed = file;
}

void node_drop_file_locked(struct nodes *nodes, struct node *node, struct file **closed)
{
    struct file *file = node->file;

    if (!file)
        return;
    file_unlist_locked(nodes, file);
    node->file = NULL;
    put_locked(nodes, file, closed);
}

/* The last descriptor of what has no name any more: its inode goes with it, and the host may have to wait for its disk. */
static void close_removed(struct nodes *nodes, struct file *file)
{
    struct file **at = &nodes->closing;

    pthread_mutex_lock(&nodes->lock);
    file->newer = nodes->closing;
    nodes->closing = file;
    pthread_mutex_unlock(&nodes->lock);
    close(file->fd);
    pthread_mutex_lock(&nodes->lock);
    while (*at != file)
        at = &(*at)->newer;
    *at = file->newer;
    pthread_cond_broadcast(&nodes->closed);
    pthread_mutex_unlock(&nodes->lock);
}

void files_close(struct nodes *nodes, struct file *closed)
{
    while (closed) {
        struct file *file = closed;

        closed = file->older;
        if (file->removed_from)
            close_removed(nodes, file);
        else
            close(file->fd);
        free(file);
    }
}

/* Locked. */
static bool has_closing(const struct nodes *nodes, uint64_t id)
{
    const struct file *file = nodes->closing;

    while (file && file->removed_from != id)
        file = file->newer;
    return file;
}

bool node_settled(struct nodes *nodes, int dir, const char *name, bool wait)
{
    struct node *node;
    bool settled;

    pthread_mutex_lock(&nodes->lock);
    settled = !nodes->closing;
    pthread_mutex_unlock(&nodes->lock);
    node = settled ? NULL : node_at(nodes, dir, name);
    if (!node)
        return true;
    pthread_mutex_lock(&nodes->lock);
    while (wait && has_closing(nodes, node->id))
        pthread_cond_wait(&nodes->closed, &nodes->lock);
    settled = !has_closing(nodes, node->id);
    pthread_mutex_unlock(&nodes->lock);
    node_put(nodes, node);
    return settled;
}

void file_put(struct nodes *nodes, struct file *file)
{
    struct file *closed = NULL;

    pthread_mutex_lock(&nodes->lock);
    put_locked(nodes, file, &closed);
    pthread_mutex_unlock(&nodes->lock);
    files_close(nodes, closed);
}

/* Locked: closes the file used least recently until there is room for one more. */
static int make_room(struct nodes *nodes, struct file **closed)
{
    struct file *file = nodes->oldest;

    while (file && nodes->num_files >= nodes->max_files) {
        struct file *newer = file->newer;

        if (file->refs == 1)
            node_drop_file_locked(nodes, file->node, closed);
        file = newer;
    }
    return nodes->num_files >= nodes->max_files ? -ENFILE : 0;
}

/* Locked: the node's file when it can do enough, with one more reference. */
static struct file *usable_file(struct nodes *nodes, const struct node *node, enum access access)
{
    struct file *file = node->file;

    if (!file || file->access < access)
        return NULL;
    file->refs++;
    if (file->listed && nodes->newest != file) {
        file_unlist_locked(nodes, file);
        file_list_locked(nodes, file);
    }
    return file;
}

static struct file *current_file(struct nodes *nodes, struct node *node, enum access access)
{
    struct file *file;

    pthread_mutex_lock(&nodes->lock);
    file = usable_file(nodes, node, access);
    pthread_mutex_unlock(&nodes->lock);
    return file;
}

/* Makes fd the node's file, in the place of one that can do less. Returns it with one more reference. fd is taken over. */
static int install(struct nodes *nodes, struct node *node, int fd, enum access access, struct file **result)
{
    struct file *file = malloc(sizeof(*file)), *closed = NULL;
    int error;

    if (!file) {
        close(fd);
        return -ENOMEM;
    }
    *file = (struct file){ .fd = fd, .access = access, .refs = 1, .node = node };
    pthread_mutex_lock(&nodes->lock);
    error = make_room(nodes, &closed);
    if (error < 0) {
        file->older = closed;
        closed = file;
    } else {
        nodes->num_files++;
        /* Another thread may have been as quick. */
        *result = usable_file(nodes, node, access);
        if (*result) {
            put_locked(nodes, file, &closed);
        } else {
            node_drop_file_locked(nodes, node, &closed);
            node->file = file;
            file->refs++;
            if (!node->pinned)
                file_list_locked(nodes, file);
            *result = file;
        }
    }
    pthread_mutex_unlock(&nodes->lock);
    files_close(nodes, closed);
    return error;
}

void node_keep_file(struct nodes *nodes, struct node *node, int fd, enum access access)
{
    struct file *file;

    if (install(nodes, node, fd, access, &file) == 0)
        file_put(nodes, file);
}

int node_pin_file(struct nodes *nodes, struct node *node, int fd)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    struct file *file;
    bool pinned;
    int error;

    if (own < 0)
        return -errno;
    pthread_mutex_lock(&nodes->lock);
    pinned = node_set_pinned_locked(nodes, node, true);
    pthread_mutex_unlock(&nodes->lock);
    if (!pinned) {
        close(own);
        return -ENFILE;
    }
    error = install(nodes, node, own, ACCESS_WRITE, &file);
    if (error == 0)
        file_put(nodes, file);
    return error;
}

/* ---- Opening ------------------------------------------------------------------------------------------------------------------------ */

/* Opens what a descriptor of ours refers to once more. */
static int reopen(const struct nodes *nodes, int fd, int flags)
{
    char number[16];
    int again;

    snprintf(number, sizeof(number), "%d", fd);
    again = openat(nodes->own_fds, number, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    return again < 0 ? -errno : again;
}

static int check_inode(const struct nodes *nodes, const struct node *node, int fd)
{
    struct statx st;
    int error = statx_at(fd, "", &st);

    if (error < 0)
        return error;
    return node_is(nodes, node, &st) ? 0 : -ESTALE;
}

/* What openat(2) says when the name is not there, or is something else by now. */
static int open_error(void)
{
    return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? -ESTALE : -errno;
}

/* Opens the inode called name in dir; *access becomes what the descriptor can do. */
static int open_name(const struct nodes *nodes, const struct node *node, int dir, const char *name, enum access *access)
{
    _cleanup_fd_ int fd = -1;
    int error;

    *access = ACCESS_PATH;
    if (node->type == S_IFDIR) {
        fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        if (fd >= 0)
            *access = ACCESS_READ;
    }
    /* A directory that may not be read can still be searched. */
    if (fd < 0)
        fd = openat(dir, name, PATH_FLAGS | (node->type == S_IFDIR ? O_DIRECTORY : 0));
    if (fd < 0)
        return open_error();
    error = check_inode(nodes, node, fd);
    return error < 0 ? error : steal_fd(&fd);
}

/* A directory to open on the way down. */
struct step {
    struct node *node;
    char name[NAME_MAX + 1];
};

/* Opens a directory whose parent is open. */
static int open_step(struct nodes *nodes, const struct step *step, const struct file *parent, struct file **file)
{
    enum access access;
    int fd = open_name(nodes, step->node, parent->fd, step->name, &access);

    return fd < 0 ? fd : install(nodes, step->node, fd, access, file);
}

enum { STEPS_MAX = 4096 }; /* directories above one another that are known but not open */

/* Collects node and its parents up to the first that is open. *top is that one's file. */
static int climb(struct nodes *nodes, struct node *node, struct step **steps, size_t *num_steps, struct file **top)
{
    size_t capacity = 0;

    pthread_mutex_lock(&nodes->lock);
    while (!(*top = usable_file(nodes, node, ACCESS_PATH))) {
        if (!node->parent || *num_steps == STEPS_MAX)
            break;
        if (*num_steps == capacity) {
            struct step *more = reallocarray(*steps, capacity ? capacity * 2 : 8, sizeof(*more));

            if (!more)
                break;
            *steps = more;
            capacity = capacity ? capacity * 2 : 8;
        }
        (*steps)[*num_steps].node = node;
        strcpy((*steps)[(*num_steps)++].name, node->name);
        node->refs++;
        node = node->parent;
    }
    pthread_mutex_unlock(&nodes->lock);
    return *top ? 0 : -ESTALE;
}

/* The file of a directory, opened from the nearest ancestor that is open. */
static int open_directory(struct nodes *nodes, struct node *node, struct file **file)
{
    struct step *steps = NULL;
    size_t num_steps = 0;
    int error = climb(nodes, node, &steps, &num_steps, file);

    for (size_t i = num_steps; i-- > 0;) {
        if (error == 0) {
            struct file *parent = *file;

            error = open_step(nodes, &steps[i], parent, file);
            file_put(nodes, parent);
        }
        node_put(nodes, steps[i].node);
    }
    free(steps);
    return error;
}

/* Opens a node that is no directory by its place. */
static int open_by_place(struct nodes *nodes, struct node *node)
{
    char name[NAME_MAX + 1];
    struct node *parent;
    struct file *dir;
    enum access access;
    int fd;

    if (!node_place(nodes, node, &parent, name))
        return -ESTALE;
    fd = open_directory(nodes, parent, &dir);
    if (fd == 0) {
        fd = open_name(nodes, node, dir->fd, name, &access);
        file_put(nodes, dir);
    }
    node_put(nodes, parent);
    return fd;
}

static int flags_of(enum access access)
{
    return access == ACCESS_WRITE ? O_RDWR : O_RDONLY;
}

/* One try to get a file; -ESTALE when the inode is not at its place. */
static int try_file(struct nodes *nodes, struct node *node, enum access access, struct file **file)
{
    struct file *lesser;
    int path, fd;

    if (node->type == S_IFDIR) {
        int error = open_directory(nodes, node, file);

        if (error < 0 || (*file)->access >= access)
            return error;
        file_put(nodes, *file);
        return -EACCES;
    }
    lesser = current_file(nodes, node, ACCESS_PATH);
    if (!lesser) {
        path = open_by_place(nodes, node);
        if (path < 0)
            return path;
        if (access == ACCESS_PATH)
            return install(nodes, node, path, access, file);
        fd = reopen(nodes, path, flags_of(access));
        close(path);
    } else if (lesser->access >= access) {
        *file = lesser;
        return 0;
    } else {
        fd = reopen(nodes, lesser->fd, flags_of(access));
        file_put(nodes, lesser);
    }
    return fd < 0 ? fd : install(nodes, node, fd, access, file);
}

int node_file_names_locked(struct nodes *nodes, struct node *node, enum access access, struct file **file)
{
    *file = current_file(nodes, node, access);
    if (*file)
        return 0;
    if (node->type != S_IFDIR && node->type != S_IFREG && access > ACCESS_PATH)
        return -ENXIO;
    return try_file(nodes, node, access, file);
}

int node_file(struct nodes *nodes, struct node *node, enum access access, struct file **file)
{
    int error = node_file_names_locked(nodes, node, access, file);

    if (error != -ESTALE)
        return error;
    /* It may have been renamed this moment: wait until that is done, and look at where it is now. */
    pthread_mutex_lock(&nodes->names);
    error = node_file_names_locked(nodes, node, access, file);
    pthread_mutex_unlock(&nodes->names);
    return error;
}

int node_open(struct nodes *nodes, struct node *node, int flags)
{
    struct file *file;
    int fd = node_file(nodes, node, ACCESS_PATH, &file);

    if (fd < 0)
        return fd;
    if (node->type != S_IFREG && node->type != S_IFDIR)
        fd = -ENXIO;
    else
        fd = reopen(nodes, file->fd, flags);
    file_put(nodes, file);
    return fd;
}

int node_link(struct nodes *nodes, struct node *node, const struct file *dir, const char *name)
{
    char number[16];
    struct file *file;
    int error = node_file(nodes, node, ACCESS_PATH, &file);

    if (error < 0)
        return error;
    /* By the descriptor, so that it is this inode and no other, also when it has no name. */
    snprintf(number, sizeof(number), "%d", file->fd);
    error = linkat(nodes->own_fds, number, dir->fd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
    file_put(nodes, file);
    return error;
}

/* ---- Status -------------------------------------------------------------------------------------------------------------------------- */

/* One try, without opening the node itself. */
static int try_statx(struct nodes *nodes, struct node *node, struct statx *st)
{
    struct file *file = current_file(nodes, node, ACCESS_PATH);
    char name[NAME_MAX + 1];
    struct node *parent;
    int error;

    if (file) {
        error = statx_at(file->fd, "", st);
        file_put(nodes, file);
        return error;
    }
    if (!node_place(nodes, node, &parent, name))
        return -ESTALE;
    error = open_directory(nodes, parent, &file);
    if (error == 0) {
        error = statx_at(file->fd, name, st);
        file_put(nodes, file);
    }
    node_put(nodes, parent);
    if (error == -ENOENT || error == -ENOTDIR || (error == 0 && !node_is(nodes, node, st)))
        error = -ESTALE;
    return error;
}

int node_statx(struct nodes *nodes, struct node *node, struct statx *st)
{
    int error = try_statx(nodes, node, st);

    if (error != -ESTALE)
        return error;
    pthread_mutex_lock(&nodes->names);
    error = try_statx(nodes, node, st);
    pthread_mutex_unlock(&nodes->names);
    return error;
}
