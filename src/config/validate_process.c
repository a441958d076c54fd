/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workload: what is run, with which arguments, environment, limits, directory and user.
 */
#include "config/inherit.h"
#include "config/rlimit.h"
#include "config/validate.h"

#include "wire/protocol.h"

#include <stdlib.h>
#include <string.h>

static int validate_exec_path(struct validation *v)
{
    struct text value = text_of(v->config->exec_path, MSB_LENGTH_UNKNOWN);

    /* A sandbox that can be found by its name can have commands later. */
    if (!v->config->exec_path && v->config->name) {
        v->spec->has_process = false;
        v->spec->process.exec_path = strdup("");
        return v->spec->process.exec_path ? 0 : fail_no_memory(v->err);
    }
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
    return v->spec->process.env ? process_assign_env(&v->spec->process, env->items, env->count, v->err) : -1;
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
        process_add_rlimit(process, limit);
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

int config_validate_exec(const struct msb_config *config, struct spec *spec, msb_error **err)
{
    struct validation v = { config, spec, NULL, err };

    *spec = (struct spec){ 0 };
    if (config->no_memory || validate_process(&v) < 0) {
        spec_clear(spec);
        return config->no_memory ? fail_no_memory(err) : -1;
    }
    if (!config->workdir_path)
        spec->process.workdir[0] = '\0';
    return 0;
}
