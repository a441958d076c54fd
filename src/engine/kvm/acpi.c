/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/acpi.h"

#include "engine/kvm/layout.h"

#include <stdbool.h>
#include <string.h>

/* Where the next byte goes. A writer that ran out of room stays full and is asked once, at the end. */
struct tables {
    uint8_t *bytes;
    size_t size;
    size_t used;
    bool full;
};

enum { HEADER_SIZE = 36 }; /* section 5.2.6, System Description Table Header */

static void put(struct tables *t, uint64_t value, unsigned width)
{
    if (t->size - t->used < width) {
        t->full = true;
        return;
    }
    for (unsigned i = 0; i < width; i++)
        t->bytes[t->used++] = (uint8_t)(value >> (8 * i));
}

static void put_text(struct tables *t, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        put(t, (uint8_t)text[i], 1);
}

static void put_zeros(struct tables *t, size_t count)
{
    for (size_t i = 0; i < count; i++)
        put(t, 0, 1);
}

/* Changes what was written before; a full writer may not have written it. */
static void patch(struct tables *t, size_t at, uint64_t value, unsigned width)
{
    if (t->full)
        return;
    for (unsigned i = 0; i < width; i++)
        t->bytes[at + i] = (uint8_t)(value >> (8 * i));
}

static void patch_checksum(struct tables *t, size_t begin, size_t length, size_t at)
{
    uint8_t sum = 0;

    if (t->full)
        return;
    for (size_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + t->bytes[begin + i]);
    patch(t, at, (uint8_t)-sum, 1);
}

static size_t begin_table(struct tables *t, const char *signature, uint8_t revision)
{
    size_t begin;

    put_zeros(t, -t->used & 7);
    begin = t->used;
    put_text(t, signature, 4);
    put(t, 0, 4); /* length */
    put(t, revision, 1);
    put(t, 0, 1); /* checksum */
    put_text(t, "MSB   ", 6);
    put_text(t, "MICROVM ", 8);
    put(t, 1, 4);
    put_text(t, "MSB ", 4);
    put(t, 1, 4);
    return begin;
}

static void end_table(struct tables *t, size_t begin)
{
    patch(t, begin + 4, t->used - begin, 4);
    patch_checksum(t, begin, t->used - begin, begin + 9);
}

/* Section 5.2.3.2, Generic Address Structure: an 8-bit I/O port. */
static void put_port(struct tables *t, uint16_t port)
{
    put(t, 1, 1); /* system I/O space */
    put(t, 8, 1); /* bits */
    put(t, 0, 1);
    put(t, 1, 1); /* accessed as a byte */
    put(t, port, 8);
}

/* ---- DSDT: ACPI Machine Language (section 20) ------------------------------------------------------------------------------------ */

enum {
    AML_ZERO = 0x00,
    AML_NAME = 0x08,
    AML_BYTE = 0x0a,
    AML_DWORD = 0x0c,
    AML_STRING = 0x0d,
    AML_SCOPE = 0x10,
    AML_BUFFER = 0x11,
    AML_PACKAGE = 0x12,
    AML_EXTENDED = 0x5b,
    AML_DEVICE = 0x82,
    PACKAGE_LENGTH_SIZE = 4, /* always the longest form, so that the length can be filled in afterwards */
};

/* Section 20.2.4: the length counts itself; the first byte has how many follow, and the lowest four bits. */
static size_t begin_package(struct tables *t)
{
    size_t begin = t->used;

    put(t, 0, PACKAGE_LENGTH_SIZE);
    return begin;
}

static void end_package(struct tables *t, size_t begin)
{
    size_t length = t->used - begin;

    patch(t, begin, 0xc0 | (length & 0xf) | (length >> 4) << 8, PACKAGE_LENGTH_SIZE);
}

static void put_name(struct tables *t, const char *name)
{
    put(t, AML_NAME, 1);
    put_text(t, name, 4);
}

/* Name(_S5, Package() { 5, 5, 0, 0 }): the value for the sleep control register that powers off (section 7.4.2.6). */
static void put_power_off(struct tables *t)
{
    size_t package;

    put_name(t, "_S5_");
    put(t, AML_PACKAGE, 1);
    package = begin_package(t);
    put(t, 4, 1);
    put(t, AML_BYTE, 1);
    put(t, SLEEP_TYPE_S5, 1);
    put(t, AML_BYTE, 1);
    put(t, SLEEP_TYPE_S5, 1);
    put(t, AML_ZERO, 1);
    put(t, AML_ZERO, 1);
    end_package(t, package);
}

/* Name(_CRS, ResourceTemplate() { Memory32Fixed(ReadWrite, page, size) Interrupt(ResourceConsumer, Edge, ActiveHigh, Exclusive)
   { gsi } }), sections 6.4.3.4 and 6.4.3.6. */
static void put_resources(struct tables *t, uint64_t page, uint32_t gsi)
{
    size_t package;

    put_name(t, "_CRS");
    put(t, AML_BUFFER, 1);
    package = begin_package(t);
    put(t, AML_BYTE, 1);
    put(t, 12 + 9 + 2, 1); /* bytes of the three descriptors below */
    put(t, 0x86, 1);       /* 32-bit fixed memory range */
    put(t, 9, 2);
    put(t, 1, 1);
    put(t, page, 4);
    put(t, LAYOUT_MMIO_SIZE, 4);
    put(t, 0x89, 1); /* extended interrupt */
    put(t, 6, 2);
    put(t, 3, 1); /* consumer, edge, active high, exclusive */
    put(t, 1, 1);
    put(t, gsi, 4);
    put(t, 0x79, 1); /* end; a checksum of 0 is not checked */
    put(t, 0, 1);
    end_package(t, package);
}

static void put_device(struct tables *t, uint32_t index)
{
    char name[4] = { 'V', 'I', 'O', (char)('0' + index) };
    size_t package;

    put(t, AML_EXTENDED, 1);
    put(t, AML_DEVICE, 1);
    package = begin_package(t);
    put_text(t, name, 4);
    put_name(t, "_HID");
    put(t, AML_STRING, 1);
    put_text(t, "LNRO0005", 9); /* with its NUL: Linux's identifier of virtio-mmio */
    put_name(t, "_UID");
    put(t, AML_BYTE, 1);
    put(t, index, 1);
    /* Cache-coherent: without it Linux asks nobody else on x86, but says so at each boot. */
    put_name(t, "_CCA");
    put(t, AML_BYTE, 1);
    put(t, 1, 1);
    put_resources(t, LAYOUT_MMIO + (uint64_t)index * LAYOUT_MMIO_SIZE, LAYOUT_FIRST_GSI + index);
    end_package(t, package);
}

static size_t put_dsdt(struct tables *t, uint32_t num_devices)
{
    size_t begin = begin_table(t, "DSDT", 2);
    size_t scope;

    put_power_off(t);
    put(t, AML_SCOPE, 1);
    scope = begin_package(t);
    put_text(t, "\\_SB_", 5);
    for (uint32_t i = 0; i < num_devices; i++)
        put_device(t, i);
    end_package(t, scope);
    end_table(t, begin);
    return begin;
}

/* ---- The fixed tables ------------------------------------------------------------------------------------------------------------ */

/* Section 5.2.9. */
static size_t put_fadt(struct tables *t, uint64_t dsdt)
{
    enum {
        FLAG_WBINVD = 1 << 0,
        FLAG_NO_POWER_BUTTON = 1 << 4,
        FLAG_NO_SLEEP_BUTTON = 1 << 5,
        FLAG_RESET_REGISTER = 1 << 10,
        FLAG_HARDWARE_REDUCED = 1 << 20,
        BOOT_NO_VGA = 1 << 2,
        BOOT_NO_MSI = 1 << 3,
        BOOT_NO_RTC = 1 << 5,
    };
    size_t begin = begin_table(t, "FACP", 6);

    put_zeros(t,
              109 - HEADER_SIZE); /* the 32-bit addresses and everything of the hardware that a reduced machine does not have */
    put(t, BOOT_NO_VGA | BOOT_NO_MSI | BOOT_NO_RTC, 2); /* no legacy devices and no 8042 either: those bits are clear */
    put(t, 0, 1);
    put(t, FLAG_WBINVD | FLAG_NO_POWER_BUTTON | FLAG_NO_SLEEP_BUTTON | FLAG_RESET_REGISTER | FLAG_HARDWARE_REDUCED, 4);
    put_port(t, PORT_RESET);
    put(t, RESET_VALUE, 1);
    put(t, 0, 2); /* ARM boot flags */
    put(t, 5, 1); /* minor revision */
    put(t, 0, 8); /* X_FIRMWARE_CTRL: a reduced machine may do without a FACS */
    put(t, dsdt, 8);
    put_zeros(t, 244 - 148); /* register blocks of the full hardware */
    put_port(t, PORT_SLEEP_CONTROL);
    put_port(t, PORT_SLEEP_STATUS);
    put_text(t, "MSB\0\0\0\0", 8);
    end_table(t, begin);
    return begin;
}

/* Section 5.2.12. */
static size_t put_madt(struct tables *t, uint32_t num_vcpus)
{
    enum { LOCAL_APIC = 0, IO_APIC = 1, ENABLED = 1 };
    size_t begin = begin_table(t, "APIC", 5);

    put(t, LAYOUT_LOCAL_APIC, 4);
    put(t, 0, 4); /* no 8259 to be silenced */
    for (uint32_t i = 0; i < num_vcpus; i++) {
        put(t, LOCAL_APIC, 1);
        put(t, 8, 1);
        put(t, i, 1); /* its number in the name space, which has no processors */
        put(t, i, 1); /* its APIC id, as in CPUID */
        put(t, ENABLED, 4);
    }
    put(t, IO_APIC, 1);
    put(t, 12, 1);
    put(t, 0, 2);
    put(t, LAYOUT_IO_APIC, 4);
    put(t, 0, 4); /* its inputs are the interrupts from 0 */
    end_table(t, begin);
    return begin;
}

/* Section 5.2.8. */
static size_t put_xsdt(struct tables *t, uint64_t fadt, uint64_t madt)
{
    size_t begin = begin_table(t, "XSDT", 1);

    put(t, fadt, 8);
    put(t, madt, 8);
    end_table(t, begin);
    return begin;
}

/* Section 5.2.5.3: the root pointer, in the room that was left for it. */
static void patch_rsdp(struct tables *t, uint64_t xsdt)
{
    if (t->full)
        return;
    memcpy(t->bytes, "RSD PTR ", 8);
    memcpy(t->bytes + 9, "MSB   ", 6);
    patch(t, 15, 2, 1);  /* revision */
    patch(t, 20, 36, 4); /* length */
    patch(t, 24, xsdt, 8);
    patch_checksum(t, 0, 20, 8);
    patch_checksum(t, 0, 36, 32);
}

size_t acpi_write(uint8_t *tables, size_t size, uint64_t address, uint32_t num_vcpus, uint32_t num_devices)
{
    struct tables t = { .bytes = tables, .size = size };
    size_t dsdt, fadt, madt, xsdt;

    put_zeros(&t, 40); /* the root pointer, written last, rounded up */
    dsdt = put_dsdt(&t, num_devices);
    fadt = put_fadt(&t, address + dsdt);
    madt = put_madt(&t, num_vcpus);
    xsdt = put_xsdt(&t, address + fadt, address + madt);
    patch_rsdp(&t, address + xsdt);
    return t.full ? 0 : t.used;
}
