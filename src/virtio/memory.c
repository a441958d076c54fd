/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: the only place where a guest's address becomes a pointer. memory.h has the contract.
 */
#include "virtio/memory.h"

#include <inttypes.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
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
    };
    memory->num_regions++;
    return 0;
}

void memory_clear(struct memory *memory)
{
    for (unsigned i = 0; i < memory->num_regions; i++)
        munmap(memory->regions[i].mapping, memory->regions[i].mapping_size);
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
