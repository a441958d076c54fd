/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb kill: ends sandboxes by force, or sends their commands a signal.
 */
#include "cli/sandboxes.h"
#include "cli/signals.h"

#include <limits.h>

struct kill_options {
    int signal; /* 0: by force */
};

static int end_by_force(msb_sandbox *sandbox, msb_error **err)
{
    msb_error *error = NULL;

    if (msb_sandbox_kill(sandbox, -1, -1, err) < 0)
        return -1;
    if (msb_sandbox_wait(sandbox, -1, -1, &error) < 0 && msb_sandbox_exit_status(sandbox) < 0)
        return fail_with(err, error);
    msb_error_free(error);
    return 0;
}

static int kill_one(msb_sandbox *sandbox, void *data, msb_error **err)
{
    const struct kill_options *options = data;

    if ((options->signal ? msb_sandbox_signal(sandbox, options->signal, -1, -1, err) : end_by_force(sandbox, err)) < 0)
        return -1;
    printf("%s\n", msb_sandbox_name(sandbox));
    return 0;
}

static int set_signal(void *target, const char *value, msb_error **err)
{
    return signal_parse(value, &((struct kill_options *)target)->signal, err);
}

static const struct option options_table[] = {
    { "signal", 's', "SIGNAL", "Signal", "Send the command this signal, such as HUP or 1, and do nothing else.", set_signal },
    { 0 },
};

static int run(const struct command *command, int argc, char **argv)
{
    struct kill_options options = { 0 };
    int status, first = sandbox_operands(command, argc, argv, &options, 1, INT_MAX, "a sandbox", &status);

    return first < 0 ? status : sandboxes_each(argv + first, argc - first, kill_one, &options);
}

const struct command command_kill = {
    .name = "kill",
    .synopsis = "[OPTIONS] NAME...",
    .summary = "End sandboxes by force, or send their commands a signal",
    .description =
        "Ends each machine at once, as if it was switched off: what the guest has not yet written to its files is lost. With "
        "--signal, the command gets that signal instead, KILL too, and the machine ends in good order once its command has.",
    .examples = "  msb kill -s HUP web\n",
    .options = options_table,
    .run = run,
};
