/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Durations, points in time and amounts, as people write and read them.
 */
#ifndef MSB_CLI_TIMES_H
#define MSB_CLI_TIMES_H

#include "util/error.h"

#include <stddef.h>
#include <stdint.h>

enum { NS_PER_SECOND = 1000000000, NS_PER_MS = 1000000 };

/* "10", "10s", "1.5h", "1h30m", "250ms": whole or decimal numbers with the units d, h, m, s and ms, each at most once and the larger
   before the smaller; a number alone counts seconds. In nanoseconds, of which there may be some 290 years. */
int duration_parse(const char *value, uint64_t *nanoseconds, msb_error **err);

/* A point in time, in nanoseconds since the epoch: a duration with its units, which is that long before now; seconds since the epoch,
   also with a fraction; or RFC 3339's date and time, of which the time, and within it seconds and zone, may be left out (local
   time then). */
int time_parse(const char *value, uint64_t now, uint64_t *realtime, msb_error **err);

/* The two of CLOCK_REALTIME. */
uint64_t time_now(void);

enum { TIME_TEXT_SIZE = 40 };

/* "2026-11-25T01:02:03.123456789Z". */
void time_print(uint64_t realtime, char text[TIME_TEXT_SIZE]);

/* "3 seconds", "about a minute", "5 hours", "2 weeks": how long something took, as Docker says it. */
void age_print(uint64_t nanoseconds, char text[TIME_TEXT_SIZE]);

/* "0B", "12.3MiB": three or four digits and a unit. */
void bytes_print(uint64_t bytes, char text[TIME_TEXT_SIZE]);

#endif
