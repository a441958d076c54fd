/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/queue.h"

#include "util/cleanup.h"
#include "util/log.h"
#include "util/look.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

enum {
    LOOK_FOR_NS = 80000,
    LOOKS_PER_CLOCK = 16,
};

struct queue {
    struct fs *fs;
    struct pool *pool, *waiters;
    struct virtqueue *virtqueue;
    pthread_t thread;
    bool answers; /* to requests, so that the guest may be waiting */
    struct look look;
    bool ending;
    int epoll, stop; /* the thread waits for kicks, and for an eventfd that ends it */

    pthread_mutex_t lock; /* giving back, and what follows */
    pthread_cond_t idle;
    unsigned num_given; /* jobs with the pool */
};

static void give_back(struct queue *queue, uint16_t head, size_t written)
{
    pthread_mutex_lock(&queue->lock);
    virtqueue_push(queue->virtqueue, head, (uint32_t)written);
    virtqueue_notify(queue->virtqueue);
    pthread_mutex_unlock(&queue->lock);
}

void queue_finish(struct job *job)
{
    struct queue *queue = job->queue;
    size_t written;

    job->request.may_block = true;
    request_serve(&job->request, &written);
    give_back(queue, job->chain.head, written);
    free(job);
    pthread_mutex_lock(&queue->lock);
    if (--queue->num_given == 0)
        pthread_cond_signal(&queue->idle);
    pthread_mutex_unlock(&queue->lock);
}

/* Gives a job to the pool; false when it has no thread for it. */
static bool give(struct queue *queue, struct pool *pool, struct job *job)
{
    pthread_mutex_lock(&queue->lock);
    queue->num_given++;
    pthread_mutex_unlock(&queue->lock);
    if (pool_add(pool, job))
        return true;
    pthread_mutex_lock(&queue->lock);
    queue->num_given--;
    pthread_mutex_unlock(&queue->lock);
    return false;
}

/* Has another thread run a job that would have blocked. The job for the next chain, or NULL when there is no other thread. */
static struct job *hand_over(struct queue *queue, struct pool *pool, struct job *job)
{
    struct job *another = malloc(sizeof(*another));

    if (!another)
        return NULL;
    another->queue = queue;
    if (give(queue, pool, job))
        return another;
    free(another);
    return NULL;
}

/* Serves the chain that was just taken. Returns the job to use for the next one: another when this one was given away. */
static struct job *serve(struct queue *queue, struct job *job)
{
    struct request *r = &job->request;
    size_t written;
    int result;

    r->fs = queue->fs;
    r->memory = queue->virtqueue->memory;
    r->queue = queue;
    r->no_waits = &queue->ending;
    r->interrupted = false;
    r->readable = job->chain.readable;
    r->writable = job->chain.writable;
    r->num_readable = job->chain.num_readable;
    r->num_writable = job->chain.num_writable;
    r->readable_bytes = job->chain.readable_bytes;
    r->writable_bytes = job->chain.writable_bytes;
    r->may_block = false;
    result = request_serve(r, &written);
    if (result != 0) {
        struct job *another = hand_over(queue, result == REQUEST_WAIT ? queue->waiters : queue->pool, job);

        if (another)
            return another;
        r->may_block = true;
        if (result == REQUEST_WAIT)
            written = request_refuse(r, -ENOLCK);
        else
            request_serve(r, &written); /* the queue waits */
    }
    give_back(queue, job->chain.head, written);
    return job;
}

/* Takes the next chain. While the thread looks, the guest need not kick. */
static bool next_chain(struct queue *queue, struct job *job)
{
    int taken = virtqueue_pop(queue->virtqueue, &job->chain);
    uint64_t end;

    if (taken != 0 || !queue->answers || !look_pays(&queue->look))
        return taken > 0;
    end = look_now() + LOOK_FOR_NS;
    do {
        for (unsigned i = 0; i < LOOKS_PER_CLOCK && taken == 0; i++) {
            __builtin_ia32_pause();
            taken = virtqueue_pop(queue->virtqueue, &job->chain);
        }
        /* Whoever else wants this processor goes first: it may be the guest itself. */
        if (taken == 0)
            sched_yield();
    } while (taken == 0 && look_now() < end);
    look_done(&queue->look, taken > 0);
    return taken > 0;
}

/* Waits for a kick: true, or false when the queue is to end. */
static bool wait_for_kick(struct queue *queue)
{
    struct epoll_event events[2];
    uint64_t begin = look_now();
    int n;

    do
        n = epoll_wait(queue->epoll, events, 2, -1);
    while (n < 0 && errno == EINTR);
    look_slept(&queue->look, look_now() - begin);
    for (int i = 0; i < n; i++)
        if (events[i].data.fd == queue->stop)
            return false;
    return n > 0;
}

static void *run(void *data)
{
    struct queue *queue = data;
    struct job *job = malloc(sizeof(*job));

    /* Handlers change the working directory: each thread has its own. */
    if (!job || unshare(CLONE_FS) < 0) {
        log_error("a queue cannot be served: %s", strerror(errno));
        free(job);
        return NULL;
    }
    job->queue = queue;
    do {
        do {
            while (next_chain(queue, job))
                job = serve(queue, job);
        } while (virtqueue_enable_kicks(queue->virtqueue, true));
    } while (wait_for_kick(queue));
    free(job);
    return NULL;
}

static int watch(const struct queue *queue, int fd, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.fd = fd };

    return epoll_ctl(queue->epoll, EPOLL_CTL_ADD, fd, &event);
}

/* With a stack of the size that it needs: one of the usual 8 MiB would take a huge page, where the host gives those out unasked. */
static int start_thread(struct queue *queue)
{
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);

    if (error)
        return error;
    pthread_attr_setstacksize(&attributes, QUEUE_STACK_SIZE);
    error = pthread_create(&queue->thread, &attributes, run, queue);
    pthread_attr_destroy(&attributes);
    return error;
}

struct queue *queue_new(struct fs *fs, struct pool *pool, struct pool *waiters, struct virtqueue *virtqueue, bool answers,
                        msb_error **err)
{
    struct queue *queue = calloc(1, sizeof(*queue));

    if (!queue)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    *queue = (struct queue){
        .fs = fs, .pool = pool, .waiters = waiters, .virtqueue = virtqueue, .answers = answers, .look = LOOK_INIT(LOOK_FOR_NS)
    };
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->idle, NULL);
    queue->epoll = epoll_create1(EPOLL_CLOEXEC);
    queue->stop = eventfd(0, EFD_CLOEXEC);
    /* Edge-triggered, a kick is never read: each write is an edge. */
    if (queue->epoll >= 0 && queue->stop >= 0 && watch(queue, queue->stop, EPOLLIN) == 0 &&
        watch(queue, virtqueue->kick_fd, EPOLLIN | EPOLLET) == 0) {
        errno = start_thread(queue);
        if (errno == 0)
            return queue;
    }
    fail_errno(err, "start a thread for a queue");
    cleanup_fd(&queue->epoll);
    cleanup_fd(&queue->stop);
    free(queue);
    return NULL;
}

void queue_free(struct queue *queue)
{
    const uint64_t one = 1;

    if (!queue)
        return;
    (void)!write(queue->stop, &one, sizeof(one));
    pthread_join(queue->thread, NULL);
    /* A wait that begins only now sees this, and those that have begun hear of it. */
    __atomic_store_n(&queue->ending, true, __ATOMIC_RELEASE);
    locks_interrupt(queue->fs->locks, 0, queue);
    pthread_mutex_lock(&queue->lock);
    while (queue->num_given)
        pthread_cond_wait(&queue->idle, &queue->lock);
    pthread_mutex_unlock(&queue->lock);
    pthread_mutex_destroy(&queue->lock);
    pthread_cond_destroy(&queue->idle);
    close(queue->epoll);
    close(queue->stop);
    free(queue);
}
