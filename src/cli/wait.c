/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb wait: until sandboxes have ended.
 */
#include "cli/sandboxes.h"

#include <limits.h>

/* That there is no exit status of a workload, and why, is for msb inspect to tell: what a shell would show, there is always. */
static int wait_one(msb_sandbox *sandbox, void *data, msb_error **err)
{
    msb_error *error = NULL;
    int status = msb_sandbox_wait(sandbox, -1, -1, &error);

    (void)data;
    if (status < 0)
        status = msb_sandbox_exit_status(sandbox);
    if (status < 0)
        return fail_with(err, error);
    msb_error_free(error);
    printf("%d\n", status);
    return finish_output() ? 0 : -1;
}

static const struct option options_table[] = { { 0 } };

static int run(const struct command *command, int argc, char **argv)
{
    int status, first = sandbox_operands(command, argc, argv, NULL, 1, INT_MAX, "a sandbox", &status);

    return first < 0 ? status : sandboxes_each(argv + first, argc - first, wait_one, NULL);
}

const struct command command_wait = {
    .name = "wait",
    .synopsis = "NAME...",
    .summary = "Wait until sandboxes have ended, and print their exit statuses",
    .description =
        "Waits until each of the sandboxes has ended, and prints on a line of its own what \"msb run\" would have ended with.",
    .options = options_table,
    .run = run,
};
