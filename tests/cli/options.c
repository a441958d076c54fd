/* SPDX-License-Identifier: Apache-2.0 */
/* The one option parser: every form in which an option can be written, and what is said of every mistake. */
#include "cli/options.h"

#include "config/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What was set, as "-a;name=x;". */
static int note(char *target, const char *name, const char *value, msb_error **err)
{
    if (value && !strcmp(value, "bad"))
        return refuse(err, "value", text_of(value, MSB_LENGTH_UNKNOWN), "is no good");
    strcat(target, name);
    if (value) {
        strcat(target, "=");
        strcat(target, value);
    }
    strcat(target, ";");
    return 0;
}

static int set_all(void *target, const char *value, msb_error **err)
{
    return note(target, "all", value, err);
}

static int set_brief(void *target, const char *value, msb_error **err)
{
    return note(target, "brief", value, err);
}

static int set_memory(void *target, const char *value, msb_error **err)
{
    return note(target, "memory", value, err);
}

static int set_name(void *target, const char *value, msb_error **err)
{
    return note(target, "name", value, err);
}

static const struct option table[] = {
    { "all", 'a', NULL, "Flags", "Everything.", set_all },
    { "brief", 'b', NULL, "Flags", "Less, which takes so many words to say that they do not fit on one line.", set_brief },
    { "memory", 'm', "SIZE", "Values", "How much.", set_memory },
    { "name-of-the-thing", 0, "A-LONG-NAME", "Values", "Which.", set_name },
    { 0 },
};

/* The arguments are words separated by single blanks; the first operand's index and what was set. */
static int parse(const char *line, char *noted, msb_error **err)
{
    char *copy = strdup(line), *rest = copy, *word;
    char *argv[16] = { (char *)"test" };
    int argc = 1, result;

    while (*line && (word = strsep(&rest, " ")))
        argv[argc++] = word;
    noted[0] = '\0';
    result = options_parse(table, argc, argv, noted, err);
    free(copy);
    return result;
}

static const struct {
    const char *line;
    int result;
    const char *noted;
    const char *message;
} cases[] = {
    { "", 1, "", NULL },
    { "-a", 2, "all;", NULL },
    { "--all", 2, "all;", NULL },
    { "-ab", 2, "all;brief;", NULL },
    { "-m 1", 3, "memory=1;", NULL },
    { "-m1", 2, "memory=1;", NULL },
    { "-m=1", 2, "memory=1;", NULL },
    { "-m==1", 2, "memory==1;", NULL },
    { "-abm1", 2, "all;brief;memory=1;", NULL },
    { "-abm 1", 3, "all;brief;memory=1;", NULL },
    { "--memory 1", 3, "memory=1;", NULL },
    { "--memory=1", 2, "memory=1;", NULL },
    { "--memory=", 2, "memory=;", NULL },
    { "--memory=a=b", 2, "memory=a=b;", NULL },
    { "--memory --all", 3, "memory=--all;", NULL },
    { "-m -- x", 3, "memory=--;", NULL },
    { "-a x -b", 2, "all;", NULL },  /* options end at the first other argument */
    { "-a -- -b", 3, "all;", NULL }, /* or at -- */
    { "-a - -b", 2, "all;", NULL },  /* which - is */
    { "x --help", 1, "", NULL },     /* not ours */
    { "-a --help --bogus", OPTIONS_HELP, "all;", NULL },
    { "--help=x", -1, "", "unknown option \"--help\"; --help lists those that there are" },
    { "--all=1", -1, "", "--all takes no value" },
    { "--memory", -1, "", "--memory needs a value, SIZE" },
    { "-am", -1, "all;", "-m needs a value, SIZE" },
    { "-q", -1, "", "unknown option \"-q\"; --help lists those that there are" },
    { "-aq", -1, "all;", "unknown option \"-q\"; --help lists those that there are" },
    { "-a=1", -1, "all;", "unknown option \"-=\"; --help lists those that there are" },
    { "--memry=1", -1, "", "unknown option \"--memry\"; did you mean \"--memory\"?" },
    { "--mem", -1, "", "unknown option \"--mem\"; --help lists those that there are" }, /* too short to be like memory */
    { "--bref", -1, "", "unknown option \"--bref\"; did you mean \"--brief\"?" },
    { "--name-of-thing x", -1, "", "unknown option \"--name-of-thing\"; did you mean \"--name-of-the-thing\"?" },
    { "--\xff\n", -1, "", "unknown option \"--\\xff\\n\"; --help lists those that there are" },
    { "--zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", -1, "",
      "unknown option \"--zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\"; --help lists "
      "those "
      "that there are" },
    { "--memory=bad", -1, "", "--memory: value \"bad\" is no good" },
    { "-mbad", -1, "", "-m: value \"bad\" is no good" },
    { "-abm bad", -1, "all;brief;", "-m: value \"bad\" is no good" },
};

static void every_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        msb_error *error = NULL;
        char noted[200];

        assert_int_equal(parse(cases[i].line, noted, &error), cases[i].result);
        assert_string_equal(noted, cases[i].noted);
        if (cases[i].message)
            assert_string_equal(msb_error_message(error), cases[i].message);
        else
            assert_null(error);
        msb_error_free(error);
    }
}

static void help_is_grouped_and_folded(void **state)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    options_help(table, out);
    fclose(out);
    assert_string_equal(text, "\nFlags:\n"
                              "  -a, --all                  Everything.\n"
                              "  -b, --brief                Less, which takes so many words to say that they do\n"
                              "                             not fit on one line.\n"
                              "\nValues:\n"
                              "  -m, --memory SIZE          How much.\n"
                              "      --name-of-the-thing A-LONG-NAME\n"
                              "                             Which.\n"
                              "\n"
                              "      --help                 Show this.\n");
    free(text);
}

static void the_nearest_word(void **state)
{
    static const char *const words[] = { "run", "doctor", "run", NULL }, *const none[] = { NULL };

    (void)state;
    assert_string_equal(nearest("rnu", words), "run");
    assert_string_equal(nearest("docter", words), "doctor");
    assert_string_equal(nearest("run", words), "run");
    assert_null(nearest("inspect", words));
    assert_null(nearest("run", none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form),
        cmocka_unit_test(help_is_grouped_and_folded),
        cmocka_unit_test(the_nearest_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
