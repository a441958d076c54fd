/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An uncompressed kernel: vmlinux, an ELF file whose segments say at which physical address they belong.
 */
#include "engine/kvm/kernel.h"

#include "engine/kvm/layout.h"
#include "util/cleanup.h"

#include <elf.h>
#include <inttypes.h>
#include <string.h>

enum {
    MAX_SEGMENTS = 64,
    MAX_NOTES = 64 << 10, /* bytes; Linux has some hundred */
};

bool elf_is(const struct kernel_file *file)
{
    char magic[SELFMAG];

    return kernel_file_read(file, 0, magic, sizeof(magic), NULL) == 0 && memcmp(magic, ELFMAG, SELFMAG) == 0;
}

static int check_header(const struct kernel_file *file, const Elf64_Ehdr *header, msb_error **err)
{
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB || header->e_machine != EM_X86_64)
        return fail(err, MSB_ERR_INVALID, "`%s` is not a kernel for x86-64", file->path);
    if (header->e_type != ET_EXEC && header->e_type != ET_DYN)
        return fail(err, MSB_ERR_INVALID, "`%s` is not a kernel: an ELF file, but not an executable one", file->path);
    if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == 0 || header->e_phnum > MAX_SEGMENTS)
        return fail(err, MSB_ERR_INVALID, "`%s` is not a kernel: %u program headers of %u bytes", file->path, header->e_phnum,
                    header->e_phentsize);
    return 0;
}

/* Every Linux has notes that are named after it, and one that is named after Xen when it can be booted as a PVH guest. */
static bool has_kernel_note(const uint8_t *notes, uint64_t size)
{
    while (size >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note;
        uint64_t name_size, all;

        memcpy(&note, notes, sizeof(note));
        name_size = ((uint64_t)note.n_namesz + 3) & ~UINT64_C(3);
        all = sizeof(note) + name_size + (((uint64_t)note.n_descsz + 3) & ~UINT64_C(3));
        if (all > size)
            return false;
        if ((note.n_namesz == sizeof("Linux") && memcmp(notes + sizeof(note), "Linux", sizeof("Linux")) == 0) ||
            (note.n_namesz == sizeof("Xen") && memcmp(notes + sizeof(note), "Xen", sizeof("Xen")) == 0))
            return true;
        notes += all;
        size -= all;
    }
    return false;
}

static int check_notes(const struct kernel_file *file, const Elf64_Phdr *segments, unsigned num, msb_error **err)
{
    for (unsigned i = 0; i < num; i++) {
        _cleanup_free_ uint8_t *notes = NULL;

        if (segments[i].p_type != PT_NOTE || segments[i].p_filesz == 0 || segments[i].p_filesz > MAX_NOTES)
            continue;
        notes = malloc(segments[i].p_filesz);
        if (!notes)
            return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
        if (kernel_file_read(file, segments[i].p_offset, notes, segments[i].p_filesz, err) < 0)
            return -1;
        if (has_kernel_note(notes, segments[i].p_filesz))
            return 0;
    }
    return fail(err, MSB_ERR_INVALID, "`%s` is not a kernel: an ELF file without a note from Linux", file->path);
}

static int load_segment(const struct memory *memory, const struct kernel_file *file, const Elf64_Phdr *segment,
                        struct kernel_image *image, msb_error **err)
{
    void *at;

    if (segment->p_filesz > segment->p_memsz)
        return fail(err, MSB_ERR_INVALID, "`%s` is not a kernel: a segment is larger in the file than in memory", file->path);
    at = kernel_memory(memory, file, segment->p_paddr, segment->p_memsz, err);
    /* What the file does not fill is zero: guest memory is fresh. */
    if (!at || kernel_file_read(file, segment->p_offset, at, segment->p_filesz, err) < 0)
        return -1;
    if (image->begin > segment->p_paddr)
        image->begin = segment->p_paddr;
    if (image->end < segment->p_paddr + segment->p_memsz)
        image->end = segment->p_paddr + segment->p_memsz;
    return 0;
}

static bool entry_is_code(const Elf64_Phdr *segments, unsigned num, uint64_t entry)
{
    for (unsigned i = 0; i < num; i++)
        if (segments[i].p_type == PT_LOAD && (segments[i].p_flags & PF_X) && entry >= segments[i].p_paddr &&
            entry - segments[i].p_paddr < segments[i].p_filesz)
            return true;
    return false;
}

int elf_load(const struct memory *memory, const struct kernel_file *file, struct kernel_image *image, msb_error **err)
{
    Elf64_Phdr segments[MAX_SEGMENTS];
    Elf64_Ehdr header;

    if (kernel_file_read(file, 0, &header, sizeof(header), err) < 0 || check_header(file, &header, err) < 0 ||
        kernel_file_read(file, header.e_phoff, segments, header.e_phnum * sizeof(segments[0]), err) < 0 ||
        check_notes(file, segments, header.e_phnum, err) < 0)
        return -1;
    if (!entry_is_code(segments, header.e_phnum, header.e_entry))
        return fail(err, MSB_ERR_INVALID, "`%s` is not a kernel that can be entered: its entry point %#" PRIx64 " is not code",
                    file->path, header.e_entry);
    image->begin = UINT64_MAX;
    for (unsigned i = 0; i < header.e_phnum; i++)
        if (segments[i].p_type == PT_LOAD && segments[i].p_memsz > 0 && load_segment(memory, file, &segments[i], image, err) < 0)
            return -1;
    image->entry = header.e_entry;
    image->initrd_end_max = LAYOUT_HOLE;
    image->command_line_max = 2047; /* COMMAND_LINE_SIZE of x86, which an ELF file does not tell */
    image->header.boot_flag = 0xaa55;
    image->header.header = 0x53726448; /* "HdrS" */
    image->header.version = 0x20f;
    image->header.loadflags = LOADED_HIGH;
    return 0;
}
