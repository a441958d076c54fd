/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs one command in a microVM and takes its exit status.
 *
 *     blocking ROOTFS|host COMMAND [ARG...]
 *
 * Build: cc $(pkg-config --cflags microsandbox) blocking.c $(pkg-config --libs microsandbox)
 */
#include <microsandbox.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    static const char *const env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8" };
    msb_error *error = NULL;
    msb_vm_builder *builder;
    const char *warning;
    msb_vm *vm;
    int status = -1;
    size_t i;

    if (argc < 3) {
        fprintf(stderr, "usage: %s ROOTFS|host COMMAND [ARG...]\n", argv[0]);
        return EXIT_FAILURE;
    }

    builder = msb_vm_builder_new();
    if (!builder) {
        fprintf(stderr, "out of memory\n");
        return EXIT_FAILURE;
    }
    if (strcmp(argv[1], "host") == 0)
        msb_vm_builder_set_rootfs_host(builder);
    else
        msb_vm_builder_set_rootfs(builder, argv[1]);
    msb_vm_builder_set_exec_path(builder, argv[2]);
    msb_vm_builder_set_args(builder, (const char *const *)argv + 3, (size_t)argc - 3);
    msb_vm_builder_set_env(builder, env, sizeof(env) / sizeof(env[0]));
    msb_vm_builder_set_memory_mib(builder, 512);
    msb_vm_builder_set_stdio(builder, 0, 1, 2); /* the workload's are ours */

    vm = msb_vm_builder_build(builder, &error);
    if (vm) {
        for (i = 0; (warning = msb_vm_warning(vm, i)) != NULL; i++)
            fprintf(stderr, "warning: %s\n", warning);
        status = msb_vm_start(vm, &error);
    }

    if (status < 0)
        fprintf(stderr, "error %d: %s\n", (int)msb_error_code(error), msb_error_message(error));
    else
        printf("%s ended with status %d\n", argv[2], status);

    msb_error_free(error);
    msb_vm_free(vm);
    msb_vm_builder_free(builder);
    return status == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
