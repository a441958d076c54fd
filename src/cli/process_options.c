/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/process_options.h"

#include "config/text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void process_options_clear(struct process_options *options)
{
    list_clear(&options->rlimits);
    list_clear(&options->env_files);
    list_clear(&options->env);
}

int process_options_join_env(struct process_options *options, msb_error **err)
{
    for (size_t i = 0; i < options->env.count; i++)
        if (list_append(&options->env_files, options->env.items[i], err) < 0)
            return -1;
    return 0;
}

bool process_options_tty(const struct process_options *options)
{
    return options->tty == TTY_YES || (options->tty == TTY_AUTO && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO));
}

int process_set_rlimit(void *target, const char *value, msb_error **err)
{
    msb_rlimit *limit = msb_rlimit_parse(value, MSB_LENGTH_UNKNOWN, err);

    if (!limit)
        return -1;
    msb_rlimit_free(limit);
    return list_append(&((struct process_options *)target)->rlimits, value, err);
}

int process_set_workdir(void *target, const char *value, msb_error **err)
{
    char *path = msb_path_normalize(value, MSB_LENGTH_UNKNOWN, MSB_PATH_ABSOLUTE, err);

    if (!path)
        return -1;
    free(path);
    ((struct process_options *)target)->workdir = value;
    return 0;
}

int process_set_env(void *target, const char *value, msb_error **err)
{
    return env_append(&((struct process_options *)target)->env, value, err);
}

int process_set_env_file(void *target, const char *value, msb_error **err)
{
    return env_file_read(value, &((struct process_options *)target)->env_files, err);
}

int process_set_user(void *target, const char *value, msb_error **err)
{
    (void)err;
    ((struct process_options *)target)->user = value;
    return 0;
}

int process_set_tty(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct process_options *)target)->tty = TTY_YES;
    return 0;
}

int process_set_no_tty(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct process_options *)target)->tty = TTY_NO;
    return 0;
}

int process_set_interactive(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct process_options *)target)->interactive = true;
    return 0;
}
