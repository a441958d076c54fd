/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtqueues as a hostile guest would write them: each way to break one, and that the honest ones work.
 */
#include "virtio/virtqueue.h"

#include "util/cleanup.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <cmocka.h>

enum {
    QUEUE_SIZE = 8,
    MEMORY_SIZE = 1 << 16,
    DESC = 0x0, /* where things are within the region */
    AVAIL = 0x1000,
    USED = 0x2000,
    TABLE = 0x3000,
    DATA = 0x8000,
};

#define BASE 0x40000000ULL
#define USER 0x7f0000000000ULL

struct fixture {
    struct memory memory;
    struct virtqueue queue;
    struct chain chain;
    struct vring_desc *desc, *table;
    struct vring_avail *avail;
    struct vring_used *used;
    uint16_t *avail_event, *used_event;
};

static const struct virtqueue_layout layout = { QUEUE_SIZE, USER + DESC, USER + AVAIL, USER + USED };

static void start(struct fixture *f, uint64_t features)
{
    close(f->queue.call_fd);
    f->queue = (struct virtqueue){ .memory = &f->memory, .features = features, .kick_fd = -1 };
    f->queue.call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    memset(f->desc, 0, MEMORY_SIZE);
    assert_int_equal(virtqueue_start(&f->queue, &layout, 0, NULL), 0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    _cleanup_fd_ int fd = memfd_create("test", MFD_CLOEXEC);

    assert_non_null(f);
    assert_int_equal(ftruncate(fd, MEMORY_SIZE), 0);
    assert_int_equal(memory_add(&f->memory, fd, 0, BASE, MEMORY_SIZE, USER, NULL), 0);
    f->desc = memory_at(&f->memory, (gpa_t){ BASE }, MEMORY_SIZE);
    f->avail = (void *)((char *)f->desc + AVAIL);
    f->used = (void *)((char *)f->desc + USED);
    f->table = (void *)((char *)f->desc + TABLE);
    f->used_event = &f->avail->ring[QUEUE_SIZE];
    f->avail_event = (uint16_t *)&f->used->ring[QUEUE_SIZE];
    f->queue.call_fd = -1;
    *state = f;
    start(f, 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_INDIRECT_DESC);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    close(f->queue.call_fd);
    memory_clear(&f->memory);
    free(f);
    return 0;
}

/* Makes the chain that begins at head available. */
static void publish(struct fixture *f, uint16_t head)
{
    f->avail->ring[f->avail->idx % QUEUE_SIZE] = head;
    f->avail->idx++;
}

static int pop(struct fixture *f)
{
    return virtqueue_pop(&f->queue, &f->chain);
}

/* ---- Starting ---------------------------------------------------------------------------------------------------------------- */

static void layouts_refused(void **state)
{
    static const struct virtqueue_layout cases[] = {
        { 0, USER + DESC, USER + AVAIL, USER + USED },
        { 3, USER + DESC, USER + AVAIL, USER + USED },
        { 2048, USER + DESC, USER + AVAIL, USER + USED },
        { 8, USER + DESC + 8, USER + AVAIL, USER + USED }, /* alignments */
        { 8, USER + DESC, USER + AVAIL + 1, USER + USED },
        { 8, USER + DESC, USER + AVAIL, USER + USED + 2 },
        { 8, BASE + DESC, USER + AVAIL, USER + USED },                    /* a guest address, not the front-end's */
        { 8, USER + MEMORY_SIZE - 16 * 7, USER + AVAIL, USER + USED },    /* the last descriptor is outside */
        { 8, USER + DESC, USER + MEMORY_SIZE - 4 - 2 * 8, USER + USED },  /* the event index is outside */
        { 8, USER + DESC, USER + AVAIL, USER + MEMORY_SIZE - 4 - 8 * 8 }, /* the event index is outside */
        { 8, UINT64_MAX - 15, USER + AVAIL, USER + USED },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        msb_error *error = NULL;

        if (virtqueue_start(&f->queue, &cases[i], 0, &error) != -1)
            fail_msg("layout %zu was accepted", i);
        assert_non_null(error);
        msb_error_free(error);
    }
}

/* ---- Honest chains ----------------------------------------------------------------------------------------------------------- */

static void direct_chain(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(pop(f), 0);
    f->desc[5] = (struct vring_desc){ BASE + DATA, 100, VRING_DESC_F_NEXT, 2 };
    f->desc[2] = (struct vring_desc){ BASE + DATA + 200, 50, VRING_DESC_F_NEXT, 7 };
    f->desc[7] = (struct vring_desc){ BASE + DATA + 300, 25, VRING_DESC_F_WRITE, 0 };
    publish(f, 5);
    assert_int_equal(pop(f), 1);
    assert_int_equal(f->chain.head, 5);
    assert_int_equal(f->chain.num_readable, 2);
    assert_int_equal(f->chain.num_writable, 1);
    assert_int_equal(f->chain.readable_bytes, 150);
    assert_int_equal(f->chain.writable_bytes, 25);
    assert_ptr_equal(f->chain.readable[1].iov_base, (char *)f->desc + DATA + 200);
    assert_ptr_equal(f->chain.writable[0].iov_base, (char *)f->desc + DATA + 300);
    assert_int_equal(pop(f), 0);
    virtqueue_push(&f->queue, 5, 25);
    assert_int_equal(f->used->idx, 1);
    assert_int_equal(f->used->ring[0].id, 5);
    assert_int_equal(f->used->ring[0].len, 25);
}

static void indirect_chain(void **state)
{
    struct fixture *f = *state;

    /* Behind a direct descriptor, which the specification allows; the write flag of an indirect one means nothing. */
    f->desc[0] = (struct vring_desc){ BASE + DATA, 10, VRING_DESC_F_NEXT, 1 };
    f->desc[1] = (struct vring_desc){ BASE + TABLE, 3 * 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0 };
    f->table[0] = (struct vring_desc){ BASE + DATA + 100, 20, VRING_DESC_F_NEXT, 2 };
    f->table[2] = (struct vring_desc){ BASE + DATA + 200, 30, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1 };
    f->table[1] = (struct vring_desc){ BASE + DATA + 300, 40, VRING_DESC_F_WRITE, 0 };
    publish(f, 0);
    assert_int_equal(pop(f), 1);
    assert_int_equal(f->chain.num_readable, 2);
    assert_int_equal(f->chain.num_writable, 2);
    assert_int_equal(f->chain.readable_bytes, 30);
    assert_int_equal(f->chain.writable_bytes, 70);
    assert_ptr_equal(f->chain.writable[1].iov_base, (char *)f->desc + DATA + 300);
}

/* A packet in several chains: the driver sees none of them before it sees all. */
static void filled_chains_are_shown_together(void **state)
{
    struct fixture *f = *state;

    for (uint16_t i = 0; i < 2; i++) {
        f->desc[i] = (struct vring_desc){ BASE + DATA, 10, VRING_DESC_F_WRITE, 0 };
        publish(f, i);
        assert_int_equal(pop(f), 1);
        virtqueue_fill(&f->queue, i, 10U + i);
    }
    assert_int_equal(f->used->idx, 0);
    virtqueue_show(&f->queue);
    assert_int_equal(f->used->idx, 2);
    assert_int_equal(f->used->ring[0].id, 0);
    assert_int_equal(f->used->ring[0].len, 10);
    assert_int_equal(f->used->ring[1].id, 1);
    assert_int_equal(f->used->ring[1].len, 11);
}

/* More chains than 16-bit indices count. */
static void indices_wrap_around(void **state)
{
    struct fixture *f = *state;

    f->desc[3] = (struct vring_desc){ BASE + DATA, 1, 0, 0 };
    for (unsigned i = 0; i < 70000; i++) {
        publish(f, 3);
        if (pop(f) != 1)
            fail_msg("chain %u", i);
        virtqueue_push(&f->queue, 3, i);
        assert_int_equal(f->used->ring[i % QUEUE_SIZE].len, i);
    }
    assert_int_equal(f->used->idx, 70000 % 65536);
    assert_int_equal(pop(f), 0);
}

static void longest_chain(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < QUEUE_SIZE; i++)
        f->desc[i] = (struct vring_desc){ BASE + DATA, 1, i < QUEUE_SIZE - 1 ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1) };
    publish(f, 0);
    assert_int_equal(pop(f), 1);
    assert_int_equal(f->chain.num_readable, QUEUE_SIZE);
}

/* ---- Hostile chains ---------------------------------------------------------------------------------------------------------- */

struct hostile {
    const char *what;
    uint16_t head;
    struct vring_desc desc[3];
    struct vring_desc table[3];
};

#define NEXT VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

static void chains_refused(void **state)
{
    static const struct hostile cases[] = {
        { "head outside the table", QUEUE_SIZE, { { 0 } }, { { 0 } } },
        { "head far outside", 65535, { { 0 } }, { { 0 } } },
        { "all zero", 0, { { 0 } }, { { 0 } } },
        { "empty buffer", 0, { { BASE + DATA, 0, 0, 0 } }, { { 0 } } },
        { "buffer below guest memory", 0, { { BASE - 1, 2, 0, 0 } }, { { 0 } } },
        { "buffer across the end", 0, { { BASE + MEMORY_SIZE - 1, 2, 0, 0 } }, { { 0 } } },
        { "buffer outside", 0, { { BASE + MEMORY_SIZE, 1, 0, 0 } }, { { 0 } } },
        { "buffer that wraps around", 0, { { UINT64_MAX, 2, 0, 0 } }, { { 0 } } },
        { "longest buffer", 0, { { BASE + DATA, UINT32_MAX, 0, 0 } }, { { 0 } } },
        { "the front-end's address", 0, { { USER + DATA, 1, 0, 0 } }, { { 0 } } },
        { "loop to itself", 0, { { BASE + DATA, 1, NEXT, 0 } }, { { 0 } } },
        { "loop of two", 0, { { BASE + DATA, 1, NEXT, 1 }, { BASE + DATA, 1, NEXT, 0 } }, { { 0 } } },
        { "next outside the table", 0, { { BASE + DATA, 1, NEXT, QUEUE_SIZE } }, { { 0 } } },
        { "readable after writable", 0, { { BASE + DATA, 1, NEXT | WRITE, 1 }, { BASE + DATA, 1, 0, 0 } }, { { 0 } } },
        { "indirect with next", 0, { { BASE + TABLE, 16, INDIRECT | NEXT, 1 } }, { { BASE + DATA, 1, 0, 0 } } },
        { "indirect of no length", 0, { { BASE + TABLE, 0, INDIRECT, 0 } }, { { BASE + DATA, 1, 0, 0 } } },
        { "indirect of half a length", 0, { { BASE + TABLE, 24, INDIRECT, 0 } }, { { BASE + DATA, 1, 0, 0 } } },
        { "indirect outside", 0, { { BASE + MEMORY_SIZE - 16, 32, INDIRECT, 0 } }, { { 0 } } },
        { "indirect in indirect", 0, { { BASE + TABLE, 32, INDIRECT, 0 } }, { { BASE + TABLE, 16, INDIRECT, 0 } } },
        { "indirect loop", 0, { { BASE + TABLE, 16, INDIRECT, 0 } }, { { BASE + DATA, 1, NEXT, 0 } } },
        { "indirect next outside",
          0,
          { { BASE + TABLE, 16, INDIRECT, 0 } },
          { { BASE + DATA, 1, NEXT, 1 }, { BASE + DATA, 1, 0, 0 } } },
        { "indirect buffer outside", 0, { { BASE + TABLE, 16, INDIRECT, 0 } }, { { BASE - 1, 1, 0, 0 } } },
        { "indirect readable after direct writable",
          0,
          { { BASE + DATA, 1, NEXT | WRITE, 1 }, { BASE + TABLE, 16, INDIRECT, 0 } },
          { { BASE + DATA, 1, 0, 0 } } },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct hostile *c = &cases[i];

        start(f, f->queue.features);
        memcpy(f->desc, c->desc, sizeof(c->desc));
        memcpy(f->table, c->table, sizeof(c->table));
        /* Right behind the tables lies what would be a fine descriptor. */
        f->desc[QUEUE_SIZE] = f->table[sizeof(c->table) / sizeof(c->table[0])] = (struct vring_desc){ BASE + DATA, 1, 0, 0 };
        publish(f, c->head);
        if (pop(f) != -1)
            fail_msg("accepted: %s", c->what);
        assert_true(f->queue.broken);
        /* And it stays broken, whatever comes. */
        f->desc[1] = (struct vring_desc){ BASE + DATA, 1, 0, 0 };
        publish(f, 1);
        assert_int_equal(pop(f), -1);
        assert_false(virtqueue_enable_kicks(&f->queue, true));
    }
}

static void chain_longer_than_the_queue(void **state)
{
    struct fixture *f = *state;
    const uint16_t count = QUEUE_SIZE + 1;

    f->desc[0] = (struct vring_desc){ BASE + TABLE, count * 16U, INDIRECT, 0 };
    for (uint16_t i = 0; i < count; i++)
        f->table[i] = (struct vring_desc){ BASE + DATA, 1, i < count - 1 ? NEXT : 0, (uint16_t)(i + 1) };
    publish(f, 0);
    assert_int_equal(pop(f), -1);
}

static void indirect_not_negotiated(void **state)
{
    struct fixture *f = *state;

    start(f, 1ULL << VIRTIO_F_VERSION_1);
    f->desc[0] = (struct vring_desc){ BASE + TABLE, 16, INDIRECT, 0 };
    f->table[0] = (struct vring_desc){ BASE + DATA, 1, 0, 0 };
    publish(f, 0);
    assert_int_equal(pop(f), -1);
}

static void available_index_too_far(void **state)
{
    struct fixture *f = *state;

    f->desc[0] = (struct vring_desc){ BASE + DATA, 1, 0, 0 };
    f->avail->idx = QUEUE_SIZE + 1;
    assert_int_equal(pop(f), -1);
    assert_int_equal(pop(f), -1);
    start(f, f->queue.features);
    f->avail->idx = UINT16_MAX;
    assert_int_equal(pop(f), -1);
}

/* ---- Notifications ----------------------------------------------------------------------------------------------------------- */

static bool was_called(const struct fixture *f)
{
    uint64_t calls;

    return read(f->queue.call_fd, &calls, sizeof(calls)) == sizeof(calls);
}

static void push_and_notify(struct fixture *f)
{
    virtqueue_push(&f->queue, 0, 0);
    virtqueue_notify(&f->queue);
}

static void calls_by_flag(void **state)
{
    struct fixture *f = *state;

    push_and_notify(f);
    assert_true(was_called(f));
    virtqueue_notify(&f->queue);
    assert_false(was_called(f)); /* nothing new */
    f->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
    push_and_notify(f);
    assert_false(was_called(f));
    f->avail->flags = 0;
    push_and_notify(f);
    assert_true(was_called(f));
}

static void calls_by_event_index(void **state)
{
    struct fixture *f = *state;

    start(f, 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX);
    push_and_notify(f);
    assert_true(was_called(f)); /* used entry 0, which is waited for */
    push_and_notify(f);
    assert_false(was_called(f)); /* nobody waits for 1 */
    *f->used_event = 4;
    push_and_notify(f);
    assert_false(was_called(f)); /* 2 */
    virtqueue_push(&f->queue, 0, 0);
    virtqueue_push(&f->queue, 0, 0);
    virtqueue_push(&f->queue, 0, 0);
    virtqueue_notify(&f->queue); /* 3 to 5 */
    assert_true(was_called(f));
}

static void kicks_by_flag(void **state)
{
    struct fixture *f = *state;

    assert_false(virtqueue_enable_kicks(&f->queue, false));
    assert_int_equal(f->used->flags, VRING_USED_F_NO_NOTIFY);
    assert_false(virtqueue_enable_kicks(&f->queue, true));
    assert_int_equal(f->used->flags, 0);
    f->desc[0] = (struct vring_desc){ BASE + DATA, 1, 0, 0 };
    publish(f, 0);
    assert_true(virtqueue_enable_kicks(&f->queue, true));
}

static void kicks_by_event_index(void **state)
{
    struct fixture *f = *state;

    start(f, 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX);
    f->desc[0] = (struct vring_desc){ BASE + DATA, 1, 0, 0 };
    for (unsigned i = 0; i < 3; i++) {
        publish(f, 0);
        assert_int_equal(pop(f), 1);
    }
    assert_int_equal(*f->avail_event, 0);
    assert_false(virtqueue_enable_kicks(&f->queue, true));
    assert_int_equal(*f->avail_event, 3);
    assert_int_equal(f->used->flags, 0);
}

/* ---- Buffers ----------------------------------------------------------------------------------------------------------------- */

static void copies(void **state)
{
    char a[3] = "abc", b[1] = "d", c[4] = "efgh", to[8] = { 0 };
    const struct iovec iov[] = { { a, 3 }, { b, 1 }, { c, 4 } };

    (void)state;
    assert_int_equal(iov_read(iov, 3, 0, to, 8), 8);
    assert_memory_equal(to, "abcdefgh", 8);
    assert_int_equal(iov_read(iov, 3, 2, to, 3), 3);
    assert_memory_equal(to, "cde", 3);
    assert_int_equal(iov_read(iov, 3, 6, to, 8), 2);
    assert_memory_equal(to, "gh", 2);
    assert_int_equal(iov_read(iov, 3, 8, to, 1), 0);
    assert_int_equal(iov_read(iov, 3, 100, to, 1), 0);
    assert_int_equal(iov_read(iov, 0, 0, to, 1), 0);
    assert_int_equal(iov_write(iov, 3, 1, "12345", 5), 5);
    assert_memory_equal(a, "a12", 3);
    assert_memory_equal(b, "3", 1);
    assert_memory_equal(c, "45gh", 4);
    assert_int_equal(iov_write(iov, 3, 7, "xyz", 3), 1);
    assert_memory_equal(c, "45gx", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(layouts_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(direct_chain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(indirect_chain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(filled_chains_are_shown_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(indices_wrap_around, set_up, tear_down),
        cmocka_unit_test_setup_teardown(longest_chain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(chains_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(chain_longer_than_the_queue, set_up, tear_down),
        cmocka_unit_test_setup_teardown(indirect_not_negotiated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(available_index_too_far, set_up, tear_down),
        cmocka_unit_test_setup_teardown(calls_by_flag, set_up, tear_down),
        cmocka_unit_test_setup_teardown(calls_by_event_index, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kicks_by_flag, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kicks_by_event_index, set_up, tear_down),
        cmocka_unit_test(copies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
