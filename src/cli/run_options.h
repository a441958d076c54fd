/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `msb run` was asked for.
 */
#ifndef MSB_CLI_RUN_OPTIONS_H
#define MSB_CLI_RUN_OPTIONS_H

#include "cli/process_options.h"

#include <stdbool.h>
#include <stddef.h>

enum keep_choice {
    KEEP_AUTO, /* when it is detached */
    KEEP_YES,
    KEEP_NO,
};

struct run_options {
    struct process_options process; /* first: the shared rows of the table know nothing else */
    msb_vm_builder *builder;        /* single values go straight into it */
    const char *rootfs;
    struct list layers;
    const char *upper;
    struct list mapped_dirs;
    struct list port_map;
    bool has_console_output;
    bool dry_run;
    bool detach;
    const char *name, *hostname;
    enum keep_choice keep;
};

extern const struct option run_option_table[];

void run_options_clear(struct run_options *options);

#endif
