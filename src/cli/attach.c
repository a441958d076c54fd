/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb attach: the command of a detached sandbox, in the foreground for a while.
 */
#include "cli/foreground.h"
#include "cli/sandboxes.h"
#include "cli/terminal.h"

struct attach_options {
    bool no_input, keep_signals;
    struct detach_keys keys;
};

struct attach_work {
    msb_sandbox *sandbox;
    msb_exec *exec; /* once attached */
    bool tty;
};

/* A program redraws its screen when the window's size changes: that it is another terminal now must not be missed when it has the
   same size. */
static void redraw(struct attach_work *work)
{
    uint16_t rows, columns;

    terminal_size(&rows, &columns);
    msb_exec_resize(work->exec, (uint16_t)(rows + 1), columns, NULL);
    msb_exec_resize(work->exec, rows, columns, NULL);
}

static int attach_start(void *object, const int streams[3], msb_error **err)
{
    struct attach_work *work = object;

    work->exec = msb_sandbox_attach(work->sandbox, streams[0], streams[1], streams[2], -1, -1, err);
    if (!work->exec)
        return -1;
    if (work->tty)
        redraw(work);
    return 0;
}

static int attach_fd(void *object, msb_error **err)
{
    (void)err;
    return msb_exec_fd(((struct attach_work *)object)->exec);
}

static int attach_wait(void *object, msb_error **err)
{
    return msb_exec_wait(((struct attach_work *)object)->exec, -1, -1, err);
}

static int attach_exit_status(void *object)
{
    const struct attach_work *work = object;

    return work->exec ? msb_exec_exit_status(work->exec) : -1;
}

static int attach_signal(void *object, int signal, msb_error **err)
{
    return msb_exec_signal(((struct attach_work *)object)->exec, signal, err);
}

static int attach_resize(void *object, uint16_t rows, uint16_t columns, msb_error **err)
{
    return msb_exec_resize(((struct attach_work *)object)->exec, rows, columns, err);
}

static const struct foreground_work attach_work = {
    attach_start, attach_fd, attach_wait, attach_exit_status, attach_signal, attach_resize, NULL,
};

static int attach(msb_sandbox *sandbox, const struct attach_options *o, msb_error **err)
{
    cJSON *info = sandbox_info(sandbox, err);
    struct attach_work work = { .sandbox = sandbox, .tty = info && info_has_tty(info) };
    const struct foreground_options options = {
        .tty = work.tty,
        .carry = true,
        .no_input = o->no_input,
        .keep_signals = o->keep_signals,
        .keys = &o->keys,
    };
    int status;

    cJSON_Delete(info);
    if (!info)
        return -1;
    status = foreground_run(&attach_work, &work, &options, err);
    msb_exec_free(work.exec);
    return status;
}

static int set_no_input(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct attach_options *)target)->no_input = true;
    return 0;
}

static int set_no_signals(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct attach_options *)target)->keep_signals = true;
    return 0;
}

static int set_keys(void *target, const char *value, msb_error **err)
{
    return detach_keys_parse(value, &((struct attach_options *)target)->keys, err);
}

static const struct option options_table[] = {
    { "no-stdin", 0, NULL, "Input", "Pass no input on.", set_no_input },
    { "no-signals", 0, NULL, "Input", "Pass no signals on: they end \"msb attach\" alone.", set_no_signals },
    { "detach-keys", 0, "KEYS", "Input",
      "The keys that leave a terminal, as characters or ctrl-X with commas between (" DETACH_KEYS_DEFAULT ").", set_keys },
    { 0 },
};

static int run(const struct command *command, int argc, char **argv)
{
    struct attach_options options = { 0 };
    msb_error *error = NULL;
    msb_sandbox *sandbox;
    int status, first;

    detach_keys_parse(DETACH_KEYS_DEFAULT, &options.keys, NULL);
    first = sandbox_operands(command, argc, argv, &options, 1, 1, "a sandbox", &status);
    if (first < 0)
        return status;
    sandbox = msb_sandbox_open(argv[first], &error);
    status = sandbox ? attach(sandbox, &options, &error) : -1;
    msb_sandbox_free(sandbox);
    if (error)
        report(error);
    return status < 0 ? EXIT_MSB_FAILED : status;
}

const struct command command_attach = {
    .name = "attach",
    .synopsis = "[OPTIONS] NAME",
    .summary = "Bring the command of a sandbox to the foreground",
    .description =
        "Shows what the command of a detached sandbox writes from now on, and passes on signals and, where it was started with "
        "--interactive or --tty, input. Ends with its exit status; or with 0 when the detach keys are typed, and the sandbox "
        "goes on.",
    .options = options_table,
    .run = run,
};
