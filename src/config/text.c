/* SPDX-License-Identifier: Apache-2.0 */
#include "config/text.h"

#include "util/cleanup.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

struct text text_of(const char *bytes, size_t length)
{
    if (!bytes)
        return (struct text){ "", 0 };
    return (struct text){ bytes, length == MSB_LENGTH_UNKNOWN ? strlen(bytes) : length };
}

static bool cut_at(struct text whole, const char *at, struct text *before, struct text *after)
{
    if (!at)
        return false;
    *before = (struct text){ whole.bytes, (size_t)(at - whole.bytes) };
    *after = (struct text){ at + 1, whole.length - before->length - 1 };
    return true;
}

bool text_cut_first(struct text whole, char separator, struct text *before, struct text *after)
{
    return cut_at(whole, memchr(whole.bytes, separator, whole.length), before, after);
}

bool text_cut_last(struct text whole, char separator, struct text *before, struct text *after)
{
    return cut_at(whole, memrchr(whole.bytes, separator, whole.length), before, after);
}

bool text_equal(struct text text, const char *string)
{
    return text.length == strlen(string) && !memcmp(text.bytes, string, text.length);
}

bool text_equal_nocase(struct text text, const char *string)
{
    return text.length == strlen(string) && !strncasecmp(text.bytes, string, text.length);
}

bool text_has(struct text text, char byte)
{
    return memchr(text.bytes, byte, text.length) != NULL;
}

bool text_number(struct text text, uint64_t max, uint64_t *number)
{
    uint64_t value = 0;

    if (text.length == 0)
        return false;
    for (size_t i = 0; i < text.length; i++) {
        unsigned digit = (unsigned)(unsigned char)text.bytes[i] - '0';

        if (digit > 9 || value > (max - digit) / 10 || digit > max)
            return false;
        value = value * 10 + digit;
    }
    *number = value;
    return true;
}

char *text_copy(struct text text)
{
    char *copy = malloc(text.length + 1);

    if (!copy)
        return NULL;
    memcpy(copy, text.bytes, text.length);
    copy[text.length] = '\0';
    return copy;
}

/* How many bytes the character at the beginning of a text has, which is not empty; 0: it is not well-formed UTF-8. */
static size_t utf8_size(struct text text)
{
    const unsigned char *s = (const unsigned char *)text.bytes;
    size_t size = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;

    if (size > text.length)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0; /* overlong, a surrogate, or beyond Unicode */
    return size;
}

bool text_is_utf8(struct text text)
{
    while (text.length) {
        size_t size = utf8_size(text);

        if (!size)
            return false;
        text.bytes += size;
        text.length -= size;
    }
    return true;
}

/* As utf8_size(), and 0 too for what must not be shown as it is: control characters can steer a terminal. */
static size_t printable_size(struct text text)
{
    unsigned char first = (unsigned char)text.bytes[0];
    size_t size = utf8_size(text);

    if (first < 0x20 || first == 0x7f || first == '"' || first == '\\')
        return 0;
    return size == 2 && first == 0xc2 && (unsigned char)text.bytes[1] < 0xa0 ? 0 : size;
}

static char *quote_byte(char *out, unsigned char byte)
{
    static const char digits[] = "0123456789abcdef";

    *out++ = '\\';
    switch (byte) {
    case '\n':
        *out++ = 'n';
        return out;
    case '\t':
        *out++ = 't';
        return out;
    case '\r':
        *out++ = 'r';
        return out;
    case '"':
    case '\\':
        *out++ = (char)byte;
        return out;
    default:
        *out++ = 'x';
        *out++ = digits[byte >> 4];
        *out++ = digits[byte & 15];
        return out;
    }
}

char *text_quote(struct text text)
{
    char *quoted = malloc(text.length * 4 + 3), *out = quoted;

    if (!quoted)
        return NULL;
    *out++ = '"';
    while (text.length) {
        size_t size = printable_size(text);

        if (size)
            out = mempcpy(out, text.bytes, size);
        else
            out = quote_byte(out, (unsigned char)text.bytes[0]);
        size = size ? size : 1;
        text.bytes += size;
        text.length -= size;
    }
    *out++ = '"';
    *out = '\0';
    return quoted;
}

char *string_quote(const char *string)
{
    return text_quote(text_of(string, MSB_LENGTH_UNKNOWN));
}

__attribute__((format(printf, 5, 0))) static int refuse_va(msb_error **err, enum msb_error_code code, const char *what,
                                                           struct text value, const char *format, va_list args)
{
    char *quoted, *why = NULL;

    if (!err)
        return -1;
    quoted = text_quote(value);
    if (quoted && vasprintf(&why, format, args) >= 0) {
        fail(err, code, "%s %s %s", what, quoted, why);
        free(why);
    } else {
        fail_no_memory(err);
    }
    free(quoted);
    return -1;
}

int refuse(msb_error **err, const char *what, struct text value, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    refuse_va(err, MSB_ERR_INVALID, what, value, format, args);
    va_end(args);
    return -1;
}

int refuse_as(msb_error **err, enum msb_error_code code, const char *what, struct text value, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    refuse_va(err, code, what, value, format, args);
    va_end(args);
    return -1;
}

int refuse_nul(msb_error **err, const char *what, struct text value)
{
    if (text_has(value, '\0'))
        return refuse(err, what, value, "has a NUL byte inside, which cannot be passed on");
    return 0;
}

int fail_no_memory(msb_error **err)
{
    return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
}
