/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM in the foreground: signals and window sizes are passed on until it has ended.
 */
#ifndef MSB_CLI_FOREGROUND_H
#define MSB_CLI_FOREGROUND_H

#include "util/error.h"

#include <stdbool.h>

/* Starts the VM, waits for its end, and returns the exit status for the shell. An error may come with it (125 to 127), to be told. */
int foreground_run(msb_vm *vm, bool tty, msb_error **err);

#endif
