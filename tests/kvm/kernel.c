/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the KVM engine takes for a kernel, and what it refuses, with which words. The files are made here, byte by byte, from good ones.
 */
#include "engine/kvm/kernel.h"
#include "engine/kvm/layout.h"
#include "guest.h"
#include "util/cleanup.h"

#include <elf.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

enum { MEMORY = 64 << 20, FILE_MAX = 64 << 10, ELF_NOTE = 64 + 2 * 56, BZIMAGE_CODE = 4096, BZIMAGE_SETUP = 2 * 512 };

struct image {
    uint8_t bytes[FILE_MAX];
    size_t size;
};

static int make_file(const void *bytes, size_t size)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, 0), size);
    return fd;
}

static struct memory make_memory(size_t size)
{
    struct memory memory = { 0 };
    _cleanup_fd_ int fd = memfd_create("memory", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    assert_int_equal(memory_add(&memory, fd, 0, 0, size, 0, NULL), 0);
    return memory;
}

struct load {
    size_t memory_size;
    const char *command_line;
    size_t initrd_size;
};

/* Loads into *memory, which the caller clears. */
static int load(const struct image *image, const struct load *how, struct memory *memory, gpa_t *entry, msb_error **err)
{
    _cleanup_free_ uint8_t *initrd_bytes = calloc(1, how->initrd_size + 1);
    _cleanup_fd_ int kernel = make_file(image->bytes, image->size);
    _cleanup_fd_ int initrd = -1;
    const struct kernel_boot boot = {
        .path = "the-kernel",
        .kernel = kernel,
        .initrd = initrd = (memset(initrd_bytes, 'i', how->initrd_size), make_file(initrd_bytes, how->initrd_size)),
        .command_line = how->command_line,
        .rsdp = { LAYOUT_ACPI },
    };

    *memory = make_memory(how->memory_size);
    return kernel_load(memory, &boot, entry, err);
}

static void expect_refusal(const struct image *image, const struct load *how, const char *words)
{
    struct memory memory;
    msb_error *error = NULL;
    gpa_t entry;

    assert_int_equal(load(image, how, &memory, &entry, &error), -1);
    if (!strstr(msb_error_message(error), words))
        fail_msg("\"%s\" does not say \"%s\"", msb_error_message(error), words);
    msb_error_free(error);
    memory_clear(&memory);
}

static const struct load usual = { .memory_size = MEMORY, .command_line = "hello", .initrd_size = 10000 };

static struct boot_params zero_page(const struct memory *memory)
{
    struct boot_params params;

    memcpy(&params, memory_at(memory, (gpa_t){ LAYOUT_ZERO_PAGE }, sizeof(params)), sizeof(params));
    return params;
}

static void check_initrd_and_command_line(const struct memory *memory)
{
    struct boot_params params = zero_page(memory);
    const char *initrd = memory_at(memory, (gpa_t){ params.hdr.ramdisk_image }, 10000);

    assert_int_equal(params.hdr.type_of_loader, 0xff);
    assert_int_equal(params.hdr.boot_flag, 0xaa55);
    assert_int_equal(params.hdr.ramdisk_size, 10000);
    assert_int_equal(params.hdr.ramdisk_image % 4096, 0);
    assert_non_null(initrd);
    assert_int_equal(initrd[0], 'i');
    assert_int_equal(initrd[9999], 'i');
    assert_int_equal(params.hdr.cmd_line_ptr, LAYOUT_COMMAND_LINE);
    assert_string_equal(memory_at(memory, (gpa_t){ LAYOUT_COMMAND_LINE }, 6), "hello");
    assert_int_equal(params.acpi_rsdp_addr, LAYOUT_ACPI);
}

/* ---- vmlinux ------------------------------------------------------------------------------------------------------------------------ */

static struct image good_elf(void)
{
    struct guest guest = { 0 };
    struct image image = { 0 };

    guest_reset(&guest);
    image.size = guest_write_elf(&guest, image.bytes);
    return image;
}

static Elf64_Ehdr *elf_header(struct image *image)
{
    return (Elf64_Ehdr *)(void *)image->bytes;
}

static Elf64_Phdr *elf_segment(struct image *image, unsigned index)
{
    return (Elf64_Phdr *)(void *)(image->bytes + sizeof(Elf64_Ehdr)) + index;
}

static void test_elf(void **state)
{
    struct image image = good_elf();
    struct memory memory;
    msb_error *error = NULL;
    gpa_t entry;

    (void)state;
    if (load(&image, &usual, &memory, &entry, &error) < 0)
        fail_msg("%s", msb_error_message(error));
    assert_int_equal(entry.value, GUEST_CODE);
    assert_memory_equal(memory_at(&memory, entry, 16), image.bytes + elf_segment(&image, 0)->p_offset, 16);
    check_initrd_and_command_line(&memory);
    memory_clear(&memory);
}

static void test_e820(void **state)
{
    struct image image = good_elf();
    struct boot_params params;
    struct memory memory;
    gpa_t entry;

    (void)state;
    assert_int_equal(load(&image, &usual, &memory, &entry, NULL), 0);
    params = zero_page(&memory);
    assert_int_equal(params.e820_entries, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(params.e820_table[i].type, i == 1 ? 2 : 1);
    /* What the guest may use does not touch what it finds in the tables' place. */
    assert_true(params.e820_table[0].addr + params.e820_table[0].size <= LAYOUT_ACPI);
    assert_int_equal(params.e820_table[2].addr + params.e820_table[2].size, MEMORY);
    memory_clear(&memory);
}

#define EXPECT_BAD_ELF(words, change)                                                                                            \
    do {                                                                                                                         \
        struct image image = good_elf();                                                                                         \
        Elf64_Ehdr *header = elf_header(&image);                                                                                 \
        Elf64_Phdr *code = elf_segment(&image, 0), *note = elf_segment(&image, 1);                                               \
        (void)header, (void)code, (void)note;                                                                                    \
        change;                                                                                                                  \
        expect_refusal(&image, &usual, words);                                                                                   \
    } while (0)

static void test_bad_elf(void **state)
{
    (void)state;
    EXPECT_BAD_ELF("not a kernel for x86-64", header->e_machine = EM_AARCH64);
    EXPECT_BAD_ELF("not a kernel for x86-64", header->e_ident[EI_CLASS] = ELFCLASS32);
    EXPECT_BAD_ELF("not a kernel for x86-64", header->e_ident[EI_DATA] = ELFDATA2MSB);
    EXPECT_BAD_ELF("not an executable one", header->e_type = ET_REL);
    EXPECT_BAD_ELF("program headers", header->e_phnum = 0);
    EXPECT_BAD_ELF("program headers", header->e_phnum = 65);
    EXPECT_BAD_ELF("program headers", header->e_phentsize = 32);
    EXPECT_BAD_ELF("truncated", header->e_phoff = FILE_MAX);
    EXPECT_BAD_ELF("truncated", header->e_phoff = UINT64_MAX);
    EXPECT_BAD_ELF("without a note", note->p_type = PT_NULL);
    EXPECT_BAD_ELF("without a note", note->p_filesz = 0);
    EXPECT_BAD_ELF("without a note", note->p_filesz = 8);
    EXPECT_BAD_ELF("without a note", note->p_filesz = UINT64_MAX);
    EXPECT_BAD_ELF("without a note", image.bytes[ELF_NOTE + 12] = 'G');
    EXPECT_BAD_ELF("without a note", memset(image.bytes + ELF_NOTE, 0xff, 8));
    EXPECT_BAD_ELF("truncated", note->p_offset = UINT64_MAX - 4);
    EXPECT_BAD_ELF("is not code", header->e_entry = GUEST_CODE - 1);
    EXPECT_BAD_ELF("is not code", header->e_entry = GUEST_CODE + code->p_filesz);
    EXPECT_BAD_ELF("is not code", header->e_entry = UINT64_MAX);
    EXPECT_BAD_ELF("is not code", code->p_flags = PF_R);
    EXPECT_BAD_ELF("larger in the file than in memory", code->p_memsz = code->p_filesz - 1);
    EXPECT_BAD_ELF("truncated", code->p_filesz = code->p_memsz);
    EXPECT_BAD_ELF("truncated", code->p_offset = UINT64_MAX - 10);
    EXPECT_BAD_ELF("below 1 MiB", (code->p_paddr = 4096, header->e_entry = 4096));
    EXPECT_BAD_ELF("too large", code->p_memsz = UINT64_MAX);
    EXPECT_BAD_ELF("too large", code->p_memsz = 1 << 30);
    EXPECT_BAD_ELF("too large", (code->p_paddr = UINT64_MAX - 100, header->e_entry = UINT64_MAX - 100));
    EXPECT_BAD_ELF("needs at least 65 MiB", code->p_memsz = MEMORY - GUEST_CODE + 1);
}

static void test_truncated_elf(void **state)
{
    struct image image = good_elf();
    size_t whole = image.size;

    (void)state;
    for (size_t size = 4; size < whole; size++) {
        image.size = size;
        expect_refusal(&image, &usual, "truncated");
    }
}

/* ---- bzImage ------------------------------------------------------------------------------------------------------------------------ */

static struct setup_header *bzimage_header(struct image *image)
{
    return (struct setup_header *)(void *)(image->bytes + 0x1f1);
}

static struct image good_bzimage(void)
{
    struct image image = { .size = BZIMAGE_SETUP + BZIMAGE_CODE };

    *bzimage_header(&image) = (struct setup_header){
        .setup_sects = BZIMAGE_SETUP / 512 - 1,
        .syssize = BZIMAGE_CODE / 16,
        .boot_flag = 0xaa55,
        .jump = 0x66 << 8 | 0xeb,
        .header = 0x53726448,
        .version = 0x20f,
        .loadflags = LOADED_HIGH,
        .initrd_addr_max = 0x7fffffff,
        .xloadflags = XLF_KERNEL_64,
        .cmdline_size = 2047,
        .pref_address = 0x1000000,
        .init_size = 0x10000,
    };
    memset(image.bytes + BZIMAGE_SETUP, 'k', BZIMAGE_CODE);
    return image;
}

static void test_bzimage(void **state)
{
    struct image image = good_bzimage();
    struct boot_params params;
    struct memory memory;
    msb_error *error = NULL;
    gpa_t entry;

    (void)state;
    if (load(&image, &usual, &memory, &entry, &error) < 0)
        fail_msg("%s", msb_error_message(error));
    assert_int_equal(entry.value, 0x1000200);
    assert_int_equal(*(char *)memory_at(&memory, (gpa_t){ 0x1000000 }, 1), 'k');
    assert_int_equal(*(char *)memory_at(&memory, (gpa_t){ 0x1000000 + BZIMAGE_CODE - 1 }, 1), 'k');
    check_initrd_and_command_line(&memory);
    params = zero_page(&memory);
    assert_int_equal(params.hdr.init_size, 0x10000);
    memory_clear(&memory);
}

#define EXPECT_BAD_BZIMAGE(words, change)                                                                                        \
    do {                                                                                                                         \
        struct image image = good_bzimage();                                                                                     \
        struct setup_header *header = bzimage_header(&image);                                                                    \
        change;                                                                                                                  \
        expect_refusal(&image, &usual, words);                                                                                   \
    } while (0)

static void test_bad_bzimage(void **state)
{
    (void)state;
    EXPECT_BAD_BZIMAGE("neither", header->boot_flag = 0);
    EXPECT_BAD_BZIMAGE("neither", header->header = 0);
    EXPECT_BAD_BZIMAGE("64-bit entry", header->version = 0x20b);
    EXPECT_BAD_BZIMAGE("64-bit entry", header->xloadflags = 0);
    EXPECT_BAD_BZIMAGE("64-bit entry", header->loadflags = 0);
    EXPECT_BAD_BZIMAGE("64-bit entry", header->jump = 0xeb); /* a header that ends before xloadflags */
    EXPECT_BAD_BZIMAGE("truncated", header->syssize = 0);
    EXPECT_BAD_BZIMAGE("truncated", header->syssize = BZIMAGE_CODE / 16 + 1);
    EXPECT_BAD_BZIMAGE("truncated", header->setup_sects = 0); /* stands for 4 */
    EXPECT_BAD_BZIMAGE("truncated", header->setup_sects = 255);
    EXPECT_BAD_BZIMAGE("below 1 MiB", header->pref_address = 0x10000);
    EXPECT_BAD_BZIMAGE("too large", header->pref_address = UINT64_MAX - 10);
    EXPECT_BAD_BZIMAGE("too large", header->init_size = UINT32_MAX);
    EXPECT_BAD_BZIMAGE("needs at least", header->init_size = MEMORY);
    EXPECT_BAD_BZIMAGE("command line has 5 bytes", header->cmdline_size = 4);
    EXPECT_BAD_BZIMAGE("too small: the kernel and its initramfs", header->initrd_addr_max = 0x1008000);
}

/* ---- The rest ------------------------------------------------------------------------------------------------------------------------ */

static void test_not_a_kernel(void **state)
{
    struct image image = { .size = FILE_MAX };

    (void)state;
    expect_refusal(&image, &usual, "neither");
    image.size = 0;
    expect_refusal(&image, &usual, "neither");
    image.size = 3;
    memcpy(image.bytes, "\177EL", 3);
    expect_refusal(&image, &usual, "neither");
}

static void test_this_program(void **state)
{
    _cleanup_fd_ int kernel = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct memory memory = make_memory(MEMORY);
    const struct kernel_boot boot = { .path = "test", .kernel = kernel, .initrd = kernel, .command_line = "" };
    msb_error *error = NULL;
    gpa_t entry;

    (void)state;
    assert_int_equal(kernel_load(&memory, &boot, &entry, &error), -1);
    assert_non_null(strstr(msb_error_message(error), "without a note from Linux"));
    msb_error_free(error);
    memory_clear(&memory);
}

static void test_directory(void **state)
{
    _cleanup_fd_ int kernel = open("/", O_RDONLY | O_CLOEXEC);
    struct memory memory = make_memory(MEMORY);
    const struct kernel_boot boot = { .path = "/", .kernel = kernel, .initrd = kernel, .command_line = "" };
    msb_error *error = NULL;
    gpa_t entry;

    (void)state;
    assert_int_equal(kernel_load(&memory, &boot, &entry, &error), -1);
    assert_non_null(strstr(msb_error_message(error), "not a regular file"));
    msb_error_free(error);
    memory_clear(&memory);
}

static void test_small_memory(void **state)
{
    struct image image = good_elf();
    struct load how = usual;

    (void)state;
    how.memory_size = 1 << 20;
    expect_refusal(&image, &how, "too small for any kernel");
    how.memory_size = 2 << 20; /* the kernel alone takes it all */
    expect_refusal(&image, &how, "too small: the kernel and its initramfs");
    how.memory_size = 3 << 20;
    how.initrd_size = 2 << 20;
    expect_refusal(&image, &how, "too small: the kernel and its initramfs");
}

static void test_command_line(void **state)
{
    struct image image = good_elf();
    char text[2049];
    struct load how = usual;
    struct memory memory;
    gpa_t entry;

    (void)state;
    memset(text, 'c', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    how.command_line = text;
    expect_refusal(&image, &how, "command line has 2048 bytes");
    text[2047] = '\0';
    assert_int_equal(load(&image, &how, &memory, &entry, NULL), 0);
    memory_clear(&memory);
}

static void test_without_initramfs(void **state)
{
    struct image image = good_elf();
    struct load how = usual;
    struct boot_params params;
    struct memory memory;
    gpa_t entry;

    (void)state;
    how.initrd_size = 0;
    assert_int_equal(load(&image, &how, &memory, &entry, NULL), 0);
    params = zero_page(&memory);
    assert_int_equal(params.hdr.ramdisk_size, 0);
    memory_clear(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elf),           cmocka_unit_test(test_e820),         cmocka_unit_test(test_bad_elf),
        cmocka_unit_test(test_truncated_elf), cmocka_unit_test(test_bzimage),      cmocka_unit_test(test_bad_bzimage),
        cmocka_unit_test(test_not_a_kernel),  cmocka_unit_test(test_this_program), cmocka_unit_test(test_directory),
        cmocka_unit_test(test_small_memory),  cmocka_unit_test(test_command_line), cmocka_unit_test(test_without_initramfs),
    };

    return cmocka_run_group_tests_name("kvm kernels", tests, NULL, NULL);
}
