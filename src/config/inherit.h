/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process gets from several places: the environment and limits of its sandbox, and its own.
 */
#ifndef MSB_CONFIG_INHERIT_H
#define MSB_CONFIG_INHERIT_H

#include "util/error.h"
#include "wire/process.h"

/* Sets the environment to these variables. Of several settings of one variable the last one counts, in the place of the first, as Docker
   does. process->env has room for count + 1 entries. After a failure the process is still to be cleared. */
int process_assign_env(struct process *process, char *const *items, size_t count, msb_error **err);

/* Of several limits of one resource the last one counts. process->rlimits has room for PROCESS_RLIMITS. */
void process_add_rlimit(struct process *process, struct rlimit_setting limit);

/* Gives a process what it did not set: environment and limits one by one, the working directory, the user. */
int process_inherit(struct process *process, const struct process *from, msb_error **err);

#endif
