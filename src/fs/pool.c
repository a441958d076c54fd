/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads for what blocks. They are made when they are needed, and stay.
 */
#include "fs/queue.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t added;
    struct job *first, **last;
    unsigned num_jobs, num_idle, num_threads, max_threads;
    bool waits; /* a job does not wait for another to end */
    bool ending;
    pthread_t threads[POOL_THREADS_MAX];
};

struct pool *pool_new(unsigned max_threads, bool waits, msb_error **err)
{
    struct pool *pool = calloc(1, sizeof(*pool));

    if (!pool)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->added, NULL);
    pool->last = &pool->first;
    pool->max_threads = max_threads;
    pool->waits = waits;
    return pool;
}

/* Locked: waits for a job; NULL when there are none any more. */
static struct job *next_job(struct pool *pool)
{
    struct job *job;

    while (!pool->first && !pool->ending)
        pthread_cond_wait(&pool->added, &pool->lock);
    pool->num_idle--;
    job = pool->first;
    if (!job)
        return NULL;
    pool->first = job->next;
    if (!pool->first)
        pool->last = &pool->first;
    pool->num_jobs--;
    return job;
}

static void *work(void *data)
{
    struct pool *pool = data;
    struct job *job;

    /* Handlers change the working directory: each thread has its own. */
    if (unshare(CLONE_FS) < 0)
        return NULL;
    pthread_mutex_lock(&pool->lock);
    while ((job = next_job(pool))) {
        pthread_mutex_unlock(&pool->lock);
        queue_finish(job);
        pthread_mutex_lock(&pool->lock);
        pool->num_idle++;
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Locked. */
static void add_thread(struct pool *pool)
{
    pthread_attr_t attributes;

    if (pool->num_threads == pool->max_threads || pthread_attr_init(&attributes) != 0)
        return;
    pthread_attr_setstacksize(&attributes, QUEUE_STACK_SIZE);
    if (pthread_create(&pool->threads[pool->num_threads], &attributes, work, pool) == 0) {
        pool->num_threads++;
        pool->num_idle++;
    }
    pthread_attr_destroy(&attributes);
}

bool pool_add(struct pool *pool, struct job *job)
{
    bool added;

    pthread_mutex_lock(&pool->lock);
    if (pool->num_jobs >= pool->num_idle)
        add_thread(pool);
    added = pool->waits ? pool->num_jobs < pool->num_idle : pool->num_threads > 0;
    if (added) {
        job->next = NULL;
        *pool->last = job;
        pool->last = &job->next;
        pool->num_jobs++;
        pthread_cond_signal(&pool->added);
    }
    pthread_mutex_unlock(&pool->lock);
    return added;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_cond_broadcast(&pool->added);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->num_threads; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->added);
    free(pool);
}
