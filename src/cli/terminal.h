/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caller's terminal, while the workload has one of its own.
 */
#ifndef MSB_CLI_TERMINAL_H
#define MSB_CLI_TERMINAL_H

#include "util/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

struct terminal {
    bool raw;
    struct termios saved;
};

/* Passes every byte on as it is, if standard input is a terminal: its line discipline is the guest's now. */
int terminal_make_raw(struct terminal *terminal, msb_error **err);

/* Makes it what it was. Safe to call at any time, and twice. */
void terminal_restore(struct terminal *terminal);

/* The window's size; 24 by 80 when there is no window. */
void terminal_size(uint16_t *rows, uint16_t *columns);

#endif
