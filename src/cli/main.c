/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb: the command on top of libmicrosandbox. Here is the table of its subcommands; each has a file of its own.
 */
#include "cli/command.h"

#include "config/text.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = {
    &command_run,   &command_exec, &command_attach, &command_logs, &command_ps,   &command_inspect, &command_port,
    &command_stats, &command_cp,   &command_wait,   &command_stop, &command_kill, &command_rm,      &command_doctor,
};

enum { NUM_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

int report(msb_error *error)
{
    fprintf(stderr, "msb: %s\n", msb_error_message(error));
    msb_error_free(error);
    return EXIT_MSB_FAILED;
}

int report_usage(const struct command *command, msb_error *error)
{
    fprintf(stderr, "msb: %s (see \"msb %s --help\")\n", msb_error_message(error), command->name);
    msb_error_free(error);
    return EXIT_MSB_FAILED;
}

bool finish_output(void)
{
    msb_error *error = NULL;

    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    fail_errno(&error, "write to standard output");
    report(error);
    return false;
}

static void command_help(const struct command *command)
{
    printf("Usage: msb %s %s\n\n", command->name, command->synopsis);
    write_folded(stdout, command->description, 0, 0);
    options_help(command->options, stdout);
    if (command->examples)
        printf("\nExamples:\n%s", command->examples);
}

int command_options(const struct command *command, int argc, char **argv, void *target, int *status)
{
    msb_error *error = NULL;
    int operands;

    operands = options_parse(command->options, argc, argv, target, &error);
    if (operands == OPTIONS_HELP) {
        command_help(command);
        *status = finish_output() ? 0 : EXIT_MSB_FAILED;
    } else if (operands < 0) {
        *status = report_usage(command, error);
    }
    return operands < 0 ? -1 : operands;
}

static void main_help(FILE *out)
{
    fprintf(out, "Usage: msb COMMAND [OPTIONS] ...\n\n"
                 "Runs programs in microVMs: each has a Linux kernel of its own.\n\n"
                 "Commands:\n");
    for (size_t i = 0; i < NUM_COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(out, "\n"
                 "  --help     Show this; \"msb COMMAND --help\" tells about one command.\n"
                 "  --version  Show the version.\n\n"
                 "Example: this machine's own Python, in a virtual machine:\n"
                 "  msb run --rootfs host -- python3 -c 'print(\"hello\")'\n");
}

static int unknown_command(const char *name)
{
    const char *names[NUM_COMMANDS + 1] = { NULL }, *like;
    _cleanup_free_ char *quoted = string_quote(name);

    for (size_t i = 0; i < NUM_COMMANDS; i++)
        names[i] = commands[i]->name;
    like = nearest(name, names);
    if (like)
        fprintf(stderr, "msb: unknown command %s; did you mean \"%s\"?\n", quoted ? quoted : "", like);
    else
        fprintf(stderr, "msb: unknown command %s; \"msb --help\" lists those that there are\n", quoted ? quoted : "");
    return EXIT_MSB_FAILED;
}

/* A caller may have closed some of them; then no file of ours may get their numbers. */
static void open_standard_streams(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    open_standard_streams();
    if (argc < 2) {
        main_help(stderr);
        return EXIT_MSB_FAILED;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        main_help(stdout);
        return finish_output() ? 0 : EXIT_MSB_FAILED;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("msb %s\n", msb_version());
        return finish_output() ? 0 : EXIT_MSB_FAILED;
    }
    for (size_t i = 0; i < NUM_COMMANDS; i++)
        if (!strcmp(argv[1], commands[i]->name))
            return commands[i]->run(commands[i], argc - 1, argv + 1);
    return unknown_command(argv[1]);
}
