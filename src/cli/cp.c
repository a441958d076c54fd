/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb cp: files and directories, between a sandbox and this machine.
 */
#include "cli/sandboxes.h"

#include "config/text.h"
#include "util/cleanup.h"

#include <string.h>
#include <unistd.h>

/* One of the two places. */
struct place {
    char *name;       /* of a sandbox; NULL: this machine */
    const char *path; /* "-" of this machine is standard input or output */
};

/* NAME:PATH. A path of this machine that has a colon is written with a slash before it, as for scp(1) and docker cp. */
static int parse_place(const char *value, struct place *place, msb_error **err)
{
    struct text name, path;

    place->path = value;
    if (*value == '/' || *value == '.' || !text_cut_first(text_of(value, MSB_LENGTH_UNKNOWN), ':', &name, &path) ||
        text_has(name, '/'))
        return 0;
    if (path.length == 0)
        return refuse(err, "place", text_of(value, MSB_LENGTH_UNKNOWN), "has no path; write NAME:PATH");
    place->name = text_copy(name);
    place->path = path.bytes;
    return place->name ? 0 : fail_no_memory(err);
}

static int parse_places(char *const *values, struct place *from, struct place *to, msb_error **err)
{
    if (parse_place(values[0], from, err) < 0 || parse_place(values[1], to, err) < 0)
        return -1;
    if (from->name && to->name)
        return fail(err, MSB_ERR_INVALID, "one of the two must be on this machine");
    if (!from->name && !to->name)
        return fail(err, MSB_ERR_INVALID, "neither of the two is in a sandbox; write NAME:PATH");
    return 0;
}

/* The guest's working directory is not this machine's: its paths begin at its root, however they are written. */
static char *guest_path(const char *path, msb_error **err)
{
    char *absolute = NULL;

    if (asprintf(&absolute, "%s%s", *path == '/' ? "" : "/", path) < 0)
        return FAIL_NULL(fail_no_memory(err));
    return absolute;
}

static int copy_in(msb_sandbox *sandbox, const char *from, const char *to, msb_error **err)
{
    if (!strcmp(from, "-"))
        return msb_sandbox_archive_in(sandbox, STDIN_FILENO, to, -1, -1, err);
    return msb_sandbox_copy_in(sandbox, from, to, 0, -1, -1, err);
}

/* Who may give files away keeps their owners. */
static int copy_out(msb_sandbox *sandbox, const char *from, const char *to, msb_error **err)
{
    if (!strcmp(to, "-"))
        return msb_sandbox_archive_out(sandbox, from, STDOUT_FILENO, -1, -1, err);
    return msb_sandbox_copy_out(sandbox, from, to, geteuid() == 0 ? MSB_COPY_OWNERS : 0, -1, -1, err);
}

static int copy_between(const struct place *from, const struct place *to, msb_error **err)
{
    msb_sandbox *sandbox = msb_sandbox_open(from->name ? from->name : to->name, err);
    _cleanup_free_ char *path = sandbox ? guest_path(from->name ? from->path : to->path, err) : NULL;
    int result = -1;

    if (path)
        result = from->name ? copy_out(sandbox, path, to->path, err) : copy_in(sandbox, from->path, path, err);
    msb_sandbox_free(sandbox);
    return result;
}

static int set_archive(void *target, const char *value, msb_error **err)
{
    (void)target, (void)value, (void)err;
    return 0;
}

static const struct option options_table[] = {
    { "archive", 'a', NULL, "Copy", "Keep owners and groups. So it always is, where you may; taken for the sake of habit.",
      set_archive },
    { 0 },
};

static int run(const struct command *command, int argc, char **argv)
{
    struct place from = { 0 }, to = { 0 };
    msb_error *error = NULL;
    int status = EXIT_SUCCESS, first = sandbox_operands(command, argc, argv, NULL, 2, 2, "a source and a target", &status);

    if (first < 0)
        return status;
    if (parse_places(argv + first, &from, &to, &error) < 0)
        status = report_usage(command, error);
    else if (copy_between(&from, &to, &error) < 0)
        status = report(error);
    free(from.name);
    free(to.name);
    return status;
}

const struct command command_cp = {
    .name = "cp",
    .synopsis = "NAME:PATH PATH|-, or PATH|- NAME:PATH",
    .summary = "Copy files between a sandbox and this machine",
    .description =
        "Copies a file, or a directory with all that is in it. As with cp -a, it goes into the target when that is a directory, "
        "and else becomes the target; \"DIRECTORY/.\" is what is in the directory. \"-\" is a tar archive on standard input or "
        "output. Links are copied as links.",
    .examples = "  msb cp ./site web:/srv\n"
                "  msb cp web:/var/log/nginx .\n"
                "  msb cp web:/srv - | tar t\n",
    .options = options_table,
    .run = run,
};
