/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The platform process, the real one: a driver asks it for random bytes, and gives it free pages.
 */
#include "platform/platform.h"
#include "device_process.h"
#include "driver.h"
#include "util/cleanup.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { QUEUE_SIZE = 64, MEMORY_SIZE = 4 << 20, PAGE = 4096, TIMEOUT_MS = 5000, REPORTING = 2 };

struct platform {
    struct device_process process;
    struct driver *entropy, *balloon;
};

static struct driver *make_driver(int socket, uint64_t features)
{
    msb_error *error = NULL;
    struct driver *driver = driver_new(socket, MEMORY_SIZE, &error);

    if (!driver || driver_accept(driver, features | UINT64_C(1) << VIRTIO_F_VERSION_1, &error) < 0)
        fail_msg("%s", msb_error_message(error));
    return driver;
}

static int start_platform(void **state)
{
    static struct platform platform;
    const unsigned char log_level = MSB_LOG_ERROR;
    struct device_start start = {
        .executable = getenv("MSB_PLATFORM"),
        .setup = &log_level,
        .setup_size = 1,
        .num_fds = 1,
        .user = SPAWN_NOBODY,
    };
    msb_error *error = NULL;
    int balloon[2];

    assert_non_null(start.executable);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, balloon), 0);
    start.fds = &balloon[1];
    if (device_process_start(&platform.process, &start, &error) < 0)
        fail_msg("%s", msb_error_message(error));
    close(balloon[1]);
    platform.entropy = make_driver(steal_fd(&platform.process.socket), 0);
    platform.balloon = make_driver(balloon[0], UINT64_C(1) << VIRTIO_BALLOON_F_REPORTING);
    *state = &platform;
    return 0;
}

static int stop_platform(void **state)
{
    struct platform *platform = *state;
    int status = device_process_stop(&platform->process);

    driver_free(platform->entropy);
    driver_free(platform->balloon);
    return status;
}

static struct driver_queue *start_queue(struct driver *driver, unsigned index)
{
    msb_error *error = NULL;
    struct driver_queue *queue = driver_queue_start(driver, index, QUEUE_SIZE, &error);

    if (!queue)
        fail_msg("%s", msb_error_message(error));
    return queue;
}

static uint32_t request(struct driver_queue *queue, const struct driver_buffer *buffers, unsigned num)
{
    struct driver_used used;
    int head = driver_add(queue, buffers, num);

    assert_true(head >= 0);
    driver_kick(queue);
    assert_int_equal(driver_wait(queue, &used, TIMEOUT_MS), 1);
    assert_int_equal(used.head, head);
    return used.length;
}

static bool is_filled_with(const uint8_t *bytes, size_t size, uint8_t value)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != value)
            return false;
    return true;
}

static void test_entropy(void **state)
{
    struct platform *platform = *state;
    struct driver_queue *queue = start_queue(platform->entropy, 0);
    gpa_t at = driver_alloc(platform->entropy, 2 * PAGE, PAGE);
    uint8_t *bytes = driver_at(platform->entropy, at);
    uint8_t first[64];

    assert_int_equal(request(queue, &(struct driver_buffer){ at, 64, true }, 1), 64);
    assert_false(is_filled_with(bytes, 64, 0));
    assert_true(is_filled_with(bytes + 64, PAGE, 0));
    memcpy(first, bytes, 64);
    assert_int_equal(request(queue, &(struct driver_buffer){ at, 64, true }, 1), 64);
    assert_memory_not_equal(bytes, first, 64);
    /* Several buffers; and more than one request may ask for. */
    assert_int_equal(request(queue, (struct driver_buffer[]){ { at, 16, true }, { { at.value + 100 }, 16, true } }, 2), 32);
    assert_int_equal(request(queue, &(struct driver_buffer){ at, 2 * PAGE, true }, 1), PAGE);
    assert_true(is_filled_with(bytes + PAGE, PAGE, 0));
    /* Nothing to write to: nothing is written. */
    assert_int_equal(request(queue, &(struct driver_buffer){ at, 64, false }, 1), 0);
}

static void test_free_pages(void **state)
{
    struct platform *platform = *state;
    struct driver_queue *queue = start_queue(platform->balloon, REPORTING);
    gpa_t at = driver_alloc(platform->balloon, 8 * PAGE, PAGE);
    uint8_t *bytes = driver_at(platform->balloon, at);

    memset(bytes, 0x55, (size_t)8 * PAGE);
    request(queue, (struct driver_buffer[]){ { at, PAGE, true }, { { at.value + 2 * PAGE }, 2 * PAGE, true } }, 2);
    assert_true(is_filled_with(bytes, PAGE, 0));
    assert_true(is_filled_with(bytes + PAGE, PAGE, 0x55));
    assert_true(is_filled_with(bytes + 2 * PAGE, (size_t)2 * PAGE, 0));
    assert_true(is_filled_with(bytes + 4 * PAGE, (size_t)4 * PAGE, 0x55));
    /* Only whole pages, and none that the device may only read. */
    request(queue, &(struct driver_buffer){ { at.value + 4 * PAGE + 1 }, 3 * PAGE - 2, true }, 1);
    assert_true(is_filled_with(bytes + 4 * PAGE, PAGE, 0x55));
    assert_true(is_filled_with(bytes + 5 * PAGE, PAGE, 0));
    assert_true(is_filled_with(bytes + 6 * PAGE, (size_t)2 * PAGE, 0x55));
    request(queue, &(struct driver_buffer){ { at.value + 7 * PAGE }, PAGE, false }, 1);
    request(queue, &(struct driver_buffer){ { at.value + 7 * PAGE }, 1, true }, 1);
    assert_true(is_filled_with(bytes + 6 * PAGE, (size_t)2 * PAGE, 0x55));
}

/* The guest is never asked for memory; what it offers is taken note of, and nothing else. */
static void test_inflation(void **state)
{
    struct platform *platform = *state;
    struct driver_queue *queue = start_queue(platform->balloon, 0);
    struct virtio_balloon_config config;
    gpa_t at = driver_alloc(platform->balloon, PAGE, PAGE);
    gpa_t list = driver_alloc(platform->balloon, 4, 4);
    msb_error *error = NULL;

    memset(driver_at(platform->balloon, at), 0x55, PAGE);
    *(uint32_t *)driver_at(platform->balloon, list) = (uint32_t)(at.value / PAGE);
    assert_int_equal(request(queue, &(struct driver_buffer){ list, 4, false }, 1), 0);
    assert_true(is_filled_with(driver_at(platform->balloon, at), PAGE, 0x55));
    assert_int_equal(frontend_get_config(driver_frontend(platform->balloon), 0, &config, sizeof(config), &error), 0);
    assert_int_equal(config.num_pages, 0);
}

/* A guest that gives away what it uses harms itself only: the process lives on. */
static void test_hostile_reports(void **state)
{
    struct platform *platform = *state;
    struct driver_queue *queue = start_queue(platform->balloon, REPORTING);
    gpa_t at = driver_alloc(platform->balloon, PAGE, PAGE);

    for (unsigned i = 0; i < 1000; i++)
        request(queue, &(struct driver_buffer){ at, PAGE, true }, 1);
    driver_table(queue)[0] = (struct vring_desc){ .addr = UINT64_MAX - 100, .len = UINT32_MAX, .flags = VRING_DESC_F_WRITE };
    driver_publish(queue, 0);
    assert_true(driver_is_ignored(queue, 100));
    test_entropy(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_entropy, start_platform, stop_platform),
        cmocka_unit_test_setup_teardown(test_free_pages, start_platform, stop_platform),
        cmocka_unit_test_setup_teardown(test_inflation, start_platform, stop_platform),
        cmocka_unit_test_setup_teardown(test_hostile_reports, start_platform, stop_platform),
    };

    return cmocka_run_group_tests_name("platform", tests, NULL, NULL);
}
