/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of inodes that the guest knows, and the descriptors by which they are reached. node.c has the theory of operation.
 *
 * All functions may be called from any thread. Those that return int return 0 or a negative errno.
 */
#ifndef MSB_FS_NODE_H
#define MSB_FS_NODE_H

#include "fs/server.h"

#include <limits.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/* FUSE's root. Every other node id has a generation in its upper half and is never used again. */
enum { NODE_ROOT_ID = 1 };

/* What the guest sees of an inode's ownership, where the host cannot say it itself (owner.h). */
struct owner {
    uint32_t uid, gid;
    uint32_t mode; /* with the type */
    uint32_t rdev; /* makedev(3)'s 32 bits as FUSE has them */
};

/* What a descriptor can do. */
enum access {
    ACCESS_PATH,  /* O_PATH */
    ACCESS_READ,  /* for directories the most there is */
    ACCESS_WRITE, /* and read */
};

/* An open descriptor of a node, counted. */
struct file {
    int fd;
    enum access access;
    unsigned refs;         /* the node's own, and one for each use in progress */
    bool listed;           /* in the list of those that may be closed when there are too many */
    uint64_t removed_from; /* the id of the directory in which its inode had its last name, or 0 */
    struct node *node;
    struct file *newer, *older;
};

struct node {
    uint64_t id;
    struct node *next_in_bucket;
    uint64_t ino;
    int64_t btime; /* nanoseconds, 0 when the host does not say: tells an inode number that was used again */
    uint32_t mount;
    uint32_t refs; /* uses in progress, children's and the guest's (one, however many lookups) */
    uint64_t lookups;
    struct node *parent; /* where it was seen last: a directory and a name in it; NULL for the root, and when it is not known */
    char *name;
    struct file *file; /* NULL: not open now */
    uint32_t type;     /* S_IFMT part of the host's mode */
    bool hashed;
    bool pinned;      /* has no name any more: its file is the only way to it */
    bool whiteout;    /* a .wh.NAME file of an unpacked layer: shown as a character device 0:0 called NAME */
    bool owner_known; /* owner is what the guest sees */
    bool owner_kept;  /* only here: the host has no place for it */
    bool owner_holds; /* for this the node is held */
    struct owner owner;
};

struct nodes;

struct nodes *nodes_new(const struct fs_options *options, msb_error **err);
void nodes_free(struct nodes *nodes);

/* Forgets everything that the guest has looked up, as at a new mount. */
void nodes_reset(struct nodes *nodes);

/* The node with this id, with one more reference, or NULL. */
struct node *node_get(struct nodes *nodes, uint64_t id);
struct node *node_ref(struct nodes *nodes, struct node *node);
void node_put(struct nodes *nodes, struct node *node);

/* Where an inode was seen. */
struct found {
    struct node *parent; /* NULL: it has no name */
    const char *name;
    uint64_t version; /* names_version() from before it was looked at */
    bool whiteout;    /* name is a marker, and the guest sees what it hides */
};

uint64_t names_version(const struct nodes *nodes);

/* The inode that st (NODE_STATX) tells of, seen there, with one more lookup and one more reference. */
int node_found(struct nodes *nodes, const struct found *found, const struct statx *st, struct node **node);

/* Takes back lookups, at most as many as there are. */
void node_forget(struct nodes *nodes, uint64_t id, uint64_t lookups);

/* An open descriptor that can do at least what access says; file_put() gives it back. Fails with ESTALE when the inode is not found
   where it was. Only regular files and directories are ever opened for more than ACCESS_PATH: others fail with ENXIO. */
int node_file(struct nodes *nodes, struct node *node, enum access access, struct file **file);
void file_put(struct nodes *nodes, struct file *file);

/* Gives the node a descriptor that was just opened or created; it becomes the node's. */
void node_keep_file(struct nodes *nodes, struct node *node, int fd, enum access access);

/* The same for a new file without a name: the descriptor, which stays the caller's, is the only way to it. */
int node_pin_file(struct nodes *nodes, struct node *node, int fd);

/* Makes one more name for the node in a directory. */
int node_link(struct nodes *nodes, struct node *node, const struct file *dir, const char *name);

/* Opens the node once more, with open(2)'s flags, for a handle of its own. */
int node_open(struct nodes *nodes, struct node *node, int flags);

enum { NODE_STATX = STATX_BASIC_STATS | STATX_BTIME | 0x1000 /* STATX_MNT_ID */ };

/* statx(2) of the node. */
int node_statx(struct nodes *nodes, struct node *node, struct statx *st);

/* statx(2) of a name in a directory, symbolic links not followed. */
int statx_at(int dir, const char *name, struct statx *st);

/* False while another thread closes what was removed from the directory called name: until that is done, rmdir(2) would look for it
   again and again, on a processor that it needs (fs/dcache.c, shrink_dcache_parent()). With wait it is waited for. */
bool node_settled(struct nodes *nodes, int dir, const char *name, bool wait);

/* ---- Changes of names ---------------------------------------------------------------------------------------------------------- */

/* Between these, no other thread changes names, and nodes that are not found wait. */
void names_lock(struct nodes *nodes);
void names_unlock(struct nodes *nodes);

/* The inode called name, with one more reference, if the guest knows it. */
struct node *node_at(struct nodes *nodes, int dir, const char *name);

/* Names locked, before name in parent (open as dir) goes away: node_at(), and makes sure that the guest can still use the inode. To
   be followed by node_removed() or, when the name was not removed, by node_unpin(). */
struct node *node_pin(struct nodes *nodes, struct node *parent, int dir, const char *name);
void node_removed(struct nodes *nodes, struct node *node);
void node_unpin(struct nodes *nodes, struct node *node);

/* Names locked: node is now called name in parent. */
void node_moved(struct nodes *nodes, struct node *node, struct node *parent, const char *name);

/* ---- Ownership that is cached or kept ------------------------------------------------------------------------------------------- */

/* True and *owner filled when it is known without asking the host. */
bool node_owner(struct nodes *nodes, struct node *node, struct owner *owner);
/* Remembers what was read from the host, unless it is known already; *owner becomes what is known. */
void node_learn_owner(struct nodes *nodes, struct node *node, struct owner *owner);
/* It was changed. kept: the host has no place for it. */
void node_set_owner(struct nodes *nodes, struct node *node, const struct owner *owner, bool kept);

/* What was found out about the mount that a node lies in. */
bool node_in_layer(const struct nodes *nodes, const struct node *node); /* OCI whiteouts are presented as overlayfs's */
uint64_t node_ino(const struct nodes *nodes, const struct node *node, uint64_t ino); /* unique over all mounts */

#endif
