/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests of a few instructions, written by the functions below into 64-bit code, and the machine to run them in. The first GiB is
 * mapped by the engine's own page tables; the guest that a test writes gets page tables of its own, for all addresses below 6 GiB.
 */
#ifndef MSB_TESTS_KVM_GUEST_H
#define MSB_TESTS_KVM_GUEST_H

#include <stddef.h>
#include <stdint.h>

enum { GUEST_CODE_MAX = 16384 };

/* Where guests are put, and where they leave what a test looks at. */
#define GUEST_CODE UINT64_C(0x100000)
#define GUEST_RESULTS UINT64_C(0x180000)
#define GUEST_PAGE_TABLES UINT64_C(0x190000)
#define GUEST_END UINT64_C(0x200000)

struct guest {
    uint8_t code[GUEST_CODE_MAX];
    size_t size;
};

void guest_bytes(struct guest *guest, const void *bytes, size_t size);

/* EAX = the 32 bits at address; the same as a store; both clobber EAX. */
void guest_load(struct guest *guest, uint64_t address);
void guest_store(struct guest *guest, uint64_t address, uint32_t value);
/* width is 1, 2, 4 or 8 bytes. */
void guest_store_wide(struct guest *guest, uint64_t address, uint64_t value, unsigned width);
/* Keeps EAX in results[index]. */
void guest_keep(struct guest *guest, unsigned index);
/* width is 1, 2 or 4 bytes; EAX has what was read, zero-extended. */
void guest_out(struct guest *guest, uint16_t port, uint32_t value, unsigned width);
void guest_in(struct guest *guest, uint16_t port, unsigned width);
/* Ends the VM by the reset register. */
void guest_reset(struct guest *guest);
void guest_halt_forever(struct guest *guest); /* cli; hlt */
void guest_triple_fault(struct guest *guest); /* an exception that nothing handles */

/* Adds the first 2 MiB of virtio-mmio registers to the engine's page tables, where a test cannot bring page tables of its own. */
void guest_map_registers(struct guest *guest);

/* Loads page tables that map 6 GiB one to one; they have to be written by guest_write_page_tables(). */
void guest_map_all(struct guest *guest);
void guest_write_page_tables(uint8_t *memory);

/* An ELF file with the code, which the engine takes for a kernel. Returns its size; out has room for GUEST_CODE_MAX + 4096 bytes. */
size_t guest_write_elf(const struct guest *guest, uint8_t *out);

#endif
