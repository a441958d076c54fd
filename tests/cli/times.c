/* SPDX-License-Identifier: Apache-2.0 */
/* Durations, points in time and amounts: each form, and what is refused. */
#include "cli/times.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static const uint64_t second = NS_PER_SECOND, day = 86400ULL * NS_PER_SECOND;

static void durations(void **state)
{
    const struct {
        const char *text;
        uint64_t nanoseconds;
    } cases[] = {
        { "0", 0 },
        { "10", 10 * second },
        { "2.5", 2500000000 },
        { "10s", 10 * second },
        { "0s", 0 },
        { "5m", 300 * second },
        { "1h30m", 5400 * second },
        { "1d2h3m4s5ms", day + 7384 * second + 5000000 },
        { "1.5h", 5400 * second },
        { "250ms", 250000000 },
        { "0.000000001s", 1 },
        { "0.0000000019s", 1 },
        { "9223372036s", 9223372036 * second },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t found = 1;

        if (duration_parse(cases[i].text, &found, NULL) < 0 || found != cases[i].nanoseconds)
            fail_msg("\"%s\" is %lu", cases[i].text, (unsigned long)found);
    }
}

static void no_durations(void **state)
{
    static const char *const cases[] = {
        "",     "s",    "-1s", "+1s", " 1s",   "1s ",  "1 s",         "1x",      "1S",
        "1m1h", "1s1s", "1.s", ".5s", "1..5s", "1h30", "9223372037s", "106752d", "99999999999999999999",
        "1e3",  "soon",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        msb_error *error = NULL;
        uint64_t found;

        if (duration_parse(cases[i], &found, &error) == 0)
            fail_msg("\"%s\" is %lu", cases[i], (unsigned long)found);
        assert_non_null(strstr(msb_error_message(error), "is none; write it as 10s, 5m or 1h30m"));
        msb_error_free(error);
    }
}

static void points_in_time(void **state)
{
    const uint64_t now = 1764033543 * second, local = 3600 * second; /* at UTC+1 */
    const struct {
        const char *text;
        uint64_t realtime;
    } cases[] = {
        { "10s", now - 10 * second },
        { "1h30m", now - 5400 * second },
        { "40000d", 0 },
        { "1764033543", now },
        { "1764033543.000000001", now + 1 },
        { "2025-11-25T01:19:03Z", now },
        { "2025-11-25t01:19:03z", now },
        { "2025-11-25T02:19:03+01:00", now },
        { "2025-11-24T19:49:03-05:30", now },
        { "2025-11-25T01:19:03.25Z", now + 250000000 },
        { "2025-11-25T02:19:03", now },
        { "2025-11-25 02:19:03", now },
        { "2025-11-25T02:19", now - 3 * second },
        { "2025-11-25", now - 4743 * second - local },
    };

    (void)state;
    setenv("TZ", "XYZ-1", 1);
    tzset();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t found = 1;

        if (time_parse(cases[i].text, now, &found, NULL) < 0 || found != cases[i].realtime)
            fail_msg("\"%s\" is %lu, not %lu", cases[i].text, (unsigned long)found, (unsigned long)cases[i].realtime);
    }
}

static void no_points_in_time(void **state)
{
    static const char *const cases[] = {
        "",
        "yesterday",
        "2025-13-01",
        "2025-11-25T",
        "2025-11-25T01:19:03Q",
        "2025-11-25T01:19:03+1",
        "2025-11-25T01:19:03+01:00x",
        "2025-11-25T01:19:03.Z",
        "2025-11-25T25:00",
        "1960-01-01T00:00:00Z",
        "-5s",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t found;

        if (time_parse(cases[i], second, &found, NULL) == 0)
            fail_msg("\"%s\" is %lu", cases[i], (unsigned long)found);
    }
}

static void printed(void **state)
{
    static const struct {
        uint64_t seconds;
        const char *text;
    } ages[] = {
        { 0, "less than a second" }, { 1, "1 second" },          { 59, "59 seconds" },   { 60, "about a minute" },
        { 119, "about a minute" },   { 120, "2 minutes" },       { 3599, "59 minutes" }, { 3600, "about an hour" },
        { 7200, "2 hours" },         { 172799, "47 hours" },     { 172800, "2 days" },   { 14 * 86400, "2 weeks" },
        { 61 * 86400, "2 months" },  { 800 * 86400, "2 years" },
    };
    static const struct {
        uint64_t bytes;
        const char *text;
    } amounts[] = {
        { 0, "0B" },          { 999, "999B" },       { 1000, "0.98KiB" },    { 1024, "1.00KiB" },
        { 12902, "12.6KiB" }, { 1 << 27, "128MiB" }, { 1 << 30, "1.00GiB" }, { UINT64_MAX, "16.0EiB" },
    };
    char text[TIME_TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(ages) / sizeof(ages[0]); i++) {
        age_print(ages[i].seconds * NS_PER_SECOND, text);
        assert_string_equal(text, ages[i].text);
    }
    for (size_t i = 0; i < sizeof(amounts) / sizeof(amounts[0]); i++) {
        bytes_print(amounts[i].bytes, text);
        assert_string_equal(text, amounts[i].text);
    }
    time_print(1764033543ULL * NS_PER_SECOND + 7, text);
    assert_string_equal(text, "2025-11-25T01:19:03.000000007Z");
    time_print(UINT64_MAX, text);
    assert_string_equal(text, "2554-07-21T23:34:33.709551615Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations),         cmocka_unit_test(no_durations), cmocka_unit_test(points_in_time),
        cmocka_unit_test(no_points_in_time), cmocka_unit_test(printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
