/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command of a sandbox in the foreground: signals and window sizes are passed on until it has ended, and the terminal is what it was
 * however that comes about.
 */
#ifndef MSB_CLI_FOREGROUND_H
#define MSB_CLI_FOREGROUND_H

#include "cli/console.h"
#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>

/* What runs: the library's functions of it. */
struct foreground_work {
    /* The streams are its standard ones, to be duplicated; with carry false they are our own. */
    int (*start)(void *object, const int streams[3], msb_error **err);
    int (*fd)(void *object, msb_error **err); /* readable once wait does not block */
    int (*wait)(void *object, msb_error **err);
    int (*exit_status)(void *object); /* what a shell shows; -1: none */
    int (*signal)(void *object, int signal, msb_error **err);
    int (*resize)(void *object, uint16_t rows, uint16_t columns, msb_error **err);
    int (*kill)(void *object, msb_error **err); /* by force; NULL: it is not ours to end, and is left instead */
};

struct foreground_options {
    bool tty;                       /* it has a terminal, which ours carries */
    bool carry;                     /* terminals stay with us (console.h) */
    bool no_input;                  /* with carry: standard input is left alone */
    bool keep_signals;              /* they end us, and are not passed on */
    const struct detach_keys *keys; /* with carry and tty; or NULL */
};

/* Starts it, waits for its end, and returns the exit status for the shell. An error may come with it (125 to 127), to be told. When the
   keys were typed it is left as it runs, and the status is 0. */
int foreground_run(const struct foreground_work *work, void *object, const struct foreground_options *options, msb_error **err);

#endif
