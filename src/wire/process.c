/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/process.h"

#include <stdlib.h>

enum { RLIMIT_SIZE = 4 + 8 + 8 }; /* encoded */

void process_clear(struct process *process)
{
    free(process->exec_path);
    free_strings(process->args, process->num_args);
    free_strings(process->env, process->num_env);
    free(process->workdir);
    free(process->rlimits);
    free(process->user);
    *process = (struct process){ 0 };
}

void process_encode(struct writer *w, const struct process *process)
{
    put_string(w, process->exec_path);
    put_strings(w, process->args, process->num_args);
    put_strings(w, process->env, process->num_env);
    put_string(w, process->workdir);
    put_u32(w, (uint32_t)process->num_rlimits);
    for (size_t i = 0; i < process->num_rlimits; i++) {
        put_u32(w, process->rlimits[i].resource);
        put_u64(w, process->rlimits[i].soft);
        put_u64(w, process->rlimits[i].hard);
    }
    put_string(w, process->user);
    put_bool(w, process->tty);
    put_u16(w, process->rows);
    put_u16(w, process->columns);
}

static void decode_rlimits(struct reader *r, struct process *process)
{
    uint32_t count = get_count(r, PROCESS_RLIMITS, RLIMIT_SIZE);

    process->rlimits = calloc(count ? count : 1, sizeof(*process->rlimits));
    if (!process->rlimits) {
        r->failed = true;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct rlimit_setting *limit = &process->rlimits[i];

        limit->resource = get_u32(r);
        limit->soft = get_u64(r);
        limit->hard = get_u64(r);
        if (limit->resource >= PROCESS_RLIMITS || limit->soft > limit->hard)
            r->failed = true;
    }
    process->num_rlimits = count;
}

bool process_decode(struct reader *r, struct process *process)
{
    *process = (struct process){ 0 };
    process->exec_path = get_string(r);
    process->args = get_strings(r, PROCESS_STRINGS_MAX, &process->num_args);
    process->env = get_strings(r, PROCESS_STRINGS_MAX, &process->num_env);
    process->workdir = get_string(r);
    decode_rlimits(r, process);
    process->user = get_string(r);
    process->tty = get_bool(r);
    process->rows = get_u16(r);
    process->columns = get_u16(r);
    if (r->failed) {
        process_clear(process);
        return false;
    }
    if (!process->user[0]) {
        free(process->user);
        process->user = NULL;
    }
    return true;
}
