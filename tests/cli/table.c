/* SPDX-License-Identifier: Apache-2.0 */
/* Rows and columns, as wide as they are and cut to a terminal. */
#include "cli/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const headings[] = { "NAME", "COMMAND", "STATUS", NULL };

static struct table *make(void)
{
    struct table *table = table_new(headings);

    table_cell(table, "%s", "one");
    table_cell(table, "%s", "sleep 1000");
    table_cell(table, "up %d seconds", 5);
    table_cell(table, "a-long-name");
    table_cell(table, "sh -c 'echo \x1b[31m \xc3\xa4 for i in 1 2 3 4 5 6'");
    table_cell(table, "exited (1)");
    return table;
}

static void expect(const struct table *table, size_t width, const char *text)
{
    char found[1024] = { 0 };
    FILE *out = fmemopen(found, sizeof(found), "w");

    assert_true(table_print(table, out, width));
    fclose(out);
    assert_string_equal(found, text);
}

static void whole(void **state)
{
    struct table *table = make();

    (void)state;
    expect(table, 0,
           "NAME          COMMAND                                      STATUS\n"
           "one           sleep 1000                                   up 5 seconds\n"
           "a-long-name   sh -c 'echo ?[31m ?? for i in 1 2 3 4 5 6'   exited (1)\n");
    expect(table, 200,
           "NAME          COMMAND                                      STATUS\n"
           "one           sleep 1000                                   up 5 seconds\n"
           "a-long-name   sh -c 'echo ?[31m ?? for i in 1 2 3 4 5 6'   exited (1)\n");
    table_free(table);
}

static void cut(void **state)
{
    struct table *table = make();

    (void)state;
    expect(table, 50,
           "NAME          COMMAND                 STATUS\n"
           "one           sleep 1000              up 5 seconds\n"
           "a-long-name   sh -c 'echo ?[31m ...   exited (1)\n");
    /* Never to nothing. */
    expect(table, 5,
           "NAME       COMMAND    STATUS\n"
           "one        sleep...   up 5 ...\n"
           "a-lon...   sh -c...   exite...\n");
    table_free(table);
}

static void empty(void **state)
{
    struct table *table = table_new(headings);

    (void)state;
    expect(table, 80, "NAME   COMMAND   STATUS\n");
    table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(whole), cmocka_unit_test(cut), cmocka_unit_test(empty) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
