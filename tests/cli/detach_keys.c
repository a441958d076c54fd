/* SPDX-License-Identifier: Apache-2.0 */
/* The keys that detach: how they are written, and found in what is typed, in whatever pieces that comes. */
#include "cli/detach_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void written(void **state)
{
    static const struct {
        const char *text, *keys;
        size_t count;
    } cases[] = {
        { "", "", 0 },         { DETACH_KEYS_DEFAULT, "\x10\x11", 2 },
        { "a", "a", 1 },       { "ctrl-A,ctrl-z,x", "\x01\x1ax", 3 },
        { "ctrl-@", "\0", 1 }, { "ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", "\x1b\x1c\x1d\x1e\x1f", 5 },
        { "-,c", "-c", 2 },
    };
    static const char *const bad[] = { ",",      "a,",      ",a",     "ab",   "ctrl",     "ctrl-",
                                       "ctrl-1", "ctrl-ab", "strg-p", "a,,b", "\xc3\xa4", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q" };
    struct detach_keys keys;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(detach_keys_parse(cases[i].text, &keys, NULL), 0);
        assert_int_equal(keys.count, cases[i].count);
        assert_memory_equal(keys.keys, cases[i].keys, keys.count);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (detach_keys_parse(bad[i], &keys, NULL) == 0)
            fail_msg("\"%s\" is accepted", bad[i]);
    assert_int_equal(detach_keys_parse("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p", &keys, NULL), 0);
}

/* Typed in pieces of every size: what is passed on, and whether the keys were among it. */
static void expect(const char *keys_text, const char *typed, const char *passed, bool detached)
{
    for (size_t piece = 1; piece <= strlen(typed); piece++) {
        uint8_t out[64], all[64];
        struct detach_keys keys;
        size_t out_size, all_size = 0;
        bool found = false;

        assert_int_equal(detach_keys_parse(keys_text, &keys, NULL), 0);
        for (size_t at = 0; !found && at < strlen(typed); at += piece) {
            size_t size = strlen(typed) - at < piece ? strlen(typed) - at : piece;

            found = detach_keys_filter(&keys, (const uint8_t *)typed + at, size, out, &out_size);
            assert_true(out_size <= size + DETACH_KEYS_MAX);
            memcpy(all + all_size, out, out_size);
            all_size += out_size;
        }
        assert_int_equal(found, detached);
        assert_int_equal(all_size, strlen(passed));
        assert_memory_equal(all, passed, all_size);
    }
}

static void typed(void **state)
{
    (void)state;
    expect(DETACH_KEYS_DEFAULT, "ls\r", "ls\r", false);
    expect(DETACH_KEYS_DEFAULT, "ls\x10\x11", "ls", true);
    expect(DETACH_KEYS_DEFAULT, "ls\x10\x11 more", "ls", true);
    expect(DETACH_KEYS_DEFAULT, "\x10x\x11", "\x10x\x11", false);
    expect(DETACH_KEYS_DEFAULT, "\x10\x10\x11", "\x10", true);
    expect(DETACH_KEYS_DEFAULT, "\x11\x10", "\x11", false); /* the last is held back */
    expect("a,a,b", "aaab", "a", true);
    expect("a,b,a,c", "ababac", "ab", true);
    expect("a,b,a,c", "abaabx", "abaabx", false);
    expect("", "\x10\x11", "\x10\x11", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(written), cmocka_unit_test(typed) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
