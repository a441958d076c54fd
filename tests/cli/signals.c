/* SPDX-License-Identifier: Apache-2.0 */
/* Signals by name and number. */
#include "cli/signals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void signals(void **state)
{
    static const struct {
        const char *text;
        int number;
    } cases[] = {
        { "HUP", 1 },   { "SIGHUP", 1 }, { "hup", 1 }, { "sighup", 1 }, { "1", 1 },           { "KILL", 9 },      { "TERM", 15 },
        { "CHLD", 17 }, { "USR2", 12 },  { "64", 64 }, { "RTMIN", 34 }, { "SIGRTMIN+0", 34 }, { "rtmin+30", 64 },
    };
    static const char *const bad[] = {
        "", "0", "65", "-1", "SIG", "TERM ", "SIGSIGTERM", "RTMIN+31", "RTMIN-1", "RTMIN+", "CLOUD"
    };
    int number;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (signal_parse(cases[i].text, &number, NULL) < 0)
            fail_msg("\"%s\" is refused", cases[i].text);
        assert_int_equal(number, cases[i].number);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (signal_parse(bad[i], &number, NULL) == 0)
            fail_msg("\"%s\" is accepted", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(signals) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
