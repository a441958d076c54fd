/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb stop: ends sandboxes politely, and after a time by force.
 */
#include "cli/sandboxes.h"
#include "cli/times.h"

#include <limits.h>
#include <stdlib.h>

enum { DEFAULT_GRACE_SECONDS = 10 };

struct stop_options {
    uint64_t grace; /* nanoseconds */
};

/* One that has ended, or whose end is on its way, is as it should be. */
static int ask_one(msb_sandbox *sandbox, const struct stop_options *options, msb_error **err)
{
    uint64_t milliseconds = options->grace / NS_PER_MS;
    msb_error *error = NULL;

    if (msb_sandbox_stop(sandbox, milliseconds < UINT_MAX ? (unsigned)milliseconds : UINT_MAX, -1, -1, &error) == 0)
        return 0;
    if (msb_error_code(error) != MSB_ERR_STATE && msb_error_code(error) != MSB_ERR_NOT_FOUND)
        return fail_with(err, error);
    msb_error_free(error);
    return 0;
}

static int wait_one(msb_sandbox *sandbox, msb_error **err)
{
    msb_error *error = NULL;

    if (msb_sandbox_wait(sandbox, -1, -1, &error) < 0 && msb_sandbox_exit_status(sandbox) < 0)
        return fail_with(err, error);
    msb_error_free(error);
    printf("%s\n", msb_sandbox_name(sandbox));
    return finish_output() ? 0 : -1;
}

/* All are asked first, so that they have the same time. */
static int stop_all(char *const *names, int count, const struct stop_options *options)
{
    msb_sandbox **sandboxes = calloc((size_t)count, sizeof(msb_sandbox *));
    int status = EXIT_SUCCESS;
    msb_error *error = NULL;

    if (!sandboxes) {
        fail(&error, MSB_ERR_NO_MEMORY, "out of memory");
        return report(error);
    }
    for (int i = 0; i < count; i++) {
        sandboxes[i] = msb_sandbox_open(names[i], &error);
        if (sandboxes[i] && ask_one(sandboxes[i], options, &error) == 0)
            continue;
        status = report(error);
        error = NULL;
        msb_sandbox_free(sandboxes[i]);
        sandboxes[i] = NULL;
    }
    for (int i = 0; i < count; i++) {
        if (sandboxes[i] && wait_one(sandboxes[i], &error) < 0) {
            status = report(error);
            error = NULL;
        }
        msb_sandbox_free(sandboxes[i]);
    }
    free(sandboxes);
    return status;
}

static int set_time(void *target, const char *value, msb_error **err)
{
    return duration_parse(value, &((struct stop_options *)target)->grace, err);
}

static const struct option options_table[] = {
    { "time", 't', "DURATION", "End", "How long to wait before the end by force, such as 30 or 2m (10s).", set_time },
    { 0 },
};

static int run(const struct command *command, int argc, char **argv)
{
    struct stop_options options = { .grace = (uint64_t)DEFAULT_GRACE_SECONDS * NS_PER_SECOND };
    int status, first = sandbox_operands(command, argc, argv, &options, 1, INT_MAX, "a sandbox", &status);

    return first < 0 ? status : stop_all(argv + first, argc - first, &options);
}

const struct command command_stop = {
    .name = "stop",
    .synopsis = "[OPTIONS] NAME...",
    .summary = "End sandboxes politely, and after a time by force",
    .description =
        "Sends the command of each sandbox SIGTERM, and ends the machine by force if it has not ended in time. One without a "
        "command is shut down. Returns when all have ended, and prints their names.",
    .examples = "  msb stop -t 1m database\n"
                "  msb stop $(msb ps -q)\n",
    .options = options_table,
    .run = run,
};
