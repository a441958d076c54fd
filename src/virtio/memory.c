/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: the only place where a guest's address becomes a pointer. memory.h has the contract.
 */
#include "virtio/memory.h"

#include "util/cleanup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Whether [address, address + size) wraps around, or is empty. */
static bool is_bad_range(uint64_t address, uint64_t size)
{
    return size == 0 || address > UINT64_MAX - (size - 1);
}

static bool overlaps(const struct memory_region *region, uint64_t address, uint64_t size)
{
    return address - region->guest_address < region->size || region->guest_address - address < size;
}

/* The file must hold the whole region now. A front-end that truncates it later ends its own device with SIGBUS, and nothing else. */
static int check_file(int fd, uint64_t offset, uint64_t size, msb_error **err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return fail_errno(err, "look at the file behind guest memory");
    if (!S_ISREG(st.st_mode))
        return fail(err, MSB_ERR_PROTOCOL, "guest memory is not a regular file");
    if (offset > (uint64_t)st.st_size || size > (uint64_t)st.st_size - offset)
        return fail(err, MSB_ERR_PROTOCOL, "guest memory of %" PRIu64 " bytes at %" PRIu64 " is not within its file of %jd bytes",
                    size, offset, (intmax_t)st.st_size);
    return 0;
}

int memory_add(struct memory *memory, int fd, uint64_t offset, uint64_t guest_address, uint64_t size, uint64_t user_address,
               msb_error **err)
{
    struct memory_region *region = &memory->regions[memory->num_regions];
    uint64_t slack = offset % (uint64_t)sysconf(_SC_PAGESIZE);
    void *mapping;

    if (memory->num_regions == MEMORY_MAX_REGIONS)
        return fail(err, MSB_ERR_PROTOCOL, "more than %d memory regions", MEMORY_MAX_REGIONS);
    if (is_bad_range(guest_address, size) || is_bad_range(user_address, size))
        return fail(err, MSB_ERR_PROTOCOL, "memory region of %" PRIu64 " bytes at %#" PRIx64 " is empty or wraps around", size,
                    guest_address);
    for (unsigned i = 0; i < memory->num_regions; i++) {
        if (overlaps(&memory->regions[i], guest_address, size))
            return fail(err, MSB_ERR_PROTOCOL, "memory regions overlap at %#" PRIx64, guest_address);
    }
    if (check_file(fd, offset, size, err) < 0)
        return -1;
    /* No sum overflows here: offset and size are within a file's size. */
    mapping = mmap(NULL, size + slack, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)(offset - slack));
    if (mapping == MAP_FAILED)
        return fail_errno(err, "map %" PRIu64 " bytes of guest memory", size);
    *region = (struct memory_region){
        .guest_address = guest_address,
        .size = size,
        .user_address = user_address,
        .host = (uint8_t *)mapping + slack,
        .mapping = mapping,
        .mapping_size = size + slack,
        .file_offset = offset - slack,
        .file = -1,
    };
    memory->num_regions++;
    return 0;
}

void memory_clear(struct memory *memory)
{
    for (unsigned i = 0; i < memory->num_regions; i++) {
        struct memory_region *region = &memory->regions[i];

        munmap(region->mapping, region->mapping_size);
        cleanup_fd(&region->file);
        free(region->used);
    }
    *memory = (struct memory){ 0 };
}

static void *region_at(const struct memory_region *region, uint64_t offset, size_t size)
{
    if (size == 0 || offset >= region->size || size > region->size - offset)
        return NULL;
    return region->host + offset;
}

void *memory_at(const struct memory *memory, gpa_t address, size_t size)
{
    for (unsigned i = 0; i < memory->num_regions; i++) {
        const struct memory_region *region = &memory->regions[i];
        /* Below the region the difference wraps around to more than any region's size. */
        void *at = region_at(region, address.value - region->guest_address, size);

        if (at)
            return at;
    }
    return NULL;
}

void *memory_at_user(const struct memory *memory, uint64_t user_address, size_t size)
{
    for (unsigned i = 0; i < memory->num_regions; i++) {
        const struct memory_region *region = &memory->regions[i];
        void *at = region_at(region, user_address - region->user_address, size);

        if (at)
            return at;
    }
    return NULL;
}

/* ---- By the file ------------------------------------------------------------------------------------------------------------------- */

enum { PAGE = 4096, BITS = sizeof(unsigned long) * CHAR_BIT };

void memory_keep_file(struct memory *memory, int *fd)
{
    struct memory_region *region = &memory->regions[memory->num_regions - 1];
    int seals = fcntl(*fd, F_GET_SEALS);

    if (seals < 0 || !(seals & F_SEAL_GROW))
        return;
    region->used = calloc(region->mapping_size / PAGE / BITS + 1, sizeof(*region->used));
    if (region->used)
        region->file = steal_fd(fd);
}

/* The region that has a file and the page at a pointer, and the page's number in it. */
static const struct memory_region *find_page(const struct memory *memory, const void *at, size_t *number)
{
    for (unsigned i = 0; i < memory->num_regions; i++) {
        const struct memory_region *region = &memory->regions[i];
        size_t offset = (size_t)((const uint8_t *)at - (const uint8_t *)region->mapping);

        if (offset < region->mapping_size && region->used) {
            *number = offset / PAGE;
            return region;
        }
    }
    return NULL;
}

static bool is_used(const struct memory_region *region, size_t page)
{
    return __atomic_load_n(&region->used[page / BITS], __ATOMIC_RELAXED) >> page % BITS & 1;
}

bool memory_is_unused(const struct memory *memory, const void *at)
{
    size_t page;
    const struct memory_region *region = find_page(memory, at, &page);

    return region && !is_used(region, page);
}

/* Writes to pages of one region through its file: how many bytes, or -1. */
static ssize_t write_file(const struct memory_region *region, size_t page, const void *at, const void *from, size_t size)
{
    size_t offset = (size_t)((const uint8_t *)at - (const uint8_t *)region->mapping);
    const struct iovec bytes = { .iov_base = (void *)from, .iov_len = size };
    ssize_t n = pwritev2(region->file, &bytes, 1, (off_t)(region->file_offset + offset), 0);

    for (; n > 0 && page * PAGE < offset + (size_t)n; page++)
        __atomic_fetch_or(&region->used[page / BITS], 1UL << page % BITS, __ATOMIC_RELAXED);
    return n;
}

/* How many of size bytes at a pointer lie in pages that are all used, or all not, from that page on. */
static size_t alike(const struct memory_region *region, size_t page, const void *at, size_t size)
{
    const bool used = is_used(region, page);
    size_t length = PAGE - (uintptr_t)at % PAGE;

    while (length < size && is_used(region, ++page) == used)
        length += PAGE;
    return length < size ? length : size;
}

void memory_write(const struct memory *memory, void *at, const void *from, size_t size)
{
    while (size) {
        size_t page;
        const struct memory_region *region = find_page(memory, at, &page);
        size_t length = region ? alike(region, page, at, size) : size;
        ssize_t n = region && !is_used(region, page) ? write_file(region, page, at, from, length) : -1;

        if (n <= 0)
            memcpy(at, from, length);
        else
            length = (size_t)n;
        at = (char *)at + length;
        from = (const char *)from + length;
        size -= length;
    }
}
