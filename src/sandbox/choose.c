/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/choose.h"

#include <inttypes.h>
#include <stdlib.h>

/* With less the kernel does not come to the point where it could say what is wrong: it ends at once, or never. */
enum { MEMORY_MIB_MIN = 32 };

static int try_engine(const struct engine *engine, bool named, const struct files *files, const char *kernel,
                      struct engine_vm *vm, msb_error **err)
{
    char *found = NULL;

    vm->measure = named && engine->measures_itself;
    if ((!vm->measure && engine->probe(err) < 0) || files_kernel(files, engine, kernel, vm->nested, &found, err) < 0)
        return -1;
    vm->kernel = found;
    if (engine->check(vm, err) == 0)
        return 0;
    vm->kernel = NULL;
    free(found);
    return -1;
}

const struct engine *choose_engine(const struct files *files, enum msb_engine wanted, const char *kernel, struct engine_vm *vm,
                                   msb_error **err)
{
    const struct engine *named = engine_named(wanted);
    msb_error *last = NULL;

    if (vm->memory_mib < MEMORY_MIB_MIN)
        return FAIL_NULL(fail(err, MSB_ERR_UNSUPPORTED, "memory_mib %" PRIu32 " is too little for a guest; the least is %d",
                              vm->memory_mib, MEMORY_MIB_MIN));
    if (named)
        return try_engine(named, true, files, kernel, vm, err) < 0 ? NULL : named;
    for (size_t i = 0; engines[i]; i++) {
        /* A kernel's file does not say which engine it is for, and most are for machines. */
        if (kernel && engines[i]->runs_kernel)
            continue;
        msb_error_free(last);
        last = NULL;
        if (try_engine(engines[i], false, files, kernel, vm, &last) == 0)
            return engines[i];
    }
    return FAIL_NULL(fail_with(err, last));
}
