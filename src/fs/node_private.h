/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What node.c and node_file.c share.
 */
#ifndef MSB_FS_NODE_PRIVATE_H
#define MSB_FS_NODE_PRIVATE_H

#include "fs/node.h"

#include <pthread.h>

enum {
    NODES_MAX = 4 << 20, /* what a guest can make us hold: beyond it lookups fail with ENFILE */
    KEPT_MAX = 1 << 16,  /* owners that have no place on the host; the rest are lost when the guest forgets them */
    MOUNTS_MAX = 4096,   /* mounts and subvolumes below the root of the tree */
};

struct slot {
    struct node *node; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct mount {
    uint64_t id;
    uint32_t major, minor;
    uint64_t device; /* distinguishes inode numbers of different devices; the same for two mounts of one device */
    bool oci_whiteouts;
};

struct nodes {
    pthread_mutex_t lock;  /* everything below, and everything in nodes and files; no system call but close(2) under it */
    pthread_mutex_t names; /* taken before lock; held while names change on the host and here */
    uint64_t names_version;
    bool guest_is_only_user;
    int own_fds;
    struct node root;
    struct slot *slots;
    uint32_t num_slots, first_free;
    struct node **buckets;
    size_t num_buckets;
    size_t num_nodes, num_kept;
    struct mount mounts[MOUNTS_MAX]; /* grows only; an index that a node has may be used without the lock */
    uint32_t num_mounts;
    struct fs_mount *presented;
    size_t num_presented;
    struct file *newest, *oldest; /* by last use */
    unsigned num_files, max_files;
    unsigned num_pinned;  /* of these, those that may not be closed */
    struct file *closing; /* what has been removed and is being closed, linked by newer */
    pthread_cond_t closed;
};

/* Whether st is the node's inode. */
bool node_is(const struct nodes *nodes, const struct node *node, const struct statx *st);

/* A directory and a name where the node was last seen, the directory with one more reference; false when that is not known. */
bool node_place(struct nodes *nodes, struct node *node, struct node **parent, char name[NAME_MAX + 1]);

/* Locked: drops one reference; the descriptors to close are added to *closed. */
void node_put_locked(struct nodes *nodes, struct node *node, struct file **closed);
/* Locked: drops the node's own reference to its file. */
void node_drop_file_locked(struct nodes *nodes, struct node *node, struct file **closed);
/* Unlocked. */
void files_close(struct nodes *nodes, struct file *closed);

/* node_file() for who holds the names lock. */
int node_file_names_locked(struct nodes *nodes, struct node *node, enum access access, struct file **file);

/* Locked: whether the node's file may be closed when there are too many. False when no more can be pinned. */
bool node_set_pinned_locked(struct nodes *nodes, struct node *node, bool pinned);

/* Locked: puts a file into the list, or takes it out. */
void file_list_locked(struct nodes *nodes, struct file *file);
void file_unlist_locked(struct nodes *nodes, struct file *file);

#endif
