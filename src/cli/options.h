/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one way in which every subcommand takes its options: a table, read by the parser and by --help.
 *
 *     --name VALUE  --name=VALUE  -l VALUE  -lVALUE  -l=VALUE  --flag  -f  -fg (flags in a cluster; the last may take a value)
 *
 * Options end at "--", which is taken away, or at the first argument that is none: what follows belongs to the subcommand.
 */
#ifndef MSB_CLI_OPTIONS_H
#define MSB_CLI_OPTIONS_H

#include "util/error.h"

#include <stdio.h>

struct option {
    const char *name;  /* without the dashes; NULL ends a table */
    char letter;       /* its short form, or 0 */
    const char *value; /* what --help calls its value, such as "DIR"; NULL: it takes none */
    const char *group; /* its heading in --help */
    const char *help;  /* what it does; folded to fit */

    /* Takes the value, NULL for a flag, into target. It stays valid as long as argv. */
    int (*set)(void *target, const char *value, msb_error **err);
};

enum { OPTIONS_HELP = -2 };

/* Reads options from argv[1] on. Returns the index of the first argument that is no option; OPTIONS_HELP at --help, which every table
   has without saying so; or -1. An error names the option as it was written; for one that is not there, the nearest that is. */
int options_parse(const struct option *options, int argc, char **argv, void *target, msb_error **err);

/* The groups, in the table's order, with their options. */
void options_help(const struct option *options, FILE *out);

/* The candidate (a NULL ends them) that is most like the word, or NULL when none is close. */
const char *nearest(const char *word, const char *const *candidates);

/* Writes text folded at the line width of --help, each line after the first indented. */
void write_folded(FILE *out, const char *text, int column, int indent);

#endif
