/* SPDX-License-Identifier: Apache-2.0 */
#include "guests.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

msb_vm_builder *guest_builder(void)
{
    static const char *const env[] = { "PATH=/usr/bin:/bin" };
    enum msb_engine engine = MSB_ENGINE_AUTO;
    const char *name = getenv("MSB_TEST_ENGINE");
    msb_vm_builder *builder = msb_vm_builder_new();

    if (name)
        assert_int_equal(msb_engine_parse(name, MSB_LENGTH_UNKNOWN, &engine, NULL), 0);
    msb_vm_builder_set_engine(builder, engine);
    msb_vm_builder_set_rootfs_host(builder);
    msb_vm_builder_set_memory_mib(builder, 256);
    msb_vm_builder_set_env(builder, env, 1);
    return builder;
}

void set_script(msb_vm_builder *builder, const char *script)
{
    const char *args[] = { "-c", script };

    msb_vm_builder_set_exec_path(builder, "/bin/sh");
    msb_vm_builder_set_args(builder, args, 2);
}

msb_vm *build(msb_vm_builder *builder)
{
    msb_error *error = NULL;
    msb_vm *vm = msb_vm_builder_build(builder, &error);

    if (!vm)
        fail_msg("%s", msb_error_message(error));
    msb_vm_builder_free(builder);
    return vm;
}

void assert_error(msb_error *error, enum msb_error_code code, const char *part)
{
    if (msb_error_code(error) != code || !strstr(msb_error_message(error), part))
        fail_msg("error %d: %s", msb_error_code(error), msb_error_message(error));
    msb_error_free(error);
}
