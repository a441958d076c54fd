/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb exec: another command in a sandbox that runs.
 */
#include "cli/foreground.h"
#include "cli/process_options.h"
#include "cli/sandboxes.h"
#include "cli/terminal.h"
#include "cli/times.h"

#include "util/cleanup.h"

#include <limits.h>
#include <signal.h>
#include <string.h>

enum { STATUS_TIMED_OUT = 124 /* as of timeout(1) */ };

struct exec_options {
    struct process_options process; /* first: the shared rows of the table know nothing else */
    uint64_t timeout;               /* nanoseconds; 0: none */
    bool detach;
};

struct exec_work {
    msb_sandbox *sandbox;
    msb_exec_options *options;
    msb_exec *exec; /* once started */
};

/* ---- In the foreground --------------------------------------------------------------------------------------------------------- */

static int exec_start(void *object, const int streams[3], msb_error **err)
{
    struct exec_work *work = object;

    msb_exec_options_set_stdio(work->options, streams[0], streams[1], streams[2]);
    work->exec = msb_sandbox_exec(work->sandbox, work->options, -1, -1, err);
    return work->exec ? 0 : -1;
}

static int exec_fd(void *object, msb_error **err)
{
    (void)err;
    return msb_exec_fd(((struct exec_work *)object)->exec);
}

static int exec_wait(void *object, msb_error **err)
{
    return msb_exec_wait(((struct exec_work *)object)->exec, -1, -1, err);
}

static int exec_exit_status(void *object)
{
    const struct exec_work *work = object;

    return work->exec ? msb_exec_exit_status(work->exec) : -1;
}

static int exec_signal(void *object, int signal, msb_error **err)
{
    return msb_exec_signal(((struct exec_work *)object)->exec, signal, err);
}

static int exec_resize(void *object, uint16_t rows, uint16_t columns, msb_error **err)
{
    return msb_exec_resize(((struct exec_work *)object)->exec, rows, columns, err);
}

static int exec_kill(void *object, msb_error **err)
{
    return exec_signal(object, SIGKILL, err);
}

static const struct foreground_work exec_work = {
    exec_start, exec_fd, exec_wait, exec_exit_status, exec_signal, exec_resize, exec_kill,
};

static int run_foreground(struct exec_work *work, bool tty)
{
    const struct foreground_options options = { .tty = tty, .carry = true };
    msb_error *error = NULL;
    int status = foreground_run(&exec_work, work, &options, &error);

    if (work->exec && msb_exec_timed_out(work->exec)) {
        msb_error_free(error);
        fprintf(stderr, "msb: the command ran into its timeout and was ended\n");
        return STATUS_TIMED_OUT;
    }
    if (work->exec && msb_exec_out_of_memory(work->exec))
        fprintf(stderr, "msb: the guest ran out of memory, and its kernel ended the command\n");
    if (error)
        report(error);
    return status;
}

/* ---- The command --------------------------------------------------------------------------------------------------------------- */

static int apply(struct exec_options *o, msb_exec_options *options, char *const *argv, bool *tty, msb_error **err)
{
    struct process_options *process = &o->process;
    size_t num_args = 0;
    uint16_t rows, columns;

    while (argv[1 + num_args])
        num_args++;
    if (process_options_join_env(process, err) < 0)
        return -1;
    *tty = o->detach ? process->tty == TTY_YES : process_options_tty(process);
    terminal_size(&rows, &columns);
    if (*tty)
        msb_exec_options_set_tty(options, rows, columns);
    msb_exec_options_set_exec_path(options, argv[0]);
    msb_exec_options_set_args(options, (const char *const *)argv + 1, num_args);
    msb_exec_options_set_env(options, (const char *const *)process->env_files.items, process->env_files.count);
    msb_exec_options_set_rlimits(options, (const char *const *)process->rlimits.items, process->rlimits.count);
    msb_exec_options_set_workdir_path(options, process->workdir);
    msb_exec_options_set_user(options, process->user);
    msb_exec_options_set_timeout_ms(options, (o->timeout + NS_PER_MS - 1) / NS_PER_MS);
    msb_exec_options_set_detach(options, o->detach);
    return 0;
}

static int run_detached(struct exec_work *work)
{
    const int none[] = { -1, -1, -1 };
    msb_error *error = NULL;
    int status;

    if (exec_start(work, none, &error) == 0 && msb_exec_wait_started(work->exec, -1, -1, &error) == 0)
        return EXIT_SUCCESS;
    status = exec_exit_status(work);
    report(error);
    return status < 0 ? EXIT_MSB_FAILED : status;
}

static int run_in(const char *name, char *const *argv, struct exec_options *o)
{
    struct exec_work work = { .options = msb_exec_options_new() };
    msb_error *error = NULL;
    int status = EXIT_MSB_FAILED;
    bool tty = false;

    if (!work.options)
        fail(&error, MSB_ERR_NO_MEMORY, "out of memory");
    else if (apply(o, work.options, argv, &tty, &error) == 0)
        work.sandbox = msb_sandbox_open(name, &error);
    if (work.sandbox)
        status = o->detach ? run_detached(&work) : run_foreground(&work, tty);
    msb_exec_free(work.exec);
    msb_sandbox_free(work.sandbox);
    msb_exec_options_free(work.options);
    return error ? report(error) : status;
}

static int set_timeout(void *target, const char *value, msb_error **err)
{
    return duration_parse(value, &((struct exec_options *)target)->timeout, err);
}

static int set_detach(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct exec_options *)target)->detach = true;
    return 0;
}

static const struct option options_table[] = {
    PROCESS_ENV_ROW("Command"),
    PROCESS_ENV_FILE_ROW("Command"),
    { "workdir", 'w', "DIR", "Command", "The directory in the guest that the command begins in (the sandbox's own).",
      process_set_workdir },
    { "user", 'u', "USER[:GROUP]", "Command", "Who runs the command, by the guest's names or by number (the sandbox's own).",
      process_set_user },
    PROCESS_RLIMIT_ROW("Command"),
    { "timeout", 0, "DURATION", "Command", "End the command when it has run for so long, such as 30s or 5m.", set_timeout },

    PROCESS_TTY_ROW("Input and output"),
    PROCESS_NO_TTY_ROW("Input and output"),
    { "interactive", 'i', NULL, "Input and output", "Pass standard input on. So it always is; taken so that \"-it\" works.",
      process_set_interactive },
    { "detach", 'd', NULL, "Input and output", "Return once the command runs, and let it run without input and output.",
      set_detach },
    { 0 },
};

static int run(const struct command *command, int argc, char **argv)
{
    struct exec_options options = { 0 };
    int status, first = sandbox_operands(command, argc, argv, &options, 2, INT_MAX, "a sandbox and a command", &status);

    if (first >= 0 && !strcmp(argv[first + 1], "--"))
        status = run_in(argv[first], argv + first + 2, &options);
    else if (first >= 0)
        status = run_in(argv[first], argv + first + 1, &options);
    process_options_clear(&options.process);
    return status;
}

const struct command command_exec = {
    .name = "exec",
    .synopsis = "[OPTIONS] NAME [--] COMMAND [ARG...]",
    .summary = "Run another command in a sandbox",
    .description =
        "Runs COMMAND in a sandbox that runs, beside whatever else runs there; passes on its input, output and signals, and ends "
        "with its exit status. Environment, limits, directory and user are the sandbox's own, and what is said here.",
    .examples = "  msb exec web -- nginx -s reload\n"
                "  msb exec -it web sh\n"
                "  tar c . | msb exec -w /srv web tar x\n",
    .options = options_table,
    .run = run,
};
