/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop of every single-threaded process here: epoll, callbacks, and timers as timerfds.
 * One loop belongs to one thread.
 */
#ifndef MSB_UTIL_LOOP_H
#define MSB_UTIL_LOOP_H

#include "util/error.h"

#include <stdint.h>

struct loop;
struct loop_source;

/* events is what epoll reported (EPOLLIN, ...). The callback may remove any source, its own too. */
typedef void loop_callback(struct loop_source *source, int fd, uint32_t events, void *data);

struct loop *loop_new(msb_error **err);
void loop_free(struct loop *loop);

/* Watches fd, which stays the caller's and must outlive the source. Level-triggered unless events has EPOLLET. */
struct loop_source *loop_add(struct loop *loop, int fd, uint32_t events, loop_callback *callback, void *data, msb_error **err);

/* Changes what is watched; 0 watches nothing (but not even errors: the descriptor is taken out of the set until changed again). */
int loop_modify(struct loop_source *source, uint32_t events, msb_error **err);

/* Stops watching and frees the source; NULL is allowed. Events already fetched for it are not delivered. */
void loop_remove(struct loop_source *source);

/* A one-shot timer, in nanoseconds from now; the callback's fd is -1. Removed with loop_remove(), also after it fired. */
struct loop_source *loop_timer(struct loop *loop, uint64_t nanoseconds, loop_callback *callback, void *data, msb_error **err);

/* Makes the loop look for events for so long before it sleeps, when they came quickly lately (util/look.h). */
void loop_look(struct loop *loop, uint64_t nanoseconds);

/* Runs until loop_quit(). Returns 0, or -1 when epoll itself failed. */
int loop_run(struct loop *loop, msb_error **err);
void loop_quit(struct loop *loop);

#endif
