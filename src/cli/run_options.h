/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `msb run` was asked for.
 */
#ifndef MSB_CLI_RUN_OPTIONS_H
#define MSB_CLI_RUN_OPTIONS_H

#include "cli/options.h"

#include <stdbool.h>
#include <stddef.h>

/* Strings of its own; NULL-terminated never, counted always. */
struct list {
    char **items;
    size_t count;
};

int list_append(struct list *list, const char *item, msb_error **err);
void list_clear(struct list *list);

enum tty_choice {
    TTY_AUTO, /* when standard input and output are terminals */
    TTY_YES,
    TTY_NO,
};

struct run_options {
    msb_vm_builder *builder; /* single values go straight into it */
    const char *rootfs;
    struct list layers;
    const char *upper;
    struct list mapped_dirs;
    struct list port_map;
    struct list rlimits;
    struct list env_files; /* what they hold, before... */
    struct list env;       /* ...what the command line says */
    enum tty_choice tty;
    bool has_console_output;
    bool dry_run;
};

extern const struct option run_option_table[];

void run_options_clear(struct run_options *options);

/* Reads the KEY=VALUE lines of a file, as Docker's --env-file: no quotes, no escapes; empty lines and those that begin with # are
   nothing; KEY alone takes the caller's value, if it has one. */
int env_file_read(const char *path, struct list *env, msb_error **err);

/* KEY=VALUE as it is; KEY with the caller's value, or nothing when the caller has none. */
int env_append(struct list *env, const char *setting, msb_error **err);

#endif
