/* SPDX-License-Identifier: Apache-2.0 */
#include "config/inherit.h"

#include "config/text.h"
#include "util/cleanup.h"

#include <string.h>

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

/* Sorted, because an environment may have many thousands. */
int process_assign_env(struct process *process, char *const *items, size_t count, msb_error **err)
{
    char *const **sorted = calloc(count + 1, sizeof(*sorted));
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
    return ok ? 0 : fail_no_memory(err);
}

void process_add_rlimit(struct process *process, struct rlimit_setting limit)
{
    for (size_t i = 0; i < process->num_rlimits; i++) {
        if (process->rlimits[i].resource == limit.resource) {
            process->rlimits[i] = limit;
            return;
        }
    }
    process->rlimits[process->num_rlimits++] = limit;
}

static int inherit_env(struct process *process, const struct process *from, msb_error **err)
{
    size_t count = from->num_env + process->num_env;
    char **own = process->env;
    size_t num_own = process->num_env;
    _cleanup_free_ char **all = calloc(count + 1, sizeof(*all));
    int result;

    if (!all)
        return fail_no_memory(err);
    process->env = calloc(count + 1, sizeof(*process->env));
    process->num_env = 0;
    if (!process->env) {
        process->env = own;
        process->num_env = num_own;
        return fail_no_memory(err);
    }
    for (size_t i = 0; i < count; i++)
        all[i] = i < from->num_env ? from->env[i] : own[i - from->num_env];
    result = process_assign_env(process, all, count, err);
    free_strings(own, num_own);
    return result;
}

static int inherit_rlimits(struct process *process, const struct process *from, msb_error **err)
{
    struct process merged = { .rlimits = calloc(PROCESS_RLIMITS, sizeof(*merged.rlimits)) };

    if (!merged.rlimits)
        return fail_no_memory(err);
    for (size_t i = 0; i < from->num_rlimits; i++)
        process_add_rlimit(&merged, from->rlimits[i]);
    for (size_t i = 0; i < process->num_rlimits; i++)
        process_add_rlimit(&merged, process->rlimits[i]);
    free(process->rlimits);
    process->rlimits = merged.rlimits;
    process->num_rlimits = merged.num_rlimits;
    return 0;
}

static int inherit_string(char **string, const char *from, msb_error **err)
{
    if ((*string && **string) || !from)
        return 0;
    free(*string);
    *string = strdup(from);
    return *string ? 0 : fail_no_memory(err);
}

int process_inherit(struct process *process, const struct process *from, msb_error **err)
{
    if (inherit_env(process, from, err) < 0 || inherit_rlimits(process, from, err) < 0)
        return -1;
    return inherit_string(&process->workdir, from->workdir, err) < 0 ? -1 : inherit_string(&process->user, from->user, err);
}
