/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `msb run` and `msb exec` are both told about a command: one set of options, one way to read them.
 */
#ifndef MSB_CLI_PROCESS_OPTIONS_H
#define MSB_CLI_PROCESS_OPTIONS_H

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

struct process_options {
    struct list rlimits;
    const char *workdir;
    struct list env_files; /* what they hold, before... */
    struct list env;       /* ...what the command line says */
    const char *user;
    enum tty_choice tty;
    bool interactive;
};

void process_options_clear(struct process_options *options);

/* Puts the command line's variables behind those of the files, all into env_files. */
int process_options_join_env(struct process_options *options, msb_error **err);

/* Whether the command gets a terminal. */
bool process_options_tty(const struct process_options *options);

/* Reads the KEY=VALUE lines of a file, as Docker's --env-file: no quotes, no escapes; empty lines and those that begin with # are
   nothing; KEY alone takes the caller's value, if it has one. */
int env_file_read(const char *path, struct list *env, msb_error **err);

/* KEY=VALUE as it is; KEY with the caller's value, or nothing when the caller has none. */
int env_append(struct list *env, const char *setting, msb_error **err);

/*
 * Rows of an option table, whose target begins with a struct process_options. The groups of --help are the table's to arrange.
 */
int process_set_rlimit(void *target, const char *value, msb_error **err);
int process_set_workdir(void *target, const char *value, msb_error **err);
int process_set_env(void *target, const char *value, msb_error **err);
int process_set_env_file(void *target, const char *value, msb_error **err);
int process_set_user(void *target, const char *value, msb_error **err);
int process_set_tty(void *target, const char *value, msb_error **err);
int process_set_no_tty(void *target, const char *value, msb_error **err);
int process_set_interactive(void *target, const char *value, msb_error **err);

#define PROCESS_RLIMIT_ROW(group)                                                                                                \
    {                                                                                                                            \
        "rlimit", 0, "NAME=SOFT:HARD", group,                                                                                    \
            "A resource limit of the command, such as RLIMIT_NOFILE=1024:2048; NAME may be a number. Repeatable.",               \
            process_set_rlimit                                                                                                   \
    }
#define PROCESS_ENV_ROW(group)                                                                                                   \
    {                                                                                                                            \
        "env", 'e', "KEY[=VALUE]", group,                                                                                        \
            "Set a variable of the command's environment; without a value it is taken from here. Repeatable.", process_set_env   \
    }
#define PROCESS_ENV_FILE_ROW(group)                                                                                              \
    {                                                                                                                            \
        "env-file", 0, "FILE", group, "Read lines of KEY=VALUE or KEY. Repeatable; --env goes before them.",                     \
            process_set_env_file                                                                                                 \
    }
#define PROCESS_TTY_ROW(group)                                                                                                   \
    {                                                                                                                            \
        "tty", 't', NULL, group, "Give the command a terminal. So it is when standard input and output are terminals.",          \
            process_set_tty                                                                                                      \
    }
#define PROCESS_NO_TTY_ROW(group)                                                                                                \
    {                                                                                                                            \
        "no-tty", 'T', NULL, group, "Give it none.", process_set_no_tty                                                          \
    }

#endif
