/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the subcommands that deal with sandboxes by name share.
 */
#ifndef MSB_CLI_SANDBOXES_H
#define MSB_CLI_SANDBOXES_H

#include "cli/command.h"
#include "cli/json.h"

#include <stdbool.h>
#include <stdint.h>

/* Reads the options, and refuses fewer or more other arguments than it says. Returns the index of the first of them, or -1 as
   command_options(). what says what is missing where there are too few: "a sandbox". */
int sandbox_operands(const struct command *command, int argc, char **argv, void *target, int min, int max, const char *what,
                     int *status);

/* Does something with each of the sandboxes named. What goes wrong with one is said, and the others have their turn. Returns the exit
   status. */
typedef int sandbox_action(msb_sandbox *sandbox, void *data, msb_error **err);
int sandboxes_each(char *const *names, int count, sandbox_action *action, void *data);

/* The same, but names that there are not are passed over. */
int sandboxes_each_known(char *const *names, int count, sandbox_action *action, void *data);

/* What is known of it (msb_sandbox_inspect), to be freed with cJSON_Delete(). */
cJSON *sandbox_info(msb_sandbox *sandbox, msb_error **err);

/* A string of it, NULL when there is none; and a time, 0 when there is none. The key may be one of "config". */
const char *info_text(const cJSON *info, const char *key);
uint64_t info_time(const cJSON *info, const char *key);

/* Whether nothing of it runs any more. */
bool info_has_ended(const cJSON *info);

/* Whether its workload has a terminal. */
bool info_has_tty(const cJSON *info);

#endif
