/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables, as their reader finds them: from the root pointer on, with every length and checksum. ACPICA's own disassembler
 * says whether it understands them, and what it reads.
 */
#include "engine/kvm/acpi.h"
#include "engine/kvm/layout.h"
#include "util/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { SIZE = 0x20000, TEXT_MAX = 1 << 20 };

static uint8_t bytes[SIZE];

static uint64_t number(const uint8_t *at, unsigned width)
{
    uint64_t value = 0;

    memcpy(&value, at, width);
    return value;
}

static uint8_t sum(const uint8_t *at, size_t size)
{
    uint8_t total = 0;

    for (size_t i = 0; i < size; i++)
        total = (uint8_t)(total + at[i]);
    return total;
}

static const uint8_t *table_at(uint64_t address, const char *signature, size_t used)
{
    const uint8_t *table = bytes + (address - LAYOUT_ACPI);

    assert_in_range(address, LAYOUT_ACPI, LAYOUT_ACPI + used - 36);
    assert_memory_equal(table, signature, 4);
    assert_true(number(table + 4, 4) <= LAYOUT_ACPI + used - address);
    assert_int_equal(sum(table, number(table + 4, 4)), 0);
    return table;
}

struct tables {
    const uint8_t *fadt, *madt, *dsdt;
};

static struct tables write_tables(uint32_t num_vcpus, uint32_t num_devices)
{
    size_t used = acpi_write(bytes, sizeof(bytes), LAYOUT_ACPI, num_vcpus, num_devices);
    struct tables tables;
    const uint8_t *xsdt;

    assert_true(used > 0);
    assert_memory_equal(bytes, "RSD PTR ", 8);
    assert_int_equal(sum(bytes, 20), 0);
    assert_int_equal(sum(bytes, 36), 0);
    xsdt = table_at(number(bytes + 24, 8), "XSDT", used);
    assert_int_equal(number(xsdt + 4, 4), 36 + 2 * 8);
    tables.fadt = table_at(number(xsdt + 36, 8), "FACP", used);
    tables.madt = table_at(number(xsdt + 44, 8), "APIC", used);
    tables.dsdt = table_at(number(tables.fadt + 140, 8), "DSDT", used);
    return tables;
}

static void test_structure(void **state)
{
    (void)state;
    for (uint32_t devices = 0; devices <= LAYOUT_MAX_DEVICES; devices++) {
        struct tables tables = write_tables(devices + 1, devices);

        assert_int_equal(number(tables.fadt + 4, 4), 276); /* ACPI 6.5, table 5.9 */
        assert_int_equal(number(tables.madt + 4, 4), 44 + 8 * (devices + 1) + 12);
    }
    write_tables(LAYOUT_MAX_VCPUS, LAYOUT_MAX_DEVICES);
}

static void test_no_room(void **state)
{
    static uint8_t small[SIZE];
    size_t used = acpi_write(bytes, sizeof(bytes), LAYOUT_ACPI, 4, 5);

    (void)state;
    for (size_t size = 0; size < used; size++) {
        memset(small + size, 0x55, 64);
        assert_int_equal(acpi_write(small, size, LAYOUT_ACPI, 4, 5), 0);
        for (unsigned i = 0; i < 64; i++)
            assert_int_equal(small[size + i], 0x55);
    }
}

/* ---- With iasl ------------------------------------------------------------------------------------------------------------------------- */

static char directory[] = "/tmp/msb-test-acpi-XXXXXX";

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    DIR *dir = opendir(directory);
    struct dirent *entry;

    (void)state;
    while (dir && (entry = readdir(dir)))
        unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    return rmdir(directory);
}

/* Disassembles one table; returns the text, which lives until the next call. */
static const char *disassemble(const uint8_t *table)
{
    static char text[TEXT_MAX];
    char path[128], command[512];
    uint32_t size = (uint32_t)number(table + 4, 4);
    FILE *file;
    size_t length;

    snprintf(path, sizeof(path), "%s/table.dat", directory);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(table, 1, size, file), size);
    fclose(file);
    snprintf(command, sizeof(command), "iasl -d %s >%s/log 2>&1", path, directory);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof(path), "%s/table.dsl", directory);
    file = fopen(path, "r");
    assert_non_null(file);
    length = fread(text, 1, sizeof(text) - 1, file);
    text[length] = '\0';
    fclose(file);
    return text;
}

static void expect(const char *text, const char *words)
{
    assert_non_null(text);
    if (!strstr(text, words))
        fail_msg("the disassembly does not have \"%s\":\n%s", words, text);
}

static void test_disassembly(void **state)
{
    struct tables tables = write_tables(3, 2);
    const char *text;
    char command[256];

    (void)state;
    if (system("command -v iasl >/dev/null") != 0)
        skip();
    text = disassemble(tables.dsdt);
    expect(text, "Name (_HID, \"LNRO0005\")");
    expect(text, "0xD0001000,         // Address Base");
    expect(text, "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive");
    expect(text, "0x00000011,");
    expect(text, "Name (_S5, Package (0x04)");
    /* Back again: the compiler has nothing against it. */
    snprintf(command, sizeof(command), "iasl -we -p %s/again %s/table.dsl >/dev/null 2>&1", directory, directory);
    assert_int_equal(system(command), 0);
    text = disassemble(tables.fadt);
    expect(text, "Hardware Reduced (V5) : 1");
    expect(text, "Reset Register Supported (V2) : 1");
    expect(text, "Reset Register : [Generic Address Structure]");
    expect(text, "Address : 0000000000000602");
    expect(text, "Address : 0000000000000600");
    expect(text, "CMOS RTC Not Present (V5) : 1");
    expect(text, "8042 Present on ports 60/64 (V2) : 0");
    text = disassemble(tables.madt);
    expect(text, "Local Apic ID : 02");
    expect(text, "Address : FEC00000");
    assert_null(strstr(text, "Local Apic ID : 03"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_structure),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test_setup_teardown(test_disassembly, make_directory, remove_directory),
    };

    return cmocka_run_group_tests_name("kvm acpi", tests, NULL, NULL);
}
