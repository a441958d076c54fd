/* SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"

#include "engine/kvm/layout.h"

#include <assert.h>
#include <elf.h>
#include <string.h>

void guest_bytes(struct guest *guest, const void *bytes, size_t size)
{
    assert(size <= sizeof(guest->code) - guest->size);
    memcpy(guest->code + guest->size, bytes, size);
    guest->size += size;
}

static void number(struct guest *guest, uint64_t value, unsigned width)
{
    guest_bytes(guest, &value, width); /* little-endian, like this machine */
}

#define BYTES(guest, ...) guest_bytes(guest, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

void guest_load(struct guest *guest, uint64_t address)
{
    BYTES(guest, 0xa1); /* mov eax, [address] */
    number(guest, address, 8);
}

void guest_store(struct guest *guest, uint64_t address, uint32_t value)
{
    guest_store_wide(guest, address, value, 4);
}

void guest_store_wide(struct guest *guest, uint64_t address, uint64_t value, unsigned width)
{
    BYTES(guest, 0x48, 0xb8); /* mov rax, value */
    number(guest, value, 8);
    if (width == 2)
        BYTES(guest, 0x66);
    if (width == 8)
        BYTES(guest, 0x48);
    BYTES(guest, width == 1 ? 0xa2 : 0xa3); /* mov [address], al / ax / eax / rax */
    number(guest, address, 8);
}

void guest_keep(struct guest *guest, unsigned index)
{
    BYTES(guest, 0xa3);
    number(guest, GUEST_RESULTS + 4 * index, 8);
}

void guest_out(struct guest *guest, uint16_t port, uint32_t value, unsigned width)
{
    BYTES(guest, 0xb8); /* mov eax, value */
    number(guest, value, 4);
    BYTES(guest, 0x66, 0xba); /* mov dx, port */
    number(guest, port, 2);
    if (width == 2)
        BYTES(guest, 0x66);
    BYTES(guest, width == 1 ? 0xee : 0xef); /* out dx, al / ax / eax */
}

void guest_in(struct guest *guest, uint16_t port, unsigned width)
{
    BYTES(guest, 0x31, 0xc0, 0x66, 0xba); /* xor eax, eax; mov dx, port */
    number(guest, port, 2);
    if (width == 2)
        BYTES(guest, 0x66);
    BYTES(guest, width == 1 ? 0xec : 0xed); /* in al / ax / eax, dx */
}

void guest_reset(struct guest *guest)
{
    guest_out(guest, PORT_RESET, RESET_VALUE, 1);
    guest_halt_forever(guest); /* not reached */
}

void guest_halt_forever(struct guest *guest)
{
    BYTES(guest, 0xfa, 0xf4, 0xeb, 0xfc); /* cli; again: hlt; jmp again */
}

void guest_triple_fault(struct guest *guest)
{
    BYTES(guest, 0x0f, 0x0b); /* ud2 */
}

void guest_map_registers(struct guest *guest)
{
    const uint64_t third_gib = LAYOUT_PAGE_TABLES + 4096 + 3 * 8;

    guest_store_wide(guest, GUEST_PAGE_TABLES + 8 * ((LAYOUT_MMIO >> 21) % 512), LAYOUT_MMIO | 0x83, 8);
    guest_store_wide(guest, third_gib, GUEST_PAGE_TABLES | 3, 8);
}

void guest_map_all(struct guest *guest)
{
    BYTES(guest, 0xb8); /* mov eax, GUEST_PAGE_TABLES */
    number(guest, GUEST_PAGE_TABLES, 4);
    BYTES(guest, 0x0f, 0x22, 0xd8); /* mov cr3, rax */
}

void guest_write_page_tables(uint8_t *memory)
{
    enum { PRESENT_WRITABLE = 3, LARGE = 1 << 7, ENTRIES = 512, GIBIBYTES = 6 };
    uint64_t *tables = (uint64_t *)(void *)(memory + GUEST_PAGE_TABLES);

    tables[0] = (GUEST_PAGE_TABLES + 4096) | PRESENT_WRITABLE;
    for (uint64_t i = 0; i < GIBIBYTES; i++)
        tables[ENTRIES + i] = (GUEST_PAGE_TABLES + (2 + i) * 4096) | PRESENT_WRITABLE;
    for (uint64_t i = 0; i < GIBIBYTES * ENTRIES; i++)
        tables[2 * ENTRIES + i] = i << 21 | PRESENT_WRITABLE | LARGE;
}

size_t guest_write_elf(const struct guest *guest, uint8_t *out)
{
    static const struct {
        Elf64_Nhdr head;
        char name[8];
    } note = { { .n_namesz = 6, .n_type = 0x101 }, "Linux" };
    const size_t code_offset = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr) + sizeof(note);
    const Elf64_Ehdr header = {
        .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
        .e_type = ET_EXEC,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_entry = GUEST_CODE,
        .e_phoff = sizeof(header),
        .e_ehsize = sizeof(header),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 2,
    };
    const Elf64_Phdr segments[2] = {
        {
            .p_type = PT_LOAD,
            .p_flags = PF_R | PF_X,
            .p_offset = code_offset,
            .p_vaddr = GUEST_CODE,
            .p_paddr = GUEST_CODE,
            .p_filesz = guest->size,
            .p_memsz = GUEST_END - GUEST_CODE,
        },
        { .p_type = PT_NOTE, .p_offset = code_offset - sizeof(note), .p_filesz = sizeof(note), .p_memsz = sizeof(note) },
    };

    memcpy(out, &header, sizeof(header));
    memcpy(out + sizeof(header), segments, sizeof(segments));
    memcpy(out + sizeof(header) + sizeof(segments), &note, sizeof(note));
    memcpy(out + code_offset, guest->code, guest->size);
    return code_offset + guest->size;
}
