/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest-physical map: where everything lies that the guest finds when it starts. docs/kvm-engine.md has the picture.
 *
 *   0x0000'0500              segment descriptors of the first instruction
 *   0x0000'7000              the zero page (struct boot_params)
 *   0x0000'9000              page tables: the first GiB, one to one
 *   0x0002'0000              kernel command line
 *   0x000e'0000              ACPI tables
 *   0x0010'0000 ...          kernel, free memory, initramfs at the top of low memory
 *   0xc000'0000-0xffff'ffff  no memory: virtio-mmio register pages, I/O APIC, local APICs
 *   0x1'0000'0000 ...        the rest of the memory, when there is more than 3 GiB
 */
#ifndef MSB_ENGINE_KVM_LAYOUT_H
#define MSB_ENGINE_KVM_LAYOUT_H

#include <stdint.h>

#define LAYOUT_GDT UINT64_C(0x500)
#define LAYOUT_ZERO_PAGE UINT64_C(0x7000)
#define LAYOUT_PAGE_TABLES UINT64_C(0x9000)
#define LAYOUT_COMMAND_LINE UINT64_C(0x20000)
#define LAYOUT_COMMAND_LINE_MAX UINT64_C(0x10000) /* bytes, the final NUL included */
#define LAYOUT_LOW_END UINT64_C(0x9f000)          /* of the memory below the legacy hole */
#define LAYOUT_ACPI UINT64_C(0xe0000)
#define LAYOUT_ACPI_MAX UINT64_C(0x20000)
#define LAYOUT_HIGH UINT64_C(0x100000)         /* memory that the kernel may use freely starts here */
#define LAYOUT_MAPPED_END UINT64_C(0x40000000) /* what the first page tables map: the kernel must lie below */
#define LAYOUT_HOLE UINT64_C(0xc0000000)
#define LAYOUT_MMIO UINT64_C(0xd0000000) /* one page for each virtio-mmio device */
#define LAYOUT_IO_APIC UINT64_C(0xfec00000)
#define LAYOUT_LOCAL_APIC UINT64_C(0xfee00000)
#define LAYOUT_TSS UINT64_C(0xfffbd000) /* three pages that Intel's real-mode emulation needs */
#define LAYOUT_ABOVE_4G UINT64_C(0x100000000)

enum {
    LAYOUT_MMIO_SIZE = 0x1000, /* of one device */
    LAYOUT_MAX_DEVICES = 8,    /* the I/O APIC's inputs that the legacy interrupt controller does not share */
    LAYOUT_MAX_VCPUS = 255,    /* APIC ids 0 to 254; 255 is the broadcast */
    LAYOUT_FIRST_GSI = 16,     /* device N interrupts at LAYOUT_FIRST_GSI + N */

    /* I/O ports */
    PORT_I8042 = 0x64, /* 0xfe resets, as every PC does */
    PORT_UART = 0x3f8,
    PORT_SLEEP_CONTROL = 0x600,
    PORT_SLEEP_STATUS = 0x601,
    PORT_RESET = 0x602,
    RESET_VALUE = 1,
    SLEEP_TYPE_S5 = 5,
};

#endif
