/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles: what the guest opened. Like a node id, a handle is an index with a generation.
 */
#ifndef MSB_FS_HANDLE_H
#define MSB_FS_HANDLE_H

#include "fs/node.h"

#include <pthread.h>

struct handle {
    uint64_t id;
    unsigned refs;
    struct node *node;
    int fd;
    int flags; /* as in open(2) */

    /* Of a directory: what getdents64(2) gave and was not passed on yet. */
    pthread_mutex_t lock;
    char *entries;
    size_t entries_size, entries_at;
    int64_t position; /* of the entry at entries_at */
};

struct handles;

struct handles *handles_new(struct nodes *nodes, unsigned max);
void handles_free(struct handles *handles);

/* Closes every handle that is not in use, as at a new mount; those in use follow when they are given back. */
void handles_reset(struct handles *handles);

/* A new handle of node with fd, which becomes the handle's, also on failure. 0 or a negative errno. */
int handle_new(struct handles *handles, struct node *node, int fd, int flags, uint64_t *id);

/* The handle with this id if it is one of node's, to be given back with handle_put(), or NULL. */
struct handle *handle_get(struct handles *handles, uint64_t id, const struct node *node);
void handle_put(struct handles *handles, struct handle *handle);

/* The guest closed it. */
void handle_release(struct handles *handles, uint64_t id, const struct node *node);

/* A guest that does not open directories (FUSE_NO_OPENDIR_SUPPORT) only reads them, from one position after the other. Each reading
   that is under way has a handle; of very many, the one not used for longest loses it, and gets another that goes on at its
   position. */

/* The handle of a reading of node that got as far as position, or else of any other one; NULL when there is none. */
struct handle *handle_reading(struct handles *handles, const struct node *node, int64_t position);
/* That of a reading that begins, as handle_new(). */
int handle_reading_new(struct handles *handles, struct node *node, int fd, struct handle **handle);
/* The reading got as far as position, or to its end. */
void handle_reading_at(struct handles *handles, const struct handle *handle, int64_t position, bool ended);

#endif
