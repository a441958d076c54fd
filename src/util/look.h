/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a thread that waits for somebody quick looks for a moment before it sleeps.
 *
 * Who waits for each answer before it asks again asks again within microseconds, which is less than it takes to be put to sleep and
 * woken up. So, when it was that quick lately, looking pays; but only while a processor is free for it. Each time a thread looked in
 * vain, it has to see twice as many quick questions before it looks again, and when that goes well, half as many.
 *
 * One struct look belongs to one thread.
 */
#ifndef MSB_UTIL_LOOK_H
#define MSB_UTIL_LOOK_H

#include <stdbool.h>
#include <stdint.h>

struct look {
    uint64_t nanoseconds;         /* how long to look */
    unsigned quick, quick_needed; /* questions that came within that time of our wait, in a row, and how many make us look */
    unsigned found;               /* how often looking was right */
};

#define LOOK_INIT(for_nanoseconds) ((struct look){ .nanoseconds = (for_nanoseconds), .quick_needed = 1 })

/* The time in nanoseconds, of a clock that only looks use. */
uint64_t look_now(void);

/* Whether to look. What came of it is told with look_done(). */
bool look_pays(const struct look *look);
void look_done(struct look *look, bool found);

/* After a sleep of so many nanoseconds. */
void look_slept(struct look *look, uint64_t nanoseconds);

#endif
