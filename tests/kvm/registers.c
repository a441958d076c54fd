/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registers of virtio-mmio, one rule of the specification after the other, without a VM.
 */
#include "engine/kvm/virtio_mmio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum {
    ACKNOWLEDGE = VIRTIO_CONFIG_S_ACKNOWLEDGE,
    DRIVER = VIRTIO_CONFIG_S_DRIVER,
    FEATURES_OK = VIRTIO_CONFIG_S_FEATURES_OK,
    DRIVER_OK = VIRTIO_CONFIG_S_DRIVER_OK,
    NEEDS_RESET = VIRTIO_CONFIG_S_NEEDS_RESET,
    FAILED = VIRTIO_CONFIG_S_FAILED,
    NUM_QUEUES = 2,
    QUEUE_SIZE = 128,
};

#define FEATURES (UINT64_C(1) << VIRTIO_F_VERSION_1 | 0x30)

struct fixture {
    struct virtio_mmio mmio;
    _Alignas(4096) uint8_t page[VIRTIO_MMIO_PAGE];
    unsigned starts, stops;
    bool refuse;
};

static int on_start(void *device, const struct virtio_mmio *mmio)
{
    struct fixture *f = device;

    (void)mmio;
    f->starts++;
    return f->refuse ? -1 : 0;
}

static void on_stop(void *device)
{
    ((struct fixture *)device)->stops++;
}

static const struct virtio_mmio_ops ops = { .start = on_start, .stop = on_stop };

static void set_up(struct fixture *f)
{
    static const uint8_t config[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    const struct virtio_mmio_description description = {
        .device_id = 19,
        .features = FEATURES,
        .num_queues = NUM_QUEUES,
        .queue_size_max = QUEUE_SIZE,
        .config = config,
        .config_size = sizeof(config),
    };

    *f = (struct fixture){ 0 };
    virtio_mmio_init(&f->mmio, f->page, &description, &ops, f);
}

static void put(struct fixture *f, unsigned offset, uint32_t value)
{
    virtio_mmio_write(&f->mmio, offset, (const uint8_t *)&value, 4);
}

static uint32_t get(const struct fixture *f, unsigned offset)
{
    uint32_t value;

    memcpy(&value, f->page + offset, 4);
    return value;
}

static void accept(struct fixture *f, uint64_t features)
{
    put(f, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    put(f, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)features);
    put(f, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    put(f, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
}

/* A driver with one queue, up to the status before DRIVER_OK. */
static void begin(struct fixture *f)
{
    set_up(f);
    put(f, VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER);
    accept(f, FEATURES);
    put(f, VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    put(f, VIRTIO_MMIO_QUEUE_SEL, 1);
    put(f, VIRTIO_MMIO_QUEUE_NUM, QUEUE_SIZE);
    put(f, VIRTIO_MMIO_QUEUE_READY, 1);
}

static void go_live(struct fixture *f)
{
    begin(f);
    put(f, VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    assert_int_equal(f->starts, 1);
}

static void test_identity(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f);
    assert_int_equal(get(&f, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    assert_int_equal(get(&f, VIRTIO_MMIO_VERSION), 2);
    assert_int_equal(get(&f, VIRTIO_MMIO_DEVICE_ID), 19);
    assert_int_not_equal(get(&f, VIRTIO_MMIO_VENDOR_ID), 0);
    assert_int_equal(get(&f, VIRTIO_MMIO_CONFIG), 0x04030201);
    assert_int_equal(get(&f, VIRTIO_MMIO_CONFIG + 4), 0x08070605);
    assert_int_equal(get(&f, VIRTIO_MMIO_CONFIG + 8), 0);
    assert_int_equal(get(&f, VIRTIO_MMIO_CONFIG_GENERATION), 0);
}

static void test_device_features(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f);
    assert_int_equal(get(&f, VIRTIO_MMIO_DEVICE_FEATURES), 0x30);
    put(&f, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    assert_int_equal(get(&f, VIRTIO_MMIO_DEVICE_FEATURES), 1);
    put(&f, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
    assert_int_equal(get(&f, VIRTIO_MMIO_DEVICE_FEATURES), 0);
    put(&f, VIRTIO_MMIO_DEVICE_FEATURES_SEL, UINT32_MAX);
    assert_int_equal(get(&f, VIRTIO_MMIO_DEVICE_FEATURES), 0);
    put(&f, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    assert_int_equal(get(&f, VIRTIO_MMIO_DEVICE_FEATURES), 0x30);
}

static uint32_t status_after_accepting(uint64_t features)
{
    struct fixture f;

    set_up(&f);
    put(&f, VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER);
    accept(&f, features);
    put(&f, VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    return get(&f, VIRTIO_MMIO_STATUS);
}

static void test_features_negotiation(void **state)
{
    const uint64_t version_1 = UINT64_C(1) << VIRTIO_F_VERSION_1;

    (void)state;
    assert_int_equal(status_after_accepting(version_1), ACKNOWLEDGE | DRIVER | FEATURES_OK);
    assert_int_equal(status_after_accepting(FEATURES), ACKNOWLEDGE | DRIVER | FEATURES_OK);
    assert_int_equal(status_after_accepting(0), ACKNOWLEDGE | DRIVER);
    assert_int_equal(status_after_accepting(0x30), ACKNOWLEDGE | DRIVER);
    assert_int_equal(status_after_accepting(version_1 | 1), ACKNOWLEDGE | DRIVER);
    assert_int_equal(status_after_accepting(UINT64_MAX), ACKNOWLEDGE | DRIVER);
}

static void test_features_are_fixed_once_accepted(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    accept(&f, UINT64_MAX);
    assert_int_equal(f.mmio.driver_features, FEATURES);
    put(&f, VIRTIO_MMIO_STATUS, 0);
    put(&f, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 2); /* there are only 64 */
    put(&f, VIRTIO_MMIO_DRIVER_FEATURES, UINT32_MAX);
    assert_int_equal(f.mmio.driver_features, 0);
}

static void test_queue_selection(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f);
    for (uint32_t i = 0; i < NUM_QUEUES; i++) {
        put(&f, VIRTIO_MMIO_QUEUE_SEL, i);
        assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_NUM_MAX), QUEUE_SIZE);
    }
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t beyond[] = { NUM_QUEUES, VIRTIO_MMIO_MAX_QUEUES, 0x80000000, UINT32_MAX };
        const struct virtio_mmio before = f.mmio;

        put(&f, VIRTIO_MMIO_QUEUE_SEL, beyond[i]);
        assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
        put(&f, VIRTIO_MMIO_QUEUE_NUM, 64);
        put(&f, VIRTIO_MMIO_QUEUE_DESC_LOW, 64);
        put(&f, VIRTIO_MMIO_QUEUE_READY, 1);
        assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_READY), 0);
        assert_memory_equal(f.mmio.queues, before.queues, sizeof(before.queues));
    }
}

static void test_queue_size(void **state)
{
    static const uint32_t good[] = { 1, 2, 64, QUEUE_SIZE },
                          bad[] = { 0, 3, 100, QUEUE_SIZE + 1, 2 * QUEUE_SIZE, 0x80000000, UINT32_MAX };
    struct fixture f;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        set_up(&f);
        put(&f, VIRTIO_MMIO_QUEUE_NUM, good[i]);
        put(&f, VIRTIO_MMIO_QUEUE_READY, 1);
        assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_READY), 1);
    }
    for (unsigned i = 0; i < 7; i++) {
        set_up(&f);
        put(&f, VIRTIO_MMIO_QUEUE_NUM, 64);
        put(&f, VIRTIO_MMIO_QUEUE_NUM, bad[i]);
        put(&f, VIRTIO_MMIO_QUEUE_READY, 1);
        assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_READY), 0);
    }
}

static void test_queue_is_fixed_once_ready(void **state)
{
    struct virtio_mmio_queue before;
    struct fixture f;

    (void)state;
    begin(&f);
    before = f.mmio.queues[1];
    put(&f, VIRTIO_MMIO_QUEUE_NUM, 2);
    put(&f, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1000);
    put(&f, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 0x1000);
    put(&f, VIRTIO_MMIO_QUEUE_USED_LOW, 0x1000);
    put(&f, VIRTIO_MMIO_QUEUE_READY, 2); /* only 0 and 1 mean something */
    assert_memory_equal(&f.mmio.queues[1], &before, sizeof(before));
    put(&f, VIRTIO_MMIO_QUEUE_READY, 0);
    assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_READY), 0);
    put(&f, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1000);
    assert_int_equal(f.mmio.queues[1].desc, 0x1000);
}

static void test_start(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    assert_int_equal(f.starts, 0);
    assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    put(&f, VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    assert_int_equal(f.starts, 1);
    assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    put(&f, VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    put(&f, VIRTIO_MMIO_STATUS, DRIVER_OK);
    assert_int_equal(f.starts, 1);
    /* A new queue would come too late. */
    put(&f, VIRTIO_MMIO_QUEUE_SEL, 0);
    put(&f, VIRTIO_MMIO_QUEUE_NUM, 64);
    put(&f, VIRTIO_MMIO_QUEUE_READY, 1);
    assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_READY), 0);
}

static void test_start_without_features(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f);
    put(&f, VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER | DRIVER_OK);
    assert_int_equal(f.starts, 0);
    assert_true(get(&f, VIRTIO_MMIO_STATUS) & NEEDS_RESET);
}

static void test_refused_start(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    f.refuse = true;
    put(&f, VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    assert_true(get(&f, VIRTIO_MMIO_STATUS) & NEEDS_RESET);
    assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    put(&f, VIRTIO_MMIO_STATUS, FAILED); /* nothing but a reset helps */
    assert_false(get(&f, VIRTIO_MMIO_STATUS) & FAILED);
    put(&f, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(get(&f, VIRTIO_MMIO_STATUS), 0);
    assert_int_equal(f.stops, 0);
}

static void test_reset(void **state)
{
    struct fixture fresh, f;

    (void)state;
    go_live(&f);
    put(&f, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    put(&f, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(f.stops, 1);
    set_up(&fresh);
    assert_memory_equal(f.page, fresh.page, sizeof(f.page));
    assert_memory_equal(f.mmio.queues, fresh.mmio.queues, sizeof(f.mmio.queues));
    assert_int_equal(f.mmio.driver_features, 0);
    put(&f, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(f.stops, 1);
}

static void test_disabling_a_live_queue(void **state)
{
    struct fixture f;

    (void)state;
    go_live(&f);
    put(&f, VIRTIO_MMIO_QUEUE_SEL, 0);
    put(&f, VIRTIO_MMIO_QUEUE_READY, 0); /* was not ready */
    assert_int_equal(f.stops, 0);
    put(&f, VIRTIO_MMIO_QUEUE_SEL, 1);
    put(&f, VIRTIO_MMIO_QUEUE_READY, 0);
    assert_int_equal(f.stops, 1);
    assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_READY), 0);
    assert_true(get(&f, VIRTIO_MMIO_STATUS) & NEEDS_RESET);
}

static void test_status_bits_stay(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f);
    put(&f, VIRTIO_MMIO_STATUS, ACKNOWLEDGE);
    put(&f, VIRTIO_MMIO_STATUS, DRIVER);
    assert_int_equal(get(&f, VIRTIO_MMIO_STATUS), ACKNOWLEDGE | DRIVER);
    put(&f, VIRTIO_MMIO_STATUS, NEEDS_RESET | 0xffffff00); /* the device's own, and none at all */
    assert_int_equal(get(&f, VIRTIO_MMIO_STATUS), ACKNOWLEDGE | DRIVER);
    put(&f, VIRTIO_MMIO_STATUS, FAILED);
    assert_int_equal(get(&f, VIRTIO_MMIO_STATUS), ACKNOWLEDGE | DRIVER | FAILED);
}

/* Whatever is not a register that can be written, and whatever is not a 32-bit store, changes nothing. */
static void test_other_stores(void **state)
{
    static const unsigned writable[] = { 0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x70, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4 };
    static const uint8_t ones[8] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    struct fixture fresh, f;

    (void)state;
    set_up(&fresh);
    set_up(&f);
    for (unsigned offset = 0; offset < VIRTIO_MMIO_PAGE; offset++) {
        bool is_writable = false;

        for (unsigned i = 0; i < sizeof(writable) / sizeof(writable[0]); i++)
            is_writable |= offset == writable[i];
        for (uint32_t length = 1; length <= 8; length++)
            if (length != 4 || !is_writable)
                virtio_mmio_write(&f.mmio, offset, ones, length);
    }
    assert_memory_equal(f.page, fresh.page, sizeof(f.page));
    f.mmio.page = fresh.mmio.page;
    f.mmio.device = fresh.mmio.device;
    assert_memory_equal(&f.mmio, &fresh.mmio, sizeof(f.mmio));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_device_features),
        cmocka_unit_test(test_features_negotiation),
        cmocka_unit_test(test_features_are_fixed_once_accepted),
        cmocka_unit_test(test_queue_selection),
        cmocka_unit_test(test_queue_size),
        cmocka_unit_test(test_queue_is_fixed_once_ready),
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_start_without_features),
        cmocka_unit_test(test_refused_start),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_disabling_a_live_queue),
        cmocka_unit_test(test_status_bits_stay),
        cmocka_unit_test(test_other_stores),
    };

    return cmocka_run_group_tests_name("kvm registers", tests, NULL, NULL);
}
