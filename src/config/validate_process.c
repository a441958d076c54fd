/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workload: what is run, with which arguments, environment, limits, directory and user.
 */
#include "config/rlimit.h"
#include "config/validate.h"

#include "wire/protocol.h"

#include <stdlib.h>
#include <string.h>

static int validate_exec_path(struct validation *v)
{
    struct text value = text_of(v->config->exec_path, MSB_LENGTH_UNKNOWN);

    if (!v->config->exec_path)
        return fail(v->err, MSB_ERR_INVALID, "exec_path is not set; name the program to run");
    if (value.length == 0)
        return refuse(v->err, "exec_path", value, "is empty; name the program to run");
    if (value.bytes[0] != '/' && text_has(value, '/'))
        return refuse(v->err, "exec_path", value,
                      "is a relative path; write an absolute one, or a name without '/' to be looked up in the guest's PATH");
    v->spec->process.exec_path = strdup(v->config->exec_path);
    return v->spec->process.exec_path ? 0 : fail_no_memory(v->err);
}

/* Room for count strings and the NULL after them. */
static char **allocate_strings(struct validation *v, const char *option, size_t count)
{
    char **strings;

    if (count > PROCESS_STRINGS_MAX)
        return FAIL_NULL(
            fail(v->err, MSB_ERR_INVALID, "%s has \"%zu\" items; the most is %d", option, count, PROCESS_STRINGS_MAX));
    strings = calloc(count + 1, sizeof(*strings));
    if (!strings)
        fail_no_memory(v->err);
    return strings;
}

static int validate_args(struct validation *v)
{
    const struct string_list *args = &v->config->args;
    struct process *process = &v->spec->process;

    if (validate_list(v, "args", args) < 0)
        return -1;
    process->args = allocate_strings(v, "args", args->count);
    if (!process->args)
        return -1;
    for (size_t i = 0; i < args->count; i++) {
        process->args[i] = strdup(args->items[i]);
        if (!process->args[i])
            return fail_no_memory(v->err);
        process->num_args++;
    }
    return 0;
}

/* By name, and where names are equal by place. */
static int compare_env(const void *a, const void *b)
{
    const char *const *one = *(const char *const *const *)a, *const *two = *(const char *const *const *)b;
    size_t length_one = strcspn(*one, "="), length_two = strcspn(*two, "=");
    int order = memcmp(*one, *two, length_one < length_two ? length_one : length_two);

    if (order == 0 && length_one != length_two)
        order = length_one < length_two ? -1 : 1;
    return order ? order : (one > two) - (one < two);
}

static bool same_env_key(const char *a, const char *b)
{
    size_t length = strcspn(a, "=");

    return length == strcspn(b, "=") && !memcmp(a, b, length);
}

/* Of several settings of one variable the last one counts, in the place of the first, as Docker does. Sorted, because an environment
   may have many thousands. */
static int copy_last_env(struct validation *v, char **items, size_t count)
{
    struct process *process = &v->spec->process;
    char ***sorted = calloc(count + 1, sizeof(*sorted));
    bool *repeated = calloc(count + 1, sizeof(*repeated));
    bool ok = sorted && repeated;

    for (size_t i = 0; ok && i < count; i++)
        sorted[i] = &items[i];
    if (ok && count)
        qsort(sorted, count, sizeof(*sorted), compare_env);
    for (size_t i = 0, next; ok && i < count; i = next) {
        for (next = i + 1; next < count && same_env_key(*sorted[i], *sorted[next]); next++)
            repeated[sorted[next] - items] = true;
        process->env[sorted[i] - items] = strdup(*sorted[next - 1]);
        ok = process->env[sorted[i] - items] != NULL;
    }
    for (size_t i = 0; ok && i < count; i++)
        if (!repeated[i])
            process->env[process->num_env++] = process->env[i];
    if (ok)
        memset(process->env + process->num_env, 0, (count - process->num_env) * sizeof(*process->env));
    else
        process->num_env = count;
    free(sorted);
    free(repeated);
    return ok ? 0 : fail_no_memory(v->err);
}

static int validate_env(struct validation *v)
{
    const struct string_list *env = &v->config->env;

    if (validate_list(v, "env", env) < 0)
        return -1;
    for (size_t i = 0; i < env->count; i++) {
        msb_error *error = NULL;
        msb_env *parsed = msb_env_parse(env->items[i], MSB_LENGTH_UNKNOWN, &error);

        if (!parsed) {
            fail_prefix(&error, "env");
            return fail_with(v->err, error);
        }
        msb_env_free(parsed);
    }
    v->spec->process.env = allocate_strings(v, "env", env->count);
    return v->spec->process.env ? copy_last_env(v, env->items, env->count) : -1;
}

/* Of several limits of one resource the last one counts. */
static void add_rlimit(struct process *process, struct rlimit_setting limit)
{
    for (size_t i = 0; i < process->num_rlimits; i++) {
        if (process->rlimits[i].resource == limit.resource) {
            process->rlimits[i] = limit;
            return;
        }
    }
    process->rlimits[process->num_rlimits++] = limit;
}

static int validate_rlimits(struct validation *v)
{
    const struct string_list *limits = &v->config->rlimits;
    struct process *process = &v->spec->process;

    if (validate_list(v, "rlimits", limits) < 0)
        return -1;
    process->rlimits = calloc(PROCESS_RLIMITS, sizeof(*process->rlimits));
    if (!process->rlimits)
        return fail_no_memory(v->err);
    for (size_t i = 0; i < limits->count; i++) {
        struct rlimit_setting limit;
        msb_error *error = NULL;

        if (rlimit_parse(limits->items[i], MSB_LENGTH_UNKNOWN, &limit, &error) < 0) {
            fail_prefix(&error, "rlimits");
            return fail_with(v->err, error);
        }
        add_rlimit(process, limit);
    }
    return 0;
}

/* A name, or a number that is one: 2^32 - 1 means "no change" to the kernel. */
static bool is_user_or_group(struct text text)
{
    bool digits = text.length > 0;
    uint64_t number;

    for (size_t i = 0; i < text.length; i++) {
        if (text.bytes[i] < '0' || text.bytes[i] > '9')
            digits = false;
        if ((unsigned char)text.bytes[i] <= ' ' || text.bytes[i] == ':' || text.bytes[i] == 0x7f)
            return false;
    }
    return digits ? text_number(text, UINT32_MAX - 1, &number) : text.length > 0;
}

static int validate_user(struct validation *v)
{
    struct text whole = text_of(v->config->user, MSB_LENGTH_UNKNOWN), user = whole, group;

    if (!v->config->user)
        return 0;
    if ((text_cut_first(whole, ':', &user, &group) && !is_user_or_group(group)) || !is_user_or_group(user))
        return refuse(v->err, "user", whole,
                      "is no user; write NAME or UID, optionally with :GROUP or :GID, numbers below 4294967295");
    v->spec->process.user = strdup(v->config->user);
    return v->spec->process.user ? 0 : fail_no_memory(v->err);
}

static int validate_workdir(struct validation *v)
{
    v->spec->process.workdir = guest_path(v, "workdir_path", v->config->workdir_path ? v->config->workdir_path : "/");
    return v->spec->process.workdir ? 0 : -1;
}

static size_t total_size(char *const *strings, size_t count)
{
    size_t size = 0;

    for (size_t i = 0; i < count; i++)
        size += strlen(strings[i]) + sizeof(uint32_t);
    return size;
}

/* The command goes to the guest in one message. */
static int validate_size(struct validation *v)
{
    enum { ROOM_FOR_THE_REST = 64 << 10 }; /* rlimits, working directory, user */
    const struct process *process = &v->spec->process;
    size_t size = strlen(process->exec_path) + strlen(process->workdir) + (process->user ? strlen(process->user) : 0) +
                  total_size(process->args, process->num_args) + total_size(process->env, process->num_env);

    if (size > MESSAGE_TO_GUEST_MAX - ROOM_FOR_THE_REST)
        return fail(v->err, MSB_ERR_INVALID,
                    "exec_path, args and env together have \"%zu\" bytes; the most is %d, and Linux itself takes fewer", size,
                    MESSAGE_TO_GUEST_MAX - ROOM_FOR_THE_REST);
    return 0;
}

int validate_process(struct validation *v)
{
    v->spec->has_process = true;
    if (validate_exec_path(v) < 0 || validate_args(v) < 0 || validate_env(v) < 0 || validate_rlimits(v) < 0 ||
        validate_workdir(v) < 0 || validate_user(v) < 0)
        return -1;
    return validate_size(v);
}
