/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A memory size as Docker's --memory: a number of bytes, or a number with a suffix.
 */
#include "config/text.h"

#include <inttypes.h>

enum { MEBIBYTE_SHIFT = 20 };

static const struct {
    const char *suffix;
    unsigned shift;
} units[] = {
    { "b", 0 },    { "k", 10 }, { "kb", 10 }, { "kib", 10 }, { "m", 20 }, { "mb", 20 },
    { "mib", 20 }, { "g", 30 }, { "gb", 30 }, { "gib", 30 }, { "", 0 },
};

static bool find_shift(struct text suffix, unsigned *shift)
{
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (text_equal_nocase(suffix, units[i].suffix)) {
            *shift = units[i].shift;
            return true;
        }
    }
    return false;
}

int msb_memory_parse(const char *text, size_t length, uint32_t *mebibytes, msb_error **err)
{
    static const char what[] = "memory size";
    struct text value = text_of(text, length), digits = value, suffix;
    uint64_t number, bytes;
    unsigned shift;

    digits.length = 0;
    while (digits.length < value.length && digits.bytes[digits.length] >= '0' && digits.bytes[digits.length] <= '9')
        digits.length++;
    suffix = (struct text){ value.bytes + digits.length, value.length - digits.length };
    if (!text_number(digits, UINT64_MAX, &number) || !find_shift(suffix, &shift))
        return refuse(err, what, value, "is no size; write a whole number with a suffix b, k, m or g, such as 512m");
    if (number > UINT64_MAX >> shift || (number << shift) >> MEBIBYTE_SHIFT > UINT32_MAX)
        return refuse(err, what, value, "is too large; the most is %um", UINT32_MAX);
    bytes = number << shift;
    if (bytes < 1u << MEBIBYTE_SHIFT)
        return refuse(err, what, value, "is below one MiB; a number without a suffix counts bytes, so write m behind it for MiB");
    if (bytes & ((1u << MEBIBYTE_SHIFT) - 1))
        return refuse(err, what, value, "is no whole number of MiB; write %" PRIu64 "m", (bytes >> MEBIBYTE_SHIFT) + 1);
    *mebibytes = (uint32_t)(bytes >> MEBIBYTE_SHIFT);
    return 0;
}
