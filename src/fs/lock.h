/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks that hold against the host's processes and other guests too. lock.c has the theory of operation.
 */
#ifndef MSB_FS_LOCK_H
#define MSB_FS_LOCK_H

#include "fs/node.h"

struct locks;
struct request;

struct locks *locks_new(struct nodes *nodes, unsigned max_owners);
void locks_free(struct locks *locks);
void locks_reset(struct locks *locks);

/* Gives up what an owner holds on a node, as close(2) does. */
void locks_drop_owner(struct locks *locks, const struct node *node, uint64_t id);

/* Ends the wait of the request with this number, or with 0 of all that are given this queue; it fails with EINTR. */
void locks_interrupt(struct locks *locks, uint64_t unique, const void *queue);

#endif
