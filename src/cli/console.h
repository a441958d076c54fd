/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caller's standard streams for a command whose monitor is nobody's child of ours. What is no terminal is handed on as it is, so that no
 * byte of it comes by here. A terminal stays with us, and the command gets a socket in its place: only then does the shell's job
 * control hold (who reads in the background is stopped), and only so can the keys that detach be seen.
 */
#ifndef MSB_CLI_CONSOLE_H
#define MSB_CLI_CONSOLE_H

#include "cli/detach_keys.h"
#include "util/loop.h"

#include <stdbool.h>

struct console;

struct console_events {
    void (*detached)(void *data); /* the keys were typed */
    void (*drained)(void *data);  /* after console_end(): all that the command wrote is written */
};

enum console_flags {
    CONSOLE_TTY = 1,      /* the command's terminal is ours: it is in raw mode, and standard error is not used */
    CONSOLE_NO_INPUT = 2, /* standard input is left alone */
};

/* With CONSOLE_TTY, keys may be given that detach; NULL for none. */
struct console *console_new(struct loop *loop, unsigned flags, const struct detach_keys *keys,
                            const struct console_events *events, void *data, msb_error **err);
void console_free(struct console *console);

/* What the command is given, 0 to 2 as usual; -1 for nothing. The console's, and to be duplicated. */
int console_stream(const struct console *console, int number);

/* The command has its streams. */
void console_started(struct console *console);

/* The command has ended, and all its output is in its streams. events.drained follows, or has been called on return. */
void console_end(struct console *console);

#endif
