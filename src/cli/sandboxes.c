/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/sandboxes.h"

#include "cli/times.h"
#include "config/text.h"
#include "util/cleanup.h"

#include <limits.h>
#include <string.h>

int sandbox_operands(const struct command *command, int argc, char **argv, void *target, int min, int max, const char *what,
                     int *status)
{
    msb_error *error = NULL;
    int first = command_options(command, argc, argv, target, status);

    if (first < 0)
        return -1;
    if (argc - first < min)
        fail(&error, MSB_ERR_INVALID, "name %s", what);
    else if (argc - first > max)
        refuse(&error, "argument", text_of(argv[first + max], MSB_LENGTH_UNKNOWN), "is one too many");
    else
        return first;
    *status = report_usage(command, error);
    return -1;
}

static int do_one(const char *name, bool must_be, sandbox_action *action, void *data)
{
    msb_error *error = NULL;
    msb_sandbox *sandbox = msb_sandbox_open(name, &error);
    int result = sandbox ? action(sandbox, data, &error) : -1;

    if (!sandbox && !must_be && msb_error_code(error) == MSB_ERR_NOT_FOUND) {
        msb_error_free(error);
        return EXIT_SUCCESS;
    }
    msb_sandbox_free(sandbox);
    return result < 0 ? report(error) : EXIT_SUCCESS;
}

static int do_each(char *const *names, int count, bool must_be, sandbox_action *action, void *data)
{
    int status = EXIT_SUCCESS;

    for (int i = 0; i < count; i++)
        if (do_one(names[i], must_be, action, data) != EXIT_SUCCESS)
            status = EXIT_MSB_FAILED;
    return finish_output() ? status : EXIT_MSB_FAILED;
}

int sandboxes_each(char *const *names, int count, sandbox_action *action, void *data)
{
    return do_each(names, count, true, action, data);
}

int sandboxes_each_known(char *const *names, int count, sandbox_action *action, void *data)
{
    return do_each(names, count, false, action, data);
}

cJSON *sandbox_info(msb_sandbox *sandbox, msb_error **err)
{
    _cleanup_free_ char *text = msb_sandbox_inspect(sandbox, err);
    cJSON *info;

    if (!text)
        return NULL;
    info = cJSON_Parse(text);
    return info ? info : FAIL_NULL(fail_no_memory(err));
}

static const cJSON *find(const cJSON *info, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(info, key);

    return item ? item : cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(info, "config"), key);
}

const char *info_text(const cJSON *info, const char *key)
{
    return cJSON_GetStringValue(find(info, key));
}

uint64_t info_time(const cJSON *info, const char *key)
{
    const char *text = info_text(info, key);
    uint64_t realtime;

    return text && time_parse(text, 0, &realtime, NULL) == 0 ? realtime : 0;
}

bool info_has_ended(const cJSON *info)
{
    const char *state = info_text(info, "state");

    return state && (!strcmp(state, msb_sandbox_state_name(MSB_SANDBOX_EXITED)) ||
                     !strcmp(state, msb_sandbox_state_name(MSB_SANDBOX_FAILED)));
}

bool info_has_tty(const cJSON *info)
{
    return cJSON_IsTrue(find(info, "tty"));
}
