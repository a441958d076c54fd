/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb inspect: all that is known of sandboxes.
 */
#include "cli/sandboxes.h"

#include "config/text.h"

#include <limits.h>

static int add_one(msb_sandbox *sandbox, void *array, msb_error **err)
{
    cJSON *info = sandbox_info(sandbox, err);

    if (!info)
        return -1;
    return json_append(array, info) ? 0 : fail_no_memory(err);
}

static const struct option options_table[] = { { 0 } };

static int run(const struct command *command, int argc, char **argv)
{
    msb_error *error = NULL;
    int status, first = sandbox_operands(command, argc, argv, NULL, 1, INT_MAX, "a sandbox", &status);
    cJSON *array;

    if (first < 0)
        return status;
    array = cJSON_CreateArray();
    if (!array) {
        fail_no_memory(&error);
        return report(error);
    }
    status = sandboxes_each(argv + first, argc - first, add_one, array);
    if (json_print(array, &error) < 0)
        status = report(error);
    cJSON_Delete(array);
    return finish_output() ? status : EXIT_MSB_FAILED;
}

const struct command command_inspect = {
    .name = "inspect",
    .synopsis = "NAME...",
    .summary = "Tell all that is known of sandboxes, as JSON",
    .description =
        "Prints a JSON array with an object for each sandbox named: state, times, exit status, reason of a failure, engine, "
        "addresses, and the whole configuration.",
    .examples = "  msb inspect web | jq '.[0].ip'\n",
    .options = options_table,
    .run = run,
};
