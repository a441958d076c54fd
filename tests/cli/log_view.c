/* SPDX-License-Identifier: Apache-2.0 */
/* What of a log is shown: by time, by number of lines, with times, and the two streams in pieces that are no lines. */
#include "cli/log_view.h"

#include "cli/times.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct piece {
    enum msb_log_stream stream;
    unsigned seconds;
    const char *text;
} pieces[] = {
    { MSB_LOG_STDOUT, 1, "one\ntw" }, { MSB_LOG_STDERR, 2, "err" }, { MSB_LOG_STDOUT, 3, "o\n" },
    { MSB_LOG_STDERR, 4, "or\n" },    { MSB_LOG_NOTE, 5, "lost" },  { MSB_LOG_STDOUT, 6, "three\n\n" },
    { MSB_LOG_STDOUT, 7, "unended" },
};

static struct log_record record_of(const struct piece *piece)
{
    return (struct log_record){
        .stream = piece->stream,
        .realtime = (uint64_t)piece->seconds * NS_PER_SECOND,
        .bytes = piece->text,
        .size = strlen(piece->text),
    };
}

static void expect(struct log_view view, const char *out_text, const char *err_text)
{
    char out_found[512] = { 0 }, err_found[512] = { 0 };
    FILE *out = fmemopen(out_found, sizeof(out_found), "w"), *err = fmemopen(err_found, sizeof(err_found), "w");

    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct log_record record = record_of(&pieces[i]);

        log_view_put(&view, &record, out, err);
    }
    fclose(out);
    fclose(err);
    assert_string_equal(out_found, out_text);
    assert_string_equal(err_found, err_text);
}

static void all(void **state)
{
    (void)state;
    expect((struct log_view){ 0 }, "one\ntwo\nthree\n\nunended", "error\nmsb: lost\n");
}

static void counted(void **state)
{
    struct log_view view = { 0 }, later = { .since = 3 * (uint64_t)NS_PER_SECOND };

    (void)state;
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct log_record record = record_of(&pieces[i]);

        log_view_count(&view, &record);
        log_view_count(&later, &record);
    }
    assert_int_equal(view.lines, 6);
    assert_int_equal(later.lines, 3);
}

/* In the order in which the lines began. */
static void the_last(void **state)
{
    (void)state;
    expect((struct log_view){ .skip = 1 }, "two\nthree\n\nunended", "error\nmsb: lost\n");
    expect((struct log_view){ .skip = 2 }, "three\n\nunended", "error\nmsb: lost\n");
    expect((struct log_view){ .skip = 3 }, "three\n\nunended", "msb: lost\n");
    expect((struct log_view){ .skip = 5 }, "unended", "msb: lost\n");
    expect((struct log_view){ .skip = 6 }, "", "msb: lost\n");
}

/* The end of a line that began before is not a line. */
static void since(void **state)
{
    (void)state;
    expect((struct log_view){ .since = 2 * (uint64_t)NS_PER_SECOND }, "three\n\nunended", "error\nmsb: lost\n");
    expect((struct log_view){ .since = 3 * (uint64_t)NS_PER_SECOND }, "three\n\nunended", "msb: lost\n");
    expect((struct log_view){ .since = 7 * (uint64_t)NS_PER_SECOND }, "unended", "");
    expect((struct log_view){ .since = 6 * (uint64_t)NS_PER_SECOND, .skip = 1 }, "\nunended", "");
}

static void with_times(void **state)
{
    (void)state;
    expect((struct log_view){ .timestamps = true, .skip = 1 },
           "1970-01-01T00:00:01.000000000Z two\n"
           "1970-01-01T00:00:06.000000000Z three\n"
           "1970-01-01T00:00:06.000000000Z \n"
           "1970-01-01T00:00:07.000000000Z unended",
           "1970-01-01T00:00:02.000000000Z error\n"
           "1970-01-01T00:00:05.000000000Z msb: lost\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all),   cmocka_unit_test(counted),    cmocka_unit_test(the_last),
        cmocka_unit_test(since), cmocka_unit_test(with_times),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
