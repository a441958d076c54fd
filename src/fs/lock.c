/* SPDX-License-Identifier: Apache-2.0 */
/*
 * getlk, setlk, setlkw, interrupt.
 *
 * Theory of operation
 *
 * A flock(2) lock belongs to an open file, which is a handle here: the host's flock(2) on its descriptor does it. A POSIX lock belongs
 * to an owner that the guest's kernel names by a number, so each owner gets, for each file that it locks, an open file description
 * of its own, and the host's open file description locks (fcntl(2), F_OFD_SETLK) do the rest; closing it gives all of them up.
 *
 * Who has to wait does so in a thread of its own, in fcntl(2) or flock(2), which only a signal can end: an interrupt sends one
 * until the thread has left. There are only so many such threads; beyond them a wait fails with ENOLCK.
 */
#include "fs/lock.h"

#include "fs/request.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>

struct lock_owner {
    struct lock_owner *next;
    struct node *node; /* with a reference */
    uint64_t owner;
    uint32_t pid; /* who asked last */
    int fd;
    unsigned refs;
};

/* A thread that is in a wait. */
struct waiter {
    struct waiter *next;
    struct request *request;
    pthread_t thread;
};

enum { BUCKETS = 256 };

struct locks {
    pthread_mutex_t lock;
    pthread_cond_t left; /* a waiter has */
    struct nodes *nodes;
    struct lock_owner *owners[BUCKETS];
    unsigned num_owners, max_owners;
    struct waiter *waiters;
};

static void wake_up(int signal)
{
    (void)signal; /* that it interrupted a system call is all there is to do */
}

struct locks *locks_new(struct nodes *nodes, unsigned max_owners)
{
    struct sigaction action = { .sa_handler = wake_up };
    struct locks *locks = calloc(1, sizeof(*locks));

    if (!locks || sigaction(SIGUSR1, &action, NULL) < 0) {
        free(locks);
        return NULL;
    }
    pthread_mutex_init(&locks->lock, NULL);
    pthread_cond_init(&locks->left, NULL);
    locks->nodes = nodes;
    locks->max_owners = max_owners;
    return locks;
}

/* ---- Owners ---------------------------------------------------------------------------------------------------------------------- */

static struct lock_owner **bucket_of(struct locks *locks, const struct node *node, uint64_t owner)
{
    return &locks->owners[((node->id + owner) * 0x9e3779b97f4a7c15ULL >> 56) % BUCKETS];
}

static void free_owner(struct locks *locks, struct lock_owner *owner)
{
    close(owner->fd);
    node_put(locks->nodes, owner->node);
    free(owner);
}

static void put_owner(struct locks *locks, struct lock_owner *owner)
{
    bool unused;

    pthread_mutex_lock(&locks->lock);
    unused = --owner->refs == 0;
    pthread_mutex_unlock(&locks->lock);
    if (unused)
        free_owner(locks, owner);
}

/* Locked: the place of an owner's entry in its list, or of the list's end. */
static struct lock_owner **find_owner(struct locks *locks, const struct node *node, uint64_t owner)
{
    struct lock_owner **p = bucket_of(locks, node, owner);

    while (*p && ((*p)->node != node || (*p)->owner != owner))
        p = &(*p)->next;
    return p;
}

static struct lock_owner *get_owner(struct locks *locks, const struct node *node, uint64_t id)
{
    struct lock_owner *owner;

    pthread_mutex_lock(&locks->lock);
    owner = *find_owner(locks, node, id);
    if (owner)
        owner->refs++;
    pthread_mutex_unlock(&locks->lock);
    return owner;
}

/* Locked: adds a new owner, unless another thread did. Returns the one to use, with one more reference, or NULL. */
static struct lock_owner *add_owner(struct locks *locks, struct lock_owner *owner)
{
    struct lock_owner **p = find_owner(locks, owner->node, owner->owner);

    if (!*p && locks->num_owners < locks->max_owners) {
        *p = owner;
        locks->num_owners++;
        owner->refs++; /* the table's */
    }
    if (*p)
        (*p)->refs++;
    return *p;
}

static int make_owner(struct locks *locks, struct node *node, uint64_t id, uint32_t pid, struct lock_owner **result)
{
    struct lock_owner *owner = calloc(1, sizeof(*owner));
    int fd = node_open(locks->nodes, node, O_RDWR);

    /* What may only be read can only be locked for reading. */
    if (fd == -EACCES || fd == -EROFS || fd == -EPERM)
        fd = node_open(locks->nodes, node, O_RDONLY);
    if (fd < 0 || !owner) {
        free(owner);
        return fd < 0 ? fd : -ENOMEM;
    }
    *owner = (struct lock_owner){ .node = node_ref(locks->nodes, node), .owner = id, .pid = pid, .fd = fd, .refs = 1 };
    pthread_mutex_lock(&locks->lock);
    *result = add_owner(locks, owner);
    pthread_mutex_unlock(&locks->lock);
    put_owner(locks, owner);
    return *result ? 0 : -ENOLCK;
}

static int owner_of(struct locks *locks, struct node *node, uint64_t id, uint32_t pid, struct lock_owner **owner)
{
    *owner = get_owner(locks, node, id);
    return *owner ? 0 : make_owner(locks, node, id, pid, owner);
}

/* Locked: takes an owner out of its list. */
static struct lock_owner *remove_owner(struct locks *locks, struct lock_owner **p)
{
    struct lock_owner *owner = *p;

    *p = owner->next;
    locks->num_owners--;
    return owner;
}

void locks_drop_owner(struct locks *locks, const struct node *node, uint64_t id)
{
    struct lock_owner **p, *owner = NULL;

    pthread_mutex_lock(&locks->lock);
    p = find_owner(locks, node, id);
    if (*p)
        owner = remove_owner(locks, p);
    pthread_mutex_unlock(&locks->lock);
    if (owner)
        put_owner(locks, owner);
}

void locks_reset(struct locks *locks)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (;;) {
            struct lock_owner *owner = NULL;

            pthread_mutex_lock(&locks->lock);
            if (locks->owners[i])
                owner = remove_owner(locks, &locks->owners[i]);
            pthread_mutex_unlock(&locks->lock);
            if (!owner)
                break;
            put_owner(locks, owner);
        }
    }
}

void locks_free(struct locks *locks)
{
    if (!locks)
        return;
    locks_reset(locks);
    pthread_mutex_destroy(&locks->lock);
    pthread_cond_destroy(&locks->left);
    free(locks);
}

/* The process of another owner on this node, when there is just one: the host does not say whose an open file description is. */
static uint32_t other_pid(struct locks *locks, const struct node *node, uint64_t id)
{
    uint32_t pid = 0;
    unsigned others = 0;

    pthread_mutex_lock(&locks->lock);
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (const struct lock_owner *o = locks->owners[i]; o; o = o->next) {
            if (o->node == node && o->owner != id) {
                pid = o->pid;
                others++;
            }
        }
    }
    pthread_mutex_unlock(&locks->lock);
    return others == 1 ? pid : 0;
}

/* ---- Waiting ---------------------------------------------------------------------------------------------------------------------- */

static void begin_wait(struct locks *locks, struct waiter *waiter, struct request *r)
{
    *waiter = (struct waiter){ .request = r, .thread = pthread_self() };
    pthread_mutex_lock(&locks->lock);
    waiter->next = locks->waiters;
    locks->waiters = waiter;
    pthread_mutex_unlock(&locks->lock);
}

static void end_wait(struct locks *locks, struct waiter *waiter)
{
    struct waiter **p;

    pthread_mutex_lock(&locks->lock);
    for (p = &locks->waiters; *p != waiter; p = &(*p)->next)
        ;
    *p = waiter->next;
    pthread_cond_broadcast(&locks->left);
    pthread_mutex_unlock(&locks->lock);
}

static bool is_meant(const struct waiter *waiter, uint64_t unique, const void *queue)
{
    return unique ? waiter->request->in.unique == unique : waiter->request->queue == queue;
}

/* Locked: signals those that are meant; how many there were. */
static unsigned signal_waiters(struct locks *locks, uint64_t unique, const void *queue)
{
    unsigned meant = 0;

    for (struct waiter *w = locks->waiters; w; w = w->next) {
        if (!is_meant(w, unique, queue))
            continue;
        w->request->interrupted = true;
        pthread_kill(w->thread, SIGUSR1);
        meant++;
    }
    return meant;
}

void locks_interrupt(struct locks *locks, uint64_t unique, const void *queue)
{
    pthread_mutex_lock(&locks->lock);
    /* A signal that comes just before the system call does not end it: fcntl(2) takes no signal mask as ppoll(2) does. So, until the
       thread has left, another one after a while. */
    while (signal_waiters(locks, unique, queue)) {
        struct timespec until;

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 10000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&locks->left, &locks->lock, &until);
    }
    pthread_mutex_unlock(&locks->lock);
}

/* ---- Requests ---------------------------------------------------------------------------------------------------------------------- */

/* A lock request's descriptor and operation. */
struct attempt {
    const struct fuse_lk_in *in;
    int fd;
};

static struct flock range_of(const struct fuse_file_lock *lk)
{
    struct flock range = { .l_type = (short)lk->type, .l_whence = SEEK_SET, .l_start = (off_t)lk->start };

    /* The guest's last byte; the greatest there can be means "to the end", whose length is 0. */
    if (lk->end < INT64_MAX)
        range.l_len = (off_t)(lk->end - lk->start + 1);
    return range;
}

static int try_lock(const struct attempt *attempt, bool wait)
{
    const struct fuse_lk_in *in = attempt->in;
    struct flock range;

    if (in->lk_flags & FUSE_LK_FLOCK) {
        int operation = in->lk.type == F_UNLCK ? LOCK_UN : in->lk.type == F_WRLCK ? LOCK_EX : LOCK_SH;

        return flock(attempt->fd, operation | (wait ? 0 : LOCK_NB)) < 0 ? -errno : 0;
    }
    range = range_of(&in->lk);
    return fcntl(attempt->fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &range) < 0 ? -errno : 0;
}

static int wait_for_lock(struct request *r, const struct attempt *attempt)
{
    struct waiter waiter;
    int error = -EINTR;

    begin_wait(r->fs->locks, &waiter, r);
    while (error == -EINTR && !r->interrupted && !__atomic_load_n(r->no_waits, __ATOMIC_ACQUIRE))
        error = try_lock(attempt, true);
    end_wait(r->fs->locks, &waiter);
    return error;
}

static int set_lock(struct request *r, const struct attempt *attempt, bool wait)
{
    int error = try_lock(attempt, false);

    if (error == -EACCES)
        error = -EAGAIN;
    if (error != -EAGAIN || !wait)
        return error;
    return r->may_block ? wait_for_lock(r, attempt) : REQUEST_WAIT;
}

static bool is_valid(const struct fuse_lk_in *in)
{
    return (in->lk.type == F_RDLCK || in->lk.type == F_WRLCK || in->lk.type == F_UNLCK) && in->lk.start <= in->lk.end &&
           in->lk.end <= INT64_MAX && (in->lk_flags & ~(uint32_t)FUSE_LK_FLOCK) == 0;
}

static int set_flock(struct request *r, const struct fuse_lk_in *in, bool wait)
{
    struct handle *handle = handle_get(r->fs->handles, in->fh, r->node);
    int error;

    if (!handle)
        return -EBADF;
    error = set_lock(r, &(struct attempt){ in, handle->fd }, wait);
    handle_put(r->fs->handles, handle);
    return error;
}

static int set_posix(struct request *r, const struct fuse_lk_in *in, bool wait)
{
    struct lock_owner *owner;
    int error;

    if (r->node->type != S_IFREG)
        return -EINVAL;
    error = owner_of(r->fs->locks, r->node, in->owner, in->lk.pid, &owner);
    if (error < 0)
        return error;
    error = set_lock(r, &(struct attempt){ in, owner->fd }, wait);
    put_owner(r->fs->locks, owner);
    return error;
}

static int op_set(struct request *r, bool wait)
{
    struct fuse_lk_in in;

    if (!request_take(r, &in, sizeof(in)) || !is_valid(&in))
        return -EINVAL;
    return in.lk_flags & FUSE_LK_FLOCK ? set_flock(r, &in, wait) : set_posix(r, &in, wait);
}

int op_setlk(struct request *r)
{
    return op_set(r, false);
}

int op_setlkw(struct request *r)
{
    return op_set(r, true);
}

int op_getlk(struct request *r)
{
    struct fuse_lk_out out = { 0 };
    struct fuse_lk_in in;
    struct lock_owner *owner;
    struct flock range;
    int error;

    if (!request_take(r, &in, sizeof(in)) || !is_valid(&in) || in.lk_flags || in.lk.type == F_UNLCK || r->node->type != S_IFREG)
        return -EINVAL;
    error = owner_of(r->fs->locks, r->node, in.owner, in.lk.pid, &owner);
    if (error < 0)
        return error;
    range = range_of(&in.lk);
    error = fcntl(owner->fd, F_OFD_GETLK, &range) < 0 ? -errno : 0;
    put_owner(r->fs->locks, owner);
    if (error < 0)
        return error;
    out.lk = (struct fuse_file_lock){ .type = (uint32_t)range.l_type };
    if (range.l_type != F_UNLCK) {
        out.lk.start = (uint64_t)range.l_start;
        out.lk.end = range.l_len ? (uint64_t)(range.l_start + range.l_len - 1) : INT64_MAX;
        out.lk.pid = range.l_pid > 0 ? 0 : other_pid(r->fs->locks, r->node, in.owner);
    }
    return request_reply(r, &out, sizeof(out));
}

/* Linux's virtio-fs driver sends none yet; there is no answer. */
int op_interrupt(struct request *r)
{
    struct fuse_interrupt_in in;

    if (request_take(r, &in, sizeof(in)) && in.unique)
        locks_interrupt(r->fs->locks, in.unique, NULL);
    return 0;
}
