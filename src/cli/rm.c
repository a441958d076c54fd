/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb rm: forgets sandboxes that have ended.
 */
#include "cli/sandboxes.h"

#include <limits.h>

struct rm_options {
    bool force;
};

static int end_by_force(msb_sandbox *sandbox, msb_error **err)
{
    msb_error *error = NULL;

    if (msb_sandbox_kill(sandbox, -1, -1, &error) == 0 && msb_sandbox_wait(sandbox, -1, -1, &error) < 0 &&
        msb_sandbox_exit_status(sandbox) < 0)
        return fail_with(err, error);
    /* It may have ended before. */
    msb_error_free(error);
    return 0;
}

static int remove_one(msb_sandbox *sandbox, void *data, msb_error **err)
{
    const struct rm_options *options = data;
    msb_error *error = NULL;

    if (options->force && end_by_force(sandbox, err) < 0)
        return -1;
    if (msb_sandbox_remove(sandbox, &error) < 0) {
        enum msb_error_code code = msb_error_code(error);

        if (code != MSB_ERR_NOT_FOUND || !options->force)
            return fail_with(err, error);
        /* It went with its end. */
        msb_error_free(error);
    }
    printf("%s\n", msb_sandbox_name(sandbox));
    return 0;
}

static int set_force(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct rm_options *)target)->force = true;
    return 0;
}

static const struct option options_table[] = {
    { "force", 'f', NULL, "Removal", "End those that run by force, and pass over names that there are not.", set_force },
    { 0 },
};

static int run(const struct command *command, int argc, char **argv)
{
    struct rm_options options = { 0 };
    int status, first = sandbox_operands(command, argc, argv, &options, 1, INT_MAX, "a sandbox", &status);

    if (first < 0)
        return status;
    return (options.force ? sandboxes_each_known : sandboxes_each)(argv + first, argc - first, remove_one, &options);
}

const struct command command_rm = {
    .name = "rm",
    .synopsis = "[OPTIONS] NAME...",
    .summary = "Forget sandboxes that have ended",
    .description = "Removes what is known of sandboxes that have ended, and their logs. The name can be given again then.",
    .examples = "  msb rm -f $(msb ps -aq)\n",
    .options = options_table,
    .run = run,
};
