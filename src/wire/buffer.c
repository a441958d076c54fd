/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/buffer.h"

#include <stdlib.h>
#include <string.h>

/* Where size more bytes go, or NULL when the writer has failed. */
static uint8_t *extend(struct writer *w, size_t size)
{
    uint8_t *at;

    if (w->failed)
        return NULL;
    if (size > w->capacity - w->size) {
        size_t capacity = w->capacity ? w->capacity : 256;
        uint8_t *data;

        while (capacity - w->size < size) {
            if (capacity > SIZE_MAX / 2) {
                w->failed = true;
                return NULL;
            }
            capacity *= 2;
        }
        data = realloc(w->data, capacity);
        if (!data) {
            w->failed = true;
            return NULL;
        }
        w->data = data;
        w->capacity = capacity;
    }
    at = w->data + w->size;
    w->size += size;
    return at;
}

static void put_integer(struct writer *w, uint64_t value, unsigned size)
{
    uint8_t *at = extend(w, size);

    for (unsigned i = 0; at && i < size; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

void put_u8(struct writer *w, uint8_t value)
{
    put_integer(w, value, 1);
}

void put_u16(struct writer *w, uint16_t value)
{
    put_integer(w, value, 2);
}

void put_u32(struct writer *w, uint32_t value)
{
    put_integer(w, value, 4);
}

void put_u64(struct writer *w, uint64_t value)
{
    put_integer(w, value, 8);
}

void put_bool(struct writer *w, bool value)
{
    put_u8(w, value);
}

void put_raw(struct writer *w, const void *bytes, size_t size)
{
    uint8_t *at = extend(w, size);

    if (at && size)
        memcpy(at, bytes, size);
}

void put_bytes(struct writer *w, const void *bytes, uint32_t size)
{
    put_u32(w, size);
    put_raw(w, bytes, size);
}

void put_string(struct writer *w, const char *string)
{
    size_t size = string ? strlen(string) : 0;

    if (size > UINT32_MAX) {
        w->failed = true;
        return;
    }
    put_bytes(w, string, (uint32_t)size);
}

const uint8_t *get_raw(struct reader *r, size_t size)
{
    const uint8_t *at = r->data;

    if (r->failed || size > r->left) {
        r->failed = true;
        return NULL;
    }
    r->data += size;
    r->left -= size;
    return at;
}

static uint64_t get_integer(struct reader *r, unsigned size)
{
    const uint8_t *at = get_raw(r, size);
    uint64_t value = 0;

    for (unsigned i = 0; at && i < size; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

uint8_t get_u8(struct reader *r)
{
    return (uint8_t)get_integer(r, 1);
}

uint16_t get_u16(struct reader *r)
{
    return (uint16_t)get_integer(r, 2);
}

uint32_t get_u32(struct reader *r)
{
    return (uint32_t)get_integer(r, 4);
}

uint64_t get_u64(struct reader *r)
{
    return get_integer(r, 8);
}

bool get_bool(struct reader *r)
{
    uint8_t value = get_u8(r);

    if (value > 1)
        r->failed = true;
    return value == 1;
}

const uint8_t *get_bytes(struct reader *r, uint32_t *size)
{
    uint32_t length = get_u32(r);
    const uint8_t *bytes = get_raw(r, length);

    if (!bytes) {
        *size = 0;
        return (const uint8_t *)"";
    }
    *size = length;
    return bytes;
}

char *get_string(struct reader *r)
{
    uint32_t size;
    const uint8_t *bytes = get_bytes(r, &size);
    char *string;

    if (r->failed)
        return NULL;
    string = memchr(bytes, '\0', size) ? NULL : malloc((size_t)size + 1);
    if (!string) {
        r->failed = true;
        return NULL;
    }
    memcpy(string, bytes, size);
    string[size] = '\0';
    return string;
}

uint32_t get_count(struct reader *r, uint32_t max, size_t item_size_min)
{
    uint32_t count = get_u32(r);

    if (count > max || (item_size_min && count > r->left / item_size_min)) {
        r->failed = true;
        return 0;
    }
    return count;
}

char **get_strings(struct reader *r, uint32_t max, size_t *count)
{
    uint32_t n = get_count(r, max, sizeof(uint32_t));
    char **strings;

    *count = 0;
    if (r->failed)
        return NULL;
    strings = calloc((size_t)n + 1, sizeof(*strings));
    if (!strings) {
        r->failed = true;
        return NULL;
    }
    for (uint32_t i = 0; i < n; i++)
        strings[i] = get_string(r);
    if (r->failed) {
        free_strings(strings, n);
        return NULL;
    }
    *count = n;
    return strings;
}

void put_strings(struct writer *w, char *const *strings, size_t count)
{
    if (count > UINT32_MAX) {
        w->failed = true;
        return;
    }
    put_u32(w, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        put_string(w, strings[i]);
}

void free_strings(char **strings, size_t count)
{
    for (size_t i = 0; strings && i < count; i++)
        free(strings[i]);
    free(strings);
}

bool reader_done(const struct reader *r)
{
    return !r->failed && r->left == 0;
}
