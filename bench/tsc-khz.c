/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the frequency of this machine's time-stamp counter in kHz; bench/boot tells it to QEMU's guests, as the qemu engine does. */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static int64_t nanoseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_RAW, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int main(void)
{
    int64_t start = nanoseconds();
    uint64_t ticks = __rdtsc();

    nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
    ticks = __rdtsc() - ticks;
    printf("%llu\n", (unsigned long long)(ticks * 1000000 / (uint64_t)(nanoseconds() - start)));
    return 0;
}
