/* SPDX-License-Identifier: Apache-2.0 */
#include "util/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct msb_error {
    enum msb_error_code code;
    char *message;
};

/* What is returned when there is no memory for an error; never freed. */
static msb_error out_of_memory = { MSB_ERR_NO_MEMORY, (char *)"out of memory" };

enum msb_error_code msb_error_code(const msb_error *error)
{
    return error ? error->code : MSB_OK;
}

const char *msb_error_message(const msb_error *error)
{
    return error ? error->message : "no error";
}

void msb_error_free(msb_error *error)
{
    if (!error || error == &out_of_memory)
        return;
    free(error->message);
    free(error);
}

/* Takes ownership of message; NULL means that there was no memory for it. */
static int set_error(msb_error **err, enum msb_error_code code, char *message)
{
    msb_error *error = message ? malloc(sizeof(*error)) : NULL;

    if (!error) {
        free(message);
        *err = &out_of_memory;
        return -1;
    }
    *error = (msb_error){ .code = code, .message = message };
    *err = error;
    return -1;
}

__attribute__((format(printf, 1, 0))) static char *format_message(const char *format, va_list args)
{
    char *message = NULL;

    return vasprintf(&message, format, args) < 0 ? NULL : message;
}

int fail(msb_error **err, enum msb_error_code code, const char *format, ...)
{
    va_list args;

    if (!err)
        return -1;
    va_start(args, format);
    set_error(err, code, format_message(format, args));
    va_end(args);
    return -1;
}

int fail_errno(msb_error **err, const char *format, ...)
{
    int saved = errno;
    char *what, *message = NULL;
    va_list args;

    if (!err)
        return -1;
    va_start(args, format);
    what = format_message(format, args);
    va_end(args);
    if (what && asprintf(&message, "%s: %s", what, strerror(saved)) < 0)
        message = NULL;
    free(what);
    set_error(err, MSB_ERR_SYSTEM, message);
    errno = saved;
    return -1;
}

int fail_prefix(msb_error **err, const char *format, ...)
{
    msb_error *inner;
    char *prefix, *message = NULL;
    va_list args;

    if (!err || !*err)
        return -1;
    inner = *err;
    va_start(args, format);
    prefix = format_message(format, args);
    va_end(args);
    if (prefix && asprintf(&message, "%s: %s", prefix, msb_error_message(inner)) < 0)
        message = NULL;
    free(prefix);
    set_error(err, msb_error_code(inner), message);
    msb_error_free(inner);
    return -1;
}

int fail_with(msb_error **err, msb_error *from)
{
    if (err)
        *err = from;
    else
        msb_error_free(from);
    return -1;
}
