/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb run: one command in a microVM of its own, in the foreground.
 */
#include "cli/command.h"
#include "cli/engine_choice.h"
#include "cli/foreground.h"
#include "cli/network_choice.h"
#include "cli/run_options.h"
#include "cli/terminal.h"

#include "util/cleanup.h"

#include <string.h>
#include <unistd.h>

static int apply_rootfs(struct run_options *o, msb_error **err)
{
    if (o->rootfs && o->layers.count)
        return fail(err, MSB_ERR_INVALID, "--rootfs and --layer exclude each other; give one of them");
    if (o->layers.count)
        msb_vm_builder_set_rootfs_overlay(o->builder, (const char *const *)o->layers.items, o->layers.count);
    else if (!o->rootfs)
        return fail(err, MSB_ERR_INVALID, "the guest has no root; give --rootfs DIR, --rootfs host or --layer DIR");
    else if (!strcmp(o->rootfs, "host"))
        msb_vm_builder_set_rootfs_host(o->builder);
    else
        msb_vm_builder_set_rootfs(o->builder, o->rootfs);
    msb_vm_builder_set_rootfs_upper(o->builder, o->upper);
    return 0;
}

static int apply_tty(struct run_options *o, bool *tty, msb_error **err)
{
    uint16_t rows, columns;

    if (o->process.tty == TTY_YES && o->has_console_output)
        return fail(err, MSB_ERR_INVALID, "--tty and --console-output exclude each other; give one of them");
    *tty = o->detach ? o->process.tty == TTY_YES : !o->has_console_output && process_options_tty(&o->process);
    terminal_size(&rows, &columns);
    if (*tty)
        msb_vm_builder_set_tty(o->builder, rows, columns);
    msb_vm_builder_set_stdio(o->builder, STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO);
    return 0;
}

static int apply_process(struct run_options *o, msb_error **err)
{
    struct process_options *process = &o->process;

    if (process_options_join_env(process, err) < 0)
        return -1;
    msb_vm_builder_set_env(o->builder, (const char *const *)process->env_files.items, process->env_files.count);
    msb_vm_builder_set_rlimits(o->builder, (const char *const *)process->rlimits.items, process->rlimits.count);
    msb_vm_builder_set_workdir_path(o->builder, process->workdir);
    msb_vm_builder_set_user(o->builder, process->user);
    return 0;
}

/* Whether there is a place for what is known of sandboxes. */
static bool can_be_known(void)
{
    size_t count = 0;
    msb_sandbox **list = msb_sandbox_list(&count, NULL);

    msb_sandbox_list_free(list, count);
    return list != NULL;
}

/* Whoever lists sandboxes sees one in the foreground too, and can do with it what can be done with one that was named; unless there is
   no place for that: nobody has asked for it. */
static int apply_name(struct run_options *o, msb_error **err)
{
    _cleanup_free_ char *name = NULL;

    if (o->name || (!o->detach && o->keep != KEEP_YES && (o->dry_run || !can_be_known())))
        return 0;
    name = msb_sandbox_make_name(err);
    if (!name)
        return -1;
    msb_vm_builder_set_name(o->builder, name);
    if (!o->detach && !o->hostname)
        msb_vm_builder_set_hostname(o->builder, "microsandbox");
    return 0;
}

static int apply(struct run_options *o, char **command, bool *tty, msb_error **err)
{
    size_t num_args = 0;

    if (!command[0] && !o->detach)
        return fail(err, MSB_ERR_INVALID, "there is no command; name one to run in the guest");
    while (command[0] && command[1 + num_args])
        num_args++;
    if (apply_rootfs(o, err) < 0 || apply_tty(o, tty, err) < 0 || apply_process(o, err) < 0 || apply_name(o, err) < 0)
        return -1;
    msb_vm_builder_set_keep(o->builder, o->keep == KEEP_YES || (o->keep == KEEP_AUTO && o->detach));
    msb_vm_builder_set_mapped_dirs(o->builder, (const char *const *)o->mapped_dirs.items, o->mapped_dirs.count);
    msb_vm_builder_set_port_map(o->builder, (const char *const *)o->port_map.items, o->port_map.count);
    msb_vm_builder_set_exec_path(o->builder, command[0]);
    msb_vm_builder_set_args(o->builder, num_args ? (const char *const *)command + 1 : NULL, num_args);
    return 0;
}

static void print_warnings(const msb_vm *vm)
{
    const char *warning;

    for (size_t i = 0; (warning = msb_vm_warning(vm, i)); i++)
        fprintf(stderr, "msb: warning: %s\n", warning);
}

static int dry_run(const msb_vm *vm)
{
    msb_error *error = NULL;
    _cleanup_free_ char *json = msb_vm_to_json(vm, &error), *with_engine = json ? engine_choice_add(json, &error) : NULL;
    _cleanup_free_ char *all = with_engine ? network_choice_add(with_engine, &error) : NULL;

    if (!all)
        return report(error);
    printf("%s\n", all);
    return finish_output() ? 0 : EXIT_MSB_FAILED;
}

/* What the guest's kernel said last, where it is the reason of a failure. */
static void print_kernel_log(const msb_vm *vm)
{
    const char *line = msb_vm_kernel_log(vm);

    while (line && *line) {
        int length = (int)strcspn(line, "\n");

        fprintf(stderr, "msb: guest kernel: %.*s\n", length, line);
        line += length + (line[length] == '\n');
    }
}

static int vm_start(void *vm, const int streams[3], msb_error **err)
{
    (void)streams; /* the builder has them */
    return msb_vm_spawn(vm, err);
}

static int vm_fd(void *vm, msb_error **err)
{
    (void)err;
    return msb_vm_fd(vm);
}

static int vm_wait(void *vm, msb_error **err)
{
    return msb_vm_wait(vm, err);
}

static int vm_exit_status(void *vm)
{
    return msb_vm_exit_status(vm);
}

static int vm_signal(void *vm, int signal, msb_error **err)
{
    return msb_vm_signal(vm, signal, err);
}

static int vm_resize(void *vm, uint16_t rows, uint16_t columns, msb_error **err)
{
    return msb_vm_resize(vm, rows, columns, err);
}

static int vm_kill(void *vm, msb_error **err)
{
    return msb_vm_kill(vm, err);
}

static const struct foreground_work vm_work = { vm_start, vm_fd, vm_wait, vm_exit_status, vm_signal, vm_resize, vm_kill };

/* A monitor that was killed has not cleared up. Whoever looks at its sandbox does. */
static void clear_up(const msb_vm *vm)
{
    msb_sandbox *sandbox = msb_vm_name(vm) ? msb_sandbox_open(msb_vm_name(vm), NULL) : NULL;

    if (sandbox)
        msb_sandbox_state(sandbox, NULL);
    msb_sandbox_free(sandbox);
}

/* The monitor is a child of ours, in our process group: job control treats the two as one, and it can have the terminal itself. */
static int run_vm(msb_vm *vm, bool tty)
{
    const struct foreground_options options = { .tty = tty };
    msb_error *error = NULL;
    int status = foreground_run(&vm_work, vm, &options, &error);

    if (error) {
        report(error);
        print_kernel_log(vm);
        clear_up(vm);
    }
    return status;
}

static int run_detached(msb_vm *vm, bool input)
{
    msb_error *error = NULL;
    msb_sandbox *sandbox = msb_vm_launch(vm, input ? MSB_LAUNCH_INPUT : 0, -1, -1, &error);
    int status = msb_vm_exit_status(vm);

    if (!sandbox) {
        report(error);
        print_kernel_log(vm);
        clear_up(vm);
        return status < 0 ? EXIT_MSB_FAILED : status;
    }
    printf("%s\n", msb_sandbox_name(sandbox));
    msb_sandbox_free(sandbox);
    return finish_output() ? EXIT_SUCCESS : EXIT_MSB_FAILED;
}

static int run_as_asked(msb_vm *vm, const struct run_options *o, bool tty)
{
    print_warnings(vm);
    if (o->dry_run)
        return dry_run(vm);
    return o->detach ? run_detached(vm, o->process.interactive) : run_vm(vm, tty);
}

static int run(const struct command *command, int argc, char **argv)
{
    struct run_options options = { .builder = msb_vm_builder_new() };
    msb_error *error = NULL;
    msb_vm *vm = NULL;
    int status = EXIT_MSB_FAILED, operands = -1;
    bool tty = false;

    if (!options.builder)
        fail(&error, MSB_ERR_NO_MEMORY, "out of memory");
    else
        operands = command_options(command, argc, argv, &options, &status);
    if (operands >= 0 && apply(&options, argv + operands, &tty, &error) < 0)
        status = report_usage(command, steal_pointer(&error));
    else if (operands >= 0)
        vm = msb_vm_builder_build(options.builder, &error);
    if (vm)
        status = run_as_asked(vm, &options, tty);
    msb_vm_free(vm);
    run_options_clear(&options);
    return error ? report(error) : status;
}

const struct command command_run = {
    .name = "run",
    .synopsis = "[OPTIONS] [--] COMMAND [ARG...]",
    .summary = "Run a command in a microVM of its own",
    .description =
        "Runs COMMAND in a new microVM, passes on its input, output and signals, and ends with its exit status; or, with "
        "--detach, leaves it running. A COMMAND without a slash is looked up in the guest's PATH.",
    .examples = "  msb run --rootfs host -- python3 -c 'print(\"hello\")'\n"
                "  msb run --rootfs ./debian -m 2g --cpus 2 -v .:/src -w /src make\n"
                "  msb run --layer ./base --layer ./app --upper ./state -p 8080:80 --scope public nginx\n"
                "  echo data | msb run --rootfs host cat\n"
                "  msb run -d --name web --rootfs ./debian -p 8080:80 nginx -g 'daemon off;'\n",
    .options = run_option_table,
    .run = run,
};
