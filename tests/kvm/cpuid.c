/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What CPUID says: no virtualization, no performance counters and no machine checks inside, KVM's own features by list, and numbers
 * of processors that fit together, for Intel and AMD.
 */
#include "engine/kvm/cpuid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const uint32_t leaves[] = {
    0x0,        0x1,        0x4,        0x5,        0x6,        0x7,        0xa,        0xb,
    0xd,        0x10,       0x12,       0x14,       0x1f,       0x40000000, 0x40000001, 0x80000000,
    0x80000001, 0x80000008, 0x8000000a, 0x8000001d, 0x8000001e, 0x80000022, 0x80000026,
};

/* A KVM that supports everything. */
static void fill(struct cpuid *cpuid, const char *vendor)
{
    *cpuid = (struct cpuid){ 0 };
    for (unsigned i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++) {
        struct kvm_cpuid_entry2 *entry = &cpuid->entries[cpuid->head.nent++];

        *entry = (struct kvm_cpuid_entry2){ leaves[i], 0, 0, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, { 0 } };
        if (leaves[i] == 0)
            memcpy(&entry->ebx, vendor, 4);
        if (leaves[i] == 0x4 || leaves[i] == 0x8000001d)
            entry->eax = 3 << 5 | 3; /* a third-level cache */
    }
}

static const struct kvm_cpuid_entry2 *find(const struct cpuid *cpuid, uint32_t leaf, uint32_t index)
{
    for (uint32_t i = 0; i < cpuid->head.nent; i++)
        if (cpuid->entries[i].function == leaf && cpuid->entries[i].index == index)
            return &cpuid->entries[i];
    return NULL;
}

static void test_filter(void **state)
{
    static const uint32_t gone[] = { 0x5, 0xa, 0x10, 0x12, 0x14, 0x1f, 0x8000000a, 0x80000022, 0x80000026 };
    struct cpuid cpuid;

    (void)state;
    fill(&cpuid, "Genu");
    cpuid_filter(&cpuid, true);
    for (unsigned i = 0; i < sizeof(gone) / sizeof(gone[0]); i++)
        assert_null(find(&cpuid, gone[i], 0));
    assert_false(find(&cpuid, 0x1, 0)->ecx & (1U << 5 | 1U << 3 | 1U << 15)); /* VMX, MONITOR, PDCM */
    assert_false(find(&cpuid, 0x1, 0)->edx & (1U << 7 | 1U << 14));           /* MCE, MCA */
    assert_false(find(&cpuid, 0x80000001, 0)->ecx & (1U << 2 | 1U << 23));    /* SVM, PERFCTR_CORE */
    assert_false(find(&cpuid, 0x7, 0)->ebx & 1U << 2);                        /* SGX */
    assert_int_equal(find(&cpuid, 0x6, 0)->eax, 1U << 2);                     /* ARAT alone */
    assert_int_equal(find(&cpuid, 0x6, 0)->ecx, 0);
    assert_int_equal(find(&cpuid, 0xd, 0)->eax, UINT32_MAX);
}

static void test_forced_bits(void **state)
{
    struct cpuid cpuid;

    (void)state;
    fill(&cpuid, "Genu");
    cpuid.entries[1].ecx = 0;
    cpuid_filter(&cpuid, true);
    assert_int_equal(find(&cpuid, 0x1, 0)->ecx, 1U << 31 | 1U << 24 | 1U << 21);
    fill(&cpuid, "Genu");
    cpuid_filter(&cpuid, false);
    assert_false(find(&cpuid, 0x1, 0)->ecx & 1U << 24);
}

static void test_paravirtual_features(void **state)
{
    /* NOP_IO_DELAY, kvmclock, steal time, PV EOI, unhalt, TLB flush, IPI, halt polling, yield, stable clock */
    const uint32_t expected = 1 << 1 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 9 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 24;
    struct cpuid cpuid;

    (void)state;
    fill(&cpuid, "Genu");
    cpuid_filter(&cpuid, true);
    assert_int_equal(find(&cpuid, 0x40000001, 0)->eax, expected);
    assert_int_equal(find(&cpuid, 0x40000001, 0)->edx, 0);
}

static void test_numbers(void **state)
{
    static const struct {
        uint32_t count, bits;
    } cases[] = { { 1, 0 }, { 2, 1 }, { 3, 2 }, { 4, 2 }, { 5, 3 }, { 32, 5 }, { 33, 6 }, { 255, 8 } };

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t count = cases[i].count, last = count - 1;
        struct cpuid cpuid;

        fill(&cpuid, "Genu");
        cpuid_filter(&cpuid, true);
        cpuid_number(&cpuid, 0, count);
        cpuid_number(&cpuid, last, count); /* one table serves all, one after the other */
        assert_int_equal(find(&cpuid, 0x1, 0)->ebx >> 24, last);
        assert_int_equal(find(&cpuid, 0x1, 0)->ebx >> 16 & 0xff, count);
        assert_int_equal(find(&cpuid, 0x1, 0)->edx >> 28 & 1, count > 1);
        assert_int_equal(find(&cpuid, 0xb, 0)->eax, 0);
        assert_int_equal(find(&cpuid, 0xb, 0)->ebx, 1);
        assert_int_equal(find(&cpuid, 0xb, 0)->ecx, 0x100);
        assert_int_equal(find(&cpuid, 0xb, 1)->eax, cases[i].bits);
        assert_int_equal(find(&cpuid, 0xb, 1)->ebx, count);
        assert_int_equal(find(&cpuid, 0xb, 1)->ecx, 0x201);
        assert_int_equal(find(&cpuid, 0xb, 1)->edx, last);
        assert_int_equal(find(&cpuid, 0x4, 0)->eax >> 14 & 0xfff, last);
        assert_int_equal(find(&cpuid, 0x80000008, 0)->ecx, UINT32_MAX); /* AMD's, not Intel's */
        assert_null(find(&cpuid, 0xb, 2));
    }
}

static void test_numbers_of_amd(void **state)
{
    struct cpuid cpuid;

    (void)state;
    fill(&cpuid, "Auth");
    cpuid_filter(&cpuid, true);
    cpuid_number(&cpuid, 2, 5);
    assert_int_equal(find(&cpuid, 0x80000008, 0)->ecx & 0xffff, 3 << 12 | 4);
    assert_int_equal(find(&cpuid, 0x8000001e, 0)->eax, 2);
    assert_int_equal(find(&cpuid, 0x8000001e, 0)->ebx, 2);
    assert_int_equal(find(&cpuid, 0x8000001d, 0)->eax >> 14 & 0xfff, 4);
    assert_int_equal(find(&cpuid, 0x80000001, 0)->ecx >> 1 & 1, 1);
    cpuid_number(&cpuid, 0, 1);
    assert_int_equal(find(&cpuid, 0x80000001, 0)->ecx >> 1 & 1, 0);
}

/* A table that is full already loses nothing but the topology. */
static void test_full_table(void **state)
{
    struct cpuid cpuid = { .head.nent = CPUID_MAX_ENTRIES };

    (void)state;
    for (uint32_t i = 0; i < CPUID_MAX_ENTRIES; i++)
        cpuid.entries[i] = (struct kvm_cpuid_entry2){ .function = 0xd, .index = i };
    cpuid_filter(&cpuid, true);
    assert_int_equal(cpuid.head.nent, CPUID_MAX_ENTRIES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filter),  cmocka_unit_test(test_forced_bits),    cmocka_unit_test(test_paravirtual_features),
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_numbers_of_amd), cmocka_unit_test(test_full_table),
    };

    return cmocka_run_group_tests_name("kvm cpuid", tests, NULL, NULL);
}
