/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory as a device or the engine sees it: regions of guest-physical addresses backed by shared mappings.
 *
 * A guest address is not a pointer. It has a type of its own (gpa_t) that cannot be dereferenced or added to by accident, and it
 * becomes a pointer only through memory_at(), which takes the size and refuses what does not lie within one region. The guest may
 * change what is behind the pointer at any moment: read each value once, into a local, before it is checked.
 *
 * A page that a process touches for the first time costs it a fault, which is several times what it takes to fill it: most of all where
 * the host has no page there yet, or is a virtual machine without hardware's help for page tables. So much data can go to
 * pages that were not used before through the file that they lie in (memory_write()).
 */
#ifndef MSB_VIRTIO_MEMORY_H
#define MSB_VIRTIO_MEMORY_H

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A guest-physical address. */
typedef struct {
    uint64_t value;
} gpa_t;

enum { MEMORY_MAX_REGIONS = 8 }; /* VHOST_MEMORY_BASELINE_NREGIONS of the vhost-user document */

struct memory_region {
    uint64_t guest_address; /* first guest-physical address */
    uint64_t size;          /* bytes */
    uint64_t user_address;  /* the frontend's own virtual address of the region; ring addresses are given in it */
    uint8_t *host;          /* where the region's first byte is mapped here */
    void *mapping;          /* what mmap returned, and how long it is: the region plus its offset in the file */
    size_t mapping_size;
    uint64_t file_offset; /* where in its file the mapping begins */
    int file;             /* that file, or -1 when it is not kept */
    unsigned long *used;  /* with a file, a bit for each page of the mapping: memory_write() has written to it */
};

struct memory {
    unsigned num_regions;
    struct memory_region regions[MEMORY_MAX_REGIONS];
};

/* Maps size bytes at offset of fd as one more region. fd stays the caller's and may be closed afterwards. Refuses regions that
   overlap, wrap around, or are larger than the file behind fd (a later access would raise SIGBUS). */
int memory_add(struct memory *memory, int fd, uint64_t offset, uint64_t guest_address, uint64_t size, uint64_t user_address,
               msb_error **err);

/* Keeps the file of the region that was added last, for memory_write(), and makes *fd -1. Does nothing where a file may have huge pages,
   which are mapped by few faults, or could be made larger by a write: what is not a memfd, sealed with F_SEAL_GROW (fcntl(2)). */
void memory_keep_file(struct memory *memory, int *fd);

/* Unmaps every region; pointers into them die. */
void memory_clear(struct memory *memory);

/* The size bytes at address, or NULL when they do not all lie within one region. size 0 is refused too. */
void *memory_at(const struct memory *memory, gpa_t address, size_t size);

/* The same for an address in the frontend's address space (vhost-user's ring addresses). */
void *memory_at_user(const struct memory *memory, uint64_t user_address, size_t size);

/* Whether memory_write() would write to the page at a pointer of memory_at()'s through its file. */
bool memory_is_unused(const struct memory *memory, const void *at);

/* Copies size bytes to a pointer of memory_at()'s: each page through its file the first time, and by the mapping from then on. Any number
   of threads may do so at once. */
void memory_write(const struct memory *memory, void *at, const void *from, size_t size);

#endif
