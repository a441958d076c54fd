/* SPDX-License-Identifier: Apache-2.0 */
/* When it pays to look before a sleep, and the loop that does it. */
#include "util/look.h"
#include "util/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

enum { QUICK = 1000, SLOW = 80000 };

/* How many quick questions in a row make it pay. */
static unsigned needed(struct look *look)
{
    unsigned count = 0;

    look_slept(look, SLOW);
    for (; !look_pays(look); count++)
        look_slept(look, QUICK);
    return count;
}

static void slow_questions_are_slept_for(void **state)
{
    struct look look = LOOK_INIT(SLOW);

    (void)state;
    assert_false(look_pays(&look));
    for (int i = 0; i < 10; i++)
        look_slept(&look, SLOW);
    assert_false(look_pays(&look));
    look_slept(&look, QUICK);
    assert_true(look_pays(&look));
    look_slept(&look, SLOW);
    assert_false(look_pays(&look));
}

static void looking_in_vain_makes_it_rarer(void **state)
{
    struct look look = LOOK_INIT(SLOW);

    (void)state;
    for (unsigned expected = 1; expected <= 1024; expected *= 2) {
        assert_int_equal(needed(&look), expected);
        look_done(&look, false);
        assert_false(look_pays(&look));
    }
    assert_int_equal(needed(&look), 1024);
}

static void finding_makes_it_more_frequent(void **state)
{
    struct look look = LOOK_INIT(SLOW);

    (void)state;
    for (int i = 0; i < 3; i++)
        look_done(&look, false);
    assert_int_equal(needed(&look), 8);
    for (int i = 0; i < 32; i++)
        look_done(&look, true);
    assert_int_equal(needed(&look), 4);
    for (int i = 0; i < 32 * 10; i++)
        look_done(&look, true);
    assert_int_equal(needed(&look), 1);
}

struct questions {
    struct loop *loop;
    unsigned count;
};

/* Asks again at once, which is quicker than any sleep; the last question comes late. */
static void asked(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct questions *questions = data;
    uint64_t value;

    (void)source, (void)events;
    assert_int_equal(read(fd, &value, sizeof(value)), sizeof(value));
    if (++questions->count < 100)
        assert_int_equal(write(fd, &value, sizeof(value)), sizeof(value));
}

static void late(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct questions *questions = data;

    (void)source, (void)fd, (void)events;
    loop_quit(questions->loop);
}

static void a_loop_that_looks_serves_all(void **state)
{
    const uint64_t one = 1;
    struct questions questions = { .loop = loop_new(NULL) };
    struct loop_source *source, *timer;
    int fd = eventfd(0, EFD_CLOEXEC);

    (void)state;
    assert_non_null(questions.loop);
    loop_look(questions.loop, SLOW);
    source = loop_add(questions.loop, fd, EPOLLIN, asked, &questions, NULL);
    timer = loop_timer(questions.loop, 20000000, late, &questions, NULL);
    assert_non_null(source);
    assert_non_null(timer);
    assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
    assert_int_equal(loop_run(questions.loop, NULL), 0);
    assert_int_equal(questions.count, 100);
    loop_remove(source);
    loop_remove(timer);
    loop_free(questions.loop);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_questions_are_slept_for),
        cmocka_unit_test(looking_in_vain_makes_it_rarer),
        cmocka_unit_test(finding_makes_it_more_frequent),
        cmocka_unit_test(a_loop_that_looks_serves_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
