/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/times.h"

#include "config/text.h"
#include "util/cleanup.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- Durations ----------------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint64_t nanoseconds;
} units[] = {
    { "d", 24ULL * 3600 * NS_PER_SECOND },
    { "h", 3600ULL * NS_PER_SECOND },
    { "m", 60ULL * NS_PER_SECOND },
    { "s", NS_PER_SECOND },
    { "ms", NS_PER_MS },
};

enum { NUM_UNITS = sizeof(units) / sizeof(units[0]) };

/* A whole or decimal number of units, at *at, which is moved behind it; false when there is none, or it is too large. */
static bool take_number(const char **at, uint64_t unit, uint64_t *nanoseconds)
{
    size_t digits = strspn(*at, "0123456789"), decimals;
    uint64_t whole, fraction = 0, scale = unit;

    if (!text_number((struct text){ *at, digits }, INT64_MAX, &whole) || __builtin_mul_overflow(whole, unit, nanoseconds))
        return false;
    *at += digits;
    if (**at != '.')
        return true;
    ++*at;
    decimals = strspn(*at, "0123456789");
    for (size_t i = 0; i < decimals && scale >= 10; i++) {
        scale /= 10;
        fraction += scale * (uint64_t)((*at)[i] - '0');
    }
    *at += decimals;
    return decimals > 0 && !__builtin_add_overflow(*nanoseconds, fraction, nanoseconds) && *nanoseconds <= INT64_MAX;
}

/* What unit stands behind the number at text: an index from first on, or -1. */
static int find_unit(const char *text, int first)
{
    const char *name = text + strspn(text, "0123456789.");
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz");

    for (int i = first; i < NUM_UNITS; i++)
        if (text_equal((struct text){ name, length }, units[i].name))
            return i;
    return -1;
}

static bool take_duration(const char *text, uint64_t *nanoseconds)
{
    const char *at = text;
    int unit = -1;

    *nanoseconds = 0;
    do {
        uint64_t part;

        unit = find_unit(at, unit + 1);
        if (unit < 0 || !take_number(&at, units[unit].nanoseconds, &part) ||
            __builtin_add_overflow(*nanoseconds, part, nanoseconds) || *nanoseconds > INT64_MAX)
            return false;
        at += strlen(units[unit].name);
    } while (*at);
    return true;
}

/* Seconds, with or without a fraction, and nothing else. */
static bool take_seconds(const char *text, uint64_t *nanoseconds)
{
    return take_number(&text, NS_PER_SECOND, nanoseconds) && !*text;
}

int duration_parse(const char *value, uint64_t *nanoseconds, msb_error **err)
{
    if (take_seconds(value, nanoseconds) || take_duration(value, nanoseconds))
        return 0;
    return refuse(err, "duration", text_of(value, MSB_LENGTH_UNKNOWN), "is none; write it as 10s, 5m or 1h30m");
}

/* ---- Points in time ------------------------------------------------------------------------------------------------------------ */

uint64_t time_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* "Z", "+01:00" or nothing; nothing is local time, for which *local is set. */
static bool take_zone(const char *text, bool *local, int64_t *offset)
{
    unsigned hours, minutes;
    int end = 0;

    *local = !*text;
    *offset = 0;
    if (!*text || !strcmp(text, "Z") || !strcmp(text, "z"))
        return true;
    if ((*text != '+' && *text != '-') || sscanf(text + 1, "%2u:%2u%n", &hours, &minutes, &end) != 2 || end != 5 || text[6] ||
        hours > 23 || minutes > 59)
        return false;
    *offset = (int64_t)(hours * 3600 + minutes * 60) * (*text == '-' ? -1 : 1);
    return true;
}

static bool take_date(const char *text, uint64_t *realtime)
{
    struct tm tm = { .tm_isdst = -1 };
    uint64_t fraction = 0;
    const char *end = strptime(text, "%Y-%m-%d", &tm), *next;
    int64_t offset, seconds;
    bool local;

    if (end && (*end == 'T' || *end == 't' || *end == ' ')) {
        next = strptime(end + 1, "%H:%M:%S", &tm);
        end = next ? next : strptime(end + 1, "%H:%M", &tm);
    }
    if (end && *end == '.') {
        static const char zero[] = "0";
        char digits[32];
        const char *at = digits;
        size_t length = strspn(end + 1, "0123456789");

        if (length == 0 || length > sizeof(digits) - 3)
            return false;
        snprintf(digits, sizeof(digits), "%s%.*s", zero, (int)length + 1, end);
        take_number(&at, NS_PER_SECOND, &fraction);
        end += 1 + length;
    }
    if (!end || !take_zone(end, &local, &offset))
        return false;
    seconds = local ? mktime(&tm) : timegm(&tm) - offset;
    if (seconds < 0 || seconds > INT64_MAX / NS_PER_SECOND - 1)
        return false;
    *realtime = (uint64_t)seconds * NS_PER_SECOND + fraction;
    return true;
}

int time_parse(const char *value, uint64_t now, uint64_t *realtime, msb_error **err)
{
    uint64_t duration;

    if (take_seconds(value, realtime) || take_date(value, realtime))
        return 0;
    if (!take_duration(value, &duration))
        return refuse(
            err, "time", text_of(value, MSB_LENGTH_UNKNOWN),
            "is none; write how long ago, as 10m, or a date and time, as 2026-01-31T13:00:00Z, or seconds since the epoch");
    *realtime = duration < now ? now - duration : 0;
    return 0;
}

/* ---- Printing ------------------------------------------------------------------------------------------------------------------ */

void time_print(uint64_t realtime, char text[TIME_TEXT_SIZE])
{
    time_t seconds = (time_t)(realtime / NS_PER_SECOND);
    struct tm tm;
    size_t length;

    gmtime_r(&seconds, &tm);
    length = strftime(text, TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + length, TIME_TEXT_SIZE - length, ".%09uZ", (unsigned)(realtime % NS_PER_SECOND));
}

void age_print(uint64_t nanoseconds, char text[TIME_TEXT_SIZE])
{
    static const struct {
        unsigned below, unit; /* seconds */
        const char *what;     /* with the number of units, if it has a place for it */
    } ages[] = {
        { 1, 1, "less than a second" },
        { 2, 1, "1 second" },
        { 60, 1, "%u seconds" },
        { 120, 60, "about a minute" },
        { 3600, 60, "%u minutes" },
        { 7200, 3600, "about an hour" },
        { 48 * 3600, 3600, "%u hours" },
        { 14 * 86400, 86400, "%u days" },
        { 60 * 86400, 7 * 86400, "%u weeks" },
        { 730 * 86400, 30 * 86400, "%u months" },
    };
    uint64_t seconds = nanoseconds / NS_PER_SECOND;

    for (size_t i = 0; i < sizeof(ages) / sizeof(ages[0]); i++)
        if (seconds < ages[i].below) {
            unsigned number = (unsigned)seconds / ages[i].unit;

            /* The formats are those above. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(text, TIME_TEXT_SIZE, ages[i].what, number);
#pragma GCC diagnostic pop
            return;
        }
    snprintf(text, TIME_TEXT_SIZE, "%u years", (unsigned)(seconds / (365 * 86400)));
}

void bytes_print(uint64_t bytes, char text[TIME_TEXT_SIZE])
{
    static const char *const suffixes[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double amount = (double)bytes;
    size_t unit = 0;

    while (amount >= 1000 && unit + 1 < sizeof(suffixes) / sizeof(suffixes[0])) {
        amount /= 1024;
        unit++;
    }
    snprintf(text, TIME_TEXT_SIZE, "%.*f%s", unit == 0 || amount >= 100 ? 0 : amount >= 10 ? 1 : 2, amount, suffixes[unit]);
}
