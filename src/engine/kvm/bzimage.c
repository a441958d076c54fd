/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A compressed kernel: a bzImage, real-mode set-up sectors that are not used here, and the protected-mode code that unpacks the kernel.
 */
#include "engine/kvm/kernel.h"

#include "engine/kvm/layout.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

enum {
    SECTOR = 512,
    HEADER_OFFSET = 0x1f1,
    MAGIC = 0x53726448,    /* "HdrS" */
    VERSION_MIN = 0x20c,   /* the first with xloadflags */
    ENTRY_64 = 0x200,      /* from the beginning of the protected-mode code */
    SETUP_SECTORS_OLD = 4, /* what 0 means */
    JUMP_END = 0x201,      /* the byte that says how long the header is, counted from 0x202 */
};

static int read_header(const struct kernel_file *file, struct setup_header *header, msb_error **err)
{
    return kernel_file_read(file, HEADER_OFFSET, header, sizeof(*header), err);
}

bool bzimage_is(const struct kernel_file *file)
{
    struct setup_header header;

    return read_header(file, &header, NULL) == 0 && header.boot_flag == 0xaa55 && header.header == MAGIC;
}

/* What lies behind the header's own end belongs to the set-up code, and would be taken for fields. */
static void clear_beyond_header(struct setup_header *header)
{
    uint8_t *bytes = (uint8_t *)header;
    size_t end = (size_t)(0x202 - HEADER_OFFSET) + bytes[JUMP_END - HEADER_OFFSET];

    if (end < sizeof(*header))
        memset(bytes + end, 0, sizeof(*header) - end);
}

static int check_header(const struct kernel_file *file, const struct setup_header *header, msb_error **err)
{
    if (header->version < VERSION_MIN || !(header->xloadflags & XLF_KERNEL_64) || !(header->loadflags & LOADED_HIGH))
        return fail(err, MSB_ERR_INVALID, "kernel `%s` has no 64-bit entry (boot protocol %u.%u)", file->path,
                    header->version >> 8, header->version & 0xff);
    return 0;
}

int bzimage_load(const struct memory *memory, const struct kernel_file *file, struct kernel_image *image, msb_error **err)
{
    struct setup_header *header = &image->header;
    uint64_t setup_size, code_size;
    void *at;

    if (read_header(file, header, err) < 0)
        return -1;
    clear_beyond_header(header);
    if (check_header(file, header, err) < 0)
        return -1;
    setup_size = (uint64_t)SECTOR * (1 + (header->setup_sects ? header->setup_sects : SETUP_SECTORS_OLD));
    code_size = (uint64_t)header->syssize * 16;
    if (code_size <= ENTRY_64)
        return fail(err, MSB_ERR_INVALID, "kernel `%s` is truncated: %" PRIu64 " bytes of code", file->path, code_size);
    /* init_size is what the kernel needs around it to unpack itself, and can be larger than what the file has. */
    image->begin = header->pref_address;
    image->end = image->begin + (header->init_size > code_size ? header->init_size : code_size);
    at = kernel_memory(memory, file, image->begin, image->end - image->begin, err);
    if (!at || kernel_file_read(file, setup_size, at, code_size, err) < 0)
        return -1;
    image->entry = image->begin + ENTRY_64;
    image->initrd_end_max = (uint64_t)header->initrd_addr_max + 1;
    image->command_line_max = header->cmdline_size;
    return 0;
}
