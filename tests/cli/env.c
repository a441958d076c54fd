/* SPDX-License-Identifier: Apache-2.0 */
/* --env and --env-file: what is read as Docker reads it, and what is refused with file and line. */
#include "cli/process_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* The settings, each followed by a newline; NULL and *err when they are refused. */
static char *read_text(const char *bytes, size_t size, msb_error **err)
{
    char path[] = "/tmp/msb-env-XXXXXX", *joined;
    int fd = mkstemp(path), result;
    struct list env = { 0 };

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
    result = env_file_read(path, &env, err);
    unlink(path);
    joined = calloc(1, size + 1000);
    for (size_t i = 0; i < env.count; i++) {
        strcat(joined, env.items[i]);
        strcat(joined, "\n");
    }
    list_clear(&env);
    if (result == 0)
        return joined;
    free(joined);
    return NULL;
}

static void lines_are_settings(void **state)
{
    static const struct {
        const char *file, *settings;
    } cases[] = {
        { "", "" },
        { "A=1\nB=2\n", "A=1\nB=2\n" },
        { "A=1", "A=1\n" }, /* without a newline at the end */
        { "# A=1\n\n   # B=2\n \t\n", "" },
        { "  A=1 \n", "A=1 \n" }, /* blanks before are nothing, behind they are the value's */
        { "A=1\r\nB=2\r\n", "A=1\nB=2\n" },
        { "\xef\xbb\xbf"
          "A=1\n",
          "A=1\n" },
        { "A=\"x y\" # z\n", "A=\"x y\" # z\n" }, /* no quotes, no comments behind */
        { "A=b=c\nA=\n", "A=b=c\nA=\n" },
        { "MSB_TEST_SET\nMSB_TEST_UNSET\n", "MSB_TEST_SET=here\n" },
        { "A=\xff\x01\n", "A=\xff\x01\n" },
    };

    (void)state;
    setenv("MSB_TEST_SET", "here", 1);
    unsetenv("MSB_TEST_UNSET");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        msb_error *error = NULL;
        char *settings = read_text(cases[i].file, strlen(cases[i].file), &error);

        if (!settings)
            fail_msg("%s", msb_error_message(error));
        assert_string_equal(settings, cases[i].settings);
        free(settings);
    }
}

static void mistakes_are_told_with_their_line(void **state)
{
    static const struct {
        const char *file;
        size_t size;
        const char *message;
    } cases[] = {
        { "A=1\n=2\n", 7, "line 2: environment variable \"=2\" has no name before the '='; write KEY=VALUE" },
        { "#\n\nA = 1\n", 9,
          "line 3: environment variable \"A = 1\" has a blank in its name; write KEY=VALUE, without quotes or export" },
        { "export A=1\n", 11,
          "line 1: environment variable \"export A=1\" has a blank in its name; write KEY=VALUE, without quotes or export" },
        { "A=1\0\n", 5, "line 1: environment variable \"A=1\\x00\" has a NUL byte inside, which cannot be passed on" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        msb_error *error = NULL;

        assert_null(read_text(cases[i].file, cases[i].size, &error));
        assert_memory_equal(msb_error_message(error), "file \"/tmp/msb-env-", 19);
        assert_string_equal(strchr(msb_error_message(error), ':') + 2, cases[i].message);
        msb_error_free(error);
    }
}

static void a_missing_file_is_told(void **state)
{
    struct list env = { 0 };
    msb_error *error = NULL;

    (void)state;
    assert_int_equal(env_file_read("/none\n", &env, &error), -1);
    assert_string_equal(msb_error_message(error), "file \"/none\\n\": open: No such file or directory");
    msb_error_free(error);
    error = NULL;
    assert_int_equal(env_file_read("/", &env, &error), -1);
    assert_string_equal(msb_error_message(error), "file \"/\": read: Is a directory");
    msb_error_free(error);
}

static void one_setting(void **state)
{
    struct list env = { 0 };
    msb_error *error = NULL;

    (void)state;
    setenv("MSB_TEST_SET", "", 1);
    unsetenv("MSB_TEST_UNSET");
    assert_int_equal(env_append(&env, "A=1", NULL), 0);
    assert_int_equal(env_append(&env, "MSB_TEST_SET", NULL), 0);
    assert_int_equal(env_append(&env, "MSB_TEST_UNSET", NULL), 0);
    assert_int_equal(env.count, 2);
    assert_string_equal(env.items[0], "A=1");
    assert_string_equal(env.items[1], "MSB_TEST_SET=");
    assert_int_equal(env_append(&env, "", &error), -1);
    assert_string_equal(msb_error_message(error), "environment variable \"\" has no '='; write KEY=VALUE");
    msb_error_free(error);
    list_clear(&env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_settings),
        cmocka_unit_test(mistakes_are_told_with_their_line),
        cmocka_unit_test(a_missing_file_is_told),
        cmocka_unit_test(one_setting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
