/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lines that somebody less trusted writes into a pipe: the guest's kernel to its console, a device to its log. They are made
 * printable, shown as they come where that is wanted, and the last of them kept for a report of how the writer ended.
 */
#ifndef MSB_SANDBOX_LINES_H
#define MSB_SANDBOX_LINES_H

#include "util/loop.h"

struct lines;

/* Takes fd, the reading end. With show not NULL, each line goes to the log, with show before it. */
struct lines *lines_new(struct loop *loop, int fd, const char *show, msb_error **err);
void lines_free(struct lines *lines);

/* Reads what is still in the pipe; once all writers have ended, that is the rest. */
void lines_drain(struct lines *lines);

/* The first line with the text given to lines_find(), NULL until it came. */
const char *lines_found(const struct lines *lines);
void lines_find(struct lines *lines, const char *text);

/* The first one of the last lines that has the text, from there on; NULL when none has. */
const char *lines_search(const struct lines *lines, const char *text);

/* The last line; NULL when there was none. */
const char *lines_last(const struct lines *lines);

/* The last lines, each with a newline; the caller frees them. NULL for no memory. */
char *lines_all(const struct lines *lines);

#endif
