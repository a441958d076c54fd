/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A subcommand of msb: one row of the table in main.c, one file of its own.
 */
#ifndef MSB_CLI_COMMAND_H
#define MSB_CLI_COMMAND_H

#include "cli/options.h"

#include <stdbool.h>

/* When msb itself failed: what Docker uses, and no workload's status by convention. */
enum { EXIT_MSB_FAILED = 125 };

struct command {
    const char *name;
    const char *synopsis;    /* what follows the name */
    const char *summary;     /* one line, for the list of subcommands */
    const char *description; /* a paragraph */
    const char *examples;    /* lines, indented by two; or NULL */
    const struct option *options;

    /* argv[0] is the subcommand's name. Returns the exit status. */
    int (*run)(const struct command *command, int argc, char **argv);
};

extern const struct command command_attach, command_cp, command_doctor, command_exec, command_inspect, command_kill, command_logs,
    command_port, command_ps, command_rm, command_run, command_stats, command_stop, command_wait;

/* Reads the options of a subcommand, with --help. Returns the index of the first other argument; or -1 when there is nothing more
   to do, and *status is the exit status. */
int command_options(const struct command *command, int argc, char **argv, void *target, int *status);

/* Says on standard error what is wrong, in one line, and frees the error; returns EXIT_MSB_FAILED. */
int report(msb_error *error);

/* Says it about the command line. */
int report_usage(const struct command *command, msb_error *error);

/* Whether all of standard output could be written; says why not. */
bool finish_output(void);

#endif
