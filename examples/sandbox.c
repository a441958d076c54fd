/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole life of a sandbox that outlives the call that started it: launch it, find it again by name, run commands in it, look at it,
 * copy files in and out, read its log, stop it, and remove it.
 *
 *     sandbox [DIRECTORY]
 *
 * DIRECTORY has a Linux system; without it, this machine's own programs are used. Ends with 0 when all went well.
 */
#include <microsandbox.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000, NO_CANCEL = -1 };

static int complain(const char *what, msb_error *error)
{
    fprintf(stderr, "%s: %s\n", what, msb_error_message(error));
    msb_error_free(error);
    return -1;
}

/* A sandbox without a command of its own: it stays until it is stopped. */
static msb_sandbox *launch(const char *root, msb_error **err)
{
    static const char *const env[] = { "PATH=/usr/bin:/bin", "GREETING=hello" };
    msb_vm_builder *builder = msb_vm_builder_new();
    char *name = msb_sandbox_make_name(err);
    msb_sandbox *sandbox = NULL;
    msb_vm *vm;

    if (!builder || !name)
        return NULL;
    if (root)
        msb_vm_builder_set_rootfs(builder, root);
    else
        msb_vm_builder_set_rootfs_host(builder);
    msb_vm_builder_set_memory_mib(builder, 256);
    msb_vm_builder_set_name(builder, name);
    msb_vm_builder_set_keep(builder, 1);
    msb_vm_builder_set_env(builder, env, 2);
    msb_vm_builder_set_timeout_ms(builder, 10 * 60 * 1000);
    vm = msb_vm_builder_build(builder, err);
    if (vm)
        sandbox = msb_vm_launch(vm, 0, PATIENCE_MS, NO_CANCEL, err);
    msb_vm_free(vm);
    msb_vm_builder_free(builder);
    free(name);
    return sandbox;
}

/* Runs a shell command and prints what it wrote; returns its exit status. */
static int run(msb_sandbox *sandbox, const char *command, msb_error **err)
{
    const char *args[] = { "-c", command };
    msb_exec_options *options = msb_exec_options_new();
    int status = -1;
    msb_exec *exec;

    if (!options)
        return -1;
    msb_exec_options_set_exec_path(options, "/bin/sh");
    msb_exec_options_set_args(options, args, 2);
    msb_exec_options_set_collect(options, 1 << 20);
    msb_exec_options_set_timeout_ms(options, PATIENCE_MS);
    exec = msb_sandbox_exec(sandbox, options, PATIENCE_MS, NO_CANCEL, err);
    /* A program with an event loop waits for msb_exec_fd() there. */
    if (exec)
        status = msb_exec_wait(exec, PATIENCE_MS, NO_CANCEL, err);
    if (status >= 0)
        printf("$ %s\n%s%s", command, msb_exec_output(exec, NULL), msb_exec_errors(exec, NULL));
    msb_exec_free(exec);
    msb_exec_options_free(options);
    return status;
}

static int use(msb_sandbox *sandbox, msb_error **err)
{
    char path[] = "/tmp/sandbox-example-XXXXXX", back[64];
    struct msb_stats stats;
    int fd = mkstemp(path), result;

    if (fd < 0 || write(fd, "from the host\n", 14) != 14)
        return -1;
    close(fd);
    if (run(sandbox, "echo $GREETING from $(uname -n)", err) != 0 || run(sandbox, "exit 3", err) != 3)
        return -1;
    snprintf(back, sizeof(back), "%s.back", path);
    result = msb_sandbox_copy_in(sandbox, path, "/root/file", 0, PATIENCE_MS, NO_CANCEL, err);
    if (result == 0 && run(sandbox, "tr a-z A-Z </root/file >/root/other; cat /root/other", err) != 0)
        result = -1;
    if (result == 0)
        result = msb_sandbox_copy_out(sandbox, "/root/other", back, 0, PATIENCE_MS, NO_CANCEL, err);
    unlink(path);
    unlink(back);
    if (result == 0)
        result = msb_sandbox_stats(sandbox, &stats, PATIENCE_MS, NO_CANCEL, err);
    if (result == 0)
        printf("%u processes use %llu of %llu MiB\n", stats.num_processes, (unsigned long long)stats.memory_used >> 20,
               (unsigned long long)stats.memory_limit >> 20);
    return result;
}

static int stop(msb_sandbox *sandbox, msb_error **err)
{
    struct pollfd ended = { .fd = msb_sandbox_fd(sandbox, err), .events = POLLIN };

    if (ended.fd < 0 || msb_sandbox_stop(sandbox, 10000, PATIENCE_MS, NO_CANCEL, err) < 0)
        return -1;
    if (poll(&ended, 1, PATIENCE_MS) <= 0)
        return -1;
    printf("ended with status %d\n", msb_sandbox_wait(sandbox, 0, NO_CANCEL, err));
    return msb_sandbox_remove(sandbox, err);
}

int main(int argc, char **argv)
{
    msb_error *error = NULL;
    msb_sandbox *launched = launch(argc > 1 ? argv[1] : NULL, &error), *sandbox;

    if (!launched)
        return complain("launch", error) ? 1 : 0;
    printf("launched %s\n", msb_sandbox_name(launched));
    /* Any other process of the same user finds it in this way, also after this one has ended. */
    sandbox = msb_sandbox_open(msb_sandbox_name(launched), &error);
    msb_sandbox_free(launched);
    if (!sandbox)
        return complain("open", error) ? 1 : 0;
    if (use(sandbox, &error) < 0) {
        complain("use", error);
        msb_sandbox_kill(sandbox, PATIENCE_MS, NO_CANCEL, NULL);
        msb_sandbox_wait(sandbox, PATIENCE_MS, NO_CANCEL, NULL);
        msb_sandbox_remove(sandbox, NULL);
        return 1;
    }
    if (stop(sandbox, &error) < 0)
        return complain("stop", error) ? 1 : 0;
    msb_sandbox_free(sandbox);
    return 0;
}
