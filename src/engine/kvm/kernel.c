/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/kernel.h"

#include "engine/kvm/layout.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { E820_TYPE_RAM = 1, E820_TYPE_RESERVED = 2 };

#define PAGE UINT64_C(4096)

static uint64_t mebibytes_up(uint64_t bytes)
{
    return (bytes + (1 << 20) - 1) >> 20;
}

/* ---- For the loaders ------------------------------------------------------------------------------------------------------------- */

int kernel_file_read(const struct kernel_file *file, uint64_t offset, void *to, uint64_t size, msb_error **err)
{
    uint8_t *at = to;

    if (offset > file->size || size > file->size - offset)
        return fail(err, MSB_ERR_INVALID, "kernel `%s` is truncated: %" PRIu64 " bytes at %" PRIu64 " are not there", file->path,
                    size, offset);
    while (size > 0) {
        ssize_t got = pread(file->fd, at, size, (off_t)offset);

        if (got < 0)
            return fail_errno(err, "read kernel `%s`", file->path);
        if (got == 0)
            return fail(err, MSB_ERR_INVALID, "kernel `%s` became shorter while it was read", file->path);
        at += got;
        offset += (uint64_t)got;
        size -= (uint64_t)got;
    }
    return 0;
}

void *kernel_memory(const struct memory *memory, const struct kernel_file *file, uint64_t address, uint64_t size, msb_error **err)
{
    void *at;

    if (address < LAYOUT_HIGH)
        return FAIL_NULL(fail(err, MSB_ERR_INVALID, "`%s` is not a kernel for this machine: it loads below 1 MiB, at %#" PRIx64,
                              file->path, address));
    if (address >= LAYOUT_MAPPED_END || size > LAYOUT_MAPPED_END - address)
        return FAIL_NULL(fail(err, MSB_ERR_INVALID, "kernel `%s` is too large: %" PRIu64 " MiB at %#" PRIx64 " end above 1 GiB",
                              file->path, mebibytes_up(size), address));
    at = memory_at(memory, (gpa_t){ address }, size);
    if (!at)
        return FAIL_NULL(fail(err, MSB_ERR_INVALID,
                              "the guest's memory is too small for kernel `%s`: it needs at least %" PRIu64 " MiB", file->path,
                              mebibytes_up(address + size)));
    return at;
}

/* ---- The rest of what the kernel finds ------------------------------------------------------------------------------------------- */

static int load_image(const struct memory *memory, const struct kernel_boot *boot, struct kernel_image *image, msb_error **err)
{
    struct kernel_file file = { .path = boot->path, .fd = boot->kernel };
    struct stat st;

    if (fstat(file.fd, &st) < 0)
        return fail_errno(err, "look at kernel `%s`", file.path);
    if (!S_ISREG(st.st_mode))
        return fail(err, MSB_ERR_INVALID, "kernel `%s` is not a regular file", file.path);
    file.size = (uint64_t)st.st_size;
    if (elf_is(&file))
        return elf_load(memory, &file, image, err);
    if (bzimage_is(&file))
        return bzimage_load(memory, &file, image, err);
    return fail(err, MSB_ERR_INVALID, "`%s` is not a kernel: neither an ELF file (vmlinux) nor a bzImage", file.path);
}

/* At the top of low memory, as far as the kernel can reach. */
static int load_initrd(const struct memory *memory, int fd, struct kernel_image *image, msb_error **err)
{
    struct kernel_file file = { .path = "the initramfs", .fd = fd };
    uint64_t end = memory->regions[0].size;
    uint64_t address;
    struct stat st;

    if (fstat(fd, &st) < 0)
        return fail_errno(err, "look at the initramfs");
    file.size = (uint64_t)st.st_size;
    if (file.size == 0)
        return 0;
    if (end > image->initrd_end_max)
        end = image->initrd_end_max;
    end &= ~(PAGE - 1);
    if (file.size > end || ((end - file.size) & ~(PAGE - 1)) < image->end)
        return fail(err, MSB_ERR_INVALID,
                    "the guest's memory is too small: the kernel and its initramfs of %" PRIu64 " KiB need more than %" PRIu64
                    " MiB",
                    file.size >> 10, mebibytes_up(image->end));
    address = (end - file.size) & ~(PAGE - 1);
    image->header.ramdisk_image = (uint32_t)address;
    image->header.ramdisk_size = (uint32_t)file.size;
    return kernel_file_read(&file, 0, memory_at(memory, (gpa_t){ address }, file.size), file.size, err);
}

static int write_command_line(const struct memory *memory, const char *command_line, struct kernel_image *image, msb_error **err)
{
    size_t length = strlen(command_line);

    if (length > image->command_line_max || length >= LAYOUT_COMMAND_LINE_MAX)
        return fail(err, MSB_ERR_INVALID, "the kernel's command line has %zu bytes, of at most %" PRIu64, length,
                    image->command_line_max);
    memcpy(memory_at(memory, (gpa_t){ LAYOUT_COMMAND_LINE }, length + 1), command_line, length + 1);
    image->header.cmd_line_ptr = (uint32_t)LAYOUT_COMMAND_LINE;
    return 0;
}

static void add_range(struct boot_params *params, uint64_t begin, uint64_t end, uint32_t type)
{
    params->e820_table[params->e820_entries++] = (struct boot_e820_entry){ .addr = begin, .size = end - begin, .type = type };
}

static void write_zero_page(const struct memory *memory, const struct kernel_boot *boot, const struct kernel_image *image)
{
    struct boot_params params = { .hdr = image->header, .acpi_rsdp_addr = boot->rsdp.value };

    add_range(&params, 0, LAYOUT_LOW_END, E820_TYPE_RAM);
    add_range(&params, LAYOUT_ACPI, LAYOUT_ACPI + LAYOUT_ACPI_MAX, E820_TYPE_RESERVED);
    add_range(&params, LAYOUT_HIGH, memory->regions[0].size, E820_TYPE_RAM);
    if (memory->num_regions > 1)
        add_range(&params, memory->regions[1].guest_address, memory->regions[1].guest_address + memory->regions[1].size,
                  E820_TYPE_RAM);
    memcpy(memory_at(memory, (gpa_t){ LAYOUT_ZERO_PAGE }, sizeof(params)), &params, sizeof(params));
}

/* The first GiB one to one, in pages of 2 MiB. */
static void write_page_tables(const struct memory *memory)
{
    enum { PRESENT = 1 << 0, WRITABLE = 1 << 1, LARGE = 1 << 7, ENTRIES = 512 };
    uint64_t *tables = memory_at(memory, (gpa_t){ LAYOUT_PAGE_TABLES }, 3 * PAGE);

    tables[0] = (LAYOUT_PAGE_TABLES + PAGE) | PRESENT | WRITABLE;
    tables[ENTRIES] = (LAYOUT_PAGE_TABLES + 2 * PAGE) | PRESENT | WRITABLE;
    for (uint64_t i = 0; i < ENTRIES; i++)
        tables[2 * ENTRIES + i] = i << 21 | PRESENT | WRITABLE | LARGE;
}

int kernel_load(const struct memory *memory, const struct kernel_boot *boot, gpa_t *entry, msb_error **err)
{
    struct kernel_image image = { 0 };

    if (!memory_at(memory, (gpa_t){ 0 }, LAYOUT_HIGH + PAGE))
        return fail(err, MSB_ERR_INVALID, "the guest's memory is too small for any kernel");
    if (load_image(memory, boot, &image, err) < 0 || load_initrd(memory, boot->initrd, &image, err) < 0 ||
        write_command_line(memory, boot->command_line, &image, err) < 0)
        return -1;
    image.header.type_of_loader = 0xff; /* "undefined": no number was ever assigned to us */
    write_zero_page(memory, boot, &image);
    write_page_tables(memory);
    entry->value = image.entry;
    return 0;
}
