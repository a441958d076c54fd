/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks of a shared tree: between owners in the guest, against the host's processes, waiting, and ended waits.
 */
#include "client.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmocka.h>

struct test {
    struct client client;
    struct tree tree;
    uint64_t node, fh;
};

static int set_up(void **state)
{
    struct test *t = calloc(1, sizeof(*t));
    struct fs_export export;
    struct fuse_entry_out entry;

    assert_non_null(t);
    tree_make(&t->tree);
    tree_add_file(&t->tree, "file", "0123456789");
    export = (struct fs_export){ .host = t->tree.path, .target = (char *)"" };
    client_start(&t->client, &(struct client_start){ .exports = &export, .num_exports = 1 });
    assert_int_equal(client_lookup(&t->client, ROOT_ID, "file", &entry), 0);
    t->node = entry.nodeid;
    assert_int_equal(client_open(&t->client, t->node, O_RDWR, &t->fh), 0);
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct test *t = *state;

    client_stop(&t->client);
    tree_remove(&t->tree);
    free(t);
    return 0;
}

static struct fuse_lk_in lock_of(const struct test *t, uint64_t owner, uint32_t type, uint64_t start, uint64_t end)
{
    return (struct fuse_lk_in){ .fh = t->fh, .owner = owner, .lk = { .start = start, .end = end, .type = type, .pid = 42 } };
}

static int call_lock(struct test *t, uint32_t opcode, const struct fuse_lk_in *in, struct fuse_lk_out *out)
{
    struct call call = { .opcode = opcode, .node = t->node, .argument = in, .argument_size = sizeof(*in) };

    if (out) {
        call.reply = out;
        call.reply_size = sizeof(*out);
    }
    return client_call(&t->client, &call);
}

static int set(struct test *t, uint64_t owner, uint32_t type, uint64_t start, uint64_t end)
{
    struct fuse_lk_in in = lock_of(t, owner, type, start, end);

    return call_lock(t, FUSE_SETLK, &in, NULL);
}

static void owners_exclude_one_another(void **state)
{
    struct test *t = *state;
    struct fuse_lk_in asked = lock_of(t, 2, F_RDLCK, 5, INT64_MAX);
    struct fuse_lk_out out;

    assert_int_equal(set(t, 1, F_WRLCK, 0, 9), 0);
    assert_int_equal(set(t, 2, F_RDLCK, 9, 20), -EAGAIN);
    assert_int_equal(set(t, 2, F_RDLCK, 10, 20), 0);
    assert_int_equal(call_lock(t, FUSE_GETLK, &asked, &out), 0);
    assert_int_equal(out.lk.type, F_WRLCK);
    assert_int_equal(out.lk.start, 0);
    assert_int_equal(out.lk.end, 9);
    assert_int_equal(out.lk.pid, 42);
    assert_int_equal(set(t, 1, F_UNLCK, 0, 9), 0);
    assert_int_equal(call_lock(t, FUSE_GETLK, &asked, &out), 0);
    assert_int_equal(out.lk.type, F_UNLCK);
}

static void a_flush_gives_up_what_its_owner_holds(void **state)
{
    struct test *t = *state;
    struct fuse_flush_in in = { .fh = t->fh, .lock_owner = 1 };
    struct call flush = { .opcode = FUSE_FLUSH, .node = t->node, .argument = &in, .argument_size = sizeof(in) };

    assert_int_equal(set(t, 1, F_WRLCK, 0, INT64_MAX), 0);
    assert_int_equal(set(t, 2, F_WRLCK, 0, INT64_MAX), -EAGAIN);
    assert_int_equal(client_call(&t->client, &flush), 0);
    assert_int_equal(set(t, 2, F_WRLCK, 0, INT64_MAX), 0);
}

static void the_host_is_excluded_too(void **state)
{
    struct test *t = *state;
    struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 3, .l_len = 1 };
    int fd = openat(t->tree.fd, "file", O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(set(t, 1, F_WRLCK, 0, 9), 0);
    assert_int_equal(fcntl(fd, F_SETLK, &range), -1);
    assert_int_equal(set(t, 1, F_UNLCK, 0, 9), 0);
    assert_int_equal(fcntl(fd, F_SETLK, &range), 0);
    assert_int_equal(set(t, 1, F_WRLCK, 0, 9), -EAGAIN);
    close(fd);
    assert_int_equal(set(t, 1, F_WRLCK, 0, 9), 0);
}

static void flock_locks_belong_to_handles(void **state)
{
    struct test *t = *state;
    struct fuse_lk_in in = lock_of(t, 1, F_WRLCK, 0, INT64_MAX);
    uint64_t first = t->fh, second;
    int fd = openat(t->tree.fd, "file", O_RDWR | O_CLOEXEC);

    in.lk_flags = FUSE_LK_FLOCK;
    assert_int_equal(client_open(&t->client, t->node, O_RDWR, &second), 0);
    assert_int_equal(call_lock(t, FUSE_SETLK, &in, NULL), 0);
    assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), -1);
    in.fh = second;
    assert_int_equal(call_lock(t, FUSE_SETLK, &in, NULL), -EAGAIN);
    assert_int_equal(client_release(&t->client, t->node, first), 0);
    assert_int_equal(call_lock(t, FUSE_SETLK, &in, NULL), 0);
    in.fh = first;
    assert_int_equal(call_lock(t, FUSE_SETLK, &in, NULL), -EBADF);
    close(fd);
}

static uint64_t begin_wait(struct test *t, const struct fuse_lk_in *in)
{
    return client_begin(&t->client,
                        &(struct call){ .opcode = FUSE_SETLKW, .node = t->node, .argument = in, .argument_size = sizeof(*in) });
}

static void a_wait_ends_with_the_lock_and_holds_up_nothing(void **state)
{
    struct test *t = *state;
    struct fuse_lk_in in = lock_of(t, 2, F_WRLCK, 0, 9);
    struct fuse_attr attr;
    int fd = openat(t->tree.fd, "file", O_RDWR | O_CLOEXEC);
    uint64_t unique;

    /* The host holds it. */
    assert_int_equal(fcntl(fd, F_SETLK, &(struct flock){ .l_type = F_WRLCK }), 0);
    unique = begin_wait(t, &in);
    assert_int_equal(client_end(&t->client, unique, 100), 1);
    assert_int_equal(client_getattr(&t->client, t->node, &attr), 0);
    close(fd);
    assert_int_equal(client_end(&t->client, unique, CLIENT_TIMEOUT_MS), 0);
}

static void a_wait_is_interrupted(void **state)
{
    struct test *t = *state;
    struct fuse_lk_in in = lock_of(t, 2, F_WRLCK, 0, 9);
    struct fuse_interrupt_in interrupt;
    uint64_t unique;

    assert_int_equal(set(t, 1, F_WRLCK, 0, 9), 0);
    unique = begin_wait(t, &in);
    assert_int_equal(client_end(&t->client, unique, 100), 1);
    interrupt.unique = unique;
    client_tell(&t->client,
                &(struct call){ .opcode = FUSE_INTERRUPT, .argument = &interrupt, .argument_size = sizeof(interrupt) });
    assert_int_equal(client_end(&t->client, unique, CLIENT_TIMEOUT_MS), -EINTR);
}

static void a_device_ends_with_waits_in_progress(void **state)
{
    struct test *t = *state;
    struct fuse_lk_in in = lock_of(t, 2, F_WRLCK, 0, 9);

    assert_int_equal(set(t, 1, F_WRLCK, 0, 9), 0);
    for (unsigned i = 0; i < 10; i++) {
        in.owner = 10 + i;
        begin_wait(t, &in);
    }
    /* The rest is tear_down()'s: status 0, and in time. */
}

static void waits_are_bounded(void **state)
{
    struct test *t = *state;
    struct fuse_lk_in in = lock_of(t, 2, F_WRLCK, 0, 9);
    struct fuse_attr attr;
    uint64_t unique = 0;
    unsigned waiting = 0;

    assert_int_equal(set(t, 1, F_WRLCK, 0, 9), 0);
    for (int error = 1; error == 1; waiting++) {
        in.owner = 10 + waiting;
        unique = begin_wait(t, &in);
        error = client_end(&t->client, unique, waiting < 128 ? 0 : 300);
        assert_true(error == 1 || error == -ENOLCK);
    }
    assert_in_range(waiting, 100, 200);
    assert_int_equal(client_getattr(&t->client, t->node, &attr), 0);
}

static void nonsense_is_refused(void **state)
{
    struct test *t = *state;
    struct fuse_lk_out out;
    struct fuse_lk_in in = lock_of(t, 1, 77, 0, 9);

    assert_int_equal(call_lock(t, FUSE_SETLK, &in, NULL), -EINVAL);
    assert_int_equal(call_lock(t, FUSE_GETLK, &in, &out), -EINVAL);
    in = lock_of(t, 1, F_WRLCK, 10, 9);
    assert_int_equal(call_lock(t, FUSE_SETLK, &in, NULL), -EINVAL);
    in = lock_of(t, 1, F_WRLCK, 0, UINT64_MAX);
    assert_int_equal(call_lock(t, FUSE_SETLK, &in, NULL), -EINVAL);
}

#define TEST(name)                                                                                                               \
    {                                                                                                                            \
#name, name, set_up, tear_down, NULL                                                                                     \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(owners_exclude_one_another),
        TEST(a_flush_gives_up_what_its_owner_holds),
        TEST(the_host_is_excluded_too),
        TEST(flock_locks_belong_to_handles),
        TEST(a_wait_ends_with_the_lock_and_holds_up_nothing),
        TEST(a_wait_is_interrupted),
        TEST(a_device_ends_with_waits_in_progress),
        TEST(waits_are_bounded),
        TEST(nonsense_is_refused),
    };

    return cmocka_run_group_tests_name("fs locks", tests, NULL, NULL);
}
