/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb stats: what sandboxes use of the machine, once or again every second.
 */
#include "cli/sandboxes.h"
#include "cli/table.h"
#include "cli/times.h"

#include "config/text.h"
#include "util/cleanup.h"
#include "util/loop.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 2000 }; /* for one sandbox's answer */

struct stats_options {
    bool once, json;
};

/* One sandbox, as last seen. */
struct sample {
    char *name;
    struct msb_stats stats;
    bool known;       /* it answered */
    double cpu;       /* per cent of one processor, since the sample before or else since the start */
    msb_error *error; /* why it did not answer, unless it has ended */
};

struct samples {
    struct sample *items;
    size_t count;
};

static void samples_clear(struct samples *samples)
{
    for (size_t i = 0; i < samples->count; i++) {
        free(samples->items[i].name);
        msb_error_free(samples->items[i].error);
    }
    free(samples->items);
    *samples = (struct samples){ 0 };
}

/* ---- Asking -------------------------------------------------------------------------------------------------------------------- */

static double cpu_of(const struct sample *now, const struct samples *before)
{
    uint64_t cpu = now->stats.cpu_ns, time = now->stats.uptime_ns;

    for (size_t i = 0; i < before->count; i++) {
        const struct sample *then = &before->items[i];

        if (then->known && !strcmp(then->name, now->name) && then->stats.uptime_ns < time && then->stats.cpu_ns <= cpu) {
            cpu -= then->stats.cpu_ns;
            time -= then->stats.uptime_ns;
            break;
        }
    }
    return time ? 100.0 * (double)cpu / (double)time : 0;
}

/* Those that have ended have no statistics, and are left out unless they were asked for by name. */
static int ask(msb_sandbox *sandbox, const struct samples *before, bool named, struct samples *samples, msb_error **err)
{
    struct sample *items = realloc(samples->items, (samples->count + 1) * sizeof(*items)), *sample;

    if (!items)
        return fail_no_memory(err);
    samples->items = items;
    sample = &items[samples->count];
    *sample = (struct sample){ .name = strdup(msb_sandbox_name(sandbox)) };
    if (!sample->name)
        return fail_no_memory(err);
    sample->known = msb_sandbox_stats(sandbox, &sample->stats, PATIENCE_MS, -1, &sample->error) == 0;
    if (sample->known)
        sample->cpu = cpu_of(sample, before);
    if (!sample->known && !named &&
        (msb_error_code(sample->error) == MSB_ERR_STATE || msb_error_code(sample->error) == MSB_ERR_NOT_FOUND)) {
        free(sample->name);
        msb_error_free(sample->error);
        return 0;
    }
    samples->count++;
    return 0;
}

static int ask_named(char *const *names, int count, const struct samples *before, struct samples *samples, msb_error **err)
{
    for (int i = 0; i < count; i++) {
        msb_sandbox *sandbox = msb_sandbox_open(names[i], err);
        int result = sandbox ? ask(sandbox, before, true, samples, err) : -1;

        msb_sandbox_free(sandbox);
        if (result < 0)
            return -1;
    }
    return 0;
}

static int ask_all(const struct samples *before, struct samples *samples, msb_error **err)
{
    size_t count;
    msb_sandbox **sandboxes = msb_sandbox_list(&count, err);
    int result = sandboxes ? 0 : -1;

    for (size_t i = 0; result == 0 && i < count; i++)
        result = ask(sandboxes[i], before, false, samples, err);
    msb_sandbox_list_free(sandboxes, sandboxes ? count : 0);
    return result;
}

/* ---- Telling ------------------------------------------------------------------------------------------------------------------- */

static void put_amounts(struct table *table, uint64_t one, uint64_t two)
{
    char text1[TIME_TEXT_SIZE], text2[TIME_TEXT_SIZE];

    bytes_print(one, text1);
    bytes_print(two, text2);
    table_cell(table, "%s / %s", text1, text2);
}

static void put_sample(struct table *table, const struct sample *sample)
{
    const struct msb_stats *s = &sample->stats;
    char held[TIME_TEXT_SIZE];

    table_cell(table, "%s", sample->name);
    if (!sample->known) {
        for (int i = 0; i < 6; i++)
            table_cell(table, "--");
        return;
    }
    table_cell(table, "%.1f%%", sample->cpu);
    put_amounts(table, s->memory_used, s->memory_limit);
    bytes_print(s->memory_held, held);
    table_cell(table, "%s", s->memory_held ? held : "--");
    put_amounts(table, s->network_received, s->network_sent);
    put_amounts(table, s->disk_read, s->disk_written);
    table_cell(table, "%u", s->num_processes);
}

static int print_table(const struct samples *samples, msb_error **err)
{
    static const char *const headings[] = { "NAME", "CPU", "MEMORY / LIMIT", "HELD", "NET IN / OUT", "DISK READ / WRITTEN",
                                            "PIDS", NULL };
    struct table *table = table_new(headings);
    bool printed;

    if (!table)
        return fail_no_memory(err);
    for (size_t i = 0; i < samples->count; i++)
        put_sample(table, &samples->items[i]);
    printed = table_print(table, stdout, table_width());
    table_free(table);
    return printed ? 0 : fail_no_memory(err);
}

static bool fill(cJSON *object, const struct sample *sample)
{
    const struct msb_stats *s = &sample->stats;
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        { "uptime_ns", s->uptime_ns },
        { "cpu_ns", s->cpu_ns },
        { "guest_user_ns", s->guest_user_ns },
        { "guest_system_ns", s->guest_system_ns },
        { "memory_limit", s->memory_limit },
        { "memory_total", s->memory_total },
        { "memory_used", s->memory_used },
        { "memory_held", s->memory_held },
        { "disk_read", s->disk_read },
        { "disk_written", s->disk_written },
        { "network_received", s->network_received },
        { "network_sent", s->network_sent },
        { "oom_kills", s->oom_kills },
        { "num_processes", s->num_processes },
        { "num_vcpus", s->num_vcpus },
    };

    if (!json_add(object, "name", cJSON_CreateString(sample->name)) ||
        !json_add(object, "error", sample->known ? cJSON_CreateNull() : cJSON_CreateString(msb_error_message(sample->error))))
        return false;
    if (!sample->known)
        return true;
    if (!json_add(object, "cpu_percent", cJSON_CreateNumber(sample->cpu)))
        return false;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        char digits[24];

        /* A number whole, where a double has not its digits. */
        snprintf(digits, sizeof(digits), "%" PRIu64, numbers[i].value);
        if (!json_add(object, numbers[i].key, cJSON_CreateRaw(digits)))
            return false;
    }
    return true;
}

static int print_json(const struct samples *samples, msb_error **err)
{
    cJSON *array = cJSON_CreateArray();
    bool ok = array != NULL;
    int result;

    for (size_t i = 0; ok && i < samples->count; i++) {
        cJSON *object = cJSON_CreateObject();

        ok = json_append(array, object) && fill(object, &samples->items[i]);
    }
    result = ok ? json_print(array, err) : fail_no_memory(err);
    cJSON_Delete(array);
    return result;
}

/* ---- The command --------------------------------------------------------------------------------------------------------------- */

struct watch {
    struct loop *loop;
    struct loop_source *timer;
    const struct stats_options *options;
    char *const *names;
    int num_names;
    struct samples before;
    msb_error *error;
};

static int look(struct watch *watch, msb_error **err)
{
    static const char clear[] = "\033[H\033[2J";
    struct samples now = { 0 };
    int result = watch->num_names ? ask_named(watch->names, watch->num_names, &watch->before, &now, err)
                                  : ask_all(&watch->before, &now, err);

    samples_clear(&watch->before);
    watch->before = now;
    if (result < 0)
        return -1;
    if (!watch->options->once && !watch->options->json && isatty(STDOUT_FILENO))
        fputs(clear, stdout);
    if ((watch->options->json ? print_json(&now, err) : print_table(&now, err)) < 0)
        return -1;
    return fflush(stdout) == 0 ? 0 : fail_errno(err, "write to standard output");
}

static void on_timer(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct watch *watch = data;

    (void)fd, (void)events;
    loop_remove(source);
    watch->timer = look(watch, &watch->error) < 0 ? NULL : loop_timer(watch->loop, NS_PER_SECOND, on_timer, watch, &watch->error);
    if (!watch->timer)
        loop_quit(watch->loop);
}

static int go_on(struct watch *watch, msb_error **err)
{
    int result = -1;

    watch->loop = loop_new(err);
    watch->timer = watch->loop ? loop_timer(watch->loop, NS_PER_SECOND, on_timer, watch, err) : NULL;
    if (watch->timer)
        result = loop_run(watch->loop, err);
    loop_remove(watch->timer);
    loop_free(watch->loop);
    return watch->error ? fail_with(err, watch->error) : result;
}

static int set_once(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct stats_options *)target)->once = true;
    return 0;
}

static int set_json(void *target, const char *value, msb_error **err)
{
    (void)value, (void)err;
    ((struct stats_options *)target)->json = true;
    return 0;
}

static const struct option options_table[] = {
    { "once", 0, NULL, "Output", "Tell it once, with the processors' use since the start.", set_once },
    { "no-stream", 0, NULL, "Output", "The same.", set_once },
    { "json", 0, NULL, "Output", "Tell it as JSON, in bytes and nanoseconds.", set_json },
    { 0 },
};

static int run(const struct command *command, int argc, char **argv)
{
    struct stats_options options = { 0 };
    msb_error *error = NULL;
    int status, first = sandbox_operands(command, argc, argv, &options, 0, INT_MAX, "a sandbox", &status);
    struct watch watch = { .options = &options };

    if (first < 0)
        return status;
    watch.names = argv + first;
    watch.num_names = argc - first;
    if (look(&watch, &error) == 0 && !options.once)
        go_on(&watch, &error);
    samples_clear(&watch.before);
    return error ? report(error) : EXIT_SUCCESS;
}

const struct command command_stats = {
    .name = "stats",
    .synopsis = "[OPTIONS] [NAME...]",
    .summary = "Tell what sandboxes use of the machine",
    .description =
        "Tells of the sandboxes named, or of all that run, what they use of this machine's processors and memory, and what they "
        "read and write; again every second, until it is interrupted, or once.",
    .examples = "  msb stats\n"
                "  msb stats --once --json web | jq '.[0].memory_held'\n",
    .options = options_table,
    .run = run,
};
