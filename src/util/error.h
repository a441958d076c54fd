/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one error idiom of the tree.
 *
 * A function that can fail takes `msb_error **err` last and returns 0 or -1 (or a pointer or NULL). On failure it sets *err,
 * when err is not NULL, to a new object that says what was tried, on what, why it failed and, where known, what would mend it.
 * The caller frees it with msb_error_free(). On success *err is left alone. Callers pass NULL or the address of a NULL pointer.
 *
 *     if (fd < 0)
 *         return fail_errno(err, "open kernel `%s`", path);
 */
#ifndef MSB_UTIL_ERROR_H
#define MSB_UTIL_ERROR_H

#include "microsandbox.h"

#include <errno.h>
#include <stdarg.h>

/* Sets *err from a printf format; returns -1. */
int fail(msb_error **err, enum msb_error_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As fail() with MSB_ERR_SYSTEM, and ": " and the text of errno, taken on entry, at the end; returns -1 and keeps errno. */
int fail_errno(msb_error **err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "format: " before the message that *err already has; returns -1. For context that only the caller knows. */
int fail_prefix(msb_error **err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Hands the error in `from` to *err, or frees it when err is NULL; returns -1. */
int fail_with(msb_error **err, msb_error *from);

/* The same for functions that return a pointer: `return fail_null(fail(err, ...))` reads badly, this does not. */
#define FAIL_NULL(call) ((void)(call), NULL)

#endif
