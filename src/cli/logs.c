/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb logs: what the command of a sandbox has written.
 */
#include "cli/log_view.h"
#include "cli/sandboxes.h"
#include "cli/times.h"

#include "config/text.h"
#include "util/cleanup.h"
#include "util/loop.h"

#include <sys/epoll.h>

struct logs_options {
    bool follow, has_tail;
    uint64_t tail;
    struct log_view view;
};

struct follower {
    struct loop *loop;
    msb_log_reader *reader;
    struct log_view *view;
    msb_error *error;
};

static int next(msb_log_reader *reader, struct log_record *record, msb_error **err)
{
    return msb_log_reader_next(reader, &record->stream, &record->realtime, &record->bytes, &record->size, err);
}

/* Shows all that there is, as yet. */
static int show(msb_log_reader *reader, struct log_view *view, msb_error **err)
{
    enum msb_log_stream last = MSB_LOG_STDOUT;
    struct log_record record;
    int found;

    while ((found = next(reader, &record, err)) == 1) {
        /* In the order in which it was written, where both go to one place. */
        if (record.stream != last && fflush(stdout) != 0)
            break;
        last = record.stream;
        log_view_put(view, &record, stdout, stderr);
    }
    if (found < 0)
        return -1;
    return fflush(stdout) == 0 ? 0 : fail_errno(err, "write to standard output");
}

/* How many lines come before the last ones that are wanted. */
static int count(const msb_sandbox *sandbox, uint64_t tail, struct log_view *view, msb_error **err)
{
    msb_log_reader *reader = msb_sandbox_log(sandbox, err);
    struct log_view counted = { .since = view->since };
    struct log_record record;
    int found = -1;

    while (reader && (found = next(reader, &record, err)) == 1)
        log_view_count(&counted, &record);
    msb_log_reader_free(reader);
    view->skip = counted.lines > tail ? counted.lines - tail : 0;
    return found;
}

static void on_log(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct follower *f = data;

    (void)source, (void)fd, (void)events;
    if (show(f->reader, f->view, &f->error) < 0)
        loop_quit(f->loop);
}

static void on_end(struct loop_source *source, int fd, uint32_t events, void *data)
{
    (void)source, (void)fd, (void)events;
    loop_quit(((struct follower *)data)->loop);
}

/* Until the sandbox has ended. */
static int follow(msb_sandbox *sandbox, msb_log_reader *reader, struct log_view *view, msb_error **err)
{
    struct follower f = { .loop = loop_new(err), .reader = reader, .view = view };
    struct loop_source *log = f.loop ? loop_add(f.loop, msb_log_reader_fd(reader), EPOLLIN, on_log, &f, err) : NULL, *end = NULL;
    int fd = log ? msb_sandbox_fd(sandbox, err) : -1, result = -1;

    if (fd >= 0)
        end = loop_add(f.loop, fd, EPOLLIN, on_end, &f, err);
    /* What was written before the watch began. */
    if (end && show(reader, view, err) == 0)
        result = loop_run(f.loop, err);
    if (f.error)
        result = fail_with(err, f.error);
    loop_remove(log);
    loop_remove(end);
    loop_free(f.loop);
    /* Nothing comes any more. */
    return result < 0 ? -1 : show(reader, view, err);
}

static int show_log(msb_sandbox *sandbox, void *data, msb_error **err)
{
    struct logs_options *options = data;
    msb_log_reader *reader;
    int result;

    if (options->has_tail && count(sandbox, options->tail, &options->view, err) < 0)
        return -1;
    reader = msb_sandbox_log(sandbox, err);
    if (!reader)
        return -1;
    result = options->follow ? follow(sandbox, reader, &options->view, err) : show(reader, &options->view, err);
    msb_log_reader_free(reader);
    return result;
}

static int set_follow(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct logs_options *)target)->follow = true;
    return 0;
}

static int set_since(void *target, const char *value, msb_error **err)
{
    return time_parse(value, time_now(), &((struct logs_options *)target)->view.since, err);
}

static int set_tail(void *target, const char *value, msb_error **err)
{
    struct logs_options *options = target;
    struct text text = text_of(value, MSB_LENGTH_UNKNOWN);

    options->has_tail = !text_equal(text, "all");
    if (options->has_tail && !text_number(text, UINT64_MAX, &options->tail))
        return refuse(err, "number", text, "is no number of lines; write one, or \"all\"");
    return 0;
}

static int set_timestamps(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct logs_options *)target)->view.timestamps = true;
    return 0;
}

static const struct option options_table[] = {
    { "follow", 'f', NULL, "Selection", "Go on until the sandbox has ended.", set_follow },
    { "since", 0, "TIME", "Selection",
      "Only what was written since: how long ago, as 10m; a date and time, as 2026-01-31T13:00:00Z; or seconds since the epoch.",
      set_since },
    { "tail", 'n', "N", "Selection", "Only the last N lines; \"all\" for all (all).", set_tail },
    { "timestamps", 't', NULL, "Output", "Put the time before each line.", set_timestamps },
    { 0 },
};

static int run(const struct command *command, int argc, char **argv)
{
    struct logs_options options = { 0 };
    int status, first = sandbox_operands(command, argc, argv, &options, 1, 1, "a sandbox", &status);

    return first < 0 ? status : sandboxes_each(argv + first, 1, show_log, &options);
}

const struct command command_logs = {
    .name = "logs",
    .synopsis = "[OPTIONS] NAME",
    .summary = "Show what the command of a sandbox has written",
    .description = "Shows what the command of a detached sandbox has written, its output on standard output and its errors on "
                   "standard error. The last 8 to 16 MiB are kept.",
    .examples = "  msb logs -f --since 10m web\n",
    .options = options_table,
    .run = run,
};
