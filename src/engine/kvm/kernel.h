/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts a Linux kernel, its initramfs, its command line and the zero page into guest memory, by the 64-bit boot protocol
 * (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol", and "The Linux/x86 Boot Protocol" for the zero page).
 *
 * Both forms of a kernel are entered the same way, in 64-bit mode with paging on and RSI at the zero page: an uncompressed vmlinux
 * (ELF) at its entry point, which is startup_64, and a bzImage at its 64-bit entry, where it unpacks itself.
 *
 * The file comes from the user: every number in it is checked against the file's size and the guest's memory before it is used. What
 * the code then does inside the guest is the guest's affair.
 */
#ifndef MSB_ENGINE_KVM_KERNEL_H
#define MSB_ENGINE_KVM_KERNEL_H

#include "util/error.h"
#include "virtio/memory.h"

#include <asm/bootparam.h>
#include <stdbool.h>

/* What there is to boot. Descriptors stay the caller's; their position is not used. */
struct kernel_boot {
    const char *path; /* of the kernel, for messages */
    int kernel;
    int initrd;
    const char *command_line;
    gpa_t rsdp;
};

/* Loads everything. *entry becomes the address of the first instruction. */
int kernel_load(const struct memory *memory, const struct kernel_boot *boot, gpa_t *entry, msb_error **err);

/* ---- Between kernel.c and the two loaders ---------------------------------------------------------------------------------------- */

struct kernel_file {
    const char *path;
    int fd;
    uint64_t size;
};

/* Where a kernel was put. */
struct kernel_image {
    uint64_t begin, end; /* the guest memory that it takes until it knows where it may allocate */
    uint64_t entry;
    uint64_t initrd_end_max;    /* the initramfs ends here at the latest */
    uint64_t command_line_max;  /* bytes, without the NUL */
    struct setup_header header; /* for the zero page */
};

/* Reads all of size bytes, or fails: the file is truncated. */
int kernel_file_read(const struct kernel_file *file, uint64_t offset, void *to, uint64_t size, msb_error **err);

/* size bytes of guest memory for the kernel, between LAYOUT_HIGH and LAYOUT_MAPPED_END; NULL when the guest has not as much. */
void *kernel_memory(const struct memory *memory, const struct kernel_file *file, uint64_t address, uint64_t size,
                    msb_error **err);

bool elf_is(const struct kernel_file *file);
int elf_load(const struct memory *memory, const struct kernel_file *file, struct kernel_image *image, msb_error **err);

bool bzimage_is(const struct kernel_file *file);
int bzimage_load(const struct memory *memory, const struct kernel_file *file, struct kernel_image *image, msb_error **err);

#endif
