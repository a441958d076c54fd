/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every parser of an option needs: a text with its length (a NUL inside is a byte like any other until it is refused), and one
 * way to say no.
 */
#ifndef MSB_CONFIG_TEXT_H
#define MSB_CONFIG_TEXT_H

#include "util/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    const char *bytes;
    size_t length;
};

/* length may be MSB_LENGTH_UNKNOWN; NULL is the empty text. */
struct text text_of(const char *bytes, size_t length);

/* Cuts at the first (or last) separator; false, and nothing changed, when there is none. */
bool text_cut_first(struct text whole, char separator, struct text *before, struct text *after);
bool text_cut_last(struct text whole, char separator, struct text *before, struct text *after);

bool text_equal(struct text text, const char *string);
bool text_equal_nocase(struct text text, const char *string);
bool text_has(struct text text, char byte);

/* One to any number of decimal digits and nothing else, not above max. */
bool text_number(struct text text, uint64_t max, uint64_t *number);

/* Whether the whole text is well-formed UTF-8 (RFC 3629). */
bool text_is_utf8(struct text text);

/* A NUL-terminated copy; NULL: no memory. */
char *text_copy(struct text text);

/* "In double quotes", whole; control characters, quotes, backslashes and what is not UTF-8 as \n, \t, \r, \", \\ or \xHH. */
char *text_quote(struct text text);
char *string_quote(const char *string);

/* The one form in which a value is refused: `WHAT "VALUE" FORMAT`, with MSB_ERR_INVALID; returns -1. */
int refuse(msb_error **err, const char *what, struct text value, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The same with another code. */
int refuse_as(msb_error **err, enum msb_error_code code, const char *what, struct text value, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Refuses a NUL inside, which neither a path nor an argument nor an environment can hold. */
int refuse_nul(msb_error **err, const char *what, struct text value);

/* MSB_ERR_NO_MEMORY; returns -1. */
int fail_no_memory(msb_error **err);

#endif
