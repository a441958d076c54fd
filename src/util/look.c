/* SPDX-License-Identifier: Apache-2.0 */
#include "util/look.h"

#include <time.h>

enum {
    QUICK_NEEDED_MAX = 1 << 10,
    FOUND_FOR_LESS = 32,
};

uint64_t look_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

bool look_pays(const struct look *look)
{
    return look->quick >= look->quick_needed;
}

void look_done(struct look *look, bool found)
{
    if (found) {
        if (++look->found % FOUND_FOR_LESS == 0 && look->quick_needed > 1)
            look->quick_needed /= 2;
        return;
    }
    look->quick = 0;
    if (look->quick_needed < QUICK_NEEDED_MAX)
        look->quick_needed *= 2;
}

void look_slept(struct look *look, uint64_t nanoseconds)
{
    look->quick = nanoseconds < look->nanoseconds ? look->quick + 1 : 0;
}
