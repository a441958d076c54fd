/* SPDX-License-Identifier: Apache-2.0 */
#include "util/loop.h"

#include "util/look.h"

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { EVENTS_PER_WAIT = 16 };

struct loop_source {
    struct loop *loop;
    loop_callback *callback;
    void *data;
    int fd;
    bool watched;
    bool timer;   /* fd is a timerfd of ours */
    bool removed; /* freed once no fetched event can name it */
    struct loop_source *next_removed;
};

struct loop {
    int epoll_fd;
    bool quit;
    bool dispatching;
    bool looks;
    struct look look;
    struct loop_source *removed;
};

struct loop *loop_new(msb_error **err)
{
    struct loop *loop = calloc(1, sizeof(*loop));

    if (!loop)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        fail_errno(err, "create an epoll descriptor");
        free(loop);
        return NULL;
    }
    return loop;
}

static void free_removed(struct loop *loop)
{
    while (loop->removed) {
        struct loop_source *source = loop->removed;

        loop->removed = source->next_removed;
        free(source);
    }
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    free_removed(loop);
    close(loop->epoll_fd);
    free(loop);
}

int loop_modify(struct loop_source *source, uint32_t events, msb_error **err)
{
    struct epoll_event event = { .events = events, .data.ptr = source };
    int operation = EPOLL_CTL_MOD;

    if (!events && !source->watched)
        return 0;
    if (!events)
        operation = EPOLL_CTL_DEL;
    else if (!source->watched)
        operation = EPOLL_CTL_ADD;
    if (epoll_ctl(source->loop->epoll_fd, operation, source->fd, &event) < 0)
        return fail_errno(err, "watch descriptor %d", source->fd);
    source->watched = events != 0;
    return 0;
}

struct loop_source *loop_add(struct loop *loop, int fd, uint32_t events, loop_callback *callback, void *data, msb_error **err)
{
    struct loop_source *source = calloc(1, sizeof(*source));

    if (!source)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    *source = (struct loop_source){ .loop = loop, .callback = callback, .data = data, .fd = fd };
    if (loop_modify(source, events, err) < 0) {
        free(source);
        return NULL;
    }
    return source;
}

void loop_remove(struct loop_source *source)
{
    if (!source || source->removed)
        return;
    loop_modify(source, 0, NULL);
    if (source->timer)
        close(source->fd);
    source->removed = true;
    if (!source->loop->dispatching) {
        free(source);
        return;
    }
    source->next_removed = source->loop->removed;
    source->loop->removed = source;
}

struct loop_source *loop_timer(struct loop *loop, uint64_t nanoseconds, loop_callback *callback, void *data, msb_error **err)
{
    /* An all-zero it_value would disarm the timer (timerfd_create(2)). */
    uint64_t delay = nanoseconds ? nanoseconds : 1;
    struct itimerspec when = {
        .it_value = { .tv_sec = (time_t)(delay / 1000000000U), .tv_nsec = (long)(delay % 1000000000U) },
    };
    struct loop_source *source;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

    if (fd < 0)
        return FAIL_NULL(fail_errno(err, "create a timer"));
    if (timerfd_settime(fd, 0, &when, NULL) < 0) {
        fail_errno(err, "set a timer");
        close(fd);
        return NULL;
    }
    source = loop_add(loop, fd, EPOLLIN, callback, data, err);
    if (!source) {
        close(fd);
        return NULL;
    }
    source->timer = true;
    return source;
}

static void dispatch(struct loop_source *source, uint32_t events)
{
    if (source->removed)
        return;
    if (!source->timer) {
        source->callback(source, source->fd, events, source->data);
        return;
    }
    loop_modify(source, 0, NULL);
    source->callback(source, -1, events, source->data);
}

void loop_look(struct loop *loop, uint64_t nanoseconds)
{
    loop->looks = true;
    loop->look = LOOK_INIT(nanoseconds);
}

/* As epoll_wait(), without a sleep. */
static int look(struct loop *loop, struct epoll_event *events)
{
    uint64_t end = look_now() + loop->look.nanoseconds;
    int n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_WAIT, 0);

    while (n == 0 && look_now() < end) {
        /* Whoever else wants this processor goes first: it may be who is waited for. */
        sched_yield();
        n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_WAIT, 0);
    }
    look_done(&loop->look, n > 0);
    return n;
}

static int wait(struct loop *loop, struct epoll_event *events)
{
    uint64_t begin;
    int n = 0;

    if (!loop->looks)
        return epoll_wait(loop->epoll_fd, events, EVENTS_PER_WAIT, -1);
    if (look_pays(&loop->look))
        n = look(loop, events);
    if (n != 0)
        return n;
    begin = look_now();
    n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_WAIT, -1);
    look_slept(&loop->look, look_now() - begin);
    return n;
}

int loop_run(struct loop *loop, msb_error **err)
{
    loop->quit = false;
    while (!loop->quit) {
        struct epoll_event events[EVENTS_PER_WAIT];
        int n = wait(loop, events);

        if (n < 0 && errno != EINTR)
            return fail_errno(err, "wait for events");
        loop->dispatching = true;
        for (int i = 0; i < n; i++)
            dispatch(events[i].data.ptr, events[i].events);
        loop->dispatching = false;
        free_removed(loop);
    }
    return 0;
}

void loop_quit(struct loop *loop)
{
    loop->quit = true;
}
