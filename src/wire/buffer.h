/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one encoding of everything our processes tell one another: little-endian integers, and byte strings with a 32-bit length
 * before them. No padding, no pointers. A reader checks every length against what is left and, once something was wrong, stays
 * failed and returns zeros and empty strings, so that a decoder can read a whole message and ask once at the end.
 */
#ifndef MSB_WIRE_BUFFER_H
#define MSB_WIRE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct writer {
    uint8_t *data; /* the caller frees it, also after a failure */
    size_t size;
    size_t capacity;
    bool failed; /* no memory */
};

void put_u8(struct writer *w, uint8_t value);
void put_u16(struct writer *w, uint16_t value);
void put_u32(struct writer *w, uint32_t value);
void put_u64(struct writer *w, uint64_t value);
void put_bool(struct writer *w, bool value);
void put_raw(struct writer *w, const void *bytes, size_t size); /* no length before it: both sides know the size */
void put_bytes(struct writer *w, const void *bytes, uint32_t size);
void put_string(struct writer *w, const char *string); /* NULL is written as the empty string */
void put_strings(struct writer *w, char *const *strings, size_t count);

struct reader {
    const uint8_t *data;
    size_t left;
    bool failed;
};

uint8_t get_u8(struct reader *r);
uint16_t get_u16(struct reader *r);
uint32_t get_u32(struct reader *r);
uint64_t get_u64(struct reader *r);
bool get_bool(struct reader *r); /* refuses anything but 0 and 1 */
/* The next size bytes, in the reader's data; NULL when there are fewer. */
const uint8_t *get_raw(struct reader *r, size_t size);
/* Points into the reader's data. */
const uint8_t *get_bytes(struct reader *r, uint32_t *size);
/* A NUL-terminated copy that the caller frees; refuses a NUL inside. Never NULL unless the reader has failed. */
char *get_string(struct reader *r);
/* How many items follow, refused when more than max or when fewer bytes than items * item_size_min are left. */
uint32_t get_count(struct reader *r, uint32_t max, size_t item_size_min);
/* What put_strings() wrote: a NULL-terminated list that the caller frees with free_strings(); NULL when the reader has failed. */
char **get_strings(struct reader *r, uint32_t max, size_t *count);
void free_strings(char **strings, size_t count); /* NULL is allowed */
/* True when nothing was wrong and nothing is left over. */
bool reader_done(const struct reader *r);

#endif
