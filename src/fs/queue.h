/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads between the virtqueues and the server.
 *
 * Each queue has one thread. It takes a request, serves it and gives it back before it takes the next: no request that can be
 * answered at once is handed to another thread. What would block (a page that is not in memory, fsync) goes to the pool, whose
 * threads give it back to its queue themselves, so that the queue goes on meanwhile.
 */
#ifndef MSB_FS_QUEUE_H
#define MSB_FS_QUEUE_H

#include "fs/request.h"
#include "virtio/virtqueue.h"

struct pool;

/* Of each thread: a struct listing and some paths are the largest there. */
enum { QUEUE_STACK_SIZE = 256 << 10 };
struct queue;

/* A request and where it came from. */
struct job {
    struct request request;
    struct chain chain;
    struct queue *queue;
    struct job *next;
};

enum {
    POOL_THREADS = 32,  /* for what blocks on the host's disks; jobs beyond them wait for one another */
    POOL_WAITERS = 128, /* for waits that may take for ever: beyond them there is none to be had */
    POOL_THREADS_MAX = 128,
};

struct pool *pool_new(unsigned max_threads, bool waits, msb_error **err);
/* Waits for the jobs that were given. */
void pool_free(struct pool *pool);

/* Has a thread of the pool call queue_finish(). Which becomes the pool's. False when there is no thread to be had. */
bool pool_add(struct pool *pool, struct job *job);

/* Serves a virtqueue until queue_free(), which finishes what was taken and returns when nothing touches the virtqueue any more.
   answers: a guest waits for answers on it, so that it is worth a look for the next request before the thread sleeps. */
struct queue *queue_new(struct fs *fs, struct pool *pool, struct pool *waiters, struct virtqueue *virtqueue, bool answers,
                        msb_error **err);
void queue_free(struct queue *queue);

/* Runs a job that would have blocked, gives its chain back, and frees it. */
void queue_finish(struct job *job);

#endif
