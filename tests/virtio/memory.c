/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: which regions are refused, and which addresses become pointers.
 */
#include "virtio/memory.h"

#include "util/cleanup.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define PAGE 4096ULL

static int make_file(size_t pages)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)(pages * PAGE)), 0);
    return fd;
}

struct region_case {
    const char *what;
    uint64_t offset, guest_address, size, user_address;
};

static void regions_refused(void **state)
{
    static const struct region_case cases[] = {
        { "empty", 16, 0, 0, 0 },
        { "larger than the file", 0, 0, 5 * PAGE, 0 },
        { "one byte behind the file", PAGE, 0, 3 * PAGE + 1, 0 },
        { "offset behind the file", 5 * PAGE, 0, PAGE, 0 },
        { "offset and size wrap around", UINT64_MAX - PAGE + 1, 0, 2 * PAGE, 0 },
        { "guest addresses wrap around", 0, UINT64_MAX - PAGE + 2, PAGE, 0 },
        { "front-end addresses wrap around", 0, 0, PAGE, UINT64_MAX - PAGE + 2 },
        { "overlap at the beginning", 0, 0x100000 - PAGE, PAGE + 1, 0 },
        { "overlap at the end", 0, 0x100000 + 2 * PAGE - 1, PAGE, 0 },
        { "overlap inside", 0, 0x100000 + PAGE, 1, 0 },
        { "overlap around", 0, 0x100000 - PAGE, 4 * PAGE, 0 },
    };
    _cleanup_fd_ int fd = make_file(4);
    struct memory memory = { 0 };

    (void)state;
    assert_int_equal(memory_add(&memory, fd, 0, 0x100000, 2 * PAGE, 0x7000000, NULL), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct region_case *c = &cases[i];
        msb_error *error = NULL;

        if (memory_add(&memory, fd, c->offset, c->guest_address, c->size, c->user_address, &error) != -1)
            fail_msg("accepted: %s", c->what);
        assert_non_null(error);
        msb_error_free(error);
        assert_int_equal(memory.num_regions, 1);
    }
    memory_clear(&memory);
}

static void only_regular_files(void **state)
{
    _cleanup_fd_ int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
    struct memory memory = { 0 };
    msb_error *error = NULL;

    (void)state;
    assert_int_equal(memory_add(&memory, zero, 0, 0, PAGE, 0, &error), -1);
    assert_string_equal(msb_error_message(error), "guest memory is not a regular file");
    msb_error_free(error);
    assert_int_equal(memory_add(&memory, -1, 0, 0, PAGE, 0, NULL), -1);
    assert_int_equal(memory.num_regions, 0);
}

static void at_most_eight(void **state)
{
    _cleanup_fd_ int fd = make_file(1);
    struct memory memory = { 0 };

    (void)state;
    for (unsigned i = 0; i < MEMORY_MAX_REGIONS; i++)
        assert_int_equal(memory_add(&memory, fd, 0, i * PAGE, PAGE, i * PAGE, NULL), 0);
    assert_int_equal(memory_add(&memory, fd, 0, 100 * PAGE, PAGE, 0, NULL), -1);
    memory_clear(&memory);
    assert_int_equal(memory.num_regions, 0);
}

static void addresses(void **state)
{
    _cleanup_fd_ int fd = make_file(8);
    struct memory memory = { 0 };
    char *low, *high;
    char byte = 'x';

    (void)state;
    /* The second at an offset that is not a multiple of the page size. */
    assert_int_equal(memory_add(&memory, fd, 0, 0x100000, 2 * PAGE, 0x7000000, NULL), 0);
    assert_int_equal(memory_add(&memory, fd, 3 * PAGE + 16, 0x100000 + 2 * PAGE, PAGE, 0x8000000, NULL), 0);

    low = memory_at(&memory, (gpa_t){ 0x100000 }, 2 * PAGE);
    high = memory_at(&memory, (gpa_t){ 0x100000 + 2 * PAGE }, PAGE);
    assert_non_null(low);
    assert_non_null(high);
    assert_ptr_equal(memory_at(&memory, (gpa_t){ 0x100000 + 2 * PAGE - 1 }, 1), low + 2 * PAGE - 1);
    assert_int_equal(pwrite(fd, &byte, 1, 3 * PAGE + 16 + 5), 1);
    assert_int_equal(high[5], 'x');

    assert_null(memory_at(&memory, (gpa_t){ 0x100000 - 1 }, 1));
    assert_null(memory_at(&memory, (gpa_t){ 0x100000 }, 0));
    assert_null(memory_at(&memory, (gpa_t){ 0x100000 }, SIZE_MAX));
    assert_null(memory_at(&memory, (gpa_t){ 0x100000 + 3 * PAGE }, 1));
    assert_null(memory_at(&memory, (gpa_t){ 0x100000 + 3 * PAGE - 1 }, 2));
    /* Next to one another for the guest, but not for us. */
    assert_null(memory_at(&memory, (gpa_t){ 0x100000 + 2 * PAGE - 1 }, 2));
    assert_null(memory_at(&memory, (gpa_t){ UINT64_MAX }, 2));

    assert_ptr_equal(memory_at_user(&memory, 0x8000000 + 5, 1), high + 5);
    assert_null(memory_at_user(&memory, 0x100000, 1));
    assert_null(memory_at_user(&memory, 0x8000000 + PAGE - 1, 2));
    memory_clear(&memory);
    assert_null(memory_at(&memory, (gpa_t){ 0x100000 }, 1));
}

/* Whether this process has the page mapped: proc_pid_pagemap(5), bit 63. */
static bool is_mapped(const void *at)
{
    _cleanup_fd_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    uint64_t entry;

    assert_int_equal(pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)at / PAGE * sizeof(entry))), sizeof(entry));
    return entry >> 63;
}

/* Memory of eight pages, from a page and 16 bytes on, with seals. */
static int keep(struct memory *memory, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int kept = dup(fd);

    assert_int_equal(ftruncate(fd, 10 * PAGE), 0);
    assert_int_equal(memory_add(memory, fd, PAGE + 16, 0x100000, 8 * PAGE, 0, NULL), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    memory_keep_file(memory, &kept);
    if (kept >= 0)
        close(kept);
    return fd;
}

static void the_first_write_goes_through_the_file(void **state)
{
    struct memory memory = { 0 };
    _cleanup_fd_ int fd = keep(&memory, F_SEAL_GROW);
    char *at = memory_at(&memory, (gpa_t){ 0x100000 }, 8 * PAGE);
    char bytes[4 * PAGE], read[4 * PAGE];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 31 % 251);
    assert_true(memory_is_unused(&memory, at + PAGE));
    /* From the middle of a page to the middle of another. */
    memory_write(&memory, at + PAGE + 100, bytes, 2 * PAGE);
    assert_false(is_mapped(at + PAGE + 100));
    assert_false(is_mapped(at + 2 * PAGE));
    assert_false(is_mapped(at + 3 * PAGE));
    assert_int_equal(pread(fd, read, 2 * PAGE, 2 * PAGE + 16 + 100), 2 * PAGE);
    assert_memory_equal(read, bytes, 2 * PAGE);
    assert_true(memory_is_unused(&memory, at));
    assert_false(memory_is_unused(&memory, at + PAGE));
    assert_false(memory_is_unused(&memory, at + 3 * PAGE));
    assert_true(memory_is_unused(&memory, at + 4 * PAGE));

    /* Three pages that were used lie between two that were not. */
    memory_write(&memory, at + 100, bytes, 4 * PAGE);
    assert_false(is_mapped(at + 100));
    assert_true(is_mapped(at + PAGE));
    assert_true(is_mapped(at + 3 * PAGE));
    assert_false(is_mapped(at + 4 * PAGE));
    assert_int_equal(pread(fd, read, 4 * PAGE, PAGE + 16 + 100), 4 * PAGE);
    assert_memory_equal(read, bytes, 4 * PAGE);
    assert_memory_equal(at + 100, bytes, 4 * PAGE);

    /* The last byte, and none behind it. */
    memory_write(&memory, at + 8 * PAGE - 1, "x", 1);
    assert_int_equal(pread(fd, read, 2, 9 * PAGE + 16 - 1), 2);
    assert_memory_equal(read, "x", 2);
    memory_clear(&memory);
}

static void what_cannot_be_written_through_the_file_is_copied(void **state)
{
    /* A file that could become larger is not kept, and one that refuses writes is no obstacle. */
    static const int seals[] = { 0, F_SEAL_SHRINK, F_SEAL_GROW | F_SEAL_FUTURE_WRITE };

    (void)state;
    for (size_t i = 0; i < sizeof(seals) / sizeof(seals[0]); i++) {
        struct memory memory = { 0 };
        _cleanup_fd_ int fd = keep(&memory, seals[i]);
        char *at = memory_at(&memory, (gpa_t){ 0x100000 }, 8 * PAGE), read[13];

        assert_int_equal(memory_is_unused(&memory, at), seals[i] & F_SEAL_GROW ? 1 : 0);
        memory_write(&memory, at + PAGE - 8, "over the edge", 13);
        assert_true(is_mapped(at + PAGE - 8));
        assert_int_equal(pread(fd, read, 13, 2 * PAGE + 8), 13);
        assert_memory_equal(read, "over the edge", 13);
        memory_clear(&memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regions_refused),
        cmocka_unit_test(only_regular_files),
        cmocka_unit_test(at_most_eight),
        cmocka_unit_test(addresses),
        cmocka_unit_test(the_first_write_goes_through_the_file),
        cmocka_unit_test(what_cannot_be_written_through_the_file_is_copied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
